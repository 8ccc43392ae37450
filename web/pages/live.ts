import type { AsOf, Verdict } from '../sdk/pulsegate.js';
import { DecisionTable, Devices, emptyDecisions, type Decision } from './decisions.js';
import { byId, h, keyed, setText } from './dom.js';
import { NodeList, type Cluster } from './nodes.js';
import { round, Sparkline } from './sparkline.js';
import { signInAgain } from './shell/session.js';
import { clock, count, deviceClassInWords, duration, reasonInWords } from './words.js';

interface Live {
  streams_now: number;
  waiting_now: number;
  accounts_now: number;
  heartbeats_per_s: number;
  blocked_attempts_per_min: number;
  blocked_attempts_total: number;
  decisions: Decision[];
  as_of: { at: string };
  stale_ms?: number;
}

interface Session {
  session_id: string;
  device_id: string;
  device_class: string;
  title_id: string;
  inferred: boolean;
  state: string;
  started_at: string;
  last_seen_at: string;
  paused_since: string | null;
  verdict: Verdict;
}

const POLL_MS = 1_000;
const ACCOUNT_POLL_MS = 2_000;
const NODES_POLL_MS = 2_000;
const TIMEOUT_MS = 5_000;

const devices = new Devices();
const streams = new Sparkline(byId('streams-spark'), 'streams playing');
const heartbeats = new Sparkline(byId('heartbeats-spark'), 'heartbeats a second');
const newest = new DecisionTable(byId('decisions'), devices, { ofOneAccount: false, empty: emptyDecisions() });

const nodes = new NodeList(byId('nodes'), byId('nodes-list'), byId('nodes-note'));

let answeredAt: number | null = null;
let silentSince: number | null = null;

async function get<Answer>(path: string): Promise<Answer> {
  const response = await fetch(path, { signal: AbortSignal.timeout(TIMEOUT_MS), cache: 'no-store' });
  if (response.status === 401) void signInAgain();
  if (!response.ok) throw new Error(`status ${response.status}`);
  return (await response.json()) as Answer;
}

// ── the figures ────────────────────────────────────────────────────────────────────────────────

function showLive(live: Live): void {
  answeredAt = Date.now();
  silentSince = null;
  setText(byId('streams'), round(live.streams_now));
  setText(byId('heartbeats'), round(live.heartbeats_per_s));
  setText(byId('accounts'), round(live.accounts_now));
  setText(byId('waiting'), round(live.waiting_now));
  setText(byId('refused-minute'), round(live.blocked_attempts_per_min));
  setText(byId('refused-total'), round(live.blocked_attempts_total));
  byId('waiting').classList.toggle('attention', live.waiting_now > 0);
  byId('figures').classList.remove('old');
  streams.push(live.streams_now);
  heartbeats.push(live.heartbeats_per_s);
  newest.show(live.decisions);
  if (live.stale_ms === undefined) {
    showFreshness('good', `as of ${clock(live.as_of.at)}`);
    showNotice(null);
  } else {
    showFreshness('warn', `${duration(live.stale_ms)} old`);
    showNotice(`The log is out of reach, so these numbers are ${duration(live.stale_ms)} old. Who plays goes on playing: leases stand still meanwhile.`);
  }
}

