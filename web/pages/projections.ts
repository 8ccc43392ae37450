import { byId, h, keyed, setText } from './dom.js';
import { groups, lagInWords, phaseInWords, progressOf, Rates, type Build, type Group, type HistoryEntry, type Partition } from './builds.js';
import { signInAgain } from './shell/session.js';
import { clock, count, duration } from './words.js';

const POLL_MS = 2_000;
const TIMEOUT_MS = 10_000;

const TONES: Record<string, string> = { live: 'good', building: 'warn', failed: 'bad' };
const rates = new Rates();

let answeredAt: number | null = null;
let silentSince: number | null = null;

// ── one projection ─────────────────────────────────────────────────────────────────────────────

/** The panel of one projection, kept while it exists, so that what is open stays open. */
class Panel {
  readonly element: HTMLElement;
  readonly #badge = h('span');
  readonly #since = h('p', { class: 'muted small' });
  readonly #figures = h('dl', { class: 'counts' });
  readonly #trouble = h('p', { class: 'notice bad', hidden: true });
  readonly #others = h('ul', { class: 'builds', 'aria-label': 'Other builds' });
  readonly #partitions = h('tbody');
  readonly #partitionsTitle = h('summary');
  readonly #history = h('ol', { class: 'history' });
  readonly #historyTitle = h('summary');
  readonly #done = h('details', {}, this.#historyTitle, this.#history);

