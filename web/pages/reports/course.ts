import { daysOf } from '../shell/periods.js';
import type { Line } from '../shell/chart.js';
import type { Streams, UsageRow } from './answers.js';

const STEP_MS = { minute: 60_000, hour: 3_600_000, day: 86_400_000 } as const;

/** A course over time: every moment of the period that has come, also those in which nothing was. */
export interface Course {
  times: number[];
  lines: Line[];
}

function moments(period: string, step: keyof typeof STEP_MS, now: number): number[] {
  const days = daysOf(period);
  if (days === null) return [];
  const end = Math.min(Date.parse(days.last) + STEP_MS.day, Math.max(now, Date.parse(days.first) + 1));
  const times = [];
  for (let at = Date.parse(days.first); at < end; at += STEP_MS[step]) times.push(at);
  return times;
}

/** Streams at once: what has no row is nobody. The line with the highest peak comes first. */
export function courseOf(streams: readonly Streams[], period: string, by: keyof typeof STEP_MS, named: (of: string) => string, now: number): Course {
  const times = moments(period, by, now);
  const places = new Map(times.map((at, place) => [at, place]));
  const values = new Map<string, number[]>();
  for (const { of, at, peak } of streams) {
    const line = values.get(of) ?? times.map(() => 0);
    const place = places.get(Date.parse(at));
    if (place !== undefined) line[place] = peak;
    values.set(of, line);
  }
  const most = (line: readonly number[]): number => line.reduce((one, other) => Math.max(one, other), 0);
  const lines = [...values].sort(([a, one], [b, other]) => most(other) - most(one) || (a < b ? -1 : 1));
  return { times, lines: lines.map(([of, line]) => ({ name: named(of), values: line })) };
}

/** Figures of days: a day without a row is one on which nothing was watched. */
export function daysCourse(rows: readonly UsageRow[], period: string, figures: { name: string; of: (row: UsageRow) => number }[], now: number): Course {
  const times = moments(period, 'day', now);
  const known = new Map(rows.map((row) => [Date.parse(row.of), row]));
  return {
    times,
    lines: figures.map(({ name, of }) => ({
      name,
      values: times.map((at) => {
        const row = known.get(at);
        return row === undefined ? 0 : of(row);
      }),
    })),
  };
}
