import { Bearer } from './bearer.js';
import type { Host } from './host.js';
import type {
  BatchAnswer,
  HeartbeatAnswer,
  HeartbeatRequest,
  Problem,
  StartAnswer,
  StartRequest,
  StopRequest,
  Verdict,
  VerdictAnswer,
} from './wire.js';

/**
 * What came of a call. `refused` is the service's own word and repeating it changes nothing; `later`
 * is worth another try with the same ids.
 */
export type Outcome<Answer> =
  | { kind: 'ok'; answer: Answer }
  | { kind: 'refused'; status: number; problem: Problem }
  | { kind: 'later'; why: 'unreachable' | 'timeout' | 'busy'; detail: string; retryAfterMs: number | null };

const LONGEST_RETRY_AFTER_MS = 300_000;

/** The part of the HTTP surface a player uses. No call throws and each has a time limit. */
export class Api {
  readonly #host: Host;
  readonly #accounts: string;
  readonly #batch: string;
  readonly #timeoutMs: number;
  readonly #bearer: Bearer | null;

  constructor(host: Host, baseUrl: string, accountId: string, timeoutMs: number, token?: () => Promise<string>) {
    const base = baseUrl.replace(/\/+$/, '');
    this.#host = host;
    this.#accounts = `${base}/v1/accounts/${encodeURIComponent(accountId)}/sessions`;
    this.#batch = `${base}/v1/heartbeats`;
    this.#timeoutMs = timeoutMs;
    this.#bearer = token === undefined ? null : new Bearer(token);
  }

  start(request: StartRequest): Promise<Outcome<StartAnswer>> {
    return this.#call('POST', this.#accounts, request);
  }

  heartbeat(sessionId: string, request: HeartbeatRequest): Promise<Outcome<HeartbeatAnswer>> {
    return this.#call('POST', `${this.#accounts}/${sessionId}/heartbeats`, request);
  }

  heartbeats(
    heartbeats: (HeartbeatRequest & { account_id: string; session_id: string })[],
  ): Promise<Outcome<BatchAnswer>> {
    return this.#call('POST', this.#batch, { heartbeats });
  }

  verdict(sessionId: string): Promise<Outcome<VerdictAnswer>> {
    return this.#call('GET', `${this.#accounts}/${sessionId}/verdict`);
  }

  /** The verdict as soon as it isn't `known` any more, a word of it; else at the end of the wait. */
  verdictAfter(sessionId: string, known: string, waitMs: number, giveUp: AbortSignal): Promise<Outcome<VerdictAnswer>> {
    const wait = `wait=${Math.floor(waitMs / 1_000)}s&since=${known}`;
    return this.#call('GET', `${this.#accounts}/${sessionId}/verdict?${wait}`, undefined, { waitMs, giveUp });
  }

  stop(sessionId: string, request: StopRequest): Promise<Outcome<null>> {
    return this.#call('POST', this.#stopUrl(sessionId), request);
  }

  /** The stop of a page that is going away: nobody will see the answer. */
  stopAndForget(sessionId: string, request: StopRequest): void {
    const url = this.#stopUrl(sessionId);
    const body = JSON.stringify(request);
    // A beacon can't show who sends it; a fetch that outlives its page can, by the token that is at hand.
    if (this.#bearer === null && this.#host.beacon(url, body)) return;
    const headers: Record<string, string> = { 'content-type': 'text/plain' };
    const token = this.#bearer?.held ?? null;
    if (token !== null) headers.authorization = `Bearer ${token}`;
    const init = { method: 'POST', body, keepalive: true, headers };
    void this.#host.fetch(url, init).catch(() => {});
  }

  #stopUrl(sessionId: string): string {
    return `${this.#accounts}/${sessionId}/stop`;
  }

