import { Api, type Outcome } from './api.js';
import { Backoff } from './backoff.js';
import { persistentDeviceId } from './device.js';
import { Emitter } from './events.js';
import { browserHost, type Host, type PageEvent } from './host.js';
import { OLDEST_MS, Outbox, type Kept, type KeptHeartbeat, type KeptStop } from './outbox.js';
import { mediaPlayer, type Player } from './player.js';
import { Run, type Beginning } from './run.js';
import { uuidV4, uuidV7 } from './uuid.js';
import {
  endReason,
  type ContentKind,
  type DeviceClass,
  type EndReason,
  type HeartbeatRequest,
  type PlaybackState,
  type StartAnswer,
  type StartRequest,
  type StopRequest,
  type Verdict,
  type VerdictAnswer,
} from './wire.js';

export interface SessionOptions {
  /** Where pulsegate answers; `''` is the page's own origin. */
  baseUrl: string;
  accountId: string;
  titleId: string;
  /** Left out: one that this browser keeps. */
  deviceId?: string;
  deviceClass?: DeviceClass;
  contentKind?: ContentKind;
  /** ISO 3166-1 alpha-2. */
  territory?: string;
  /** How long playback is held back for the answer to a start before it plays on without one. */
  holdMs?: number;
  /** How long a call may take. */
  timeoutMs?: number;
  /** How many heartbeats are kept while none can be sent. */
  keepAtMost?: number;
  /**
   * While it plays and is seen, one request is kept open by which an eviction is heard of at once; false: heartbeats
   * tell, ten seconds later at most.
   */
  listen?: boolean;
  /**
   * The account's token, from your login service; asked for at the first call, and again when pulsegate doesn't take it
   * any more. Left out where pulsegate asks nobody who they are.
   */
  token?: () => Promise<string>;
  /** Sends the requests in place of the browser's fetch, say to add a header. */
  fetch?: typeof fetch;
}

/**
 * `starting`: asked, not answered. `allowed`: may play. `blocked`: refused, waiting for room.
 * `evicted`: another device or tab took over. `stopped`: over. `failed`: the service refused the request itself.
 */
export type SessionState = 'idle' | 'starting' | 'allowed' | 'blocked' | 'evicted' | 'stopped' | 'failed';

export interface SessionStatus {
  state: SessionState;
  sessionId: string | null;
  /** The newest one; null until there is an answer. */
  verdict: Verdict | null;
  /** Plays because the service said so, not because it couldn't be asked. */
  confirmed: boolean;
  /** Of the newest heartbeat; null before the first. */
  sequence: number | null;
  /** Heartbeats that wait to be sent. */
  pending: number;
  /** Heartbeats that were given up: too many waited, they grew too old, or the service refused them. */
  dropped: number;
  /** Whether the last call was answered. */
  reachable: boolean;
}

export interface SessionError {
  /** The problem's `code`, or `unreachable`, `timeout`, `busy`, `autoplay-blocked`, `internal`. */
  code: string;
  detail: string;
  /** The HTTP status, where there was one. */
  status: number | null;
  /** The session is over because of it. */
  fatal: boolean;
}

export interface SessionEvents {
  /** May play. `verdict` is null when the service couldn't be asked; it comes again once it could. */
  allowed: { verdict: Verdict | null; provisional: boolean };
  /** Refused; the player was paused and waits for room. */
  blocked: { verdict: Verdict };
  /** Still refused; the service says at once when there is room, or is asked again in `nextCheckInMs`. */
  waiting: { verdict: Verdict; nextCheckInMs: number };
  /** Plays again by itself: after waiting, or as a new session after the old one ended. */
  resumed: { verdict: Verdict; provisional: boolean };
  /** Someone else took over; the player was paused. */
  evicted: { reason: EndReason; by: Verdict['by']; verdict: Verdict };
  /** Over, by `stop()` (`verdict` null) or because the service ended it while nobody watched. */
  stopped: { reason: EndReason; verdict: Verdict | null };
  error: SessionError;
  /** Anything in `status` changed. */
  status: SessionStatus;
}

