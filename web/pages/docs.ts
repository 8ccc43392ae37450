import './reports/reports.css';
import { byId, h } from './dom.js';
import { get, Region } from './shell/asking.js';
import { panel } from './shell/parts.js';

interface Operation {
  tags?: string[];
  summary?: string;
  description?: string;
  parameters?: { name: string; in: string; required?: boolean; description?: string }[];
  responses?: Record<string, { description?: string }>;
}

export interface Description {
  info: { title: string; version: string; description?: string };
  tags?: { name: string; description?: string }[];
  paths: Record<string, Record<string, Operation>>;
}

const METHODS = ['get', 'put', 'post', 'delete'];

function operation(method: string, path: string, { summary, description, parameters, responses }: Operation): HTMLElement {
  const about = (description ?? '').split('\n\n').map((words) => h('p', {}, words));
  const asked = (parameters ?? []).map((one) => h('li', {}, h('code', {}, one.name), ` in the ${one.in}${one.required === true ? '' : ', may be absent'}. ${one.description ?? ''}`));
  const answers = Object.entries(responses ?? {}).map(([status, one]) => h('li', {}, h('code', {}, status), ` ${one.description ?? ''}`));
  return h(
    'details',
    { class: 'operation' },
    h('summary', {}, h('span', { class: 'badge method' }, method.toUpperCase()), h('code', {}, path), h('span', { class: 'muted small' }, summary ?? '')),
    h('div', { class: 'operation-body' }, ...about, asked.length === 0 ? null : h('ul', {}, ...asked), answers.length === 0 ? null : h('ul', {}, ...answers)),
  );
}

function listOf({ tags, paths }: Description): Node[] {
  const operations = Object.entries(paths).flatMap(([path, of]) => METHODS.flatMap((method) => (of[method] === undefined ? [] : [{ path, method, of: of[method] }])));
  const names = [...new Set([...(tags ?? []).map(({ name }) => name), ...operations.map(({ of }) => of.tags?.[0] ?? 'other')])];
  return names.flatMap((name) => {
    const own = operations.filter(({ of }) => (of.tags?.[0] ?? 'other') === name);
    const about = tags?.find((tag) => tag.name === name)?.description ?? '';
    return own.length === 0 ? [] : [panel(name, about, ...own.map(({ method, path, of }) => operation(method, path, of)))];
  });
}

const region = new Region(byId('docs'));
const viewer = byId<HTMLButtonElement>('viewer');

// The viewer with forms and every shape is large: it comes when somebody wants it.
viewer.addEventListener('click', async () => {
  viewer.disabled = true;
  viewer.textContent = 'Opening…';
  try {
    const { open } = await import('./docs_viewer.js');
    await open(byId('docs'));
    viewer.hidden = true;
  } catch {
    viewer.disabled = false;
    viewer.textContent = 'That failed; try again';
  }
});

await region.load((signal) => get<Description>('/openapi.json', signal), listOf);
