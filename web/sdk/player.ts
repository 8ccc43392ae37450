import type { PlaybackState } from './wire.js';

/** What a session needs to know of a player, and the two things it does to one. */
export interface Player {
  state(): Exclude<PlaybackState, 'blocked'>;
  positionMs(): number;
  rate(): number;
  play(): void | Promise<void>;
  pause(): void;
  /** Calls back whenever `state()` may have changed, or the viewer pressed play; the answer unsubscribes. */
  onChange(listener: (change: 'state' | 'play') => void): () => void;
}

const HAVE_FUTURE_DATA = 3;
const STATE_EVENTS = ['playing', 'pause', 'ended', 'waiting', 'seeking', 'seeked', 'ratechange'] as const;

export function mediaPlayer(media: HTMLMediaElement): Player {
  return {
    state() {
      if (media.paused || media.ended) return 'paused';
      if (media.seeking) return 'seeking';
      return media.readyState < HAVE_FUTURE_DATA ? 'buffering' : 'playing';
    },
    positionMs: () => media.currentTime * 1_000,
    rate: () => media.playbackRate,
    play: () => media.play(),
    pause: () => media.pause(),
    onChange(listener) {
      const over = new AbortController();
      const { signal } = over;
      for (const name of STATE_EVENTS) media.addEventListener(name, () => listener('state'), { signal });
      // The event may arrive after a pause that followed at once: then nobody wants to play.
      media.addEventListener('play', () => media.paused || listener('play'), { signal });
      return () => over.abort();
    },
  };
}