const HEARTBEAT_MS = { first: 10_000, least: 1_000, most: 60_000 };
/** Extra heartbeats, on a change of state, are at least this far apart. */
const CHANGE_GAP_MS = 1_000;
/** Shorter seeks and stalls (a loop, a quality switch) aren't worth a heartbeat. */
const SETTLE_MS = 250;
const BATCH_MOST = 500;
const KEEP_AT_MOST = 60_480; // 7 days of one each 10 s
/** A session that ends under its player is replaced by itself at most once in this time. */
const RESTART_GAP_MS = 60_000;
const CHECK_MS = 2_000;
const CHECK_JITTER_MS = 500;
/** How long one request waits for a verdict that says something else. */
const WAIT_MS = 25_000;
/** Between two such requests, and as much again by chance: a slot that frees in between is heard of within a second. */
const WAIT_GAP_MS = 250;
/** Refusals further apart than this have nothing to do with each other. */
const REFUSED_AGAIN_MS = 10_000;
/** After so many that failed one after another the service is asked in the old way. */
const WAIT_FAILURES_MOST = 3;
/** An id this young can only be too old by a device clock that is wrong. */
const YOUNG_ID_MS = 3_600_000;
const EVICT_MOST = 32;
/** Why a heartbeat of a batch was not taken, where that may pass. */
const SEND_AGAIN: ReadonlySet<string> = new Set(['unavailable', 'overloaded']);
const ID = /^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$/;

/**
 * One viewing of one title on one device: asks for a slot, tells the service what the player does,
 * and holds, pauses and plays the player as it is told. It may span several sessions of the log, as
 * when an expired one is followed by a new one.
 */
export class PulsegateSession {
  readonly deviceId: string;
  readonly #options: SessionOptions;
  readonly #host: Host;
  readonly #api: Api;
  readonly #outbox: Outbox;
  readonly #events = new Emitter<SessionEvents>();
  readonly #sending: Backoff;
  readonly #listening: Backoff;
  readonly #leavePage: () => void;

  #state: SessionState = 'idle';
  #run: Run | null = null;
  #verdict: Verdict | null = null;
  #confirmed = false;
  #reachable = true;
  #refusedHeartbeats = 0;
  #intervalMs = HEARTBEAT_MS.first;
  #batchMost = BATCH_MOST;

  #player: Player | null = null;
  #detach: () => void = () => {};
  #reported: { state: PlaybackState; positionMs: number; rate: number } = { state: 'playing', positionMs: 0, rate: 1 };

  #pumping = false;
  #wakePump: (() => void) | null = null;
  #lostToLoad = false;
  #restartedAtMs: number | null = null;
  #comesBack = false;
  /** The service knows how to wait, as far as is known. */
  #waits = true;
  #waitFailures = 0;

  /** @param host for tests and unusual platforms; a browser needs none. */
  constructor(options: SessionOptions, host: Host = browserHost(options.fetch)) {
    this.deviceId = options.deviceId ?? persistentDeviceId(options.deviceClass);
    for (const [name, id] of [
      ['accountId', options.accountId],
      ['deviceId', this.deviceId],
      ['titleId', options.titleId],
    ] as const) {
      if (!ID.test(id)) throw new TypeError(`${name} must be 1-128 characters of A-Z a-z 0-9 . _ : @ -, the first a letter or digit`);
    }
    this.#options = options;
    this.#host = host;
    this.#api = new Api(host, options.baseUrl, options.accountId, options.timeoutMs ?? 5_000, options.token);
    this.#outbox = new Outbox(options.keepAtMost ?? KEEP_AT_MOST);
    this.#sending = new Backoff(host);
    this.#listening = new Backoff(host);
    this.#leavePage = host.onPage((event) => this.#onPage(event));
  }

  get status(): SessionStatus {
    return {
      state: this.#state,
      sessionId: this.#run?.id ?? null,
      verdict: this.#verdict,
      confirmed: this.#confirmed,
      sequence: this.#run && this.#run.sequence > 0 ? this.#run.sequence - 1 : null,
      pending: this.#outbox.length,
      dropped: this.#outbox.dropped + this.#refusedHeartbeats,
      reachable: this.#reachable,
    };
  }

  /** Subscribes; the answer unsubscribes. */
  on<Name extends keyof SessionEvents>(name: Name, listener: (event: SessionEvents[Name]) => void): () => void {
    return this.#events.on(name, listener);
  }

