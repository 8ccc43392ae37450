// What the reports answer, as far as pages read it.

export interface Place {
  topic: string;
  partition: number;
  offset: number;
}

export interface UsageFigures {
  plays: number;
  watched_ms: number;
  aged_ms: number;
  content_ms: number;
  distinct_accounts: number;
  completion_per_mille: number | null;
}

export interface UsageRow extends UsageFigures {
  of: string;
  name: string | null;
}

export interface Usage {
  period: string;
  rows: UsageRow[];
  rows_in_all: number;
  total: UsageFigures;
  as_of: Place[];
}

export interface Streams {
  of: string;
  at: string;
  peak: number;
}

export interface ByWhat {
  of: string;
  attempts: number;
}

export interface Blocked {
  attempts: number;
  accounts: number;
  sessions: number;
  let_in: number;
  waited_ms_median: number | null;
  waited_ms_p95: number | null;
  by_rule: { policy: string | null; rule: string | null; max: number | null; attempts: number }[];
  by_device_class: ByWhat[];
  by_title: ByWhat[];
}

export interface Concurrency {
  period: string;
  by: 'minute' | 'hour' | 'day';
  per: string;
  streams: Streams[];
  blocked: Blocked;
  accounts: { account_id: string; refused: number; took_the_last: number }[];
  /** What the titles above are called, where that is known: by their ids. */
  titles: Record<string, string>;
  as_of: Place[];
}

export interface Session {
  account_id: string;
  session_id: string;
  partition: number;
  first_offset: number;
  first_day: string;
  last_day: string;
  played: boolean;
  qualified: boolean;
  watched_ms: number;
  aged_ms: number;
  content_ms: number;
}

export interface Sessions {
  sessions: Session[];
  next: string | null;
  as_of: Place[];
}

export interface Beat {
  offset: number;
  at: string;
  kind: string;
  sequence: number | null;
  elapsed_ms: number | null;
  age_ms: number | null;
  position_ms: number | null;
  state: string | null;
  watched_ms: number;
  aged_ms: number;
  content_ms: number;
  played: boolean;
}

export interface Beats {
  topic: string;
  partition: number;
  records: Beat[];
  is_whole: boolean;
}
