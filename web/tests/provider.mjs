// A real OpenID provider for tests: node tests/provider.mjs PORT REDIRECT_URI
// Anybody signs in by their name, whatever the password; anna has the role "ops", ben "finance", all others none.
import Provider from 'oidc-provider';

const [port, redirectUri] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const ROLES = { anna: ['ops', 'staff'], ben: ['finance'] };

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'pulsegate',
      client_secret: 'a secret: of/the client+',
      redirect_uris: [redirectUri],
      grant_types: ['authorization_code'],
      response_types: ['code'],
    },
  ],
  claims: { openid: ['sub', 'roles'], profile: ['name'], email: ['email'] },
  pkce: { required: () => true },
  cookies: { keys: ['of this process alone'] },
  features: { devInteractions: { enabled: true } },
  findAccount: (_context, id) => ({
    accountId: id,
    claims: () => ({ sub: id, name: id[0].toUpperCase() + id.slice(1), roles: ROLES[id] ?? [] }),
  }),
});
provider.on('server_error', (_context, error) => console.error(error));
provider.listen(Number(port), '127.0.0.1', () => console.log(`listening at ${issuer}`));
