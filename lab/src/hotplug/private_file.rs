//! A file of private memory, used page by page as KVM does.

use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::units::{NodeId, PageCount, Pfn};
use pagelab_migrate::hotplug::private_memory::{LockedPfn, PageOffset, PrivateError};

use super::error::HotplugError;
use super::runner::Run;
use super::section::Section;

/// Pages of the file that a scenario has.
const SIZE: usize = 16;

/// What is done to a page of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileCall {
    /// It gets a page.
    Fallocate,
    /// Its page is locked, and has to be where it was last time.
    Get,
    /// Its page is unlocked.
    Put,
    /// Its page goes.
    PunchHole,
}

const CALLS: [(&str, FileCall); 4] = [
    ("fallocate", FileCall::Fallocate),
    ("get", FileCall::Get),
    ("put", FileCall::Put),
    ("punch-hole", FileCall::PunchHole),
];

impl FileCall {
    /// Reads the keys `call` and `page`; gives words for reports, too.
    ///
    /// # Errors
    ///
    /// With the line and the key of what is wrong.
    pub fn read(of: &mut Section<'_>) -> Result<(Self, u64, String), HotplugError> {
        let call = of.choice("call", &CALLS)?;
        let call = of.need("call", call)?;
        let page = of.number("page", (0, 1 << 20))?;
        let page = of.need("page", page)?.value;
        let word = CALLS.iter().find(|(_, other)| *other == call).map_or("", |(word, _)| *word);
        Ok((call, page, format!(" {word} page {page}")))
    }
}

/// The file of a scenario, made when it is first used.
#[derive(Debug, Default)]
pub(super) struct PrivateFile {
    number: Option<usize>,
    /// Pages that are locked, by their place.
    locked: Vec<(u64, LockedPfn)>,
    /// Where pages were when they were locked.
    seen: Vec<(u64, Pfn)>,
}

impl Run<'_> {
    /// Carries a call out; [`Errno::Io`] if a page has changed its frame.
    pub(super) fn file_call(&mut self, call: FileCall, page: u64) -> Result<(), Errno> {
        let new = || PageCount::new(u64::try_from(SIZE).expect("a small file"));
        let file = match self.file.number {
            Some(file) => file,
            None => self.host.create_file(new(), NodeId::new(0)),
        };
        self.file.number = Some(file);
        let at = usize::try_from(page).map_err(|_| Errno::Inval)?;
        let range = PageOffset::new(at)..PageOffset::new(at + 1);
        let done = match call {
            FileCall::Fallocate => self.host.fallocate(file, range),
            FileCall::PunchHole => {
                self.file.seen.retain(|(seen, _)| *seen != page);
                self.host.punch_hole(file, range)
            }
            FileCall::Get => return self.get_page(file, page, range.start),
            FileCall::Put => return self.put_page(file, page),
        };
        done.map_err(PrivateError::errno)
    }

    fn get_page(&mut self, file: usize, page: u64, at: PageOffset) -> Result<(), Errno> {
        let memory = self.host.file_mut(file).ok_or(Errno::Inval)?;
        let locked = memory.get_lock_pfn(at).map_err(PrivateError::errno)?;
        let pfn = locked.pfn();
        self.file.locked.push((page, locked));
        match self.file.seen.iter().find(|(seen, _)| *seen == page) {
            Some((_, before)) if *before != pfn => Err(Errno::Io),
            Some(_) => Ok(()),
            None => {
                self.file.seen.push((page, pfn));
                Ok(())
            }
        }
    }

    fn put_page(&mut self, file: usize, page: u64) -> Result<(), Errno> {
        let at = self.file.locked.iter().position(|(locked, _)| *locked == page);
        let (_, locked) = self.file.locked.remove(at.ok_or(Errno::Inval)?);
        self.host.file_mut(file).ok_or(Errno::Inval)?.put_unlock_pfn(locked);
        Ok(())
    }
}
