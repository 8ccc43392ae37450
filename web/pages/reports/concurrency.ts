import { byId, h } from '../dom.js';
import { capital, choice, devices, panel, territoryInWords, text, tiles, DEVICE_CLASSES } from '../shell/parts.js';
import { get, Region } from '../shell/asking.js';
import { chart, LINES_MAX } from '../shell/chart.js';
import { showFreshness } from '../shell/fresh.js';
import { counted, share, waited, whole } from '../shell/numbers.js';
import { periodField } from '../shell/period_field.js';
import { daysOf, lastDays, PERIOD, periodInWords } from '../shell/periods.js';
import { bar, table, type Column } from '../shell/table.js';
import { ask, UrlState, type Values } from '../shell/url.js';
import { deviceClassInWords } from '../words.js';
import { round } from '../sparkline.js';
import type { ByWhat, Concurrency } from './answers.js';
import { courseOf } from './course.js';
import { ruleInWords } from './words.js';

const FIELDS = {
  period: { fallback: lastDays(1, new Date()), allowed: PERIOD },
  by: { fallback: '', allowed: ['', 'minute', 'hour', 'day'] },
  per: { fallback: 'everything', allowed: ['everything', 'device_class', 'title', 'territory'] },
  device_class: { fallback: '', allowed: ['', ...DEVICE_CLASSES] },
  territory: { fallback: '', allowed: /^([A-Z]{2})?$/ },
  title: { fallback: '' },
};

const answer = new Region(byId('answer'));
const state = new UrlState(FIELDS, show);
const form = byId<HTMLFormElement>('filters');

const WORDS: Record<string, (of: string) => string> = {
  everything: () => 'Streams at once',
  device_class: (of) => capital(deviceClassInWords(of)),
  territory: territoryInWords,
};

/** What suits a period: a day by the minute would be asked for by whoever wants it. */
function suits(period: string): 'hour' | 'day' {
  const days = daysOf(period);
  return days !== null && days.first === days.last ? 'hour' : 'day';
}

function attempts(caption: string, head: string, words: (of: string) => Node | string, rows: readonly ByWhat[]): HTMLElement {
  const most = Math.max(...rows.map((row) => row.attempts), 0);
  const columns: Column<ByWhat>[] = [
    { key: 'of', head, cell: ({ of }) => words(of) },
    { key: 'attempts', head: 'Attempts', order: (row) => row.attempts, cell: (row) => bar(whole(row.attempts), row.attempts, most) },
  ];
  return table({ caption, columns, rows, sort: '-attempts', page: 10 });
}

