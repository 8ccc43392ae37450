import type { Host } from './host.js';
import type { PlaybackState } from './wire.js';

export interface Beginning {
  /** Keep the player paused until there is an answer. */
  hold: boolean;
  evict?: readonly string[];
  /** The id in place of one that was refused as too old. */
  renewedId?: string;
  /** Follows a session that ended under its player. */
  again?: boolean;
}

/**
 * One session of the log, from its start to its end, and every timer that belongs to it: once it is
 * finished none of them fires, and an answer that comes late finds `isOver`.
 */
export class Run {
  readonly id: string;
  readonly beganAtMs: number;
  isAgain: boolean;
  readonly isRenewed: boolean;
  /** Of the next heartbeat. */
  sequence = 0;
  lastBeat: { atMs: number; state: PlaybackState } | null = null;
  /** Sessions that the viewer chose to end for this one. */
  evict: readonly string[];
  isHeld: boolean;
  isAnswered = false;
  /** When the service last allowed or refused it. */
  decidedAtMs = 0;

  readonly #host: Host;
  #isOver = false;
  #wake: ((goOn: boolean) => void) | null = null;
  #cancelBeat = (): void => {};
  #cancelChange = (): void => {};
  #cancelAfter = (): void => {};
  #cancelListen = (): void => {};
  #listening: AbortController | null = null;

  constructor(host: Host, id: string, how: Beginning) {
    this.#host = host;
    this.id = id;
    this.beganAtMs = host.monotonicMs();
    this.evict = how.evict ?? [];
    this.isHeld = how.hold;
    this.isAgain = how.again ?? false;
    this.isRenewed = how.renewedId !== undefined;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Resolves when the time has passed or `wake` was called, with false once the run is over. One sleeper at a time. */
  sleep(delayMs: number): Promise<boolean> {
    if (this.#isOver) return Promise.resolve(false);
    return new Promise((resolve) => {
      const cancel = this.#host.setTimer(delayMs, () => this.#wake?.(true));
      this.#wake = (goOn) => {
        cancel();
        this.#wake = null;
        resolve(goOn);
      };
    });
  }

  wake(): void {
    this.#wake?.(true);
  }

  /** What `call` answers; null once it is woken meanwhile, and the call given up, or the run is over. */
  async orWoken<Answer>(longestMs: number, call: (giveUp: AbortSignal) => Promise<Answer>): Promise<Answer | null> {
    const giveUp = new AbortController();
    const woken = this.sleep(longestMs).then(() => null);
    const answer = await Promise.race([call(giveUp.signal), woken]);
    if (answer === null) giveUp.abort();
    else this.wake();
    return this.#isOver ? null : answer;
  }

  get isListening(): boolean {
    return this.#listening !== null;
  }

  /** What `call` answers; null if it was given up by `hush` or the run is over. One call at a time. */
  async listen<Answer>(call: (giveUp: AbortSignal) => Promise<Answer>): Promise<Answer | null> {
    const listening = new AbortController();
    this.#listening = listening;
    const answer = await call(listening.signal);
    if (this.#listening === listening) this.#listening = null;
    return listening.signal.aborted || this.#isOver ? null : answer;
  }

  listenIn(delayMs: number, fire: () => void): void {
    this.#cancelListen();
    this.#cancelListen = this.#host.setTimer(delayMs, fire);
  }

  hush(): void {
    this.#cancelListen();
    this.#listening?.abort();
    this.#listening = null;
  }

  after(delayMs: number, fire: () => void): void {
    this.#cancelAfter = this.#host.setTimer(delayMs, fire);
  }

  beatIn(delayMs: number, fire: () => void): void {
    this.#cancelBeat();
    this.#cancelBeat = this.#host.setTimer(delayMs, fire);
  }

  /** An extra heartbeat in a moment, in place of one that was already due; null for none. */
  change(delayMs: number | null, fire: () => void = () => {}): void {
    this.#cancelChange();
    this.#cancelChange = delayMs === null ? () => {} : this.#host.setTimer(delayMs, fire);
  }

  finish(): void {
    this.#isOver = true;
    this.#cancelBeat();
    this.#cancelChange();
    this.#cancelAfter();
    this.hush();
    this.#wake?.(false);
  }
}
