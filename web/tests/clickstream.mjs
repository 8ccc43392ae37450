// The page of the clickstream in a real browser: filled, empty, failing, on a phone, by keyboard, and by whoever can't see it.
//   PULSEGATE_URL=http://127.0.0.1:8080 npm run test:clickstream   (on a pulsegate without clickstream: it begins with an empty one)
import { accessible, ALL_SHOTS, ARTIFACTS, DEADLINE_MS, DESKTOP, expect, ok, run, SHOTS, until } from './chromium.mjs';

const RUN = Date.now().toString(36);
const PEOPLE = 40;

/** Forty people: all open, most search, half of those play, some on another version. */
function events() {
  const all = [];
  for (let person = 0; person < PEOPLE; person += 1) {
    const of = { account_id: `p${person}-${RUN}`, session_id: `3f2b8c1e-5d7a-4e90-9b3c-${person.toString(16).padStart(12, '0')}` };
    const player = { version: person % 4 === 0 ? '3.0' : '3.1', kind: ['tv', 'web', 'mobile'][person % 3] };
    all.push({ name: 'open', ...of, properties: { player } });
    if (person % 4 !== 3) all.push({ name: 'search', ...of, properties: { player, 'hits. <found>': person % 5 } });
    if (person % 4 < 2) all.push({ name: 'play', ...of, properties: { player, title: person % 2 ? 'Salt & Iron <3' : 'The Long Tide' } });
  }
  return all;
}

