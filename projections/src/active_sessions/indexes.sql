-- What only readers need: a rebuild makes them when the rows are there.
create index decisions_of_account on decisions (account_id, log_offset desc, ordinal desc);

-- Sessions that were inferred from signals have a version 5 id; they are few, and a report counts them.
create index decisions_of_inferred on decisions (at) where get_byte(uuid_send(session_id), 6) >> 4 = 5;

-- Who was told no: reports of a month ask for these alone, and they are few among all decisions.
create index decisions_refused on decisions (at) where decision = 'refuse';