  /**
   * Ties the session to a player: it starts when the player is played, reports what it does, and
   * pauses it when the session may not play. The answer unties.
   */
  attach(player: HTMLMediaElement | Player): () => void {
    this.#detach();
    const attached = 'state' in player ? player : mediaPlayer(player);
    const unsubscribe = attached.onChange((change) => this.#onPlayer(change));
    this.#player = attached;
    const detach = (): void => {
      unsubscribe();
      if (this.#player === attached) this.#player = null;
    };
    this.#detach = detach;
    if (attached.state() !== 'paused' && this.#isOver()) this.start();
    return detach;
  }

  /** What the player does, where none is attached. */
  report(playback: { state: Exclude<PlaybackState, 'blocked'>; positionMs: number; rate?: number }): void {
    this.#reported = { rate: 1, ...playback };
    this.#onPlayer('state');
  }

  /** The viewer wants to watch. Does nothing while a session is under way. */
  start(): void {
    if (this.#isOver()) this.#begin({ hold: true });
  }

  /** Takes the slots of these sessions, as named by the verdict's `conflicts`, and plays here. */
  watchHereInstead(sessionIds: readonly string[]): void {
    if (sessionIds.length > EVICT_MOST) throw new RangeError(`at most ${EVICT_MOST} sessions can make room`);
    if (this.#isOver()) {
      this.#begin({ hold: true, evict: sessionIds });
    } else if (this.#run !== null && this.#state === 'blocked') {
      this.#run.evict = sessionIds;
      this.#run.wake();
    }
  }

  /** The viewer leaves: pauses the player and gives the slot back. Kept heartbeats are still sent, before the stop. */
  stop(): void {
    this.#comesBack = false;
    const run = this.#run;
    if (run === null) return;
    this.#outbox.push({ kind: 'stop', sessionId: run.id, word: this.#lastWord(run) });
    this.#end(run, 'stopped');
    this.#player?.pause();
    this.#emit('stopped', { reason: 'stopped', verdict: null });
    this.#pump();
  }

  /** Stops and lets go of the player and the page; for a player that is being torn down. */
  close(): void {
    this.stop();
    this.#detach();
    this.#leavePage();
  }

  // ── asking for a slot ────────────────────────────────────────────────────────────────────────

  #begin(how: Beginning): void {
    this.#run?.finish();
    const id = how.renewedId ?? uuidV7(this.#host);
    const run = new Run(this.#host, id, how);
    this.#run = run;
    this.#confirmed = false;
    this.#verdict = null;
    this.#waitAgain();
    this.#enter('starting');
    if (how.hold) this.#player?.pause();
    run.after(this.#options.holdMs ?? 1_500, () => this.#playOn(run));
    this.#background(this.#follow(run, true));
  }

  /** Asks until there is an answer, and while that is "blocked", waits for room and asks again. */
  async #follow(run: Run, askNow: boolean): Promise<void> {
    const backoff = new Backoff(this.#host);
    const refusals = new Backoff(this.#host);
    let restMs = 0;
    let askedAtMs: number | null = null;
    while (askNow || (await this.#untilRoom(run, restMs))) {
      askNow = false;
      const nowMs = this.#host.monotonicMs();
      if (askedAtMs !== null && nowMs - askedAtMs > REFUSED_AGAIN_MS) refusals.reset();
      // Others were faster, or the answers contradict each other: neither is to be asked as fast as it answers.
      restMs = askedAtMs === null ? 0 : refusals.nextMs(null);
      askedAtMs = nowMs;
      const evict = run.evict;
      const outcome = await this.#api.start(this.#startRequest(run));
      if (run.isOver) return;
      if (outcome.kind === 'later') {
        this.#lost(outcome);
        this.#playOn(run);
        if (!(await run.sleep(backoff.nextMs(outcome.retryAfterMs)))) return;
        askNow = true;
        continue;
      }
      this.#found();
      backoff.reset();
      if (run.evict === evict) run.evict = [];
      if (outcome.kind === 'ok') return this.#granted(run, outcome.answer);
      const { code, verdict } = outcome.problem;
      if (code === 'concurrency-limit-reached' && verdict !== null) this.#blocked(run, verdict);
      else return this.#refused(run, outcome);
    }
  }

  /** Waits until asking has a point. False when there is nothing left to wait for. */
  async #untilRoom(run: Run, restMs: number): Promise<boolean> {
    const backoff = new Backoff(this.#host);
    const sinceMs = this.#host.monotonicMs();
    let delayMs = this.#waits ? restMs : this.#checkDelayMs(sinceMs);
    for (;;) {
      if (run.evict.length > 0) return true;
      const nextCheckInMs = Math.round(delayMs) + (this.#waits ? WAIT_MS : 0);
      if (this.#verdict !== null) this.#emit('waiting', { verdict: this.#verdict, nextCheckInMs });
      if (!(await run.sleep(delayMs)) || this.#state !== 'blocked') return false;
      if (run.evict.length > 0) return true;
      const outcome = await this.#checkOrWait(run);
      if (run.isOver || this.#state !== 'blocked') return false;
      if (outcome === null) {
        delayMs = this.#gapMs();
        continue;
      }
      if (outcome.kind === 'later') {
        this.#lost(outcome);
        this.#noteWaitFailure();
        delayMs = Math.max(CHECK_MS, backoff.nextMs(outcome.retryAfterMs));
        continue;
      }
      this.#found();
      backoff.reset();
      // A session that was forgotten while it waited asks anew.
      if (outcome.kind === 'refused' || outcome.answer.verdict === null) return true;
      const { verdict } = outcome.answer;
      this.#noteWaited(outcome.answer);
      this.#paceBy(run, outcome.answer.heartbeat_interval_ms);
      if (endReason(verdict) !== null) {
        this.#ended(run, verdict);
        return false;
      }
      this.#take(verdict);
      if (verdict.room || verdict.decision === 'allow') return true;
      delayMs = this.#waits ? this.#gapMs() : this.#checkDelayMs(sinceMs);
    }
  }

  /** The verdict once it says something else, where the service knows how to wait; null when woken meanwhile. */
  #checkOrWait(run: Run): Promise<Outcome<VerdictAnswer> | null> {
    if (!this.#waits) return this.#api.verdict(run.id);
    const known = this.#verdict?.reason ?? 'limit_reached';
    return run.orWoken(2 * WAIT_MS, (giveUp) => this.#api.verdictAfter(run.id, known, WAIT_MS, giveUp));
  }

  #gapMs(): number {
    return WAIT_GAP_MS * (1 + this.#host.random());
  }

  #waitAgain(): void {
    this.#waits = true;
    this.#waitFailures = 0;
  }

  #noteWaitFailure(): void {
    this.#waitFailures += 1;
    if (this.#waitFailures >= WAIT_FAILURES_MOST) this.#waits = false;
  }

  #noteWaited(answer: VerdictAnswer): void {
    // An older service takes no notice of the wait and answers at once.
    if (answer.waited_ms === undefined) this.#waits = false;
    else this.#waitFailures = 0;
  }

  // ── hearing of an end at once ────────────────────────────────────────────────────────────────

  /** While it plays and is seen: heartbeats would tell of an eviction within ten seconds, this does at once. */
  #listen(run: Run): void {
    const isWanted = this.#options.listen !== false && this.#waits && this.#host.isVisible();
    if (!isWanted || run.isOver || run.isListening || this.#state !== 'allowed' || !this.#confirmed) return;
    this.#background(this.#hear(run));
  }

  async #hear(run: Run): Promise<void> {
    const outcome = await run.listen((giveUp) => this.#api.verdictAfter(run.id, 'allow', WAIT_MS, giveUp));
    if (outcome === null || this.#state !== 'allowed' || outcome.kind === 'refused') return;
    if (outcome.kind === 'later') {
      this.#noteWaitFailure();
      return run.listenIn(this.#listening.nextMs(outcome.retryAfterMs), () => this.#listen(run));
    }
    this.#listening.reset();
    this.#noteWaited(outcome.answer);
    const { verdict } = outcome.answer;
    if (verdict !== null && endReason(verdict) !== null) return this.#ended(run, verdict);
    // What is blocked without an end, its own heartbeats settle.
    const isAllowed = verdict?.decision === 'allow';
    if (isAllowed) this.#take(verdict);
    run.listenIn(isAllowed ? this.#gapMs() : this.#intervalMs, () => this.#listen(run));
  }

  /** The instant at which a slot frees by itself, but no sooner than each 2 s and, as someone may stop, not much later either. */
  #checkDelayMs(sinceMs: number): number {
    const waitedMs = this.#host.monotonicMs() - sinceMs;
    const longestMs = waitedMs < 120_000 ? CHECK_MS : waitedMs < 600_000 ? 5_000 : 10_000;
    const freesInMs = this.#verdict?.frees_in_ms ?? longestMs;
    return Math.max(CHECK_MS, Math.min(freesInMs, longestMs)) + this.#host.random() * CHECK_JITTER_MS;
  }

  #granted(run: Run, answer: StartAnswer): void {
    const before = this.#state;
    run.isAnswered = true;
    run.decidedAtMs = this.#host.monotonicMs();
    this.#confirmed = true;
    this.#verdict = answer.verdict;
    this.#paceBy(run, answer.heartbeat_interval_ms);
    const event = { verdict: answer.verdict, provisional: answer.provisional ?? false };
    this.#enter('allowed');
    this.#emit(before === 'blocked' || run.isAgain ? 'resumed' : 'allowed', event);
    run.isAgain = false;
    if (before !== 'allowed') this.#release(run);
    this.#listen(run);
    this.#pump();
  }

  /** Plays without an answer: an outage of the service must not become one of the player. */
  #playOn(run: Run): void {
    if (run.isOver || this.#state !== 'starting') return;
    this.#enter('allowed');
    this.#emit('allowed', { verdict: null, provisional: true });
    this.#release(run);
  }

  #blocked(run: Run, verdict: Verdict): void {
    const before = this.#state;
    run.isAnswered = true;
    run.decidedAtMs = this.#host.monotonicMs();
    this.#confirmed = true;
    this.#verdict = verdict;
    run.hush();
    this.#enter('blocked');
    this.#player?.pause();
    this.#emit('blocked', { verdict });
    // Until a heartbeat says otherwise the service takes what was playing to play on.
    if (before === 'allowed') this.#beat(run);
    else if (before === 'starting') run.beatIn(this.#intervalMs, () => this.#beat(run));
    this.#pump();
  }

  #refused(run: Run, outcome: Outcome<unknown> & { kind: 'refused' }): void {
    const { code, detail, verdict } = outcome.problem;
    if (verdict !== null && endReason(verdict) !== null) return this.#ended(run, verdict);
    if (code === 'session-too-old' && !run.isRenewed) return this.#renew(run);
    this.#end(run, 'failed');
    this.#player?.pause();
    this.#emit('error', { code, detail, status: outcome.status, fatal: true });
  }

  /** The same viewing under a new id, once. */
  #renew(run: Run): void {
    const isYoung = this.#host.monotonicMs() - run.beganAtMs < YOUNG_ID_MS;
    const renewedId = isYoung ? uuidV4(this.#host) : uuidV7(this.#host);
    this.#begin({ hold: false, evict: run.evict, renewedId, again: run.isAgain });
  }

  /** The service ended the session. Goes on as a new one only if that takes nothing from anyone. */
  #ended(run: Run, verdict: Verdict): void {
    const reason = endReason(verdict)!;
    const wanted = this.#state === 'blocked' || this.#state === 'starting' || this.#playback().state !== 'paused';
    const nowMs = this.#host.monotonicMs();
    const rested = this.#restartedAtMs === null || nowMs - this.#restartedAtMs >= RESTART_GAP_MS;
    const byOwnDevice = reason === 'replaced' && (verdict.by === null || verdict.by.device_id === this.deviceId);
    // Two tabs of one device would end each other for ever if a hidden one answered back.
    const mayRestart = byOwnDevice ? this.#host.isVisible() : reason === 'stopped' || reason === 'expired';
    if (wanted && rested && mayRestart) {
      this.#restartedAtMs = nowMs;
      this.#begin({ hold: false, again: true });
      return;
    }
    const isTakenOver = reason !== 'stopped' && reason !== 'expired';
    this.#end(run, isTakenOver ? 'evicted' : 'stopped', verdict);
    this.#player?.pause();
    if (isTakenOver) this.#emit('evicted', { reason, by: verdict.by, verdict });
    else this.#emit('stopped', { reason, verdict });
  }

  #end(run: Run, state: SessionState, verdict: Verdict | null = null): void {
    run.finish();
    this.#run = null;
    this.#confirmed = false;
    this.#verdict = verdict;
    this.#enter(state);
  }

  #isOver(): boolean {
    return this.#run === null;
  }

  // ── the player ───────────────────────────────────────────────────────────────────────────────

  #onPlayer(change: 'state' | 'play'): void {
    if (change === 'play') {
      if (this.#isOver()) this.start();
      else if (this.#state === 'blocked' || (this.#state === 'starting' && this.#run?.isHeld)) this.#player?.pause();
    }
    if (this.#run !== null && this.#state === 'allowed') this.#noteChange(this.#run);
  }

  #release(run: Run): void {
    run.isHeld = false;
    const player = this.#player;
    if (player === null) return this.#beat(run);
    // The player says itself when it plays; if it doesn't within a second, that is told too.
    run.change(CHANGE_GAP_MS, () => this.#beat(run));
    try {
      void Promise.resolve(player.play()).catch((error: unknown) => this.#playRefused(error));
    } catch (error) {
      this.#playRefused(error);
    }
  }

  #playRefused(error: unknown): void {
    // Being paused again before it began is no failure.
    if (error instanceof Error && error.name === 'AbortError') return;
    this.#emit('error', { code: 'autoplay-blocked', detail: String(error), status: null, fatal: false });
  }

  #playback(): { state: PlaybackState; positionMs: number; rate: number } {
    const player = this.#player;
    if (player === null) return this.#reported;
    return { state: player.state(), positionMs: player.positionMs(), rate: player.rate() };
  }

  // ── heartbeats ───────────────────────────────────────────────────────────────────────────────

  #noteChange(run: Run): void {
    const { state } = this.#playback();
    if (state === run.lastBeat?.state) return;
    const settleMs = state === 'playing' || state === 'paused' ? 0 : SETTLE_MS;
    const gapMs = run.lastBeat === null ? 0 : run.lastBeat.atMs + CHANGE_GAP_MS - this.#host.monotonicMs();
    if (run.lastBeat === null && state !== 'playing') return;
    const waitMs = Math.max(settleMs, gapMs);
    if (waitMs <= 0) return this.#beat(run);
    run.change(waitMs, () => {
      if (this.#playback().state !== run.lastBeat?.state) this.#beat(run);
    });
  }

  #beat(run: Run): void {
    if (run.isOver) return;
    const playback = this.#playback();
    const state = this.#state === 'blocked' ? 'blocked' : playback.state;
    const nowMs = this.#host.monotonicMs();
    this.#outbox.push({
      kind: 'heartbeat',
      sessionId: run.id,
      sequence: run.sequence,
      elapsedMs: Math.floor(nowMs - run.beganAtMs),
      positionMs: wholeMs(playback.positionMs),
      state,
      rate: Math.min(Math.max(playback.rate || 0, 0), 16),
      happenedAtMs: nowMs,
    });
    run.sequence += 1;
    run.lastBeat = { atMs: nowMs, state };
    run.change(null);
    run.beatIn(this.#intervalMs, () => this.#beat(run));
    this.#changed();
    this.#pump();
  }

  #paceBy(run: Run, intervalMs: number | undefined): void {
    if (typeof intervalMs !== 'number' || !Number.isFinite(intervalMs)) return;
    const pacedMs = Math.min(Math.max(intervalMs, HEARTBEAT_MS.least), HEARTBEAT_MS.most);
    if (pacedMs === this.#intervalMs) return;
    this.#intervalMs = pacedMs;
    if (run.lastBeat === null) return;
    const dueMs = run.lastBeat.atMs + pacedMs - this.#host.monotonicMs();
    run.beatIn(Math.max(dueMs, 0), () => this.#beat(run));
  }

  /** What a heartbeat's answer says of the session that is under way. */
  #heed(run: Run, heartbeat: KeptHeartbeat, verdict: Verdict): void {
    if (endReason(verdict) !== null) return this.#ended(run, verdict);
    // It left before the state it would now judge was decided.
    if (heartbeat.happenedAtMs < run.decidedAtMs) return;
    this.#take(verdict);
    if (this.#state === 'blocked') {
      if (verdict.room || verdict.decision === 'allow') run.wake();
    } else if (verdict.decision === 'block' && verdict.reason === 'limit_reached') {
      this.#blocked(run, verdict);
      this.#background(this.#follow(run, false));
    }
  }

  // ── sending ──────────────────────────────────────────────────────────────────────────────────

  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    this.#background(this.#sendAll());
  }

  async #sendAll(): Promise<void> {
    try {
      for (let first = this.#nextToSend(); first !== undefined; first = this.#nextToSend()) {
        const outcome = first.kind === 'stop' ? await this.#sendStop(first) : await this.#sendHeartbeats();
        if (outcome.kind === 'later') {
          this.#lost(outcome);
          await this.#rest(this.#sending.nextMs(outcome.retryAfterMs));
        } else {
          this.#sending.reset();
          this.#found();
          this.#changed();
        }
      }
    } finally {
      this.#pumping = false;
    }
  }

  #nextToSend(): Kept | undefined {
    this.#outbox.discardOlderThan(this.#host.monotonicMs() - OLDEST_MS);
    const first = this.#outbox.first();
    const run = this.#run;
    // A session's start goes before its heartbeats.
    return first?.sessionId === run?.id && !run?.isAnswered ? undefined : first;
  }

  /** All but the newest go as a batch; the newest goes alone, for the verdict in its answer. */
  async #sendHeartbeats(): Promise<Outcome<unknown>> {
    const waiting = this.#outbox.heartbeats(this.#batchMost + 1);
    return waiting.length === 1 ? this.#sendOne(waiting[0]!) : this.#sendBatch(waiting.slice(0, -1));
  }

  async #sendOne(heartbeat: KeptHeartbeat): Promise<Outcome<unknown>> {
    const outcome = await this.#api.heartbeat(heartbeat.sessionId, this.#heartbeatRequest(heartbeat));
    if (outcome.kind === 'later') return outcome;
    this.#outbox.remove([heartbeat]);
    this.#batchMost = BATCH_MOST;
    const run = this.#run?.id === heartbeat.sessionId ? this.#run : null;
    if (outcome.kind === 'ok') {
      const { verdict, next_heartbeat_in_ms: nextMs } = outcome.answer;
      if (run !== null) this.#paceBy(run, nextMs);
      if (run !== null && verdict) this.#heed(run, heartbeat, verdict);
      return outcome;
    }
    const { code, detail, verdict } = outcome.problem;
    // An ended session's heartbeat is kept by the service all the same.
    if (verdict !== null && endReason(verdict) !== null) {
      if (run !== null) this.#ended(run, verdict);
    } else {
      this.#refusedHeartbeats += 1;
      if (run !== null && code === 'session-too-old' && !run.isRenewed) this.#renew(run);
      else this.#emit('error', { code, detail, status: outcome.status, fatal: false });
    }
    return outcome;
  }

  async #sendBatch(heartbeats: KeptHeartbeat[]): Promise<Outcome<unknown>> {
    const outcome = await this.#api.heartbeats(
      heartbeats.map((heartbeat) => ({
        account_id: this.#options.accountId,
        session_id: heartbeat.sessionId,
        ...this.#heartbeatRequest(heartbeat),
      })),
    );
    if (outcome.kind === 'refused') {
      // Smaller ones, down to one by one, so that what is wrong with one heartbeat costs no other.
      this.#batchMost = Math.ceil(heartbeats.length / 2);
      if (heartbeats.length === 1) return this.#sendOne(heartbeats[0]!);
    } else if (outcome.kind === 'ok') {
      const rejected = outcome.answer.rejected ?? [];
      const again = new Set(rejected.filter(({ code }) => SEND_AGAIN.has(code)).map(({ index }) => index));
      // Before one that was taken it would count for nothing any more, so only the last ones are sent again.
      let done = heartbeats.length;
      while (again.has(done - 1)) done -= 1;
      this.#outbox.remove(heartbeats.slice(0, done));
      const refused = rejected.filter(({ index }) => index < done);
      this.#refusedHeartbeats += refused.length;
      const first = refused[0];
      if (first !== undefined) {
        const detail = `${refused.length} kept heartbeats were refused, the first: ${first.detail}`;
        this.#emit('error', { code: first.code, detail, status: null, fatal: false });
      }
      if (done < heartbeats.length) {
        return { kind: 'later', why: 'busy', detail: `${heartbeats.length - done} could not be taken now`, retryAfterMs: null };
      }
    }
    return outcome;
  }

