import { h } from '../dom.js';
import { capital, panel, tiles } from '../shell/parts.js';
import { counted, hours, inHours, money, percent, signed, whole } from '../shell/numbers.js';
import { periodInWords } from '../shell/periods.js';
import { table, type Column } from '../shell/table.js';
import { ask } from '../shell/url.js';
import { clock, count, deviceClassInWords } from '../words.js';
import { amounts, fileName, verifyCommand, workingOf, type Head, type OfContract, type StatementPage, type StatementRow } from './statement.js';
import { stepInWords, type Step } from './words.js';

/** How the parts lead to other states of the page. */
export interface Links {
  behind: (row: StatementRow) => Record<string, string>;
  link: (part: Record<string, string>, words: string, label?: string) => HTMLElement;
}

const STATES = { provisional: ['warn', 'it is made anew from the read models each time'], closed: ['good', 'it stands'], restated: ['good', 'it stands'] } as const;

/** What the statement is, in figures, and what can be done with it. */
export function headOf(page: StatementPage, actions: HTMLElement): HTMLElement {
  const head = page.statement;
  const [tone, note] = STATES[head.state];
  const made = head.closed_at === null ? '' : `, ${head.state} ${clock(head.closed_at, false)}`;
  const revision = head.revision === 0 ? 'revision 0, nothing is pinned' : `revision ${head.revision}${made}`;
  const outside = page.totals.outside_window_ms + page.totals.outside_territory_ms;
  const due = Object.entries(page.due);
  const whose = head.rights_holder_id === null ? 'everybody' : (page.names[head.rights_holder_id] ?? head.rights_holder_id);
  const title = h('div', { class: 'statement-head' }, h('h2', {}, `${periodInWords(head.period)}, ${whose}`), h('span', { class: `badge ${tone}`, title: note }, head.state), h('span', { class: 'muted small' }, revision), actions);
  return h(
    'section',
    {},
    title,
    tiles(
      'The statement',
      ['Due', due.length === 0 ? 'nothing' : due.map(([currency, amount]) => h('span', { class: 'amounts' }, money(amount, currency))), `under ${count(head.contracts.length, 'contract')}`],
      ['Plays', whole(page.totals.plays), counted(page.totals.qualified_views, 'qualified view')],
      ['Watched', hours(page.totals.watched_ms), outside === 0 ? 'all inside windows and territories' : `${hours(page.totals.outside_window_ms)} outside the window, ${hours(page.totals.outside_territory_ms)} outside the territory`],
      ['Told no', whole(page.totals.blocked_attempts), page.totals.blocked_attempts === 1 ? 'attempt' : 'attempts'],
    ),
  );
}

/** Why amounts can't be told. */
export function problemsOf({ problems }: Head): HTMLElement[] {
  if (problems.length === 0) return [];
  const told = problems.slice(0, 20).map(({ contract_id, title_id, detail }) => h('li', {}, `Contract ${contract_id}${title_id === null ? '' : `, title ${title_id}`}: ${detail}`));
  const more = problems.length > told.length ? h('p', {}, `And ${whole(problems.length - told.length)} more.`) : null;
  return [h('div', { class: 'notice', role: 'status' }, h('p', {}, `${count(problems.length, 'amount')} can't be told, so this can't be closed:`), h('ul', { class: 'problems' }, ...told), more)];
}

function versionsOf({ contract_id, version }: OfContract): HTMLElement {
  return h('a', { href: `/v1/contracts/${encodeURIComponent(contract_id)}/versions`, target: '_blank', rel: 'noopener' }, `version ${version}`);
}

function terms({ contract }: OfContract): string {
  const said = [
    `from ${contract.valid_from ?? '?'}${contract.valid_until == null ? '' : ` until ${contract.valid_until}`}`,
    contract.territories == null ? 'everywhere' : `in ${contract.territories.join(', ')}`,
    contract.title_ids == null ? 'all titles' : count(contract.title_ids.length, 'title'),
    contract.counting?.views === 'hours_by_runtime' ? 'views are hours ÷ runtime' : `a view from ${(contract.view_threshold_ms ?? 30_000) / 1_000} s on`,
  ];
  return said.join(' · ');
}

