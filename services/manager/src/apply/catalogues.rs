//! Rules held against what source and target have: everything that does not fit, at once.

use std::collections::BTreeMap;

use lutra_change::TableName;
use lutra_mysql::{Connection, catalogue};
use lutra_rules::{RuleFault, Rules, TableDecision};
use lutra_spec::{ColumnRules, PipelineSpec, SourceSpec, TargetSpec, TriggerPolicy};

use crate::error::chain;
use crate::servers;

/// Names that one warning lists; the others are counted.
const LISTED: usize = 5;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What cannot be: route by its index, where one is to blame, and the sentence.
    pub(super) faults: Vec<(Option<usize>, String)>,
    /// What a person should know.
    pub(super) warnings: Vec<String>,
}

/// A column, as far as rules care.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Column {
    name: String,
    column_type: String,
    collation: String,
    /// A row can be inserted without it.
    optional: bool,
    generated: bool,
}

/// A table, as far as rules care.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Table {
    engine: String,
    columns: Vec<Column>,
    key: Vec<String>,
    /// Method and expression, then each by name and bound; empty where there are none.
    partitions: String,
    triggers: Vec<String>,
    /// Foreign keys that change rows of this table when their parent's rows change: columns and parent.
    cascades: Vec<(String, TableName)>,
}

impl Table {
    fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }
}

/// All tables of a server, and whether the changes that foreign keys make are in its binlog.
#[derive(Clone, Debug, Default)]
struct Snapshot {
    tables: BTreeMap<TableName, Table>,
    logs_cascades: bool,
}

/// Asks both servers and holds the rules against them. A server that cannot be asked from here is a warning.
pub(super) async fn hold(
    pipeline: &PipelineSpec,
    rules: &Rules,
    source: (&str, &SourceSpec),
    target: (&str, &TargetSpec),
) -> Findings {
    let left = snapshot(&source.1.connection()).await.map_err(|why| format!("source {}: {why}", source.0));
    let right = snapshot(&target.1.connection()).await.map_err(|why| format!("target {}: {why}", target.0));
    match (left, right) {
        (Ok(left), Ok(right)) if left.tables.is_empty() && !right.tables.is_empty() => {
            let mut findings = judge(pipeline, rules, source.1, &left, &right);
            findings.warnings = vec![format!(
                "source {}: its account sees no tables, so that the rules are not held against them; GRANT SELECT lets it see",
                source.0
            )];
            findings
        }
        (Ok(left), Ok(right)) => judge(pipeline, rules, source.1, &left, &right),
        (left, right) => {
            let why = [left.err(), right.err()].into_iter().flatten();
            let warnings = why.map(|why| format!("rules are not held against the tables there are: {why}"));
            Findings { faults: Vec::new(), warnings: warnings.collect() }
        }
    }
}

async fn snapshot(how: &lutra_spec::Connection) -> Result<Snapshot, String> {
    let mut connection = servers::connect(how).await.map_err(|error| chain(&error))?;
    read(&mut connection).await.map_err(|error| chain(&error))
}

