-- A version can be built more than once: each build has a schema of its own, its own offsets and dead letters.
create table pulsegate.projection_builds (
  -- The schema of its tables.
  build text not null,
  name text not null,
  version int not null,
  -- Counts the builds of a version from 1; null for a copy as of some time, which is never switched to.
  number int,
  state text not null,
  made_at timestamptz not null default now(),
  -- When readers were switched to it last, and when away from it.
  switched_at timestamptz,
  replaced_at timestamptz,
  verified_at timestamptz,
  -- The last instant of the log that a copy holds, ms since the Unix epoch.
  as_of_ms bigint,
  -- Since when nobody may fold it, because somebody said so.
  paused_at timestamptz,
  -- What a build that is being made is doing, and since when.
  phase text,
  phase_at timestamptz,
  last_error text,
  last_error_at timestamptz,
  constraint projection_builds_pk primary key (build),
  constraint projection_builds_number_once unique (name, version, number),
  constraint projection_builds_state_is_known
    check (state in ('live', 'building', 'shadow', 'verified', 'retired', 'failed', 'copy'))
);

create unique index projection_builds_one_is_live on pulsegate.projection_builds (name) where state = 'live';

insert into pulsegate.projection_builds
  (build, name, version, number, state, made_at, switched_at, last_error, last_error_at)
select name || '_v' || version, name, version, 1, state, installed_at, switched_at, last_error, last_error_at
from pulsegate.projection_versions;

alter table pulsegate.projection_offsets
  add column build text,
  -- How often others than the fold changed something here (dead letters); who remembers fewer forgets everything else.
  add column interventions bigint not null default 0,
  -- Nobody folds beyond hold_at before hold_until: how two builds are brought to one offset vector.
  add column hold_at bigint,
  add column hold_until timestamptz,
  -- Records a second, over the last few seconds.
  add column rate double precision not null default 0,
  -- Where a rebuild ends; for a copy the last offset of all, else what was the end when it was asked for last.
  add column rebuild_end bigint;
update pulsegate.projection_offsets set build = name || '_v' || version;
alter table pulsegate.projection_offsets
  drop constraint projection_offsets_pk,
  drop constraint projection_offsets_version_is_installed,
  drop column name,
  drop column version,
  add constraint projection_offsets_pk primary key (build, topic, partition),
  add constraint projection_offsets_build_is_known
    foreign key (build) references pulsegate.projection_builds (build);

alter table pulsegate.dead_letters
  add column build text,
  -- The log's time at the record: what its fold must see whenever it is folded. Null for what is never folded again.
  add column clock_ms bigint,
  -- The offset of the record that it waits behind; null for a poison event itself.
  add column behind bigint,
  -- When and why it was settled.
  add column settled_at timestamptz,
  add column reason text;
update pulsegate.dead_letters set build = projection || '_v' || version;
alter table pulsegate.dead_letters
  alter column build set not null,
  drop constraint dead_letters_once,
  drop constraint dead_letters_version_is_installed,
  drop constraint dead_letters_kind_is_known,
  drop column projection,
  drop column version,
  add constraint dead_letters_once unique (build, topic, partition, log_offset),
  add constraint dead_letters_build_is_known
    foreign key (build) references pulsegate.projection_builds (build),
  -- skipped: nothing waits behind it. parked: its key's later records do, and are parked as well. retried: folded later.
  add constraint dead_letters_kind_is_known check (kind in ('parked', 'skipped', 'retried'));

create index dead_letters_parked on pulsegate.dead_letters (build, topic, partition, log_offset) where kind = 'parked';

alter table pulsegate.projection_history add column build text;
update pulsegate.projection_history set build = name || '_v' || version;

drop table pulsegate.projection_versions;

-- A rate as a mean over about five seconds, however often it is written. (exp() of a large number would be an error.)
create function pulsegate.smoothed_rate(rate double precision, records double precision, seconds double precision)
returns double precision language sql immutable parallel safe as $$
  select rate * exp(-span / 5) + (1 - exp(-span / 5)) * records / span
  from (select least(greatest(seconds, 0.001), 60) as span) as bounded
$$;

-- How far the read models are that readers see: what their rows are as of, if it is read in the same statement.
create view pulsegate.live_offsets as
  select name, build, topic, partition, next_offset, clock_ms
  from pulsegate.projection_offsets join pulsegate.projection_builds using (build)
  where state = 'live';
