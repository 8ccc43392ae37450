import { browserHost } from './host.js';
import { uuidV4 } from './uuid.js';

const KEY = 'pulsegate.device_id';

/**
 * This browser's device id: made once and kept in localStorage. Where storage is denied it lives as
 * long as the page, so a reload looks like another device.
 */
export function persistentDeviceId(prefix = 'web', storage = storageOrNull()): string {
  const made = () => `${prefix}-${uuidV4(browserHost())}`;
  try {
    const kept = storage?.getItem(KEY);
    if (kept) return kept;
    const id = made();
    storage?.setItem(KEY, id);
    return id;
  } catch {
    return made();
  }
}

function storageOrNull(): Storage | null {
  try {
    return globalThis.localStorage ?? null;
  } catch {
    return null;
  }
}
