import assert from 'node:assert/strict';
import { test } from 'node:test';
import { groups, lagInWords, progressOf, Rates, type Build } from '../pages/builds.js';

const build = (over: Partial<Build>): Build => ({ name: 'licensing', version: 1, state: 'live', parked: 0, partitions: [], ...over });
const partition = (next_offset: number, end_offset: number | null) => ({ topic: 'playback', partition: 0, next_offset, end_offset });

test('the live build leads, then what is on its way, then what is over', () => {
  const states = ['retired', 'building', 'unheard-of', 'live', 'shadow'];
  const [first, ...more] = groups([...states.map((state, version) => build({ state, version })), build({ name: 'clickstream' })]);
  assert.equal(first?.name, 'clickstream');
  const [{ lead, others }] = more as [ReturnType<typeof groups>[number]];
  assert.deepEqual([lead, ...others].map(({ state }) => state), ['live', 'building', 'shadow', 'retired', 'unheard-of']);
});

test('a lag has its units, and says when it is unknown', () => {
  assert.equal(lagInWords({ lag_events: 0, lag_seconds: 0 }).sentence, 'at the end');
  assert.equal(lagInWords({ lag_events: 1, lag_seconds: 1.25 }).sentence, '1 event, 1.3 s');
  assert.equal(lagInWords({ lag_events: 12_345, lag_seconds: 5_000 }).sentence, '12,345 events, 5,000 s');
  assert.equal(lagInWords({ lag_events: 7, lag_seconds: null }).sentence, '7 events');
  assert.equal(lagInWords({}).isUnknown, true);
});

test('a rebuild says how much is behind and before it, and what is none says nothing', () => {
  const rebuild = { phase: 'filling', done_events: 150, total_events: 200 };
  assert.deepEqual(progressOf(build({ rebuild })), { ratio: 0.75, left: 50 });
  assert.deepEqual(progressOf(build({ rebuild: { ...rebuild, done_events: 0, total_events: 0 } })), { ratio: 1, left: 0 });
  assert.deepEqual(progressOf(build({ rebuild: { ...rebuild, done_events: 250 } })), { ratio: 1, left: 0 });
  assert.equal(progressOf(build({ rebuild: null })), null);
  assert.equal(progressOf(build({})), null);
});

test("the node's rate wins over what the page has seen; a set-back build has none below 0", () => {
  const rates = new Rates();
  const at = (next_offset: number) => build({ partitions: [partition(next_offset, 1_000)] });
  rates.learn([at(0)], 0);
  assert.equal(rates.of(at(0)), null);
  rates.learn([at(300)], 2_000);
  assert.equal(rates.of(at(300)), 150);
  assert.equal(rates.of({ ...at(300), rate: 42 }), 42);
  rates.learn([at(10)], 4_000);
  assert.equal(rates.of(at(10)), 2.5);
  rates.learn([at(0)], 6_000);
  assert.equal(rates.of(at(0)), 0);
});
