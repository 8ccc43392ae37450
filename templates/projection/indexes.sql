-- What only readers need: a rebuild makes these when the rows are there.
create index counts_by_n on counts (n desc, key);
