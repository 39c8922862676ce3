//! Events that were sent and are not stored yet: so many, and so many bytes of them.

use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::FuturesOrdered;
use orion_store::{Position, RecordedEvent};

use super::error::RelayError;

/// The most events.
const EVENTS_MAX: usize = 1_024;

/// With how many bytes of payloads no more are sent.
const BYTES_MAX: usize = 8 << 20;

/// An event on its way: its position, when it is stored.
pub type Sent = BoxFuture<'static, Result<Position, RelayError>>;

/// Events on their way, in the order of the log.
#[derive(Default)]
pub struct OnTheWay {
    sent: FuturesOrdered<BoxFuture<'static, (Result<Position, RelayError>, usize)>>,
    bytes: usize,
}

impl OnTheWay {
    /// True if some have to be stored before more are sent.
    pub fn is_full(&self) -> bool {
        self.sent.len() >= EVENTS_MAX || self.bytes >= BYTES_MAX
    }

    /// One more.
    pub fn push(&mut self, event: &RecordedEvent, sent: Sent) {
        let bytes = event.payload.len();
        self.bytes += bytes;
        self.sent.push_back(sent.map(move |stored| (stored, bytes)).boxed());
    }

    /// Waits for the oldest; none if there is nothing on its way.
    pub async fn next(&mut self) -> Option<Result<Position, RelayError>> {
        let (stored, bytes) = self.sent.next().await?;
        self.bytes -= bytes;
        Some(stored)
    }
}
