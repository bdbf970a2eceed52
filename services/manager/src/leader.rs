//! Election, and the reconciler's loop while this manager leads.

use std::sync::Arc;
use std::time::Duration;

use lutra_coordination::{LeaderElection, Leadership};
use lutra_runtime::{Backoff, BackoffPolicy, CancellationToken};
use tokio::sync::watch;

use crate::error::ManagerError;
use crate::events::Leading;
use crate::manager::Manager;

/// Without any change: what no watch tells of (a topic deleted by hand, a lost event) is seen after this time.
const IDLE: Duration = Duration::from_secs(10);
/// Changes come in bursts: one pass answers all that arrive within this time.
const BURST: Duration = Duration::from_millis(20);

/// Campaigns, leads, and campaigns again, until `shutdown`.
pub async fn run(
    manager: Manager,
    election: LeaderElection,
    leads: watch::Sender<Option<Arc<Leadership>>>,
    shutdown: CancellationToken,
) -> Result<(), ManagerError> {
    loop {
        Leading { leads: false }.emit();
        let leadership = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            elected = election.campaign() => Arc::new(elected?),
        };
        Leading { leads: true }.emit();
        leads.send_replace(Some(Arc::clone(&leadership)));
        lead(&manager, &leadership, &shutdown).await;
        // Dropping the last clone gives the lock up: the next manager leads at once.
        leads.send_replace(None);
        drop(leadership);
        if shutdown.is_cancelled() {
            return Ok(());
        }
    }
}

/// Reconciles whenever something changes, until the leadership is lost.
async fn lead(manager: &Manager, leadership: &Leadership, shutdown: &CancellationToken) {
    let mut changes = manager.store().changes();
    let mut backoff = Backoff::new(BackoffPolicy::CONNECT);
    let mut wait = Duration::ZERO;
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = leadership.lost() => return,
            _ = changes.next() => {
                // The rest of the burst.
                let burst = tokio::time::sleep(BURST);
                tokio::pin!(burst);
                loop {
                    tokio::select! {
                        biased;
                        () = &mut burst => break,
                        _ = changes.next() => {}
                    }
                }
            }
            () = tokio::time::sleep(wait) => {}
        }
        wait = match manager.inner.reconciler.run_once(manager, leadership).await {
            Ok(pass) => {
                backoff.reset();
                pass.again_in.unwrap_or(IDLE).min(IDLE)
            }
            Err(_) => backoff.next_delay(),
        };
    }
}
