import { scopeInWords } from '../words.js';
import { money, whole, inHours } from '../shell/numbers.js';

/** Why somebody was told no: "limit 2 of standard@1". */
export function ruleInWords({ policy, rule, max }: { policy: string | null; rule: string | null; max: number | null }): string {
  if (max === null) return policy === null ? 'no rule is known' : `a rule of ${policy}`;
  return `limit ${max}${scopeInWords(rule)}${policy === null ? '' : ` of ${policy}`}`;
}

/** One step of the arithmetic of a statement, as `contracts[].due.working` has it. */
export interface Step {
  step: string;
  exact?: string;
  amount?: string;
  views?: number;
  rate?: string;
  watched_ms?: number;
  runtime_ms?: number;
  round_to?: number;
  rounding?: string;
  month?: string;
  days?: number;
  of_days?: number;
  per_month?: string;
  pool?: string;
  percent?: string;
  of_watched_ms?: number;
  decimals?: number;
  [more: string]: unknown;
}

const ROUNDINGS: Record<string, string> = { half_even: 'half to even', half_up: 'half up' };
const days = ({ days: of, of_days }: Step): string => (of === of_days ? '' : ` × ${of} ÷ ${of_days} days`);
const time = (ms: number | undefined): string => `${inHours(ms ?? 0)} h`;

/** A step as a line: what it is, how it is worked out, what it makes. The figures are the node's; nothing is worked out here. */
export function stepInWords(step: Step): { what: string; how: string; makes: string } {
  const makes = money(step.amount ?? step.exact ?? '');
  switch (step.step) {
    case 'per_view':
      return { what: 'Views', how: `${whole(step.views ?? 0)} × ${step.rate}`, makes };
    case 'views_by_runtime':
      return { what: 'Views by hours ÷ runtime', how: `${time(step.watched_ms)} ÷ ${time(step.runtime_ms)}, to ${whole(step.round_to ?? 1)}, ${ROUNDINGS[step.rounding ?? ''] ?? ''}`, makes: whole(step.views ?? 0) };
    case 'per_hour':
      return { what: 'Hours', how: `${time(step.watched_ms)} × ${step.rate}`, makes };
    case 'fixed':
      return { what: `Fixed, ${step.month}`, how: `${step.per_month}${days(step)}`, makes };
    case 'pool':
      return { what: `Pool, ${step.month}`, how: `${step.pool}${days(step)}`, makes };
    case 'revenue_share':
      return { what: 'Share of the pool', how: `${step.pool} × ${step.percent} % × ${time(step.watched_ms)} ÷ ${time(step.of_watched_ms)}`, makes };
    case 'minimum':
      return { what: `Guaranteed, ${step.month}`, how: `${step.per_month}${days(step)}`, makes };
    case 'round':
      return { what: 'Rounded', how: `${money(step.exact ?? '')}, to ${step.decimals} decimals, ${ROUNDINGS[step.rounding ?? ''] ?? ''}`, makes };
    default:
      return { what: step.step.replaceAll('_', ' '), how: Object.entries(step).filter(([name]) => !['step', 'exact', 'amount'].includes(name)).map(([name, value]) => `${name.replaceAll('_', ' ')} ${String(value)}`).join(', '), makes };
  }
}
