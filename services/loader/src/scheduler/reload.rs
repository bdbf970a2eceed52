//! A log that begins with the unit that makes the tables anew (P8): nothing before it reaches the target.

use uuid::Uuid;

use super::Scheduler;
use crate::copying::Define;
use crate::error::LoadError;
use crate::target::Target;
use crate::unit::{Message, Unit, UnitBody};

/// The definitions that are waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reload {
    /// Their id.
    id: Uuid,
    /// They are in the queue, or under way.
    seen: bool,
}

impl<T: Target> Scheduler<T> {
    /// With tables that are to be made anew by these definitions.
    #[must_use]
    pub fn with_reload(mut self, load: Option<Uuid>) -> Self {
        self.reload = load.map(|id| Reload { id, seen: false });
        self
    }

    /// Whether these are the definitions by which all tables are made anew.
    pub(super) fn makes_anew(&self, define: &Define) -> bool {
        self.reload.is_some_and(|reload| reload.id == define.id)
    }

    /// Lets nothing pass before the definitions. What came before them in this log, or bears a number that the target is past,
    /// would be mixed with what the target has, or be dropped.
    ///
    /// # Errors
    /// [`LoadError::NotMadeAnew`].
    pub(super) fn admit_behind_definitions(&mut self, message: Message) -> Result<Option<Message>, LoadError> {
        let Some(reload) = self.reload.as_mut().filter(|reload| !reload.seen) else { return Ok(Some(message)) };
        let known = self.place.number;
        let (number, is_awaited) = match &message {
            Message::Alive { .. } => return Ok(Some(message)),
            Message::Unit(unit) if matches!(unit.body, UnitBody::Nothing) => return Ok(self.position(message)),
            Message::Unit(unit) => (unit.end.number, is_define(unit, reload.id)),
            Message::Large { number, .. } => (*number, false),
        };
        if is_awaited && number > known {
            reload.seen = true;
            return Ok(Some(message));
        }
        Err(LoadError::NotMadeAnew { task: self.copying.task().to_owned(), number, known, load: reload.id })
    }

    /// A place before the definitions. Its number may be one that the target has had: then only what it says of the source is
    /// taken.
    fn position(&mut self, message: Message) -> Option<Message> {
        let number = self.place.number;
        match message {
            Message::Unit(unit) if unit.end.number <= number => {
                self.advance(&unit.end);
                self.place.number = number;
                None
            }
            other => Some(other),
        }
    }
}

fn is_define(unit: &Unit, id: Uuid) -> bool {
    matches!(&unit.body, UnitBody::Define(define) if define.id == id)
}