function showSilence(): void {
  silentSince ??= Date.now();
  streams.push(null);
  heartbeats.push(null);
  byId('figures').classList.add('old');
  showFreshness('bad', 'no answer');
  const last = answeredAt === null ? '' : ` The numbers are from ${clock(answeredAt)}.`;
  showNotice(`This node hasn't answered since ${clock(silentSince)}.${last} Asking again each second.`, true);
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

async function pollLive(): Promise<void> {
  try {
    showLive(await get<Live>('/v1/live'));
  } catch {
    showSilence();
  }
  setTimeout(() => void pollLive(), POLL_MS);
}

async function pollNodes(): Promise<void> {
  // A node that is silent says so above; what it said of the others stands until it speaks again.
  const cluster = await get<Cluster>('/v1/cluster').catch(() => null);
  if (cluster !== null) nodes.show(cluster);
  setTimeout(() => void pollNodes(), NODES_POLL_MS);
}

// ── one account ────────────────────────────────────────────────────────────────────────────────

/** Everything that is shown of one account, kept up to date until another one is asked for. */
class AccountView {
  readonly #account: string;
  readonly #slots = h('span', { class: 'slots' });
  readonly #sessions = h('ul', { class: 'sessions' });
  readonly #word = h('p', { class: 'empty' }, 'Looking…');
  readonly #decisions: DecisionTable;
  #isOver = false;

  constructor(account: string, panel: HTMLElement) {
    this.#account = account;
    const decisions = h('div');
    const empty = h('p', { class: 'empty' }, 'No decisions for this account yet.');
    this.#decisions = new DecisionTable(decisions, devices, { ofOneAccount: true, empty });
    panel.replaceChildren(
      h(
        'div',
        { class: 'account-head' },
        h('h3', {}, account),
        this.#slots,
        h('a', { class: 'button', href: `/player?account=${encodeURIComponent(account)}`, target: '_blank', rel: 'noopener' }, 'Open a player'),
      ),
      this.#word,
      this.#sessions,
      h('div', { class: 'decisions-of' }, h('h4', {}, 'Its decisions'), decisions),
    );
    panel.hidden = false;
    void this.#poll();
  }

  close(): void {
    this.#isOver = true;
  }

  async #poll(): Promise<void> {
    const base = `/v1/accounts/${encodeURIComponent(this.#account)}`;
    try {
      const [{ sessions }, { decisions }] = await Promise.all([
        get<{ sessions: Session[]; as_of: AsOf }>(`${base}/sessions`),
        get<{ decisions: Decision[] }>(`${base}/decisions`),
      ]);
      if (this.#isOver) return;
      devices.learn(sessions);
      this.#showSessions(sessions);
      this.#decisions.show(decisions);
    } catch (error) {
      if (this.#isOver) return;
      this.#word.hidden = false;
      setText(this.#word, `This account can't be read now (${error instanceof Error ? error.message : error}). Asking again.`);
    }
    setTimeout(() => void (this.#isOver || this.#poll()), ACCOUNT_POLL_MS);
  }

  #showSessions(sessions: readonly Session[]): void {
    this.#word.hidden = sessions.length > 0;
    setText(this.#word, 'Nobody is watching or waiting on this account now.');
    this.#sessions.hidden = sessions.length === 0;
    keyed(this.#sessions, sessions, ({ session_id }) => session_id, createSession, updateSession);
    const verdict = sessions.find((session) => session.verdict.rule === 'account')?.verdict ?? sessions[0]?.verdict;
    if (verdict === undefined || verdict.max === null) return this.#slots.replaceChildren();
    const { in_use: inUse, max } = verdict;
    const dots = max > 12 ? [] : Array.from({ length: max }, (_, slot) => h('span', { class: slot < (inUse ?? 0) ? 'slot taken' : 'slot' }));
    this.#slots.replaceChildren(...dots, h('span', { class: 'small muted' }, `${inUse ?? 0} of ${count(max, 'slot')} in use, ${verdict.policy ?? 'no policy'}`));
  }
}

function createSession(session: Session): HTMLElement {
  const card = h('li', { class: 'session' }, h('strong', {}, session.device_id), h('span'), h('span', { class: 'small' }), h('span', { class: 'small' }));
  updateSession(card, session);
  return card;
}

function updateSession(card: HTMLElement, session: Session): void {
  const [, badge, watching, seen] = [...card.children] as [Element, Element, Element, Element];
  const isAllowed = session.verdict.decision === 'allow';
  const isWaiting = session.verdict.reason === 'limit_reached';
  badge.className = `badge ${isAllowed ? 'good' : isWaiting ? 'warn' : ''}`;
  setText(badge, isAllowed ? session.state : isWaiting ? 'waiting' : 'no slot');
  setText(watching, `${session.title_id} on a ${deviceClassInWords(session.device_class)}${session.inferred ? ', known by its signals only' : ''}`);
  const why = isAllowed || isWaiting ? '' : `${reasonInWords(session.verdict.reason)} · `;
  const paused = session.paused_since === null ? '' : `paused since ${clock(session.paused_since)} · `;
  const seenAgo = duration(Date.now() - Date.parse(session.last_seen_at));
  setText(seen, `${why}${paused}since ${clock(session.started_at, false)} · seen ${seenAgo} ago`);
}

let view: AccountView | null = null;

function showAccount(account: string): void {
  view?.close();
  view = null;
  byId<HTMLInputElement>('account').value = account;
  const panel = byId('account-panel');
  panel.hidden = account === '';
  if (account !== '') view = new AccountView(account, panel);
  document.title = account === '' ? 'pulsegate · live' : `${account} · pulsegate`;
}

function goTo(account: string): void {
  history.pushState(null, '', account === '' ? '/' : `/?account=${encodeURIComponent(account)}`);
  showAccount(account);
}

const accountInUrl = (): string => new URLSearchParams(location.search).get('account')?.trim() ?? '';

byId<HTMLFormElement>('lookup').addEventListener('submit', (event) => {
  event.preventDefault();
  goTo(byId<HTMLInputElement>('account').value.trim());
});

byId('decisions').addEventListener('click', (event) => {
  const link = (event.target as Element).closest<HTMLAnchorElement>('a[data-account]');
  if (link === null || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  goTo(link.dataset.account ?? '');
  byId('account-title').scrollIntoView({ block: 'start' });
});

addEventListener('popstate', () => showAccount(accountInUrl()));
showAccount(accountInUrl());
void pollLive();
void pollNodes();
