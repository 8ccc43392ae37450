import { h } from '../dom.js';
import { count } from '../words.js';

export interface Event {
  logged_at: string;
  occurred_at: string | null;
  name: string;
  account_id: string | null;
  anonymous_id: string | null;
  session_id: string | null;
  properties: unknown;
  partition: number;
  offset: number;
}

export interface Decided {
  at: string;
  decision: string;
  session_id: string;
  title_id: string | null;
  reason: string | null;
  partition: number;
  offset: number;
}

export interface Timeline {
  events: Event[];
  decisions: Decided[];
  next?: string;
}

export type Moment = { at: string; event: Event } | { at: string; decided: Decided };

/** Events and decisions in one order; a decision comes behind what was done at the same instant. */
export function momentsOf({ events, decisions }: Timeline): Moment[] {
  const all: Moment[] = [...events.map((event) => ({ at: event.logged_at, event })), ...decisions.map((decided) => ({ at: decided.at, decided }))];
  return all.map((moment, index) => ({ moment, index })).sort((one, other) => Date.parse(one.moment.at) - Date.parse(other.moment.at) || one.index - other.index).map(({ moment }) => moment);
}

const clock = (at: string): string => at.replace('T', ' ').replace(/(\.\d{3})\d*/, '$1').replace(/Z$/, '');

/** A page of a timeline, as a list. */
export function timeline(page: Timeline, hrefOf: (event: Event) => string): HTMLElement[] {
  let before = '';
  const items = momentsOf(page).map((moment) => {
    const day = moment.at.slice(0, 10);
    const head = day === before ? [] : [h('li', { class: 'day' }, h('h3', {}, day))];
    before = day;
    return [...head, 'event' in moment ? ofEvent(moment.event, hrefOf) : ofDecision(moment.decided)];
  });
  return [h('p', { class: 'rests small muted' }, `${count(page.events.length, 'event')}${page.decisions.length === 0 ? '' : ` and ${count(page.decisions.length, 'decision')} of playback`}, by the log's time (UTC).`), h('ol', { class: 'panel timeline' }, ...items.flat())];
}

function ofEvent(event: Event, hrefOf: (event: Event) => string): HTMLElement {
  const properties = JSON.stringify(event.properties, null, 2);
  const isEmpty = properties === '{}';
  const who = event.account_id ?? event.anonymous_id ?? '';
  const session = event.session_id === null ? null : h('a', { class: 'small', href: hrefOf(event) }, 'its session');
  return h(
    'li',
    {},
    h('time', { datetime: event.logged_at, class: 'mono muted' }, clock(event.logged_at).slice(11)),
    h('div', {}, h('span', { class: 'what' }, event.name), ' ', h('span', { class: 'small muted' }, who), ' ', session, isEmpty ? null : h('details', {}, h('summary', { class: 'small muted' }, 'Properties'), h('pre', { class: 'mono' }, properties))),
    h('span', { class: 'place mono muted' }, `${event.partition}@${event.offset}`),
  );
}

function ofDecision(decided: Decided): HTMLElement {
  const tone = decided.decision === 'grant' ? 'good' : decided.decision === 'refuse' ? 'bad' : '';
  const words = [decided.title_id, decided.reason?.replaceAll('_', ' ')].filter((word) => word != null && word !== '').join(', ');
  return h(
    'li',
    { class: 'decided' },
    h('time', { datetime: decided.at, class: 'mono muted' }, clock(decided.at).slice(11)),
    h('div', {}, h('span', { class: `badge ${tone}` }, `playback: ${decided.decision}`), ' ', h('span', { class: 'small muted' }, words)),
    h('span', { class: 'place mono muted' }, `${decided.partition}@${decided.offset}`),
  );
}
