// A stand-in for pulsegate's HTTP surface while working on the pages: `node tests/mock.mjs [port]`.
// It knows leases, a limit of two, one stream a device and evict; the rules themselves live in the backend.
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { answerOfReports } from './mock_reports.mjs';

const DIST = fileURLToPath(new URL('../dist/', import.meta.url));
const MAX = 2;
const LEASE_MS = 25_000;
const POLICY = 'standard@1';
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.webm': 'video/webm', '.json': 'application/json', '.map': 'application/json' };
const CSP = "default-src 'self'; style-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'";
const DOCS_CSP = `${CSP.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")}; img-src 'self' data:`;

// Enough of a description for the API page to have something to draw.
const account = { name: 'account', in: 'path', required: true, schema: { type: 'string' }, example: 'demo-household' };
const session = { name: 'session', in: 'path', required: true, schema: { type: 'string', format: 'uuid' } };
const verdictAnswer = { description: 'the verdict', content: { 'application/json': { schema: { $ref: '#/components/schemas/Verdict' } } } };
const start = {
  type: 'object',
  required: ['device_id', 'title_id'],
  properties: {
    session_id: { type: 'string', format: 'uuid', description: 'Chosen by the player, so that a retried start is the same start.' },
    device_id: { type: 'string', example: 'tv-1' },
    title_id: { type: 'string', example: 'the-long-tide' },
    evict: { type: 'array', items: { type: 'string', format: 'uuid' }, maxItems: 32 },
  },
};
const DESCRIPTION = {
  openapi: '3.1.0',
  info: { title: 'pulsegate', version: '0.1.0', description: 'Heartbeats in, verdicts out. Every answer names the offset of the log it is as of.' },
  tags: [{ name: 'sessions', description: 'Starting, keeping and ending streams' }, { name: 'live', description: 'What happens now' }],
  paths: {
    '/v1/accounts/{account}/sessions': {
      post: { tags: ['sessions'], summary: 'Start a session', parameters: [account], requestBody: { content: { 'application/json': { schema: start } } }, responses: { 201: verdictAnswer, 409: { description: 'the limit is reached' } } },
      get: { tags: ['sessions'], summary: 'Live and waiting sessions', parameters: [account], responses: { 200: { description: 'sessions' } } },
    },
    '/v1/accounts/{account}/sessions/{session}/verdict': { get: { tags: ['sessions'], summary: 'The block check', parameters: [account, session], responses: { 200: verdictAnswer, 404: { description: 'unknown' } } } },
    '/v1/accounts/{account}/sessions/{session}': { delete: { tags: ['sessions'], summary: 'Stop a session', parameters: [account, session], responses: { 204: { description: 'stopped' } } } },
    '/v1/policies/{name}': { put: { tags: ['sessions'], summary: 'Publish a policy', parameters: [{ ...account, name: 'name' }], responses: { 200: { description: 'its version' } } } },
    '/v1/live': { get: { tags: ['live'], summary: 'What happens now', responses: { 200: { description: 'figures and decisions' } } } },
  },
  components: { schemas: { Verdict: { type: 'object', properties: { decision: { enum: ['allow', 'block'] }, reason: { type: ['string', 'null'] }, in_use: { type: 'integer' }, max: { type: 'integer' } } } } },
};

const PARTITIONS = 4;

/** Three nodes: one that reads a partition which another still answers for, and one that is lost. */
export function someNodes() {
  const since = new Date(Date.now() - 3_600_000).toISOString();
  const fold = (partition, state = 'ready', lag = 0) => ({ partition, state, next_offset: 18_000 + partition, lag, since });
  const nodes = [
    { address: '10.0.0.5:8080', reachable: true, since, owns: [0, 1], partitions: [fold(0), fold(1), fold(2)] },
    { address: '10.0.0.6:8080', reachable: true, since, owns: [2, 3], partitions: [fold(2, 'filling', 1_042), fold(3)] },
    { address: '10.0.0.7:8080', reachable: false, since, owns: [4, 5], partitions: [] },
  ];
  return { mode: 'owned', node: '10.0.0.5:8080', nodes, unowned: [], at: new Date().toISOString() };
}

