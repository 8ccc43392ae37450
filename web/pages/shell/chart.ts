import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { h } from '../dom.js';
import { table } from './table.js';

export interface Line {
  name: string;
  /** One a moment; `null` where nothing is known. */
  values: (number | null)[];
}

export interface Plot {
  /** What is drawn, with its unit: "Streams at once". */
  title: string;
  /** In milliseconds since 1970, in their order. */
  times: number[];
  lines: Line[];
  /** Days are bars, a course of time is a line. */
  kind?: 'line' | 'bars';
  figure: (value: number) => string;
  time: (at: number) => string;
}

const HEIGHT = 260;
/** What lies between two ticks where each moment is a day, in seconds: there are no hours to show. */
const DAYS = [1, 2, 3, 7, 14, 28, 91, 182, 364].map((days) => days * 86_400);
/** As many colours as shell.css has; more lines are in the table only. */
export const LINES_MAX = 6;

const colour = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A chart over time, with its figures as a table for whoever reads rather than looks. */
export function chart(plot: Plot): HTMLElement {
  const place = h('div', { class: 'plot', 'aria-hidden': 'true' });
  const element = h('figure', { class: 'chart' }, h('figcaption', { class: 'visually-hidden' }, `${plot.title}. Its figures are in the table below it.`), place, figures(plot));
  let drawn: uPlot | null = null;
  // The box has a width once it is on the page.
  const watch = new ResizeObserver(([entry]) => {
    const width = Math.floor(entry?.contentRect.width ?? 0);
    if (width === 0) return;
    if (drawn === null) drawn = draw(plot, place, width);
    else if (drawn.width !== width) drawn.setSize({ width, height: HEIGHT });
  });
  watch.observe(place);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => drawn?.redraw());
  return element;
}

/** A moment as an axis has room for it: "30 Oct", or "14:00". Midnight is its day. */
function tick(at: number, isDay: boolean): string {
  const date = new Date(at);
  if (isDay || at % 86_400_000 === 0) return date.toLocaleDateString('en-GB', { day: 'numeric', month: 'short', timeZone: 'UTC' });
  return date.toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit', timeZone: 'UTC' });
}

function draw({ times, lines, kind = 'line', figure, time }: Plot, place: HTMLElement, width: number): uPlot {
  const shown = lines.slice(0, LINES_MAX);
  const bars = uPlot.paths.bars?.({ size: [0.7, 48], radius: 0.15 });
  const series = shown.map((line, index): uPlot.Series => {
    const name = `--c${index + 1}`;
    const of: uPlot.Series = { label: line.name, stroke: () => colour(name), width: 2, points: { show: times.length < 3 && kind === 'line' }, value: (_, value) => (value === null ? '–' : figure(value)) };
    if (kind === 'bars' && bars !== undefined) Object.assign(of, { paths: bars, fill: () => colour(name), points: { show: false } });
    return of;
  });
  const axis: uPlot.Axis = { stroke: () => colour('--muted'), grid: { stroke: () => colour('--line'), width: 1 }, ticks: { show: false }, font: '12px system-ui, sans-serif' };
  const apart = times.every((at) => at % 86_400_000 === 0) ? { incrs: DAYS } : {};
  const half = times.length > 1 ? ((times[1] ?? 0) - (times[0] ?? 0)) / 2_000 : 43_200;
  return new uPlot(
    {
      width,
      height: HEIGHT,
      series: [{ label: 'Time', value: (_, value) => (value === null ? '–' : time(value * 1_000)) }, ...series],
      axes: [{ ...axis, ...apart, grid: { show: false }, space: 64, values: (_, splits, __, ___, step) => splits.map((split) => tick(split * 1_000, step >= 86_400)) }, { ...axis, size: 64, values: (_, splits) => splits.map((split) => (Number.isInteger(split) || Math.max(...splits) < 5 ? figure(split) : '')) }],
      scales: {
        x: { range: (_, min, max) => (kind === 'bars' || min === max ? [min - half, max + half] : [min, max]) },
        y: { range: (_, __, max) => [0, Math.max(max * 1.1, 1)] },
      },
      legend: { show: true, live: true },
      cursor: { drag: { x: false, y: false }, points: { size: 7 } },
      tzDate: (at) => uPlot.tzDate(new Date(at * 1_000), 'Etc/UTC'),
    },
    [times.map((at) => at / 1_000), ...shown.map(({ values }) => values)],
    place,
  );
}

function figures({ title, times, lines, figure, time }: Plot): HTMLElement {
  const columns = [
    { key: 'time', head: 'Time', unit: 'UTC', cell: (index: number) => time(times[index] ?? 0) },
    ...lines.map((line, place) => ({
      key: String(place),
      head: line.name,
      order: (index: number) => line.values[index] ?? null,
      cell: (index: number) => {
        const value = line.values[index];
        return value == null ? '–' : figure(value);
      },
    })),
  ];
  const details = h('details', { class: 'as-table' }, h('summary', {}, 'Figures as a table'));
  // A thousand rows that nobody looks at needn't be made.
  details.addEventListener('toggle', () => {
    if (details.open && details.childElementCount === 1) details.append(table({ caption: title, columns, rows: times.map((_, index) => index) }));
  });
  return details;
}
