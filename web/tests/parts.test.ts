import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRetryAfter } from '../sdk/api.js';
import { Backoff } from '../sdk/backoff.js';
import { Outbox, type KeptHeartbeat } from '../sdk/outbox.js';
import { persistentDeviceId } from '../sdk/device.js';
import { uuidV4, uuidV7 } from '../sdk/uuid.js';

const beat = (sequence: number): KeptHeartbeat => ({
  kind: 'heartbeat',
  sessionId: 's',
  sequence,
  elapsedMs: 0,
  positionMs: 0,
  state: 'playing',
  rate: 1,
  happenedAtMs: sequence,
});

test('a v7 id carries its time and its version', () => {
  const host = { wallMs: () => 0x0199_c3a4_1234, randomBytes: (length: number) => new Uint8Array(length).fill(0xff) };
  assert.equal(uuidV7(host), '0199c3a4-1234-7fff-bfff-ffffffffffff');
  assert.equal(uuidV4(host), 'ffffffff-ffff-4fff-bfff-ffffffffffff');
});

test('waits double to half a minute and never undercut the service', () => {
  const backoff = new Backoff({ random: () => 1 });
  assert.deepEqual(Array.from({ length: 7 }, () => backoff.nextMs(null)), [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  backoff.reset();
  assert.equal(backoff.nextMs(120_000), 121_000);
  assert.equal(new Backoff({ random: () => 0 }).nextMs(null), 500);
});

test('Retry-After is seconds or a date, and at most five minutes', () => {
  const now = Date.parse('2026-11-22T20:00:00Z');
  assert.equal(parseRetryAfter('2', now), 2_000);
  assert.equal(parseRetryAfter('Sun, 22 Nov 2026 20:00:09 GMT', now), 9_000);
  assert.equal(parseRetryAfter('86400', now), 300_000);
  assert.equal(parseRetryAfter('-3', now), 0);
  assert.equal(parseRetryAfter('soon', now), null);
  assert.equal(parseRetryAfter(null, now), null);
});

test('the outbox keeps order, its bound, and what came while others were on their way', () => {
  const outbox = new Outbox(4);
  for (let sequence = 0; sequence < 4; sequence += 1) outbox.push(beat(sequence));
  const sent = outbox.heartbeats(2);
  outbox.push(beat(4));
  assert.equal(outbox.dropped, 1);
  outbox.remove(sent);
  assert.deepEqual(outbox.heartbeats(9).map(({ sequence }) => sequence), [2, 3, 4]);
  outbox.discardOlderThan(4);
  assert.deepEqual([outbox.length, outbox.dropped], [1, 3]);
  outbox.remove(outbox.heartbeats(9));
  assert.equal(outbox.first(), undefined);
});

test('the outbox does not grow with what went through it', () => {
  const outbox = new Outbox(10);
  for (let sequence = 0; sequence < 50_000; sequence += 1) {
    outbox.push(beat(sequence));
    if (sequence % 3 === 0) outbox.remove(outbox.heartbeats(3));
  }
  assert.ok(outbox.length <= 10);
});

test('a device id is kept where it can be, and made where it cannot', () => {
  const kept = new Map<string, string>();
  const storage = { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, id: string) => kept.set(key, id) } as never;
  const id = persistentDeviceId('tv', storage);
  assert.match(id, /^tv-[0-9a-f-]{36}$/);
  assert.equal(persistentDeviceId('tv', storage), id);
  const denied = { getItem: () => { throw new Error('denied'); } } as never;
  assert.match(persistentDeviceId('tv', denied), /^tv-/);
});
