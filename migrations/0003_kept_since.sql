-- From when on a projection's rows are kept, whatever its build: what is older may be dropped already or not.
create table pulsegate.kept_since (
  projection text not null,
  since timestamptz not null,
  constraint kept_since_pk primary key (projection)
);
