-- What NAME_api may write: statements that are closed, a row at a time and never again, and saved questions. Run by the master user in the
-- database NAME once it is migrated; may be run again.
grant insert on pulsegate.statements, pulsegate.statement_rows to NAME_api;
grant insert, update, delete on pulsegate.saved_questions to NAME_api;
