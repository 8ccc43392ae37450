//! `PUT /v1/titles/{id}`, `/v1/rights-holders/{id}`, `/v1/contracts/{id}`, `…/entitlement`

use chrono::NaiveDate;
use pulsegate_domain::contract::Agreed;
use pulsegate_domain::event::{
    ContractRegistered, EntitlementChanged, MAX_STREAMS_PER_ACCOUNT, RightsHolderRegistered, TitleRegistered,
};
use pulsegate_domain::ids::{AccountId, ContentKind, ContractId, PolicyName, RightsHolderId, Territory, TitleId};
use pulsegate_domain::policy::LIMIT_MAX;

use crate::json::field::{Day, Integer, List, Name};
use crate::json::read_body;
use crate::json::wire::{read, wire};
use crate::problems::{BodyError, FieldProblem};

/// Most titles that one contract names.
pub(super) const CONTRACT_TITLES_MAX: usize = 10_000;
/// The largest cap on an account's streams, as of a policy's rule.
const CAP_MAX: u64 = LIMIT_MAX as u64;
/// Every pair of letters.
const TERRITORIES_MAX: usize = 676;

wire!(TitleBody {
    required { name: Name, content_kind: ContentKind, rights_holder_id: RightsHolderId }
    optional { runtime_ms: Integer }
});

wire!(RightsHolderBody {
    required { name: Name }
    optional {}
});

wire!(EntitlementBody {
    required { policy: PolicyName }
    optional {}
});

/// Reads the body of a title.
pub fn parse_title(id: TitleId, body: &[u8]) -> Result<TitleRegistered, BodyError> {
    let body: TitleBody = read(body)?;
    Ok(TitleRegistered {
        title_id: id,
        name: body.name.0,
        content_kind: body.content_kind,
        rights_holder_id: body.rights_holder_id,
        runtime_ms: body.runtime_ms.map(|integer| integer.0),
    })
}

/// Reads the body of a rights holder.
pub fn parse_rights_holder(id: RightsHolderId, body: &[u8]) -> Result<RightsHolderRegistered, BodyError> {
    let body: RightsHolderBody = read(body)?;
    Ok(RightsHolderRegistered { rights_holder_id: id, name: body.name.0 })
}

/// Reads the body of an entitlement.
pub fn parse_entitlement(account: AccountId, body: &[u8]) -> Result<EntitlementChanged, BodyError> {
    let body: EntitlementBody = read(body)?;
    Ok(EntitlementChanged { account_id: account, policy: body.policy })
}

/// What a contract says to us; whatever else stands in it is its parties' and is kept.
const CONTRACT_FIELDS: &[&str] =
    &["contract_id", "rights_holder_id", "title_ids", "territories", "valid_from", "valid_until", "view_threshold_ms"];

/// Reads the body of a contract.
pub fn parse_contract(id: ContractId, body: &[u8]) -> Result<ContractRegistered, BodyError> {
    read_body(body, |reader| {
        let rights_holder_id = reader.required("rights_holder_id");
        let title_ids = reader.optional::<List<TitleId, 1, CONTRACT_TITLES_MAX>>("title_ids");
        let territories = reader.optional::<List<Territory, 1, TERRITORIES_MAX>>("territories");
        let valid_from = reader.required::<Day>("valid_from");
        let valid_until = reader.optional::<Day>("valid_until");
        let view_threshold_ms = reader.optional::<Integer>("view_threshold_ms");
        // It stays among the terms, where it is read from.
        let cap = reader.optional::<Integer<CAP_MAX>>(MAX_STREAMS_PER_ACCOUNT);
        if let (Some(from), Ok(Some(until))) = (valid_from, valid_until)
            && until < from
        {
            reader.note("valid_until", "must not be before valid_from");
        }
        let terms = reader
            .others(CONTRACT_FIELDS)
            .map(|(name, raw)| Some((name.to_owned(), serde_json::from_str(raw).ok()?)))
            .collect::<Option<serde_json::Map<_, _>>>();
        // What is kept as it came is still to be paid by: nobody should find out at the end of the month.
        if let Some(Err(mistakes)) = terms.as_ref().map(Agreed::read) {
            let problems = mistakes.into_iter().map(|mistake| FieldProblem::new(mistake.pointer, mistake.detail));
            reader.problems().extend(problems);
        }
        cap.ok()?;
        Some(ContractRegistered {
            contract_id: id,
            rights_holder_id: rights_holder_id?,
            title_ids: title_ids.ok()?.map(|list| list.0),
            territories: territories.ok()?.map(|list| list.0),
            valid_from: valid_from?.0,
            valid_until: valid_until.ok()?.map(|day| day.0),
            view_threshold_ms: view_threshold_ms.ok()?.map(|integer| integer.0),
            terms: terms?,
        })
    })
}

