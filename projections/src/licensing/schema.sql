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

-- The facts once more, as statements and reports over millions of them read them: packed by month and title. They follow
-- the facts, and what they lack is read from these: docs/adr/0021-facts-are-packed-for-statements.md says how none is missed.

-- Accounts as packs name them. Who gives an account another id changes it here, too, and in no pack.
create table accounts (
  number int generated always as identity,
  account_id text not null,
  constraint accounts_pk primary key (number),
  constraint accounts_once unique (account_id)
);

create table packs (
  -- Its first day.
  month date not null,
  title_id text not null,
  -- Watched time by day, the figures of the whole by territory and class of device, and the facts themselves: their forms
  -- are in the code.
  days bytea not null,
  sums bytea not null,
  facts bytea not null,
  constraint packs_pk primary key (month, title_id)
);
-- They are short already; and so whoever reads sums doesn't read them.
alter table packs alter column facts set storage external;

-- Of a month here every day up to `until` is in packs.
create table packed_months (
  month date not null,
  until date not null,
  constraint packed_months_pk primary key (month)
);

-- One row or none: whoever changes a fact of a day up to this one says so in `changed`.
create table sealed (
  until date not null
);

-- Facts of these days and titles are other ones since they were packed.
create table changed (
  id bigint generated always as identity,
  day date not null,
  title_id text not null,
  constraint changed_pk primary key (id)
);
