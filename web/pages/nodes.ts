import { h, keyed, setText } from './dom.js';
import { count, duration } from './words.js';

export interface Fold {
  partition: number;
  state: 'filling' | 'ready';
  next_offset: number;
  lag: number;
  since: string;
}

export interface ClusterNode {
  address: string;
  reachable: boolean;
  since?: string;
  owns: number[];
  partitions: Fold[];
}

export interface Cluster {
  mode: 'whole' | 'owned';
  node: string;
  nodes: ClusterNode[];
  unowned: number[];
}

/** What a partition is to a node, in one word. */
export type Part = 'ready' | 'filling' | 'extra' | 'missing';

export interface Chip {
  partition: number;
  part: Part;
  words: string;
}

/** The partitions of a node: its own, whether it has them or not, and those that it has for others. */
export function chipsOf(node: ClusterNode): Chip[] {
  const folds = new Map(node.partitions.map((fold) => [fold.partition, fold]));
  const all = [...new Set([...node.owns, ...folds.keys()])].sort((one, other) => one - other);
  return all.map((partition) => {
    const fold = folds.get(partition);
    if (fold === undefined) return { partition, part: 'missing', words: node.reachable ? 'its own, not in memory yet' : 'its own, out of reach' };
    const place = `to offset ${fold.next_offset}, ${fold.lag === 0 ? 'at the end' : `${count(fold.lag, 'record')} behind`}`;
    if (!node.owns.includes(partition)) return { partition, part: 'extra', words: `in memory for another node, ${place}` };
    if (fold.state === 'filling') return { partition, part: 'filling', words: `being read, ${place}` };
    return { partition, part: 'ready', words: `its own, ${place}` };
  });
}

/** What a node does, in words. */
export function stateOf(node: ClusterNode, now: number): string {
  if (!node.reachable) return 'does not answer';
  const own = count(node.owns.length, 'partition');
  return node.since === undefined ? own : `${own}, up for ${duration(now - Date.parse(node.since))}`;
}

/** The list of nodes, hidden where each node has everything. */
export class NodeList {
  readonly #section: HTMLElement;
  readonly #list: HTMLElement;
  readonly #note: HTMLElement;

  constructor(section: HTMLElement, list: HTMLElement, note: HTMLElement) {
    this.#section = section;
    this.#list = list;
    this.#note = note;
  }

  show(cluster: Cluster): void {
    this.#section.hidden = cluster.mode === 'whole';
    if (cluster.mode === 'whole') return;
    const lost = cluster.unowned.length;
    setText(this.#note, lost === 0 ? 'Who has which partition in memory, as the node that you ask knows it.' : `${count(lost, 'partition')} without an owner at the moment.`);
    keyed(
      this.#list,
      cluster.nodes,
      (node) => node.address,
      (node) => this.#update(h('li', { class: 'node' }, h('strong'), h('span', { class: 'small' }), h('ul', { class: 'chips' })), node, cluster),
      (element, node) => void this.#update(element, node, cluster),
    );
  }

  #update(element: HTMLElement, node: ClusterNode, cluster: Cluster): HTMLElement {
    element.classList.toggle('lost', !node.reachable);
    const [name, state, chips] = [...element.children] as [HTMLElement, HTMLElement, HTMLElement];
    setText(name, node.address === cluster.node ? `${node.address} (this node)` : node.address);
    setText(state, stateOf(node, Date.now()));
    keyed(
      chips,
      chipsOf(node),
      (chip) => String(chip.partition),
      (chip) => label(h('li', {}, String(chip.partition)), chip),
      (made, chip) => void label(made, chip),
    );
    return element;
  }
}

function label(element: HTMLElement, { part, partition, words }: Chip): HTMLElement {
  element.className = `chip ${part}`;
  element.title = `Partition ${partition}: ${words}`;
  element.setAttribute('aria-label', element.title);
  return element;
}
