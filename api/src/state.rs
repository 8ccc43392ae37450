//! What every handler has at hand.

use std::sync::{Arc, Mutex};

use pulsegate_write_side::adapter::Thinner;
use tokio::sync::Semaphore;

use crate::measures::Measures;
use crate::playback::Playback;
use crate::reads::Reads;
use crate::settings::ApiSettings;

/// Most refused requests that are being kept at once; more are counted and let go.
const KEEPING_MAX: usize = 64;

/// What every handler has at hand; cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    inner: Arc<Inner>,
}

struct Inner {
    playback: Playback,
    reads: Reads,
    settings: ApiSettings,
    measures: Measures,
    reads_in_flight: Semaphore,
    writes_in_flight: Semaphore,
    keeping: Arc<Semaphore>,
    thinner: Mutex<Thinner>,
}

impl ApiState {
    /// Everything that the routes need. Make it after the metrics recorder is installed.
    #[must_use]
    pub fn new(playback: Playback, reads: Reads, settings: ApiSettings) -> Self {
        let routes = crate::openapi::document().paths.paths.into_keys();
        let measures = Measures::of_routes(routes.chain(crate::routes::pages::PATHS.iter().map(ToString::to_string)));
        Self {
            inner: Arc::new(Inner {
                playback,
                reads,
                measures,
                reads_in_flight: Semaphore::new(settings.reads_in_flight_max),
                writes_in_flight: Semaphore::new(settings.writes_in_flight_max),
                keeping: Arc::new(Semaphore::new(KEEPING_MAX)),
                thinner: Mutex::default(),
                settings,
            }),
        }
    }

    /// The application: what requests become in the log and how the fold answers.
    pub(crate) fn playback(&self) -> &Playback {
        &self.inner.playback
    }

    /// The read models in the database.
    pub(crate) fn reads(&self) -> &Reads {
        &self.inner.reads
    }

    pub(crate) fn settings(&self) -> &ApiSettings {
        &self.inner.settings
    }

    pub(crate) fn measures(&self) -> &Measures {
        &self.inner.measures
    }

    pub(crate) fn in_flight(&self, is_read: bool) -> &Semaphore {
        if is_read { &self.inner.reads_in_flight } else { &self.inner.writes_in_flight }
    }

    /// What lines of logs have said lately.
    pub(crate) fn thinner(&self) -> &Mutex<Thinner> {
        &self.inner.thinner
    }

    pub(crate) fn keeping(&self) -> &Arc<Semaphore> {
        &self.inner.keeping
    }
}
