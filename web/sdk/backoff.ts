import type { Host } from './host.js';

const FIRST_MS = 1_000;
const LONGEST_MS = 30_000;

/** Waits that double up to half a minute, each between half and all of its length so that a crowd spreads out. */
export class Backoff {
  #failures = 0;
  readonly #host: Pick<Host, 'random'>;

  constructor(host: Pick<Host, 'random'>) {
    this.#host = host;
  }

  /** The next wait. What the service asked for is kept to, and only ever added to. */
  nextMs(retryAfterMs: number | null): number {
    const ceiling = Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#failures);
    this.#failures = Math.min(this.#failures + 1, 16);
    const own = ceiling * (0.5 + this.#host.random() / 2);
    return retryAfterMs === null ? own : Math.max(own, retryAfterMs + this.#host.random() * 1_000);
  }

  reset(): void {
    this.#failures = 0;
  }
}
