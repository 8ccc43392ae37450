import { groups, lagInWords, type Build } from '../builds.js';
import { byId, h } from '../dom.js';
import { panel, tiles } from '../shell/parts.js';
import { get, Region } from '../shell/asking.js';
import { chart } from '../shell/chart.js';
import { showFreshness } from '../shell/fresh.js';
import { counted, hours, inHours, share, short, waited, whole } from '../shell/numbers.js';
import { lastDays, month } from '../shell/periods.js';
import { bar, table, type Column } from '../shell/table.js';
import { ask } from '../shell/url.js';
import { round } from '../sparkline.js';
import type { Concurrency, Usage, UsageRow } from './answers.js';
import { courseOf, daysCourse } from './course.js';
import { ruleInWords } from './words.js';

const LIVE_MS = 2_000;
const REPORTS_MS = 60_000;

interface Live {
  streams_now: number;
  waiting_now: number;
  accounts_now: number;
  blocked_attempts_per_min: number;
}

const day = (at: number): string => new Date(at).toLocaleDateString('en-GB', { day: 'numeric', month: 'short', timeZone: 'UTC' });

const PARTS = [['now', 'Right now'], ['watched', 'What was watched'], ['told-no', 'Told no'], ['models', 'Read models']] as const;
const parts = PARTS.map(([id, what]) => {
  const element = h('div', { id });
  byId('answer').append(element);
  return new Region(element, what);
});
const [now, watched, toldNo, models] = parts as [Region, Region, Region, Region];

function again(ms: number, load: () => Promise<void>): void {
  void load().then(() => setTimeout(() => again(ms, load), ms));
}

function link(to: string, words: string): HTMLElement {
  return h('p', { class: 'table-foot small' }, h('a', { href: to }, words));
}

again(LIVE_MS, () =>
  now.load(
    (signal) => get<Live>('/v1/live', signal),
    (live) => [
      tiles(
        'Right now',
        ['Streams playing', round(live.streams_now)],
        ['Accounts watching', round(live.accounts_now)],
        ['Waiting for a slot', round(live.waiting_now)],
        ['Told no, last minute', round(live.blocked_attempts_per_min)],
      ),
    ],
  ),
);

const title = (row: UsageRow): HTMLElement => h('a', { href: ask('/titles', { title: row.of }) }, row.name || row.of);

function mostWatched(rows: readonly UsageRow[]): HTMLElement {
  const most = Math.max(...rows.map(({ watched_ms }) => watched_ms), 0);
  const columns: Column<UsageRow>[] = [
    { key: 'title', head: 'Title', cell: title },
    { key: 'watched', head: 'Watched', unit: 'h', order: ({ watched_ms }) => watched_ms, cell: ({ watched_ms }) => bar(inHours(watched_ms), watched_ms, most) },
    { key: 'plays', head: 'Plays', order: ({ plays }) => plays, cell: ({ plays }) => whole(plays) },
  ];
  return table({ caption: 'Most watched titles', columns, rows, sort: '-watched' });
}

again(REPORTS_MS, () => {
  const period = lastDays(30, new Date());
  const today = lastDays(1, new Date());
  return watched.load(
    (signal) => Promise.all([get<Usage>(ask('/v1/reports/usage', { by: 'day', period }), signal), get<Usage>(ask('/v1/reports/usage', { by: 'title', period, limit: 5 }), signal)]),
    ([days, titles]) => {
      const of = days.rows.find((row) => row.of === today);
      const figures = tiles(
        'Watched',
        ['Plays today', whole(of?.plays ?? 0), counted(of?.distinct_accounts ?? 0, 'account')],
        ['Watched today', hours(of?.watched_ms ?? 0)],
        ['Plays, 30 days', short(days.total.plays), counted(days.total.distinct_accounts, 'account', 'accounts', short)],
        ['Watched, 30 days', hours(days.total.watched_ms)],
      );
      if (days.rows.length === 0) return [figures, h('p', { class: 'panel empty' }, 'Nothing was watched in the last 30 days. ', h('a', { href: '/player?account=demo-household' }, 'Open a player'), ' to see it arrive here.')];
      const { times, lines } = daysCourse(days.rows, period, [{ name: 'Watched, h', of: ({ watched_ms }) => watched_ms / 3_600_000 }], Date.now());
      return [
        figures,
        panel('Hours watched', 'Day by day, UTC', chart({ title: 'Hours watched, day by day', times, lines, kind: 'bars', figure: (value) => value.toLocaleString('en', { maximumFractionDigits: 1 }), time: day })),
        panel('Most watched', 'Over the last 30 days', mostWatched(titles.rows), link('/titles', 'All titles')),
      ];
    },
  );
});

