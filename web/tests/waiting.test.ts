import assert from 'node:assert/strict';
import { test } from 'node:test';
import { full, gone, problem, scene, verdict, yes, type Answer } from './fake.js';
import type { Verdict } from '../sdk/wire.js';

const refusal = problem(409, 'concurrency-limit-reached', { verdict: full() });
/** What a service answers that knows how to wait. */
const waited = (found: Verdict, afterMs: number): Answer => ({
  status: 200,
  body: { verdict: found, as_of: {}, waited_ms: afterMs },
  afterMs,
});

test('blocked: waits in one request, and asks as soon as it hears of room', async () => {
  const { host, player, session, answers, seen } = scene();
  answers.start = refusal;
  answers.wait = waited(full({ room: true, frees_in_ms: 0 }), 7_300);
  session.start();
  await host.pass(7_000);
  assert.deepEqual(host.made('wait').map(({ since }) => since), ['limit_reached']);
  assert.equal(seen('waiting')[0].nextCheckInMs, 25_000);
  answers.start = yes;
  await host.pass(310);
  assert.deepEqual([session.status.state, player.current], ['allowed', 'playing']);
  assert.equal(host.made('start')[1]!.atMs - host.made('start')[0]!.atMs, 7_300);
  assert.equal(host.made('verdict').length, 0);
});

test('blocked: waits on after a wait that heard nothing, and never in two requests at once', async () => {
  const { host, session, answers } = scene();
  answers.start = refusal;
  answers.heartbeat = { status: 200, body: { verdict: full(), next_heartbeat_in_ms: 10_000 } };
  answers.wait = waited(full(), 25_000);
  session.start();
  await host.pass(100_000);
  const gaps = host.made('wait').map(({ atMs }, index, all) => atMs - (all[index - 1]?.atMs ?? 5_000)).slice(1);
  assert.ok(gaps.length >= 3 && gaps.every((gap) => gap >= 25_000 && gap < 26_000), `${gaps}`);
  assert.equal(session.status.state, 'blocked');
});

test('blocked: room that is gone each time that it is asked for is not asked for as fast as it is told of', async () => {
  const { host, session, answers } = scene();
  answers.start = refusal;
  answers.wait = waited(full({ room: true }), 0);
  session.start();
  await host.pass(20_000);
  assert.ok(host.made('start').length < 12, `${host.made('start').length} starts in 20 s`);
});

test('blocked: a choice of the viewer does not wait for the wait', async () => {
  const { host, session, answers } = scene();
  answers.start = ({ body }) => (body.evict ? yes : refusal);
  answers.wait = waited(full(), 25_000);
  session.start();
  await host.pass(3_000);
  session.watchHereInstead(['0199c3a4-0000-7000-8000-000000000001']);
  await host.pass(600);
  assert.equal(session.status.state, 'allowed');
});

test('blocked: where waits fail, the verdict is checked as before', async () => {
  const { host, session, answers } = scene();
  answers.start = refusal;
  answers.wait = 'unreachable';
  answers.verdict = { status: 200, body: { verdict: full(), as_of: {} } };
  session.start();
  await host.pass(60_000);
  assert.equal(host.made('wait').length, 3);
  assert.ok(host.made('verdict').length > 5);
  answers.verdict = { status: 200, body: { verdict: full({ room: true }), as_of: {} } };
  answers.start = yes;
  await host.pass(3_000);
  assert.equal(session.status.state, 'allowed');
});

test('playing: hears at once that it was evicted, between two heartbeats', async () => {
  const { host, player, session, answers, seen } = scene({ listen: true });
  answers.wait = waited(gone('evicted'), 4_000);
  session.start();
  await host.pass(3_900);
  assert.deepEqual(host.made('wait').map(({ since }) => since), ['allow']);
  assert.equal(player.current, 'playing');
  await host.pass(200);
  assert.deepEqual([session.status.state, player.current], ['evicted', 'paused']);
  assert.equal(seen('evicted')[0].reason, 'evicted');
  assert.equal(host.timers, 0, 'nothing is left behind');
});

test('playing: nobody listens for a hidden page, nor to a service that does not know how to wait', async () => {
  const { host, session, answers } = scene({ listen: true });
  answers.wait = waited(verdict(), 25_000);
  session.start();
  await host.pass(1_000);
  host.visible = false;
  host.page('hidden');
  await host.pass(60_000);
  assert.equal(host.made('wait').length, 1);
  host.visible = true;
  host.page('visible');
  await host.pass(26_000);
  assert.equal(host.made('wait').length, 3);
  assert.equal(session.status.state, 'allowed');

  const old = scene({ listen: true });
  old.answers.verdict = { status: 200, body: { verdict: verdict(), as_of: {} } };
  old.session.start();
  await old.host.pass(60_000);
  assert.equal(old.host.made('wait').length, 1);
  assert.equal(old.session.status.reachable, true);
});

test('playing: a service that is away is not asked again and again', async () => {
  const { host, session, answers } = scene({ listen: true });
  answers.wait = 'unreachable';
  session.start();
  await host.pass(600_000);
  assert.equal(host.made('wait').length, 3);
  assert.deepEqual([session.status.state, session.status.reachable], ['allowed', true]);
});
