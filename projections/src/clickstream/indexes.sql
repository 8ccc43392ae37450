create index events_at on events (logged_at, partition, log_offset);
create index events_of_name on events (name, logged_at, partition, log_offset);
create index events_of_account on events (account_id, logged_at, partition, log_offset) where account_id is not null;
create index events_of_visitor on events (anonymous_id, logged_at, partition, log_offset)
  where anonymous_id is not null;
create index events_of_session on events (session_id, logged_at, partition, log_offset) where session_id is not null;
-- Of samples the indexes hold what most questions read, so that these read nothing else.
create index sample_16_of_name on sample_16 (name, logged_at) include (person, partition, log_offset);
create index sample_16_at on sample_16 (logged_at) include (person, name, session_id);
create index sample_256_of_name on sample_256 (name, logged_at) include (person, partition, log_offset);
create index sample_256_at on sample_256 (logged_at) include (person, name, session_id);
