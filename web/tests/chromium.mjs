// What tests in a real browser share: the browser, the node that it looks at, and waiting for what is to come.
import { existsSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { serveMock } from './mock.mjs';

export const ARTIFACTS = fileURLToPath(new URL('../../tests/artifacts/', import.meta.url));
const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--mute-audio',
  '--autoplay-policy=no-user-gesture-required',
];
export const DEADLINE_MS = 120_000;
export const DESKTOP = { width: 1280, height: 860 };
export const PHONE = { width: 390, height: 844 };
export const SHOTS = [['desktop', DESKTOP, 'light'], ['phone', PHONE, 'dark']];
export const ALL_SHOTS = [...SHOTS, ['desktop', DESKTOP, 'dark'], ['phone', PHONE, 'light']];

export class Failure extends Error {}

/** Asks again until the answer is true; what it is instead goes into the failure. */
export async function until(what, probe, deadlineMs = DEADLINE_MS) {
  const endMs = Date.now() + deadlineMs;
  for (;;) {
    let found;
    try {
      found = await probe();
      if (found === true) return;
    } catch (error) {
      found = error.message;
    }
    if (Date.now() > endMs) throw new Failure(`not within ${deadlineMs} ms: ${what} (last: ${JSON.stringify(found)})`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const startedMs = Date.now();
export const ok = (what) => console.log(`ok ${what} (${((Date.now() - startedMs) / 1_000).toFixed(1)} s)`);

export function expect(condition, what) {
  if (!condition) throw new Failure(what);
}

/** Fails if axe finds anything serious or critical on the page as it is. */
export async function accessible(page, what) {
  // By the browser's own debugger: the page's policy lets no script in that isn't its own.
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8'));
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  const found = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  const told = found.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map(({ target, failureSummary }) => `${target} ${failureSummary}`).join(' | ')}`);
  expect(found.length === 0, `axe on ${what}: ${told.join('; ')}`);
}

/** Runs a scenario in the browser, against PULSEGATE_URL or, without it, the mock. */
export async function run(scenario) {
  const executablePath = process.env.CHROMIUM ?? CHROMIUM.find((path) => existsSync(path));
  let mock = null;
  try {
    expect(executablePath, `no chromium at ${CHROMIUM.join(', ')}: install one or name it in CHROMIUM`);
    mkdirSync(ARTIFACTS, { recursive: true });
    mock = process.env.PULSEGATE_URL ? null : await serveMock();
    const base = (process.env.PULSEGATE_URL ?? mock.url).replace(/\/+$/, '');
    console.log(`# ${mock ? 'the mock' : 'pulsegate'} at ${base}`);
    const browser = await chromium.launch({ executablePath, args: FLAGS });
    try {
      await scenario(browser, base, mock !== null);
    } finally {
      await browser.close();
    }
  } catch (error) {
    console.error(`not ok ${error instanceof Failure ? error.message : error.stack}`);
    process.exitCode = 1;
  } finally {
    mock?.close();
  }
}
