// People sign in, in a real browser, by a real OpenID provider (tests/provider.mjs).
//   PULSEGATE_URL=http://127.0.0.1:8080 node tests/sign-in.mjs
import { existsSync, mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const ARTIFACTS = fileURLToPath(new URL('../../tests/artifacts/', import.meta.url));
const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'];
const base = process.env.PULSEGATE_URL.replace(/\/+$/, '');

function expect(condition, what) {
  if (!condition) throw new Error(what);
}

const executablePath = process.env.CHROMIUM ?? CHROMIUM.find((path) => existsSync(path));
expect(executablePath, `no chromium at ${CHROMIUM.join(', ')}`);
mkdirSync(ARTIFACTS, { recursive: true });
const browser = await chromium.launch({ executablePath, args: FLAGS });

/** Somebody with a browser of their own, and what it complains about. */
async function somebody() {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 } });
  context.setDefaultTimeout(120_000);
  // The provider's pages want a font from far away.
  await context.route(/googleapis/, (route) => route.abort());
  const page = await context.newPage();
  const complaints = [];
  page.on('console', (message) => {
    if (message.type() === 'error' && page.url().startsWith(base)) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  return { context, page, complaints };
}

/** At the provider: says a name, and agrees. */
async function signIn(page, name) {
  await page.locator('input[name=login]').fill(name);
  await page.locator('input[name=password]').fill('anything');
  await page.locator('button[type=submit]').click();
  await page.waitForSelector('input[name=login]', { state: 'detached' });
  await page.locator('button[type=submit]').click();
}

const ask = (page, method, path, headers = {}) =>
  page.evaluate(
    async ([method, path, headers]) => {
      const response = await fetch(path, { method, headers });
      return { status: response.status, body: await response.json().catch(() => null) };
    },
    [method, path, headers],
  );

try {
  const anna = await somebody();
  await anna.page.goto(`${base}/projections?from=a-link`);
  expect(!anna.page.url().startsWith(base), `nobody was asked to sign in: ${anna.page.url()}`);
  await signIn(anna.page, 'anna');
  await anna.page.waitForURL(`${base}/projections?from=a-link`);
  const me = await ask(anna.page, 'GET', '/v1/me');
  expect(me.body?.kind === 'person' && me.body.id === 'anna' && me.body.name === 'Anna', JSON.stringify(me));
  expect(JSON.stringify(me.body.scopes) === '["operate"]', JSON.stringify(me.body.scopes));
  expect((await ask(anna.page, 'GET', '/v1/projections')).status === 200, 'a role opens nothing');
  expect((await ask(anna.page, 'GET', '/v1/statements')).status === 403, 'a role opens what is another role’s');
  for (const path of ['/', '/projections', '/docs', '/player?account=demo']) {
    await anna.page.goto(base + path);
  }
  const cookies = await anna.context.cookies(base);
  let session = cookies.find(({ name }) => name === 'pulsegate');
  expect(session?.httpOnly && session.sameSite === 'Lax' && !session.value.includes('anna'), JSON.stringify(session));
  expect(!cookies.some(({ name }) => name === 'pulsegate-login'), 'the sign-in’s cookie is still there');
  console.log('ok anna signed in, and may do what her role may');

  // Her session ends while a page is open: she signs in again and is back where she was.
  await anna.page.goto(`${base}/projections?from=a-link`);
  const name = anna.page.locator('header .who-name');
  await name.waitFor();
  expect((await name.innerText()) === 'Anna', `the header shows ${await name.innerText()}`);
  await anna.page.screenshot({ path: `${ARTIFACTS}signed-in.png` });
  await anna.page.setViewportSize({ width: 390, height: 780 });
  const width = await anna.page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  expect(width[0] <= width[1], `the header is wider than a phone: ${width}`);
  await anna.page.screenshot({ path: `${ARTIFACTS}signed-in-phone.png` });
  await anna.page.setViewportSize({ width: 1280, height: 860 });
  const back = anna.page.waitForResponse((response) => response.url().startsWith(`${base}/login/callback`));
  await anna.context.clearCookies({ name: 'pulsegate' });
  await Promise.race([back, anna.page.waitForSelector('input[name=login]').then(() => signIn(anna.page, 'anna'))]);
  await back;
  await anna.page.waitForURL(`${base}/projections?from=a-link`);
  await name.waitFor();
  session = (await anna.context.cookies(base)).find(({ name }) => name === 'pulsegate');
  console.log('ok a session that ended while a page was open was begun again');

  // Another site's page may make her browser send a form, and no more than that.
  const evict = '/v1/accounts/a/sessions/3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e6f/evict';
  expect((await ask(anna.page, 'POST', evict)).status === 404, 'her own page may not evict');
  const cookie = `pulsegate=${session.value}`;
  for (const headers of [{}, { 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }, { origin: 'https://evil.example' }]) {
    const response = await fetch(base + evict, { method: 'POST', headers: { cookie, ...headers } });
    expect(response.status === 403, `${JSON.stringify(headers)} is answered ${response.status}`);
  }
  const own = await fetch(base + evict, { method: 'POST', headers: { cookie, origin: base } });
  expect(own.status === 404, `an old browser is answered ${own.status}`);
  const out = await fetch(`${base}/logout`, { method: 'POST', headers: { cookie, 'sec-fetch-site': 'cross-site' }, redirect: 'manual' });
  expect(out.status === 403, `another site signs her out: ${out.status}`);
  console.log('ok nobody elsewhere changes anything in her name');

  // What one browser began another can't end, and not twice.
  const stolen = await somebody();
  const refused = await stolen.page.goto(`${base}/login/callback?code=x&state=y`);
  expect(refused.url() === `${base}/signed-out?why=refused`, `a sign-in that nobody began ends at ${refused.url()}`);
  await stolen.page.screenshot({ path: `${ARTIFACTS}not-signed-in.png` });
  expect((await ask(stolen.page, 'GET', '/v1/me')).status === 401, 'nobody is somebody');

  await anna.page.goto(`${base}/projections`);
  await anna.page.locator('header .who button').click();
  await anna.page.waitForURL(`${base}/signed-out`);
  await anna.page.screenshot({ path: `${ARTIFACTS}signed-out.png` });
  expect((await ask(anna.page, 'GET', '/v1/me')).status === 401, 'she is signed in after she signed out');
  const wanted = anna.complaints.filter((text) => !/status of 40[134]|favicon/.test(text));
  expect(wanted.length === 0, `the browser complains: ${wanted.join('; ')}`);
  console.log('ok she signed out');

  const cook = await somebody();
  await cook.page.goto(`${base}/`);
  await signIn(cook.page, 'cook');
  await cook.page.waitForURL(`${base}/signed-out?why=no-role`);
  expect((await ask(cook.page, 'GET', '/v1/live')).status === 403, 'without a role something is open');
  console.log('ok who has no role is told so');
} finally {
  await browser.close();
}
