// The pages of reports in a real browser: filled, empty, failing, on a phone, by keyboard, and by whoever can't see them.
//   PULSEGATE_URL=http://127.0.0.1:8080 npm run test:reports   (against the mock without it)
import { accessible, ALL_SHOTS, ARTIFACTS, DEADLINE_MS, DESKTOP, expect, ok, PHONE, run, SHOTS, until } from './chromium.mjs';

const RUN = Date.now().toString(36);
/** The most that a page may bring of script, compressed, before anybody has done anything. */
const SCRIPT_MAX = 200_000;
const dayOf = (ms) => new Date(ms).toISOString().slice(0, 10);
// Late heartbeats may fall on yesterday.
const PERIOD = `${dayOf(Date.now() - 86_400_000)}--${dayOf(Date.now())}`;
const HOLDER = `orvessa-${RUN}`;
const TITLES = [['long-tide', 'The Long Tide', 7_200_000], ['harbour', 'Harbour Lights', 600_000], ['salt', 'Salt & Iron <3', 900_000]].map(([id, ...rest]) => [`${id}-${RUN}`, ...rest]);
const VIEWERS = 8;
const BEATS = 31;

/** A service to report on: three titles of one rights holder, eight viewers of five minutes each, and one told no. */
async function seed(base) {
  const send = async (method, path, body, expected = [200, 201, 202]) => {
    const response = await fetch(base + path, { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
    if (!expected.includes(response.status)) expect(false, `${method} ${path}: ${response.status} ${await response.text()}`);
    return response;
  };
  await send('PUT', `/v1/rights-holders/${HOLDER}`, { name: 'Orvessa Film' });
  for (const [id, name, runtime_ms] of TITLES) await send('PUT', `/v1/titles/${id}`, { name, content_kind: 'vod', rights_holder_id: HOLDER, runtime_ms });
  const payment = { currency: 'EUR', per_view: '0.040', per_hour: '0.0125', minimum_per_month: '100.00' };
  await send('PUT', `/v1/contracts/${HOLDER}-1`, { rights_holder_id: HOLDER, territories: ['DE', 'AT'], valid_from: '2026-01-01', view_threshold_ms: 60_000, payment });
  const viewers = Array.from({ length: VIEWERS }, (_, n) => ({ account_id: `${RUN}-${n}`, session_id: crypto.randomUUID(), device_id: `device-${n}`, device_class: ['tv', 'mobile'][n % 2], title_id: TITLES[n % 3][0], territory: ['DE', 'FR', 'AT'][n % 3] }));
  const beat = (viewer, sequence, elapsed_ms, age_ms) => ({ ...viewer, sequence, elapsed_ms, position_ms: elapsed_ms, age_ms, state: 'playing' });
  const tell = async (heartbeats) => {
    const { rejected } = await (await send('POST', '/v1/heartbeats', { heartbeats })).json();
    expect(rejected.length === 0, `heartbeats were rejected: ${JSON.stringify(rejected[0])}`);
  };
  const isFolded = (watched_ms) =>
    until(`${watched_ms} ms are folded`, async () => {
      const usage = await (await fetch(`${base}/v1/reports/usage?by=title&title=${TITLES[0][0]}&period=${PERIOD}`)).json();
      return usage.total?.watched_ms === watched_ms || usage;
    });
  const late = Array.from({ length: BEATS }, (_, n) => n);
  await tell(viewers.flatMap((viewer) => late.map((n) => beat(viewer, n, n * 10_000, (BEATS - 1 - n) * 10_000))));
  await isFolded(3 * (BEATS - 1) * 10_000);
  // What comes late in one piece takes no time; these take what has passed since.
  await tell(viewers.map((viewer) => beat(viewer, BEATS, (BEATS - 1) * 10_000 + 1_000, 0)));
  await isFolded(3 * ((BEATS - 1) * 10_000 + 1_000));
  for (const [device, expected] of [['tv', [201]], ['phone', [201]], ['tablet', [409]]]) {
    await send('POST', `/v1/accounts/${RUN}-full/sessions`, { device_id: device, device_class: device === 'phone' ? 'mobile' : device, title_id: TITLES[0][0], territory: 'DE' }, expected);
  }
  await until('what was refused is folded', async () => {
    const report = await (await fetch(`${base}/v1/reports/concurrency?period=${PERIOD}`)).json();
    return report.accounts?.some(({ account_id, refused }) => account_id === `${RUN}-full` && refused > 0) || report;
  });
}

await run(async (browser, base, isMock) => {
  if (!isMock) await seed(base);
  const context = await browser.newContext({ viewport: DESKTOP, colorScheme: 'light' });
  context.setDefaultTimeout(DEADLINE_MS);
  const complaints = [];
  context.on('weberror', (error) => complaints.push(`uncaught: ${error.error().message}`));
  context.on('console', (message) => {
    if (message.type() === 'error' && !/status of (409|503)/.test(message.text())) complaints.push(message.text());
  });
  const [period, holder, title, name] = isMock ? ['2026-10', 'orvessa', 'the-lamplighter', 'The Lamplighter of Orvessa'] : [PERIOD, HOLDER, TITLES[0][0], TITLES[0][1]];
  const page = await context.newPage();
  const shown = (selector) => page.locator(selector).innerText();
  const has = (what, selector, ...wanted) =>
    until(what, async () => {
      const text = await shown(selector);
      return wanted.every((words) => (words instanceof RegExp ? words.test(text) : text.includes(words))) || text;
    });
  const looked = async (what, sizes = SHOTS) => {
    for (const [size, viewport, colorScheme] of process.env.ALL_SHOTS ? ALL_SHOTS : sizes) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await page.setViewportSize(viewport);
      await until(`${what} fits a ${size}`, () => page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth));
      await accessible(page, `${what}, ${size}, ${colorScheme}`);
      await page.screenshot({ path: `${ARTIFACTS}${what}-${size}-${colorScheme}.png`, fullPage: true });
    }
    await page.emulateMedia({ colorScheme: 'light' });
    await page.setViewportSize(DESKTOP);
  };
  const light = async (what) => {
    const [bytes, foreign] = await page.evaluate(() => {
      const all = performance.getEntriesByType('resource');
      return [all.filter(({ name }) => /\.js$/.test(name)).reduce((sum, one) => sum + one.encodedBodySize, 0), all.filter(({ name }) => !name.startsWith(location.origin)).map(({ name }) => name)];
    });
    expect(bytes > 0 && bytes < SCRIPT_MAX, `${what} brings ${bytes} bytes of script`);
    expect(foreign.length === 0, `${what} asks elsewhere: ${foreign}`);
  };

  // ── titles ──
  await page.goto(`${base}/titles?period=${period}`);
  await has('titles are listed by name', '#answer', name, /Plays/, /Accounts/);
  await has('it is said how fresh that is', '#freshness', /^as of \d\d:\d\d:\d\d, /);
  await light('titles');
  await page.keyboard.press('Tab');
  expect(await page.evaluate(() => document.activeElement.className === 'skip'), 'the first key leads past the header');
  await looked('titles');
  await page.getByRole('link', { name, exact: true }).click();
  await has('a title has its days, territories and sessions', '#answer', 'Day by day', 'Germany (DE)', 'TV', /\d %/);
  expect(page.url().includes(`title=${title}`), `the URL holds the title: ${page.url()}`);
  await page.locator('.as-table summary').first().click();
  await until('the chart has its figures as a table', async () => (await page.locator('.as-table tbody tr').count()) > 0);
  await has('sessions are behind it', '#sessions', /\d @ \d/, 'play');
  await page.locator('#sessions').getByRole('button', { name: /^Records of session/ }).first().click();
  await has('a session has its records in the log', '#records', 'topic playback, partition', 'heartbeat, playing', '10 s');
  await looked('title');
  await page.locator('select[name=territory]').selectOption('DE');
  await until('a filter is in the URL', () => page.url().includes('territory=DE'));
  const url = page.url();
  const headline = await until('its figures are there', async () => /h/.test(await shown('.tiles')) || 'none').then(() => shown('.tiles'));
  await page.goto(url);
  await has('a URL that was shared shows the same', '.tiles', ...headline.split('\n').slice(0, 2));
  await page.goBack();
  await page.goto(`${base}/titles?period=${period}`);
  await has('titles', '#answer', name);
  await page.getByRole('link', { name, exact: true }).click();
  await has('one title', '#heading', name);
  await page.goBack();
  await has('the way back leads to all titles', '#heading', 'Titles');
  ok('titles: from all of them to a record in the log, by URLs to share');

  // ── licensing ──
  await page.goto(`${base}/licensing?period=${period}&rights_holder=${holder}`);
  await has('a statement has amounts, contracts and rows', '#answer', 'provisional', 'EUR', name, 'Working', 'views ×');
  await light('licensing');
  if (!isMock) {
    const statement = await (await fetch(`${base}/v1/statements/${period}?rights_holder=${holder}`)).json();
    const [{ due }] = statement.statement.contracts;
    await has('what is due is what the statement says', '.tiles', `${due.amount} EUR`);
    const totals = statement.rows.reduce((sum, row) => sum + row.plays, 0);
    await has('the plays are those of the statement', '.tiles', `Plays\n${totals}`);
  }
  await looked('licensing');
  await page.locator('.contract').first().evaluate((details) => (details.open = true));
  await has('the working says each step', '.contract[open]', 'Guaranteed', isMock ? '500.00' : '100.00');
  const row = page.locator('#answer table').last().getByRole('link').first();
  await row.click();
  await has('sessions are behind a row', '#sessions', /Behind .*, (tv|mobile)/, /\d @ \d/);
  await page.locator('#sessions').getByRole('button', { name: /^Records of session/ }).first().click();
  await has('and records behind a session', '#records', 'topic playback, partition', 'Added watched');
  expect(/behind=yes.*session=/.test(page.url()), `the way down is in the URL: ${page.url()}`);
  await looked('licensing-sessions');

  await page.goto(`${base}/licensing?period=${period}&rights_holder=${holder}`);
  await page.getByRole('button', { name: 'Close…' }).click();
  await has('closing says what it pins', 'dialog', 'Closing pins, for ever', `${isMock ? 'orvessa-2026 at version 3' : `${HOLDER}-1 at version 1`}`, 'playback');
  await accessible(page, 'the question before closing');
  await page.screenshot({ path: `${ARTIFACTS}licensing-close-desktop-light.png` });
  await page.keyboard.press('Escape');
  await until('Escape closes nothing but the question', async () => (await page.locator('dialog').count()) === 0 && (await shown('#answer')).includes('provisional'));
  await page.getByRole('button', { name: 'Close…' }).click();
  if (!isMock) {
    expect(await page.getByRole('button', { name: 'Close it' }).isDisabled(), 'too early, it must be said twice');
    await page.locator('#early').check();
  }
  await page.getByRole('button', { name: 'Close it' }).click();
  await has('it stands', '#said', 'Revision 1 stands', /[0-9a-f]{64}/);
  await has('it is closed', '.statement-head', 'closed', 'revision 1');
  await has('it is in the list', '#others', holder, 'closed');
  await has('it says how to verify it', '#answer', `pulsegate report verify ${period} --rights-holder ${holder} --revision 1`, `statement_${period}_${holder}_r1.json`);
  for (const format of ['CSV', 'TSV', 'JSON', 'PARQUET']) {
    const href = await page.getByRole('link', { name: format, exact: true }).getAttribute('href');
    const file = await fetch(base + href);
    expect(file.ok && (isMock || (file.headers.get('content-disposition') ?? '').includes('filename=')), `${format}: ${file.status} ${href}`);
  }
  await looked('licensing-closed');
  if (!isMock) {
    await page.getByRole('button', { name: 'Restate…' }).click();
    await page.getByRole('button', { name: 'Restate it' }).click();
    await has('nothing arrived since', '#said', 'Nothing has changed');
  }
  await page.goto(`${base}/licensing?period=${period}`);
  if (isMock) {
    await has('what cannot be told is said', '#answer', "can't be told", 'bob-1');
    await page.getByRole('button', { name: 'Close…' }).click();
    await page.getByRole('button', { name: 'Close it' }).click();
    await has('the node says why it refuses', 'dialog', 'no runtime_ms');
  }
  ok('licensing: due and its working, closed after a question, exported, verified, and followed down to the log');

  // ── concurrency ──
  await page.goto(`${base}/concurrency?period=${period}&by=hour&per=device_class`);
  await has('who was told no, and why', '#answer', 'Streams at once', 'limit 2 of standard@', 'Told no, for what', name, 'Accounts at their limit', isMock ? 'household-001' : `${RUN}-full`);
  await until('the streams are drawn', async () => (await page.locator('.plot canvas').count()) === 1);
  await light('concurrency');
  await looked('concurrency');
  await page.locator('select[name=per]').selectOption('territory');
  await until('a choice is in the URL', () => page.url().includes('per=territory'));
  await page.locator('.as-table summary').first().click();
  await has('the table has a column of each territory', '.as-table', isMock ? 'Germany (DE)' : 'Time');
  ok('concurrency: streams at once, who was told no and why');

  // ── overview ──
  await page.goto(`${base}/overview`);
  await has('what happens now, and the last 30 days', '#answer', 'Streams playing', 'Plays today', 'Watched, 30 days', 'Told no, 30 days', 'Most watched', 'Can it be relied on?', 'licensing');
  await light('overview');
  await looked('overview');
  ok('overview: now, today, 30 days, and whether it can be relied on');

  // ── nothing, and no answer ──
  for (const [path, words] of [['titles?period=1999-01', 'Nothing was watched in January 1999'], ['titles?title=nobody-knows&period=1999-01', "wasn't watched"], [`licensing?period=1999-01&rights_holder=${holder}`, 'Nothing was used'], ['concurrency?period=1999-01', 'Nobody watched in January 1999']]) {
    await page.goto(`${base}/${path}`);
    await has(`${path} says that there is nothing`, '#answer', words);
    await looked(`${path.split('?')[0]}-empty`, SHOTS.slice(1));
  }
  // A node of a test can't be brought to have had no viewers for thirty days.
  const none = { plays: 0, watched_ms: 0, aged_ms: 0, content_ms: 0, distinct_accounts: 0, completion_per_mille: null };
  await page.route('**/v1/reports/usage**', (route) => route.fulfill({ json: { period, by: 'day', rows: [], rows_in_all: 0, total: none, as_of: [] } }));
  const blocked = { attempts: 0, accounts: 0, sessions: 0, let_in: 0, waited_ms_median: null, waited_ms_p95: null, by_rule: [], by_device_class: [], by_title: [] };
  await page.route('**/v1/reports/concurrency**', (route) => route.fulfill({ json: { period, by: 'day', per: 'everything', streams: [], blocked, accounts: [], titles: {}, as_of: [] } }));
  await page.goto(`${base}/overview`);
  await has('an overview of nothing says so', '#answer', 'Nothing was watched in the last 30 days', 'Nobody was told no');
  await looked('overview-empty', SHOTS.slice(1));
  await page.unroute('**/v1/reports/usage**');
  await page.unroute('**/v1/reports/concurrency**');
  const away = { status: 503, contentType: 'application/problem+json', json: { status: 503, code: 'unavailable', detail: 'the read models cannot be read for now' } };
  await page.route(/\/v1\/(reports|statements|projections|live)/, (route) => route.fulfill(away));
  for (const path of [`titles?period=${period}`, `licensing?period=${period}`, `concurrency?period=${period}`, 'overview']) {
    await page.goto(`${base}/${path}`);
    await has(`${path} says that there is no answer`, '#answer', 'The read models cannot be read for now');
    await looked(`${path.split('?')[0]}-failing`, SHOTS.slice(1));
  }
  await page.unroute(/\/v1\/(reports|statements|projections|live)/);
  await page.goto(`${base}/titles?period=${period}`);
  await has('titles', '#answer', name);
  await context.setOffline(true);
  await page.locator('select[name=device_class]').selectOption('tv');
  await has('a node that is silent is said', '#answer', "This node doesn't answer", 'What stands below is older');
  await context.setOffline(false);
  await page.getByRole('button', { name: 'Try again' }).click();
  await until('it recovers', async () => (await page.locator('.trouble').first().isHidden()) && (await shown('#answer')).includes(name));
  complaints.splice(0, complaints.length, ...complaints.filter((complaint) => !/ERR_INTERNET_DISCONNECTED/.test(complaint)));
  ok('nothing, no answer and no node are said as what they are');

  // ── the pages that were there before ──
  for (const path of ['', 'projections']) {
    await page.goto(`${base}/${path}`);
    await until(`/${path} has its figures`, async () => /as of/.test(await shown('#freshness')));
    await light(`/${path}`);
    await page.setViewportSize(PHONE);
    await accessible(page, `/${path}`);
    await page.setViewportSize(DESKTOP);
  }
  await page.goto(`${base}/docs`);
  await until('the API page lists operations', async () => (await page.locator('.operation').count()) > 4);
  await accessible(page, '/docs');
  expect(complaints.length === 0, `the browser complained: ${[...new Set(complaints)].join(' | ')}`);
  ok('no page broke its content security policy or threw, and axe finds nothing serious');
});
