// What the mock answers to reports: a made-up service of a dozen titles, the same each time.

const DAY_MS = 86_400_000;
const TITLES = [
  ['the-lamplighter', 'The Lamplighter of Orvessa', 5_400_000],
  ['marrowgate-lane-e1', 'Marrowgate Lane, episode 1', 2_700_000],
  ['postcards', 'Postcards from Undermere', 6_300_000],
  ['the-long-tide', 'The Long Tide', 7_200_000],
  ['harbour-lights', 'Harbour Lights: what nobody told the pilots of the night ferry to Saint-Ouen', 3_000_000],
  ['salt-and-iron', 'Salt and Iron', 3_600_000],
];
const TERRITORIES = ['DE', 'FR', 'AT', 'ZZ'];
const CLASSES = ['tv', 'mobile', 'web', 'tablet'];
const AS_OF = [...Array.from({ length: 4 }, (_, partition) => ({ topic: 'playback', partition, offset: 88_000 + partition })), { topic: 'catalog', partition: 0, offset: 41 }];
const SHA = '9f2c51d0a7b34e7e8d1b6c2f0a4e5d6c7b8a9f0e1d2c3b4a5968778695a4b3c2';

const figures = (weight) => ({
  plays: Math.round(weight * 1_310),
  watched_ms: Math.round(weight * 1_310 * 2_345_678),
  aged_ms: Math.round(weight * 1_310 * 45_678),
  content_ms: Math.round(weight * 1_310 * 2_145_678),
  distinct_accounts: Math.round(weight * 730),
});

function sum(rows) {
  const total = { plays: 0, watched_ms: 0, aged_ms: 0, content_ms: 0, distinct_accounts: 0 };
  for (const row of rows) for (const name of Object.keys(total)) total[name] += row[name];
  return { ...total, completion_per_mille: null };
}

function daysOf(period) {
  const [from, to = from] = period.split('--');
  const first = from.length === 7 ? `${from.replace(/Q\d/, '10')}-01` : from;
  const last = from.length === 7 ? new Date(Date.parse(first) + 27 * DAY_MS).toISOString().slice(0, 10) : to;
  const days = [];
  for (let at = Date.parse(first); at <= Date.parse(last); at += DAY_MS) days.push(new Date(at).toISOString().slice(0, 10));
  return days;
}

function usage(query) {
  const [by, period, title] = [query.get('by') ?? 'day', query.get('period'), query.get('title')];
  if (period.startsWith('19')) return { period, by, rows: [], rows_in_all: 0, total: sum([]), as_of: AS_OF };
  const of = { day: daysOf(period), title: TITLES.map(([id]) => id).filter((id) => title === null || id === title), territory: TERRITORIES, device_class: CLASSES }[by];
  const rows = of.map((one, place) => {
    const name = by === 'title' ? TITLES.find(([id]) => id === one)[1] : null;
    const weight = by === 'day' ? 0.4 + 0.3 * Math.sin(place) ** 2 : 1 / (place + 1);
    return { of: one, name, ...figures(weight), completion_per_mille: by === 'title' || title !== null ? 873 - 40 * place : null };
  });
  return { period, by, rows: rows.slice(0, Number(query.get('limit') ?? 1_000)), rows_in_all: rows.length, total: { ...sum(rows), completion_per_mille: title === null ? null : 873 }, as_of: AS_OF };
}

