//! What an ALTER TABLE asks for, collected before anything is done, and the table that it makes: the server does it in an order of
//! its own.

use lutra_change::ColumnType;

use super::super::column::{self, Place, Read};
use super::super::reader::{Session, Unclear, unclear};
use super::super::table::{Definition, Key, KeyKind, collation_of, same, with_collation};
use super::has_name;

/// What is asked of a table, collected before anything is done: the server does it in its own order.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) dropped: Vec<String>,
    /// Old name, and what becomes of the column.
    pub(super) changed: Vec<(String, Read)>,
    /// Old and new names.
    pub(super) renamed: Vec<(String, String)>,
    pub(super) added: Vec<Read>,
    pub(super) dropped_keys: Vec<String>,
    pub(super) drop_primary: bool,
    pub(super) renamed_keys: Vec<(String, String)>,
    pub(super) added_keys: Vec<Key>,
    pub(super) visibility: Vec<(String, bool)>,
    pub(super) convert: Option<u16>,
    pub(super) collation: Option<u16>,
    /// Columns changed and added, in order, as indexes into `changed` and `added`.
    pub(super) placed: Vec<Placed>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Placed {
    Changed(usize),
    Added(usize),
}

impl Wanted {
    pub(super) fn add(&mut self, mut read: Read, if_missing: bool, table: &Definition) {
        if if_missing && table.position(&read.column.name).is_some() {
            return;
        }
        self.added_keys.append(&mut read.keys);
        self.placed.push(Placed::Added(self.added.len()));
        self.added.push(read);
    }

    pub(super) fn drop_key(&mut self, name: String) {
        if same(&name, "PRIMARY") {
            self.drop_primary = true;
        } else {
            self.dropped_keys.push(name);
        }
    }

    /// The table as it then is.
    pub(super) fn done_to(mut self, table: &Definition, session: &Session<'_>) -> Result<Definition, Unclear> {
        let mut new = Definition { columns: Vec::new(), keys: table.keys.clone(), collation: table.collation };
        // New columns follow the default that the statement sets.
        new.collation = self.collation.or(new.collation);
        for read in self.changed.iter_mut().map(|(_, read)| read).chain(&mut self.added) {
            column::settle(read, new.collation, session);
        }
        self.keep_columns(table, &mut new)?;
        self.place_columns(&mut new)?;
        if let Some(collation) = self.convert {
            convert_columns(&mut new, collation, session)?;
        }
        self.settle_keys(&mut new)?;
        if let Some(column) = new.columns.iter().find(|c| column::must_know(c)) {
            return unclear(format!("the collation of its column {} is not known", column.name));
        }
        if new.columns.is_empty() {
            return unclear("no column is left");
        }
        Ok(new)
    }

    /// What was there and stays where it is.
    fn keep_columns(&self, table: &Definition, new: &mut Definition) -> Result<(), Unclear> {
        for column in &table.columns {
            if self.dropped.iter().any(|name| same(name, &column.name)) {
                continue;
            }
            if let Some((_, read)) = self.changed.iter().find(|(old, _)| same(old, &column.name)) {
                if read.place.is_none() {
                    new.columns.push(read.column.clone());
                }
                continue;
            }
            let mut column = column.clone();
            if let Some((_, name)) = self.renamed.iter().find(|(old, _)| same(old, &column.name)) {
                column.name.clone_from(name);
            }
            new.columns.push(column);
        }
        let known = |name: &String| table.position(name).is_some();
        match self.renamed.iter().map(|(old, _)| old).find(|name| !known(name)) {
            Some(name) => unclear(format!("it renames a column {name} that is not known")),
            None => Ok(()),
        }
    }

    /// What was added, and what was moved.
    fn place_columns(&self, new: &mut Definition) -> Result<(), Unclear> {
        for placed in &self.placed {
            let read = match *placed {
                Placed::Changed(at) => self.changed.get(at).map(|(_, read)| read).filter(|read| read.place.is_some()),
                Placed::Added(at) => self.added.get(at),
            };
            let Some(read) = read else { continue };
            let at = match &read.place {
                None => new.columns.len(),
                Some(Place::First) => 0,
                Some(Place::After(name)) => match new.position(name) {
                    Some(at) => at + 1,
                    None => return unclear(format!("a column goes behind {name}, which is not known")),
                },
            };
            if new.position(&read.column.name).is_some() {
                return unclear(format!("it adds a column {} that is there", read.column.name));
            }
            new.columns.insert(at, read.column.clone());
        }
        for (name, invisible) in &self.visibility {
            let at = new.position(name);
            match at.and_then(|at| new.columns.get_mut(at)) {
                Some(column) => column.invisible = *invisible,
                None => return unclear(format!("it alters a column {name} that is not known")),
            }
        }
        Ok(())
    }

    fn settle_keys(&self, new: &mut Definition) -> Result<(), Unclear> {
        for (old, name) in &self.renamed_keys {
            new.keys.iter_mut().filter(|k| has_name(k, old)).for_each(|k| k.name = Some(name.clone()));
        }
        new.keys.retain(|key| {
            let dropped = self.dropped_keys.iter().any(|name| has_name(key, name));
            !(dropped || self.drop_primary && key.kind == KeyKind::Primary)
        });
        // One that is dropped and added again stays in its keys.
        let again = |name: &String| self.added.iter().any(|read| same(&read.column.name, name));
        let gone: Vec<&String> = self.dropped.iter().filter(|name| !again(name)).collect();
        for key in &mut new.keys {
            key.parts.retain(|part| !part.column.as_ref().is_some_and(|c| gone.iter().any(|name| same(name, c))));
            for part in &mut key.parts {
                let changed = self.changed.iter().map(|(old, read)| (old, &read.column.name));
                let mut renamed = self.renamed.iter().map(|(old, new)| (old, new)).chain(changed);
                if let Some(column) = &mut part.column
                    && let Some((_, name)) = renamed.find(|(old, _)| same(old, column))
                {
                    column.clone_from(name);
                }
            }
        }
        new.keys.retain(|key| !key.parts.is_empty());
        new.keys.extend(self.added_keys.iter().cloned());
        if new.keys.iter().filter(|key| key.kind == KeyKind::Primary).count() > 1 {
            return unclear("it would have two primary keys");
        }
        new.settle_keys();
        Ok(())
    }
}

/// `CONVERT TO CHARACTER SET`. A TEXT goes on taking as many characters as it did.
fn convert_columns(new: &mut Definition, collation: u16, session: &Session<'_>) -> Result<(), Unclear> {
    let width = |c: u16| session.charsets.width(c).map(u32::from);
    for column in &mut new.columns {
        let Some(old) = collation_of(&column.column_type) else { continue };
        let mut converted = with_collation(column.column_type.clone(), collation);
        if let ColumnType::Text { prefix, .. } = &mut converted {
            match (width(old), width(collation)) {
                (Some(old), Some(new)) if new > old => *prefix = (*prefix + 1).min(4),
                (Some(_), Some(_)) => {}
                _ => return unclear("how long a TEXT becomes is not known"),
            }
        }
        column.column_type = converted;
    }
    Ok(())
}
