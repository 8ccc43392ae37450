import type { Host } from './host.js';

/** A UUID v7: 48 bits of time, then chance. Sorts by when it was made. */
export function uuidV7(host: Pick<Host, 'wallMs' | 'randomBytes'>): string {
  const bytes = host.randomBytes(16);
  let time = Math.max(0, Math.floor(host.wallMs()));
  for (let index = 5; index >= 0; index -= 1) {
    bytes[index] = time % 256;
    time = Math.floor(time / 256);
  }
  return format(bytes, 7);
}

/** A UUID v4: chance alone, so it says nothing about a clock that can't be trusted. */
export function uuidV4(host: Pick<Host, 'randomBytes'>): string {
  return format(host.randomBytes(16), 4);
}

function format(bytes: Uint8Array, version: number): string {
  bytes[6] = (bytes[6]! & 0x0f) | (version << 4);
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