async fn read(connection: &mut Connection) -> lutra_mysql::Result<Snapshot> {
    const TABLES: &str =
        "SELECT table_schema, table_name, engine FROM information_schema.tables WHERE table_type = 'BASE TABLE'";
    const COLUMNS: &str = "SELECT table_schema, table_name, column_name, column_type, collation_name, is_nullable, \
                           column_default IS NOT NULL, extra FROM information_schema.columns \
                           ORDER BY table_schema, table_name, ordinal_position";
    const KEYS: &str = "SELECT table_schema, table_name, column_name FROM information_schema.key_column_usage \
                        WHERE constraint_name = 'PRIMARY' ORDER BY table_schema, table_name, ordinal_position";
    const PARTITIONS: &str = "SELECT table_schema, table_name, CONCAT_WS(' ', partition_method, partition_expression, \
                              subpartition_method, subpartition_expression), CONCAT_WS(' ', partition_name, subpartition_name, \
                              partition_description) FROM information_schema.partitions WHERE partition_name IS NOT NULL \
                              ORDER BY table_schema, table_name, partition_ordinal_position, subpartition_ordinal_position";
    const TRIGGERS: &str =
        "SELECT event_object_schema, event_object_table, trigger_name FROM information_schema.triggers";
    const CASCADES: &str = "SELECT k.table_schema, k.table_name, GROUP_CONCAT(k.column_name ORDER BY k.ordinal_position), \
                            MIN(k.referenced_table_schema), MIN(k.referenced_table_name) \
                            FROM information_schema.key_column_usage k JOIN information_schema.referential_constraints r \
                            ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name \
                            AND r.table_name = k.table_name \
                            WHERE r.update_rule IN ('CASCADE','SET NULL','SET DEFAULT') OR r.delete_rule IN ('CASCADE','SET NULL','SET DEFAULT') \
                            GROUP BY k.table_schema, k.table_name, k.constraint_name";
    let mut tables: BTreeMap<TableName, Table> = BTreeMap::new();
    for row in connection.query(TABLES).await?.iter().filter(|row| !catalogue::is_system(&row.string(0))) {
        let table = Table { engine: row.string(2), ..Table::default() };
        tables.insert(TableName::new(row.string(0), row.string(1)), table);
    }
    for row in connection.query(COLUMNS).await? {
        let Some(table) = tables.get_mut(&TableName::new(row.string(0), row.string(1))) else { continue };
        let extra = row.string(7).to_ascii_uppercase();
        table.columns.push(Column {
            name: row.string(2),
            column_type: row.string(3),
            collation: row.string(4),
            optional: row.text(5) == Some("YES")
                || row.u64(6) == Some(1)
                || extra.contains("AUTO_INCREMENT")
                || extra.contains("DEFAULT_GENERATED"),
            generated: extra.contains("GENERATED") && !extra.contains("DEFAULT_GENERATED")
                || extra.contains("PERSISTENT"),
        });
    }
    for row in connection.query(KEYS).await? {
        if let Some(table) = tables.get_mut(&TableName::new(row.string(0), row.string(1))) {
            table.key.push(row.string(2));
        }
    }
    for row in connection.query(PARTITIONS).await? {
        if let Some(table) = tables.get_mut(&TableName::new(row.string(0), row.string(1))) {
            if table.partitions.is_empty() {
                table.partitions = row.string(2);
            }
            table.partitions.push_str(", ");
            table.partitions.push_str(&row.string(3));
        }
    }
    for row in connection.query(TRIGGERS).await? {
        if let Some(table) = tables.get_mut(&TableName::new(row.string(0), row.string(1))) {
            table.triggers.push(row.string(2));
        }
    }
    for row in connection.query(CASCADES).await? {
        if let Some(table) = tables.get_mut(&TableName::new(row.string(0), row.string(1))) {
            table.cascades.push((row.string(2), TableName::new(row.string(3), row.string(4))));
        }
    }
    // Servers that have the switch, and have it off, log what foreign keys do.
    let switch = catalogue::variables(connection).await?.remove("innodb_native_foreign_keys");
    Ok(Snapshot { tables, logs_cascades: switch.is_some_and(|value| value == "OFF") })
}

/// A table of the source, where it goes, and by which route.
struct Way<'s> {
    from: &'s TableName,
    table: &'s Table,
    to: TableName,
    route: Option<usize>,
    columns: Option<&'s ColumnRules>,
    exact: bool,
}

fn judge(pipeline: &PipelineSpec, rules: &Rules, source: &SourceSpec, left: &Snapshot, right: &Snapshot) -> Findings {
    let mut findings = Findings::default();
    let ways = ways(pipeline, rules, source, left, &mut findings);
    for way in &ways {
        columns(way, right.tables.get(&way.to), &mut findings);
    }
    alike(&ways, &mut findings);
    unknown_tables(pipeline, source, left, &mut findings);
    triggers(pipeline, &ways, right, &mut findings);
    cascades(&ways, left, right, &mut findings);
    partitions(&ways, right, &mut findings);
    engines(&ways, &mut findings);
    findings
}