  async #call<Answer>(
    method: string,
    url: string,
    body?: object,
    { waitMs, giveUp }: { waitMs: number; giveUp?: AbortSignal } = { waitMs: 0 },
  ): Promise<Outcome<Answer>> {
    const limit = new AbortController();
    const timeoutMs = this.#timeoutMs + waitMs;
    const cancel = this.#host.setTimer(timeoutMs, () => limit.abort());
    const abort = (): void => limit.abort();
    giveUp?.addEventListener('abort', abort);
    try {
      const init: RequestInit = { method, signal: limit.signal, cache: 'no-store' };
      const headers: Record<string, string> = {};
      if (body !== undefined) {
        init.body = JSON.stringify(body);
        headers['content-type'] = 'application/json';
      }
      let response = await this.#send(url, init, headers, null);
      if (response.status === 401 && this.#bearer !== null) {
        // It has run out, or its key is gone: with another one the same request is the same.
        response = await this.#send(url, init, headers, headers.authorization ?? null);
      }
      const text = await response.text();
      return this.#read<Answer>(response, text);
    } catch (error) {
      if (limit.signal.aborted) {
        this.#bearer?.giveUp();
        return { kind: 'later', why: 'timeout', detail: `no answer within ${timeoutMs} ms`, retryAfterMs: null };
      }
      return { kind: 'later', why: 'unreachable', detail: String(error), retryAfterMs: null };
    } finally {
      cancel();
      giveUp?.removeEventListener('abort', abort);
    }
  }

  async #send(url: string, init: RequestInit, headers: Record<string, string>, refused: string | null): Promise<Response> {
    if (this.#bearer !== null) {
      const token = await before(init.signal, this.#bearer.token(refused?.replace('Bearer ', '') ?? null));
      headers.authorization = `Bearer ${token}`;
    }
    return this.#host.fetch(url, { ...init, headers });
  }

  #read<Answer>(response: Response, text: string): Outcome<Answer> {
    const { status } = response;
    if (status === 204) return { kind: 'ok', answer: null as Answer };
    const json = parseObject(text);
    if (status >= 200 && status < 300) {
      // A hotel's login page also says 200.
      if (json === null) return { kind: 'later', why: 'unreachable', detail: 'the answer is not JSON', retryAfterMs: null };
      return { kind: 'ok', answer: json as Answer };
    }
    const code = typeof json?.code === 'string' ? json.code : `http-${status}`;
    const detail = [json?.detail, json?.title].find((text) => typeof text === 'string') ?? `status ${status}`;
    // A login service that is wrong is as one that is away: what it would let in is kept.
    const mayPass = status === 401 && this.#bearer !== null;
    if (mayPass || status >= 500 || status === 429 || status === 408 || status === 425 || status < 400) {
      const retryAfterMs = parseRetryAfter(response.headers.get('retry-after'), this.#host.wallMs());
      return { kind: 'later', why: 'busy', detail: `${code}: ${detail}`, retryAfterMs };
    }
    const verdict = typeof json?.verdict === 'object' ? (json.verdict as Verdict | null) : null;
    return { kind: 'refused', status, problem: { code, detail, verdict } };
  }
}

/** What is promised, unless the signal comes first. */
function before<T>(signal: AbortSignal | null | undefined, promised: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) reject(new Error('given up'));
    signal?.addEventListener('abort', () => reject(new Error('given up')), { once: true });
    promised.then(resolve, reject);
  });
}

function parseObject(text: string): Record<string, unknown> | null {
  try {
    const json: unknown = JSON.parse(text);
    return typeof json === 'object' && json !== null ? (json as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** Seconds or an HTTP date, as milliseconds from now; at most five minutes. */
export function parseRetryAfter(header: string | null, nowMs: number): number | null {
  if (header === null || header.trim() === '') return null;
  const seconds = Number(header);
  const waitMs = Number.isNaN(seconds) ? Date.parse(header) - nowMs : seconds * 1_000;
  return Number.isNaN(waitMs) ? null : Math.min(Math.max(waitMs, 0), LONGEST_RETRY_AFTER_MS);
}
