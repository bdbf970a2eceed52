//! What happens to the rows of one table in one version of its schema.

use std::sync::Arc;

use lutra_change::{ColumnSet, ColumnType, KeyPart, Operation, TableName, TableSchema};
use lutra_spec::ColumnRules;
use lutra_wire::WireError;
use lutra_wire::schema::RowSchema;

use crate::compile::{OperationFilter, Rules, TableDecision, TableMapping};
use crate::fault::RuleFault;

/// The rules of one table, planned for one version of its schema.
#[derive(Clone, Debug)]
pub struct TablePlan {
    target: Arc<RowSchema>,
    operations: OperationFilter,
    /// None: images pass as they are.
    slices: Option<Slices>,
}

/// How an image loses its dropped columns.
#[derive(Clone, Debug)]
struct Slices {
    /// For each column of the source, in order: how its bytes are passed over, and whether they stay.
    columns: Vec<(Skip, bool)>,
}

/// How to pass over one column's bytes. Every column is a union of null and one type, null first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skip {
    /// A variable-length integer.
    Varint,
    /// So many bytes.
    Fixed(usize),
    /// A length, then so many bytes.
    Counted,
}

/// A row image that is not a datum of its schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row image of {table} does not follow its schema at byte {at}")]
pub struct ApplyError {
    /// The table in the target.
    pub table: TableName,
    /// Where it leaves the schema.
    pub at: usize,
}

impl Rules {
    /// Plans a table of the source in one version of its schema.
    pub fn plan(&self, schema: &Arc<RowSchema>) -> Result<TablePlan, RuleFault> {
        let name = &schema.table().name;
        match self.table(name)? {
            TableDecision::Drop => Err(RuleFault::NotCarried { table: name.clone() }),
            TableDecision::Pass => {
                Ok(TablePlan { target: Arc::clone(schema), operations: OperationFilter::ALL, slices: None })
            }
            TableDecision::Map(mapping) => mapping.plan(schema),
        }
    }
}

impl TableMapping<'_> {
    fn plan(&self, schema: &Arc<RowSchema>) -> Result<TablePlan, RuleFault> {
        let source = schema.table();
        let (target, kept) = target_table(source, self)?;
        let target = if target == **source {
            Arc::clone(schema)
        } else {
            let fault = |e: WireError| RuleFault::Schema { table: source.name.clone(), reason: e.to_string() };
            Arc::new(RowSchema::from_table(&target).map_err(fault)?)
        };
        let slices = kept.iter().any(|k| !k).then(|| Slices {
            columns: source.columns.iter().zip(&kept).map(|(c, keep)| (Skip::of(&c.column_type), *keep)).collect(),
        });
        Ok(TablePlan { target, operations: self.operations, slices })
    }
}

impl TablePlan {
    /// The schema of the rows in the target.
    pub fn target(&self) -> &Arc<RowSchema> {
        &self.target
    }

    /// Whether changes of that operation are carried.
    pub fn carries(&self, operation: Operation) -> bool {
        self.operations.carries(operation)
    }

    /// Whether row images pass byte for byte.
    pub fn passes_bytes(&self) -> bool {
        self.slices.is_none()
    }

    /// Appends the target's row image for one of the source. Costs a copy of the bytes that stay, no allocation.
    pub fn apply(&self, image: &[u8], out: &mut Vec<u8>) -> Result<(), ApplyError> {
        let Some(slices) = &self.slices else {
            out.extend_from_slice(image);
            return Ok(());
        };
        let fault = |at| ApplyError { table: self.target.table().name.clone(), at };
        let (mut from, mut at) = (0, 0);
        for (skip, keep) in &slices.columns {
            let end = skip.end(image, at).ok_or_else(|| fault(at))?;
            if !keep {
                out.extend_from_slice(&image[from..at]);
                from = end;
            }
            at = end;
        }
        if at != image.len() {
            return Err(fault(at));
        }
        out.extend_from_slice(&image[from..]);
        Ok(())
    }

    /// Which columns of the target a partial image holds.
    pub fn columns(&self, source: &ColumnSet) -> ColumnSet {
        let Some(slices) = &self.slices else { return source.clone() };
        let kept = slices.columns.iter().enumerate().filter(|(_, (_, keep))| *keep);
        let (all, left) = (slices.columns.len(), self.target.table().columns.len());
        let mut columns = ColumnSet::new();
        for (new, (index, _)) in kept.enumerate() {
            if source.contains(index) {
                columns.insert(new);
            }
            // Behind all columns: those that hold what changed inside a JSON value.
            if source.contains(all + index) {
                columns.insert(left + new);
            }
        }
        columns
    }
}

