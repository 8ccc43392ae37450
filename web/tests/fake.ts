import type { Host, PageEvent } from '../sdk/host.js';
import { PulsegateSession, type SessionEvents, type SessionOptions } from '../sdk/session.js';
import type { Player } from '../sdk/player.js';
import type { PlaybackState, Verdict } from '../sdk/wire.js';

export interface Request {
  /** `start`, `heartbeat`, `batch`, `verdict`, `wait` (for a verdict), `stop` or `beacon`. */
  call: string;
  /** What the wait knew already. */
  since: string | null;
  /** Who it says that it is. */
  authorization: string | null;
  /** Outlives its page. */
  keepalive: boolean;
  atMs: number;
  sessionId: string;
  body: any;
}

export type Answer =
  | { status: number; body?: object; headers?: Record<string, string>; afterMs?: number }
  | 'unreachable'
  | 'silence';

/** A clock that only moves when told, and a network that is a function. */
export class FakeHost implements Host {
  nowMs = 5_000;
  wallAtZeroMs = Date.parse('2026-11-22T20:00:00Z');
  visible = true;
  beaconWorks = true;
  requests: Request[] = [];
  answer: (request: Request) => Answer = () => 'unreachable';
  #timers: { atMs: number; fire: () => void }[] = [];
  #page = new Set<(event: PageEvent) => void>();
  #seed = 1;

  monotonicMs = (): number => this.nowMs;
  wallMs = (): number => this.wallAtZeroMs + this.nowMs;
  random = (): number => 0;
  isVisible = (): boolean => this.visible;

  randomBytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => (this.#seed = (this.#seed * 48_271) % 0x7fffffff) & 0xff);
  }

  setTimer(delayMs: number, fire: () => void): () => void {
    const timer = { atMs: this.nowMs + Math.max(delayMs, 0), fire };
    this.#timers.push(timer);
    return () => void (this.#timers = this.#timers.filter((other) => other !== timer));
  }

  async fetch(url: string, init: RequestInit): Promise<Response> {
    const request = this.#record(url, init.method ?? 'GET', init.body as string | undefined, init);
    const answer = this.answer(request);
    if (answer === 'unreachable') throw new TypeError('fetch failed');
    if (answer === 'silence') {
      return new Promise((_resolve, reject) => {
        init.signal?.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')));
      });
    }
    if (answer.afterMs !== undefined) {
      const afterMs = answer.afterMs;
      await new Promise<void>((resolve, reject) => {
        const cancel = this.setTimer(afterMs, resolve);
        init.signal?.addEventListener('abort', () => (cancel(), reject(new DOMException('aborted', 'AbortError'))));
      });
    }
    const body = answer.body === undefined ? null : JSON.stringify(answer.body);
    return new Response(body, { status: answer.status, headers: answer.headers ?? {} });
  }

  beacon(url: string, body: string): boolean {
    if (this.beaconWorks) this.#record(url, 'BEACON', body);
    return this.beaconWorks;
  }

  onPage(listener: (event: PageEvent) => void): () => void {
    this.#page.add(listener);
    return () => void this.#page.delete(listener);
  }

  page(event: PageEvent): void {
    for (const listener of this.#page) listener(event);
  }

  get timers(): number {
    return this.#timers.length;
  }

  /** Lets this much time pass, timer by timer, with everything each one sets off. */
  async pass(ms: number): Promise<void> {
    const untilMs = this.nowMs + ms;
    await settle();
    for (;;) {
      const next = this.#timers.reduce<{ atMs: number; fire: () => void } | null>(
        (first, timer) => (first === null || timer.atMs < first.atMs ? timer : first),
        null,
      );
      if (next === null || next.atMs > untilMs) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.fire();
      await settle();
    }
    this.nowMs = untilMs;
  }

  made(call: string): Request[] {
    return this.requests.filter((request) => request.call === call);
  }

  #record(url: string, method: string, text?: string, init: RequestInit = {}): Request {
    const [path, query] = url.split('?');
    const match = /\/v1\/(?:accounts\/[^/]+\/sessions(?:\/([^/]+)\/(\w+))?|(heartbeats))$/.exec(path!);
    if (!match) throw new Error(`no such address: ${url}`);
    const body = text === undefined ? null : JSON.parse(text);
    const verb = match[3] ? 'batch' : (match[2] ?? 'start');
    const verdict = query === undefined ? 'verdict' : 'wait';
    const call = method === 'BEACON' ? 'beacon' : verb === 'heartbeats' ? 'heartbeat' : verb === 'verdict' ? verdict : verb;
    const since = new URLSearchParams(query).get('since');
    const authorization = new Headers(init.headers).get('authorization');
    const sessionId = match[1] ?? body?.session_id;
    const request = { call, since, authorization, keepalive: init.keepalive === true, atMs: this.nowMs, sessionId, body };
    this.requests.push(request);
    return request;
  }
}