again(REPORTS_MS, () => {
  const period = lastDays(30, new Date());
  return toldNo.load(
    (signal) => get<Concurrency>(ask('/v1/reports/concurrency', { period, by: 'day' }), signal),
    ({ blocked, streams }) => {
      const { times, lines } = courseOf(streams, period, 'day', () => 'Streams at once', Date.now());
      const peak = streams.length === 0 ? [] : [panel('Most streams at once', 'The peak of each day, UTC', chart({ title: 'Most streams at once, day by day', times, lines, kind: 'bars', figure: round, time: day }))];
      const figures = tiles(
        'Told no',
        ['Told no, 30 days', short(blocked.attempts), counted(blocked.accounts, 'account', 'accounts', short)],
        ['Let in later', share(blocked.let_in, blocked.sessions), `of ${counted(blocked.sessions, 'session', 'sessions', short)}`],
        ['Half waited at most', waited(blocked.waited_ms_median)],
        ['95 of 100 at most', waited(blocked.waited_ms_p95)],
      );
      if (blocked.attempts === 0) return [panel('Told no', 'Over the last 30 days', h('p', { class: 'empty' }, 'Nobody was told no.')), ...peak];
      const columns: Column<Concurrency['blocked']['by_rule'][number]>[] = [
        { key: 'rule', head: 'Why', cell: (row) => ruleInWords(row) },
        { key: 'attempts', head: 'Attempts', order: ({ attempts }) => attempts, cell: ({ attempts }) => bar(whole(attempts), attempts, blocked.attempts) },
      ];
      const why = table({ caption: 'Told no, by rule', columns, rows: blocked.by_rule, sort: '-attempts', page: 5 });
      return [figures, panel('Told no, and why', 'Over the last 30 days', why, link(ask('/concurrency', { period }), 'Who, on what, and how long they waited')), ...peak];
    },
  );
});

again(REPORTS_MS / 6, () =>
  models.load(
    (signal) => get<{ projections: Build[] }>('/v1/projections', signal),
    ({ projections }) => {
      const leads = groups(projections).map(({ lead }) => lead);
      if (leads.length === 0) return 'No projection is installed in this database: `pulsegate migrate` makes their tables.';
      const columns: Column<Build>[] = [
        { key: 'name', head: 'Read model', cell: ({ name, version }) => `${name} ${version}` },
        { key: 'state', head: 'State', cell: ({ state, paused_at }) => h('span', { class: `badge ${paused_at == null && state === 'live' ? 'good' : 'warn'}` }, paused_at == null ? state : 'paused') },
        { key: 'behind', head: 'Behind', cell: (build) => lagInWords(build).sentence },
        { key: 'parked', head: 'Parked', order: ({ parked }) => parked, cell: ({ parked }) => whole(parked) },
      ];
      return [panel('Can it be relied on?', 'How far each read model is behind the log', table({ caption: 'Read models', columns, rows: leads }), link('/projections', 'All builds and partitions'))];
    },
  ),
);

showFreshness(byId('freshness'), ['licensing', 'active_sessions']);
byId('answer').append(h('p', { class: 'muted small' }, 'To bill for it: ', h('a', { href: ask('/licensing', { period: month(1, new Date()) }) }, "last month's statement"), '.'));