function workingOfContract(of: OfContract): HTMLElement {
  const steps: Column<Step>[] = [
    { key: 'what', head: 'Step', cell: (step) => stepInWords(step).what },
    { key: 'how', head: 'How', cell: (step) => stepInWords(step).how },
    { key: 'makes', head: 'Makes', figure: true, cell: (step) => stepInWords(step).makes },
  ];
  const working = of.due?.working ?? [];
  const body = working.length === 0 ? h('p', { class: 'table-foot small muted' }, 'Nothing is paid by the month: what is due is the sum of the rows below.') : table({ caption: `Working of ${of.contract_id}`, columns: steps, rows: working });
  const words = h('pre', { class: 'words', tabindex: 0, 'aria-label': `The words of ${of.contract_id}` }, JSON.stringify(of.contract, null, 2));
  return h('div', {}, body, h('details', { class: 'as-table' }, h('summary', {}, 'The contract, word for word'), words));
}

/** What is due under each contract, with the working of what belongs to no row. */
export function contractsOf(page: StatementPage): HTMLElement {
  const { contracts } = page.statement;
  if (contracts.length === 0) return panel('Contracts', 'In force on some day of the period', h('p', { class: 'empty' }, 'No contract was in force.'));
  const items = contracts.map((of) => {
    const due = of.due === null ? 'says nothing of money' : money(of.due.amount, of.due.currency);
    const sums = of.due === null ? null : h('p', { class: 'table-foot small muted' }, `Rounded rows and monthly parts, summed: ${money(of.due.sum_of_rounded)} · the exact sum, rounded once: ${money(of.due.rounded_sum)} · due: ${due}`);
    const summary = h('summary', {}, h('span', { class: 'contract-id' }, of.contract_id), h('span', { class: 'muted small' }, page.names[of.rights_holder_id] ?? of.rights_holder_id), h('strong', { class: 'due' }, due));
    return h('details', { class: 'contract', open: contracts.length === 1 }, summary, h('p', { class: 'terms small muted' }, `${terms(of)} · `, versionsOf(of)), workingOfContract(of), sums);
  });
  return panel('Contracts', 'In force on some day of the period, with the working of what is due', ...items);
}