/** A build in which every partition has folded `ratio` of a log of `end` records. */
function someBuild(name, version, state, ratio, end, over = {}) {
  const now = Date.now();
  const partitions = Array.from({ length: PARTITIONS }, (_, partition) => ({
    topic: name === 'clickstream' ? 'clickstream' : 'playback',
    partition,
    next_offset: Math.round(end * ratio) - (ratio < 1 ? partition * 900 : 0),
    end_offset: end,
    clock: new Date(now - (1 - ratio) * 86_400_000).toISOString(),
  }));
  const build = { name, version, build: `${name}_v${version}`, state, made_at: new Date(now - 90_000).toISOString(), switched_at: null, rebuild: null, parked: 0, skipped: 0, last_error: null, last_error_at: null, updated_at: new Date(now).toISOString(), partitions, history: [], ...over };
  judge(build);
  return build;
}

function judge(build) {
  for (const partition of build.partitions) {
    partition.lag_events = partition.end_offset - partition.next_offset;
    partition.lag_seconds = partition.lag_events === 0 ? 0 : (Date.now() - Date.parse(partition.clock)) / 1_000;
  }
  if (build.state === 'building') {
    const sum = (name) => build.partitions.reduce((total, partition) => total + partition[name], 0);
    const left = sum('end_offset') - sum('next_offset');
    build.rebuild = { phase: 'filling', since: build.made_at, done_events: sum('next_offset'), total_events: sum('end_offset'), left_seconds: left / 80_000 };
    build.rate = 80_000;
  }
  build.lag_events = build.partitions.reduce((sum, { lag_events }) => sum + lag_events, 0);
  build.lag_seconds = Math.max(...build.partitions.map(({ lag_seconds }) => lag_seconds));
}

/** What is being built gets further each time that it is asked about. */
function goOn(build) {
  if (build.state !== 'building') return;
  for (const partition of build.partitions) partition.next_offset = Math.min(partition.end_offset, partition.next_offset + 40_000);
  build.updated_at = new Date().toISOString();
  judge(build);
}

export function someBuilds() {
  const ago = (minutes) => new Date(Date.now() - minutes * 60_000).toISOString();
  return [
    someBuild('active_sessions', 1, 'live', 1, 1_204_118, { switched_at: ago(60 * 24 * 9), history: [{ at: ago(60 * 24 * 9), what: 'installed', detail: 'live' }] }),
    someBuild('licensing', 2, 'live', 0.99999, 1_204_118, {
      switched_at: ago(60 * 26),
      parked: 3,
      last_error: 'database: deadlock detected',
      last_error_at: ago(4),
      history: [
        { at: ago(60 * 26), what: 'switched', detail: 'from licensing_v1' },
        { at: ago(60 * 27), what: 'verified', detail: '1 204 002 rows at one offset vector' },
      ],
    }),
    someBuild('licensing', 3, 'building', 0.41, 1_204_118, { build: 'licensing_v3' }),
    someBuild('licensing', 1, 'retired', 0.9, 1_204_118, { history: [{ at: ago(60 * 24 * 9), what: 'installed', detail: 'live' }] }),
    someBuild('clickstream', 1, 'live', 1, 88_104, { switched_at: ago(60 * 24 * 9) }),
  ];
}

