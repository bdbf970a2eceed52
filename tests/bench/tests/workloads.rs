//! The workloads are what they say: counted in the server's own binlog.
#![allow(clippy::unwrap_used)]

use anyhow::Result;
use lutra_bench::binlog;
use lutra_harness::workload::sysbench::{self, Lane, Workload};
use lutra_harness::{Home, Installation, MySqlSpec, Stack, StackSpec};

#[tokio::test]
async fn every_transaction_has_the_shape_of_its_workload_and_every_statement_hits_one_row() -> Result<()> {
    let installation = Installation::ensure(&Home::from_env(), &|_| ())?;
    let mysql = vec![MySqlSpec { relaxed: true, ..MySqlSpec::named("source") }];
    let spec = StackSpec { mysql, kafka: false, zookeeper: false, ..StackSpec::pair("workloads") };
    let stack = Stack::start(&installation, spec).await?;
    let source = stack.mysql("source")?;
    for (workload, tables) in [(Workload::W1, 8), (Workload::W2, 1), (Workload::W3, 1), (Workload::W4, 8)] {
        let (url, db) = (source.url(), workload.name());
        sysbench::create(&url, db, workload).await?;
        let first = binlog::begin_file(source).await?;
        let rows = sysbench::run(&url, db, workload, 80, true).await?;
        let census = binlog::census(&binlog::read(&binlog::files_from(source, &first).await?)?, db)?;
        assert_eq!(census.shapes.into_iter().collect::<Vec<_>>(), [(workload.shape(), 80)], "{workload:?}");
        assert_eq!(census.tables.len(), tables, "{workload:?} {:?}", census.tables);
        assert_eq!(census.tables.values().sum::<u64>(), rows);
        let each = if workload == Workload::W2 { 1_000 } else { 1 };
        assert_eq!(census.statements.into_keys().collect::<Vec<_>>(), [each], "{workload:?}");
    }
    Ok(())
}

#[tokio::test]
async fn lanes_write_side_by_side_and_leave_their_marks() -> Result<()> {
    let installation = Installation::ensure(&Home::from_env(), &|_| ())?;
    let mysql = vec![MySqlSpec { relaxed: true, ..MySqlSpec::named("source") }];
    let spec = StackSpec { mysql, kafka: false, zookeeper: false, ..StackSpec::pair("lanes") };
    let stack = Stack::start(&installation, spec).await?;
    let source = stack.mysql("source")?;
    sysbench::create(&source.url(), "lanes", Workload::W1).await?;
    let first = binlog::begin_file(source).await?;
    let mut lanes = tokio::task::JoinSet::new();
    for lane in 0..4 {
        let mut lane_of = Lane::open(&source.url(), "lanes", lane, 4).await?;
        lanes.spawn(async move {
            for n in 0..25 {
                lane_of.transaction(u64::from(lane * 25 + n)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = lanes.join_next().await {
        done??;
    }
    let files = binlog::read(&binlog::files_from(source, &first).await?)?;
    // The mark is one insert more.
    binlog::census(&files, "lanes")?.ensure_shape([3, 6, 2])?;
    let times = binlog::mark_times(&files, "lanes")?;
    assert_eq!(times.len(), 100);
    assert!(times.values().all(|at| *at > 1_600_000_000_000_000));
    Ok(())
}
