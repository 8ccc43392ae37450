import { byId, h } from '../dom.js';
import { capital, choice, devices, panel, territoryInWords, text, tiles, offer, DEVICE_CLASSES } from '../shell/parts.js';
import { get, Region } from '../shell/asking.js';
import { chart } from '../shell/chart.js';
import { showFreshness } from '../shell/fresh.js';
import { counted, hours, inHours, percent, short, whole } from '../shell/numbers.js';
import { periodField } from '../shell/period_field.js';
import { lastDays, PERIOD, periodInWords } from '../shell/periods.js';
import { bar, table, type Column } from '../shell/table.js';
import { ask, UrlState, type Values } from '../shell/url.js';
import { deviceClassInWords } from '../words.js';
import type { Usage, UsageRow } from './answers.js';
import { recordsOf, sessionsBehind } from './behind.js';
import { daysCourse } from './course.js';

const SHOWN_MAX = 500;
const FIELDS = {
  period: { fallback: lastDays(30, new Date()), allowed: PERIOD },
  title: { fallback: '' },
  territory: { fallback: '', allowed: /^([A-Z]{2})?$/ },
  device_class: { fallback: '', allowed: ['', ...DEVICE_CLASSES] },
  sort: { fallback: '-watched_ms', allowed: ['-watched_ms', '-plays', '-distinct_accounts'] },
  session: { fallback: '', allowed: /^([^/]{1,128}\/[0-9a-f-]{36})?$/ },
};

const answer = new Region(byId('answer'));
const sessions = new Region(byId('sessions'), 'Sessions');
const records = new Region(byId('records'), 'Records');
const state = new UrlState(FIELDS, show);
const form = byId<HTMLFormElement>('filters');

const where = ({ territory, device_class }: Values<typeof FIELDS>): { territory: string; device_class: string } => ({ territory, device_class });
const usage = (by: string, values: Values<typeof FIELDS>, more: Record<string, string | number>, signal: AbortSignal): Promise<Usage> =>
  get<Usage>(ask('/v1/reports/usage', { by, period: values.period, ...where(values), ...more }), signal);

function titleLink({ of, name }: UsageRow): HTMLElement {
  const link = h('a', { href: state.href({ title: of, session: '' }) }, name === null || name === '' ? of : name);
  link.addEventListener('click', (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    state.set({ title: of, session: '' });
    scrollTo(0, 0);
  });
  return h('span', {}, link, name === null || name === '' ? '' : h('span', { class: 'muted small id' }, ` ${of}`));
}

const FIGURES: Column<UsageRow>[] = [
  { key: 'plays', head: 'Plays', order: ({ plays }) => plays, cell: ({ plays }) => whole(plays) },
  { key: 'distinct_accounts', head: 'Accounts', order: (row) => row.distinct_accounts, cell: (row) => whole(row.distinct_accounts) },
];
const COMPLETION: Column<UsageRow> = {
  key: 'completion',
  head: 'Completion',
  about: 'How much of the title a play saw, on average',
  order: ({ completion_per_mille }) => completion_per_mille,
  cell: ({ completion_per_mille }) => percent(completion_per_mille),
};

function watched(rows: readonly UsageRow[]): Column<UsageRow> {
  const most = Math.max(...rows.map(({ watched_ms }) => watched_ms), 0);
  return { key: 'watched_ms', head: 'Watched', unit: 'h', order: ({ watched_ms }) => watched_ms, cell: ({ watched_ms }) => bar(inHours(watched_ms), watched_ms, most) };
}

function content(): Column<UsageRow> {
  return { key: 'content_ms', head: 'Content', unit: 'h', about: 'Content that its session had not seen before', order: ({ content_ms }) => content_ms, cell: ({ content_ms }) => inHours(content_ms) };
}

function showMost(found: Usage, values: Values<typeof FIELDS>): Node[] | string {
  if (found.rows.length === 0) return `Nothing was watched in ${periodInWords(values.period)}${values.territory === '' && values.device_class === '' ? '' : ' there'}.`;
  const columns: Column<UsageRow>[] = [{ key: 'title', head: 'Title', cell: titleLink }, watched(found.rows), ...FIGURES, content(), COMPLETION];
  const sorted = (sort: string): void => {
    // The largest of all are asked for anew; the other way round they are only those that are here.
    if (FIELDS.sort.allowed.includes(sort)) state.set({ sort }, true);
  };
  const first = found.rows.length < found.rows_in_all ? `the first ${whole(found.rows.length)} of ${whole(found.rows_in_all)} titles` : counted(found.rows_in_all, 'title');
  return [
    tiles('All titles', ['Plays', short(found.total.plays)], ['Watched', hours(found.total.watched_ms)], ['Accounts', short(found.total.distinct_accounts), 'each counted once'], ['Titles', whole(found.rows_in_all)]),
    panel('Most watched', `${periodInWords(values.period)}, ${first}`, table({ caption: 'Titles', columns, rows: found.rows, sort: values.sort, sorted })),
  ];
}

