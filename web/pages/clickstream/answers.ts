import { h } from '../dom.js';
import { chart, LINES_MAX } from '../shell/chart.js';
import { percent, share, short, waited, whole } from '../shell/numbers.js';
import { bar, type Column, table } from '../shell/table.js';
import { count } from '../words.js';
import { linesOf } from './lines.js';

interface Exact {
  /** The most that a figure is off, in 95 of 100 samples. */
  error: number | null;
}

export interface TrendRow extends Exact {
  at: string;
  name: string | null;
  events: number;
}

export interface BreakdownRow extends Exact {
  of: 'value' | 'other' | 'missing';
  value: string | null;
  events: number;
  people: number;
  people_error: number | null;
}

export interface SessionsRow extends Exact {
  day: string | null;
  sessions: number;
  people: number;
  people_error: number | null;
  events: number;
  single: number;
  median_ms: number;
  p95_ms: number;
}

export interface FunnelRow extends Exact {
  step: number;
  name: string;
  people: number;
  of_first_milli: number | null;
  of_previous_milli: number | null;
  median_ms: number | null;
}

export interface RetentionRow extends Exact {
  week: string;
  after: number;
  people: number;
}

interface Of<Kind extends string, Row> {
  kind: Kind;
  first: string | null;
  last: string | null;
  events: number;
  sample: { one_in: number } | null;
  rows: Row[];
  as_of_time: string | null;
}

export type Answer = Of<'trend', TrendRow> | Of<'breakdown', BreakdownRow> | Of<'sessions', SessionsRow> | Of<'funnel', FunnelRow> | Of<'retention', RetentionRow>;

/** 12,340 ± 310 */
export function withError(figure: number, error: number | null): string {
  return error === null ? whole(figure) : `${whole(figure)} ± ${whole(error)}`;
}

/** What an answer rests on, in a sentence. */
export function restsOn({ kind, events, sample, first, last }: Answer): string {
  const days = first === null || last === null ? '' : first === last ? ` of ${first}` : ` from ${first} to ${last}`;
  if (sample === null) return `${count(events, 'event')}${days}, each of them ${kind === 'trend' ? 'counted' : 'looked into'}.`;
  return `${count(events, 'event')}${days}, of which everything that one person in ${whole(sample.one_in)} did was looked into. ± is how far a figure is off at most, in 95 of 100 such samples.`;
}

/** The answer's figures; a sentence where there are none. */
export function shown(answer: Answer, by: string): Node[] | string {
  if (answer.rows.length === 0) return answer.first === null ? 'The log has no clickstream yet.' : `Nothing fits${answer.first === answer.last ? ` on ${answer.first}` : ` from ${answer.first} to ${answer.last}`}.`;
  const note = h('p', { class: 'rests small muted' }, restsOn(answer));
  switch (answer.kind) {
    case 'trend':
      return [note, trend(answer.rows, by, ...between(answer))];
    case 'breakdown':
      return [note, breakdown(answer.rows)];
    case 'sessions':
      return [note, ...sessions(answer.rows, ...between(answer))];
    case 'funnel':
      return [note, funnel(answer.rows)];
    case 'retention':
      return [note, retention(answer.rows)];
  }
}

const dayOf = (at: number): string => new Date(at).toISOString().slice(0, 10);
const hourOf = (at: number): string => `${new Date(at).toISOString().slice(0, 16).replace('T', ' ')}`;

/** The instants that a trend is drawn between: its days, as far as the log goes. */
function between({ first, last, as_of_time: newest }: Answer): [number, number] {
  const end = last === null ? -Infinity : Date.parse(last) + 86_399_999;
  return [first === null ? Infinity : Date.parse(first), newest === null ? end : Math.min(end, Date.parse(newest))];
}

function trend(rows: TrendRow[], by: string, from: number, until: number): HTMLElement {
  const isHourly = by === 'hour';
  const { times, lines } = linesOf(rows, isHourly ? 3_600_000 : 86_400_000, from, until);
  const widest = lines[0]?.sum ?? 0;
  const drawn = chart({ title: 'Events', times, lines, figure: whole, time: isHourly ? hourOf : dayOf });
  const columns: Column<(typeof lines)[number]>[] = [
    { key: 'name', head: 'Event', order: ({ name }) => name, cell: ({ name }) => name },
    { key: 'events', head: 'Events', order: ({ sum }) => sum, cell: ({ sum }) => bar(whole(sum), sum, widest) },
  ];
  const more = lines.length > LINES_MAX ? h('p', { class: 'small muted rests' }, `The ${LINES_MAX} most frequent are drawn; all are in the table.`) : null;
  return h('div', { class: 'panel figures' }, drawn, more, table({ caption: 'Events by name', columns, rows: lines, sort: '-events' }));
}

const OF = { value: '', other: 'all other values', missing: 'nothing there' };

function breakdown(rows: BreakdownRow[]): HTMLElement {
  const [widest, all] = [Math.max(...rows.map(({ events }) => events)), rows.reduce((sum, { events }) => sum + events, 0)];
  const name = ({ of, value }: BreakdownRow): string => (of === 'value' ? (value ?? '') : OF[of]);
  const columns: Column<BreakdownRow>[] = [
    { key: 'value', head: 'Value', cell: (row) => (row.of === 'value' ? name(row) : h('em', {}, name(row))) },
    { key: 'events', head: 'Events', order: ({ events }) => events, cell: ({ events, error }) => bar(withError(events, error), events, widest) },
    { key: 'share', head: 'Share', order: ({ events }) => events, cell: ({ events }) => share(events, all) },
    { key: 'people', head: 'People', order: ({ people }) => people, cell: ({ people, people_error }) => withError(people, people_error) },
  ];
  return h('div', { class: 'panel figures' }, table({ caption: 'Events by value', columns, rows }));
}