await run(async (browser, base, isMock) => {
  expect(!isMock, 'PULSEGATE_URL names no pulsegate: this page is tried on a real one');
  const context = await browser.newContext({ viewport: DESKTOP, colorScheme: 'light', acceptDownloads: true });
  context.setDefaultTimeout(DEADLINE_MS);
  const complaints = [];
  context.on('weberror', (error) => complaints.push(`uncaught: ${error.error().message}`));
  context.on('console', (message) => {
    if (message.type() === 'error' && !/status of (422|503)/.test(message.text())) complaints.push(message.text());
  });
  const page = await context.newPage();
  const shown = (selector) => page.locator(selector).innerText();
  const says = (what, selector, ...wanted) =>
    until(what, async () => {
      const found = await shown(selector);
      return wanted.every((words) => (words instanceof RegExp ? words.test(found) : found.includes(words))) || found;
    });
  const shots = async (name) => {
    for (const [size, viewport, colorScheme] of process.env.ALL_SHOTS ? ALL_SHOTS : SHOTS) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize(viewport);
      await until(`${name} fits a ${size}`, () => page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth || [...document.querySelectorAll('*')].filter((one) => one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.className).slice(0, 5).join()));
      await accessible(page, `${name}, ${size}, ${colorScheme}`);
      await page.screenshot({ path: `${ARTIFACTS}${name}-${size}-${colorScheme}.png`, fullPage: true });
    }
    await page.emulateMedia({ colorScheme: 'light' });
    await page.setViewportSize(DESKTOP);
  };

  await page.goto(`${base}/clickstream`);
  await says('an empty clickstream is said to be empty', '#answer', /no clickstream yet|Nothing fits/);
  await shots('clickstream-empty');
  ok('without events the page says so');

  const sent = events();
  const response = await fetch(`${base}/v1/clickstream`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ events: sent }) });
  const { accepted } = await response.json();
  expect(accepted === sent.length, `${accepted} of ${sent.length} events were taken`);
  await until('all are folded', async () => {
    const { events: count } = await (await fetch(`${base}/v1/clickstream/trend?period=2d`)).json();
    return count === sent.length || count;
  });

  await page.reload();
  await says('a trend names what there is', '#answer', `${sent.length} events`, 'open', 'search', 'play', 'each of them counted');
  await page.locator('#answer .u-wrap canvas').waitFor();
  await shots('clickstream-trend');
  await page.locator('#question [name="by"]').selectOption('hour');
  await until('a choice is in the URL', async () => page.url().includes('by=hour'));
  await page.goBack();
  await until('back is back', async () => !page.url().includes('by=hour') && (await page.locator('#question [name="by"]').inputValue()) === '');
  ok('events over time, by day and by hour, and the way back works');

  await page.locator('#asks a', { hasText: 'Breakdown' }).click();
  await says('a breakdown asks for its path', '#answer', 'Say at which path');
  await until('paths are suggested', async () => (await page.locator('#paths option[value="$.player.version"]').count()) === 1);
  await until('also such as nobody would choose', async () => (await page.locator('#paths option').evaluateAll((all) => all.map((one) => one.value))).includes('$."hits. <found>"'));
  const path = page.locator('#question [name="path"]');
  await path.fill('$.player.version');
  await page.keyboard.press('Enter');
  await says('values with their shares', '#answer', '3.1', '3.0', /66\.7 %/, /33\.3 %/);
  await shots('clickstream-breakdown');
  await page.locator('#question button', { hasText: '+ condition' }).click();
  await until('the new condition has the focus', () => page.evaluate(() => document.activeElement.name === 'where.path.0'));
  await page.keyboard.type('$.player.kind');
  await page.keyboard.press('Tab');
  await page.keyboard.type('web');
  await page.keyboard.press('Enter');
  await until('a condition is in the URL', async () => page.url().includes(`where=${encodeURIComponent('$.player.kind=web')}`));
  const web = sent.filter(({ properties }) => properties.player.kind === 'web').length;
  await until('and holds', async () => {
    const all = (await page.locator('#answer td .barred').allInnerTexts()).reduce((sum, words) => sum + Number(words), 0);
    return all === web || all;
  });
  await path.fill('no path');
  await page.keyboard.press('Enter');
  await says('a wrong path is said with its place', '#answer', /path must be a path/i);
  await shots('clickstream-wrong');
  ok('any property is broken down, by suggestion and by keyboard, and what is wrong is said');

  await page.locator('#asks a', { hasText: 'Funnel' }).click();
  await page.locator('[name="step.0"]').fill('open');
  await page.locator('[name="step.1"]').fill('search');
  await page.locator('button', { hasText: 'Add a step' }).click();
  await page.locator('[name="step.2"]').fill('play');
  await page.keyboard.press('Enter');
  const [opened, searched, played] = ['open', 'search', 'play'].map((name) => String(sent.filter((one) => one.name === name).length));
  await says('a funnel has its people', '#answer', '1. open', opened, '2. search', searched, '3. play', played, /75\.0 %/);
  await shots('clickstream-funnel');
  const funnel = page.url();
  const csv = await (await fetch(base + (await page.locator('#answer a.button', { hasText: 'CSV' }).getAttribute('href')))).text();
  expect(csv.startsWith('step,name,people') && csv.includes(`3,play,${played}`), `the table: ${csv}`);
  await page.locator('#save input').fill(`Open to play ${RUN}`);
  await page.locator('#save button').click();
  await says('it is saved', '#saved', `Open to play ${RUN}`);
  ok('a funnel says how many got where, can be exported and saved');

  await page.goto(`${base}/clickstream?ask=sessions`);
  await says('sessions', '#answer', 'Sessions', String(PEOPLE));
  await shots('clickstream-sessions');
  await page.goto(`${base}/clickstream?ask=retention&first=open`);
  await says('newcomers by week', '#answer', 'Newcomers', String(PEOPLE));
  await shots('clickstream-retention');
  await page.goto(`${base}/clickstream?ask=timeline&account=p1-${RUN}`);
  await says('a timeline in its order', '#answer', /open[\s\S]*search[\s\S]*play/);
  await page.locator('.timeline summary').last().click();
  await says('with properties as text', '#answer', 'Salt & Iron <3');
  await shots('clickstream-timeline');
  await page.locator('.timeline a', { hasText: 'its session' }).first().click();
  await until('its session is one click away', async () => page.url().includes('session=3f2b8c1e'));
  ok('sessions, retention and timelines');

  await page.locator('#saved a', { hasText: RUN }).click();
  await says('a saved question opens as it was asked', '#answer', '3. play', played);
  expect(new URL(page.url()).searchParams.getAll('step').join() === new URL(funnel).searchParams.getAll('step').join(), page.url());
  await page.locator('#saved button').click();
  await says('and is deleted', '#saved', 'None yet');
  ok('saved questions are opened by their URL and deleted');

  await page.route('**/v1/clickstream/**', (route) => route.fulfill({ status: 503, contentType: 'application/problem+json', json: { status: 503, code: 'unavailable', detail: 'the read models cannot be read for now' } }));
  await page.locator('#question button[type="submit"]').click();
  await says('a failure is said, what stood there stays', '#answer', /cannot be read for now/, 'older', '3. play');
  await shots('clickstream-failing');
  await page.unroute('**/v1/clickstream/**');
  await page.locator('#answer button', { hasText: 'Try again' }).click();
  await until('it recovers', () => page.locator('#answer .trouble').isHidden());
  ok('a failure is said as what it is, and is over when it is over');

  expect(complaints.length === 0, `the browser complained: ${[...new Set(complaints)].join(' | ')}`);
  ok('the page kept its content security policy and threw nothing');
});
