-- What the fold remembers, a row a session. Written at each heartbeat, so it has what the fold needs and no more: every
-- further column would be paid ten times a minute by every viewer.
create table session_states (
  account_id text not null,
  session_id uuid not null,
  -- The partition of the account's records.
  partition int not null,
  -- The full hour after which, by the partition's clock, it counts as unknown and may be deleted. Rounded, because an
  -- index on what changes with each heartbeat would have to be written with each heartbeat.
  forget_hour timestamptz not null,
  -- JSON, read when it is asked for.
  state text not null,
  constraint session_states_pk primary key (account_id, session_id)
) with (fillfactor = 70);

create index session_states_forget_hour on session_states (partition, forget_hour);

-- The same for people, as of each account's last record. Nulls in the columns of an ended session: its decisions say
-- what it was.
create view sessions as
select account_id, session_id, partition,
       -- It is live while also now < alive_until, and it was not paused too long.
       coalesce((state::jsonb -> 'standing') ? 'holding', false) as holds_slot,
       state::jsonb ->> 'device_id' as device_id,
       state::jsonb ->> 'device_class' as device_class,
       state::jsonb ->> 'title_id' as title_id,
       state::jsonb ->> 'content_kind' as content_kind,
       state::jsonb ->> 'territory' as territory,
       (state::jsonb ->> 'started_at')::timestamptz as started_at,
       (state::jsonb ->> 'last_seen_at')::timestamptz as last_seen_at,
       greatest(state::jsonb ->> 'talk_until', state::jsonb ->> 'signal_until')::timestamptz as alive_until,
       (state::jsonb ->> 'paused_since')::timestamptz as paused_since,
       -- null while it has not ended.
       state::jsonb ->> 'reason' as ended_reason,
       (state::jsonb ->> 'ended_at')::timestamptz as ended_at,
       forget_hour, state
from session_states;

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
