import assert from 'node:assert/strict';
import { test } from 'node:test';
import { beatYes, full, gone, problem, scene, verdict, yes, type Request } from './fake.js';
import { PulsegateSession } from '../sdk/session.js';
import { FakeHost } from './fake.js';

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const busy = (retryAfter: string) => problem(503, 'log-unavailable', {}, { 'retry-after': retryAfter });
const refusal = (over = {}) => problem(409, 'concurrency-limit-reached', { verdict: full(over) });
const states = (requests: Request[]) => requests.map(({ body }) => body.state);

test('a start is answered before the player plays', async () => {
  const { host, player, session, seen } = scene();
  player.pressPlay();
  assert.deepEqual(player.told, ['pause']);
  await host.pass(0);
  assert.deepEqual(player.told, ['pause', 'play']);
  assert.equal(seen('allowed').length, 1);
  const [start] = host.made('start');
  assert.match(start!.sessionId, UUID_V7);
  assert.deepEqual(start!.body, { session_id: session.status.sessionId, device_id: 'tv-1', title_id: 'film' });
});

test('heartbeats follow the interval that the service names, from sequence 0', async () => {
  const { host, session, answers } = scene();
  answers.heartbeat = { status: 200, body: { verdict: verdict(), next_heartbeat_in_ms: 4_000 } };
  session.start();
  await host.pass(9_000);
  const beats = host.made('heartbeat');
  assert.deepEqual(beats.map(({ body }) => body.sequence), [0, 1, 2]);
  assert.deepEqual(beats.map(({ body }) => body.elapsed_ms), [0, 4_000, 8_000]);
  assert.deepEqual(states(beats), ['playing', 'playing', 'playing']);
  assert.equal(beats[1]!.body.position_ms, 9_000);
  assert.equal('age_ms' in beats[1]!.body, false);
});

test('a change of state is told at once, but not each of a storm', async () => {
  const { host, player, session } = scene();
  session.start();
  await host.pass(2_000);
  player.become('paused');
  await host.pass(0);
  assert.deepEqual(states(host.made('heartbeat')), ['playing', 'paused']);
  for (let turn = 0; turn < 20; turn += 1) {
    player.become('seeking');
    player.become('playing');
  }
  await host.pass(2_000);
  assert.deepEqual(states(host.made('heartbeat')), ['playing', 'paused', 'playing']);
});

test('a seek that is over in a moment, as when a clip loops, is not told', async () => {
  const { host, player, session } = scene();
  session.start();
  await host.pass(2_000);
  player.become('seeking');
  await host.pass(100);
  player.become('playing');
  await host.pass(3_000);
  assert.equal(host.made('heartbeat').length, 1);
});

test('what cannot be sent is kept in order and sent late with its age, the newest alone', async () => {
  const { host, session, answers } = scene();
  session.start();
  await host.pass(5_000);
  answers.heartbeat = answers.batch = 'unreachable';
  await host.pass(40_000);
  assert.equal(session.status.state, 'allowed');
  assert.equal(session.status.pending, 4);
  assert.equal(session.status.reachable, false);
  host.requests = [];
  answers.heartbeat = beatYes;
  answers.batch = { status: 200, body: { accepted: 3, rejected: [] } };
  host.page('online');
  await host.pass(0);
  const [batch, newest] = host.requests;
  assert.deepEqual(batch!.body.heartbeats.map((beat: any) => [beat.sequence, beat.age_ms]), [[1, 35_000], [2, 25_000], [3, 15_000]]);
  assert.deepEqual([newest!.call, newest!.body.sequence, newest!.body.age_ms], ['heartbeat', 4, 5_000]);
  assert.equal(batch!.body.heartbeats[0].account_id, 'acme');
  assert.equal(batch!.body.heartbeats[0].session_id, session.status.sessionId);
  assert.deepEqual([session.status.pending, session.status.dropped, session.status.reachable], [0, 0, true]);
});

test('what waits is bounded: the oldest is dropped and counted', async () => {
  const { host, session, answers } = scene({ keepAtMost: 3 });
  session.start();
  await host.pass(5_000);
  answers.heartbeat = answers.batch = 'unreachable';
  await host.pass(60_000);
  assert.deepEqual([session.status.pending, session.status.dropped], [3, 3]);
  answers.heartbeat = beatYes;
  answers.batch = { status: 200, body: { accepted: 2, rejected: [] } };
  host.page('online');
  await host.pass(0);
  assert.deepEqual(host.made('batch').at(-1)!.body.heartbeats.map((beat: any) => beat.sequence), [4, 5]);
});

