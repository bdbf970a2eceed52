//! MySQL's own replica on the same backlog: what Lutra is measured against.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lutra_harness::mysql;
use lutra_harness::oracle::Comparison;
use mysql_async::prelude::Queryable;

use crate::bed::{Backlog, Bed, DATABASE, Window, executed};
use crate::note;

const USER: &str = "replica";
const PASSWORD: &str = "replica-pa55";

/// Makes the account that replicas read the source with.
///
/// # Errors
/// When the source refuses.
pub async fn create_account(bed: &Bed) -> Result<()> {
    mysql::create_user(&bed.world.source_url, USER, PASSWORD, &["REPLICATION SLAVE ON *.*"]).await.map(drop)
}

/// Makes the server `name` a replica of the source, brings it the first rows, and stops it.
///
/// # Errors
/// When it does not follow.
pub async fn attach(bed: &Bed, name: &str, workers: u32) -> Result<()> {
    let (source, replica) = (bed.server("source")?, bed.server(name)?);
    let change = format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {}, SOURCE_USER = '{USER}', \
         SOURCE_PASSWORD = '{PASSWORD}', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1",
        source.port()
    );
    // Kept over the server's restart: SET GLOBAL would not be.
    let workers = format!("SET PERSIST replica_parallel_workers = {workers}");
    mysql::execute(&replica.url(), &[&workers, &change, "START REPLICA"]).await?;
    let wanted = executed(&source.url()).await?;
    let mut connection = mysql::connect(&replica.url()).await?;
    let query = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{wanted}', 300)");
    let late: Option<u8> = connection.query_first(query).await.context("wait for a replica")?;
    ensure!(late == Some(0), "the replica {name} does not follow: {}", applier_state(&replica.url()).await?);
    mysql::execute(&replica.url(), &["STOP REPLICA"]).await?;
    replica.stop().await
}

/// Lets the replica fetch and apply a backlog, both at the same time as usual; compares, and stops it again.
///
/// # Errors
/// When it does not follow, or differs from the source at the end.
pub async fn drain(bed: &Bed, name: &str, backlog: &Backlog) -> Result<Window> {
    let replica = bed.server(name)?;
    replica.start().await?;
    note(format!("{name}: draining"));
    let meter = bed.meter()?;
    mysql::execute(&replica.url(), &["START REPLICA"]).await?;
    let [first, last] = bed.watch(&replica.url(), backlog).await?;
    let whole = last - meter.began();
    let costs = meter.finish()?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let report = Comparison::new(&bed.world.source_url, &replica.url()).databases(&[DATABASE]).run().await?;
    ensure!(report.is_equal(), "source and {name} differ:\n{report}");
    note(format!("{name}: {report}"));
    replica.stop().await?;
    Ok(Window { whole, flowing: last - first, costs })
}

async fn applier_state(url: &str) -> Result<String> {
    let mut connection = mysql::connect(url).await?;
    let row: Option<mysql_async::Row> = connection.query_first("SHOW REPLICA STATUS").await?;
    let column =
        |row: &mysql_async::Row, name: &str| row.get_opt::<String, _>(name).and_then(Result::ok).unwrap_or_default();
    Ok(row.map_or_else(
        || "it is none".to_owned(),
        |row| format!("{} {}", column(&row, "Last_IO_Error"), column(&row, "Last_SQL_Error")),
    ))
}