impl Skip {
    /// By the table at [`ColumnType`].
    fn of(column: &ColumnType) -> Self {
        match column {
            ColumnType::TinyInt { .. }
            | ColumnType::SmallInt { .. }
            | ColumnType::MediumInt { .. }
            | ColumnType::Int { .. } => Self::Varint,
            ColumnType::BigInt { unsigned: false }
            | ColumnType::Year
            | ColumnType::Timestamp { .. }
            | ColumnType::Enum { .. } => Self::Varint,
            ColumnType::Float => Self::Fixed(4),
            ColumnType::Double => Self::Fixed(8),
            ColumnType::BigInt { unsigned: true }
            | ColumnType::Decimal { .. }
            | ColumnType::Date
            | ColumnType::Time { .. }
            | ColumnType::DateTime { .. }
            | ColumnType::Bit { .. }
            | ColumnType::Char { .. }
            | ColumnType::VarChar { .. }
            | ColumnType::Text { .. }
            | ColumnType::Binary { .. }
            | ColumnType::VarBinary { .. }
            | ColumnType::Blob { .. }
            | ColumnType::Set { .. }
            | ColumnType::Json
            | ColumnType::Geometry { .. }
            | ColumnType::Vector { .. } => Self::Counted,
        }
    }

    /// Where the column that begins at `at` ends.
    fn end(self, image: &[u8], at: usize) -> Option<usize> {
        let (branch, at) = varint(image, at)?;
        match branch {
            0 => return Some(at),
            1 => {}
            _ => return None,
        }
        let end = match self {
            Self::Varint => varint(image, at)?.1,
            Self::Fixed(bytes) => at.checked_add(bytes)?,
            Self::Counted => {
                let (length, at) = varint(image, at)?;
                at.checked_add(usize::try_from(length).ok()?)?
            }
        };
        (end <= image.len()).then_some(end)
    }
}

/// Avro's zig-zag integer at a byte, and where it ends.
fn varint(bytes: &[u8], mut at: usize) -> Option<(i64, usize)> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(at)?;
        at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(((value >> 1) as i64 ^ -((value & 1) as i64), at));
        }
    }
    None
}

/// The table as the target has it, and which columns of the source stay.
fn target_table(source: &TableSchema, mapping: &TableMapping<'_>) -> Result<(TableSchema, Vec<bool>), RuleFault> {
    let rules = mapping.columns;
    if mapping.exact {
        named_columns_exist(source, rules)?;
    }
    let dropped = |name: &str| rules.drop.iter().any(|d| d.eq_ignore_ascii_case(name));
    let kept: Vec<bool> = source.columns.iter().map(|c| !dropped(&c.name)).collect();
    let mut target = TableSchema { name: mapping.to.clone(), columns: Vec::new(), primary_key: Vec::new() };
    for column in source.columns.iter().filter(|c| !dropped(&c.name)) {
        let mut column = column.clone();
        if let Some((_, to)) = rules.rename.iter().find(|(from, _)| from.eq_ignore_ascii_case(&column.name)) {
            column.name.clone_from(to);
        }
        if let Some(taken) = target.columns.iter().find(|c| c.name.eq_ignore_ascii_case(&column.name)) {
            return Err(RuleFault::NameTaken {
                table: source.name.clone(),
                column: column.name,
                name: taken.name.clone(),
            });
        }
        target.columns.push(column);
    }
    if target.columns.is_empty() {
        return Err(RuleFault::NoColumnLeft { table: source.name.clone() });
    }
    for part in &source.primary_key {
        let before = kept.get(..part.column).unwrap_or_default();
        if kept.get(part.column) != Some(&true) {
            let column = source.columns.get(part.column).map(|c| c.name.clone()).unwrap_or_default();
            return Err(RuleFault::KeyColumn { table: source.name.clone(), column });
        }
        target.primary_key.push(KeyPart { column: before.iter().filter(|k| **k).count(), prefix: part.prefix });
    }
    Ok((target, kept))
}

