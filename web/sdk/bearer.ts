/** An account's token: asked for when it is first needed, and again when the service doesn't take it any more. */
export class Bearer {
  readonly #ask: () => Promise<string>;
  #held: string | null = null;
  #asking: Promise<string> | null = null;

  constructor(ask: () => Promise<string>) {
    this.#ask = ask;
  }

  /** What a call that can't wait shows. */
  get held(): string | null {
    return this.#held;
  }

  /** The token; another one than `refused`, if that is still the one that is held. Calls at once ask once. */
  async token(refused: string | null = null): Promise<string> {
    if (this.#held !== null && this.#held !== refused) return this.#held;
    this.#held = null;
    this.#asking ??= Promise.resolve().then(this.#ask);
    const asking = this.#asking;
    try {
      const token = await asking;
      this.#held = token;
      return token;
    } finally {
      if (this.#asking === asking) this.#asking = null;
    }
  }

  /** Whoever waited had no more time: what was asked for is not waited for by others. */
  giveUp(): void {
    this.#asking = null;
  }
}
