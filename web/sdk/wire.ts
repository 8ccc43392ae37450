/** What a player is doing. `blocked` is a player that was told to wait and still wants to be known. */
export type PlaybackState = 'playing' | 'paused' | 'buffering' | 'seeking' | 'blocked';

export type DeviceClass = 'tv' | 'mobile' | 'tablet' | 'web' | 'console' | 'other';

export type ContentKind = 'vod' | 'live';

/** Why a session may not play. Those of {@link EndReason} are for ever. */
export type BlockReason =
  | 'limit_reached'
  | 'paused_too_long'
  | 'lease_expired'
  | 'not_asked'
  | EndReason;

/** How a session ended: nothing gives an ended session a slot again. */
export type EndReason = 'stopped' | 'evicted' | 'replaced' | 'displaced' | 'expired';

/** A session that holds one of the slots another one asked for. */
export interface Conflict {
  session_id: string;
  device_id: string;
  device_class: DeviceClass;
  title_id: string;
  started_at: string;
  last_seen_at: string;
}

/** The service's answer to "may this session play?", with its reason. */
export interface Verdict {
  decision: 'allow' | 'block';
  reason: BlockReason | null;
  /** The policy version that was applied, `name@version`; null where only the session's end was heard. */
  policy: string | null;
  /** The rule with the least room, or the full one: `account`, `device_class:tv`, … */
  rule: string | null;
  max: number | null;
  in_use: number | null;
  /** Who holds the slots, longest first; filled on `limit_reached`. */
  conflicts: Conflict[];
  /** When a slot frees if nobody who holds one is heard of again; 0 is now, null is never. */
  frees_in_ms: number | null;
  /** Asking now would get a slot. */
  room: boolean;
  /** The session that took over, where one did. */
  by: { session_id: string; device_id: string } | null;
}

/** The point of the log an answer was read at. */
export interface AsOf {
  partition: number;
  offset: number;
  at: string;
}

export interface StartRequest {
  session_id: string;
  device_id: string;
  device_class?: DeviceClass;
  title_id: string;
  content_kind?: ContentKind;
  territory?: string;
  evict?: string[];
}

export interface HeartbeatRequest {
  device_id: string;
  device_class?: DeviceClass;
  title_id: string;
  content_kind?: ContentKind;
  territory?: string;
  sequence: number;
  elapsed_ms: number;
  age_ms?: number;
  position_ms: number;
  state: PlaybackState;
  rate: number;
}

export interface StopRequest {
  /** Of the last heartbeat. */
  sequence?: number;
  elapsed_ms?: number;
  position_ms?: number;
}

export interface StartAnswer {
  verdict: Verdict;
  as_of: AsOf;
  heartbeat_interval_ms?: number;
  provisional?: boolean;
  stale_ms?: number;
}

export interface HeartbeatAnswer {
  /** Null for a heartbeat too old to open the session it names. */
  verdict: Verdict | null;
  as_of?: AsOf;
  next_heartbeat_in_ms?: number;
}

export interface BatchAnswer {
  accepted: number;
  rejected: { index: number; code: string; detail: string }[];
}

export interface VerdictAnswer {
  verdict: Verdict | null;
  as_of: AsOf;
  heartbeat_interval_ms?: number;
  /** For how long the service waited; absent where it doesn't know how to. */
  waited_ms?: number;
}

/** An RFC 9457 problem, as far as the SDK reads it. */
export interface Problem {
  code: string;
  detail: string;
  verdict: Verdict | null;
}

const ENDED: readonly string[] = ['stopped', 'evicted', 'replaced', 'displaced', 'expired'];

export function endReason(verdict: Verdict | null): EndReason | null {
  const reason = verdict?.decision === 'block' ? verdict.reason : null;
  return reason !== null && ENDED.includes(reason) ? (reason as EndReason) : null;
}
