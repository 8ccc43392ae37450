// The periods of reports, UTC: `2026-10`, `2026-Q4`, `2026-10-31`, `2026-10-01--2026-10-15`.

export interface Option {
  value: string;
  words: string;
}

const DAY_MS = 86_400_000;
export const PERIOD = /^\d{4}-(\d{2}|Q[1-4]|\d{2}-\d{2}|\d{2}-\d{2}--\d{4}-\d{2}-\d{2})$/;

const utc = (year: number, month: number, day = 1): Date => new Date(Date.UTC(year, month, day));
const dayOf = (at: Date): string => at.toISOString().slice(0, 10);

/** The first and the last day; `null` for what is no period. */
export function daysOf(period: string): { first: string; last: string } | null {
  const between = (first: Date, after: Date): { first: string; last: string } | null =>
    Number.isNaN(first.getTime()) ? null : { first: dayOf(first), last: dayOf(new Date(after.getTime() - DAY_MS)) };
  const [year, month] = [Number(period.slice(0, 4)), Number(period.slice(5, 7))];
  if (/^\d{4}-\d{2}$/.test(period)) return month < 1 || month > 12 ? null : between(utc(year, month - 1), utc(year, month));
  if (/^\d{4}-Q[1-4]$/.test(period)) {
    const first = (Number(period[6]) - 1) * 3;
    return between(utc(year, first), utc(year, first + 3));
  }
  const [first = '', last = first] = period.split('--');
  const isDay = (text: string): boolean => /^\d{4}-\d{2}-\d{2}$/.test(text) && !Number.isNaN(Date.parse(text)) && dayOf(new Date(text)) === text;
  return isDay(first) && isDay(last) && first <= last ? { first, last } : null;
}

/** The period of these days, as it is named. */
export function periodOf(first: string, last: string): string {
  return first === last ? first : `${first}--${last}`;
}

/** The last so many days, today among them. */
export function lastDays(days: number, now: Date): string {
  return periodOf(dayOf(new Date(now.getTime() - (days - 1) * DAY_MS)), dayOf(now));
}

/** The month that is `back` months ago. */
export function month(back: number, now: Date): string {
  return utc(now.getUTCFullYear(), now.getUTCMonth() - back).toISOString().slice(0, 7);
}

const inWords = (day: string, parts: Intl.DateTimeFormatOptions): string => new Date(day).toLocaleDateString('en-GB', { ...parts, timeZone: 'UTC' });

/** "October 2026", "4th quarter of 2026", "31 Oct 2026", "1 – 15 Oct 2026". */
export function periodInWords(period: string): string {
  const days = daysOf(period);
  if (days === null) return period;
  if (period.length === 7) {
    const quarter = /Q(\d)$/.exec(period)?.[1];
    if (quarter === undefined) return inWords(days.first, { month: 'long', year: 'numeric' });
    return `${['1st', '2nd', '3rd', '4th'][Number(quarter) - 1]} quarter of ${period.slice(0, 4)}`;
  }
  const whole = { day: 'numeric', month: 'short', year: 'numeric' } as const;
  if (days.first === days.last) return inWords(days.first, whole);
  const isOneMonth = days.first.slice(0, 7) === days.last.slice(0, 7);
  const isOneYear = days.first.slice(0, 4) === days.last.slice(0, 4);
  const from = inWords(days.first, isOneMonth ? { day: 'numeric' } : isOneYear ? { day: 'numeric', month: 'short' } : whole);
  return `${from} – ${inWords(days.last, whole)}`;
}

/** What a page offers, in groups. */
export function offered(now: Date): { group: string; options: Option[] }[] {
  const named = (value: string, words = periodInWords(value)): Option => ({ value, words });
  const yesterday = dayOf(new Date(now.getTime() - DAY_MS));
  const quarters = Array.from({ length: 5 }, (_, back) => {
    const first = utc(now.getUTCFullYear(), now.getUTCMonth() - 3 * back);
    return named(`${first.getUTCFullYear()}-Q${Math.floor(first.getUTCMonth() / 3) + 1}`);
  });
  return [
    { group: 'Days', options: [named(dayOf(now), 'Today (UTC)'), named(yesterday, 'Yesterday'), named(lastDays(7, now), 'Last 7 days'), named(lastDays(30, now), 'Last 30 days')] },
    { group: 'Months', options: Array.from({ length: 13 }, (_, back) => named(month(back, now))) },
    { group: 'Quarters', options: quarters },
  ];
}
