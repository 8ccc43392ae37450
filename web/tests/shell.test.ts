import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Build } from '../pages/builds.js';
import { problemInWords } from '../pages/shell/asking.js';
import { freshnessOf } from '../pages/shell/fresh.js';
import { hours, inHours, money, percent, share, short, signed, waited, whole } from '../pages/shell/numbers.js';
import { dressed, PAGES } from '../pages/shell/pages.js';
import { daysOf, lastDays, month, offered, periodInWords, periodOf } from '../pages/shell/periods.js';
import { loginFor, whoIsHere } from '../pages/shell/session.js';
import { ordered, type Column } from '../pages/shell/table.js';
import { ask, readQuery, writeQuery } from '../pages/shell/url.js';

const FIELDS = {
  period: { fallback: '2026-10', allowed: /^\d{4}-\d{2}$/ },
  device: { fallback: '', allowed: ['', 'tv', 'mobile'] },
  title: { fallback: '' },
};

test('a URL holds what a page shows, and nothing that it does not know', () => {
  assert.deepEqual(readQuery(FIELDS, '?period=2026-09&device=tv&title=a%20b&other=1'), { period: '2026-09', device: 'tv', title: 'a b' });
  assert.deepEqual(readQuery(FIELDS, '?period=never&device=fridge'), { period: '2026-10', device: '', title: '' });
  assert.equal(readQuery(FIELDS, `?title=${'x'.repeat(257)}`).title, '');
});

test('a URL is as short as it can be, and reads back the same', () => {
  assert.equal(writeQuery(FIELDS, { period: '2026-10', device: '', title: '' }), '');
  const values = { period: '2026-09', device: 'tv', title: 'Ærø & "co"?' };
  assert.deepEqual(readQuery(FIELDS, writeQuery(FIELDS, values)), values);
});

test('a request says only what is chosen', () => {
  assert.equal(ask('/v1/x', { period: '2026-10', territory: '', limit: 5, after: null, of: undefined }), '/v1/x?period=2026-10&limit=5');
  assert.equal(ask('/v1/x', { territory: '' }), '/v1/x');
});

test('numbers have their units', () => {
  assert.deepEqual([0, 12_345].map(whole), ['0', '12,345']);
  assert.deepEqual([0, 999, 9_999, 12_345, 4_560_000, 7_300_000_000].map(short), ['0', '999', '9,999', '12.3 k', '4.56 M', '7.3 bn']);
  assert.deepEqual([0, 20_000, 180_000, 12_240_000, 36_000_000, 4_442_400_000].map(hours), ['0 h', '20 s', '0.05 h', '3.40 h', '10.0 h', '1,234 h']);
  assert.equal(inHours(-7_200_000), '-2.00');
  assert.deepEqual([873, 1_000, null].map(percent), ['87.3 %', '100.0 %', '–']);
  assert.deepEqual([share(1, 3), share(0, 0)], ['33.3 %', '–']);
  assert.deepEqual([null, 850, 4_210, 59_999, 200_000, 6_000_000].map(waited), ['–', '850 ms', '4.2 s', '60 s', '3 min 20 s', '2 h']);
  assert.deepEqual([signed(3, whole), signed(-3, whole), signed(0, whole)], ['+3', '−3', '0']);
});

test('money stays the decimal that it came as', () => {
  assert.equal(money('1234567.80', 'EUR'), '1,234,567.80 EUR');
  assert.equal(money('-0.05', 'USD'), '−0.05 USD');
  assert.equal(money('12345678901234567890.123', ''), '12,345,678,901,234,567,890.123');
  assert.equal(money('500', 'JPY'), '500 JPY');
});

test('periods are months, quarters and days', () => {
  assert.deepEqual(daysOf('2024-02'), { first: '2024-02-01', last: '2024-02-29' });
  assert.deepEqual(daysOf('2026-Q4'), { first: '2026-10-01', last: '2026-12-31' });
  assert.deepEqual(daysOf('2026-10-31'), { first: '2026-10-31', last: '2026-10-31' });
  assert.deepEqual(daysOf('2026-10-01--2026-10-15'), { first: '2026-10-01', last: '2026-10-15' });
  for (const bad of ['', '2026', '2026-13', '2026-02-30', '2026-10-15--2026-10-01']) assert.equal(daysOf(bad), null, bad);
  assert.equal(periodOf('2026-10-01', '2026-10-01'), '2026-10-01');
  const words = ['2026-10', '2026-Q4', '2026-10-31', '2026-10-01--2026-10-15', '2026-09-28--2026-10-15', '2025-12-30--2026-01-02', 'x'].map(periodInWords);
  assert.deepEqual(words, ['October 2026', '4th quarter of 2026', '31 Oct 2026', '1 – 15 Oct 2026', '28 Sept – 15 Oct 2026', '30 Dec 2025 – 2 Jan 2026', 'x']);
});

