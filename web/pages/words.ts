import type { BlockReason, DeviceClass, Verdict } from '../sdk/pulsegate.js';

const DEVICE_CLASSES: Record<DeviceClass, string> = {
  tv: 'TV',
  mobile: 'phone',
  tablet: 'tablet',
  web: 'browser',
  console: 'console',
  other: 'device',
};

export function deviceClassInWords(deviceClass: string): string {
  return DEVICE_CLASSES[deviceClass as DeviceClass] ?? deviceClass;
}

/** `account` → "", `device_class:tv` → " for TV", `title` → " for one title". */
export function scopeInWords(rule: string | null): string {
  if (rule === null || rule === 'account') return '';
  const [scope, value] = rule.split(':');
  if (scope === 'device_class') return ` for ${deviceClassInWords(value ?? '')} devices`;
  if (scope === 'content_kind') return value === 'live' ? ' for live streams' : ' for video on demand';
  if (scope === 'rights_holder') return ' for one rights holder';
  return ` for one ${scope}`;
}

const REASONS: Record<BlockReason, string> = {
  limit_reached: 'the limit is reached',
  paused_too_long: 'paused too long, the slot was given up',
  lease_expired: 'not heard of for too long, the slot was given up',
  not_asked: 'has not asked for a slot',
  stopped: 'stopped',
  evicted: 'ended from elsewhere',
  replaced: 'this device started another stream',
  displaced: 'a newer stream took the slot',
  expired: 'not heard of for an hour',
};

export function reasonInWords(reason: string | null): string {
  return reason === null ? '' : (REASONS[reason as BlockReason] ?? reason);
}

export function verdictInWords(verdict: Verdict | null): string {
  if (verdict === null) return 'no answer yet';
  const used = verdict.max === null ? '' : `${verdict.in_use ?? 0} of ${verdict.max} streams in use${scopeInWords(verdict.rule)}`;
  if (verdict.decision === 'allow') return used === '' ? 'allowed' : `allowed, ${used}`;
  if (verdict.reason === 'limit_reached') return `refused, ${used}`;
  return reasonInWords(verdict.reason);
}

export function list(words: readonly string[]): string {
  if (words.length < 2) return words.join('');
  return `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}

export function count(number: number, one: string, many = `${one}s`): string {
  return `${number.toLocaleString('en')} ${number === 1 ? one : many}`;
}

/** "4 s", "3 min", "2 h": as exact as anyone wants to know. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 100) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}

/** A time of day, with its date when that isn't today. */
export function clock(at: string | number, seconds = true): string {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return '–';
  const time = date.toLocaleTimeString('en-GB', seconds ? {} : { hour: '2-digit', minute: '2-digit' });
  const today = date.toDateString() === new Date().toDateString();
  return today ? time : `${date.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' })} ${time}`;
}

export function shortId(id: string): string {
  return id.length > 12 ? `…${id.slice(-6)}` : id;
}