fn ways<'s>(
    pipeline: &'s PipelineSpec,
    rules: &'s Rules,
    source: &SourceSpec,
    left: &'s Snapshot,
    findings: &mut Findings,
) -> Vec<Way<'s>> {
    let mut ways = Vec::new();
    for (from, table) in left.tables.iter().filter(|(name, _)| source.captures(&name.database, &name.table)) {
        let route = pipeline.tables.iter().position(|route| route.pattern.matches_table(from));
        match rules.table(from) {
            Ok(TableDecision::Drop) => {}
            Ok(TableDecision::Pass) => {
                ways.push(Way { from, table, to: from.clone(), route, columns: None, exact: false });
            }
            Ok(TableDecision::Map(mapping)) => ways.push(Way {
                from,
                table,
                to: mapping.to,
                route,
                columns: Some(mapping.columns),
                exact: mapping.exact,
            }),
            Err(fault) => findings.faults.push((route, fault.to_string())),
        }
    }
    ways
}

impl Way<'_> {
    fn dropped(&self, column: &str) -> bool {
        self.columns.is_some_and(|rules| rules.drop.iter().any(|name| name.eq_ignore_ascii_case(column)))
    }

    fn name<'a>(&'a self, column: &'a str) -> &'a str {
        let renamed = self.columns.and_then(|c| c.rename.iter().find(|(from, _)| from.eq_ignore_ascii_case(column)));
        renamed.map_or(column, |(_, to)| to)
    }

    /// Columns that reach the target.
    fn kept(&self) -> impl Iterator<Item = &Column> {
        self.table.columns.iter().filter(|column| !self.dropped(&column.name))
    }
}

/// Column rules against the source's columns, and what comes out against the target's.
fn columns(way: &Way<'_>, target: Option<&Table>, findings: &mut Findings) {
    let mut fault = |fault: RuleFault| findings.faults.push((way.route, fault.to_string()));
    let table = || way.from.clone();
    if let Some(rules) = way.columns {
        let named = rules.rename.keys().map(|c| (c, "renames")).chain(rules.drop.iter().map(|c| (c, "drops")));
        for (column, verb) in named.filter(|(column, _)| way.exact && way.table.column(column).is_none()) {
            fault(RuleFault::NoColumn { table: table(), column: column.clone(), verb });
        }
        for column in way.table.key.iter().filter(|column| way.dropped(column)) {
            fault(RuleFault::KeyColumn { table: table(), column: column.clone() });
        }
        if way.kept().next().is_none() && !way.table.columns.is_empty() {
            fault(RuleFault::NoColumnLeft { table: table() });
        }
        for column in way.kept() {
            let name = way.name(&column.name);
            let taken =
                way.kept().find(|other| other.name != column.name && way.name(&other.name).eq_ignore_ascii_case(name));
            if taken.is_some() && name != column.name {
                fault(RuleFault::NameTaken { table: table(), column: column.name.clone(), name: name.to_owned() });
            }
        }
    }
    let Some(target) = target else { return };
    let (from, to) = (way.from, &way.to);
    for column in way.kept().filter(|column| !column.generated) {
        let name = way.name(&column.name);
        if target.column(name).is_none() {
            let text = format!(
                "table {to} of the target has no column {name}, which {from} gives it; add it there, or drop or rename it by a rule"
            );
            findings.faults.push((way.route, text));
        }
    }
    let given = |column: &&Column| way.kept().any(|kept| way.name(&kept.name).eq_ignore_ascii_case(&column.name));
    for column in target.columns.iter().filter(|c| !c.optional && !c.generated).filter(|c| !given(c)) {
        let name = &column.name;
        let text = format!(
            "column {name} of {to} in the target must be given and {from} has none for it; give it a default there"
        );
        findings.faults.push((way.route, text));
    }
}

/// Tables that lead to one table are alike.
fn alike(ways: &[Way<'_>], findings: &mut Findings) {
    let shape = |way: &Way<'_>| -> Vec<(String, String, String)> {
        way.kept()
            .map(|c| (way.name(&c.name).to_ascii_lowercase(), c.column_type.clone(), c.collation.clone()))
            .collect()
    };
    let mut first: BTreeMap<&TableName, &Way<'_>> = BTreeMap::new();
    for way in ways {
        match first.get(&way.to) {
            None => drop(first.insert(&way.to, way)),
            Some(other) if shape(other) != shape(way) => {
                let text = format!(
                    "tables {} and {} both lead to {}, and their columns differ; give one of them another name, or make them alike",
                    other.from, way.from, way.to
                );
                findings.faults.push((way.route, text));
            }
            Some(_) => {}
        }
    }
}