function showStreams({ streams, by, titles }: Concurrency, { period, per }: Values<typeof FIELDS>): HTMLElement {
  const apart = per === 'everything' ? '' : `, the ${LINES_MAX} with the highest peaks`;
  const every = { minute: 'each minute', hour: 'each hour', day: 'each day' }[by];
  const note = `The most at one instant of ${every}, log time${apart}`;
  if (streams.length === 0) return panel('Streams at once', note, h('p', { class: 'empty' }, `Nobody watched in ${periodInWords(period)}${state.href({}) === state.href({ device_class: '', territory: '', title: '' }) ? '' : ' there'}.`));
  const words = per === 'title' ? (of: string): string => titles[of] ?? of : (WORDS[per] ?? ((of: string): string => of));
  const { times, lines } = courseOf(streams, period, by, words, Date.now());
  const parts: Intl.DateTimeFormatOptions = by === 'day' ? { day: 'numeric', month: 'short' } : { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' };
  const time = (at: number): string => new Date(at).toLocaleString('en-GB', { ...parts, timeZone: 'UTC' });
  return panel('Streams at once', note, chart({ title: 'Streams at once', times, lines, kind: by === 'day' ? 'bars' : 'line', figure: round, time }));
}

function showAnswer(found: Concurrency, values: Values<typeof FIELDS>): Node[] {
  const { blocked, accounts, streams } = found;
  const peak = streams.reduce((most, row) => Math.max(most, row.peak), 0);
  const parts: Node[] = [
    tiles(
      'In short',
      [values.per === 'everything' ? 'Most at once' : 'Most at once of one', whole(peak), peak === 1 ? 'stream' : 'streams'],
      ['Told no', whole(blocked.attempts), `${counted(blocked.accounts, 'account')}, ${counted(blocked.sessions, 'session')}`],
      ['Let in later', share(blocked.let_in, blocked.sessions), counted(blocked.let_in, 'session')],
      ['Half waited at most', waited(blocked.waited_ms_median), `95 of 100 at most ${waited(blocked.waited_ms_p95)}`],
    ),
    showStreams(found, values),
  ];
  if (blocked.attempts === 0) parts.push(panel('Told no, and why', '', h('p', { class: 'empty' }, 'Nobody was told no.')));
  else {
    const columns: Column<Concurrency['blocked']['by_rule'][number]>[] = [
      { key: 'rule', head: 'Why', cell: ruleInWords },
      { key: 'attempts', head: 'Attempts', order: (row) => row.attempts, cell: (row) => bar(whole(row.attempts), row.attempts, blocked.attempts) },
    ];
    const title = (of: string): HTMLElement => h('a', { href: ask('/titles', { title: of, period: values.period }), title: of }, found.titles[of] ?? of);
    parts.push(
      panel('Told no, and why', 'Over the period, whatever else is chosen above', table({ caption: 'Told no, by rule', columns, rows: blocked.by_rule, sort: '-attempts', page: 10 })),
      h(
        'div',
        { class: 'halves' },
        panel('Told no, on what', '', attempts('Told no, by class of device', 'Device', (of) => capital(deviceClassInWords(of)), blocked.by_device_class)),
        panel('Told no, for what', '', attempts('Told no, by title', 'Title', title, blocked.by_title)),
      ),
    );
  }
  if (accounts.length > 0) {
    const columns: Column<Concurrency['accounts'][number]>[] = [
      { key: 'account', head: 'Account', order: ({ account_id }) => account_id, cell: ({ account_id }) => h('a', { href: ask('/', { account: account_id }) }, account_id) },
      { key: 'refused', head: 'Told no', about: 'How often it was over its limit', order: ({ refused }) => refused, cell: ({ refused }) => whole(refused) },
      { key: 'last', head: 'Took its last slot', about: 'How often it reached its limit', order: ({ took_the_last }) => took_the_last, cell: ({ took_the_last }) => whole(took_the_last) },
    ];
    parts.push(panel('Accounts at their limit', 'The 100 that met it most often: those would gain by a larger one, or share theirs', table({ caption: 'Accounts at their limit', columns, rows: accounts, sort: '-refused', page: 20 })));
  }
  return parts;
}

function show(values: Values<typeof FIELDS>): void {
  const { by, per, ...rest } = values;
  const query = { ...rest, by: by === '' ? suits(values.period) : by, per, top: per === 'everything' ? null : LINES_MAX };
  void answer.load((signal) => get<Concurrency>(ask('/v1/reports/concurrency', query), signal), (found) => showAnswer(found, values));
}

const options = (...pairs: [string, string][]): { value: string; words: string }[] => pairs.map(([value, words]) => ({ value, words }));
form.append(
  periodField(state.values.period),
  choice('by', 'By', options(['', 'What suits'], ['minute', 'Minute'], ['hour', 'Hour'], ['day', 'Day'])),
  choice('per', 'Apart by', options(['everything', 'Nothing'], ['device_class', 'Device'], ['title', 'Title'], ['territory', 'Territory'])),
  choice('device_class', 'Device', devices()),
  text('territory', 'Territory', 'All, or e.g. DE'),
  text('title', 'Title id', 'All titles'),
  h('button', { type: 'submit' }, 'Show'),
);
state.bind(form);
showFreshness(byId('freshness'), ['licensing', 'active_sessions']);
show(state.values);
