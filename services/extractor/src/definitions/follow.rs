//! Definitions beside the stream: asked for where an event needs one, written before the unit that names them.

use lutra_binlog::{EventData, EventHeader};
use lutra_log::{SourcePlace, TransportFactory};

use super::ask::{Defined, Definer, Reach};
use super::store::{Entry, Store};
use crate::assembler::Assembler;
use crate::config::ExtractConfig;
use crate::error::{AssembleError, ExtractError};
use crate::publisher::{Publisher, SchemaStore};
use crate::start::Server;

/// What is known where a log stands: what it says itself, or else what the catalogue says if that can be shown to be of that
/// place.
///
/// # Errors
/// [`ExtractError::Definitions`], [`ExtractError::Source`].
pub async fn resume<S: SchemaStore>(
    definer: &mut Definer,
    config: &ExtractConfig,
    server: &mut Server,
    schemas: &S,
    place: &SourcePlace,
) -> Result<Store, ExtractError> {
    let mut store = Store::default();
    if let Some(name) = place.definitions {
        let fault = |source| ExtractError::Definitions { source_name: config.source.clone(), source };
        let records = schemas.read_definitions(name).await.map_err(fault)?;
        store.restore(&records, name).map_err(|e| fault(e.into()))?;
        definer.activate(&mut store).await?;
    } else if !server.says_all_of_tables().await? && place.server_uuid == server.uuid {
        let known = definer.base(&mut store, &config.spec, &place.position).await?;
        tracing::info!(
            source = config.source,
            tables = known,
            "definitions are kept on the log: table maps do not say them"
        );
    }
    Ok(store)
}

/// Assembles an event; of one inside a transaction payload there is no header.
///
/// # Errors
/// As [`Assembler::event`]; [`ExtractError::Source`] when a definition is needed and the server cannot be asked.
pub async fn assemble(
    assembler: &mut Assembler,
    definer: &mut Definer,
    header: Option<&EventHeader>,
    data: &EventData<'_>,
) -> Result<(), ExtractError> {
    match once(assembler, header, data) {
        Err(AssembleError::Undefined { table, why }) => {
            let place = assembler.position();
            let defined = definer.define(assembler.definitions_mut(), &table, &place, Reach::Whole).await?;
            let again = match defined {
                Defined::Known => once(assembler, header, data),
                Defined::Unknown(reason) => {
                    Err(AssembleError::Undefined { table, why: format!("{why}; asked for it now: {reason}") })
                }
            };
            again.map_err(|source| fault(assembler, source))
        }
        outcome => outcome.map_err(|source| fault(assembler, source)),
    }
}

fn once(assembler: &mut Assembler, header: Option<&EventHeader>, data: &EventData<'_>) -> Result<(), AssembleError> {
    match header {
        Some(header) => assembler.event(header, data),
        None => assembler.inner_event(data),
    }
}

/// That error, where the stream stands.
pub fn fault(assembler: &Assembler, source: AssembleError) -> ExtractError {
    ExtractError::Assemble { position: assembler.position(), source: Box::new(source) }
}

/// What a statement made of tables is held against the catalogue where that is quick, and all news is written.
///
/// # Errors
/// [`ExtractError::Definitions`].
pub async fn settle<F: TransportFactory, S: SchemaStore>(
    assembler: &mut Assembler,
    definer: &mut Definer,
    publisher: &Publisher<F, S>,
    source_name: &str,
) -> Result<(), ExtractError> {
    let place = assembler.position();
    for table in assembler.definitions_mut().take_touched() {
        let Some(before) = assembler.definitions().get(&table).cloned() else { continue };
        match definer.define(assembler.definitions_mut(), &table, &place, Reach::Near).await {
            Ok(_) if assembler.definitions().get(&table) == Some(&before) => {}
            Ok(_) => assembler.forget_tables(),
            // It was a question out of caution. Of a table that is not known it is asked again when rows of it come.
            Err(error) => {
                let unknown = matches!(before, Entry::Unknown(_));
                tracing::warn!(%table, unknown, error = crate::extract::chain(&error), "the source's catalogue cannot be asked");
            }
        }
    }
    publisher.definitions(source_name, assembler.definitions_mut()).await
}
