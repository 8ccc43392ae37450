import assert from 'node:assert/strict';
import { test } from 'node:test';
import { linesOf } from '../pages/clickstream/lines.js';
import { empty, missing, pathOf, readCondition, readQuestion, writeCondition, writeQuestion } from '../pages/clickstream/question.js';
import { momentsOf } from '../pages/clickstream/timeline.js';

test('a question stands in the URL as the API is asked, and is read from it again', () => {
  for (const query of [
    '?ask=trend&period=7d&by=hour&name=a&name=b%2Cc&where=%24.player.version%3D3.1&exact=true',
    '?ask=breakdown&period=2026-11&path=%24.%22a.b%22&top=20',
    '?ask=sessions&period=30d&by=session_id',
    '?ask=funnel&period=7d&step=search&step=play&where.2=%24.title%3DA+%26+b&window=2h&account=ada',
    '?ask=retention&period=56d&first=open&back=play',
    '?ask=timeline&session=3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e6f',
  ]) {
    assert.equal(writeQuestion(readQuestion(query)), query);
  }
  const funnel = readQuestion('?ask=funnel&step=search&step=play&where.2=$.title%3DDune');
  assert.equal(pathOf(funnel, { format: 'csv' }), '/v1/clickstream/funnel?period=7d&step=search&step=play&where.2=%24.title%3DDune&format=csv');
  assert.equal(readQuestion('').ask, 'trend');
  assert.equal(readQuestion('?ask=weather&period=<script>').ask, 'trend');
  // What another kind of question doesn't know isn't said.
  assert.equal(writeQuestion({ ...readQuestion('?ask=trend&by=hour&top=5'), ask: 'retention', first: 'open' }), '?ask=retention&period=7d&first=open');
});

test('a condition ends its path at the first equals sign outside of quotes', () => {
  for (const [text, path, is] of [
    ['$.a=b=c', '$.a', 'b=c'],
    ['$."x=\\"y"=1', '$."x=\\"y"', '1'],
    ['$.a', '$.a', null],
    ['$.a=', '$.a', ''],
  ] as const) {
    assert.deepEqual(readCondition(text), { path, is });
    assert.equal(writeCondition({ path, is }), text);
  }
});

test('what still has to be said is said', () => {
  assert.equal(missing(empty('trend')), null);
  assert.match(missing(empty('funnel')) ?? '', /two steps/);
  assert.match(missing(empty('breakdown')) ?? '', /path/);
  assert.match(missing(empty('retention')) ?? '', /newcomer/);
  assert.match(missing(empty('timeline')) ?? '', /session/);
  assert.equal(missing(readQuestion('?ask=funnel&step=a&step=b')), null);
});

test('a trend has a figure for each day, also where there was nothing', () => {
  const day = 86_400_000;
  const row = (at: string, name: string | null, events: number) => ({ at, name, events });
  const { times, lines } = linesOf([row('2026-11-01T00:00:00Z', 'a', 2), row('2026-11-04T00:00:00Z', 'b', 5), row('2026-11-04T00:00:00Z', null, 1)], day, Date.parse('2026-11-01'), Date.parse('2026-11-05T07:00:00Z'));
  assert.equal(times.length, 5);
  assert.deepEqual(lines.map(({ name, values, sum }) => [name, values, sum]), [['b', [0, 0, 0, 5, 0], 5], ['a', [2, 0, 0, 0, 0], 2], ['all others', [0, 0, 0, 1, 0], 1]]);
});

test('a timeline is in one order, and what was decided comes behind what was done', () => {
  const event = (logged_at: string) => ({ logged_at, occurred_at: null, name: 'n', account_id: 'a', anonymous_id: null, session_id: null, properties: {}, partition: 0, offset: 0 });
  const decided = (at: string) => ({ at, decision: 'grant', session_id: 's', title_id: null, reason: null, partition: 0, offset: 0 });
  const moments = momentsOf({ events: [event('2026-11-01T00:00:00.001Z'), event('2026-11-01T00:00:00.010Z')], decisions: [decided('2026-11-01T00:00:00.001Z')] });
  assert.deepEqual(moments.map((moment) => 'event' in moment), [true, false, true]);
});