function concurrency(query) {
  const [by, per, period] = [query.get('by') ?? 'day', query.get('per') ?? 'everything', query.get('period')];
  const isEmpty = period.startsWith('19');
  const step = { minute: 60_000, hour: 3_600_000, day: DAY_MS }[by];
  const ofs = { everything: [''], device_class: CLASSES, title: TITLES.map(([id]) => id), territory: TERRITORIES }[per];
  const days = daysOf(period);
  const streams = [];
  for (const [place, of] of (isEmpty ? [] : ofs).entries()) {
    for (let at = Date.parse(days[0]); at < Math.min(Date.parse(days.at(-1)) + DAY_MS, Date.now()); at += step) {
      const peak = Math.round((120 / (place + 1)) * (1.2 + Math.sin((at / DAY_MS) * 2 * Math.PI - 1.8)));
      if (peak > 0) streams.push({ of, at: new Date(at).toISOString(), peak });
    }
  }
  const none = { attempts: 0, accounts: 0, sessions: 0, let_in: 0, waited_ms_median: null, waited_ms_p95: null, by_rule: [], by_device_class: [], by_title: [] };
  const blocked = {
    attempts: 412, accounts: 61, sessions: 233, let_in: 187, waited_ms_median: 31_240, waited_ms_p95: 412_000,
    by_rule: [{ policy: 'standard@1', rule: 'account', max: 2, attempts: 371 }, { policy: 'premium@3', rule: 'device_class:tv', max: 2, attempts: 38 }, { policy: null, rule: null, max: null, attempts: 3 }],
    by_device_class: CLASSES.map((of, place) => ({ of, attempts: 200 - 45 * place })),
    by_title: TITLES.map(([of], place) => ({ of, attempts: 140 - 22 * place })),
  };
  const accounts = Array.from({ length: 31 }, (_, n) => ({ account_id: `household-${String(n + 1).padStart(3, '0')}`, refused: Math.max(0, 40 - 2 * n), took_the_last: 55 - n }));
  return { period, by, per, streams, blocked: isEmpty ? none : blocked, accounts: isEmpty ? [] : accounts, titles: isEmpty ? {} : Object.fromEntries(TITLES), as_of: AS_OF };
}

const closed = [];

function head(period, holder, revision) {
  const isEmpty = period.startsWith('19');
  const contract = (id, version, payment, more = {}) => ({ contract_id: id, rights_holder_id: 'orvessa', version, contract: { contract_id: id, rights_holder_id: 'orvessa', valid_from: '2026-01-01', valid_until: '2026-12-31', territories: ['DE', 'AT'], view_threshold_ms: 60_000, payment, ...more }, due: null });
  const contracts = [
    { ...contract('orvessa-2026', 3, { currency: 'EUR', per_view: '0.040', per_hour: '0.0125', minimum_per_month: '500.00' }), due: { currency: 'EUR', sum_of_rounded: '1234.56', rounded_sum: '1234.58', amount: '1234.56', working: [{ step: 'minimum', month: '2026-10', days: 31, of_days: 31, per_month: '500.00', exact: '500.00' }] } },
    { ...contract('orvessa-pool', 1, { currency: 'USD', revenue_share: { percent: '30', pools: { '2026-10': '100000.00' } } }), due: { currency: 'USD', sum_of_rounded: '2711.04', rounded_sum: '2711.04', amount: '2711.04', working: [{ step: 'pool', month: '2026-10', days: 31, of_days: 31, pool: '100000.00', exact: '100000.00' }, { step: 'revenue_share', pool: '100000.00', percent: '30', watched_ms: 325_324_800_000, of_watched_ms: 3_600_000_000_000, exact: '2711.04' }, { step: 'round', rounding: 'half_even', decimals: 2, exact: '2711.04', amount: '2711.04' }] } },
  ];
  const state = ['provisional', 'closed'][revision] ?? 'restated';
  const problems = revision === 0 && holder === null ? [{ contract_id: 'bob-1', title_id: 'postcards', detail: 'the title has no runtime_ms, by which its views are counted' }] : [];
  return { period, rights_holder_id: holder, revision, state, closed_at: revision === 0 ? null : '2026-11-09T08:15:00Z', sha256: SHA, previous_sha256: null, as_of: AS_OF, service_watched_ms: 3_600_000_000_000, contracts: isEmpty ? [] : contracts, problems: isEmpty ? [] : problems };
}

