-- What NAME_api may write: statements that are closed, a row at a time and never again; saved questions; when a key was
-- last used; and new keys of accounts. Run by the master user in the database NAME once it is migrated; may be run again.
grant insert on pulsegate.statements, pulsegate.statement_rows to NAME_api;
grant insert, update, delete on pulsegate.saved_questions to NAME_api;
grant update (last_used_at) on pulsegate.api_keys to NAME_api;
grant insert on pulsegate.account_keys, pulsegate.privacy_key to NAME_api;
