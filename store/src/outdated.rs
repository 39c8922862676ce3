//! Whether this program is older than the log: a newer server writes events that it does not know.

use std::sync::{Arc, OnceLock};

use metrics::gauge;
use orion_domain::Event;
use tracing::warn;

use crate::record::RecordedEvent;

/// Whether an event was met that this program does not know. Cheap to clone; all clones are the same.
///
/// It stays so until the program is replaced: what such an event changes, this program cannot tell.
#[derive(Clone, Debug)]
pub struct Outdated(Arc<OnceLock<()>>);

impl Default for Outdated {
    fn default() -> Self {
        gauge!("orion_outdated").set(0);
        Self(Arc::default())
    }
}

impl Outdated {
    /// True once an unknown event was met.
    pub fn is_outdated(&self) -> bool {
        self.0.get().is_some()
    }

    /// Looks at an event that comes by.
    pub(crate) fn look_at(&self, event: &RecordedEvent) {
        if !Event::is_known(&event.event_type, &event.event_version) {
            self.met(&event.event_type, &event.event_version);
        }
    }

    /// An event of this type and version could not be read. Said once.
    pub fn met(&self, event_type: &str, version: &str) {
        if self.0.set(()).is_ok() {
            gauge!("orion_outdated").set(1);
            warn!(
                event_type,
                version,
                "a newer server writes events that this one does not know; it leads nothing more that reads events, \
                 upgrade it"
            );
        }
    }
}