fn named_columns_exist(source: &TableSchema, rules: &ColumnRules) -> Result<(), RuleFault> {
    let named = rules.rename.keys().map(|c| (c, "renames")).chain(rules.drop.iter().map(|c| (c, "drops")));
    for (column, verb) in named {
        if source.column(column).is_none() {
            return Err(RuleFault::NoColumn { table: source.name.clone(), column: column.clone(), verb });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lutra_change::Column;
    use lutra_wire::RowDecoder;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::pipeline;

    fn column(name: &str, column_type: ColumnType) -> Column {
        Column { name: name.to_owned(), column_type, nullable: true, invisible: false }
    }

    fn schema() -> Arc<RowSchema> {
        let table = TableSchema {
            name: crate::testing::table("shop.t"),
            columns: vec![
                column("a", ColumnType::Int { unsigned: false }),
                column("b", ColumnType::Double),
                column("c", ColumnType::Blob { prefix: 2 }),
                column("d", ColumnType::Float),
            ],
            primary_key: vec![KeyPart { column: 2, prefix: None }],
        };
        Arc::new(RowSchema::from_table(&table).unwrap())
    }

    fn plan(columns: &str) -> Result<TablePlan, RuleFault> {
        Rules::compile(&pipeline(&format!("[{{match: shop.t, to: crm.u, columns: {columns}}}]")))
            .unwrap()
            .plan(&schema())
    }

    #[test]
    fn a_rename_is_schema_only() {
        let plan = plan("{rename: {a: x}}").unwrap();
        assert!(plan.passes_bytes());
        assert_eq!(plan.target().table().name.to_string(), "crm.u");
        assert_eq!(plan.target().table().columns[0].name, "x");
    }

    #[test]
    fn faults_name_table_and_column() {
        assert!(matches!(plan("{drop: [c]}"), Err(RuleFault::KeyColumn { .. })));
        assert!(matches!(plan("{drop: [z]}"), Err(RuleFault::NoColumn { verb: "drops", .. })));
        assert!(matches!(plan("{rename: {a: B}}"), Err(RuleFault::NameTaken { .. })));
        assert!(plan("{rename: {a: b, b: a}}").is_ok());
        let rules = Rules::compile(&pipeline("[{match: 'shop.*', columns: {drop: [z, b]}}]")).unwrap();
        assert_eq!(rules.plan(&schema()).unwrap().target().table().columns.len(), 3);
    }

    #[test]
    fn operations_are_filtered() {
        let rules = Rules::compile(&pipeline("[{match: shop.t, operations: [insert]}]")).unwrap();
        let plan = rules.plan(&schema()).unwrap();
        assert!(plan.carries(Operation::Insert) && plan.carries(Operation::Read) && !plan.carries(Operation::Delete));
    }

    /// One column's bytes as the row codec writes them.
    fn datum(column: usize, value: Option<u8>) -> Vec<u8> {
        match (value, column) {
            (None, _) => vec![0],
            (Some(v), 0) => vec![2, v | 0x80, 1],
            (Some(v), 1) => [vec![2], vec![v; 8]].concat(),
            (Some(v), 2) => [vec![2, (v % 60) * 2], vec![v; usize::from(v % 60)]].concat(),
            (Some(v), _) => [vec![2], vec![v; 4]].concat(),
        }
    }

    proptest! {
        #[test]
        fn what_stays_of_an_image_is_the_columns_that_stay(values in prop::array::uniform4(prop::option::of(any::<u8>())), drop in prop::sample::subsequence(vec!["a", "b", "d"], 0..=3)) {
            let plan = plan(&format!("{{drop: [{}]}}", drop.join(","))).unwrap();
            let image: Vec<u8> = (0..4).flat_map(|i| datum(i, values[i])).collect();
            let kept: Vec<u8> = (0..4).filter(|i| !drop.contains(&["a", "b", "c", "d"][*i])).flat_map(|i| datum(i, values[i])).collect();
            let mut out = Vec::new();
            plan.apply(&image, &mut out).unwrap();
            prop_assert_eq!(&out, &kept);
            // The row codec reads both.
            prop_assert!(RowDecoder::new(&schema()).decode(&image, |_, _| ()).is_ok());
            prop_assert!(RowDecoder::new(plan.target()).decode(&out, |_, _| ()).is_ok());
            if !plan.passes_bytes() {
                prop_assert!(plan.apply(&image[..image.len() - 1], &mut out).is_err());
            }
            let all: ColumnSet = [0, 2, 3].into_iter().collect();
            let names: Vec<&str> = plan.columns(&all).iter().map(|i| plan.target().table().columns[i].name.as_str()).collect();
            let expected: Vec<&str> = ["a", "c", "d"].into_iter().filter(|n| !drop.contains(n)).collect();
            prop_assert_eq!(names, expected);
        }

        #[test]
        fn any_bytes_are_applied_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = plan("{drop: [a]}").unwrap().apply(&bytes, &mut Vec::new());
        }
    }
}
