-- The key of each account whose clickstream properties are sealed, and who was forgotten. Nothing here says which account
-- that is to whom doesn't have PULSEGATE_PRIVACY_KEY. What is here can't be made anew from the log: it belongs in backups.
create table pulsegate.account_keys (
  -- A keyed hash of the account's id.
  who bytea not null,
  -- The key, wrapped; null once it was destroyed.
  wrapped bytea,
  made_at timestamptz not null default now(),
  forgotten_at timestamptz,
  constraint account_keys_pk primary key (who),
  constraint account_keys_who_is_a_hash check (length(who) = 16),
  constraint account_keys_forgotten_has_no_key check ((wrapped is null) = (forgotten_at is not null))
);

create index account_keys_forgotten on pulsegate.account_keys (forgotten_at) where forgotten_at is not null;

-- The builds that still name an account that is forgotten. There its records are folded as ever until its rows are
-- changed, in one transaction with the end of that: else one session would be two.
create table pulsegate.forgetting (
  who bytea not null,
  build text not null,
  constraint forgetting_pk primary key (build, who)
);

-- By which PULSEGATE_PRIVACY_KEY all of that is: a process with another one would find nobody's key, and read nothing of
-- what was written.
create table pulsegate.privacy_key (
  is_this boolean not null default true,
  fingerprint bytea not null,
  constraint privacy_key_pk primary key (is_this),
  constraint privacy_key_is_one check (is_this)
);

-- What stands in the place of a forgotten account's device. The program says the same of records that it reads.
create function pulsegate.veiled_device(who bytea, device text) returns text language sql immutable parallel safe as $$
  select 'forgotten:' || left(encode(sha256(who || convert_to(device, 'UTF8')), 'hex'), 24)
$$;

-- The same for what it takes to go on folding a session: text with ids in it, none of which needs an escape.
create function pulsegate.veiled_state(who bytea, state text) returns text language plpgsql immutable parallel safe as $$
declare
  device text;
begin
  for device in select distinct matched[1] from regexp_matches(state, '"device_id":"([^"]*)"', 'g') as matched loop
    state := replace(state, '"device_id":"' || device || '"',
                     '"device_id":"' || pulsegate.veiled_device(who, device) || '"');
  end loop;
  return state;
end $$;