/** The rows that were chosen. */
export function rowsOf(page: StatementPage, { rows: which, sort }: { rows: string; sort: string; revision: string }, links: Links, sorted: (sort: string) => void): HTMLElement {
  const { contracts, revision, state } = page.statement;
  const of = new Map(contracts.map((one) => [one.contract_id, one]));
  const isDelta = which === 'added' && revision > 1;
  const figure = (number: number, words: (number: number) => string): string => (isDelta ? signed(number, words) : words(number));
  const numbers = (key: keyof StatementRow & string, head: string, words: (number: number) => string, unit?: string): Column<StatementRow> => ({
    key,
    head,
    ...(unit === undefined ? {} : { unit }),
    order: (row) => row[key] as number,
    cell: (row) => figure(row[key] as number, words),
  });
  const columns: Column<StatementRow>[] = [
    {
      key: 'title',
      head: 'Title',
      order: (row) => page.names[row.title_id] ?? row.title_id,
      cell: (row) => {
        const name = page.names[row.title_id] || row.title_id;
        return row.territory === null ? name : links.link(links.behind(row), name, `${name}: sessions behind this row`);
      },
    },
    { key: 'contract', head: 'Contract', order: (row) => row.contract_id, cell: (row) => row.contract_id ?? 'none in force' },
    { key: 'territory', head: 'Territory', order: (row) => row.territory, cell: (row) => (row.territory === null ? 'all' : row.territory) },
    { key: 'device', head: 'Device', order: (row) => row.device_class, cell: (row) => (row.device_class === null ? 'all' : capital(deviceClassInWords(row.device_class))) },
    { key: 'amount', head: 'Due', order: (row) => (row.amount === null ? null : Number(row.amount)), cell: (row) => (row.amount === null ? '–' : money(row.amount, row.currency ?? '')) },
    { key: 'working', head: 'Working', cell: (row) => (isDelta ? '' : workingOf(row, of.get(row.contract_id ?? ''))) },
    numbers('plays', 'Plays', whole),
    numbers('qualified_views', 'Qualified views', whole),
    numbers('views', 'Views', whole),
    numbers('watched_ms', 'Watched', inHours, 'h'),
    numbers('content_ms', 'Content', inHours, 'h'),
    numbers('distinct_accounts', 'Accounts', whole),
    numbers('peak_concurrent', 'Peak', whole),
    { key: 'completion', head: 'Completion', order: (row) => row.completion_per_mille, cell: (row) => percent(row.completion_per_mille) },
    numbers('blocked_attempts', 'Told no', whole),
    numbers('aged_ms', 'Late', inHours, 'h'),
    numbers('outside_window_ms', 'Outside window', inHours, 'h'),
    numbers('outside_territory_ms', 'Outside territory', inHours, 'h'),
  ];
  const shown = page.rows.length < page.rows_in_all ? `the first ${whole(page.rows.length)} of ${whole(page.rows_in_all)} rows, the largest first` : count(page.rows_in_all, 'row');
  const switcher = state !== 'restated' ? null : h('p', { class: 'table-foot small' }, which === 'added' ? links.link({ rows: 'all' }, 'Show the whole statement') : links.link({ rows: 'added', revision: String(revision) }, `Show only what revision ${revision} added`));
  if (page.rows.length === 0) return panel('Rows', shown, h('p', { class: 'empty' }, which === 'added' ? 'This revision changed no row.' : 'Nothing was used that is chosen here.'), switcher ?? '');
  const foot = h('p', { class: 'table-foot small muted' }, `${page.rows_in_all === 1 ? 'The chosen row' : `All ${whole(page.rows_in_all)} chosen rows`}: ${amounts(page.totals.amounts)} due for rows, ${figure(page.totals.plays, whole)} ${page.totals.plays === 1 ? 'play' : 'plays'}, ${figure(page.totals.watched_ms, hours)} watched. A play under two contracts counts under each.`);
  return panel('Rows', shown, table({ caption: 'Rows of the statement', columns, rows: page.rows, sort, sorted, page: 25 }), foot, switcher ?? '');
}

/** The files, and how whoever receives one can check it. */
export function verifyOf(head: Head, rows: string): HTMLElement {
  const about = { rights_holder: head.rights_holder_id, revision: head.revision, rows: rows === 'added' && head.revision > 1 ? rows : null };
  const formats = [['csv', 'CSV'], ['tsv', 'TSV, in the shape of a sales report'], ['json', 'JSON, which can be verified'], ['parquet', 'Parquet']] as const;
  const files = formats.map(([format, words]) => h('a', { class: 'button', href: ask(`/v1/statements/${head.period}`, { ...about, format }), download: true, title: words }, format.toUpperCase()));
  const command = (line: string): HTMLElement => h('pre', { class: 'words', tabindex: 0, 'aria-label': 'A command' }, line);
  const places = head.as_of.map(({ topic, partition, offset }) => h('li', {}, h('code', {}, `${topic} ${partition} @ ${whole(offset)}`)));
  return panel(
    'Files, and how to verify them',
    'The whole statement, not only the rows chosen above',
    h(
      'div',
      { class: 'verify' },
      h('p', { class: 'files' }, ...files),
      h('p', {}, head.revision === 0 ? 'The hash of what it says now, which changes with it:' : 'The hash of this revision. Compare it with one that you were told another way:'),
      h('p', {}, h('code', { class: 'hash' }, head.sha256)),
      h('p', {}, 'Whoever has the JSON can check hash and arithmetic without log or database:'),
      command(`pulsegate report verify --file ${fileName(head)}`),
      h('p', {}, 'Whoever has the log can fold it again up to the same offsets:'),
      command(head.revision === 0 ? `pulsegate report verify --file ${fileName(head)} --against-log` : verifyCommand(head)),
      h('details', { class: 'offsets' }, h('summary', {}, `As of ${count(head.as_of.length, 'offset')}`), h('ul', { class: 'places' }, ...places)),
    ),
  );
}
