//! Hears all that one operation does: events, and the notes of every layer.

use core::any::Any;

use pagelab_allocator::event::{Event, Sink};
use pagelab_allocator::note::Note as AllocNote;
use pagelab_migrate::note::Note as MigrateNote;

use crate::drive::note::Note as DriveNote;

/// Something heard.
#[derive(Clone, PartialEq, Debug)]
pub enum Fact {
    /// What a tracepoint or a probe would say.
    Event(Event),
    /// The page allocator's.
    Alloc(AllocNote),
    /// Of migration and tag storage.
    Migrate(MigrateNote),
    /// The driver's.
    Drive(DriveNote),
}

/// Whether facts are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ears {
    /// They pass by.
    #[default]
    Shut,
    /// They are kept.
    Open,
}

/// Keeps facts while its ears are open.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    /// Whether they are.
    pub ears: Ears,
    /// What was heard, in order.
    pub facts: Vec<Fact>,
}

impl Sink for Witness {
    fn emit(&mut self, event: Event) {
        if self.ears == Ears::Open {
            self.facts.push(Fact::Event(event));
        }
    }

    fn note<N: Any>(&mut self, note: impl FnOnce() -> N) {
        if self.ears == Ears::Shut {
            return;
        }
        // The type parameter names one of three types; nothing is unpacked at run time.
        let mut note = Some(note());
        let note: &mut dyn Any = &mut note;
        if let Some(note) = note.downcast_mut::<Option<AllocNote>>() {
            self.facts.extend(note.take().map(Fact::Alloc));
        } else if let Some(note) = note.downcast_mut::<Option<MigrateNote>>() {
            self.facts.extend(note.take().map(Fact::Migrate));
        } else if let Some(note) = note.downcast_mut::<Option<DriveNote>>() {
            self.facts.extend(note.take().map(Fact::Drive));
        }
    }
}
