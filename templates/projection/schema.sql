-- Tables and keys, named without a schema: each build has one of its own.
create table counts (
  key text not null,
  n bigint not null,
  constraint counts_pk primary key (key)
);
