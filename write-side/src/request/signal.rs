//! `POST /v1/signals`

use pulsegate_domain::ids::{AccountId, ContentKind, DeviceClass, DeviceId, SessionId, SignalKind, Territory, TitleId};

use super::{Batch, SignalRequest};
use crate::json::wire::{read_batch, wire};
use crate::problems::BodyError;

wire!(SignalItem {
    required { account_id: AccountId, device_id: DeviceId, title_id: TitleId, kind: SignalKind }
    optional {
        session_id: SessionId,
        device_class: DeviceClass,
        content_kind: ContentKind,
        territory: Territory,
    }
});

/// Reads `{"signals": […]}`: 1-1 000 of them, each good or bad by itself.
pub fn parse_signal_batch(body: &[u8]) -> Result<Batch<SignalRequest>, BodyError> {
    read_batch(body, "signals", |item: SignalItem| SignalRequest {
        account_id: item.account_id,
        session_id: item.session_id,
        device_id: item.device_id,
        device_class: item.device_class,
        title_id: item.title_id,
        content_kind: item.content_kind,
        territory: item.territory,
        kind: item.kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_may_know_no_session() {
        let batch = parse_signal_batch(
            br#"{"signals":[{"account_id":"a","device_id":"d","title_id":"t","kind":"cdn_segment"},
                            {"account_id":"a","device_id":"d","title_id":"t","kind":"smoke"}]}"#,
        )
        .unwrap();
        assert_eq!((batch.accepted[0].1.session_id, batch.accepted[0].1.kind), (None, SignalKind::CdnSegment));
        assert_eq!(batch.rejected[0].detail, "/kind must be one of drm_licence, drm_renewal, cdn_segment, manifest");
    }
}