export async function serveMock(port = 0) {
  const sessions = new Map();
  const decisions = [];
  const beats = [];
  let offset = 1_000;
  let refused = 0;

  const iso = (ms = Date.now()) => new Date(ms).toISOString();
  const asOf = () => ({ partition: 3, offset, at: iso() });
  const isLive = (session) => session.end === null && Date.now() < session.aliveUntil;
  const holders = (account) => [...sessions.values()].filter((s) => s.account_id === account && s.holds && isLive(s)).sort((a, b) => a.rank - b.rank);

  function decide(decision, session, reason, counted = [], by = null) {
    offset += 1;
    const { account_id, session_id, device_id, device_class, title_id } = session;
    decisions.unshift({ decision, account_id, session_id, device_id, device_class, title_id, reason, policy: POLICY, rule: 'account', max: MAX, counted: counted.map((s) => s.session_id), by, partition: 3, offset, at: iso() });
    decisions.length = Math.min(decisions.length, 500);
  }

  function end(session, reason, by = null) {
    if (session.end) return;
    session.end = { reason, by };
    session.holds = false;
    decide('end', session, reason, [], by);
  }

  function verdict(session) {
    const held = holders(session.account_id);
    const others = held.filter((s) => s !== session);
    const base = { policy: POLICY, rule: 'account', max: MAX, in_use: held.length, conflicts: [], frees_in_ms: 0, room: true, by: null };
    if (session.end) return { ...base, decision: 'block', reason: session.end.reason, room: false, by: session.end.by };
    if (session.holds && isLive(session)) return { ...base, decision: 'allow', reason: null };
    const room = others.length < MAX;
    const conflicts = session.refused
      ? others.map((s) => ({ session_id: s.session_id, device_id: s.device_id, device_class: s.device_class, title_id: s.title_id, started_at: s.started_at, last_seen_at: s.last_seen_at }))
      : [];
    const frees = room ? 0 : Math.max(0, Math.min(...others.map((s) => s.aliveUntil)) - Date.now());
    return { ...base, decision: 'block', reason: session.refused ? 'limit_reached' : 'lease_expired', conflicts, frees_in_ms: frees, room };
  }

  function ask(session, evict = []) {
    const me = { session_id: session.session_id, device_id: session.device_id };
    for (const other of sessions.values()) {
      if (other !== session && other.account_id === session.account_id && other.device_id === session.device_id) end(other, 'replaced', me);
    }
    const others = holders(session.account_id).filter((s) => s !== session);
    const chosen = others.filter((s) => evict.includes(s.session_id));
    if (others.length - chosen.length < MAX) {
      for (const other of chosen) end(other, 'evicted', me);
      session.holds = true;
      session.refused = false;
      session.rank = offset;
      decide('grant', session, null, others.filter((s) => !chosen.includes(s)));
    } else {
      refused += 1;
      beats.push({ at: Date.now(), refused: true });
      if (!session.refused) decide('refuse', session, 'limit_reached', others);
      session.refused = true;
    }
  }

  function evidence(decision, { session_id, device_id, device_class, title_id, last_seen_at, alive_until }) {
    const age_ms = Math.max(0, Date.parse(decision.at) - Date.parse(last_seen_at));
    return { session_id, device_id, device_class, title_id, kind: 'heartbeat', state: 'playing', sequence: 3, late_ms: 0, source: '/v1/accounts/sessions/heartbeats', offset: decision.offset - 1, at: last_seen_at, age_ms, alive_until };
  }

  function seen(account, body, id, evict) {
    let session = sessions.get(id);
    if (session && session.account_id !== account) return null;
    if (!session) {
      session = { session_id: id, account_id: account, device_id: body.device_id, device_class: body.device_class ?? 'other', title_id: body.title_id, content_kind: body.content_kind ?? 'vod', territory: body.territory ?? 'ZZ', rights_holder: null, inferred: false, started_at: iso(), holds: false, refused: false, end: null, state: 'playing', paused_since: null };
      sessions.set(id, session);
    }
    if (session.end) return session;
    if (session.holds && !isLive(session)) session.holds = false;
    session.state = body.state ?? 'playing';
    session.paused_since = session.state === 'paused' ? (session.paused_since ?? iso()) : null;
    session.last_seen_at = iso();
    session.aliveUntil = Date.now() + LEASE_MS;
    session.alive_until = iso(session.aliveUntil);
    if (!session.holds && ['playing', 'buffering', 'seeking'].includes(session.state)) ask(session, evict);
    return session;
  }

  const shown = ({ holds, refused: _refused, end: ended, aliveUntil, rank, ...session }) => ({ ...session, verdict: verdict(sessions.get(session.session_id)) });
  const problem = (status, code, detail, over = {}) => [status, { type: `/problems/${code}`, title: code.replaceAll('-', ' '), status, code, detail, request_id: 'mock', ...over }];

  function live() {
    const now = Date.now();
    const recent = beats.filter(({ at }) => now - at < 60_000);
    beats.splice(0, beats.length, ...recent);
    const all = [...sessions.values()].filter(isLive);
    const holding = all.filter((s) => s.holds);
    return {
      streams_now: holding.length,
      waiting_now: all.filter((s) => !s.holds && s.refused).length,
      accounts_now: new Set(holding.map((s) => s.account_id)).size,
      heartbeats_per_s: recent.filter((b) => !b.refused && now - b.at < 10_000).length / 10,
      blocked_attempts_per_min: recent.filter((b) => b.refused).length,
      blocked_attempts_total: refused,
      decisions: decisions.slice(0, 50),
      as_of: { at: iso() },
    };
  }

  const builds = someBuilds();

  function answer(method, path, body, query) {
    const report = answerOfReports(method, path, body, query);
    if (report !== null) return report;
    if (path === '/v1/live') return [200, live()];
    if (path === '/v1/me') return [200, { kind: 'anyone', scopes: [] }];
    if (path === '/v1/cluster') return [200, { mode: 'whole', node: 'mock:1', nodes: [], unowned: [], at: new Date().toISOString() }];
    if (path === '/v1/projections') {
      builds.forEach(goOn);
      return [200, { projections: builds }];
    }
    if (path === '/v1/heartbeats') {
      for (const beat of body.heartbeats) if ((beat.age_ms ?? 0) < LEASE_MS) seen(beat.account_id, beat, beat.session_id);
      return [200, { accepted: body.heartbeats.length, rejected: [] }];
    }
    const match = /^\/v1\/accounts\/([^/]+)\/(sessions|decisions)(?:\/([^/]+))?(?:\/(\w+))?$/.exec(path);
    if (!match) return problem(404, 'not-found', `nothing is at ${path}`);
    const [, account, what, id, verb] = match;
    if (what === 'decisions') {
      const own = decisions.filter((d) => d.account_id === account && (!query.has('before') || d.offset < Number.parseInt(query.get('before'), 10)));
      if (query.get('evidence') !== 'true') return [200, { decisions: own.slice(0, 100) }];
      return [200, { decisions: own.map((d) => ({ ...d, evidence: d.counted.map((counted) => evidence(d, sessions.get(counted))) })) }];
    }
    if (!id && method === 'GET') {
      const list = [...sessions.values()].filter((s) => s.account_id === account && isLive(s)).map(shown);
      return [200, { sessions: list, as_of: asOf() }];
    }
    if (!id || verb === 'heartbeats') {
      if (id) beats.push({ at: Date.now() });
      const session = seen(account, body, id ?? body.session_id, body.evict);
      const its = verdict(session);
      if (session.end) return problem(410, 'session-ended', `the session was ${its.reason}`, { verdict: its, as_of: asOf() });
      if (id) return [200, { verdict: its, as_of: asOf(), next_heartbeat_in_ms: 10_000 }];
      if (its.decision === 'block') return problem(409, 'concurrency-limit-reached', `${its.max} streams of ${its.policy} are in use`, { verdict: its, as_of: asOf() });
      return [201, { session: shown(session), verdict: its, as_of: asOf(), heartbeat_interval_ms: 10_000 }];
    }
    const session = sessions.get(id);
    if (verb === 'stop' || method === 'DELETE') {
      if (session) end(session, 'stopped');
      return [204, null];
    }
    if (!session || session.account_id !== account) return problem(404, 'session-unknown', 'no such session');
    if (verb === 'evict') {
      end(session, 'evicted');
      return [200, { verdict: verdict(session), as_of: asOf() }];
    }
    return [200, { verdict: verdict(session), as_of: asOf(), heartbeat_interval_ms: 10_000 }];
  }

  async function file(path, response) {
    const name = path === '/' ? 'index.html' : /^\/[a-z]+$/.test(path) ? `${path.slice(1)}.html` : normalize(path).replace(/^\/+/, '');
    const bytes = path === '/openapi.json' ? JSON.stringify(DESCRIPTION) : await readFile(join(DIST, name)).catch(() => null);
    if (!bytes) return void response.writeHead(404).end('not found');
    response.writeHead(200, {
      'content-type': TYPES[extname(name)] ?? 'application/octet-stream',
      'content-security-policy': path === '/docs' ? DOCS_CSP : CSP,
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-cache',
    });
    response.end(bytes);
  }

  /** The word of a verdict, as a wait names it. */
  const word = (of) => (of.decision === 'allow' ? 'allow' : of.room ? 'room' : of.reason);

  /** Holds an answer back until its verdict says something else than the caller knows, or the wait is over. */
  async function waited(query, gone, again) {
    const begunMs = Date.now();
    const waitMs = Number.parseFloat(query.get('wait')) * 1_000;
    for (;;) {
      const [status, body] = again();
      const waited_ms = Date.now() - begunMs;
      if (status !== 200 || word(body.verdict) !== query.get('since') || waited_ms >= waitMs || gone()) return [status, { ...body, waited_ms }];
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  const server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://mock');
    if (!pathname.startsWith('/v1/')) return file(pathname, response);
    let text = '';
    for await (const chunk of request) text += chunk;
    const again = () => answer(request.method, decodeURIComponent(pathname), text ? JSON.parse(text) : null, searchParams);
    const [status, body] = searchParams.has('wait') ? await waited(searchParams, () => response.destroyed, again) : again();
    response.writeHead(status, { 'content-type': status >= 400 ? 'application/problem+json' : 'application/json' });
    response.end(body === null ? undefined : JSON.stringify(body));
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { url } = await serveMock(Number(process.argv[2] ?? 8080));
  console.log(`mock of pulsegate on ${url}`);
}
