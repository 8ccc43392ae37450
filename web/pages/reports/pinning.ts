import { h } from '../dom.js';
import { post } from '../shell/asking.js';
import { whole } from '../shell/numbers.js';
import { periodInWords } from '../shell/periods.js';
import { count } from '../words.js';
import { closesOn, type Head } from './statement.js';

interface Made {
  statement: Head;
  rows_added: number;
}

/** The button that closes or restates a statement, with a question that says what it pins. */
export function pinning(head: Head, made: (said: string) => void): HTMLElement {
  const verb = head.state === 'provisional' ? 'close' : 'restate';
  const button = h('button', { type: 'button', class: 'primary pin' }, verb === 'close' ? 'Close…' : 'Restate…');
  button.addEventListener('click', () => askFirst(head, verb, made));
  return button;
}

function pinned(head: Head): HTMLElement {
  const contracts = head.contracts.map(({ contract_id, version }) => `${contract_id} at version ${version}`).join(', ') || 'no contract';
  return h(
    'ul',
    {},
    h('li', {}, 'every figure and amount of the whole statement, whatever is chosen above'),
    h('li', {}, `the offsets that they are as of: ${count(head.as_of.length, 'partition')}, at least up to ${head.as_of.map(({ topic, partition, offset }) => `${topic} ${partition} @ ${whole(offset)}`).slice(0, 4).join(', ')}${head.as_of.length > 4 ? ', …' : ''}`),
    h('li', {}, `the contracts as they are: ${contracts}`),
    h('li', {}, 'a hash over all of it, by which anybody can tell that nothing was changed'),
  );
}

function askFirst(head: Head, verb: 'close' | 'restate', made: (said: string) => void): void {
  const whose = head.rights_holder_id ?? 'everybody';
  const from = verb === 'close' ? closesOn(head.period, new Date()) : null;
  const early = h('input', { type: 'checkbox', id: 'early' });
  const trouble = h('p', { class: 'notice bad', role: 'alert', hidden: true });
  const go = h('button', { type: 'submit', class: 'primary' }, verb === 'close' ? 'Close it' : 'Restate it');
  const cancel = h('button', { type: 'button' }, 'Cancel');
  const words =
    verb === 'close'
      ? ['Closing pins, for ever:', 'It cannot be undone. What arrives later becomes a restatement: signed rows beside these.']
      : ['A restatement pins what has arrived since, as signed rows beside those that stand:', 'What was closed stays as it is. If nothing changed, there will be no new revision.'];
  const form = h(
    'form',
    { method: 'dialog' },
    h('h2', { id: 'pinning-title' }, `${verb === 'close' ? 'Close' : 'Restate'} ${periodInWords(head.period)} for ${whose}?`),
    h('p', {}, words[0] ?? ''),
    pinned(head),
    h('p', {}, words[1] ?? ''),
    from === null ? null : h('p', { class: 'notice' }, h('label', {}, early, ` Heartbeats of this period may come until ${from}. Close it all the same.`)),
    trouble,
    h('p', { class: 'dialog-foot' }, cancel, go),
  );
  const dialog = h('dialog', { class: 'panel', 'aria-labelledby': 'pinning-title' }, form);
  if (from !== null) {
    go.disabled = true;
    early.addEventListener('change', () => (go.disabled = !early.checked));
  }
  cancel.addEventListener('click', () => dialog.close());
  dialog.addEventListener('close', () => dialog.remove());
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    trouble.hidden = true;
    go.disabled = true;
    go.textContent = verb === 'close' ? 'Closing…' : 'Restating…';
    try {
      const body = { ...(head.rights_holder_id === null ? {} : { rights_holder_id: head.rights_holder_id }), ...(verb === 'close' ? { early: early.checked } : {}) };
      const answer = await post<Made>(`/v1/statements/${head.period}/${verb}`, body);
      dialog.close();
      made(answer === null ? 'Nothing has changed since: the newest revision stands.' : `Revision ${answer.statement.revision} stands, ${count(answer.rows_added, 'row')} added. Its hash: ${answer.statement.sha256}`);
    } catch (error) {
      trouble.textContent = error instanceof Error ? error.message : String(error);
      trouble.hidden = false;
      go.disabled = false;
      go.textContent = 'Try again';
    }
  });
  document.body.append(dialog);
  dialog.showModal();
}
