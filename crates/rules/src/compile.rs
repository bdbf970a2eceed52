//! The specification compiled: which table goes where.

use lutra_change::{Operation, TableName};
use lutra_spec::{ColumnRules, DdlPolicy, PipelineSpec, Route, TriggerPolicy, is_system_schema};

use crate::fault::RuleFault;

/// The rules of one pipeline.
#[derive(Clone, Debug)]
pub struct Rules {
    pub(crate) routes: Vec<Route>,
    pub(crate) ddl: DdlPolicy,
    pub(crate) triggers: TriggerPolicy,
    pub(crate) accounts: bool,
}

/// What becomes of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum TableDecision<'r> {
    /// Name, schema and bytes stay; nothing needs to be looked at.
    Pass,
    /// Nothing of it is carried.
    Drop,
    /// It is carried under rules.
    Map(TableMapping<'r>),
}

/// Under which rules a table is carried.
#[derive(Clone, Debug, PartialEq)]
pub struct TableMapping<'r> {
    /// Its name in the target.
    pub to: TableName,
    /// Which operations are carried.
    pub operations: OperationFilter,
    /// What happens to its columns.
    pub columns: &'r ColumnRules,
    /// Whether the rule names this very table: then its columns must exist. A rule over many tables applies where they do.
    pub exact: bool,
    /// Whether other tables can lead to the same name, since the name does not use every wildcard.
    pub merges: bool,
}

/// A set of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OperationFilter(u8);

impl OperationFilter {
    /// All operations.
    pub const ALL: Self = Self(0b111);

    /// The given ones.
    pub fn of(operations: &[Operation]) -> Self {
        Self(operations.iter().fold(0, |bits, o| bits | Self::bit(*o)))
    }

    fn bit(operation: Operation) -> u8 {
        match operation {
            // A row of the initial copy arrives as an insert does.
            Operation::Insert | Operation::Read => 0b001,
            Operation::Update => 0b010,
            Operation::Delete => 0b100,
        }
    }

    /// Whether the operation is carried.
    pub fn carries(self, operation: Operation) -> bool {
        self.0 & Self::bit(operation) != 0
    }

    /// Whether every operation is carried.
    pub fn is_all(self) -> bool {
        self == Self::ALL
    }
}

impl Rules {
    /// Compiles the rules of a pipeline; all faults at once.
    pub fn compile(spec: &PipelineSpec) -> Result<Self, Vec<RuleFault>> {
        let mut faults = Vec::new();
        for (index, route) in spec.tables.iter().enumerate() {
            unreachable(index, route, &spec.tables[..index], &mut faults);
            if let Some(to) = route.to.as_ref().filter(|t| t.captures_used() > route.pattern.wildcards()) {
                faults.push(RuleFault::Capture {
                    route: index,
                    pattern: route.pattern.to_string(),
                    to: to.to_string(),
                    used: to.captures_used(),
                    wildcards: route.pattern.wildcards(),
                });
            }
            column_rules(index, &route.columns, &mut faults);
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self { routes: spec.tables.clone(), ddl: spec.ddl, triggers: spec.triggers, accounts: spec.accounts })
    }

    /// What becomes of DDL on a table of the source.
    pub fn policy(&self, name: &TableName) -> DdlPolicy {
        let route = self.routes.iter().find(|r| r.pattern.matches_table(name));
        route.and_then(|r| r.ddl).unwrap_or(self.ddl)
    }

    /// What becomes of a table of the source.
    pub fn table(&self, name: &TableName) -> Result<TableDecision<'_>, RuleFault> {
        if is_system_schema(&name.database) {
            return Ok(TableDecision::Drop);
        }
        if self.routes.is_empty() {
            return Ok(TableDecision::Pass);
        }
        for route in &self.routes {
            let Some(captures) = route.pattern.captures(&name.database, &name.table) else { continue };
            let to = match &route.to {
                None => name.clone(),
                Some(template) => template
                    .expand(&captures)
                    .ok_or_else(|| RuleFault::NoName { table: name.clone(), to: template.to_string() })?,
            };
            let operations = route.operations.as_deref().map_or(OperationFilter::ALL, OperationFilter::of);
            if to == *name && operations.is_all() && route.columns.is_empty() {
                return Ok(TableDecision::Pass);
            }
            let exact = route.pattern.single().is_some();
            let merges = route.to.as_ref().is_some_and(|t| t.distinct_captures() < route.pattern.wildcards());
            return Ok(TableDecision::Map(TableMapping { to, operations, columns: &route.columns, exact, merges }));
        }
        Ok(TableDecision::Drop)
    }
}

