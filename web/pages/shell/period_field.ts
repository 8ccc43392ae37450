import { h } from '../dom.js';
import { daysOf, offered, periodInWords, periodOf } from './periods.js';

/** A choice of periods with any days besides, whose value is that of the field `period` of its form. */
export function periodField(value: string, now = new Date()): HTMLElement {
  const select = h('select', { name: 'period', id: 'period' });
  for (const { group, options } of offered(now)) {
    select.append(h('optgroup', { label: group }, ...options.map((option) => h('option', { value: option.value }, option.words))));
  }
  const chosen = h('optgroup', { label: 'Chosen' });
  select.append(chosen, h('option', { value: 'days' }, 'From … to …'));
  const [first, last] = [h('input', { type: 'date', 'aria-label': 'First day' }), h('input', { type: 'date', 'aria-label': 'Last day' })];
  const days = h('span', { class: 'days', hidden: true }, first, h('span', { 'aria-hidden': 'true' }, '–'), last);
  const take = (period: string): void => {
    if (![...select.options].some((option) => option.value === period)) chosen.replaceChildren(h('option', { value: period }, periodInWords(period)));
    select.value = period;
  };
  take(value);
  // Before the form hears of it: "From … to …" is no period yet.
  select.addEventListener('change', (event) => {
    days.hidden = select.value !== 'days';
    if (days.hidden) return;
    event.stopPropagation();
    first.focus();
  });
  for (const field of [first, last]) {
    field.addEventListener('change', (event) => {
      const period = periodOf(first.value, last.value);
      if (first.value === '' || last.value === '' || daysOf(period) === null) return event.stopPropagation();
      take(period);
    });
  }
  return h('label', { class: 'field' }, h('span', {}, 'Period'), select, days);
}
