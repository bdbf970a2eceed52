//! A backlog into the target: through the loader alone, or through all stages beside MySQL's own replica.

use std::time::Duration;

use anyhow::Result;
use lutra_harness::services::Service;

use crate::bed::{Backlog, Bed, FLOW, Window};
use crate::report::Report;
use crate::{Setting, note, replica};

/// The loader alone: the backlog is in the pipeline's log before it starts.
///
/// # Errors
/// When something does not run, or source and target differ at the end.
pub async fn load(setting: &Setting, report: &mut Report) -> Result<()> {
    let mut bed = Bed::open(setting, &[]).await?;
    let backlog = bed.backlog().await?;
    note("bringing the backlog into the pipeline's log");
    let upstream = [Service::Extractor, Service::Transformer];
    for service in upstream {
        bed.start(service)?;
    }
    bed.passed_on(Service::Transformer, &backlog).await?;
    bed.stop(&upstream).await?;
    bed.server("target")?.restart().await?;
    let window = lutra(&bed, &[Service::Loader], &backlog).await?;
    window.report(report, "loader", backlog.rows)
}

/// All stages, and MySQL's own replica: serial, and with 4 workers. Each has its server to itself: the servers of the others
/// do not run meanwhile.
///
/// # Errors
/// When something does not run, or source and target differ at the end.
pub async fn drain(setting: &Setting, with_replica: bool, report: &mut Report) -> Result<()> {
    const REPLICAS: [(&str, &str, u32); 2] =
        [("replica-serial", "replica, serial", 1), ("replica-parallel", "replica, 4 workers", 4)];
    let replicas = if with_replica { &REPLICAS[..] } else { &[] };
    let names: Vec<&str> = replicas.iter().map(|(name, ..)| *name).collect();
    let mut bed = Bed::open(setting, &names).await?;
    if with_replica {
        replica::create_account(&bed).await?;
    }
    for (name, _, workers) in replicas {
        replica::attach(&bed, name, *workers).await?;
    }
    bed.server("target")?.stop().await?;
    let backlog = bed.backlog().await?;
    let mut measured = Vec::new();
    for (name, subject, _) in replicas {
        let window = replica::drain(&bed, name, &backlog).await?;
        window.report(report, subject, backlog.rows)?;
        measured.push(window);
    }
    bed.server("target")?.start().await?;
    let window = lutra(&bed, &FLOW, &backlog).await?;
    window.report(report, "lutra", backlog.rows)?;
    let mut figures = report.of("lutra", backlog.rows);
    let times = |replica: &Duration, own: &Duration| replica.as_secs_f64() / own.as_secs_f64();
    let metrics = [
        ("times_replica_serial", "times_replica_serial_flowing"),
        ("times_replica_4_workers", "times_replica_4_workers_flowing"),
    ];
    for ((whole, flowing), replica) in metrics.into_iter().zip(&measured) {
        figures.figure(whole, times(&replica.whole, &window.whole), "x")?;
        figures.figure(flowing, times(&replica.flowing, &window.flowing), "x")?;
    }
    Ok(())
}

/// Starts services on a backlog and waits until the target has it; compares, and stops them.
async fn lutra(bed: &Bed, services: &[Service], backlog: &Backlog) -> Result<Window> {
    note("lutra: draining");
    let mut meter = bed.meter()?;
    bed.start_measured(services, &mut meter)?;
    let [first, last] = bed.watch(&bed.world.target_url, backlog).await?;
    let whole = last - meter.began();
    let costs = meter.finish()?;
    bed.world.assert_equal().await?;
    note("lutra: source and target are equal");
    bed.stop(services).await?;
    Ok(Window { whole, flowing: last - first, costs })
}