test('a heartbeat older than seven days is not sent', async () => {
  const { host, session, answers } = scene();
  session.start();
  await host.pass(5_000);
  answers.heartbeat = answers.batch = 'silence';
  await host.pass(10_000);
  host.nowMs += 8 * 24 * 3_600_000;
  answers.heartbeat = beatYes;
  answers.batch = { status: 200, body: { accepted: 0, rejected: [] } };
  await host.pass(60_000);
  assert.equal(session.status.dropped, 1);
  const sent = host.requests.flatMap(({ body }) => body?.heartbeats ?? [body]);
  assert.ok(sent.every((beat: any) => (beat?.age_ms ?? 0) <= 7 * 24 * 3_600_000));
});

test('one heartbeat that the service refuses costs no other', async () => {
  const { host, session, answers, seen } = scene();
  session.start();
  await host.pass(5_000);
  answers.heartbeat = answers.batch = 'unreachable';
  await host.pass(60_000);
  const isWrong = ({ body }: Request) => (body.heartbeats ?? [body]).some((beat: any) => beat.sequence === 3);
  answers.heartbeat = (request) => (isWrong(request) ? problem(422, 'validation-failed') : beatYes);
  answers.batch = (request) => (isWrong(request) ? problem(422, 'validation-failed') : { status: 200, body: { accepted: 1, rejected: [] } });
  host.page('online');
  await host.pass(0);
  assert.deepEqual([session.status.pending, session.status.dropped], [0, 1]);
  assert.equal(seen('error').at(-1).code, 'validation-failed');
});

test('of a batch, what may be sent again is, as long as nothing after it was taken', async () => {
  const { host, session, answers } = scene();
  session.start();
  await host.pass(5_000);
  answers.heartbeat = answers.batch = 'unreachable';
  await host.pass(60_000);
  const no = (index: number, code: string) => ({ index, code, detail: 'no' });
  answers.heartbeat = beatYes;
  answers.batch = { status: 200, body: { accepted: 1, rejected: [no(0, 'invalid'), no(1, 'unavailable'), no(3, 'unavailable'), no(4, 'overloaded')] } };
  host.page('online');
  await host.pass(0);
  assert.deepEqual([session.status.pending, session.status.dropped], [3, 2]);
  answers.batch = { status: 200, body: { accepted: 2, rejected: [] } };
  const before = host.made('batch').length;
  await host.pass(32_000);
  const sequences = host.made('batch')[before]!.body.heartbeats.map((beat: any) => beat.sequence);
  assert.deepEqual(sequences.slice(0, 2), [4, 5]);
  assert.equal(session.status.pending, 0);
});

test('503 never stops playback, and Retry-After is kept to', async () => {
  const { host, player, session, answers, seen } = scene();
  answers.start = busy('7');
  session.start();
  await host.pass(0);
  assert.equal(player.current, 'playing');
  assert.deepEqual(seen('allowed'), [{ verdict: null, provisional: true }]);
  assert.equal(session.status.confirmed, false);
  await host.pass(6_900);
  assert.equal(host.made('start').length, 1);
  answers.start = yes;
  await host.pass(200);
  const [first, second] = host.made('start');
  assert.equal(second!.sessionId, first!.sessionId);
  assert.equal(session.status.confirmed, true);
  assert.equal(host.made('heartbeat')[0]!.body.sequence, 0);
  assert.equal(host.made('heartbeat')[0]!.body.age_ms, 7_000);
});

test('a start lost to silence is sent again with the same id, while the player plays on', async () => {
  const { host, player, session, answers } = scene();
  answers.start = 'silence';
  session.start();
  await host.pass(1_400);
  assert.equal(player.current, 'paused');
  await host.pass(200);
  assert.equal(player.current, 'playing');
  answers.start = yes;
  await host.pass(5_000);
  assert.equal(new Set(host.made('start').map(({ sessionId }) => sessionId)).size, 1);
  assert.equal(host.made('start').length, 2);
  assert.equal(session.status.confirmed, true);
});

test('a start answered late by "blocked" pauses what played on', async () => {
  const { host, player, session, answers } = scene();
  answers.start = busy('1');
  session.start();
  await host.pass(500);
  assert.equal(player.current, 'playing');
  answers.start = refusal();
  await host.pass(2_000);
  assert.deepEqual([session.status.state, player.current], ['blocked', 'paused']);
});

