//! DDL all the time, and tables swapped under their writers as tools that change schemas online do it.

use std::time::Duration;

use anyhow::Result;
use futures::future::{BoxFuture, try_join};
use lutra_harness::mysql::execute;

use super::{Leg, Workload, write};

/// DDL all the time.
pub(super) struct Storm;

/// One step of the storm; each leaves the tables as the next one needs them, also where some before were not carried out.
fn step(db: &str, leg: u64, n: u64) -> String {
    let own = format!("`{db}`.s{leg}_{n}");
    match n % 5 {
        // A table's whole life.
        0 => format!(
            "CREATE TABLE {own} (id INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO {own} VALUES (1, 'a'), (2, 'b'); \
             ALTER TABLE {own} ADD COLUMN w INT DEFAULT 7; UPDATE {own} SET w = id; CREATE INDEX by_w ON {own} (w); \
             DROP TABLE {own}"
        ),
        // The swap: a ghost with one more column takes the table's place.
        1 | 3 => format!(
            "DROP TABLE IF EXISTS `{db}`._t_new, `{db}`._t_old; CREATE TABLE `{db}`._t_new LIKE `{db}`.t; \
             ALTER TABLE `{db}`._t_new ADD COLUMN c{leg}_{n} INT DEFAULT {n}, DROP COLUMN extra; \
             ALTER TABLE `{db}`._t_new CHANGE c{leg}_{n} extra INT DEFAULT {n}; \
             INSERT IGNORE INTO `{db}`._t_new (id, v) SELECT id, v FROM `{db}`.t; \
             RENAME TABLE `{db}`.t TO `{db}`._t_old, `{db}`._t_new TO `{db}`.t; DROP TABLE `{db}`._t_old"
        ),
        2 => format!("ALTER TABLE `{db}`.t COMMENT 'step {n}'; TRUNCATE `{db}`.u"),
        _ => format!(
            "DROP TABLE IF EXISTS `{db}`.kept; CREATE TABLE {own} AS SELECT id, v FROM `{db}`.t LIMIT 20; \
             RENAME TABLE {own} TO `{db}`.kept; DROP TABLE `{db}`.kept"
        ),
    }
}

impl Workload for Storm {
    fn name(&self) -> &'static str {
        "storm"
    }

    fn about(&self) -> &'static str {
        "about four DDL statements a second, with tables swapped under their writer as by online schema changes"
    }

    fn create<'a>(&'a self, url: &'a str, database: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            execute(
                url,
                &[
                    &format!(
                        "CREATE TABLE `{database}`.t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(40), extra INT DEFAULT 0)"
                    ),
                    &format!("CREATE TABLE `{database}`.u (n BIGINT, at TIMESTAMP(6) DEFAULT CURRENT_TIMESTAMP(6))"),
                ],
            )
            .await
        })
    }

    fn run(&self, leg: Leg) -> BoxFuture<'static, Result<u64>> {
        Box::pin(async move {
            let (db, number) = (leg.database.clone(), leg.number);
            let rows = write(&leg, 0, Duration::from_millis(50), |_, n| {
                if n % 4 == 0 {
                    return format!("DELETE FROM `{db}`.t ORDER BY id LIMIT 2");
                }
                format!("BEGIN; INSERT INTO `{db}`.t (v) VALUES ('{n}'); INSERT INTO `{db}`.u (n) VALUES ({n}); COMMIT")
            });
            let ddl = write(&leg, 1, Duration::from_millis(1_200), |_, n| step(&db, number, n));
            let (rows, ddl) = try_join(rows, ddl).await?;
            Ok(rows + ddl)
        })
    }
}
