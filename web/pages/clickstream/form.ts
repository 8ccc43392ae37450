import { h } from '../dom.js';
import { offered, periodInWords } from '../shell/periods.js';
import { blankStep, CONDITIONS_MAX, type Condition, NAMES_MAX, type Question, STEPS_MAX } from './question.js';

/** What the page does with a question that somebody made. */
export interface Asking {
  /** Another question, to be asked. */
  ask: (question: Question) => void;
  /** The same form with one more or one less of something; `focus` is the name of the field to go to. */
  reshape: (question: Question, focus: string) => void;
}

const NEWEST = [
  { value: '1d', words: 'The newest day' },
  { value: '7d', words: 'The newest 7 days' },
  { value: '30d', words: 'The newest 30 days' },
  { value: '56d', words: 'The newest 8 weeks' },
  { value: '90d', words: 'The newest 90 days' },
];

type Choice = readonly [value: string, words: string];

function select(name: string, value: string, choices: readonly Choice[]): HTMLSelectElement {
  const element = h('select', { name }, ...choices.map(([choice, words]) => h('option', { value: choice }, words)));
  if (!choices.some(([choice]) => choice === value)) element.append(h('option', { value }, value));
  element.value = value;
  return element;
}

function text(name: string, value: string, list: string | null, placeholder: string, label: string | null = null): HTMLInputElement {
  const element = h('input', { type: 'text', name, list, placeholder, autocomplete: 'off', spellcheck: 'false', maxlength: 400, 'aria-label': label });
  element.value = value;
  return element;
}

function field(label: string, ...content: Node[]): HTMLElement {
  return h('label', { class: 'field' }, h('span', {}, label), ...content);
}

function period(value: string): HTMLElement {
  const groups = [{ group: 'The newest of the log', options: NEWEST }, ...offered(new Date()).filter(({ group }) => group !== 'Days')];
  const element = h('select', { name: 'period' }, ...groups.map(({ group, options }) => h('optgroup', { label: group }, ...options.map((option) => h('option', { value: option.value }, option.words)))));
  if (![...element.options].some((option) => option.value === value)) element.append(h('option', { value }, periodInWords(value)));
  element.value = value;
  return field('Period (UTC)', element);
}

/** Rows of `path = value`, each with a button that takes it away. */
function conditions(prefix: string, of: string, list: Condition[], change: (where: Condition[], focus: string) => void): HTMLElement {
  const rows = list.map((condition, index) => {
    const [path, value] = [`${prefix}.path.${index}`, `${prefix}.is.${index}`];
    const remove = h('button', { type: 'button', class: 'quiet', 'aria-label': `Take condition ${index + 1} ${of} away` }, '×');
    remove.addEventListener('click', () => change(list.filter((_, other) => other !== index), `${prefix}.add`));
    return h(
      'div',
      { class: 'condition' },
      text(path, condition.path, 'paths', '$.player.version', `Path of condition ${index + 1} ${of}`),
      h('span', { 'aria-hidden': 'true' }, '='),
      text(value, condition.is ?? '', null, 'any value', `Value of condition ${index + 1} ${of}; empty is any`),
      remove,
    );
  });
  const add = h('button', { type: 'button', class: 'quiet', name: `${prefix}.add`, 'aria-label': `Add a condition ${of}` }, '+ condition');
  add.addEventListener('click', () => change([...list, { path: '', is: null }], `${prefix}.path.${list.length}`));
  return h('div', { class: 'conditions' }, ...rows, list.length < CONDITIONS_MAX ? add : null);
}

function readConditions(form: FormData, prefix: string, count: number): Condition[] {
  return Array.from({ length: count }, (_, index) => {
    const is = said(form, `${prefix}.is.${index}`);
    return { path: said(form, `${prefix}.path.${index}`), is: is === '' ? null : is };
  });
}

function said(form: FormData, name: string): string {
  const value = form.get(name);
  return typeof value === 'string' ? value.trim() : '';
}

/** The question that a form's fields say, made from the one that it was drawn for. */
export function readForm(element: HTMLFormElement, drawn: Question): Question {
  const form = new FormData(element);
  const kept = (name: keyof Question & string): string => (form.has(name) ? said(form, name) : String(drawn[name]));
  const names = form.has('name') ? said(form, 'name').split(',').map((name) => name.trim()).filter((name) => name !== '').slice(0, NAMES_MAX) : drawn.names;
  return {
    ...drawn,
    period: kept('period'),
    by: kept('by'),
    gap: kept('gap'),
    top: kept('top'),
    path: kept('path'),
    window: kept('window'),
    first: kept('first'),
    back: kept('back'),
    account: kept('account'),
    anonymous: kept('anonymous'),
    session: kept('session'),
    from: kept('from'),
    until: kept('until'),
    names,
    steps: drawn.steps.map((step, index) => ({ name: said(form, `step.${index}`), where: readConditions(form, `step.${index}`, step.where.length) })),
    where: drawn.ask === 'timeline' ? drawn.where : readConditions(form, 'where', drawn.where.length),
    exact: drawn.ask === 'timeline' ? drawn.exact : form.get('exact') === 'true',
  };
}