test('a start that is given up gets a stop', async () => {
  const { host, session, answers } = scene();
  answers.start = 'silence';
  session.start();
  await host.pass(100);
  const id = session.status.sessionId;
  session.stop();
  await host.pass(0);
  assert.deepEqual(host.made('stop').map(({ sessionId }) => sessionId), [id]);
  await host.pass(60_000);
  assert.equal(host.made('start').length, 1);
  assert.equal(host.timers, 0);
});

test('a stop follows the heartbeats that still wait', async () => {
  const { host, session, answers, names } = scene();
  session.start();
  await host.pass(5_000);
  answers.heartbeat = 'unreachable';
  await host.pass(10_000);
  session.stop();
  answers.heartbeat = beatYes;
  host.page('online');
  await host.pass(0);
  assert.deepEqual(host.requests.slice(-2).map(({ call }) => call), ['heartbeat', 'stop']);
  assert.deepEqual(host.made('stop')[0]!.body, { sequence: 1, elapsed_ms: 15_000, position_ms: 20_000 });
  assert.equal(names().at(-1), 'stopped');
  assert.equal(host.timers, 0);
});

test('a page that goes away stops its session by a beacon, or else by a request that outlives it', async () => {
  const one = scene();
  one.session.start();
  await one.host.pass(2_000);
  const id = one.session.status.sessionId;
  one.host.page('hidden-for-good');
  assert.deepEqual(one.host.made('beacon').map(({ sessionId, body }) => [sessionId, body.elapsed_ms]), [[id, 2_000]]);

  const other = scene();
  other.host.beaconWorks = false;
  other.session.start();
  await other.host.pass(2_000);
  other.host.page('hidden-for-good');
  assert.equal(other.host.made('stop').length, 1);
});

test('a page that comes back from the cache plays as a new session', async () => {
  const { host, session } = scene();
  session.start();
  await host.pass(2_000);
  const before = session.status.sessionId;
  host.page('hidden-for-good');
  host.page('shown');
  await host.pass(0);
  assert.equal(session.status.state, 'allowed');
  assert.notEqual(session.status.sessionId, before);
});

test('blocked: stays known, checks the verdict, and plays by itself when there is room', async () => {
  const { host, player, session, answers, seen, names } = scene();
  answers.start = refusal();
  answers.heartbeat = { status: 200, body: { verdict: full(), next_heartbeat_in_ms: 10_000 } };
  answers.verdict = { status: 200, body: { verdict: full(), as_of: {} } };
  session.start();
  await host.pass(30_500);
  assert.equal(seen('blocked')[0].verdict.max, 2);
  assert.deepEqual(states(host.made('heartbeat')), ['blocked', 'blocked', 'blocked']);
  assert.equal(host.made('start').length, 1);
  const gaps = host.made('verdict').map(({ atMs }, index, all) => atMs - (all[index - 1]?.atMs ?? 5_000));
  assert.ok(gaps.every((gap) => gap >= 2_000), `checked too often: ${gaps}`);
  assert.equal(player.current, 'paused');

  answers.verdict = { status: 200, body: { verdict: full({ room: true, frees_in_ms: 0 }), as_of: {} } };
  answers.start = yes;
  answers.heartbeat = beatYes;
  await host.pass(2_000);
  assert.equal(player.current, 'playing');
  assert.deepEqual(host.made('start').map(({ sessionId }) => sessionId), Array(2).fill(session.status.sessionId));
  assert.ok(names().includes('resumed'));
  await host.pass(1_000);
  assert.equal(states(host.made('heartbeat')).at(-1), 'playing');
});

test('blocked: the viewer pressing play is held back', async () => {
  const { host, player, session, answers } = scene();
  answers.start = refusal();
  session.start();
  await host.pass(0);
  player.pressPlay();
  assert.equal(player.current, 'paused');
  assert.equal(session.status.state, 'blocked');
});

test('watchHereInstead starts the same session with evict', async () => {
  const { host, player, session, answers } = scene();
  answers.start = ({ body }) => (body.evict ? yes : refusal());
  session.start();
  await host.pass(500);
  session.watchHereInstead(['0199c3a4-0000-7000-8000-000000000001']);
  await host.pass(0);
  const [first, second] = host.made('start');
  assert.equal(second!.sessionId, first!.sessionId);
  assert.deepEqual(second!.body.evict, ['0199c3a4-0000-7000-8000-000000000001']);
  assert.equal(player.current, 'playing');
});

