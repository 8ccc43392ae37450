import { h } from '../dom.js';
import { deviceClassInWords } from '../words.js';
import type { Option } from './periods.js';

/** A box with a heading. */
export function panel(title: string, note: string, ...content: (Node | string)[]): HTMLElement {
  const id = `of-${title.toLowerCase().replace(/[^a-z0-9]+/g, '-')}`;
  const head = h('div', { class: 'section-head' }, h('h2', { id }, title), note === '' ? null : h('p', { class: 'muted small' }, note));
  return h('section', { 'aria-labelledby': id }, head, h('div', { class: 'panel' }, ...content));
}

/** A list of figures, each with its name and what else is to be said of it. */
export function tiles(label: string, ...figures: [name: string, value: string | Node[], note?: string | undefined][]): HTMLElement {
  const list = figures.map(([name, value, note]) => h('div', { class: 'panel tile' }, h('dt', {}, name), h('dd', {}, ...[value].flat()), note === undefined ? null : h('dd', { class: 'note' }, note)));
  return h('dl', { class: 'tiles', 'aria-label': label }, ...list);
}

/** A choice in a form. */
export function choice(name: string, label: string, options: readonly Option[]): HTMLElement {
  return h('label', { class: 'field' }, h('span', {}, label), h('select', { name }, ...options.map(({ value, words }) => h('option', { value }, words))));
}

/** A field for words in a form. */
export function text(name: string, label: string, placeholder: string): HTMLElement {
  return h('label', { class: 'field' }, h('span', {}, label), h('input', { type: 'text', name, placeholder, autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', maxlength: 128 }));
}

export const DEVICE_CLASSES = ['tv', 'mobile', 'tablet', 'web', 'console', 'other'] as const;

/** Every class of device, and all of them. */
export function devices(): Option[] {
  return [{ value: '', words: 'All' }, ...DEVICE_CLASSES.map((value) => ({ value, words: capital(deviceClassInWords(value)) }))];
}

export function capital(words: string): string {
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** `DE`: Germany (DE). */
export function territoryInWords(code: string): string {
  if (code === 'ZZ') return 'Unknown (ZZ)';
  try {
    const name = new Intl.DisplayNames('en', { type: 'region' }).of(code);
    return name === undefined || name === code ? code : `${name} (${code})`;
  } catch {
    return code;
  }
}

/** Fills a choice with what there is, and keeps what was chosen. */
export function offer(form: HTMLFormElement, name: string, options: readonly Option[]): void {
  const select = form.elements.namedItem(name);
  if (!(select instanceof HTMLSelectElement)) return;
  const chosen = select.value;
  const known = options.some(({ value }) => value === chosen) ? options : [...options, { value: chosen, words: chosen }];
  select.replaceChildren(...known.map(({ value, words }) => h('option', { value }, words)));
  select.value = chosen;
}