/** Enough turns of the event loop for any chain of promises that waits for no timer. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** A player that obeys at once and remembers what it was told. */
export class FakePlayer implements Player {
  current: Exclude<PlaybackState, 'blocked'> = 'paused';
  told: string[] = [];
  #host: FakeHost;
  #listener: (change: 'state' | 'play') => void = () => {};

  constructor(host: FakeHost) {
    this.#host = host;
  }

  state = (): Exclude<PlaybackState, 'blocked'> => this.current;
  positionMs = (): number => this.#host.nowMs;
  rate = (): number => 1;

  play(): void {
    this.told.push('play');
    this.become('playing');
  }

  pause(): void {
    this.told.push('pause');
    this.become('paused');
  }

  onChange(listener: (change: 'state' | 'play') => void): () => void {
    this.#listener = listener;
    return () => void (this.#listener = () => {});
  }

  become(state: Exclude<PlaybackState, 'blocked'>): void {
    if (this.current === state) return;
    this.current = state;
    this.#listener('state');
  }

  /** The viewer's finger. */
  pressPlay(): void {
    this.current = 'playing';
    this.#listener('play');
  }
}

export function verdict(over: Partial<Verdict> = {}): Verdict {
  return {
    decision: 'allow',
    reason: null,
    policy: 'standard@1',
    rule: 'account',
    max: 2,
    in_use: 1,
    conflicts: [],
    frees_in_ms: 0,
    room: true,
    by: null,
    ...over,
  };
}

export const full = (over: Partial<Verdict> = {}): Verdict =>
  verdict({ decision: 'block', reason: 'limit_reached', in_use: 2, frees_in_ms: 20_000, room: false, ...over });

export const gone = (reason: Verdict['reason'], by: Verdict['by'] = null): Verdict =>
  verdict({ decision: 'block', reason, room: false, by });

const as_of = { partition: 0, offset: 1, at: '2026-11-22T20:00:00Z' };
export const yes: Answer = { status: 201, body: { verdict: verdict(), as_of, heartbeat_interval_ms: 10_000 } };
export const beatYes: Answer = { status: 200, body: { verdict: verdict(), as_of, next_heartbeat_in_ms: 10_000 } };
export const batchYes: Answer = { status: 200, body: { accepted: 1, rejected: [] } };
export const stopYes: Answer = { status: 204 };

export const problem = (status: number, code: string, over: object = {}, headers = {}): Answer => ({
  status,
  headers,
  body: { type: `https://example.test/${code}`, title: code, status, code, detail: `it is ${code}`, ...over },
});

/** A session on a fake host with a service that allows everything, to be bent by each test. */
export function scene(options: Partial<SessionOptions> = {}) {
  const host = new FakeHost();
  const player = new FakePlayer(host);
  const session = new PulsegateSession(
    { baseUrl: 'http://test', accountId: 'acme', titleId: 'film', deviceId: 'tv-1', listen: false, ...options },
    host,
  );
  const events: { name: string; event: any }[] = [];
  const names: (keyof SessionEvents)[] = ['allowed', 'blocked', 'waiting', 'resumed', 'evicted', 'stopped', 'error'];
  for (const name of names) session.on(name, (event) => events.push({ name, event }));
  const answers: Record<string, Answer | ((request: Request) => Answer)> = {
    start: yes,
    heartbeat: beatYes,
    batch: batchYes,
    stop: stopYes,
    // As a service that doesn't know how to wait answers a wait.
    wait: (request) => host.answer({ ...request, call: 'verdict' }),
  };
  host.answer = (request) => {
    const answer = answers[request.call] ?? 'unreachable';
    return typeof answer === 'function' ? answer(request) : answer;
  };
  session.attach(player);
  return {
    host,
    player,
    session,
    answers,
    events,
    seen: (name: string) => events.filter((event) => event.name === name).map(({ event }) => event),
    names: () => events.map(({ name }) => name),
  };
}
