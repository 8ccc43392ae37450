import {
  PulsegateSession,
  type Conflict,
  type ContentKind,
  type DeviceClass,
  type SessionStatus,
  type Verdict,
} from '../sdk/pulsegate.js';
import { byId, h, keyed, setText } from './dom.js';
import { clock, count, deviceClassInWords, duration, list, shortId, verdictInWords } from './words.js';

const DEVICE_KEY = 'pulsegate.player.device_id';

const query = new URLSearchParams(location.search);
const accountId = query.get('account') || 'demo-household';
const titleId = query.get('title') || 'the-long-tide';
const deviceClass = (query.get('class') || 'web') as DeviceClass;
const deviceId = query.get('device') || deviceOfThisTab();

/** Each tab plays the part of a device, so that three tabs are three devices; a reload stays the same one. */
function deviceOfThisTab(): string {
  const chance = [...crypto.getRandomValues(new Uint8Array(2))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  const made = `${deviceClass}-${chance}`;
  try {
    const kept = sessionStorage.getItem(DEVICE_KEY) ?? made;
    sessionStorage.setItem(DEVICE_KEY, kept);
    return kept;
  } catch {
    return made;
  }
}

const video = byId<HTMLVideoElement>('video');
const overlay = byId('overlay');
const choice = byId<HTMLFormElement>('choice');
const watchers = byId('watchers');
const again = byId<HTMLButtonElement>('again');

let session: PulsegateSession | null = null;
/** When a slot frees by itself, on this page's monotonic clock. */
let freesAtMs: number | null = null;
let needsGesture = false;

// ── the strip under the film ───────────────────────────────────────────────────────────────────

function stateInWords({ state, confirmed, reachable, verdict }: SessionStatus): [string, 'good' | 'warn' | 'bad' | ''] {
  switch (state) {
    case 'idle':
      return ['Ready. Press play to start.', ''];
    case 'starting':
      return ['Asking for a slot…', ''];
    case 'allowed':
      if (!confirmed) return ['Playing without an answer: the service is out of reach and will be asked again.', 'warn'];
      if (!reachable) return ['Playing. The service is out of reach; heartbeats are kept until it is back.', 'warn'];
      if (needsGesture) return ['Allowed. Press play: this browser wants to see you do it.', 'warn'];
      if (verdict?.reason === 'paused_too_long') return ['Paused so long that the slot was given up. Play asks for it again.', 'warn'];
      return [video.paused ? 'Paused. The slot is kept for a while.' : 'Playing.', 'good'];
    case 'blocked':
      return [reachable ? 'Waiting for a free slot. Starts by itself.' : 'Waiting. The service is out of reach and will be asked again.', 'warn'];
    case 'evicted':
      return [verdict?.reason === 'replaced' ? 'This device plays in another tab.' : 'Playback was moved to another device.', 'bad'];
    case 'stopped':
      return ['Stopped.', ''];
    case 'failed':
      return ['The service refused this request.', 'bad'];
  }
}

function showStatus(status: SessionStatus): void {
  const [text, tone] = stateInWords(status);
  setText(byId('state-text'), text);
  byId('dot').className = `dot ${tone}`;
  setText(byId('verdict'), verdictInWords(status.verdict));
  setText(byId('sequence'), status.sequence === null ? '–' : `no. ${status.sequence}`);
  const lost = status.dropped === 0 ? '' : `, ${status.dropped} given up`;
  setText(byId('pending'), `${status.pending}${lost}`);
  setText(byId('session'), status.sessionId === null ? '–' : shortId(status.sessionId));
  byId('session').title = status.sessionId ?? '';
  byId<HTMLButtonElement>('stop').disabled = status.sessionId === null;
  if (status.state === 'blocked' && status.verdict !== null) showBlocked(status.verdict);
  if (['starting', 'allowed', 'stopped', 'idle'].includes(status.state)) hideOverlay();
}

// ── the overlay ────────────────────────────────────────────────────────────────────────────────

function showOverlay(title: string, text: string): void {
  setText(byId('overlay-title'), title);
  setText(byId('overlay-text'), text);
  if (!overlay.hidden) return;
  overlay.hidden = false;
  const wasOnVideo = document.activeElement === video;
  video.inert = true;
  if (wasOnVideo) byId('overlay-title').focus();
}

function hideOverlay(): void {
  if (overlay.hidden) return;
  const hadFocus = overlay.contains(document.activeElement);
  overlay.hidden = true;
  choice.hidden = true;
  again.hidden = true;
  video.inert = false;
  freesAtMs = null;
  if (hadFocus) video.focus();
}

function showBlocked(verdict: Verdict): void {
  const { conflicts, max } = verdict;
  const others = conflicts.map(({ device_id }) => device_id);
  const title = max === 0 ? 'This account may not watch' : others.length === 0 ? 'No slot is free' : `Already watching on ${list(others)}`;
  const limit = max === null ? 'The limit is reached.' : `This account may watch ${count(max, 'stream')} at a time.`;
  showOverlay(title, verdict.frees_in_ms === null ? limit : `${limit} This one starts by itself as soon as there is room.`);
  again.hidden = true;
  choice.hidden = conflicts.length === 0;
  const needed = Math.max(1, (verdict.in_use ?? 0) - (max ?? 0) + 1);
  showWatchers(conflicts, needed);
  freesAtMs = verdict.frees_in_ms === null ? null : performance.now() + verdict.frees_in_ms;
  tick();
}

/** One is chosen where one is enough; several can be where a lower limit needs more to stop. */
function showWatchers(conflicts: readonly Conflict[], needed: number): void {
  const type = needed > 1 ? 'checkbox' : 'radio';
  keyed(watchers, conflicts, ({ session_id }) => `${type} ${session_id}`, (conflict) => createWatcher(conflict, type), updateWatcher);
  const boxes = [...watchers.querySelectorAll('input')];
  if (!boxes.some(({ checked }) => checked)) for (const box of boxes.slice(0, needed)) box.checked = true;
  showChoice();
}

function createWatcher(conflict: Conflict, type: string): HTMLElement {
  const row = h(
    'li',
    {},
    h(
      'label',
      { class: 'watcher' },
      h('input', { type, name: 'watcher', value: conflict.session_id, 'data-device': conflict.device_id }),
      h('strong', {}, `${conflict.device_id}`),
      h('span', { class: 'small' }),
    ),
  );
  updateWatcher(row, conflict);
  return row;
}

function updateWatcher(row: HTMLElement, conflict: Conflict): void {
  const kind = deviceClassInWords(conflict.device_class);
  const seenAgo = duration(Date.now() - Date.parse(conflict.last_seen_at));
  setText(
    row.querySelector('.small')!,
    `${kind} · ${conflict.title_id} · since ${clock(conflict.started_at, false)}, seen ${seenAgo} ago`,
  );
}

const chosen = (): HTMLInputElement[] => [...watchers.querySelectorAll<HTMLInputElement>('input:checked')];

function showChoice(): void {
  const devices = chosen().map((box) => box.dataset.device ?? '');
  const button = byId<HTMLButtonElement>('watch-here');
  button.disabled = devices.length === 0;
  button.setAttribute('aria-label', `Watch here instead${devices.length === 0 ? '' : ` of on ${list(devices)}`}`);
}

function tick(): void {
  if (freesAtMs === null) return setText(byId('frees'), '');
  const leftMs = freesAtMs - performance.now();
  setText(
    byId('frees'),
    leftMs <= 0 ? 'Checking for a free slot…' : `Or wait: if one of them goes quiet, a slot frees in ${duration(Math.max(leftMs, 1_000))}.`,
  );
}

function showTakenOver(reason: string, by: Verdict['by']): void {
  choice.hidden = true;
  const other = by === null ? 'Another device' : by.device_id;
  if (reason === 'replaced') showOverlay('This device plays in another tab', 'One device watches one stream at a time, so playback stopped here.');
  else if (reason === 'displaced') showOverlay('Playback was moved to another device', `${other} started watching, and the account has no room for both.`);
  else showOverlay('Playback was moved to another device', by === null ? 'Someone who may do so ended it here.' : `${other} is watching instead.`);
  again.hidden = false;
  setText(again, 'Watch here again');
}

// ── wiring ─────────────────────────────────────────────────────────────────────────────────────

function showWho(): void {
  setText(byId('title'), titleId);
  setText(byId('who'), `${deviceId} (${deviceClassInWords(deviceClass)}) of ${accountId}`);
  document.title = `${deviceId} · pulsegate player`;
  const live = document.querySelector<HTMLAnchorElement>('nav a[data-page="/"]');
  if (live !== null) live.href = `/?account=${encodeURIComponent(accountId)}`;
  const another = new URLSearchParams(query);
  another.delete('device');
  another.set('account', accountId);
  byId<HTMLAnchorElement>('another').href = `/player?${another}`;
  const settings = byId<HTMLFormElement>('settings').elements;
  for (const [name, value] of [['account', accountId], ['device', deviceId], ['class', deviceClass], ['title', titleId]] as const) {
    (settings.namedItem(name) as HTMLInputElement).value = value;
  }
}

function begin(): void {
  const contentKind = query.get('kind') as ContentKind | null;
  const territory = query.get('territory');
  const made = new PulsegateSession({
    baseUrl: '',
    accountId,
    titleId,
    deviceId,
    deviceClass,
    ...(contentKind && { contentKind }),
    ...(territory && { territory }),
  });
  session = made;
  made.on('status', showStatus);
  made.on('evicted', ({ reason, by }) => showTakenOver(reason, by));
  made.on('error', ({ code, detail, fatal }) => {
    needsGesture = code === 'autoplay-blocked';
    if (!fatal) return;
    showOverlay('This could not be started', detail);
    again.hidden = false;
    setText(again, 'Try again');
  });
  made.attach(video);
  for (const name of ['play', 'pause', 'playing'] as const) {
    video.addEventListener(name, () => {
      if (name === 'playing') needsGesture = false;
      showStatus(made.status);
    });
  }
  choice.addEventListener('submit', (event) => {
    event.preventDefault();
    made.watchHereInstead(chosen().map(({ value }) => value));
  });
  choice.addEventListener('change', showChoice);
  again.addEventListener('click', () => made.start());
  byId('stop').addEventListener('click', () => made.stop());
  setInterval(tick, 1_000);
  made.start();
}

showWho();
try {
  begin();
} catch (error) {
  setText(byId('state-text'), 'This page was opened with something the service would refuse.');
  byId('dot').className = 'dot bad';
  showOverlay('This could not be started', error instanceof Error ? error.message : String(error));
}

// For a look from the browser's console.
Object.assign(globalThis, { pulsegate: session });
