import { h, setText, svg } from './dom.js';
import { duration } from './words.js';

const WIDTH = 300;
const HEIGHT = 84;
const TOP = 10;
const KEPT = 300;

/** The last five minutes of one number, one sample a second. A second without an answer is a gap. */
export class Sparkline {
  readonly #samples: (number | null)[] = [];
  readonly #area = svg('path', { class: 'area' });
  readonly #line = svg('path', { class: 'line' });
  readonly #chart = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' });
  readonly #from = h('span');
  readonly #range = h('span');
  readonly #what: string;

  constructor(parent: HTMLElement, what: string) {
    this.#what = what;
    this.#chart.append(this.#area, this.#line);
    parent.replaceChildren(this.#chart, h('div', { class: 'span', 'aria-hidden': 'true' }, this.#from, this.#range));
  }

  push(sample: number | null): void {
    this.#samples.push(sample);
    if (this.#samples.length > KEPT) this.#samples.shift();
    this.#draw();
  }

  #draw(): void {
    const known = this.#samples.filter((sample) => sample !== null);
    const most = Math.max(...known, 0);
    const least = known.length > 0 ? Math.min(...known) : 0;
    const ceiling = Math.max(most * 1.15, 1);
    // The newest is at the right edge; a young page fills from there, at a scale that soon settles.
    const step = WIDTH / (Math.max(this.#samples.length, 60) - 1);
    const first = WIDTH - (this.#samples.length - 1) * step;
    const y = (sample: number): string => (HEIGHT - (sample / ceiling) * (HEIGHT - TOP)).toFixed(1);
    let line = '';
    let area = '';
    let from: string | null = null;
    const close = (x: string): void => {
      if (from !== null) area += `L${x} ${HEIGHT}L${from} ${HEIGHT}Z`;
      from = null;
    };
    this.#samples.forEach((sample, index) => {
      const x = (first + index * step).toFixed(1);
      if (sample === null) return close((first + (index - 1) * step).toFixed(1));
      const point = `${from === null ? 'M' : 'L'}${x} ${y(sample)}`;
      from ??= x;
      line += point;
      area += point;
    });
    close(WIDTH.toFixed(1));
    this.#line.setAttribute('d', line);
    this.#area.setAttribute('d', area);
    const span = duration((this.#samples.length - 1) * 1_000);
    setText(this.#from, this.#samples.length < 2 ? '' : `${span} ago`);
    const range = least === most ? `steady at ${round(most)}` : `${round(least)} to ${round(most)}`;
    setText(this.#range, known.length < 2 ? '' : range);
    this.#chart.setAttribute('aria-label', `${this.#what} over the last ${span}: ${range}`);
  }
}

export function round(number: number): string {
  const digits = number < 10 && !Number.isInteger(number) ? 1 : 0;
  return number.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: digits });
}
