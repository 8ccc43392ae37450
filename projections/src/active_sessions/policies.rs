//! Where the fold's policies come from.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use pulsegate_domain::policy::PolicySet;

use crate::catalog_view::CatalogView;

/// The policies of the catalog, as far as it has been read.
pub trait PolicySource: Send + Sync + 'static {
    /// Every version known by now.
    fn policies(&self) -> Arc<PolicySet>;

    /// Waits until everything that stood in the catalog at the call has been read, however long the
    /// brokers are away: only then may a version be called unknown.
    fn read_to_end(&self) -> BoxFuture<'_, ()>;
}

impl PolicySource for CatalogView {
    fn policies(&self) -> Arc<PolicySet> {
        Self::policies(self)
    }

    fn read_to_end(&self) -> BoxFuture<'_, ()> {
        async {
            while !self.caught_up(Duration::from_secs(5)).await {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        .boxed()
    }
}

/// Policies that never change: for tests, and where there is no catalog.
#[derive(Clone, Debug, Default)]
pub struct FixedPolicies(Arc<PolicySet>);

impl FixedPolicies {
    /// These and no others.
    #[must_use]
    pub fn new(policies: PolicySet) -> Self {
        Self(Arc::new(policies))
    }
}

impl PolicySource for FixedPolicies {
    fn policies(&self) -> Arc<PolicySet> {
        Arc::clone(&self.0)
    }

    fn read_to_end(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }
}