function statementRows(period, query) {
  const holder = query.get('rights_holder');
  const newest = closed.findLast((one) => one.period === period && one.rights_holder_id === holder)?.revision ?? 0;
  const revision = query.has('revision') ? Number(query.get('revision')) : newest;
  const all = [];
  for (const [place, [title, , runtime_ms]] of TITLES.entries()) {
    for (const [where, territory] of TERRITORIES.slice(0, 3).entries()) {
      for (const [on, device_class] of CLASSES.slice(0, 3).entries()) {
        const of = figures(0.3 / ((place + 1) * (where + 1) * (on + 1)));
        const isAgreed = territory !== 'FR';
        all.push({
          rights_holder_id: 'orvessa', contract_id: isAgreed ? 'orvessa-2026' : null, title_id: title, territory, device_class, ...of,
          qualified_views: Math.round(of.plays * 0.8), views: Math.round(of.plays * 0.8), peak_concurrent: 1 + Math.round(of.plays / 20), blocked_attempts: on, outside_window_ms: 0,
          outside_territory_ms: isAgreed ? 0 : of.watched_ms, runtime_ms, completion_per_mille: 873 - place, currency: isAgreed ? 'EUR' : null, amount: isAgreed ? (of.plays * 0.032).toFixed(2) : null,
        });
      }
    }
  }
  const wanted = (name, of) => !query.has(name) || query.get(name) === of;
  const isEmpty = period.startsWith('19');
  const rows = isEmpty ? [] : all.filter((row) => wanted('territory', row.territory) && wanted('device_class', row.device_class) && wanted('title', row.title_id) && wanted('contract', row.contract_id ?? ''));
  const totals = { qualified_views: 0, views: 0, blocked_attempts: 0, outside_window_ms: 0, outside_territory_ms: 0, ...sum(rows), amounts: isEmpty ? {} : { EUR: '1234.56' } };
  for (const row of rows) for (const name of ['qualified_views', 'views', 'blocked_attempts', 'outside_territory_ms']) totals[name] += row[name];
  const names = { orvessa: 'Orvessa Film and Television', ...Object.fromEntries(TITLES) };
  return { statement: head(period, holder, revision), rows, rows_in_all: rows.length, totals, due: isEmpty ? {} : { EUR: '1234.56', USD: '2711.04' }, territories: isEmpty ? [] : TERRITORIES.slice(0, 3), names };
}

function sessions(query) {
  const first = query.has('after') ? 3 : 0;
  const all = Array.from({ length: 3 }, (_, n) => ({
    account_id: `household-00${n + 1 + first}`, session_id: `0193a1b2-c3d4-7e5f-8a9b-00000000000${n + first}`, partition: n, first_offset: 48_211 + 977 * n, first_day: '2026-10-04', last_day: n === 1 ? '2026-10-05' : '2026-10-04',
    played: true, qualified: n !== 2, watched_ms: 2_345_678 - 900_000 * n, aged_ms: n * 30_000, content_ms: 2_145_678 - 900_000 * n,
  }));
  return { sessions: all, next: first === 0 ? '2.50165' : null, as_of: AS_OF };
}

function beats() {
  const begin = Date.parse('2026-10-04T19:30:00Z');
  const record = (n) => ({ offset: 48_211 + 7 * n, at: new Date(begin + 10_000 * n).toISOString(), kind: n === 0 ? 'started' : 'heartbeat', sequence: n === 0 ? null : n - 1, elapsed_ms: n === 0 ? null : 10_000 * (n - 1), age_ms: n === 0 ? null : 0, position_ms: n === 0 ? null : 10_000 * (n - 1), state: n === 0 ? null : 'playing', watched_ms: n < 2 ? 0 : 10_000, aged_ms: 0, content_ms: n < 2 ? 0 : 10_000, played: n === 1 });
  return { topic: 'playback', partition: 1, records: Array.from({ length: 24 }, (_, n) => record(n)), is_whole: true };
}

/** The answer of a report, or `null` if it is none. */
export function answerOfReports(method, path, body, query) {
  if (path === '/v1/reports/usage') return [200, usage(query)];
  if (path === '/v1/reports/concurrency') return [200, concurrency(query)];
  if (path === '/v1/rights-holders') return [200, { rights_holders: [{ rights_holder_id: 'orvessa', name: 'Orvessa Film and Television' }] }];
  if (path === '/v1/statements') return [200, { statements: closed.toReversed() }];
  if (/\/watch-time$/.test(path)) return [200, beats()];
  const [, period, what] = /^\/v1\/statements\/([^/]+)(?:\/(\w+))?$/.exec(path) ?? [];
  if (period === undefined) return null;
  if (what === 'rows') return [200, statementRows(period, query)];
  if (what === 'sessions') return [200, sessions(query)];
  if (method === 'POST') {
    const holder = body?.rights_holder_id ?? null;
    const revision = (closed.findLast((one) => one.period === period && one.rights_holder_id === holder)?.revision ?? 0) + 1;
    if (holder === null) return [409, { status: 409, code: 'statement-refused', detail: "1 amounts can't be told: contract bob-1: title postcards: the title has no runtime_ms, by which its views are counted" }];
    closed.push({ period, rights_holder_id: holder, revision, closed_at: new Date().toISOString(), rows: revision === 1 ? 54 : 2, sha256: SHA });
    return [201, { statement: head(period, holder, revision), rows_added: revision === 1 ? 54 : 2 }];
  }
  return [200, { statement: head(period, query.get('rights_holder'), 0), rows: [] }];
}
