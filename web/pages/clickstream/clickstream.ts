import { byId, h, setText } from '../dom.js';
import { get, Region } from '../shell/asking.js';
import { showFreshness } from '../shell/fresh.js';
import { counted } from '../shell/numbers.js';
import { type Answer, shown } from './answers.js';
import { drawForm } from './form.js';
import { type Ask, ASKS, empty, missing, pathOf, type Question, readQuestion, writeQuestion } from './question.js';
import { SavedQuestions } from './saved.js';
import { type Timeline, timeline } from './timeline.js';

const NAMES: Record<Ask, string> = { trend: 'Over time', breakdown: 'Breakdown', sessions: 'Sessions', funnel: 'Funnel', retention: 'Retention', timeline: 'Timeline' };

const ABOUT: Record<Ask, string> = {
  trend: 'How many events of each name there were, hour by hour or day by day.',
  breakdown: 'How many events have which value somewhere in their properties. Nobody has to have declared it.',
  sessions: 'How many visits there were, how long they took and how much was done in them.',
  funnel: 'How many people did one thing after another within a time, and how long they took from step to step.',
  retention: 'How many of a week’s newcomers came back in each week since.',
  timeline: 'Everything that one session, account or visitor did, in its order, and what playback decided beside.',
};

const TIMELINE_PAGE = 200;

const form = byId<HTMLFormElement>('question');
const answer = new Region(byId('answer'));
const names = h('datalist', { id: 'names' });
const paths = h('datalist', { id: 'paths' });
document.body.append(names, paths);
let question = readQuestion(location.search);
let pathsOf: string | null = null;
const saved = new SavedQuestions(byId<HTMLFormElement>('save'), byId('saved'), () => question);

function draw(): void {
  byId('asks').replaceChildren(...ASKS.map((ask) => h('a', { href: writeQuestion({ ...empty(ask), period: question.ask === 'retention' || ask === 'retention' || question.ask === 'timeline' ? empty(ask).period : question.period }), 'aria-current': ask === question.ask ? 'page' : null }, NAMES[ask])));
  // On a phone the row of questions scrolls: the one that is asked is in sight.
  document.querySelector('#asks a[aria-current]')?.scrollIntoView({ inline: 'center', block: 'nearest' });
  setText(byId('about'), ABOUT[question.ask]);
  document.title = `pulsegate · clickstream · ${NAMES[question.ask].toLowerCase()}`;
  drawForm(form, question, {
    ask: (next) => go(next),
    reshape: (next, focus) => {
      question = next;
      draw();
      const field = form.elements.namedItem(focus);
      if (field instanceof HTMLElement) field.focus();
    },
  });
}

/** Another question, with an entry of its own in the history. */
function go(next: Question): void {
  const isOther = writeQuestion(next) !== writeQuestion(readQuestion(location.search));
  const isReshaped = next.by !== question.by;
  question = next;
  if (isOther) history.pushState(null, '', writeQuestion(next));
  if (isReshaped) {
    draw();
    const by = form.elements.namedItem('by');
    if (by instanceof HTMLElement) by.focus();
  }
  ask();
}

function exports(): HTMLElement {
  const link = (format: string, words: string): HTMLElement => h('a', { class: 'button', href: pathOf(question, { format }), download: format === 'json' ? `clickstream-${question.ask}.json` : '' }, words);
  return h('p', { class: 'exports' }, link('csv', 'CSV'), link('json', 'JSON'));
}

function ask(): void {
  const lack = missing(question);
  saved.allow(lack === null && question.ask !== 'timeline');
  void suggest();
  if (lack !== null) return answer.show(lack);
  if (question.ask === 'timeline') return void follow(null);
  const { by } = question;
  void answer.load(
    (signal) => get<Answer>(pathOf(question), signal),
    (found) => {
      const content = shown(found, by);
      return typeof content === 'string' ? content : [...content, exports()];
    },
  );
}

/** A page of a timeline, behind those that stand there. */
async function follow(after: string | null): Promise<void> {
  await answer.load(
    (signal) => get<Timeline>(pathOf(question, { limit: String(TIMELINE_PAGE), ...(after === null ? {} : { after }) }), signal),
    (page) => {
      if (page.events.length === 0) return 'Nothing was done there, or its days are no longer kept.';
      const content = timeline(page, (event) => writeQuestion({ ...empty('timeline'), session: event.session_id ?? '' }));
      if (page.next === undefined) return content;
      const more = h('button', { type: 'button' }, `The next ${TIMELINE_PAGE}`);
      more.addEventListener('click', () => void follow(page.next ?? null));
      return [...content, h('p', { class: 'exports' }, more)];
    },
  );
}

interface Named {
  name: string;
  events: number;
}

interface Placed {
  path: string;
  values: string[];
}

/** Names and paths that there are; without them everything can still be written by hand. */
async function suggest(): Promise<void> {
  const [name] = question.names;
  const wanted = question.ask === 'breakdown' && question.names.length === 1 ? (name ?? '') : '';
  const isFirst = pathsOf === null;
  if (pathsOf === wanted) return;
  pathsOf = wanted;
  try {
    if (isFirst) {
      const found = await get<{ names: Named[] }>('/v1/clickstream/names');
      names.replaceChildren(...found.names.map((one) => h('option', { value: one.name }, counted(one.events, 'event'))));
    }
    const query = wanted === '' ? '' : `?${new URLSearchParams({ name: wanted }).toString()}`;
    const found = await get<{ paths: Placed[] }>(`/v1/clickstream/paths${query}`);
    if (pathsOf === wanted) paths.replaceChildren(...found.paths.map(({ path, values }) => h('option', { value: path }, values.slice(0, 3).join(', '))));
  } catch {
    pathsOf = null;
  }
}

addEventListener('popstate', () => {
  question = readQuestion(location.search);
  draw();
  ask();
});
showFreshness(byId('freshness'), ['clickstream']);
draw();
ask();
