-- Licensing statements that were closed, and what became of them. Nothing here is ever changed: what arrives later is a
-- revision of its own, whose rows say what is more, or less, than before.
create table pulsegate.statements (
  id bigint generated always as identity,
  -- The period as it was asked for, e.g. 2026-10.
  period text not null,
  -- To whom; '' for everybody.
  rights_holder_id text not null,
  -- 1: as it was closed; from 2 on restatements.
  revision int not null,
  first_day date not null,
  last_day date not null,
  closed_at timestamptz not null default now(),
  -- How many rows this revision added.
  row_count bigint not null,
  sha256 text not null,
  -- Everything but the rows, as JSON, byte for byte: the hash is over parts of it.
  head text not null,
  constraint statements_pk primary key (id),
  constraint statements_revision_once unique (period, rights_holder_id, revision),
  constraint statements_revision_counts_from_1 check (revision > 0)
);

create table pulsegate.statement_rows (
  statement_id bigint not null,
  -- Counts the rows of a revision from 0, in the order of what they are about.
  ordinal int not null,
  -- '': none.
  rights_holder_id text not null collate "C",
  contract_id text not null collate "C",
  title_id text not null collate "C",
  territory text not null collate "C",
  device_class text not null collate "C",
  currency text not null collate "C",
  plays bigint not null,
  qualified_views bigint not null,
  views bigint not null,
  watched_ms bigint not null,
  aged_ms bigint not null,
  content_ms bigint not null,
  distinct_accounts bigint not null,
  peak_concurrent bigint not null,
  blocked_attempts bigint not null,
  outside_window_ms bigint not null,
  outside_territory_ms bigint not null,
  runtime_ms bigint not null,
  -- In the currency's smallest unit.
  amount_minor bigint not null,
  constraint statement_rows_pk primary key (statement_id, ordinal),
  constraint statement_rows_of_a_statement foreign key (statement_id) references pulsegate.statements (id)
);

create function pulsegate.statements_stand() returns trigger language plpgsql as $$
begin
  raise exception 'a closed statement stands: %.% takes no %', tg_table_schema, tg_table_name, lower(tg_op)
    using errcode = 'restrict_violation';
end
$$;

create trigger statements_stand before update or delete or truncate on pulsegate.statements
  for each statement execute function pulsegate.statements_stand();
create trigger statement_rows_stand before update or delete or truncate on pulsegate.statement_rows
  for each statement execute function pulsegate.statements_stand();
