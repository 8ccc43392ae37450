import { h } from '../dom.js';

/** A column of a table. Figures stand to the right, and their unit in the head. */
export interface Column<Row> {
  key: string;
  head: string;
  unit?: string;
  /** What it says at greater length, for a tooltip. */
  about?: string;
  /** A column of figures whose order means nothing. */
  figure?: boolean;
  /** By what rows are ordered; without it they can't be by this column. A number makes a column of figures. */
  order?: (row: Row) => number | string | null;
  cell: (row: Row) => Node | string;
}

export interface TableOptions<Row> {
  /** What the table is, for whoever can't see it. */
  caption: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  /** `plays` or `-plays`: by which column, the largest first. */
  sort?: string;
  sorted?: (sort: string) => void;
  /** Rows that are shown at once; a button shows more. */
  page?: number;
}

const PAGE = 100;

/** In the order of a column; what has no value comes last either way. */
export function ordered<Row>(rows: readonly Row[], columns: readonly Column<Row>[], sort: string): Row[] {
  const column = columns.find(({ key }) => key === sort.replace(/^-/, ''));
  const order = column?.order;
  if (order === undefined) return [...rows];
  const sign = sort.startsWith('-') ? -1 : 1;
  return [...rows].sort((one, other) => {
    const [a, b] = [order(one), order(other)];
    if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
    if (typeof a === 'number' && typeof b === 'number') return sign * (a - b);
    return sign * (String(a) < String(b) ? -1 : String(a) > String(b) ? 1 : 0);
  });
}

/** A table in a box that scrolls sideways where it must. */
export function table<Row>({ caption, columns, rows, sort = '', sorted, page = PAGE }: TableOptions<Row>): HTMLElement {
  const body = h('tbody');
  const more = h('button', { type: 'button' });
  const foot = h('p', { class: 'table-foot small muted' });
  const isFigure = columns.map(({ order, figure }) => figure === true || rows.some((row) => typeof order?.(row) === 'number'));
  let current = sort;
  let shown = page;
  const heads = columns.map((column, index) => {
    const unit = column.unit === undefined ? [] : [h('span', { class: 'unit' }, column.unit)];
    // The first column names its row, and begins where names do.
    const head = h('th', { scope: 'col', class: index > 0 && isFigure[index] ? 'figure' : null, title: column.about });
    if (column.order === undefined) head.append(column.head, ...unit);
    else {
      const button = h('button', { type: 'button', class: 'sort' }, column.head, ...unit);
      button.addEventListener('click', () => {
        // Figures are wanted from the largest, names from the first.
        const first = isFigure[index] ? `-${column.key}` : column.key;
        current = current === first ? (isFigure[index] ? column.key : `-${column.key}`) : first;
        draw();
        sorted?.(current);
      });
      head.append(button);
    }
    return head;
  });
  const draw = (): void => {
    const all = ordered(rows, columns, current);
    body.replaceChildren(
      ...all.slice(0, shown).map((row) =>
        h('tr', {}, ...columns.map((column, index) => (index === 0 ? h('th', { scope: 'row' }, column.cell(row)) : h('td', { class: isFigure[index] ? 'figure' : null }, column.cell(row))))),
      ),
    );
    columns.forEach(({ key, order }, index) => {
      const by = current.replace(/^-/, '') === key ? (current.startsWith('-') ? 'descending' : 'ascending') : null;
      if (order !== undefined) heads[index]?.setAttribute('aria-sort', by ?? 'none');
    });
    const left = all.length - shown;
    more.hidden = left <= 0;
    more.textContent = `Show ${Math.min(page, left).toLocaleString('en')} more`;
    foot.replaceChildren(left <= 0 ? '' : `${shown.toLocaleString('en')} of ${all.length.toLocaleString('en')} rows `, more);
    foot.hidden = left <= 0;
  };
  more.addEventListener('click', () => {
    shown += page;
    draw();
  });
  draw();
  const element = h('table', { class: 'data' }, h('caption', { class: 'visually-hidden' }, caption), h('thead', {}, h('tr', {}, ...heads)), body);
  return h('div', { class: 'table' }, h('div', { class: 'table-box', role: 'region', tabindex: 0, 'aria-label': caption }, element), foot);
}

/** A bar as long as its share of the longest, beside its figure. */
export function bar(figure: string, part: number, of: number): HTMLElement {
  const filled = h('span', { class: 'filled' });
  // A style attribute is refused by the pages' policy; a property isn't.
  filled.style.width = `${of <= 0 ? 0 : Math.max(0, Math.min(100, (part * 100) / of)).toFixed(1)}%`;
  return h('span', { class: 'barred' }, h('span', { class: 'track', 'aria-hidden': 'true' }, filled), h('span', {}, figure));
}
