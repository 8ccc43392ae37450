import type { PlaybackState, StopRequest } from './wire.js';

/** A heartbeat as it was when it happened; its age is told when it is sent. */
export interface KeptHeartbeat {
  kind: 'heartbeat';
  sessionId: string;
  sequence: number;
  elapsedMs: number;
  positionMs: number;
  state: PlaybackState;
  rate: number;
  /** On the monotonic clock. */
  happenedAtMs: number;
}

/** A session's last word, which must not overtake its heartbeats. */
export interface KeptStop {
  kind: 'stop';
  sessionId: string;
  word: StopRequest;
}

export type Kept = KeptHeartbeat | KeptStop;

/** Older than this the service refuses a heartbeat. */
export const OLDEST_MS = 7 * 24 * 3_600_000;

/** What could not be sent yet, in the order in which it happened. Bounded: the oldest heartbeat makes room. */
export class Outbox {
  #items: Kept[] = [];
  #head = 0;
  #dropped = 0;
  readonly #capacity: number;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get length(): number {
    return this.#items.length - this.#head;
  }

  /** Heartbeats that were never sent, because there were too many or they grew too old. */
  get dropped(): number {
    return this.#dropped;
  }

  push(item: Kept): void {
    if (this.length >= this.#capacity) this.#discard();
    this.#items.push(item);
  }

  first(): Kept | undefined {
    return this.#items[this.#head];
  }

  /** The heartbeats at the head, up to a stop and to `most`. */
  heartbeats(most: number): KeptHeartbeat[] {
    const run: KeptHeartbeat[] = [];
    for (let index = this.#head; index < this.#items.length && run.length < most; index += 1) {
      const item = this.#items[index]!;
      if (item.kind !== 'heartbeat') break;
      run.push(item);
    }
    return run;
  }

  /** Takes these out, wherever they now stand: the bound may have dropped some while they were on their way. */
  remove(sent: readonly Kept[]): void {
    let last = sent.length - 1;
    while (last >= 0) {
      const index = this.#items.indexOf(sent[last]!, this.#head);
      if (index >= 0) {
        this.#head = index + 1;
        break;
      }
      last -= 1;
    }
    if (this.#head > 1_024 || this.#head === this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
  }

  discardOlderThan(happenedAtMs: number): void {
    for (;;) {
      const first = this.first();
      if (first?.kind !== 'heartbeat' || first.happenedAtMs >= happenedAtMs) return;
      this.#discard();
    }
  }

  #discard(): void {
    if (this.first()?.kind === 'heartbeat') this.#dropped += 1;
    this.#head += 1;
  }
}