test('a choice that is refused is not repeated by itself', async () => {
  const { host, session, answers } = scene();
  answers.start = refusal();
  answers.verdict = { status: 200, body: { verdict: full(), as_of: {} } };
  session.start();
  await host.pass(500);
  answers.verdict = { status: 200, body: { verdict: full({ room: true }), as_of: {} } };
  session.watchHereInstead(['0199c3a4-0000-7000-8000-000000000001']);
  await host.pass(3_000);
  assert.deepEqual(host.made('start').map(({ body }) => body.evict?.length ?? 0), [0, 1, 0]);
});

test('a heartbeat that asked and was refused blocks', async () => {
  const { host, player, session, answers } = scene();
  session.start();
  await host.pass(5_000);
  answers.heartbeat = { status: 200, body: { verdict: full(), next_heartbeat_in_ms: 10_000 } };
  answers.verdict = { status: 200, body: { verdict: full(), as_of: {} } };
  await host.pass(6_000);
  assert.deepEqual([session.status.state, player.current], ['blocked', 'paused']);
  assert.equal(states(host.made('heartbeat')).at(-1), 'blocked');
  assert.ok(host.made('verdict').length === 0);
  await host.pass(2_000);
  assert.equal(host.made('verdict').length, 1);
});

test('the late answer to a heartbeat from before does not undo a new slot', async () => {
  const { host, session, answers } = scene();
  answers.start = refusal();
  answers.heartbeat = 'silence';
  answers.verdict = { status: 200, body: { verdict: full(), as_of: {} } };
  session.start();
  await host.pass(10_100);
  answers.start = yes;
  answers.verdict = { status: 200, body: { verdict: full({ room: true }), as_of: {} } };
  await host.pass(2_500);
  assert.equal(session.status.state, 'allowed');
  answers.heartbeat = ({ body }) => ({ status: 200, body: { verdict: body.state === 'blocked' ? full() : verdict(), next_heartbeat_in_ms: 10_000 } });
  answers.batch = { status: 200, body: { accepted: 1, rejected: [] } };
  await host.pass(10_000);
  assert.equal(session.status.state, 'allowed');
});

test('evicted or displaced: says so and stops, until the viewer wants it back', async () => {
  for (const reason of ['evicted', 'displaced'] as const) {
    const { host, player, session, answers, seen } = scene();
    session.start();
    await host.pass(5_000);
    const by = { session_id: '0199c3a4-0000-7000-8000-000000000001', device_id: 'phone-2' };
    answers.heartbeat = problem(410, 'session-ended', { verdict: gone(reason, by) });
    await host.pass(30_000);
    assert.deepEqual([session.status.state, player.current], ['evicted', 'paused']);
    assert.deepEqual([seen('evicted').length, seen('evicted')[0].reason, seen('evicted')[0].by], [1, reason, by]);
    assert.equal(host.made('heartbeat').length, 2);
    assert.equal(host.timers, 0);
    answers.heartbeat = beatYes;
    player.pressPlay();
    await host.pass(0);
    assert.equal(session.status.state, 'allowed');
    assert.equal(new Set(host.made('start').map(({ sessionId }) => sessionId)).size, 2);
  }
});

test('two tabs of one device: the visible one goes on, the hidden one waits for a click', async () => {
  const by = { session_id: '0199c3a4-0000-7000-8000-000000000001', device_id: 'tv-1' };
  for (const [visible, state] of [[true, 'allowed'], [false, 'evicted']] as const) {
    const { host, player, session, answers, names } = scene();
    session.start();
    await host.pass(5_000);
    const before = session.status.sessionId;
    host.visible = visible;
    answers.heartbeat = ({ sessionId }) =>
      sessionId === before ? problem(410, 'session-ended', { verdict: gone('replaced', by) }) : beatYes;
    await host.pass(6_000);
    assert.equal(session.status.state, state);
    assert.equal(names().includes('resumed'), visible);
    host.page('visible');
    await host.pass(1_000);
    assert.equal(session.status.state, state);
    if (!visible) player.pressPlay();
    await host.pass(0);
    assert.equal(session.status.state, 'allowed');
  }
});

