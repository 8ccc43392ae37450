-- What only readers need: a rebuild makes them when the rows are there.
create index decisions_of_account on decisions (account_id, log_offset desc, ordinal desc);
