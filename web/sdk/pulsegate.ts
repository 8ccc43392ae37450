export { persistentDeviceId } from './device.js';
export type { Host, PageEvent } from './host.js';
export type { Player } from './player.js';
export { PulsegateSession } from './session.js';
export type {
  SessionEvents,
  SessionOptions,
  SessionState,
  SessionStatus,
  SessionError,
} from './session.js';
export type {
  AsOf,
  BlockReason,
  Conflict,
  ContentKind,
  DeviceClass,
  EndReason,
  PlaybackState,
  Verdict,
} from './wire.js';
