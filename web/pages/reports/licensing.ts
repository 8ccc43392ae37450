import { byId, h } from '../dom.js';
import { choice, devices, panel, territoryInWords, text, offer, DEVICE_CLASSES } from '../shell/parts.js';
import { get, Region } from '../shell/asking.js';
import { showFreshness } from '../shell/fresh.js';
import { periodField } from '../shell/period_field.js';
import { month, PERIOD, periodInWords } from '../shell/periods.js';
import { table, type Column } from '../shell/table.js';
import { ask, UrlState, type Values } from '../shell/url.js';
import { clock } from '../words.js';
import { recordsOf, sessionsBehind } from './behind.js';
import { contractsOf, headOf, problemsOf, rowsOf, verifyOf, type Links } from './licensing_parts.js';
import { pinning } from './pinning.js';
import type { Listed, StatementPage } from './statement.js';

const FIELDS = {
  period: { fallback: month(1, new Date()), allowed: PERIOD },
  rights_holder: { fallback: '' },
  revision: { fallback: '', allowed: /^\d{0,6}$/ },
  rows: { fallback: 'all', allowed: ['all', 'added'] },
  contract: { fallback: '' },
  title: { fallback: '' },
  territory: { fallback: '', allowed: /^([A-Z]{2})?$/ },
  device_class: { fallback: '', allowed: ['', ...DEVICE_CLASSES] },
  sort: { fallback: '-amount', allowed: ['-amount', '-watched_ms', '-plays'] },
  behind: { fallback: '', allowed: ['', 'yes'] },
  session: { fallback: '', allowed: /^([^/]{1,128}\/[0-9a-f-]{36})?$/ },
};

const answer = new Region(byId('answer'));
const sessions = new Region(byId('sessions'), 'Sessions');
const records = new Region(byId('records'), 'Records');
const others = new Region(byId('others'), 'Closed statements');
const state = new UrlState(FIELDS, show);
const form = byId<HTMLFormElement>('filters');
let listed: Listed[] = [];

type Chosen = Values<typeof FIELDS>;

/** A link to another state of this page, which needs no page to be loaded. */
function link(part: Partial<Chosen>, words: string, label?: string): HTMLElement {
  const element = h('a', { href: state.href(part), 'aria-label': label }, words);
  element.addEventListener('click', (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    state.set(part);
  });
  return element;
}

const revisionsOf = ({ period, rights_holder }: Chosen): Listed[] => listed.filter((one) => one.period === period && (one.rights_holder_id ?? '') === rights_holder);

function showStatement(page: StatementPage, values: Chosen): Node[] {
  const head = page.statement;
  offer(form, 'territory', [{ value: '', words: 'All' }, ...page.territories.map((value) => ({ value, words: territoryInWords(value) }))]);
  offer(form, 'contract', [{ value: '', words: 'All' }, ...head.contracts.map(({ contract_id }) => ({ value: contract_id, words: contract_id }))]);
  const links: Links = {
    behind: (row) => ({ title: row.title_id, contract: row.contract_id ?? '', territory: row.territory ?? '', device_class: row.device_class ?? '', behind: 'yes', session: '' }),
    link: (part, words, label) => link(part, words, label),
  };
  const actions = pinning(head, async (said) => {
    await list();
    state.set({ revision: '', rows: 'all' });
    show(state.values);
    byId('said').textContent = said;
  });
  const sorted = (sort: string): void => {
    if (FIELDS.sort.allowed.includes(sort)) state.set({ sort }, true);
  };
  return [headOf(page, actions), ...problemsOf(head), contractsOf(page), rowsOf(page, values, links, sorted), verifyOf(head, values.rows)];
}

