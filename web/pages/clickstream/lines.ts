interface Row {
  at: string;
  name: string | null;
  events: number;
}

export interface NamedLine {
  name: string;
  values: number[];
  sum: number;
}

/** Each name's figures side by side, the most frequent first; an hour or a day within these instants that has none has 0. */
export function linesOf(rows: readonly Row[], step: number, from: number, until: number): { times: number[]; lines: NamedLine[] } {
  const at = rows.map((row) => Date.parse(row.at));
  const [first, last] = [Math.min(from, ...at), Math.max(Math.floor(until / step) * step, ...at)];
  const times = Array.from({ length: Math.round((last - first) / step) + 1 }, (_, index) => first + index * step);
  const lines = new Map<string | null, NamedLine>();
  rows.forEach((row, index) => {
    const line = lines.get(row.name) ?? { name: row.name ?? 'all others', values: times.map(() => 0), sum: 0 };
    line.values[Math.round(((at[index] ?? first) - first) / step)] = row.events;
    line.sum += row.events;
    lines.set(row.name, line);
  });
  return { times, lines: [...lines.values()].sort((one, other) => other.sum - one.sum) };
}