  async #sendStop(stop: KeptStop): Promise<Outcome<unknown>> {
    const outcome = await this.#api.stop(stop.sessionId, stop.word);
    if (outcome.kind !== 'later') this.#outbox.remove([stop]);
    return outcome;
  }

  #rest(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        cancel();
        this.#wakePump = null;
        resolve();
      };
      const cancel = this.#host.setTimer(delayMs, wake);
      this.#wakePump = wake;
    });
  }

  #startRequest(run: Run): StartRequest {
    return { session_id: run.id, ...this.#about(), ...(run.evict.length > 0 && { evict: [...run.evict] }) };
  }

  #heartbeatRequest(heartbeat: KeptHeartbeat): HeartbeatRequest {
    const ageMs = Math.floor(this.#host.monotonicMs() - heartbeat.happenedAtMs);
    return {
      ...this.#about(),
      sequence: heartbeat.sequence,
      elapsed_ms: heartbeat.elapsedMs,
      ...(ageMs > 0 && { age_ms: ageMs }),
      position_ms: heartbeat.positionMs,
      state: heartbeat.state,
      rate: heartbeat.rate,
    };
  }

  #about(): Pick<StartRequest, 'device_id' | 'device_class' | 'title_id' | 'content_kind' | 'territory'> {
    const { deviceClass, titleId, contentKind, territory } = this.#options;
    return {
      device_id: this.deviceId,
      ...(deviceClass !== undefined && { device_class: deviceClass }),
      title_id: titleId,
      ...(contentKind !== undefined && { content_kind: contentKind }),
      ...(territory !== undefined && { territory }),
    };
  }

  #lastWord(run: Run): StopRequest {
    return {
      ...(run.sequence > 0 && { sequence: run.sequence - 1 }),
      elapsed_ms: Math.floor(this.#host.monotonicMs() - run.beganAtMs),
      position_ms: wholeMs(this.#playback().positionMs),
    };
  }

  // ── the page and the world ───────────────────────────────────────────────────────────────────

  #onPage(event: PageEvent): void {
    const run = this.#run;
    switch (event) {
      case 'hidden-for-good': {
        if (run === null) return;
        this.#comesBack = this.#state === 'blocked' || this.#playback().state !== 'paused';
        this.#api.stopAndForget(run.id, this.#lastWord(run));
        this.#end(run, 'stopped');
        return;
      }
      case 'shown':
        if (this.#comesBack) this.start();
        this.#comesBack = false;
        return;
      case 'visible':
        // A hidden page's timers are late; the service should not have to wait for the next one.
        if (run?.lastBeat && this.#host.monotonicMs() - run.lastBeat.atMs >= this.#intervalMs) this.#beat(run);
        if (run !== null) this.#listen(run);
        return;
      case 'hidden':
        run?.hush();
        return;
      case 'online':
        // Whoever asked for a pause gets it; only a lost network has come back.
        if (this.#lostToLoad) return;
        this.#wakePump?.();
        this.#waitAgain();
        run?.wake();
        if (run !== null) this.#listen(run);
    }
  }

  #take(verdict: Verdict): void {
    this.#verdict = verdict;
    this.#changed();
  }

  #lost(outcome: Outcome<unknown> & { kind: 'later' }): void {
    this.#lostToLoad = outcome.why === 'busy';
    if (!this.#reachable) return;
    this.#reachable = false;
    this.#changed();
    this.#emit('error', { code: outcome.why, detail: outcome.detail, status: null, fatal: false });
  }

  #found(): void {
    if (this.#reachable) return;
    this.#reachable = true;
    this.#changed();
  }

  #enter(state: SessionState): void {
    this.#state = state;
    this.#changed();
  }

  #changed(): void {
    this.#emit('status', this.status);
  }

  #emit<Name extends keyof SessionEvents>(name: Name, event: SessionEvents[Name]): void {
    this.#events.emit(name, event);
  }

  #background(work: Promise<void>): void {
    work.catch((error: unknown) => {
      this.#emit('error', { code: 'internal', detail: String(error), status: null, fatal: false });
    });
  }
}

/** Never below 0, never beyond what JSON keeps exact; a live stream's infinity is unknown, so 0. */
function wholeMs(ms: number): number {
  return Number.isFinite(ms) ? Math.min(Math.max(Math.floor(ms), 0), Number.MAX_SAFE_INTEGER) : 0;
}
