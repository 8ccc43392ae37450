import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chipsOf, stateOf, type ClusterNode } from '../pages/nodes.js';

const since = '2026-11-28T16:00:00Z';
const fold = (partition: number, state: 'ready' | 'filling', lag = 0) => ({ partition, state, next_offset: 10, lag, since });
const node = (over: Partial<ClusterNode>): ClusterNode => ({ address: 'a:1', reachable: true, since, owns: [], partitions: [], ...over });

test('a node shows its own partitions, and those that it has for others', () => {
  const chips = chipsOf(node({ owns: [4, 1, 0], partitions: [fold(2, 'ready'), fold(0, 'ready'), fold(1, 'filling', 1)] }));
  assert.deepEqual(
    chips.map(({ partition, part }) => [partition, part]),
    [[0, 'ready'], [1, 'filling'], [2, 'extra'], [4, 'missing']],
  );
  assert.equal(chips[1]?.words, 'being read, to offset 10, 1 record behind');
  assert.equal(chips[3]?.words, 'its own, not in memory yet');
});

test('a node that does not answer says nothing else', () => {
  const at = Date.parse(since) + 7_200_000;
  assert.equal(stateOf(node({ reachable: false, owns: [1] }), at), 'does not answer');
  assert.equal(stateOf(node({ owns: [1] }), at), '1 partition, up for 2 h');
  assert.equal(chipsOf(node({ reachable: false, owns: [1] }))[0]?.words, 'its own, out of reach');
});