const TOPS: readonly Choice[] = [['', '10'], ['5', '5'], ['20', '20'], ['50', '50'], ['100', '100']];

/** The fields of a question. */
export function drawForm(element: HTMLFormElement, question: Question, asking: Asking): void {
  const now = (): Question => readForm(element, question);
  const names = (): HTMLElement => field('Events (all if empty)', text('name', question.names.join(', '), 'names', 'search, play'));
  const main: Node[] = [];
  const below: Node[] = [];
  switch (question.ask) {
    case 'trend':
      main.push(period(question.period), field('By', select('by', question.by, [['', 'Day'], ['hour', 'Hour']])), names(), field('Told apart', select('top', question.top, TOPS)));
      break;
    case 'breakdown':
      main.push(field('Path', text('path', question.path, 'paths', '$.player.version')), names(), period(question.period), field('Told apart', select('top', question.top, TOPS)));
      break;
    case 'sessions':
      main.push(
        period(question.period),
        field('A session is', select('by', question.by, [['', 'what has no longer pause'], ['session_id', 'what the front end names']])),
        question.by === 'session_id' ? document.createTextNode('') : field('Longest pause', select('gap', question.gap, [['', '30 minutes'], ['10m', '10 minutes'], ['1h', '1 hour'], ['4h', '4 hours']])),
        names(),
      );
      break;
    case 'funnel':
      main.push(period(question.period), field('Within', select('window', question.window, [['30m', '30 minutes'], ['2h', '2 hours'], ['', '1 day'], ['7d', '7 days'], ['30d', '30 days']])));
      below.push(steps(question, now, asking));
      break;
    case 'retention':
      main.push(field('Newcomers did first', text('first', question.first, 'names', 'open')), field('Coming back is (anything if empty)', text('back', question.back, 'names', 'anything')), period(question.period));
      break;
    case 'timeline':
      main.push(
        field('Session', text('session', question.session, null, 'its id')),
        field('or account', text('account', question.account, null, 'ada')),
        field('or visitor', text('anonymous', question.anonymous, null, 'its id')),
        field('From (UTC)', text('from', question.from, null, '2026-11-28T20:00:00Z')),
        field('Until', text('until', question.until, null, '2026-11-28T21:00:00Z')),
      );
      break;
  }
  if (question.ask !== 'timeline') {
    below.push(
      h('fieldset', { class: 'where' }, h('legend', {}, 'Where'), conditions('where', 'of all events', question.where, (where, focus) => asking.reshape({ ...now(), where }, focus))),
      h(
        'details',
        { class: 'more', open: question.account + question.anonymous + question.session !== '' || question.exact },
        h('summary', {}, 'One person, or all events'),
        h(
          'div',
          { class: 'filters' },
          field('Account', text('account', question.account, null, 'ada')),
          field('Visitor', text('anonymous', question.anonymous, null, 'its id')),
          field('Session', text('session', question.session, null, 'its id')),
          h('label', { class: 'check' }, h('input', { type: 'checkbox', name: 'exact', value: 'true', checked: question.exact }), 'Look into all events, which may take a while'),
        ),
      ),
    );
  }
  element.replaceChildren(h('div', { class: 'filters' }, ...main), ...below, h('div', { class: 'actions' }, h('button', { type: 'submit', class: 'primary' }, 'Ask')));
  element.onchange = () => asking.ask(now());
  element.onsubmit = (event) => {
    event.preventDefault();
    asking.ask(now());
  };
}

function steps(question: Question, now: () => Question, { reshape }: Asking): HTMLElement {
  const rows = question.steps.map((step, index) => {
    const number = index + 1;
    const remove = h('button', { type: 'button', class: 'quiet', 'aria-label': `Take step ${number} away` }, '×');
    remove.addEventListener('click', () => reshape({ ...now(), steps: now().steps.filter((_, other) => other !== index) }, 'step.add'));
    const where = conditions(`step.${index}`, `of step ${number}`, step.where, (list, focus) => {
      reshape({ ...now(), steps: now().steps.map((other, at) => (at === index ? { ...other, where: list } : other)) }, focus);
    });
    const named = text(`step.${index}`, step.name, 'names', number === 1 ? 'search' : 'play', `Event of step ${number}`);
    return h('li', {}, h('div', { class: 'step' }, named, question.steps.length > 2 ? remove : null), where);
  });
  const add = h('button', { type: 'button', name: 'step.add' }, 'Add a step');
  add.addEventListener('click', () => reshape({ ...now(), steps: [...now().steps, blankStep()] }, `step.${question.steps.length}`));
  return h('fieldset', { class: 'steps' }, h('legend', {}, 'Steps, in order'), h('ol', {}, ...rows), question.steps.length < STEPS_MAX ? add : null);
}
