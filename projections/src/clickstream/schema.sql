-- One row an event, in partitions by the day on which the log took it in: late events, early ones and those whose time
-- is a lie stand where they arrived.
create table events (
  partition int not null,
  log_offset bigint not null,
  -- The log's time at the record; its sender's is occurred_at, null where it was none.
  logged_at timestamptz not null,
  occurred_at timestamptz,
  event_id text not null,
  name text not null,
  account_id text,
  anonymous_id text,
  session_id uuid,
  -- As it came. Text, because jsonb costs two to three times as much to load and refuses some JSON.
  properties text not null
) partition by range (logged_at);

-- How many events of a name the log took in in a minute.
create table counts (
  minute timestamptz not null,
  name text not null,
  -- Each partition of the log counts for itself, so that none waits for another.
  partition int not null,
  events bigint not null,
  constraint counts_pk primary key (minute, name, partition)
) with (fillfactor = 70);

-- The same by the hour and by the day: so a year is as quickly counted as an hour.
create table counts_by_hour (
  hour timestamptz not null,
  name text not null,
  partition int not null,
  events bigint not null,
  constraint counts_by_hour_pk primary key (hour, name, partition)
) with (fillfactor = 70);

create table counts_by_day (
  day date not null,
  name text not null,
  partition int not null,
  events bigint not null,
  constraint counts_by_day_pk primary key (day, name, partition)
) with (fillfactor = 70);

-- All events of one person in 16, and of one in 256: what questions about people and properties are answered from where
-- all events are too many. Who is in it, the hash of the person says, so a person is in it with everything or not at all.
create table sample_16 (
  partition int not null,
  log_offset bigint not null,
  logged_at timestamptz not null,
  name text not null,
  -- The hash of the account, else of the visitor.
  person bigint not null,
  session_id uuid,
  -- Null where jsonb can't hold them.
  properties jsonb
);

create table sample_256 (like sample_16);

-- Those of these days that have no partition. Asked of the catalog's own table: what a name stands for is cached, and the
-- cache doesn't see what another has made while this one waited.
create function missing_days(days date[]) returns setof date language sql volatile as $$
  select day from unnest(days) as day
  where not exists (
    select from pg_class
    where relname = 'events_' || to_char(day, 'YYYYMMDD') and relnamespace = current_schema()::regnamespace)
$$;

-- Makes the partitions of these days where there are none, and keeps those that there are until the transaction ends.
create function hold_days(days date[]) returns void language plpgsql as $$
declare
  one date;
  name text;
begin
  -- Who drops days waits for this.
  lock table events in row exclusive mode;
  if not exists (select from missing_days(days)) then
    return;
  end if;
  -- One makes them, the others wait here and then find them.
  perform pg_advisory_xact_lock(hashtext(current_schema() || '.hold_days'));
  for one in select missing_days(days) loop
    name := 'events_' || to_char(one, 'YYYYMMDD');
    -- While a rebuild works on unlogged tables, new ones must be unlogged as well.
    execute format(
      'create %s table %I (like events including defaults)',
      (select case relpersistence when 'u' then 'unlogged' else '' end from pg_class where oid = 'counts'::regclass),
      name);
    -- Attached rather than made as a partition: others may go on to write meanwhile.
    execute format(
      'alter table events attach partition %I for values from (%L) to (%L)',
      name, one::text || ' 00:00:00+00', (one + 1)::text || ' 00:00:00+00');
  end loop;
end $$;

-- Properties as jsonb; null where jsonb can't hold them: \u0000, half a surrogate pair, a number or a depth beyond its
-- limits. A part of a parallel plan can't recover from an error, so this is never one.
create function properties_of(properties text) returns jsonb language plpgsql immutable parallel unsafe as $$
begin
  return properties::jsonb;
exception when others then
  return null;
end $$;