function tile(name: string, value: string, note = ''): HTMLElement {
  return h('div', { class: 'panel tile' }, h('dt', {}, name), h('dd', {}, value, note === '' ? null : h('div', { class: 'note' }, note)));
}

function sessions(rows: SessionsRow[], from: number, until: number): Node[] {
  const all = rows.find(({ day }) => day === null);
  const days = rows.filter(({ day }) => day !== null);
  const { times, lines } = linesOf(days.map((row) => ({ at: row.day ?? '', name: 'Sessions', events: row.sessions })), 86_400_000, from, until);
  const plot = { title: 'Sessions', times, lines, kind: 'bars' as const, figure: whole, time: dayOf };
  const columns: Column<SessionsRow>[] = [
    { key: 'day', head: 'Day', unit: 'UTC', order: ({ day }) => day, cell: ({ day }) => day ?? '' },
    { key: 'sessions', head: 'Sessions', order: (row) => row.sessions, cell: (row) => withError(row.sessions, row.error) },
    { key: 'people', head: 'People', order: ({ people }) => people, cell: ({ people, people_error }) => withError(people, people_error) },
    { key: 'events', head: 'Events', order: ({ events }) => events, cell: ({ events }) => whole(events) },
    { key: 'single', head: 'With one event', order: ({ single, sessions: of }) => single / of, cell: ({ single, sessions: of }) => share(single, of) },
    { key: 'median', head: 'Half at most', order: (row) => row.median_ms, cell: (row) => waited(row.median_ms) },
    { key: 'p95', head: '95 of 100 at most', order: (row) => row.p95_ms, cell: (row) => waited(row.p95_ms) },
  ];
  const tiles =
    all === undefined
      ? []
      : [
          h(
            'dl',
            { class: 'tiles' },
            tile('Sessions', short(all.sessions), all.error === null ? '' : `± ${whole(all.error)}`),
            tile('People', short(all.people), all.people_error === null ? '' : `± ${whole(all.people_error)}`),
            tile('Half took at most', waited(all.median_ms), `95 of 100 ${waited(all.p95_ms)}`),
            tile('Events each', (all.events / all.sessions).toLocaleString('en', { maximumFractionDigits: 1 }), `${share(all.single, all.sessions)} have one only`),
          ),
        ];
  return [...tiles, h('div', { class: 'panel figures' }, chart(plot), table({ caption: 'Sessions by day', columns, rows: days, sort: 'day' }))];
}

function funnel(rows: FunnelRow[]): HTMLElement {
  const began = rows[0]?.people ?? 0;
  const columns: Column<FunnelRow>[] = [
    { key: 'step', head: 'Step', cell: ({ step, name }) => `${step}. ${name}` },
    { key: 'people', head: 'People', order: ({ people }) => people, cell: ({ people, error }) => bar(withError(people, error), people, began) },
    { key: 'first', head: 'Of those who began', order: (row) => row.of_first_milli, cell: (row) => percent(row.of_first_milli) },
    { key: 'previous', head: 'Of the step before', order: (row) => row.of_previous_milli, cell: (row) => (row.step === 1 ? '' : percent(row.of_previous_milli)) },
    { key: 'median', head: 'Time since the step before, half at most', order: (row) => row.median_ms, cell: (row) => (row.step === 1 ? '' : waited(row.median_ms)) },
  ];
  return h('div', { class: 'panel figures funnel' }, table({ caption: 'People by step', columns, rows }));
}

function retention(rows: RetentionRow[]): HTMLElement {
  const weeks = [...new Set(rows.map(({ week }) => week))].sort();
  const lastAfter = Math.max(...rows.map(({ after }) => after));
  const found = new Map(rows.map((row) => [`${row.week} ${row.after}`, row]));
  const newest = Math.max(...rows.map(({ week, after }) => Date.parse(week) + after * 604_800_000));
  const cell = (week: string, after: number): Node | string => {
    // Of a week that hasn't come yet nothing is known.
    if (Date.parse(week) + after * 604_800_000 > newest) return '';
    const [all, back] = [found.get(`${week} 0`)?.people ?? 0, found.get(`${week} ${after}`)];
    const people = back?.people ?? 0;
    const words = h('span', { class: 'kept', title: `${withError(people, back?.error ?? null)} people` }, share(people, all));
    words.style.setProperty('--kept', `${all === 0 ? 0 : Math.round((people * 60) / all)}%`);
    return words;
  };
  const columns: Column<string>[] = [
    { key: 'week', head: 'Week from', order: (week) => week, cell: (week) => week },
    { key: 'people', head: 'Newcomers', order: (week) => found.get(`${week} 0`)?.people ?? 0, cell: (week) => withError(found.get(`${week} 0`)?.people ?? 0, found.get(`${week} 0`)?.error ?? null) },
    ...Array.from({ length: lastAfter }, (_, index) => ({ key: `w${index + 1}`, head: `+${index + 1}`, about: `${count(index + 1, 'week')} later`, cell: (week: string) => cell(week, index + 1) })),
  ];
  return h('div', { class: 'panel figures retention' }, table({ caption: 'Newcomers by week, and how many came back each week since', columns, rows: weeks, sort: 'week' }));
}
