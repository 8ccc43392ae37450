// What a statement answers, and its words.
import { daysOf } from '../shell/periods.js';
import { counted, inHours, money } from '../shell/numbers.js';
import type { Place } from './answers.js';
import type { Step } from './words.js';

export interface Payment {
  currency?: string;
  per_view?: string;
  per_hour?: string;
  [more: string]: unknown;
}

export interface OfContract {
  contract_id: string;
  rights_holder_id: string;
  version: number;
  contract: { payment?: Payment; counting?: { views?: string }; valid_from?: string; valid_until?: string | null; territories?: string[] | null; title_ids?: string[] | null; view_threshold_ms?: number | null };
  due: { currency: string; sum_of_rounded: string; rounded_sum: string; amount: string; working: Step[] } | null;
}

export interface Head {
  period: string;
  rights_holder_id: string | null;
  revision: number;
  state: 'provisional' | 'closed' | 'restated';
  closed_at: string | null;
  sha256: string;
  previous_sha256: string | null;
  as_of: Place[];
  service_watched_ms: number;
  contracts: OfContract[];
  problems: { contract_id: string; title_id: string | null; detail: string }[];
}

export interface StatementRow {
  rights_holder_id: string | null;
  contract_id: string | null;
  title_id: string;
  territory: string | null;
  device_class: string | null;
  plays: number;
  qualified_views: number;
  views: number;
  watched_ms: number;
  aged_ms: number;
  content_ms: number;
  distinct_accounts: number;
  peak_concurrent: number;
  blocked_attempts: number;
  outside_window_ms: number;
  outside_territory_ms: number;
  runtime_ms: number;
  completion_per_mille: number | null;
  currency: string | null;
  amount: string | null;
}

export interface StatementPage {
  statement: Head;
  rows: StatementRow[];
  rows_in_all: number;
  totals: { plays: number; qualified_views: number; views: number; watched_ms: number; content_ms: number; blocked_attempts: number; outside_window_ms: number; outside_territory_ms: number; amounts: Record<string, string> };
  due: Record<string, string>;
  territories: string[];
  names: Record<string, string>;
}

export interface Listed {
  period: string;
  rights_holder_id: string | null;
  revision: number;
  closed_at: string;
  rows: number;
  sha256: string;
}

/** Heartbeats may be so late; a period closed earlier would have to be restated. */
const LATE_DAYS = 7;

/** From which day on a period may be closed; `null` if it may be now. */
export function closesOn(period: string, now: Date): string | null {
  const days = daysOf(period);
  if (days === null) return null;
  const from = new Date(Date.parse(days.last) + (LATE_DAYS + 1) * 86_400_000);
  return from > now ? from.toISOString().slice(0, 10) : null;
}

/** How a row's amount comes about: the node's figures and the contract's rates, as they are multiplied. */
export function workingOf(row: StatementRow, contract: OfContract | undefined): string {
  const payment = contract?.contract.payment;
  if (payment === undefined || row.amount === null) return '';
  const byRuntime = contract?.contract.counting?.views === 'hours_by_runtime';
  if (row.territory === null) return payment.per_view === undefined ? '' : `${counted(row.views, 'view')} × ${payment.per_view}`;
  const parts = [];
  if (payment.per_view !== undefined && !byRuntime) parts.push(`${counted(row.qualified_views, 'view')} × ${payment.per_view}`);
  if (payment.per_hour !== undefined) parts.push(`${inHours(row.watched_ms)} h × ${payment.per_hour}`);
  return parts.join(' + ') || 'with the contract';
}

/** Amounts of several currencies side by side. */
export function amounts(of: Record<string, string>): string {
  const all = Object.entries(of).map(([currency, amount]) => money(amount, currency));
  return all.length === 0 ? 'nothing' : all.join(' · ');
}

/** The command that folds the log again and compares. */
export function verifyCommand(head: Head): string {
  const holder = head.rights_holder_id === null ? '' : ` --rights-holder ${head.rights_holder_id}`;
  return `pulsegate report verify ${head.period}${holder}${head.revision === 0 ? '' : ` --revision ${head.revision}`}`;
}

/** The name that the file of a statement has. */
export function fileName(head: Head): string {
  return `statement_${head.period}_${(head.rights_holder_id ?? 'all').replaceAll(':', '-')}_r${head.revision}.json`;
}