async function askOne(values: Values<typeof FIELDS>, signal: AbortSignal): Promise<[Usage, Usage, Usage, Usage]> {
  const of = { title: values.title };
  return Promise.all([
    usage('title', values, of, signal),
    usage('day', values, { ...of, limit: 400 }, signal),
    usage('territory', values, { ...of, limit: 300 }, signal),
    usage('device_class', values, of, signal),
  ]);
}

function showOne([one, days, territories, classes]: [Usage, Usage, Usage, Usage], values: Values<typeof FIELDS>): Node[] | string {
  byId('heading').textContent = one.rows[0]?.name || values.title;
  const total = one.total;
  if (one.rows.length === 0) return `${values.title} wasn't watched in ${periodInWords(values.period)}. Another period may have it.`;
  const { times, lines } = daysCourse(days.rows, values.period, [{ name: 'Watched, h', of: ({ watched_ms }) => watched_ms / 3_600_000 }], Date.now());
  const day = (at: number): string => new Date(at).toLocaleDateString('en-GB', { day: 'numeric', month: 'short', timeZone: 'UTC' });
  const by = (head: string, words: (of: string) => string, rows: readonly UsageRow[]): HTMLElement =>
    table({ caption: `By ${head.toLowerCase()}`, columns: [{ key: 'of', head, cell: ({ of }) => words(of) }, watched(rows), ...FIGURES, COMPLETION], rows, sort: '-watched_ms' });
  return [
    tiles(
      'This title',
      ['Plays', whole(total.plays)],
      ['Watched', hours(total.watched_ms), total.aged_ms === 0 ? undefined : `${hours(total.aged_ms)} of it sent late`],
      ['Accounts', whole(total.distinct_accounts), 'each counted once'],
      ['Completion', percent(one.rows[0]?.completion_per_mille), 'of the title, by a play on average'],
    ),
    panel('Day by day', 'Hours watched', chart({ title: 'Hours watched, day by day', times, lines, kind: 'bars', figure: (value) => value.toLocaleString('en', { maximumFractionDigits: 1 }), time: day })),
    h('div', { class: 'halves' }, panel('Where', 'By territory', by('Territory', territoryInWords, territories.rows)), panel('On what', 'By class of device', by('Device', (of) => capital(deviceClassInWords(of)), classes.rows))),
  ];
}

function show(values: Values<typeof FIELDS>): void {
  const isOne = values.title !== '';
  byId('heading').textContent = isOne ? values.title : 'Titles';
  document.title = `pulsegate · ${isOne ? values.title : 'titles'}`;
  if (isOne) void answer.load((signal) => askOne(values, signal), (found) => showOne(found, values));
  else void answer.load((signal) => usage('title', values, { sort: values.sort.slice(1), limit: SHOWN_MAX }, signal), (found) => showMost(found, values));
  byId('sessions').hidden = !isOne;
  if (isOne) {
    const behind = { period: values.period, title: values.title, ...where(values) };
    const open = ({ account_id, session_id }: { account_id: string; session_id: string }): void => state.set({ session: `${account_id}/${session_id}` });
    void sessions.load((signal) => sessionsBehind(behind, open, signal), (found) => (typeof found === 'string' ? found : [panel('Sessions', 'Behind these figures, in the order of the log', ...found)]));
  }
  const [account, session] = values.session.split('/');
  const isSession = isOne && account !== undefined && session !== undefined;
  byId('records').hidden = !isSession;
  if (isSession) {
    void records.load((signal) => recordsOf(account, session, signal), (found) => (typeof found === 'string' ? found : [panel('Records', 'What the log holds of the session, and what each record added', ...found)])).then(() => byId('records').scrollIntoView({ block: 'nearest' }));
  }
}

async function offerTerritories(): Promise<void> {
  const { period } = state.values;
  const found = await get<Usage>(ask('/v1/reports/usage', { by: 'territory', period, limit: 300 })).catch(() => null);
  if (found !== null) offer(form, 'territory', [{ value: '', words: 'All' }, ...found.rows.map(({ of }) => ({ value: of, words: territoryInWords(of) }))]);
}

form.append(periodField(state.values.period), choice('territory', 'Territory', [{ value: '', words: 'All' }]), choice('device_class', 'Device', devices()), text('title', 'Title id', 'All titles'));
form.append(h('button', { type: 'submit' }, 'Show'));
state.bind(form);
showFreshness(byId('freshness'), ['licensing']);
show(state.values);
void offerTerritories();
