//! Records out of librdkafka's memory: keys and values of many records share one allocation.

use bytes::{Bytes, BytesMut};
use pulsegate_domain::event::CONTENT_TYPE;
use pulsegate_domain::time::Timestamp;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

use super::record::Record;

/// How large such an allocation is.
const BLOCK_BYTES: usize = 1 << 18;

/// Where copied records lie.
#[derive(Debug, Default)]
pub(crate) struct Arena(BytesMut);

impl Arena {
    pub(crate) fn record(&mut self, message: &BorrowedMessage<'_>, headers: Vec<(String, Option<Vec<u8>>)>) -> Record {
        Record {
            offset: message.offset(),
            timestamp: message.timestamp().to_millis().map(Timestamp::from_millis),
            key: message.key().map(|key| self.keep(key)),
            value: message.payload().map(|value| self.keep(value)),
            headers,
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Bytes {
        if self.0.capacity() < bytes.len() {
            self.0.reserve(bytes.len().max(BLOCK_BYTES));
        }
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }
}

/// A record's headers, unless the usual one is all there is.
pub(crate) fn unusual_headers(message: &BorrowedMessage<'_>) -> Vec<(String, Option<Vec<u8>>)> {
    let Some(headers) = message.headers() else { return Vec::new() };
    let usual = |index| {
        let header = headers.get(index);
        header.key == "content-type" && header.value == Some(CONTENT_TYPE.as_bytes())
    };
    if headers.count() == 1 && usual(0) {
        return Vec::new();
    }
    headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
}
