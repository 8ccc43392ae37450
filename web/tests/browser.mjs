// The pages in a real browser: three tabs are three devices of one account with room for two.
//   PULSEGATE_URL=http://127.0.0.1:8080 npm run test:browser   (ALL_SHOTS=1 for both themes at both widths)
// Without PULSEGATE_URL the built pages are served by the mock beside this file.
import { accessible, expect, ok, run, SHOTS, ALL_SHOTS, until, ARTIFACTS, DEADLINE_MS } from './chromium.mjs';
import { someBuilds, someNodes } from './mock.mjs';

const ACCOUNT = `browser-${Date.now().toString(36)}`;
// Three films are drawn by the processor here, so outside of screenshots they are small.
const SMALL = { width: 480, height: 640 };

async function scenario(browser, base) {
  const context = await browser.newContext({ viewport: SMALL, colorScheme: 'light' });
  context.setDefaultTimeout(DEADLINE_MS);
  const complaints = [];
  // By which request each page heard of what it waited for.
  const heard = [];
  context.on('response', async (response) => {
    const url = new URL(response.url());
    if (!url.searchParams.has('wait')) return;
    const { verdict, waited_ms } = await response.json().catch(() => ({}));
    if (waited_ms !== undefined) heard.push({ page: response.frame().page(), since: url.searchParams.get('since'), verdict });
  });
  const hears = (page, since, what, told) =>
    until(what, () => heard.some((one) => one.page === page && one.since === since && told(one.verdict)));
  context.on('weberror', (error) => complaints.push(`uncaught: ${error.error().message}`));
  context.on('console', (message) => {
    // A refused start is a 409 and an ended session a 410: the browser logs both as errors, and both are meant.
    if (message.type() === 'error' && !/status of (409|410)/.test(message.text())) complaints.push(message.text());
  });

  const open = async (device, deviceClass) => {
    const page = await context.newPage();
    await page.goto(`${base}/player?account=${ACCOUNT}&device=${device}&class=${deviceClass}`);
    return page;
  };
  const text = (page, id) => page.locator(`#${id}`).innerText();
  const position = (page) => page.evaluate(() => document.querySelector('video').currentTime);
  const isPaused = (page) => page.evaluate(() => document.querySelector('video').paused);
  const plays = async (page, who) => {
    await until(`${who} is allowed`, () => page.evaluate(() => pulsegate.status.state === 'allowed' && pulsegate.status.confirmed));
    const from = await position(page);
    await until(`${who}'s film moves`, async () => (await position(page)) > from + 0.3);
    expect(await page.locator('#overlay').isHidden(), `${who} plays under an overlay`);
    expect(!(await isPaused(page)), `${who} is paused`);
  };
  const isBlockedBy = async (page, who, others) => {
    await until(`${who} is told to wait`, () => page.locator('#overlay').isVisible());
    await until(`${who}'s overlay names ${others.join(' and ')}`, async () => {
      const shown = await text(page, 'overlay');
      return others.every((other) => shown.includes(other)) || shown;
    });
    expect(await isPaused(page), `${who} plays though it is blocked`);
  };
  const shots = async (page, name) => {
    for (const [size, viewport, colorScheme] of process.env.ALL_SHOTS ? ALL_SHOTS : SHOTS) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize(viewport);
      await until(`${name} fits a ${size}`, () =>
        page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth),
      );
      // An opened operation of the API page is swagger-ui's own; the page as it comes is checked with the reports.
      if (name !== 'docs') await accessible(page, `${name} on a ${size}`);
      await page.screenshot({ path: `${ARTIFACTS}${name}-${size}-${colorScheme}.png`, fullPage: true });
    }
    await page.emulateMedia({ colorScheme: 'light' });
    await page.setViewportSize(SMALL);
  };

  const tv = await open('tv-1', 'tv');
  await plays(tv, 'tv-1');
  const phone = await open('phone-2', 'mobile');
  await plays(phone, 'phone-2');
  await until('tv-1 has sent a heartbeat', () => tv.evaluate(() => pulsegate.status.sequence !== null && pulsegate.status.pending === 0));
  ok('two devices of one account play');

  const tablet = await open('tablet-3', 'tablet');
  await isBlockedBy(tablet, 'tablet-3', ['tv-1', 'phone-2']);
  expect(await tablet.locator('#watchers input').count() === 2, 'the overlay offers both devices');
  ok('the third is told to wait, and by whom');
  await shots(tablet, 'player-blocked');
  await shots(tv, 'player-playing');

  await tablet.locator('#watchers input[data-device="phone-2"]').check();
  await tablet.locator('#watch-here').click();
  await plays(tablet, 'tablet-3');
  await until('phone-2 says that playback was moved', async () => /moved to another device/i.test(await text(phone, 'overlay-title')));
  expect(/tablet-3/.test(await text(phone, 'overlay-text')), 'phone-2 names who took over');
  expect(await isPaused(phone), 'phone-2 stops when it is evicted');
  await hears(phone, 'allow', 'phone-2 heard of it by the request that it kept open', (verdict) => verdict?.reason === 'evicted');
  ok('"watch here instead" moves the slot, and the evicted one hears of it at once, says so and stops');
  await shots(phone, 'player-evicted');
  await plays(tv, 'tv-1');

  const second = await open('console-4', 'console');
  await isBlockedBy(second, 'console-4', ['tv-1', 'tablet-3']);
  await tv.close({ runBeforeUnload: false });
  await plays(second, 'console-4');
  await hears(second, 'limit_reached', 'console-4 heard of the room by the request that waited for it', (verdict) => verdict?.room);
  ok('a waiting tab starts by itself when another one closes');

  const again = phone.locator('#again');
  await again.focus();
  await phone.keyboard.press('Enter');
  await isBlockedBy(phone, 'phone-2', ['tablet-3', 'console-4']);
  await tablet.locator('#stop').click();
  await plays(phone, 'phone-2');
  ok('an evicted one comes back by keyboard, and starts by itself when another one stops');

  const live = await context.newPage();
  await live.goto(`${base}/?account=${ACCOUNT}`);
  const panel = live.locator('#account-panel');
  await until('the live page counts the streams', async () => Number(await text(live, 'streams')) >= 2);
  await until('the live page lists who watches', async () => (await panel.locator('.session').count()) >= 2);
  await until("the live page shows the account's decisions", async () => {
    const shown = await panel.innerText();
    return [/refused\s*limit 2 of standard@\d+, counted tv-1 and phone-2/, /tablet-3 watches instead/, /granted/].every((words) => words.test(shown)) || shown;
  });
  await until('the newest decisions name the account', async () => (await text(live, 'decisions')).includes(ACCOUNT));
  ok("the live page shows the account's sessions and decisions in words");
  const why = panel.locator('tr', { hasText: 'refused' }).locator('.why').first();
  await why.focus();
  await live.keyboard.press('Enter');
  await until('a decision says what it counted on whose word', async () => {
    const shown = (await panel.locator('.evidence').allInnerTexts()).join(' | ');
    return /[a-z]+-\d: (heartbeat, playing|asked to play) \d+ s before, by \/v1\/\S+, .* at \d+ · [\d,]+/.test(shown) || shown;
  });
  ok('a decision says on request what each counted session rested on');
  await until('the sparkline has a line', () => live.evaluate(() => (document.querySelector('#streams-spark .line').getAttribute('d') ?? '').includes('L')));
  await shots(live, 'live-account');

  await live.goto(`${base}/`);
  await until('the live page has newest decisions', async () => (await live.locator('#decisions tbody tr').count()) > 3);
  await live.locator('#decisions a[data-account]').first().click();
  await until('a click on an account looks it up, by a URL to share', async () => live.url().includes('?account=') && (await panel.isVisible()));
  await live.goBack();
  await until('back leaves the account', () => panel.isHidden());
  ok('an account is one click and one shareable URL away');
  await shots(live, 'live');

  expect(await live.locator('#nodes').isHidden(), 'a node that has everything lists no nodes');
  await live.route('**/v1/cluster', (route) => route.fulfill({ json: someNodes() }));
  await until('the live page lists nodes and what each has', async () => {
    const shown = await text(live, 'nodes-list');
    return [/10\.0\.0\.5:8080 \(this node\)/, /2 partitions, up for 60 min/, /does not answer/].every((words) => words.test(shown)) || shown;
  });
  const parts = await live.locator('#nodes-list .chip').evaluateAll((chips) => chips.map((chip) => chip.className.replace('chip ', '')));
  expect(parts.join() === 'ready,ready,extra,filling,ready,missing,missing', `what the nodes have: ${parts}`);
  ok('the live page shows who has which partition in memory');
  await shots(live, 'live-nodes');
  await live.unroute('**/v1/cluster');
  await until('one node alone is not listed', () => live.locator('#nodes').isHidden());

  await context.setOffline(true);
  await until('the live page says that the node is silent', async () => /hasn't answered since/.test(await text(live, 'notice')));
  await until('what plays, plays on without the service', async () => !(await isPaused(second)));
  await shots(live, 'live-unreachable');
  await context.setOffline(false);
  await until('the live page recovers', () => live.locator('#notice').isHidden());
  complaints.splice(0, complaints.length, ...complaints.filter((complaint) => !/ERR_INTERNET_DISCONNECTED/.test(complaint)));
  ok('an outage is said with its time, stops nobody, and is over when it is over');

  const projections = await context.newPage();
  await projections.goto(`${base}/projections`);
  const known = projections.locator('.projection');
  await until('the page lists projections', async () => (await known.count()) > 0);
  const sessions = projections.locator('section[aria-labelledby="title-active_sessions"]');
  await until('active_sessions says its state, lag and rate', async () => {
    const shown = await sessions.innerText();
    return [/\blive\b/, /version 1/, /\d events?\b/, /\/ s/, /nothing waits/].every((words) => words.test(shown)) || shown;
  });
  await until('it is said as of when', async () => /^as of \d\d:\d\d:\d\d$/.test(await text(projections, 'freshness-text')));
  await sessions.locator('summary').first().focus();
  await projections.keyboard.press('Enter');
  await until('its partitions open by keyboard', async () => (await sessions.locator('tbody tr').first().innerText()).includes('playback'));
  ok('the projections page says how far each is, and opens by keyboard');
  await shots(projections, 'projections');

  // What a node of a test can't be brought to say: a rebuild under way, nothing at all, a database that is away.
  const instead = (answer) => projections.route('**/v1/projections', (route) => route.fulfill(answer));
  await instead({ json: { projections: someBuilds() } });
  const licensing = projections.locator('section[aria-labelledby="title-licensing"]');
  await until('a rebuild says how far it is', async () => {
    const shown = await licensing.innerText();
    return [/licensing_v3\s*building/, /is being filled: 4\d\.\d %/, /records? to go/, /3\s*their keys wait/, /deadlock detected/].every((words) => words.test(shown)) || shown;
  });
  await licensing.locator('summary').last().click();
  await until('the history opens', async () => (await licensing.locator('.history li').count()) === 3);
  ok('a rebuild shows its progress beside the live build, and what was done stands in the history');
  await shots(projections, 'projections-rebuild');
  await instead({ json: { projections: [] } });
  await until('it is said that there is none', async () => /pulsegate migrate/.test(await text(projections, 'projections')));
  await instead({ status: 503, contentType: 'application/problem+json', json: { status: 503, code: 'unavailable' } });
  await until('it is said that the database is away', async () => /database hasn't answered since/.test(await text(projections, 'notice')));
  await shots(projections, 'projections-unreachable');
  await projections.unroute('**/v1/projections');
  await until('the page recovers', () => projections.locator('#notice').isHidden());
  await projections.close();
  complaints.splice(0, complaints.length, ...complaints.filter((complaint) => !/status of 503/.test(complaint)));
  ok('no projection, and no database, are said as what they are');

  const docs = await context.newPage();
  await docs.goto(`${base}/docs`);
  await until('the API page lists operations', async () => (await docs.locator('.operation').count()) > 4);
  await docs.locator('.operation summary').first().click();
  await until('one says what it takes and answers', async () => /in the path|201/.test(await docs.locator('.operation[open]').innerText()));
  const script = await docs.evaluate(() => performance.getEntriesByType('resource').filter(({ name }) => /\.js$/.test(name)).reduce((sum, one) => sum + one.encodedBodySize, 0));
  expect(script < 200_000, `the API page brings ${script} bytes of script before anybody wants the viewer`);
  await shots(docs, 'docs-list');
  await docs.locator('#viewer').click();
  await until('the viewer lists operations', async () => (await docs.locator('.opblock').count()) > 0);
  await docs.locator('.opblock-summary').first().click();
  await until('an operation opens', async () => (await docs.locator('.opblock.is-open').count()) === 1);
  ok('the API page renders the description of the API');
  await shots(docs, 'docs');

  expect(complaints.length === 0, `the browser complained: ${[...new Set(complaints)].join(' | ')}`);
  ok('no page broke its content security policy or threw, and axe finds nothing serious');
}

await run(scenario);
