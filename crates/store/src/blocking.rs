//! Work that may take long, away from the tasks that may not.

use sealift_terms::world::Calls;
use tokio::{task::JoinError, time::sleep};

/// Does `work` as `calls` says: on a thread that may block, or in turn with all
/// else of a simulation, whose outcome no thread may decide.
///
/// # Errors
/// [`JoinError`] when the work panicked on its thread.
pub async fn blocking<T: Send + 'static>(
    calls: Calls,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    match calls {
        Calls::OnThread => tokio::task::spawn_blocking(work).await,
        Calls::Here { before, after } => {
            sleep(before).await;
            let done = work();
            sleep(after).await;
            Ok(done)
        }
    }
}
