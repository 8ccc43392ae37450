-- Keys by which servers call. Of a secret only its hash is here.
create table pulsegate.api_keys (
  id text not null,
  name text not null,
  scopes text[] not null,
  secret_sha256 bytea not null,
  -- The secret before the last rotation, good until then.
  old_sha256 bytea,
  old_until timestamptz,
  created_at timestamptz not null default now(),
  created_by text not null,
  expires_at timestamptz,
  -- To the hour.
  last_used_at timestamptz,
  revoked_at timestamptz,
  constraint api_keys_pk primary key (id),
  constraint api_keys_hashes_are_sha256 check (length(secret_sha256) = 32 and length(coalesce(old_sha256, secret_sha256)) = 32)
);
