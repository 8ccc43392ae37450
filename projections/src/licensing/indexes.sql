create index facts_of_day on facts (day, title_id);
