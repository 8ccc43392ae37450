create index events_at on events (logged_at, partition, log_offset);
create index events_of_name on events (name, logged_at, partition, log_offset);
create index events_of_account on events (account_id, logged_at, partition, log_offset) where account_id is not null;
create index events_of_visitor on events (anonymous_id, logged_at, partition, log_offset)
  where anonymous_id is not null;
create index events_of_session on events (session_id, logged_at, partition, log_offset) where session_id is not null;
