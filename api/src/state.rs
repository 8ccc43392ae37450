//! What every handler has at hand.

use std::sync::{Arc, Mutex};

use pulsegate_projections::provisional::{Settled, Wanted};
use pulsegate_write_side::adapter::Thinner;
use tokio::sync::Semaphore;

use crate::cluster::Cluster;
use crate::measures::Measures;
use crate::playback::Playback;
use crate::problem::{Problem, ProblemKind, RETRY_AFTER_S};
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
    cluster: Cluster,
    reads: Reads,
    settings: ApiSettings,
    measures: Measures,
    reads_in_flight: Semaphore,
    writes_in_flight: Semaphore,
    keeping: Arc<Semaphore>,
    settling: Semaphore,
    thinner: Mutex<Thinner>,
}

impl ApiState {
    /// Everything that the routes need. Make it after the metrics recorder is installed.
    #[must_use]
    pub fn new(playback: Playback, reads: Reads, settings: ApiSettings) -> Self {
        let alone = Cluster::alone("this node", playback.view().clone());
        Self::among(alone, playback, reads, settings)
    }

    /// The same for a node among others.
    #[must_use]
    pub fn among(cluster: Cluster, playback: Playback, reads: Reads, settings: ApiSettings) -> Self {
        let routes = crate::openapi::document().paths.paths.into_keys();
        let others = crate::routes::pages::paths().chain(crate::routes::sign_in::PATHS.iter().copied());
        let measures = Measures::of_routes(routes.chain(others.map(str::to_owned)));
        Self {
            inner: Arc::new(Inner {
                playback,
                cluster,
                settling: Semaphore::new(1),
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

    /// This node among the others.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.inner.cluster
    }

    /// Settles provisional answers. It reads the log, so one does at a time.
    pub(crate) async fn settle(&self, wanted: Wanted) -> Result<Vec<Settled>, Problem> {
        let Ok(_turn) = self.inner.settling.try_acquire() else {
            let detail = "provisional answers are being settled for somebody else";
            return Err(Problem::new(ProblemKind::Overloaded, detail).retry_after(RETRY_AFTER_S));
        };
        self.inner.reads.provisional(self.inner.playback.catalog(), wanted).await
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