wire!(EndBody {
    required { last_day: Day }
    optional {}
});

/// Reads the body of a contract's end: its last day.
pub fn parse_contract_end(body: &[u8]) -> Result<NaiveDate, BodyError> {
    let body: EndBody = read(body)?;
    Ok(body.last_day.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract(body: &str) -> Result<ContractRegistered, String> {
        parse_contract("c-1".parse().unwrap(), body.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_contract_keeps_what_its_parties_agreed_on_beside() {
        let contract = contract(
            r#"{"contract_id":"other","rights_holder_id":"r","valid_from":"2026-01-01","valid_until":null,
                "fee":{"per_view":"0.04","currency":"EUR"},"note":null}"#,
        )
        .unwrap();
        assert_eq!(contract.contract_id.as_str(), "c-1");
        assert_eq!(contract.terms.keys().collect::<Vec<_>>(), ["fee", "note"]);
        // As it stands in the log it is read back the same.
        let json = serde_json::to_string(&contract).unwrap();
        assert_eq!(serde_json::from_str::<ContractRegistered>(&json).unwrap(), contract);
    }

    #[test]
    fn what_is_paid_is_checked_when_it_is_agreed_on() {
        let error = contract(
            r#"{"rights_holder_id":"r","valid_from":"2026-01-01",
                "payment":{"currency":"EUR","per_view":"0.04","per_veiw":"1"},"counting":{"views":"plays"}}"#,
        );
        assert_eq!(
            error.unwrap_err(),
            "invalid: /counting/views must be qualified or hours_by_runtime; /payment/per_veiw is not known here; \
             known are currency, rounding, rounded, per_view, per_hour, fixed_per_month, revenue_share, minimum_per_month"
        );
    }

    #[test]
    fn a_contract_ends_after_it_begins() {
        let body = |until| format!(r#"{{"rights_holder_id":"r","valid_from":"2026-01-02","valid_until":"{until}"}}"#);
        assert!(contract(&body("2026-01-02")).is_ok());
        assert_eq!(
            contract(&body("2026-01-01")),
            Err("invalid: /valid_until must not be before valid_from".to_owned())
        );
    }

    #[test]
    fn a_cap_is_a_count() {
        let body =
            |cap| format!(r#"{{"rights_holder_id":"r","valid_from":"2026-01-02","max_streams_per_account":{cap}}}"#);
        assert_eq!(contract(&body("2")).unwrap().max_streams_per_account(), Some(2));
        assert_eq!(contract(&body("0")).unwrap().max_streams_per_account(), Some(0));
        assert_eq!(contract(&body("null")).unwrap().max_streams_per_account(), None);
        for wrong in ["-1", "1.5", "\"2\"", "10001"] {
            assert_eq!(
                contract(&body(wrong)),
                Err("invalid: /max_streams_per_account must be an integer of 0-10000".to_owned()),
                "{wrong}"
            );
        }
    }

    #[test]
    fn every_problem_of_a_contract_has_its_place() {
        assert_eq!(
            contract(r#"{"title_ids":["ok","-"],"territories":[],"valid_from":"soon","view_threshold_ms":1.5}"#),
            Err("invalid: /rights_holder_id is required; \
                 /title_ids/1 must be 1-128 characters of A-Z a-z 0-9 . _ : @ -, the first a letter or digit; \
                 /territories must hold 1-676 elements; \
                 /valid_from must be a date, YYYY-MM-DD; \
                 /view_threshold_ms must be an integer of 0-9007199254740991"
                .to_owned())
        );
    }

    #[test]
    fn titles_holders_and_entitlements_are_read() {
        let title = parse_title(
            "t".parse().unwrap(),
            br#"{"name":"Das Boot","content_kind":"vod","rights_holder_id":"r","runtime_ms":8940000}"#,
        );
        assert_eq!(title.unwrap().runtime_ms, Some(8_940_000));
        assert_eq!(parse_rights_holder("r".parse().unwrap(), br#"{"name":"R"}"#).unwrap().name, "R");
        assert_eq!(parse_contract_end(br#"{"last_day":"2026-03-31"}"#).unwrap().to_string(), "2026-03-31");
        let error = parse_entitlement("a".parse().unwrap(), b"{}").unwrap_err();
        assert_eq!(error.to_string(), "invalid: /policy is required");
    }
}
