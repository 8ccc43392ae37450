import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { UsageRow } from '../pages/reports/answers.js';
import { courseOf, daysCourse } from '../pages/reports/course.js';
import { amounts, closesOn, fileName, verifyCommand, workingOf, type Head, type OfContract, type StatementRow } from '../pages/reports/statement.js';
import { ruleInWords, stepInWords } from '../pages/reports/words.js';

const NOW = Date.parse('2026-11-22T10:30:00Z');

test('a course has every moment that has come, and nobody where nothing is told', () => {
  const streams = [
    { of: 'tv', at: '2026-11-22T01:00:00Z', peak: 2 },
    { of: 'mobile', at: '2026-11-22T03:00:00Z', peak: 9 },
  ];
  const { times, lines } = courseOf(streams, '2026-11-22', 'hour', (of) => of.toUpperCase(), NOW);
  assert.equal(times.length, 11);
  assert.deepEqual(lines.map(({ name }) => name), ['MOBILE', 'TV']);
  assert.deepEqual(lines[1]?.values.slice(0, 3), [0, 2, 0]);
  assert.equal(courseOf([], '2026-10', 'day', String, NOW).times.length, 31);
  assert.deepEqual(courseOf([], 'never', 'day', String, NOW), { times: [], lines: [] });
});

test('a day without a row is one on which nothing was watched', () => {
  const row: UsageRow = { of: '2026-11-21', name: null, plays: 3, watched_ms: 7_200_000, aged_ms: 0, content_ms: 0, distinct_accounts: 2, completion_per_mille: null };
  const { times, lines } = daysCourse([row], '2026-11-20--2026-11-22', [{ name: 'h', of: ({ watched_ms }) => watched_ms / 3_600_000 }], NOW);
  assert.deepEqual([times.length, lines[0]?.values], [3, [0, 2, 0]]);
});

test('a rule is told with its limit and policy', () => {
  assert.equal(ruleInWords({ policy: 'standard@1', rule: 'account', max: 2 }), 'limit 2 of standard@1');
  assert.equal(ruleInWords({ policy: 'premium@3', rule: 'device_class:tv', max: 2 }), 'limit 2 for TV devices of premium@3');
  assert.equal(ruleInWords({ policy: null, rule: null, max: null }), 'no rule is known');
});

test('a step of the working is told with its figures, and nothing is worked out anew', () => {
  assert.deepEqual(stepInWords({ step: 'per_view', views: 1_234, rate: '0.040', exact: '49.360' }), { what: 'Views', how: '1,234 × 0.040', makes: '49.360' });
  assert.deepEqual(stepInWords({ step: 'fixed', month: '2026-10', days: 15, of_days: 31, per_month: '310', exact: '150' }), { what: 'Fixed, 2026-10', how: '310 × 15 ÷ 31 days', makes: '150' });
  assert.equal(stepInWords({ step: 'minimum', month: '2026-10', days: 31, of_days: 31, per_month: '500.00', exact: '500.00' }).how, '500.00');
  assert.equal(stepInWords({ step: 'round', rounding: 'half_even', decimals: 2, exact: '1.005', amount: '1.00' }).makes, '1.00');
  assert.deepEqual(stepInWords({ step: 'top_up', exact: '3', due: '4' }), { what: 'top up', how: 'due 4', makes: '3' });
});

const CONTRACT = { contract_id: 'c', rights_holder_id: 'o', version: 1, contract: { payment: { currency: 'EUR', per_view: '0.04', per_hour: '0.01' } }, due: null } satisfies OfContract;
const ROW: StatementRow = { rights_holder_id: 'o', contract_id: 'c', title_id: 't', territory: 'DE', device_class: 'tv', plays: 5, qualified_views: 4, views: 4, watched_ms: 7_200_000, aged_ms: 0, content_ms: 0, distinct_accounts: 1, peak_concurrent: 1, blocked_attempts: 0, outside_window_ms: 0, outside_territory_ms: 0, runtime_ms: 0, completion_per_mille: null, currency: 'EUR', amount: '0.18' };

test("a row's working is its figures beside the contract's rates", () => {
  assert.equal(workingOf(ROW, CONTRACT), '4 views × 0.04 + 2.00 h × 0.01');
  assert.equal(workingOf({ ...ROW, amount: null }, CONTRACT), '');
  const byRuntime = { ...CONTRACT, contract: { ...CONTRACT.contract, counting: { views: 'hours_by_runtime' } } };
  assert.equal(workingOf(ROW, byRuntime), '2.00 h × 0.01');
  assert.equal(workingOf({ ...ROW, territory: null, device_class: null, views: 100_000 }, byRuntime), '100,000 views × 0.04');
});

test('a period may be closed when no heartbeat of it can come any more', () => {
  assert.equal(closesOn('2026-10', new Date('2026-11-07T23:59:59Z')), '2026-11-08');
  assert.equal(closesOn('2026-10', new Date('2026-11-08T00:00:00Z')), null);
});

test('a statement says how it is verified', () => {
  const head = { period: '2026-10', rights_holder_id: 'or:vessa', revision: 2 } as Head;
  assert.equal(verifyCommand(head), 'pulsegate report verify 2026-10 --rights-holder or:vessa --revision 2');
  assert.equal(fileName(head), 'statement_2026-10_or-vessa_r2.json');
  assert.equal(amounts({ EUR: '1234.50', JPY: '300' }), '1,234.50 EUR · 300 JPY');
  assert.equal(amounts({}), 'nothing');
});
