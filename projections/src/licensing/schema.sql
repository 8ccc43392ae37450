create table sessions (
  -- With the offset of the first record that named it, which is its key: short, and in the order of the log.
  partition int not null,
  first_offset bigint not null,
  account_id text not null,
  session_id uuid not null,
  -- null while only a stop was heard.
  title_id text,
  -- Where it began, as its first record said that did.
  territory text not null,
  -- What it takes to go on folding, while the session has no fact; then that stands with its newest one, so that a
  -- heartbeat changes one row.
  state json,
  constraint sessions_pk primary key (partition, first_offset),
  -- The session first: version 7 ids come in the order in which they were made.
  constraint sessions_once unique (session_id, account_id)
) with (fillfactor = 70);

-- What was watched in one session on one UTC day in one territory on one kind of device, without leaving it.
create table facts (
  partition int not null,
  first_offset bigint not null,
  -- Counts the facts of a session, from 0.
  place int not null,
  account_id text not null,
  title_id text not null,
  day date not null,
  territory text not null,
  device_class text not null,
  -- The session's watched time before this fact: in which fact any contract's threshold was reached follows from it.
  before_ms bigint not null,
  watched_ms bigint not null,
  aged_ms bigint not null,
  content_ms bigint not null,
  -- Whether the session's play falls here.
  played boolean not null,
  -- When something was watched, log time in milliseconds since the Unix epoch.
  intervals int8multirange not null,
  -- What it takes to go on folding the session, with its newest fact: the content seen, positions in the title in
  -- milliseconds, and the rest.
  seen int8multirange,
  state json,
  constraint facts_pk primary key (partition, first_offset, place)
) with (fillfactor = 70);