test('what is offered is named as it is asked for', () => {
  const now = new Date('2026-01-01T00:30:00Z');
  assert.equal(lastDays(30, now), '2025-12-03--2026-01-01');
  assert.equal(month(1, now), '2025-12');
  const all = offered(now).flatMap(({ options }) => options.map(({ value }) => value));
  assert.ok(all.includes('2026-Q1') && all.includes('2025-Q4') && all.includes('2025-01'));
  assert.ok(all.every((value) => daysOf(value) !== null));
});

test('a table is ordered by a column, and what has no value comes last', () => {
  const columns: Column<{ n: number | null }>[] = [{ key: 'n', head: 'N', order: ({ n }) => n, cell: () => '' }];
  const rows = [{ n: 2 }, { n: null }, { n: 10 }];
  assert.deepEqual(ordered(rows, columns, '-n').map(({ n }) => n), [10, 2, null]);
  assert.deepEqual(ordered(rows, columns, 'n').map(({ n }) => n), [2, 10, null]);
  assert.deepEqual(ordered(rows, columns, 'nothing'), rows);
});

test('how fresh it is says the read model that is furthest behind', () => {
  const build = (name: string, lag_events: number | null, lag_seconds: number | null, state = 'live'): Build => ({ name, version: 1, state, lag_events, lag_seconds, parked: 0, partitions: [] });
  const at = Date.parse('2026-11-22T20:31:05Z');
  const of = (...builds: Build[]): { tone: string; text: string } => freshnessOf(builds, ['licensing', 'active_sessions'], at);
  assert.match(of(build('licensing', 0, 0), build('active_sessions', 0, 0)).text, /^as of .*05, nothing is behind$/);
  assert.match(of(build('licensing', 1_204, 3), build('active_sessions', 0, 0)).text, /3 s behind, 1,204 events \(licensing\)$/);
  assert.equal(of(build('licensing', 90_000, 300), build('active_sessions', 0, 0)).tone, 'warn');
  assert.equal(of(build('licensing', null, null), build('active_sessions', 0, 0)).tone, 'warn');
  assert.deepEqual(of(build('licensing', 0, 0)), { tone: 'bad', text: 'active_sessions is not there' });
});

test('a refusal is told in the words of the node', () => {
  assert.equal(problemInWords(409, { title: 'refused', detail: 'it is closed already' }), 'It is closed already.');
  assert.equal(problemInWords(422, { detail: 'wrong', errors: [{ pointer: '/period', detail: 'must be a month' }] }), 'Period must be a month.');
  assert.equal(problemInWords(502, null), 'The node answered with status 502.');
});

test('every page has the header with its own place marked', () => {
  const page = dressed('<!-- head --><!-- header -->', 'titles.html', PAGES);
  assert.match(page, /href="\/titles" aria-current="page">Titles</);
  assert.equal(page.match(/aria-current/g)?.length, 1);
  assert.throws(() => dressed('<p>', 'titles.html', PAGES), /has no/);
});

test('a page says who is signed in, and nobody where nobody signs in', () => {
  assert.deepEqual(whoIsHere({ kind: 'person', id: 'anna', name: 'Anna' }), { name: 'Anna', id: 'anna' });
  assert.deepEqual(whoIsHere({ kind: 'person', id: 'anna', name: '' }), { name: 'anna', id: 'anna' });
  for (const kind of ['anyone', 'player', 'server']) assert.equal(whoIsHere({ kind, id: 'x', name: 'X' }), null);
});

test('who signs in comes back to where it was', () => {
  const at = { pathname: '/clickstream', search: '?event=a%26b', hash: '#x' };
  assert.equal(new URLSearchParams(loginFor(at).slice('/login?'.length)).get('to'), '/clickstream?event=a%26b#x');
});
