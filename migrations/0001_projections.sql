-- What belongs to no single projection. Each version of a projection has a schema of its own beside this one.
create schema if not exists pulsegate;

-- Every version that was ever installed; readers see the live one through the views of the schema `<name>`.
create table pulsegate.projection_versions (
  name text not null,
  version int not null,
  state text not null,
  installed_at timestamptz not null default now(),
  switched_at timestamptz,
  last_error text,
  last_error_at timestamptz,
  constraint projection_versions_pk primary key (name, version),
  constraint projection_versions_state_is_known check (state in ('live', 'shadow', 'retired'))
);

create unique index projection_versions_one_is_live on pulsegate.projection_versions (name) where state = 'live';

-- How far a version has folded each partition. Changed only together with the version's rows, by compare-and-set.
create table pulsegate.projection_offsets (
  name text not null,
  version int not null,
  topic text not null,
  partition int not null,
  next_offset bigint not null,
  -- The largest timestamp of any record before next_offset, ms since the Unix epoch; the smallest bigint before the first.
  clock_ms bigint not null,
  updated_at timestamptz not null default now(),
  constraint projection_offsets_pk primary key (name, version, topic, partition),
  constraint projection_offsets_version_is_installed
    foreign key (name, version) references pulsegate.projection_versions (name, version),
  constraint projection_offsets_is_not_negative check (next_offset >= 0)
) with (fillfactor = 50);

-- Records that a version could not fold, as they stand in the log.
create table pulsegate.dead_letters (
  id bigint generated always as identity,
  projection text not null,
  version int not null,
  topic text not null,
  partition int not null,
  log_offset bigint not null,
  logged_at timestamptz,
  key bytea,
  value bytea,
  -- null: the usual content-type and nothing else.
  headers jsonb,
  error text not null,
  -- skipped: nothing waits behind it. parked: its key's later records do.
  kind text not null,
  first_seen timestamptz not null default now(),
  constraint dead_letters_pk primary key (id),
  constraint dead_letters_once unique (projection, version, topic, partition, log_offset),
  constraint dead_letters_version_is_installed
    foreign key (projection, version) references pulsegate.projection_versions (name, version),
  constraint dead_letters_kind_is_known check (kind in ('parked', 'skipped'))
);

-- What was done to projections, when and why.
create table pulsegate.projection_history (
  id bigint generated always as identity,
  at timestamptz not null default now(),
  name text not null,
  version int not null,
  what text not null,
  detail text,
  constraint projection_history_pk primary key (id)
);
