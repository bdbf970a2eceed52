//! Short ways to specifications and names for the tests of this crate.
#![allow(clippy::unwrap_used)]

use lutra_change::TableName;
use lutra_spec::{PipelineSpec, Spec};

/// A pipeline with these routes (YAML flow).
pub(crate) fn pipeline(routes: &str) -> PipelineSpec {
    let text = format!("kind: pipeline\nname: p\nspec:\n  source: s\n  target: t\n  tables: {routes}\n");
    match lutra_spec::parse(&text).unwrap().remove(0).document.spec {
        Spec::Pipeline(pipeline) => pipeline,
        other => unreachable!("{other:?}"),
    }
}

/// The table `database.table`.
pub(crate) fn table(name: &str) -> TableName {
    let (database, table) = name.split_once('.').unwrap();
    TableName::new(database, table)
}
