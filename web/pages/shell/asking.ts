import { h } from '../dom.js';
import { signInAgain } from './session.js';

const TIMEOUT_MS = 30_000;

/** Why the node didn't answer as it was asked to: its own words, where it has any. */
export class Refusal extends Error {
  readonly status: number | null;

  constructor(message: string, status: number | null = null) {
    super(message);
    this.status = status;
  }
}

interface Problem {
  title?: string;
  detail?: string;
  errors?: { pointer: string; detail: string }[];
}

/** A refusal in one sentence. */
export function problemInWords(status: number, problem: Problem | null): string {
  const errors = (problem?.errors ?? []).map(({ pointer, detail }) => `${pointer.replace(/^\//, '')} ${detail}`);
  const words = errors.length > 0 ? errors.join('; ') : (problem?.detail ?? problem?.title);
  return words === undefined ? `The node answered with status ${status}.` : `${words.charAt(0).toUpperCase()}${words.slice(1)}.`;
}

/** Asks the node; what it refuses is thrown as a `Refusal`. */
export async function get<Answer>(path: string, signal?: AbortSignal): Promise<Answer> {
  return (await send(path, { cache: 'no-store' }, signal)).json() as Promise<Answer>;
}

/** Tells the node to do something; `null` where it has nothing to say. */
export async function post<Answer>(path: string, body: object): Promise<Answer | null> {
  const response = await send(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  return response.status === 204 ? null : ((await response.json()) as Answer);
}

/** Tells the node to keep what the path says. */
export async function put(path: string): Promise<void> {
  await send(path, { method: 'PUT' });
}

/** Tells the node to delete what is there. */
export async function remove(path: string): Promise<void> {
  await send(path, { method: 'DELETE' });
}

async function send(path: string, init: RequestInit, signal?: AbortSignal): Promise<Response> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  let response;
  try {
    response = await fetch(path, { ...init, signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]) });
  } catch (error) {
    if (signal?.aborted === true) throw error;
    throw new Refusal(timeout.aborted ? `The node hasn't answered within ${TIMEOUT_MS / 1_000} s.` : "This node doesn't answer.");
  }
  if (response.ok) return response;
  if (response.status === 401) void signInAgain();
  throw new Refusal(problemInWords(response.status, (await response.json().catch(() => null)) as Problem | null), response.status);
}

/** A part of a page that shows an answer: while it is awaited, when there is nothing in it, and when there is none. */
export class Region {
  readonly element: HTMLElement;
  readonly #content = h('div', { class: 'region-content' });
  readonly #word = h('p', { class: 'panel empty', role: 'status', hidden: true });
  readonly #trouble = h('div', { class: 'notice bad trouble', role: 'alert', hidden: true });
  readonly #what: string;
  #asked: AbortController | null = null;

  /** `what` begins what it says of trouble, where a page has more than one such part. */
  constructor(element: HTMLElement, what = '') {
    this.#what = what === '' ? '' : `${what}: `;
    this.element = element;
    element.classList.add('region');
    element.replaceChildren(this.#trouble, this.#word, this.#content);
  }

  /**
   * Asks, and shows what comes. What stood there before stays, faded, until then; an older question is given up. `show`
   * gives the content, or a sentence if there is nothing to be shown.
   */
  async load<Answer>(question: (signal: AbortSignal) => Promise<Answer>, show: (answer: Answer) => Node[] | string): Promise<void> {
    this.#asked?.abort();
    const asked = (this.#asked = new AbortController());
    this.element.setAttribute('aria-busy', 'true');
    if (this.#content.childElementCount === 0) this.#say('Asking…');
    try {
      const answer = await question(asked.signal);
      if (!asked.signal.aborted) this.show(show(answer));
    } catch (error) {
      if (asked.signal.aborted) return;
      if (!(error instanceof Refusal)) console.error(error);
      this.fail(error instanceof Error ? error.message : String(error), () => void this.load(question, show));
    }
  }

  /** Shows this, or says why there is nothing. */
  show(content: Node[] | string): void {
    this.element.removeAttribute('aria-busy');
    this.element.classList.remove('old');
    this.#trouble.hidden = true;
    if (typeof content === 'string') {
      this.#content.replaceChildren();
      return this.#say(content);
    }
    this.#word.hidden = true;
    this.#content.replaceChildren(...content);
  }

  /** Says what went wrong, beside what stood there before. */
  fail(words: string, again: () => void): void {
    this.element.removeAttribute('aria-busy');
    this.element.classList.add('old');
    this.#word.hidden = true;
    const button = h('button', { type: 'button' }, 'Try again');
    button.addEventListener('click', again);
    const older = this.#content.childElementCount === 0 ? '' : ' What stands below is older.';
    this.#trouble.replaceChildren(h('p', {}, `${this.#what}${words}${older}`), button);
    this.#trouble.hidden = false;
  }

  #say(words: string): void {
    this.#word.textContent = words;
    this.#word.hidden = false;
  }
}
