-- A database of a name, and its owner of the same name, who signs in by a role of IAM. Run by the master user, a
-- statement at a time; each may be run again. ops/aws/admit puts the name in.
create role NAME login;
grant rds_iam to NAME;
grant NAME to current_user;
create database NAME owner NAME;