/// Routes that name one table which is not there yet.
fn unknown_tables(pipeline: &PipelineSpec, source: &SourceSpec, left: &Snapshot, findings: &mut Findings) {
    let named = pipeline.tables.iter().filter_map(|route| route.pattern.single());
    for table in named {
        if !source.captures(&table.database, &table.table) {
            findings.warnings.push(format!("table {table} has a route, and the source does not capture it"));
        } else if !left.tables.contains_key(&table) {
            findings.warnings.push(format!("table {table} has a route, and the source has no such table yet"));
        }
    }
}

fn triggers(pipeline: &PipelineSpec, ways: &[Way<'_>], right: &Snapshot, findings: &mut Findings) {
    // With `guard`, triggers know our sessions.
    if pipeline.triggers != TriggerPolicy::Skip {
        return;
    }
    let on = |way: &Way<'_>| right.tables.get(&way.to).map(|table| table.triggers.clone()).unwrap_or_default();
    let found: Vec<String> = ways
        .iter()
        .flat_map(|way| on(way).into_iter().map(move |trigger| format!("{trigger} on {}", way.to)))
        .collect();
    warn(&found, "triggers of the target fire a second time for each row that is applied; drop them", findings);
}

/// Where the source's binlog lacks what foreign keys do, the target must do it.
fn cascades(ways: &[Way<'_>], left: &Snapshot, right: &Snapshot, findings: &mut Findings) {
    if left.logs_cascades {
        return;
    }
    let target_of = |name: &TableName| ways.iter().find(|way| way.from == name).map(|way| &way.to);
    let mut found = Vec::new();
    for way in ways {
        let there = right.tables.get(&way.to);
        for (columns, parent) in &way.table.cascades {
            let names: Vec<&str> = columns.split(',').map(|column| way.name(column)).collect();
            let same = |(other, of): &(String, TableName)| *other == names.join(",") && target_of(parent) == Some(of);
            // A table that is not there yet is made with its foreign keys.
            if there.is_some_and(|table| !table.cascades.iter().any(same)) || target_of(parent).is_none() {
                found.push(format!("{} ({columns}) -> {parent}", way.from));
            }
        }
    }
    warn(
        &found,
        "rows that these foreign keys change are not in this server's binlog, and the target has no foreign key that does the same",
        findings,
    );
}

/// Partitions that are dropped, emptied or exchanged leave no rows in the binlog.
fn partitions(ways: &[Way<'_>], right: &Snapshot, findings: &mut Findings) {
    let unlike = |way: &&Way<'_>| {
        !way.table.partitions.is_empty()
            && right.tables.get(&way.to).is_some_and(|t| t.partitions != way.table.partitions)
    };
    let found: Vec<String> = ways.iter().filter(unlike).map(|way| format!("{} -> {}", way.from, way.to)).collect();
    warn(
        &found,
        "partitions differ in method, names or bounds: dropping, emptying or exchanging one at the source leaves no rows in its binlog, \
         and does something else in the target, or fails there",
        findings,
    );
}

fn engines(ways: &[Way<'_>], findings: &mut Findings) {
    let plain = |way: &&Way<'_>| !["INNODB", "ROCKSDB", ""].contains(&way.table.engine.to_ascii_uppercase().as_str());
    let found: Vec<String> =
        ways.iter().filter(plain).map(|way| format!("{} ({})", way.from, way.table.engine)).collect();
    warn(
        &found,
        "tables without transactions cannot be applied exactly once; make them InnoDB or exclude them",
        findings,
    );
}

/// One warning for all of a kind.
fn warn(found: &[String], what: &str, findings: &mut Findings) {
    if found.is_empty() {
        return;
    }
    let listed = found.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    let more = found.len().saturating_sub(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    findings.warnings.push(format!("{listed}{more}: {what}"));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lutra_spec::Spec;

    use super::*;

    fn specs(tables: &str) -> (PipelineSpec, SourceSpec) {
        let text = format!(
            "kind: source\nname: s\nspec: {{servers: [a], user: u, tables: ['shop.*']}}\n---\nkind: pipeline\nname: p\n\
             spec: {{source: s, target: t, tables: {tables}}}\n"
        );
        let mut parsed = lutra_spec::parse(&text).unwrap().into_iter().map(|d| d.document.spec);
        match (parsed.next(), parsed.next()) {
            (Some(Spec::Source(source)), Some(Spec::Pipeline(pipeline))) => (pipeline, source),
            other => panic!("{other:?}"),
        }
    }

    fn table(columns: &[&str]) -> Table {
        let column = |name: &&str| Column {
            name: name.trim_end_matches('!').to_owned(),
            column_type: "int".to_owned(),
            optional: !name.ends_with('!'),
            ..Column::default()
        };
        Table {
            engine: "InnoDB".to_owned(),
            columns: columns.iter().map(column).collect(),
            key: vec!["id".to_owned()],
            ..Table::default()
        }
    }

    fn name(text: &str) -> TableName {
        let (database, table) = text.split_once('.').unwrap();
        TableName::new(database, table)
    }

    fn held(tables: &str, left: &[(&str, Table)], right: &[(&str, Table)]) -> Findings {
        let (pipeline, source) = specs(tables);
        let snapshot = |tables: &[(&str, Table)]| Snapshot {
            tables: tables.iter().map(|(n, t)| (name(n), t.clone())).collect(),
            logs_cascades: false,
        };
        judge(&pipeline, &Rules::compile(&pipeline).unwrap(), &source, &snapshot(left), &snapshot(right))
    }

    #[test]
    fn every_column_that_does_not_fit_is_named_at_once() {
        let found = held(
            "[{match: shop.a, to: crm.b, columns: {rename: {v: w, no: x}, drop: [id, gone]}}]",
            &[("shop.a", table(&["id", "v", "u"]))],
            &[("crm.b", table(&["w", "must!"]))],
        );
        let text: Vec<&str> = found.faults.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(found.faults.len(), 5, "{text:?}");
        for part in [
            "no column no",
            "no column gone",
            "column id of shop.a is part of the primary key",
            "no column u",
            "column must of crm.b",
        ] {
            assert!(text.iter().any(|t| t.contains(part)), "{part}: {text:?}");
        }
        assert!(found.faults.iter().all(|(route, _)| *route == Some(0)));
    }

    #[test]
    fn tables_that_meet_in_one_must_be_alike() {
        let routes = "[{match: 'shop.user_*', to: 'crm.users'}]";
        let (a, b) = (table(&["id", "v"]), table(&["id", "w"]));
        assert!(held(routes, &[("shop.user_1", a.clone()), ("shop.user_2", a.clone())], &[]).faults.is_empty());
        assert_eq!(held(routes, &[("shop.user_1", a), ("shop.user_2", b)], &[]).faults.len(), 1);
    }

    #[test]
    fn what_leaves_no_rows_in_the_binlog_is_a_warning() {
        let mut child = table(&["id", "p"]);
        child.cascades = vec![("p".to_owned(), name("shop.a"))];
        let mut parts = table(&["id"]);
        parts.partitions = "HASH `id`".to_owned();
        let mut plain = table(&["id"]);
        plain.engine = "MyISAM".to_owned();
        let mut fires = table(&["id"]);
        fires.triggers = vec!["tr".to_owned()];
        let left =
            [("shop.a", table(&["id"])), ("shop.c", child.clone()), ("shop.p", parts.clone()), ("shop.m", plain)];
        let right = [("shop.a", fires), ("shop.c", table(&["id", "p"])), ("shop.p", table(&["id"]))];
        let found = held("[]", &left, &right);
        assert!(found.faults.is_empty(), "{found:?}");
        let text = found.warnings.join("\n");
        for part in ["tr on shop.a", "shop.c (p) -> shop.a", "shop.p -> shop.p", "shop.m (MyISAM)"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(
            held("[]", &[("shop.c", child.clone()), ("shop.a", table(&["id"]))], &[("shop.c", child)])
                .warnings
                .is_empty()
        );
    }
}
