//! Tables of titles and contracts, as spreadsheets and people make them.

use pulsegate_fuzz::{Bound, Said, Target, try_out};
use pulsegate_write_side::table::{Kind, read};

use super::events::stays;
use super::texts;

const LEN_MAX: usize = 128 << 10;
/// Each line is a body that is written and read.
const TABLES: Bound = Bound { a_byte: 512, at_least: 256 << 10 };

fn tables(name: &'static str, kind: Kind, seeds: &[&str]) {
    try_out(&Target { name, seeds: texts(seeds), bound: TABLES, len_max: LEN_MAX, taken_min: 20 }, |file| {
        let Ok(table) = read(file, kind) else { return Said::Refused };
        assert!(table.bad <= table.mistakes.len(), "each bad line has a mistake");
        for event in &table.lines {
            stays(event);
        }
        Said::taken(!table.lines.is_empty())
    });
}

#[test]
fn fuzzed_tables_of_titles_are_read_or_told_what_is_wrong() {
    let table = "title_id,name,content_kind,rights_holder_id,runtime_ms\n\
                 film,Film,vod,orvessa,5400000\n\
                 \"two\nlines\",\"say \"\"no\"\"\",vod,orvessa,1\n\
                 last,Last,live,orvessa,\n";
    tables("titles", Kind::Titles, &[table]);
}

#[test]
fn fuzzed_tables_of_contracts_are_read_or_told_what_is_wrong() {
    let table = "contract_id,rights_holder_id,title_ids,territories,valid_from,valid_until,currency,per_view,percent,pools\n\
                 c-1,orvessa,a;b,DE; AT,2026-01-01,,EUR,0.04,,\n\
                 c-2,orvessa,,,2026-01-01,2026-12-31,EUR,,12.5,2026-10=1000.00;2026-11=900\n";
    let other = "contract_id,rights_holder_id,valid_from,view_threshold_ms,views,round_to,views_rounding,rounding,rounded\r\n\
                 c-3,r,2026-01-01,30000,hours_by_runtime,1000,half_up,,\r\n";
    tables("contracts", Kind::Contracts, &[table, other]);
}