function show(values: Chosen): void {
  const { period, rights_holder, revision, rows, contract, title, territory, device_class, sort } = values;
  document.title = `pulsegate · ${periodInWords(period)}${rights_holder === '' ? '' : `, ${rights_holder}`}`;
  offerRevisions();
  const added = rows === 'added' && Number(revision) > 0 ? rows : '';
  const path = ask(`/v1/statements/${period}/rows`, { rights_holder, revision, rows: added, contract, title, territory, device_class, sort: sort.slice(1) });
  void answer.load((signal) => get<StatementPage>(path, signal), (page) => showStatement(page, values));
  const isBehind = values.behind === 'yes' && title !== '';
  byId('sessions').hidden = !isBehind;
  if (isBehind) {
    const open = ({ account_id, session_id }: { account_id: string; session_id: string }): void => state.set({ session: `${account_id}/${session_id}` });
    const where = [title, contract, territory, device_class].filter((one) => one !== '').join(', ');
    const note = `Behind ${where}; as the read model has them now, also of a statement that was closed`;
    void sessions.load((signal) => sessionsBehind({ period, title, contract, territory, device_class }, open, signal), (found) => (typeof found === 'string' ? found : [panel('Sessions', note, ...found)])).then(() => values.session === '' && byId('sessions').scrollIntoView({ block: 'nearest' }));
  }
  const [account, session] = values.session.split('/');
  const isSession = isBehind && account !== undefined && session !== undefined;
  byId('records').hidden = !isSession;
  if (isSession) {
    void records.load((signal) => recordsOf(account, session, signal), (found) => (typeof found === 'string' ? found : [panel('Records', 'What the log holds of the session, and what each record added', ...found)])).then(() => byId('records').scrollIntoView({ block: 'nearest' }));
  }
}

function offerRevisions(): void {
  const known = revisionsOf(state.values);
  const newest = known.length === 0 ? 'As it is now' : 'The newest';
  offer(form, 'revision', [
    { value: '', words: newest },
    ...known.map(({ revision, closed_at }) => ({ value: String(revision), words: `${revision}, ${revision === 1 ? 'closed' : 'restated'} ${clock(closed_at, false)}` })),
    ...(known.length === 0 ? [] : [{ value: '0', words: '0, as it is now' }]),
  ]);
}

async function list(): Promise<void> {
  await others.load(
    (signal) => get<{ statements: Listed[] }>('/v1/statements', signal),
    ({ statements }) => {
      listed = statements;
      offerRevisions();
      if (listed.length === 0) return 'No statement was closed yet.';
      const columns: Column<Listed>[] = [
        { key: 'period', head: 'Period', order: ({ period }) => period, cell: (one) => link({ period: one.period, rights_holder: one.rights_holder_id ?? '', revision: String(one.revision), rows: 'all', contract: '', title: '', territory: '', behind: '', session: '' }, periodInWords(one.period)) },
        { key: 'holder', head: 'Rights holder', order: (one) => one.rights_holder_id ?? '', cell: (one) => one.rights_holder_id ?? 'Everybody' },
        { key: 'revision', head: 'Revision', order: ({ revision }) => revision, cell: ({ revision }) => `${revision}` },
        { key: 'state', head: 'State', cell: ({ revision }) => (revision === 1 ? 'closed' : 'restated') },
        { key: 'at', head: 'At', order: ({ closed_at }) => closed_at, cell: ({ closed_at }) => clock(closed_at, false) },
        { key: 'rows', head: 'Rows added', order: ({ rows }) => rows, cell: ({ rows }) => rows.toLocaleString('en') },
        { key: 'hash', head: 'SHA-256', cell: ({ sha256 }) => h('code', { title: sha256 }, `${sha256.slice(0, 12)}…`) },
      ];
      return [panel('Closed statements', 'The newest first', table({ caption: 'Closed statements', columns, rows: listed, page: 20 }))];
    },
  );
}

async function offerHolders(): Promise<void> {
  const found = await get<{ rights_holders: { rights_holder_id: string; name: string }[] }>('/v1/rights-holders').catch(() => null);
  const known = (found?.rights_holders ?? []).map(({ rights_holder_id, name }) => ({ value: rights_holder_id, words: name === '' ? rights_holder_id : name }));
  offer(form, 'rights_holder', [{ value: '', words: 'Everybody' }, ...known]);
}

form.append(
  periodField(state.values.period),
  choice('rights_holder', 'Rights holder', [{ value: '', words: 'Everybody' }]),
  choice('revision', 'Revision', [{ value: '', words: 'The newest' }]),
  choice('contract', 'Contract', [{ value: '', words: 'All' }]),
  choice('territory', 'Territory', [{ value: '', words: 'All' }]),
  choice('device_class', 'Device', devices()),
  text('title', 'Title id', 'All titles'),
  h('button', { type: 'submit' }, 'Show'),
);
state.bind(form);
showFreshness(byId('freshness'), ['licensing', 'active_sessions']);
show(state.values);
void list();
void offerHolders();