fn unreachable(index: usize, route: &Route, before: &[Route], faults: &mut Vec<RuleFault>) {
    let shadow = before.iter().position(|other| other.pattern.covers(&route.pattern));
    if let Some((by, other)) = shadow.and_then(|by| before.get(by).map(|o| (by, o))) {
        faults.push(RuleFault::Unreachable {
            route: index,
            pattern: route.pattern.to_string(),
            by,
            by_pattern: other.pattern.to_string(),
        });
    }
}

fn column_rules(route: usize, columns: &ColumnRules, faults: &mut Vec<RuleFault>) {
    let renames: Vec<(&String, &String)> = columns.rename.iter().collect();
    for (i, (first, name)) in renames.iter().enumerate() {
        for (second, other) in &renames[i + 1..] {
            if name.eq_ignore_ascii_case(other) {
                faults.push(RuleFault::RenameTwice {
                    route,
                    first: (*first).clone(),
                    second: (*second).clone(),
                    name: (*name).clone(),
                });
            }
        }
        if columns.drop.iter().any(|d| d.eq_ignore_ascii_case(first)) {
            faults.push(RuleFault::RenamedAndDropped { route, column: (*first).clone() });
        }
    }
    let names = columns.rename.iter().flat_map(|(from, to)| [from, to]).chain(&columns.drop);
    // MySQL: 1 to 64 characters, no trailing space.
    for name in names.filter(|n| n.is_empty() || n.chars().count() > 64 || n.ends_with(' ') || n.contains('\0')) {
        faults.push(RuleFault::ColumnName { route, column: name.clone() });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{pipeline, table};

    #[test]
    fn without_routes_everything_but_system_schemas_passes() {
        let rules = Rules::compile(&pipeline("[]")).unwrap();
        assert_eq!(rules.table(&table("shop.orders")), Ok(TableDecision::Pass));
        assert_eq!(rules.table(&table("mysql.user")), Ok(TableDecision::Drop));
        assert_eq!(rules.table(&table("lutra.slot")), Ok(TableDecision::Drop));
    }

    #[test]
    fn the_first_route_that_matches_decides() {
        let rules = Rules::compile(&pipeline(
            "[{match: shop.user_info, to: crm.t_user}, {match: 'shop.user_*', to: crm.t_$1}, {match: shop.orders}]",
        ))
        .unwrap();
        let to = |name: &str| match rules.table(&table(name)).unwrap() {
            TableDecision::Pass => "pass".to_owned(),
            TableDecision::Drop => "drop".to_owned(),
            TableDecision::Map(mapping) => mapping.to.to_string(),
        };
        assert_eq!(to("shop.user_info"), "crm.t_user");
        assert_eq!(to("shop.user_tag"), "crm.t_tag");
        assert_eq!((to("shop.orders"), to("shop.carts")), ("pass".to_owned(), "drop".to_owned()));
    }

    #[test]
    fn all_faults_are_found_at_once() {
        let faults = Rules::compile(&pipeline(
            "[{match: 'a.*', columns: {rename: {x: z, y: Z}, drop: ['']}}, {match: a.b}, {match: '*.*'}, {match: 'c.*'}]",
        ))
        .unwrap_err();
        let unreachable = faults.iter().filter(|f| matches!(f, RuleFault::Unreachable { .. })).count();
        assert_eq!(unreachable, 2, "{faults:?}");
        assert!(faults.iter().any(|f| matches!(f, RuleFault::RenameTwice { .. })));
        assert!(faults.iter().any(|f| matches!(f, RuleFault::ColumnName { .. })));
    }

    #[test]
    fn a_name_that_comes_out_empty_is_a_fault() {
        let rules = Rules::compile(&pipeline("[{match: 'shop.*', to: '$1.t'}]")).unwrap();
        assert!(matches!(rules.table(&table("shop.mysql")), Err(RuleFault::NoName { .. })));
    }
}
