import { count } from './words.js';

/** One partition of one build. What a node of another version doesn't say is absent. */
export interface Partition {
  topic: string;
  partition: number;
  next_offset: number;
  end_offset?: number | null;
  lag_events?: number | null;
  lag_seconds?: number | null;
  clock?: string | null;
  rate?: number | null;
}

export interface HistoryEntry {
  at: string;
  what: string;
  detail?: string | null;
}

/** A rebuild under way, or one that was stopped and can go on. */
export interface Rebuild {
  phase: string;
  since?: string | null;
  done_events: number;
  total_events: number;
  left_seconds?: number | null;
}

/** One build of a projection, as `GET /v1/projections` lists it. */
export interface Build {
  name: string;
  version: number;
  build?: string | null;
  state: string;
  switched_at?: string | null;
  paused_at?: string | null;
  as_of?: string | null;
  rebuild?: Rebuild | null;
  lag_events?: number | null;
  lag_seconds?: number | null;
  rate?: number | null;
  parked: number;
  skipped?: number;
  last_error?: string | null;
  last_error_at?: string | null;
  updated_at?: string | null;
  partitions: Partition[];
  history?: HistoryEntry[];
}

/** The builds of one projection: the one that readers see, and those beside it. */
export interface Group {
  name: string;
  lead: Build;
  others: Build[];
}

const ORDER = ['live', 'building', 'verified', 'shadow', 'failed', 'copy', 'retired'];

function order({ state }: Build): number {
  const place = ORDER.indexOf(state);
  return place < 0 ? ORDER.length : place;
}

/** By name; within one the live build first, then what is on its way to be, then what is over. */
export function groups(builds: readonly Build[]): Group[] {
  const names = [...new Set(builds.map(({ name }) => name))].sort();
  return names.flatMap((name) => {
    const own = builds.filter((build) => build.name === name);
    const [lead, ...others] = own.sort((a, b) => order(a) - order(b) || b.version - a.version);
    return lead === undefined ? [] : [{ name, lead, others }];
  });
}

export interface Lag {
  isUnknown: boolean;
  events: string;
  seconds: string;
  sentence: string;
}

/** How far behind, in events and in seconds of the log's time. */
export function lagInWords({ lag_events: events, lag_seconds: seconds }: Pick<Build, 'lag_events' | 'lag_seconds'>): Lag {
  if (events == null) return { isUnknown: true, events: 'unknown', seconds: 'Kafka does not say', sentence: 'unknown' };
  if (events === 0) return { isUnknown: false, events: '0 events', seconds: 'at the end of the log', sentence: 'at the end' };
  const inEvents = count(events, 'event');
  const inTime = seconds == null ? 'nothing folded yet' : `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds).toLocaleString('en')} s`;
  return { isUnknown: false, events: inEvents, seconds: inTime, sentence: seconds == null ? inEvents : `${inEvents}, ${inTime}` };
}

const PHASES: Record<string, string> = {
  planning: 'is being planned',
  filling: 'is being filled',
  indexing: 'gets its indexes',
  catching_up: 'catches up',
};

/** What a rebuild is doing, for people. */
export function phaseInWords(phase: string): string {
  return PHASES[phase] ?? phase;
}

/** How much of the log a rebuild has behind it, and how much before it. */
export function progressOf({ rebuild }: Build): { ratio: number; left: number } | null {
  if (rebuild == null) return null;
  const { done_events: done, total_events: total } = rebuild;
  return { ratio: total === 0 ? 1 : Math.min(done / total, 1), left: Math.max(total - done, 0) };
}

const WINDOW_MS = 10_000;

/** How fast each build goes: what the node says, else what this page has seen of its offsets. */
export class Rates {
  readonly #seen = new Map<string, { at: number; folded: number }[]>();

  learn(builds: readonly Build[], at: number): void {
    const known = new Set<string>();
    for (const build of builds) {
      const key = Rates.#key(build);
      known.add(key);
      const samples = this.#seen.get(key) ?? [];
      samples.push({ at, folded: build.partitions.reduce((sum, { next_offset }) => sum + next_offset, 0) });
      while (samples.length > 2 && at - (samples[0]?.at ?? at) > WINDOW_MS) samples.shift();
      this.#seen.set(key, samples);
    }
    for (const key of this.#seen.keys()) if (!known.has(key)) this.#seen.delete(key);
  }

  of(build: Build): number | null {
    if (build.rate != null) return build.rate;
    const samples = this.#seen.get(Rates.#key(build)) ?? [];
    const [first, last] = [samples[0], samples.at(-1)];
    if (first === undefined || last === undefined || last.at === first.at) return null;
    return Math.max(0, ((last.folded - first.folded) * 1_000) / (last.at - first.at));
  }

  static #key({ name, version, build }: Build): string {
    return build ?? `${name}_v${version}`;
  }
}

