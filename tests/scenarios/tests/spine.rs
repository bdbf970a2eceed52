//! The spine: one change's way, and the whole shop's.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use lutra_harness::mysql;
use lutra_harness::workload::shop::{self, ShopCounters};
use lutra_scenarios::{World, WorldOptions};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn inserts_of_one_table_arrive_in_the_target() -> Result<()> {
    let world = World::shared("inserts", WorldOptions::default()).await?;
    world.apply().await?;
    let db = world.database();
    mysql::execute(
        &world.source_url,
        &[
            &format!("CREATE DATABASE `{db}`"),
            &format!("CREATE TABLE `{db}`.t (id INT PRIMARY KEY, v VARCHAR(20))"),
            &format!("INSERT INTO `{db}`.t VALUES (1, 'one'), (2, NULL)"),
        ],
    )
    .await?;
    world.caught_up(Duration::from_secs(30)).await?;
    world.assert_equal().await
}

#[tokio::test]
async fn a_shop_with_foreign_keys_and_ddl_is_followed_row_for_row() -> Result<()> {
    let world = World::shared("shop", WorldOptions::default()).await?;
    world.apply().await?;
    let db = world.database().to_owned();
    shop::create(&world.source_url, &db).await?;
    let (counters, stop) = (Arc::new(ShopCounters::default()), CancellationToken::new());
    let sell = shop::run(&world.source_url, &db, 7, 0, Arc::clone(&counters), stop.clone());
    let define = async {
        let done =
            shop::run_ddl(&world.source_url, &db, Duration::from_millis(700), Arc::clone(&counters), stop.clone())
                .await;
        stop.cancel();
        done
    };
    let (sold, defined) = tokio::join!(sell, define);
    sold?;
    defined?;
    assert!(counters.transactions.load(Ordering::Relaxed) > 100, "{counters:?}");
    world.caught_up(Duration::from_secs(60)).await?;
    world.assert_equal().await
}
