/** A value that a page keeps in its URL. What isn't allowed is read as the fallback. */
export interface Field {
  fallback: string;
  allowed?: readonly string[] | RegExp;
}

export type Fields = Record<string, Field>;
export type Values<Of extends Fields> = { [Name in keyof Of]: string };

function isAllowed({ allowed }: Field, value: string): boolean {
  if (allowed === undefined) return value.length <= 256;
  return allowed instanceof RegExp ? allowed.test(value) : allowed.includes(value);
}

/** What a URL's query says; nothing that a page doesn't know comes in. */
export function readQuery<Of extends Fields>(fields: Of, query: string): Values<Of> {
  const said = new URLSearchParams(query);
  const read = Object.entries(fields).map(([name, field]) => {
    const value = said.get(name)?.trim();
    return [name, value !== undefined && isAllowed(field, value) ? value : field.fallback];
  });
  return Object.fromEntries(read) as Values<Of>;
}

/** The query that says it, as short as it can be: what is a fallback isn't said. Empty, or it begins with `?`. */
export function writeQuery<Of extends Fields>(fields: Of, values: Values<Of>): string {
  const said = new URLSearchParams();
  for (const [name, field] of Object.entries(fields)) if (values[name] !== field.fallback) said.set(name, values[name] ?? '');
  const query = said.toString();
  return query === '' ? '' : `?${query}`;
}

/** The query of a request: what is empty is left out. */
export function ask(path: string, values: Record<string, string | number | null | undefined>): string {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) if (value !== '' && value !== null && value !== undefined) said.set(name, String(value));
  const query = said.toString();
  return query === '' ? path : `${path}?${query}`;
}

/** What a page shows, kept in its URL: to be shared, and the way back works. */
export class UrlState<Of extends Fields> {
  readonly #fields: Of;
  readonly #changed: (values: Values<Of>) => void;
  #values: Values<Of>;

  /** `changed` is called when somebody chose something else or went back; not at the beginning. */
  constructor(fields: Of, changed: (values: Values<Of>) => void) {
    this.#fields = fields;
    this.#changed = changed;
    this.#values = readQuery(fields, location.search);
    addEventListener('popstate', () => {
      this.#values = readQuery(fields, location.search);
      this.#fill();
      changed(this.#values);
    });
  }

  get values(): Values<Of> {
    return this.#values;
  }

  /** Another state, with an entry of its own in the history unless it `replaces` the one before. */
  set(part: Partial<Values<Of>>, replaces = false): void {
    const next = { ...this.#values, ...part };
    if (writeQuery(this.#fields, next) === writeQuery(this.#fields, this.#values)) return;
    this.#values = next;
    const url = this.href({});
    if (replaces) history.replaceState(null, '', url);
    else history.pushState(null, '', url);
    this.#fill();
    this.#changed(next);
  }

  /** The URL of another state, for a link. */
  href(part: Partial<Values<Of>>): string {
    return location.pathname + writeQuery(this.#fields, { ...this.#values, ...part });
  }

  #form: HTMLFormElement | null = null;

  /** A form whose fields have the names of the state's: each follows the other. */
  bind(form: HTMLFormElement): void {
    this.#form = form;
    this.#fill();
    const take = (): void => {
      const said: Record<string, string> = {};
      for (const [name, value] of new FormData(form)) {
        const field = this.#fields[name];
        if (field !== undefined && typeof value === 'string' && isAllowed(field, value.trim())) said[name] = value.trim();
      }
      this.set(said as Partial<Values<Of>>);
    };
    form.addEventListener('change', take);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      take();
    });
  }

  #fill(): void {
    for (const [name, value] of Object.entries(this.#values)) {
      const field = this.#form?.elements.namedItem(name);
      if (field instanceof HTMLInputElement || field instanceof HTMLSelectElement) {
        if (field instanceof HTMLSelectElement && ![...field.options].some((option) => option.value === value)) field.add(new Option(value, value));
        field.value = value;
      }
    }
  }
}
