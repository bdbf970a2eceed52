//! What changed inside a JSON value, as an expression over what the row holds (partial JSON values without a base).

use lutra_change::json::printed;
use lutra_mysql::{Flavour, json, sql};
use serde::de::IgnoredAny;
use serde_json::Deserializer;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonChange<'a> {
    function: &'static str,
    path: String,
    /// The new value as it was written; none for a removal.
    value: Option<&'a str>,
}

/// Reads the list of changes as the extractor writes it: `[{"op": …, "path": …, "value": …}, …]`; none for other text.
pub fn parse(text: &str) -> Option<Vec<JsonChange<'_>>> {
    let mut rest = text.strip_prefix('[')?;
    let mut changes = Vec::new();
    while rest != "]" {
        rest = rest.strip_prefix(", ").unwrap_or(rest).strip_prefix("{\"op\": \"")?;
        let (operation, behind) = rest.split_once("\", \"path\": ")?;
        let mut path = Deserializer::from_str(behind).into_iter::<String>();
        let name = path.next()?.ok()?;
        rest = behind.get(path.byte_offset()..)?;
        let mut value = None;
        if let Some(behind) = rest.strip_prefix(", \"value\": ") {
            let mut values = Deserializer::from_str(behind).into_iter::<IgnoredAny>();
            values.next()?.ok()?;
            let end = values.byte_offset();
            value = Some(behind.get(..end)?);
            rest = behind.get(end..)?;
        }
        rest = rest.strip_prefix('}')?;
        let function = match (operation, value.is_some()) {
            ("replace", true) => "JSON_REPLACE(",
            ("insert", true) if name.ends_with(']') => "JSON_ARRAY_INSERT(",
            ("insert", true) => "JSON_INSERT(",
            ("remove", false) => "JSON_REMOVE(",
            _ => return None,
        };
        changes.push(JsonChange { function, path: name, value });
    }
    Some(changes)
}

/// Writes the column's new value: the changes over what it holds, in order.
pub fn write(out: &mut Vec<u8>, column: &str, changes: &[JsonChange<'_>], flavour: Flavour) {
    changes.iter().rev().for_each(|change| out.extend_from_slice(change.function.as_bytes()));
    out.extend_from_slice(column.as_bytes());
    for change in changes {
        out.push(b',');
        sql::write_quoted(out, change.path.as_bytes());
        if let Some(value) = change.value {
            if flavour.is_mariadb() {
                out.extend_from_slice(b",JSON_EXTRACT(");
                sql::write_quoted(out, printed(value).as_bytes());
                out.extend_from_slice(b",'$')");
            } else {
                out.extend_from_slice(b",CAST(");
                json::write_document(out, value);
                out.extend_from_slice(b" AS JSON)");
            }
        }
        out.push(b')');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_become_nested_functions_in_order() {
        let text = r#"[{"op": "replace", "path": "$.a", "value": 1.50}, {"op": "insert", "path": "$.\"b}c\"", "value": {"x": "}]"}}, {"op": "insert", "path": "$.l[0]", "value": null}, {"op": "remove", "path": "$.d"}]"#;
        let changes = parse(text).unwrap_or_default();
        let mut out = Vec::new();
        write(&mut out, "`j`", &changes, Flavour::MySql);
        assert_eq!(
            String::from_utf8_lossy(&out),
            r#"JSON_REMOVE(JSON_ARRAY_INSERT(JSON_INSERT(JSON_REPLACE(`j`,'$.a',CAST(JSON_REPLACE(CAST('0' AS JSON),'$',CAST('1.50' AS DECIMAL(3,2))) AS JSON)),'$."b}c"',CAST('{"x": "}]"}' AS JSON)),'$.l[0]',CAST('null' AS JSON)),'$.d')"#
        );
        assert_eq!(parse("[]"), Some(Vec::new()));
        for bad in
            ["", "{}", "[1]", r#"[{"op": "replace", "path": "$.a"}]"#, r#"[{"op": "x", "path": "$.a", "value": 1}]"#]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
