create table sessions (
  account_id text not null,
  session_id uuid not null,
  -- The partition of the account's records.
  partition int not null,
  -- Whether it held a slot at its account's last record; it is live while also now < alive_until.
  holds_slot boolean not null,
  device_id text,
  device_class text,
  title_id text,
  content_kind text,
  territory text,
  started_at timestamptz,
  last_seen_at timestamptz,
  -- When its lease or its pause runs out, if nothing more is heard.
  alive_until timestamptz,
  -- null while it has not ended.
  ended_reason text,
  ended_at timestamptz,
  -- From when on, by the partition's clock, it counts as unknown and may be deleted.
  forget_at timestamptz not null,
  -- The full hour after forget_at. Purged by this one: an index on what changes with each heartbeat would have to be
  -- written with each heartbeat.
  forget_hour timestamptz not null,
  -- All that the fold remembers of it; the columns above repeat parts of it for people. Nulls in those of an ended
  -- session: its decisions say what it was.
  state json not null,
  constraint sessions_pk primary key (account_id, session_id)
) with (fillfactor = 70);

create index sessions_forget_hour on sessions (partition, forget_hour);

create table decisions (
  account_id text not null,
  partition int not null,
  log_offset bigint not null,
  -- Counts the decisions made at one record, from 0.
  ordinal int not null,
  decision text not null,
  session_id uuid not null,
  device_id text,
  device_class text,
  title_id text,
  reason text,
  policy text,
  rule text,
  max int,
  counted uuid[] not null,
  by_session uuid,
  by_device text,
  at timestamptz not null,
  constraint decisions_pk primary key (partition, log_offset, ordinal)
);
