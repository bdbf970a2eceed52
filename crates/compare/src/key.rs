//! What a row is known by on both sides, and ranges of it.

use lutra_mysql::catalogue::{CatalogueColumn, TableDefinition};
use lutra_mysql::sql::{quote_identifier, quote_text};

use crate::pair::Side;

/// How values of a key's column travel as text and come back as literals.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// Digits.
    Number,
    /// A date or a time.
    Quoted,
    /// Text of that character set and collation, as hexadecimal.
    Text(String, String),
    /// Bytes, as hexadecimal.
    Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    source: String,
    target: String,
    form: Form,
}

/// A key that both sides order alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key(Vec<Part>);

/// The values of one key, each as [`Key::select`] gives it.
pub(crate) type Values = Vec<String>;

/// Keys behind the first and up to the second, open where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) after: Option<Values>,
    pub(crate) to: Option<Values>,
}

impl Key {
    /// The primary key, or else a unique key without NULL, whose columns are compared and ordered alike on both sides.
    pub(crate) fn of(definition: &TableDefinition, columns: &[(CatalogueColumn, CatalogueColumn)]) -> Option<Self> {
        let part = |name: &str| {
            let (source, target) = columns.iter().find(|(source, _)| source.name == name)?;
            let form =
                form(source).filter(|form| !source.nullable && Some(form) == super::key::form(target).as_ref())?;
            Some(Part { source: source.name.clone(), target: target.name.clone(), form })
        };
        definition.unique_keys().find_map(|key| {
            let parts = key.parts.iter().map(|p| part(p.column.as_deref().filter(|_| p.prefix.is_none())?));
            parts.collect::<Option<Vec<_>>>().filter(|parts| !parts.is_empty()).map(Self)
        })
    }

    fn names(&self, side: Side) -> impl Iterator<Item = String> {
        self.0.iter().map(move |part| quote_identifier(if side == Side::Source { &part.source } else { &part.target }))
    }

    /// How many columns.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Its values as text.
    pub(crate) fn select(&self, side: Side) -> String {
        let values = self.0.iter().zip(self.names(side)).map(|(part, name)| match part.form {
            Form::Number | Form::Quoted => format!("CAST({name} AS CHAR)"),
            Form::Text(..) | Form::Bytes => format!("HEX({name})"),
        });
        values.collect::<Vec<_>>().join(",")
    }

    /// The order of it.
    pub(crate) fn order(&self, side: Side) -> String {
        self.names(side).collect::<Vec<_>>().join(",")
    }

    fn literals(&self, values: &Values) -> Vec<String> {
        let literal = |(part, value): (&Part, &String)| match &part.form {
            Form::Number if value.chars().all(|c| c.is_ascii_digit() || "-.".contains(c)) => value.clone(),
            Form::Number | Form::Quoted => quote_text(value),
            Form::Text(charset, collation) => format!("_{charset} x'{value}' COLLATE {collation}"),
            Form::Bytes => format!("x'{value}'"),
        };
        self.0.iter().zip(values).map(literal).collect()
    }

    /// The condition for one key.
    pub(crate) fn is(&self, side: Side, values: &Values) -> String {
        let equal = self.names(side).zip(self.literals(values)).map(|(name, literal)| format!("{name}={literal}"));
        equal.collect::<Vec<_>>().join(" AND ")
    }

    /// The condition for a range.
    pub(crate) fn within(&self, side: Side, range: &Range) -> String {
        let after = range.after.as_ref().map(|values| self.beyond(side, values, ">", ">"));
        let to = range.to.as_ref().map(|values| self.beyond(side, values, "<", "<="));
        let both: Vec<String> = after.into_iter().chain(to).collect();
        if both.is_empty() { "TRUE".to_owned() } else { both.join(" AND ") }
    }

    /// `a >= x AND (a > x OR (a = x AND b > y))`: row comparisons are not read as ranges of an index.
    fn beyond(&self, side: Side, values: &Values, strict: &str, last: &str) -> String {
        let names: Vec<String> = self.names(side).collect();
        let pairs: Vec<(&String, String)> = names.iter().zip(self.literals(values)).collect();
        let mut condition = String::new();
        for (at, (name, literal)) in pairs.iter().enumerate().rev() {
            condition = if at + 1 == pairs.len() {
                format!("{name}{last}{literal}")
            } else {
                format!("{name}{strict}{literal} OR ({name}={literal} AND ({condition}))")
            };
        }
        match pairs.first() {
            Some((name, literal)) if pairs.len() > 1 => format!("{name}{strict}={literal} AND ({condition})"),
            _ => condition,
        }
    }

    /// For people: `a=1, b='x'`.
    pub(crate) fn describe(&self, values: &Values) -> String {
        let shown = self.0.iter().zip(values).map(|(part, value)| match &part.form {
            Form::Number | Form::Quoted => format!("{}={value}", part.source),
            Form::Text(charset, _) if charset.starts_with("utf8") || charset == "ascii" => {
                format!("{}={:?}", part.source, text_of(value))
            }
            Form::Text(..) | Form::Bytes => format!("{}=0x{value}", part.source),
        });
        format!("({})", shown.collect::<Vec<_>>().join(", "))
    }
}

fn text_of(hexadecimal: &str) -> String {
    let byte = |at: usize| hexadecimal.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Vec<u8> = (0..hexadecimal.len()).step_by(2).filter_map(byte).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `None`: its order or its literals are not the same everywhere.
fn form(column: &CatalogueColumn) -> Option<Form> {
    match column.data_type.as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" => Some(Form::Number),
        "date" | "datetime" | "timestamp" | "time" => Some(Form::Quoted),
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => {
            Some(Form::Text(column.charset.clone()?, column.collation.clone()?))
        }
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Some(Form::Bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        let part = |name: &str, form| Part { source: name.to_owned(), target: format!("{name}2"), form };
        Key(vec![
            part("a", Form::Number),
            part("b", Form::Text("utf8mb4".to_owned(), "utf8mb4_bin".to_owned())),
            part("c", Form::Quoted),
        ])
    }

    #[test]
    fn a_range_is_one_of_the_first_column_and_exact_in_all() {
        let values = vec!["1".to_owned(), "C3BC".to_owned(), "2024-01-01".to_owned()];
        let range = Range { after: Some(values.clone()), to: None };
        assert_eq!(
            key().within(Side::Source, &range),
            "`a`>=1 AND (`a`>1 OR (`a`=1 AND (`b`>_utf8mb4 x'C3BC' COLLATE utf8mb4_bin OR \
             (`b`=_utf8mb4 x'C3BC' COLLATE utf8mb4_bin AND (`c`>'2024-01-01')))))"
        );
        assert_eq!(key().describe(&values), "(a=1, b=\"ü\", c=2024-01-01)");
        assert_eq!(key().within(Side::Target, &Range::default()), "TRUE");
        let single = Key(key().0.into_iter().take(1).collect());
        let range = Range { after: None, to: Some(vec!["-7".to_owned()]) };
        assert_eq!(single.within(Side::Target, &range), "`a2`<=-7");
    }
}
