import { h } from '../dom.js';
import { get, put, Refusal, remove, Region } from '../shell/asking.js';
import { clock } from '../words.js';
import { pairsOf, type Question } from './question.js';

interface Saved {
  name: string;
  kind: string;
  query: string;
  saved_at: string;
  page: string;
}

const at = (name: string): string => `/v1/clickstream/questions/${encodeURIComponent(name)}`;

/** The list of what is saved, and the form that saves what is asked now. */
export class SavedQuestions {
  readonly #region: Region;
  readonly #form: HTMLFormElement;
  readonly #name = h('input', { type: 'text', name: 'saved-name', maxlength: 100, autocomplete: 'off', placeholder: 'Search to play' });
  readonly #button = h('button', { type: 'submit' }, 'Save this question');
  readonly #word = h('p', { class: 'small muted', role: 'status' });
  readonly #now: () => Question;

  constructor(form: HTMLFormElement, list: HTMLElement, now: () => Question) {
    this.#form = form;
    this.#now = now;
    this.#region = new Region(list);
    form.replaceChildren(h('label', { class: 'field' }, h('span', {}, 'Name'), this.#name), this.#button, this.#word);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#save(this.#name.value.trim());
    });
    this.load();
  }

  load(): void {
    void this.#region.load(
      (signal) => get<{ questions: Saved[] }>('/v1/clickstream/questions', signal),
      ({ questions }) => (questions.length === 0 ? 'None yet. What is saved is what is asked: it is answered anew each time.' : [h('ul', { class: 'saved-list' }, ...questions.map((one) => this.#item(one)))]),
    );
  }

  /** A question can be saved once it can be asked; a timeline is none. */
  allow(isAskable: boolean): void {
    this.#form.hidden = !isAskable;
  }

  #item(saved: Saved): HTMLElement {
    const button = h('button', { type: 'button', class: 'quiet', 'aria-label': `Delete ${saved.name}` }, 'Delete');
    button.addEventListener('click', () => {
      button.disabled = true;
      void this.#told(remove(at(saved.name)), `${saved.name} is deleted.`);
    });
    return h('li', {}, h('a', { href: saved.page }, saved.name), h('span', { class: 'badge' }, saved.kind), h('span', { class: 'small muted' }, `saved ${clock(saved.saved_at, false)}`), button);
  }

  async #save(name: string): Promise<void> {
    if (name === '') {
      this.#word.textContent = 'It needs a name.';
      return this.#name.focus();
    }
    const question = this.#now();
    await this.#told(put(`${at(name)}?kind=${question.ask}&${pairsOf(question).toString()}`), `Saved as ${name}.`);
  }

  async #told(done: Promise<void>, words: string): Promise<void> {
    try {
      await done;
      this.#word.textContent = words;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#word.textContent = error.message;
    }
    this.load();
  }
}
