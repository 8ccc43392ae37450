-- Who reads what NAME makes, now and later: views that are replaced at a switch, tables of builds to come. Run by the
-- master user in the database NAME, a statement at a time; each may be run again.
create role NAME_api login;
grant rds_iam to NAME_api;
grant connect on database NAME to NAME_api;
alter default privileges for role NAME grant usage on schemas to NAME_api;
alter default privileges for role NAME grant select on tables to NAME_api;
