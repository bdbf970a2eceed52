//! The maps of the tables in use: compiled at first use, forgotten after DDL.

use std::collections::BTreeSet;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use lutra_change::{Number, TableName};
use lutra_wire::schema::Fingerprint;
use rustc_hash::FxHashMap;

use crate::copying::CopyingSet;
use crate::error::LoadError;
use crate::mapping::TableMap;
use crate::rows::Maps;
use crate::target::Target;
use crate::unit::{RowTable, Segment, Unit, UnitBody};

/// Compiled maps, by row schema.
#[derive(Debug)]
pub struct MapCache<T> {
    target: Arc<T>,
    compiled: FxHashMap<Fingerprint, Arc<TableMap>>,
    /// The same for tables that are being copied.
    copying: FxHashMap<Fingerprint, Arc<TableMap>>,
}

impl<T: Target> MapCache<T> {
    /// No map yet.
    pub fn new(target: Arc<T>) -> Self {
        Self { target, compiled: FxHashMap::default(), copying: FxHashMap::default() }
    }

    /// The target.
    pub fn target(&self) -> &T {
        &self.target
    }

    /// These tables and all that foreign keys tie to them in the target.
    ///
    /// # Errors
    /// The target's.
    pub async fn tied(&self, tables: &BTreeSet<TableName>) -> Result<BTreeSet<TableName>, LoadError> {
        let mut all = tables.clone();
        let mut open: Vec<TableName> = tables.iter().cloned().collect();
        while let Some(table) = open.pop() {
            let related = self.target.table(&table).await?.map(|t| t.related).unwrap_or_default();
            for other in related {
                if all.insert(other.clone()) {
                    open.push(other);
                }
            }
        }
        Ok(all)
    }

    /// Forgets what the target's tables looked like.
    pub fn forget(&mut self) {
        self.compiled.clear();
        self.copying.clear();
    }

    /// The maps for all rows of these units.
    ///
    /// # Errors
    /// See `of_table`.
    pub async fn of_units(&mut self, units: &[Unit]) -> Result<Maps, LoadError> {
        let mut maps = Maps::default();
        for unit in units {
            if let UnitBody::Changes(segments) = &unit.body {
                for segment in segments {
                    self.add(segment, unit.end.number, unit.copy.copying.as_deref(), &mut maps).await?;
                }
            }
        }
        Ok(maps)
    }

    /// Adds the maps for the rows of a segment.
    ///
    /// # Errors
    /// See `of_table`.
    pub async fn add(
        &mut self,
        segment: &Segment,
        number: Number,
        copying: Option<&CopyingSet>,
        maps: &mut Maps,
    ) -> Result<(), LoadError> {
        for table in &segment.tables {
            if let Entry::Vacant(vacant) = maps.entry(table.fingerprint) {
                let copies = copying.is_some_and(|set| set.contains(&table.name));
                vacant.insert(self.of_table(table, number, copies).await?);
            }
        }
        Ok(())
    }

    /// The map of one row table.
    ///
    /// # Errors
    /// [`LoadError::NoTable`], [`LoadError::Mapping`], [`LoadError::Triggers`], [`LoadError::NotTransactional`], or the
    /// target's.
    async fn of_table(&mut self, table: &RowTable, number: Number, copying: bool) -> Result<Arc<TableMap>, LoadError> {
        let compiled = if copying { &self.copying } else { &self.compiled };
        if let Some(map) = compiled.get(&table.fingerprint) {
            return Ok(Arc::clone(map));
        }
        let Some(target) = self.target.table(&table.name).await? else {
            return Err(LoadError::NoTable { table: table.name.clone(), number });
        };
        if !target.triggers.is_empty() {
            return Err(LoadError::Triggers { table: table.name.clone(), triggers: target.triggers.join(", ") });
        }
        let map = Arc::new(TableMap { copying, ..TableMap::compile(table.schema.table(), &target)? });
        // MySQL refuses such rows beside others anyway. On MariaDB a row that comes twice after a crash is noticed by its key.
        let noticed = target.flavour.is_mariadb() && map.key.is_some();
        if !target.transactional && !noticed {
            return Err(LoadError::NotTransactional { table: table.name.clone(), engine: target.engine });
        }
        if copying && map.key.is_none() {
            return Err(LoadError::NoCopyKey { table: table.name.clone() });
        }
        let compiled = if copying { &mut self.copying } else { &mut self.compiled };
        compiled.insert(table.fingerprint, Arc::clone(&map));
        Ok(map)
    }
}
