import { h } from '../dom.js';

/** Who calls, as the node says it. */
export interface Me {
  kind: string;
  id?: string;
  name?: string;
}

const LEFT_AT = 'pulsegate-sign-in-again';
/** Who comes back and is still nobody isn't sent away once more. */
const AGAIN_MIN_MS = 20_000;

let isLeaving = false;

/** Where a browser signs in, and comes back from to where it is. */
export function loginFor({ pathname, search, hash }: Pick<Location, 'pathname' | 'search' | 'hash'>): string {
  return `/login?to=${encodeURIComponent(pathname + search + hash)}`;
}

/** The node doesn't know who this is any longer: signs in again and comes back, where people sign in. */
export async function signInAgain(): Promise<void> {
  const leftAt = Number(sessionStorage.getItem(LEFT_AT) ?? '0');
  if (isLeaving || location.pathname === '/signed-out' || Date.now() - leftAt < AGAIN_MIN_MS) return;
  isLeaving = true;
  // Without a provider nobody signs in, and there is nowhere to go.
  const login = await fetch('/login', { method: 'HEAD', redirect: 'manual', cache: 'no-store' }).catch(() => null);
  isLeaving = login?.type === 'opaqueredirect';
  if (!isLeaving) return;
  sessionStorage.setItem(LEFT_AT, String(Date.now()));
  location.assign(loginFor(location));
}

/** What the header says of who is signed in, with the way out; `null` where nobody signs in. */
export function whoIsHere({ kind, id, name }: Me): { name: string; id: string } | null {
  return kind === 'person' && id !== undefined ? { name: name === undefined || name === '' ? id : name, id } : null;
}

/** Shows in the header who is signed in. */
export async function showWhoIsHere(): Promise<void> {
  if (location.pathname === '/signed-out') return;
  const response = await fetch('/v1/me', { cache: 'no-store' }).catch(() => null);
  if (response?.status === 401) return signInAgain();
  const who = response?.ok === true ? whoIsHere((await response.json()) as Me) : null;
  if (who === null) return;
  const out = h('form', { class: 'who', method: 'post', action: '/logout' }, h('span', { class: 'who-name', title: who.id }, who.name), h('button', { type: 'submit' }, 'Sign out'));
  document.querySelector('header.bar')?.append(out);
}
