//! For which sampled request a task works.

use std::future::Future;

use super::Context;

tokio::task_local! {
    static CURRENT: Context;
}

/// The span that the running task works for, if it is a sampled one.
#[must_use]
pub fn current() -> Option<Context> {
    CURRENT.try_with(|context| *context).ok()
}

/// Does `work` for a sampled span: what it appends and asks is a part of it.
pub async fn within<F: Future>(context: Context, work: F) -> F::Output {
    CURRENT.scope(context, work).await
}
