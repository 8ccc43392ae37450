// Numbers as people read them, each with its unit. The exact figure stands in exports.

/** 12,345 */
export function whole(number: number): string {
  return Math.round(number).toLocaleString('en');
}

/** 999, 12.3 k, 4.56 M: for a headline; a table has them whole. */
export function short(number: number): string {
  for (const [size, unit] of [[1e9, ' bn'], [1e6, ' M'], [1e4, ' k']] as const) {
    if (Math.abs(number) >= size) {
      const of = number / (unit === ' k' ? 1e3 : size);
      return `${of.toLocaleString('en', { maximumSignificantDigits: 3 })}${unit}`;
    }
  }
  return whole(number);
}

/** 1 account, 12.3 k accounts: a number as `words` has it, and what it counts. */
export function counted(number: number, one: string, many = `${one}s`, words = whole): string {
  return `${words(number)} ${number === 1 ? one : many}`;
}

/** Watched time: 0.2 h, 3.4 h, 1,234 h. Less than three minutes is told in seconds. */
export function hours(ms: number): string {
  if (ms !== 0 && Math.abs(ms) < 180_000) return `${(ms / 1_000).toLocaleString('en', { maximumFractionDigits: 0 })} s`;
  return `${inHours(ms)} h`;
}

/** The same without its unit, for a column whose head says it. */
export function inHours(ms: number): string {
  const of = ms / 3_600_000;
  const digits = Math.abs(of) >= 100 || of === 0 ? 0 : Math.abs(of) >= 10 ? 1 : 2;
  return of.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: digits });
}

/** 873 of a thousand: 87.3 %. */
export function percent(perMille: number | null | undefined): string {
  return perMille == null ? '–' : `${(perMille / 10).toLocaleString('en', { maximumFractionDigits: 1, minimumFractionDigits: 1 })} %`;
}

/** A share of a whole; nothing of nothing has none. */
export function share(part: number, of: number): string {
  return of === 0 ? '–' : percent((part * 1_000) / of);
}

/** How long somebody waited: 850 ms, 4.2 s, 3 min 20 s. */
export function waited(ms: number | null | undefined): string {
  if (ms == null) return '–';
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toLocaleString('en', { maximumFractionDigits: 1 })} s`;
  const minutes = Math.floor(Math.round(ms / 1_000) / 60);
  return minutes < 100 ? `${minutes} min ${Math.round(ms / 1_000) % 60} s` : `${Math.round(minutes / 60).toLocaleString('en')} h`;
}

/**
 * An amount of money, which comes as a decimal in a string and never becomes a float: only its thousands are parted.
 * "-1234567.80" of EUR: −1,234,567.80 EUR.
 */
export function money(amount: string, currency = ''): string {
  const [, sign = '', units = amount, rest = ''] = /^(-?)(\d+)(\.\d+)?$/.exec(amount) ?? [];
  const parted = units.replace(/\B(?=(\d{3})+$)/g, ',');
  return `${sign === '-' ? '−' : ''}${parted}${rest}${currency === '' ? '' : ` ${currency}`}`;
}

/** A signed difference, for the rows of a restatement. */
export function signed(number: number, words: (number: number) => string): string {
  return number > 0 ? `+${words(number)}` : words(number).replace('-', '−');
}