  constructor(name: string) {
    const heads = ['Partition', 'Behind', 'Next offset', 'End', 'Clock'].map((head) => h('th', { scope: 'col' }, head));
    const table = h('table', {}, h('thead', {}, h('tr', {}, ...heads)), this.#partitions);
    // It scrolls sideways on a phone, which the keyboard must be able to do as well.
    const scroller = h('div', { class: 'scroller', role: 'region', tabindex: 0, 'aria-label': `Partitions of ${name}` }, table);
    this.element = h(
      'section',
      { class: 'panel projection', 'aria-labelledby': `title-${name}` },
      h('div', { class: 'projection-head' }, h('h2', { id: `title-${name}` }, name), this.#badge, this.#since),
      this.#figures,
      this.#trouble,
      this.#others,
      h('details', {}, this.#partitionsTitle, scroller),
      this.#done,
    );
  }

  show({ name, lead, others }: Group): void {
    this.#badge.className = `badge ${lead.paused_at == null ? (TONES[lead.state] ?? '') : 'warn'}`;
    setText(this.#badge, lead.paused_at == null ? lead.state : 'paused');
    const switched = lead.switched_at == null ? '' : ` · live since ${clock(lead.switched_at, false)}`;
    const build = lead.build == null || lead.build === `${name}_v${lead.version}` ? '' : ` · ${lead.build}`;
    setText(this.#since, `version ${lead.version}${build}${switched}`);
    keyed(this.#figures, figuresOf(lead), ({ term }) => term, createFigure, updateFigure);
    const trouble = lead.last_error == null ? null : `${clock(lead.last_error_at ?? '')}: ${lead.last_error}`;
    this.#trouble.hidden = trouble === null;
    setText(this.#trouble, trouble ?? '');
    this.#others.hidden = others.length === 0;
    keyed(this.#others, others, keyOf, createBuild, updateBuild);
    setText(this.#partitionsTitle, partitionsInWords(lead.partitions));
    keyed(this.#partitions, lead.partitions, ({ topic, partition }) => `${topic}/${partition}`, createPartition, updatePartition);
    const history = [lead, ...others].flatMap((one) => (one.history ?? []).map((entry) => ({ ...entry, build: keyOf(one) })));
    history.sort((a, b) => (a.at < b.at ? 1 : -1));
    this.#done.hidden = history.length === 0;
    setText(this.#historyTitle, `What was done to it: ${count(history.length, 'entry', 'entries')}`);
    keyed(this.#history, history, (entry) => JSON.stringify(entry), createEntry);
  }
}

interface Figure {
  term: string;
  value: string;
  note: string;
  tone: string;
}

function figuresOf(build: Build): Figure[] {
  const lag = lagInWords(build);
  const rate = rates.of(build);
  return [
    { term: 'Behind', value: lag.events, note: lag.seconds, tone: lag.isUnknown ? 'attention' : '' },
    { term: 'Folds', value: rate === null ? '–' : `${perSecond(rate)} / s`, note: rate === null ? 'measuring…' : 'records a second', tone: '' },
    {
      term: 'Parked',
      value: build.parked.toLocaleString('en'),
      note: build.parked === 0 ? 'nothing waits' : 'their keys wait behind them',
      tone: build.parked === 0 ? '' : 'attention',
    },
    {
      term: 'Skipped',
      value: (build.skipped ?? 0).toLocaleString('en'),
      note: build.updated_at == null ? 'nothing was folded yet' : `last commit ${duration(Date.now() - Date.parse(build.updated_at))} ago`,
      tone: '',
    },
  ];
}

function perSecond(rate: number): string {
  return rate.toLocaleString('en', { maximumFractionDigits: rate < 10 ? 1 : 0 });
}

function createFigure(figure: Figure): HTMLElement {
  const element = h('div', {}, h('dt', {}, figure.term), h('dd'), h('dd', { class: 'small muted' }));
  updateFigure(element, figure);
  return element;
}

function updateFigure(element: HTMLElement, { value, note, tone }: Figure): void {
  const [, number, words] = [...element.children] as [Element, Element, Element];
  number.className = `value ${tone}`;
  setText(number, value);
  setText(words, note);
}

// ── the builds beside it ───────────────────────────────────────────────────────────────────────

function keyOf({ name, version, build }: Build): string {
  return build ?? `${name}_v${version}`;
}

function createBuild(build: Build): HTMLElement {
  const bar = h('progress', { max: 1 });
  const element = h('li', { class: 'build' }, h('strong', {}, keyOf(build)), h('span'), h('p', { class: 'small muted' }), bar);
  updateBuild(element, build);
  return element;
}

function updateBuild(element: HTMLElement, build: Build): void {
  const [, badge, words, bar] = [...element.children] as [Element, Element, Element, HTMLProgressElement];
  badge.className = `badge ${TONES[build.state] ?? ''}`;
  setText(badge, build.paused_at == null ? build.state : 'paused');
  const done = progressOf(build);
  bar.hidden = done === null;
  const lag = lagInWords(build);
  const rate = rates.of(build);
  const parked = build.parked === 0 ? '' : ` · ${count(build.parked, 'record')} parked`;
  const trouble = build.last_error == null ? '' : ` · ${clock(build.last_error_at ?? '')}: ${build.last_error}`;
  if (done === null || build.rebuild == null) {
    const behind = build.state === 'retired' || build.state === 'copy' ? '' : ` · ${lag.sentence}`;
    const asOf = build.as_of == null ? '' : ` · as of ${clock(build.as_of)}`;
    setText(words, `version ${build.version}${asOf}${behind}${parked}${trouble}`);
    return;
  }
  bar.value = done.ratio;
  bar.setAttribute('aria-label', `Rebuild of ${keyOf(build)}`);
  const seconds = build.rebuild.left_seconds;
  const left = seconds == null ? ' · it stands' : ` · about ${duration(seconds * 1_000)} left`;
  const speed = rate === null ? '' : ` · ${perSecond(rate)} records / s`;
  setText(words, `${phaseInWords(build.rebuild.phase)}: ${(done.ratio * 100).toFixed(1)} %, ${count(done.left, 'record')} to go${speed}${left}${parked}${trouble}`);
}

// ── partitions and history ─────────────────────────────────────────────────────────────────────

function partitionsInWords(partitions: readonly Partition[]): string {
  const behind = partitions.filter(({ lag_events }) => lag_events !== 0).length;
  const rest = behind === 0 ? 'all at the end' : `${behind.toLocaleString('en')} behind or unknown`;
  return partitions.length === 0 ? 'No partition was taken up yet' : `${count(partitions.length, 'partition')}, ${rest}`;
}

function createPartition(partition: Partition): HTMLElement {
  const element = h('tr', {}, h('th', { scope: 'row' }, `${partition.topic} ${partition.partition}`), h('td'), h('td'), h('td'), h('td'));
  updatePartition(element, partition);
  return element;
}

function updatePartition(element: HTMLElement, partition: Partition): void {
  const [, behind, next, end, at] = [...element.children] as [Element, Element, Element, Element, Element];
  setText(next, partition.next_offset.toLocaleString('en'));
  setText(end, partition.end_offset?.toLocaleString('en') ?? 'unknown');
  setText(behind, lagInWords(partition).sentence);
  setText(at, partition.clock == null ? '–' : clock(partition.clock));
}

function createEntry({ at, what, detail, build }: HistoryEntry & { build: string }): HTMLElement {
  const about = detail == null || detail === '' ? build : `${build}: ${detail}`;
  return h('li', {}, h('time', { datetime: at, class: 'muted small' }, clock(at)), h('strong', {}, what), h('span', {}, about));
}

// ── asking ─────────────────────────────────────────────────────────────────────────────────────

const panels = new Map<string, Panel>();

function panelOf(group: Group): Panel {
  const panel = panels.get(group.name) ?? new Panel(group.name);
  panels.set(group.name, panel);
  return panel;
}

function showAll(builds: readonly Build[]): void {
  rates.learn(builds, Date.now());
  const found = groups(builds);
  const list = byId('projections');
  if (found.length === 0) {
    panels.clear();
    const word = h('p', { class: 'panel empty' }, 'No projection is installed in this database. ', h('code', {}, 'pulsegate migrate'), ' makes their tables.');
    list.replaceChildren(word);
    return;
  }
  if (panels.size === 0) list.replaceChildren();
  keyed(list, found, ({ name }) => name, (group) => panelOf(group).element);
  for (const group of found) panelOf(group).show(group);
  for (const name of panels.keys()) if (!found.some((group) => group.name === name)) panels.delete(name);
}

function showFreshness(tone: 'good' | 'warn' | 'bad', text: string): void {
  byId('freshness').className = `freshness small ${tone}`;
  setText(byId('freshness-text'), text);
}

function showNotice(text: string | null, bad = false): void {
  const notice = byId('notice');
  notice.hidden = text === null;
  notice.classList.toggle('bad', bad);
  setText(notice, text ?? '');
}

function showAnswer(builds: readonly Build[]): void {
  answeredAt = Date.now();
  silentSince = null;
  byId('projections').classList.remove('old');
  showAll(builds);
  showFreshness('good', `as of ${clock(answeredAt)}`);
  const isBlind = builds.some(({ partitions }) => partitions.some(({ end_offset }) => end_offset == null));
  showNotice(isBlind ? 'Kafka does not say where the log ends, so it is not known how far behind anything is.' : null);
}

function showSilence(why: string): void {
  silentSince ??= Date.now();
  byId('projections').classList.add('old');
  showFreshness('bad', 'no answer');
  const last = answeredAt === null ? '' : ` The numbers are from ${clock(answeredAt)}.`;
  showNotice(`${why} since ${clock(silentSince)}.${last} Asking again every ${duration(POLL_MS)}.`, true);
}

async function poll(): Promise<void> {
  try {
    const response = await fetch('/v1/projections', { signal: AbortSignal.timeout(TIMEOUT_MS), cache: 'no-store' });
    if (response.ok) showAnswer(((await response.json()) as { projections: Build[] }).projections);
    else if (response.status === 401) void signInAgain();
    else showSilence(response.status === 503 ? "The read models' database hasn't answered" : `The node has answered with status ${response.status}`);
  } catch {
    showSilence("This node hasn't answered");
  }
  setTimeout(() => void poll(), POLL_MS);
}

void poll();
