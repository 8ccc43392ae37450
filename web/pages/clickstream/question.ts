// What is asked, as the page's URL says it: `?ask=funnel&step=search&step=play&period=7d`. All but `ask` is the API's own.

export const ASKS = ['trend', 'breakdown', 'sessions', 'funnel', 'retention', 'timeline'] as const;
export type Ask = (typeof ASKS)[number];

export interface Condition {
  path: string;
  /** `null` is any value. */
  is: string | null;
}

export interface Step {
  name: string;
  where: Condition[];
}

export interface Question {
  ask: Ask;
  period: string;
  by: string;
  gap: string;
  top: string;
  path: string;
  names: string[];
  steps: Step[];
  window: string;
  first: string;
  back: string;
  account: string;
  anonymous: string;
  session: string;
  where: Condition[];
  exact: boolean;
  /** Of a timeline. */
  from: string;
  until: string;
}

export const STEPS_MAX = 8;
export const CONDITIONS_MAX = 4;
export const NAMES_MAX = 20;

/** What a kind of question begins with. */
export function periodOf(ask: Ask): string {
  return ask === 'retention' ? '56d' : '7d';
}

export function empty(ask: Ask): Question {
  const texts = { by: '', gap: '', top: '', path: '', window: '', first: '', back: '', account: '', anonymous: '', session: '', from: '', until: '' };
  return { ask, period: periodOf(ask), names: [], steps: ask === 'funnel' ? [blankStep(), blankStep()] : [], where: [], exact: false, ...texts };
}

export function blankStep(): Step {
  return { name: '', where: [] };
}

/** `$.a."b=c"=d` is a path and, behind the first `=` outside of quotes, its value. */
export function readCondition(text: string): Condition {
  let quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    if (quoted && text[at] === '\\') at += 1;
    else if (text[at] === '"') quoted = !quoted;
    else if (text[at] === '=' && !quoted) return { path: text.slice(0, at), is: text.slice(at + 1) };
  }
  return { path: text, is: null };
}

export function writeCondition({ path, is }: Condition): string {
  return is === null ? path : `${path}=${is}`;
}

/** What a URL's query asks. */
export function readQuestion(query: string): Question {
  const said = new URLSearchParams(query);
  const ask = ASKS.find((one) => one === said.get('ask')) ?? 'trend';
  const one = (name: string, fallback = ''): string => said.get(name) ?? fallback;
  const conditions = (name: string): Condition[] => said.getAll(name).slice(0, CONDITIONS_MAX).map(readCondition);
  const steps = said.getAll('step').slice(0, STEPS_MAX).map((name, index) => ({ name, where: conditions(`where.${index + 1}`) }));
  while (ask === 'funnel' && steps.length < 2) steps.push(blankStep());
  return {
    ask,
    period: one('period', periodOf(ask)),
    by: one('by'),
    gap: one('gap'),
    top: one('top'),
    path: one('path'),
    names: said.getAll('name').slice(0, NAMES_MAX),
    steps,
    window: one('window'),
    first: one('first'),
    back: one('back'),
    account: one('account'),
    anonymous: one('anonymous'),
    session: one('session'),
    where: conditions('where'),
    exact: one('exact') === 'true',
    from: one('from'),
    until: one('until'),
  };
}

/** The names and values that the API is asked with; what a kind of question doesn't know isn't said. */
export function pairsOf(question: Question): URLSearchParams {
  const said = new URLSearchParams();
  const say = (name: string, value: string): void => {
    if (value !== '') said.append(name, value);
  };
  const { ask } = question;
  if (ask === 'timeline') {
    // One of them.
    const [name, value] = (['session', 'account', 'anonymous'] as const).map((name) => [name, question[name]] as const).find(([, value]) => value !== '') ?? ['session', ''];
    say(name, value);
    say('from', question.from);
    say('until', question.until);
    return said;
  }
  say('period', question.period);
  if (ask === 'trend' || ask === 'sessions') say('by', question.by);
  if (ask === 'sessions' && question.by !== 'session_id') say('gap', question.gap);
  if (ask === 'breakdown') say('path', question.path);
  if (ask === 'trend' || ask === 'breakdown') say('top', question.top);
  if (ask === 'trend' || ask === 'breakdown' || ask === 'sessions') for (const name of question.names) say('name', name);
  if (ask === 'funnel') {
    const steps = question.steps.filter(({ name }) => name !== '');
    steps.forEach((step, index) => {
      say('step', step.name);
      for (const condition of step.where) if (condition.path !== '') say(`where.${index + 1}`, writeCondition(condition));
    });
    say('window', question.window);
  }
  if (ask === 'retention') {
    say('first', question.first);
    say('back', question.back);
  }
  say('account', question.account);
  say('anonymous', question.anonymous);
  say('session', question.session);
  for (const condition of question.where) if (condition.path !== '') say('where', writeCondition(condition));
  if (question.exact) say('exact', 'true');
  return said;
}

/** The page's query that says it. */
export function writeQuestion(question: Question): string {
  return `?ask=${question.ask}${prefixed(pairsOf(question))}`;
}

/** The path that answers it. */
export function pathOf(question: Question, more: Record<string, string> = {}): string {
  const said = pairsOf(question);
  for (const [name, value] of Object.entries(more)) said.set(name, value);
  return `/v1/clickstream/${question.ask}?${said.toString()}`;
}

function prefixed(said: URLSearchParams): string {
  const query = said.toString();
  return query === '' ? '' : `&${query}`;
}

/** What is still to be said before it can be asked; `null` if nothing is. */
export function missing(question: Question): string | null {
  switch (question.ask) {
    case 'breakdown':
      return question.path === '' ? 'Say at which path of the properties, such as $.player.version.' : null;
    case 'funnel':
      return question.steps.filter(({ name }) => name !== '').length < 2 ? 'A funnel needs two steps at least: the names of two events.' : null;
    case 'retention':
      return question.first === '' ? 'Say which event makes somebody a newcomer.' : null;
    case 'timeline':
      return question.session === '' && question.account === '' && question.anonymous === '' ? 'Say whose: a session, an account or a visitor.' : null;
    case 'trend':
    case 'sessions':
      return null;
  }
}
