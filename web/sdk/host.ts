/**
 * What the SDK needs from the world around it: the only way to a clock, a timer, the network, the
 * page and to chance. Tests bring their own; a player on an unusual platform may too.
 */
export interface Host {
  /** Milliseconds of a clock that never jumps. */
  monotonicMs(): number;
  /** Milliseconds since 1970, as the device believes. */
  wallMs(): number;
  /** In [0, 1). */
  random(): number;
  randomBytes(length: number): Uint8Array;
  /** Calls `fire` once; the answer cancels it. */
  setTimer(delayMs: number, fire: () => void): () => void;
  fetch(url: string, init: RequestInit): Promise<Response>;
  /** Hands over a last message that outlives the page; false when it could not. */
  beacon(url: string, body: string): boolean;
  isVisible(): boolean;
  /** Subscribes to the page going, coming back, being seen and being online; the answer unsubscribes. */
  onPage(listener: (event: PageEvent) => void): () => void;
}

/** `shown` is a page that comes back from the back/forward cache; `hidden` one that nobody looks at. */
export type PageEvent = 'hidden-for-good' | 'shown' | 'visible' | 'hidden' | 'online';

export function browserHost(fetchWith?: typeof fetch): Host {
  const page = globalThis.document as Document | undefined;
  return {
    monotonicMs: () => performance.now(),
    wallMs: () => Date.now(),
    random: () => Math.random(),
    randomBytes: (length) => crypto.getRandomValues(new Uint8Array(length)),
    setTimer(delayMs, fire) {
      const timer = setTimeout(fire, delayMs);
      return () => clearTimeout(timer);
    },
    fetch: (url, init) => (fetchWith ?? fetch)(url, init),
    beacon(url, body) {
      try {
        // A string is sent as text/plain, which needs no preflight that a closing page would not live to see.
        return globalThis.navigator?.sendBeacon?.(url, body) ?? false;
      } catch {
        return false;
      }
    },
    isVisible: () => page === undefined || page.visibilityState === 'visible',
    onPage(listener) {
      if (page === undefined || typeof addEventListener !== 'function') return () => {};
      const over = new AbortController();
      const { signal } = over;
      addEventListener('pagehide', () => listener('hidden-for-good'), { signal });
      addEventListener('pageshow', (event) => event.persisted && listener('shown'), { signal });
      addEventListener('online', () => listener('online'), { signal });
      page.addEventListener(
        'visibilitychange',
        () => listener(page.visibilityState === 'visible' ? 'visible' : 'hidden'),
        { signal },
      );
      return () => over.abort();
    },
  };
}
