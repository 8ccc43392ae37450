-- Questions about the clickstream that somebody saved: what is asked, never what was answered.
create table pulsegate.saved_questions (
  name text not null,
  kind text not null,
  -- As a query string, in the one way in which a question is written.
  query text not null,
  saved_at timestamptz not null default now(),
  constraint saved_questions_pk primary key (name)
);