test('two visible windows of one device end each other once, not for ever', async () => {
  const { host, session, answers } = scene();
  session.start();
  await host.pass(5_000);
  answers.heartbeat = problem(410, 'session-ended', { verdict: gone('replaced', { session_id: 'x', device_id: 'tv-1' }) });
  await host.pass(120_000);
  assert.equal(host.made('start').length, 2);
  assert.equal(session.status.state, 'evicted');
});

test('stopped or expired: a new session if the viewer is watching, else over', async () => {
  for (const reason of ['stopped', 'expired'] as const) {
    for (const watching of [true, false]) {
      const { host, player, session, answers } = scene();
      session.start();
      await host.pass(5_000);
      if (!watching) player.become('paused');
      await host.pass(2_000);
      const before = session.status.sessionId;
      answers.heartbeat = ({ sessionId }) => (sessionId === before ? problem(410, 'session-ended', { verdict: gone(reason) }) : beatYes);
      await host.pass(10_000);
      assert.equal(session.status.state, watching ? 'allowed' : 'stopped');
      assert.equal(host.made('start').length, watching ? 2 : 1);
    }
  }
});

test('session-too-old: another id once, of chance alone where the clock must be wrong', async () => {
  const { host, session, answers, seen } = scene();
  answers.start = problem(422, 'session-too-old');
  session.start();
  await host.pass(60_000);
  const [first, second, ...more] = host.made('start').map(({ sessionId }) => sessionId);
  assert.match(first!, UUID_V7);
  assert.match(second!, /^.{14}4/);
  assert.deepEqual(more, []);
  assert.equal(session.status.state, 'failed');
  assert.equal(seen('error').at(-1).fatal, true);
});

test('a session that grew too old while it slept goes on under a new id', async () => {
  const { host, session, answers } = scene();
  session.start();
  await host.pass(5_000);
  const before = session.status.sessionId;
  host.nowMs += 2 * 24 * 3_600_000;
  answers.heartbeat = ({ sessionId }) => (sessionId === before ? problem(422, 'session-too-old') : beatYes);
  await host.pass(15_000);
  assert.equal(session.status.state, 'allowed');
  assert.notEqual(session.status.sessionId, before);
  assert.match(session.status.sessionId!, UUID_V7);
});

test('a request that is refused as such fails, loudly', async () => {
  const { host, player, session, answers, seen } = scene();
  answers.start = problem(422, 'validation-failed');
  session.start();
  await host.pass(1_000);
  assert.deepEqual([session.status.state, player.current], ['failed', 'paused']);
  assert.deepEqual(seen('error'), [{ code: 'validation-failed', detail: 'it is validation-failed', status: 422, fatal: true }]);
});

test('a listener that throws harms nobody', async (context) => {
  const log = context.mock.method(console, 'error', () => {});
  const { host, session } = scene();
  session.on('allowed', () => {
    throw new Error('mine');
  });
  session.start();
  await host.pass(0);
  assert.equal(session.status.state, 'allowed');
  assert.equal(log.mock.callCount(), 1);
});

test('a player that may not play by itself is reported, not thrown', async () => {
  const { host, player, session, seen } = scene();
  player.play = () => Promise.reject(new DOMException('no gesture', 'NotAllowedError')) as never;
  session.start();
  await host.pass(1_000);
  assert.equal(seen('error')[0].code, 'autoplay-blocked');
  assert.deepEqual(states(host.made('heartbeat')), ['paused']);
});

test('without a player, what report() says is sent', async () => {
  const host = new FakeHost();
  host.answer = ({ call }) => (call === 'start' ? yes : beatYes);
  const session = new PulsegateSession({ baseUrl: 'http://test/', accountId: 'a', titleId: 't', deviceId: 'd' }, host);
  session.start();
  await host.pass(3_000);
  session.report({ state: 'paused', positionMs: 1_234.9, rate: 0 });
  await host.pass(0);
  const last = host.made('heartbeat').at(-1)!.body;
  assert.deepEqual([last.state, last.position_ms, last.rate], ['paused', 1_234, 0]);
});

test('close lets go of the player and of every timer', async () => {
  const { host, player, session } = scene();
  session.start();
  await host.pass(5_000);
  session.close();
  await host.pass(0);
  player.pressPlay();
  await host.pass(60_000);
  assert.equal(host.made('start').length, 1);
  assert.equal(host.timers, 0);
});

test('an id that the service would refuse is refused here', () => {
  assert.throws(() => new PulsegateSession({ baseUrl: '', accountId: '-no', titleId: 't', deviceId: 'd' }, new FakeHost()), /accountId must be/);
});
