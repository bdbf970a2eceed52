//! Transactions of ten rows over eight tables.

use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use lutra_harness::workload::is_passing;
use lutra_harness::workload::sysbench::{Lane, Workload as Shape, create};

use super::{Leg, Workload, pause};

/// W1 of the benchmarks.
pub(super) struct Sysbench;

/// Rest after each transaction.
const REST: Duration = Duration::from_millis(60);

impl Workload for Sysbench {
    fn name(&self) -> &'static str {
        "sysbench"
    }

    fn about(&self) -> &'static str {
        "transactions of ten rows over eight tables of 10,000 rows: 2 inserts, 6 updates, 2 deletes"
    }

    fn create<'a>(&'a self, url: &'a str, database: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { create(url, database, Shape::W1).await })
    }

    fn run(&self, leg: Leg) -> BoxFuture<'static, Result<u64>> {
        Box::pin(async move {
            let (mut lane, mut done) = (None, 0);
            while !leg.stop.is_cancelled() {
                let Some(open) = lane.as_mut() else {
                    lane = Lane::open(&leg.url, &leg.database, 0, 1).await.ok();
                    pause(&leg, Duration::from_millis(50)).await;
                    continue;
                };
                match tokio::time::timeout(super::PATIENCE, open.run(1)).await {
                    Ok(Ok(())) => done += 1,
                    Ok(Err(error)) if !error.downcast_ref::<mysql_async::Error>().is_some_and(is_passing) => {
                        return Err(error);
                    }
                    Ok(Err(_)) | Err(_) => lane = None,
                }
                pause(&leg, leg.pace.rest(REST)).await;
            }
            Ok(done)
        })
    }
}
