import assert from 'node:assert/strict';
import { test } from 'node:test';
import { beatYes, problem, scene, stopYes, yes, type Answer, type Request } from './fake.js';

/** A service that takes one token, and a login service that issues the next one each time. */
function guarded() {
  let issued = 0;
  const taken = { token: 'token-1' };
  const token = async (): Promise<string> => `token-${(issued += 1)}`;
  const made = scene({ token });
  const guard = (answer: Answer) => (request: Request): Answer =>
    request.authorization === `Bearer ${taken.token}` ? answer : problem(401, 'unauthenticated');
  made.answers.start = guard(yes);
  made.answers.heartbeat = guard(beatYes);
  made.answers.stop = guard(stopYes);
  return { ...made, taken, issued: () => issued };
}

test('each call shows the token, which is asked for once', async () => {
  const { host, session, issued } = guarded();
  session.start();
  await host.pass(30_000);
  assert.deepEqual(new Set(host.requests.map(({ authorization }) => authorization)), new Set(['Bearer token-1']));
  assert.ok(host.made('heartbeat').length >= 3);
  assert.equal(issued(), 1);
});

test('a token that is not taken any more is renewed, and the call made again', async () => {
  const { host, session, taken, issued, seen } = guarded();
  session.start();
  await host.pass(5_000);
  taken.token = 'token-2';
  await host.pass(20_000);
  assert.equal(issued(), 2);
  assert.equal(session.status.state, 'allowed');
  assert.equal(session.status.pending, 0);
  assert.equal(session.status.dropped, 0);
  assert.deepEqual(seen('error'), []);
  const again = host.made('heartbeat').filter(({ body }) => body.sequence === 1);
  assert.deepEqual(again.map(({ authorization }) => authorization), ['Bearer token-1', 'Bearer token-2']);
});

test('a login service that is wrong or away is an outage: the film goes on and heartbeats are kept', async () => {
  for (const token of [async () => 'wrong', () => Promise.reject(new Error('away')), () => new Promise<string>(() => {})]) {
    const { host, player, session, answers } = scene({ token });
    answers.start = problem(401, 'unauthenticated');
    answers.heartbeat = problem(401, 'unauthenticated');
    session.start();
    player.pressPlay();
    await host.pass(60_000);
    assert.equal(player.current, 'playing');
    assert.equal(session.status.reachable, false);
    assert.ok(session.status.pending >= 5, `${session.status.pending}`);
    assert.equal(session.status.dropped, 0);
  }
});

test('without a token of ours a 401 is the last word', async () => {
  const { host, session, answers } = scene();
  answers.start = problem(401, 'unauthenticated');
  session.start();
  await host.pass(0);
  assert.equal(session.status.state, 'failed');
});

test('the stop of a page that goes away shows the token that is at hand, which no beacon could', async () => {
  const { host, session, taken } = guarded();
  session.start();
  await host.pass(2_000);
  host.page('hidden-for-good');
  assert.deepEqual(host.made('beacon'), []);
  const [stop] = host.made('stop');
  assert.deepEqual([stop!.authorization, stop!.keepalive], [`Bearer ${taken.token}`, true]);
  assert.equal(stop!.sessionId, host.made('start')[0]!.sessionId);
});
