import { h, keyed } from './dom.js';
import { clock, duration, list, reasonInWords, scopeInWords, shortId } from './words.js';

export interface Decision {
  decision: 'grant' | 'refuse' | 'end';
  account_id: string;
  session_id: string;
  /** Null, as is what follows, where only the end of a session was heard. */
  device_id: string | null;
  device_class: string | null;
  title_id: string | null;
  reason: string | null;
  policy: string | null;
  rule: string | null;
  max: number | null;
  counted: string[];
  by: { session_id: string; device_id: string } | null;
  partition: number;
  offset: number;
  at: string;
}

/** The newest sign of life of a session that was counted. */
interface Evidence {
  session_id: string;
  device_id: string;
  kind: string;
  state?: string;
  signal?: string;
  source: string;
  offset: number;
  at: string;
  age_ms: number;
}

/** How many decisions of one record are looked through for the one that is asked about. */
const AT_ONE_RECORD_MOST = 40;
const KNOWN_MOST = 5_000;

/** Which device a session is on, as far as this page has seen. Decisions count sessions; people know devices. */
export class Devices {
  readonly #devices = new Map<string, string>();

  learn(sessions: readonly { session_id: string; device_id: string | null }[]): void {
    for (const { session_id, device_id } of sessions) {
      if (device_id !== null) this.#devices.set(session_id, device_id);
    }
    for (const oldest of this.#devices.keys()) {
      if (this.#devices.size <= KNOWN_MOST) return;
      this.#devices.delete(oldest);
    }
  }

  name(sessionId: string): string {
    return this.#devices.get(sessionId) ?? `session ${shortId(sessionId)}`;
  }
}

const BADGES = { grant: ['granted', 'good'], refuse: ['refused', 'bad'], end: ['ended', ''] } as const;

function inWords({ decision, reason, policy, rule, max, counted, by }: Decision, devices: Devices): string {
  const limit = max === null ? 'no limit' : `limit ${max}${scopeInWords(rule)}`;
  const under = policy === null ? '' : ` of ${policy}`;
  const others = counted.map((session) => devices.name(session));
  if (decision === 'refuse') return `${limit}${under}${others.length === 0 ? '' : `, counted ${list(others)}`}`;
  if (decision === 'grant') return others.length === 0 ? `${limit}${under}` : `${limit}${under}, beside ${list(others)}`;
  switch (reason) {
    case 'evicted':
      return by === null ? 'evicted by an operator or from elsewhere' : `${by.device_id} watches instead`;
    case 'displaced':
      return by === null ? reasonInWords(reason) : `${by.device_id} took its slot`;
    case 'replaced':
      return 'this device started another stream';
    case 'stopped':
      return 'the player stopped';
    default:
      return reasonInWords(reason);
  }
}

/** Asks the node to read the log once more: what each session that was counted rested on. */
async function evidenceOf({ account_id, offset, session_id, decision }: Decision): Promise<Evidence[] | null> {
  const place = `limit=${AT_ONE_RECORD_MOST}&before=${offset + 1}.0&evidence=true`;
  const response = await fetch(`/v1/accounts/${encodeURIComponent(account_id)}/decisions?${place}`, { cache: 'no-store' });
  if (!response.ok) return null;
  const { decisions } = (await response.json()) as { decisions: (Decision & { evidence?: Evidence[] })[] };
  const found = decisions.find((one) => one.offset === offset && one.session_id === session_id && one.decision === decision);
  return found?.evidence ?? null;
}

function evidenceInWords({ device_id, kind, state, signal, source, offset, at, age_ms }: Evidence, partition: number): HTMLElement {
  const what = kind === 'heartbeat' ? `heartbeat, ${state}` : kind === 'signal' ? (signal ?? kind) : 'asked to play';
  const place = `${partition} · ${offset.toLocaleString('en')}`;
  return h('li', {}, `${device_id}: ${what} ${duration(age_ms)} before, by ${source}, `, h('time', { datetime: at }, clock(at)), ` at ${place}`);
}

/** A table of decisions, newest first, each in words. */
export class DecisionTable {
  readonly #parent: HTMLElement;
  readonly #devices: Devices;
  readonly #ofOneAccount: boolean;
  readonly #empty: HTMLElement;
  readonly #body = h('tbody');
  readonly #table: HTMLTableElement;

  constructor(parent: HTMLElement, devices: Devices, how: { ofOneAccount: boolean; empty: HTMLElement }) {
    this.#parent = parent;
    this.#devices = devices;
    this.#ofOneAccount = how.ofOneAccount;
    this.#empty = how.empty;
    const heads = [
      ['When', 'when'],
      ['Decision', 'what'],
      [how.ofOneAccount ? 'Device' : 'Account, device', 'who'],
      ['Title', 'which'],
      ['In the log', 'place'],
    ] as const;
    this.#table = h(
      'table',
      {},
      h('thead', {}, h('tr', {}, ...heads.map(([head, column]) => h('th', { scope: 'col', class: `col-${column}` }, head)))),
      this.#body,
    );
  }

  show(decisions: readonly Decision[]): void {
    this.#devices.learn(decisions);
    const shown = decisions.length > 0 ? this.#table : this.#empty;
    if (shown.parentElement !== this.#parent) this.#parent.replaceChildren(shown);
    keyed(
      this.#body,
      decisions,
      ({ partition, offset, session_id, decision }) => `${partition}:${offset}:${session_id}:${decision}`,
      (decision) => this.#row(decision),
    );
  }

  /** A button that says what was counted on what; nothing where nothing was counted. */
  #why(decision: Decision): HTMLElement[] {
    if (decision.counted.length === 0) return [];
    const answer = h('ul', { class: 'evidence', 'aria-live': 'polite' });
    const button = h('button', { type: 'button', class: 'why' }, 'why?');
    button.addEventListener('click', () => {
      button.disabled = true;
      answer.replaceChildren(h('li', {}, 'reading the log …'));
      const said = evidenceOf(decision).catch(() => null);
      void said.then((evidence) => {
        button.disabled = false;
        if (evidence === null || evidence.length === 0) return answer.replaceChildren(h('li', {}, 'the log could not be read for now'));
        answer.replaceChildren(...evidence.map((one) => evidenceInWords(one, decision.partition)));
      });
    });
    return [button, answer];
  }

  #row(decision: Decision): HTMLElement {
    const [word, tone] = BADGES[decision.decision] ?? [decision.decision, ''];
    const account = h('a', { href: `/?account=${encodeURIComponent(decision.account_id)}`, 'data-account': decision.account_id }, decision.account_id);
    const place = `${decision.partition} · ${decision.offset.toLocaleString('en')}`;
    return h(
      'tr',
      {},
      h('td', { class: 'when' }, h('time', { datetime: decision.at }, clock(decision.at))),
      h('td', { class: 'what' }, h('span', { class: `badge ${tone}` }, word), inWords(decision, this.#devices), ...this.#why(decision)),
      h('td', { class: 'who' }, ...(this.#ofOneAccount ? [] : [account, ' · ']), decision.device_id ?? 'unknown device'),
      h('td', { class: 'which' }, decision.title_id ?? '–'),
      h('td', { class: 'place', title: `partition ${decision.partition}, offset ${decision.offset}` }, place),
    );
  }
}

export function emptyDecisions(): HTMLElement {
  return h(
    'p',
    { class: 'empty' },
    'Nothing has been decided yet. Open ',
    h('a', { href: '/player?account=demo-household' }, 'the player'),
    ' in three tabs: two will play, and the third will say who is watching.',
  );
}
