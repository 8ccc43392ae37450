// From a figure to the sessions behind it, and from a session to its records in the log.
import { h } from '../dom.js';
import { shortId } from '../words.js';
import { get } from '../shell/asking.js';
import { hours, waited, whole } from '../shell/numbers.js';
import { table, type Column } from '../shell/table.js';
import { ask } from '../shell/url.js';
import type { Beat, Beats, Session, Sessions } from './answers.js';

export interface Behind {
  period: string;
  title: string;
  contract?: string;
  territory?: string;
  device_class?: string;
}

const PAGE = 100;

function pageOf({ period, ...query }: Behind, after: string | null, signal?: AbortSignal): Promise<Sessions> {
  return get<Sessions>(ask(`/v1/statements/${period}/sessions`, { ...query, after, limit: PAGE }), signal);
}

const COLUMNS: Column<Session>[] = [
  { key: 'account', head: 'Account', order: ({ account_id }) => account_id, cell: ({ account_id }) => h('a', { href: ask('/', { account: account_id }) }, account_id) },
  { key: 'session', head: 'Session', cell: ({ session_id }) => h('code', { title: session_id }, shortId(session_id)) },
  { key: 'days', head: 'Day', unit: 'UTC', order: ({ first_day }) => first_day, cell: ({ first_day, last_day }) => (first_day === last_day ? first_day : `${first_day} – ${last_day}`) },
  { key: 'watched', head: 'Watched', order: ({ watched_ms }) => watched_ms, cell: ({ watched_ms }) => hours(watched_ms) },
  { key: 'content', head: 'Content', order: ({ content_ms }) => content_ms, cell: ({ content_ms }) => hours(content_ms) },
  { key: 'late', head: 'Late', order: ({ aged_ms }) => aged_ms, cell: ({ aged_ms }) => hours(aged_ms) },
  { key: 'counts', head: 'Counts as', cell: ({ played, qualified }) => [played ? 'play' : '', qualified ? 'qualified view' : ''].filter(Boolean).join(', ') || 'time only' },
  { key: 'place', head: 'In the log', unit: 'partition @ offset', cell: ({ partition, first_offset }) => h('code', {}, `${partition} @ ${whole(first_offset)}`) },
];

/** The sessions behind a figure, page by page; `open` is told which one somebody wants to see. */
export async function sessionsBehind(behind: Behind, open: (session: Session) => void, signal: AbortSignal): Promise<Node[] | string> {
  const found = await pageOf(behind, null, signal);
  if (found.sessions.length === 0) return 'No session is behind this.';
  let { next } = found;
  const all = found.sessions;
  const place = h('div');
  const more = h('button', { type: 'button' }, 'Show more sessions');
  const records: Column<Session> = {
    key: 'records',
    head: 'Records',
    cell: (session) => {
      const button = h('button', { type: 'button', class: 'slim', 'aria-label': `Records of session ${session.session_id}` }, 'Records');
      button.addEventListener('click', () => open(session));
      return button;
    },
  };
  const draw = (): void => {
    place.replaceChildren(table({ caption: 'Sessions behind this figure', columns: [...COLUMNS, records], rows: all, page: 1_000 }));
    more.hidden = next === null;
  };
  more.addEventListener('click', async () => {
    more.disabled = true;
    const page = await pageOf(behind, next).catch(() => null);
    more.disabled = false;
    if (page === null) return void (more.textContent = 'That failed; try again');
    all.push(...page.sessions);
    ({ next } = page);
    draw();
  });
  draw();
  return [place, h('p', { class: 'table-foot' }, more)];
}

/** A session's records, as they stand in the log, each with what it added. */
export async function recordsOf(account: string, session: string, signal: AbortSignal): Promise<Node[] | string> {
  const beats = await get<Beats>(`/v1/accounts/${encodeURIComponent(account)}/sessions/${session}/watch-time`, signal);
  if (beats.records.length === 0) return 'The log holds no record of this session any more.';
  const time = (ms: number | null): string => (ms === null ? '–' : waited(ms));
  const columns: Column<Beat>[] = [
    { key: 'offset', head: 'Offset', order: ({ offset }) => offset, cell: ({ offset }) => h('code', {}, whole(offset)) },
    { key: 'at', head: 'Log time', unit: 'UTC', order: ({ at }) => at, cell: ({ at }) => at.replace('T', ' ').replace('Z', '') },
    { key: 'kind', head: 'Record', cell: ({ kind, state }) => (state === null ? kind : `${kind}, ${state}`) },
    { key: 'sequence', head: 'Number', order: ({ sequence }) => sequence, cell: ({ sequence }) => (sequence === null ? '–' : whole(sequence)) },
    { key: 'elapsed', head: 'Elapsed', order: ({ elapsed_ms }) => elapsed_ms, cell: ({ elapsed_ms }) => time(elapsed_ms) },
    { key: 'age', head: 'Late by', order: ({ age_ms }) => age_ms, cell: ({ age_ms }) => (age_ms === 0 ? '–' : time(age_ms)) },
    { key: 'position', head: 'Position', order: ({ position_ms }) => position_ms, cell: ({ position_ms }) => time(position_ms) },
    { key: 'watched', head: 'Added watched', order: ({ watched_ms }) => watched_ms, cell: ({ watched_ms }) => time(watched_ms) },
    { key: 'content', head: 'Added content', order: ({ content_ms }) => content_ms, cell: ({ content_ms }) => time(content_ms) },
    { key: 'played', head: 'Counts', cell: ({ played }) => (played ? 'the play' : '') },
  ];
  const whose = h('p', { class: 'table-foot small muted' }, `Session ${session} of ${account}: topic ${beats.topic}, partition ${beats.partition}${beats.is_whole ? '' : '; only its first records could be read'}`);
  return [whose, table({ caption: `Records of session ${session}`, columns, rows: beats.records, page: 200 })];
}
