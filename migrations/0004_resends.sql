-- What `events resend` did: the topic `rejected` keeps everything for ever, so what was sent in again is remembered here.
create table pulsegate.resends (
  id bigint generated always as identity,
  begun_at timestamptz not null default now(),
  ended_at timestamptz,
  reasons text[] not null,
  since timestamptz not null,
  until timestamptz,
  -- topic -> partition -> where it ended before the first event was sent: what was sent stands behind.
  log_ends jsonb not null,
  constraint resends_pk primary key (id)
);

-- Each rejected record that was sent in again, claimed before anything of it is sent.
create table pulsegate.resent (
  topic text not null,
  -- The record by which it was refused the first time.
  partition int not null,
  log_offset bigint not null,
  -- Its index in its batch; -1: a whole body.
  item int not null,
  attempt int not null,
  resend_id bigint not null,
  claimed_at timestamptz not null default now(),
  -- null: its sender crashed, or was not told what became of it; the log knows.
  settled_at timestamptz,
  sent int,
  refused int,
  constraint resent_pk primary key (topic, partition, log_offset, item, attempt),
  constraint resent_has_a_resend foreign key (resend_id) references pulsegate.resends (id)
);

create index resent_unsettled on pulsegate.resent (topic) where settled_at is null;
