import type { Build } from '../builds.js';
import { h, setText } from '../dom.js';
import { clock, count, duration } from '../words.js';
import { get } from './asking.js';

const POLL_MS = 10_000;
/** A read model that is no further behind than this is where it should be. */
const NEAR_S = 10;

export interface Freshness {
  tone: 'good' | 'warn' | 'bad';
  text: string;
}

/** As of when read models are, and how far behind the log: the one that is furthest behind counts. */
export function freshnessOf(builds: readonly Build[], names: readonly string[], at: number): Freshness {
  const live = builds.filter(({ name, state }) => names.includes(name) && state === 'live');
  const missing = names.filter((name) => !live.some((build) => build.name === name));
  if (missing.length > 0) return { tone: 'bad', text: `${missing.join(' and ')} is not there` };
  if (live.some(({ lag_events }) => lag_events == null)) return { tone: 'warn', text: `as of ${clock(at)}, it is not known how far behind` };
  const events = Math.max(...live.map(({ lag_events }) => lag_events ?? 0));
  const seconds = Math.max(...live.map(({ lag_seconds }) => lag_seconds ?? 0));
  if (events === 0) return { tone: 'good', text: `as of ${clock(at)}, nothing is behind` };
  const of = live.length > 1 ? ` (${live.find((build) => build.lag_events === events)?.name})` : '';
  return { tone: seconds > NEAR_S ? 'warn' : 'good', text: `as of ${clock(at)}, ${duration(seconds * 1_000)} behind, ${count(events, 'event')}${of}` };
}

/** Says in `element` how fresh these read models are, for as long as the page is open. */
export function showFreshness(element: HTMLElement, names: readonly string[]): void {
  const text = h('span', {}, 'asking how fresh this is…');
  element.className = 'freshness small';
  element.replaceChildren(h('span', { class: 'dot', 'aria-hidden': 'true' }), text);
  const poll = async (): Promise<void> => {
    const { tone, text: words } = await get<{ projections: Build[] }>('/v1/projections').then(
      ({ projections }) => freshnessOf(projections, names, Date.now()),
      (): Freshness => ({ tone: 'bad', text: 'it is not known how fresh this is' }),
    );
    element.className = `freshness small ${tone}`;
    setText(text, words);
    setTimeout(() => void poll(), POLL_MS);
  };
  void poll();
}
