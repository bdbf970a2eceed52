//! How two definitions differ.

use lutra_mysql::catalogue::{CatalogueColumn, CatalogueKey};

use crate::pair::Pair;

/// What differs between the definitions of a pair, column by column and key by key. Where the servers are of two families,
/// only what both of them say in the same words is held together.
#[must_use]
pub fn differences(pair: &Pair, same_family: bool) -> Vec<String> {
    let (columns, missing) = pair.columns();
    let mut found: Vec<String> = missing.iter().map(|name| format!("the target has no column {name}")).collect();
    for (source, target) in &columns {
        column(source, target, same_family, &mut found);
    }
    let known = |name: &str| columns.iter().any(|(_, target)| target.name == name);
    found.extend(
        pair.target
            .columns
            .iter()
            .filter(|c| !known(&c.name))
            .map(|c| format!("only the target has column {}", c.name)),
    );
    let order = |names: Vec<&str>| names.join(", ");
    let mut sorted: Vec<&(CatalogueColumn, CatalogueColumn)> = columns.iter().collect();
    sorted.sort_by_key(|(_, target)| target.ordinal);
    if sorted.iter().map(|(source, _)| source.ordinal).is_sorted() {
        keys(pair, &mut found);
    } else {
        let target = order(sorted.iter().map(|(_, target)| target.name.as_str()).collect());
        found.push(format!("the order of columns is {target} in the target"));
        keys(pair, &mut found);
    }
    if !pair.source.engine.eq_ignore_ascii_case(&pair.target.engine) {
        found.push(format!("engine: {} -> {}", pair.source.engine, pair.target.engine));
    }
    found
}

/// How two texts of `SHOW CREATE TABLE` differ, line by line; the next auto-increment value is no part of a definition.
#[must_use]
pub fn lines(source: &str, target: &str) -> Vec<String> {
    let normal = |text: &str| -> Vec<String> {
        let line = |line: &str| without_next_value(line.trim().trim_end_matches(','));
        text.lines().map(line).collect()
    };
    let (source, target) = (normal(source), normal(target));
    if source == target {
        return Vec::new();
    }
    let mut found: Vec<String> =
        source.iter().filter(|line| !target.contains(line)).map(|line| format!("only in the source: {line}")).collect();
    found.extend(target.iter().filter(|line| !source.contains(line)).map(|line| format!("only in the target: {line}")));
    if found.is_empty() {
        found.push("columns or keys stand in another order".to_owned());
    }
    found
}

fn without_next_value(line: &str) -> String {
    match line.split_once(" AUTO_INCREMENT=") {
        Some((before, after)) if line.starts_with(") ENGINE=") => {
            format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        _ => line.to_owned(),
    }
}

fn column(source: &CatalogueColumn, target: &CatalogueColumn, same_family: bool, found: &mut Vec<String>) {
    let mut unlike = |what: &str, a: &str, b: &str| {
        if a != b {
            found.push(format!("column {}: {what} {a} -> {b}", source.name));
        }
    };
    let word = |yes: bool, what: &'static str| if yes { what } else { "none" };
    if same_family {
        unlike("type", &source.column_type, &target.column_type);
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        unlike("collation", &text(&source.collation), &text(&target.collation));
        unlike("default", &text(&source.default), &text(&target.default));
    }
    let null = |nullable| if nullable { "NULL" } else { "NOT NULL" };
    unlike("allows", null(source.nullable), null(target.nullable));
    unlike("auto increment:", word(source.auto_increment, "yes"), word(target.auto_increment, "yes"));
    unlike("generated:", word(source.generated, "yes"), word(target.generated, "yes"));
    unlike("invisible:", word(source.invisible, "yes"), word(target.invisible, "yes"));
}

/// Keys by what they are made of; names do not matter to rows, but to later DDL.
fn keys(pair: &Pair, found: &mut Vec<String>) {
    let describe = |key: &CatalogueKey, renamed: bool| {
        let part = |column: &Option<String>, prefix: Option<u32>, expression: &Option<String>| {
            let name = match column {
                Some(name) if renamed => pair.name(name).to_owned(),
                Some(name) => name.clone(),
                None => expression.clone().unwrap_or_default(),
            };
            prefix.map_or(name.clone(), |length| format!("{name}({length})"))
        };
        let parts: Vec<String> = key.parts.iter().map(|p| part(&p.column, p.prefix, &p.expression)).collect();
        format!("{} {} ({})", if key.unique { "unique key" } else { "index" }, key.name, parts.join(", "))
    };
    let dropped = |key: &&CatalogueKey| {
        let is_dropped = |name: &String| pair.dropped.iter().any(|d| d.eq_ignore_ascii_case(name));
        !key.parts.iter().any(|part| part.column.as_ref().is_some_and(is_dropped))
    };
    let source: Vec<String> = pair.source.keys.iter().filter(dropped).map(|key| describe(key, true)).collect();
    let target: Vec<String> = pair.target.keys.iter().map(|key| describe(key, false)).collect();
    found.extend(source.iter().filter(|key| !target.contains(key)).map(|key| format!("the target has no {key}")));
    found.extend(target.iter().filter(|key| !source.contains(key)).map(|key| format!("only the target has {key}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_one_side_lacks_are_named() {
        let text = |default: u32, next: u32| {
            format!(
                "CREATE TABLE `t` (\n  `a` int DEFAULT '{default}',\n  KEY `k` (`a`)\n) ENGINE=InnoDB AUTO_INCREMENT={next} COMMENT='x'"
            )
        };
        assert!(lines(&text(1, 5), &text(1, 9)).is_empty());
        let found = lines(&text(1, 5), &text(2, 5));
        assert_eq!(found, ["only in the source: `a` int DEFAULT '1'", "only in the target: `a` int DEFAULT '2'"]);
    }
}
