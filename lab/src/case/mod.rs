//! A recorded case: the folder in which a real kernel's lists and events were kept.
//!
//! The trace is read as a stream by [`crate::trace`]; the other files are small and read whole, one
//! snapshot at a time.

mod agreement;
pub mod error;
pub mod freelists;
pub mod meta;
pub mod pageblocks;
pub mod text;

use std::path::{Path, PathBuf};

use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::restore::MachineState;

use crate::trace::{PageMap, Strictness, TraceError, TraceReader};
use error::CaseError;
use freelists::{FreeLists, ZoneFlags};
use meta::CaseMeta;
use text::CaseText;

/// A case on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    folder: PathBuf,
    /// Text of `meta.json`, for errors about it.
    text: CaseText,
    /// What machine it was recorded on.
    pub meta: CaseMeta,
    /// Number of the last snapshot; they count from 0.
    pub last: u32,
}

/// What was dumped at one snapshot.
#[derive(Debug)]
pub struct Dump {
    /// Number of the snapshot.
    pub index: u32,
    /// The machine at that moment.
    pub machine: MachineState,
    /// Its zones' flags.
    pub flags: Vec<ZoneFlags>,
    /// How to convert pointers to `struct page`.
    pub pages: PageMap,
    /// Text of /proc/pagetypeinfo, and the file that has it.
    pub pagetypeinfo: CaseText,
    /// Text of /proc/buddyinfo, and the file that has it.
    pub buddyinfo: CaseText,
    /// The file of the lists, for errors about them.
    pub lists: CaseText,
}

impl Case {
    /// Opens the case in `folder`.
    ///
    /// # Errors
    ///
    /// [`CaseError`] when there is no `meta.json`, it does not say what it should, or there are no
    /// snapshots.
    pub fn open(folder: &Path) -> Result<Self, CaseError> {
        let text = CaseText::read(folder, "meta.json")?;
        let meta = CaseMeta::parse(&text.file, &text.text)?;
        let name = |k: u32| folder.join(format!("snap-{k}.pagetypeinfo.txt"));
        let count = (0..u32::MAX).take_while(|k| name(*k).is_file()).count();
        if count < meta.snapshots.max(2) {
            let missing = u32::try_from(count).unwrap_or(u32::MAX);
            let missing = name(missing).display().to_string();
            let why = match meta.snapshots {
                0..=2 => "a case has at least two snapshots".to_owned(),
                told => format!("no such file, and meta.json tells of {told} snapshots"),
            };
            return Err(CaseError::unreadable(&missing, why));
        }
        let last = u32::try_from(count - 1).unwrap_or(u32::MAX);
        Ok(Self { folder: folder.to_owned(), text, meta, last })
    }

    /// The error that the kernel's rules are not known.
    #[must_use]
    pub fn unknown_kernel(&self) -> CaseError {
        let line = self.text.line_of("kernel").max(1);
        let why = format!("{:?} is not modelled; --profile says whose rules", self.meta.kernel);
        CaseError::at(&self.text.file, line, "kernel", why)
    }

    /// The trace, from its first line.
    ///
    /// # Errors
    ///
    /// [`TraceError`] when it cannot be opened.
    pub fn trace(&self) -> Result<TraceReader<Box<dyn std::io::Read>>, TraceError> {
        let packed = self.folder.join("trace.txt.zst");
        let path = if packed.is_file() { packed } else { self.folder.join("trace.txt") };
        TraceReader::open(&path, Strictness::Strict)
    }

    /// What was dumped at snapshot `index`, as a machine with the rules of `profile`.
    ///
    /// # Errors
    ///
    /// [`CaseError`] with file and line of what is missing or contradictory.
    pub fn dump(&self, index: u32, profile: KernelProfile) -> Result<Dump, CaseError> {
        let name = match index {
            0 => "begin".to_owned(),
            k if k == self.last => "end".to_owned(),
            k => k.to_string(),
        };
        let folder = &self.folder;
        let lists = FreeLists::parse(CaseText::read(folder, &format!("freelists-{name}.json"))?)?;
        let text = CaseText::read(folder, &format!("pageblocks-{name}.txt"))?;
        let blocks = pageblocks::parse(&text)?;
        lists.check_pageblocks(&text.file, &blocks)?;
        let blocks: Vec<_> = blocks.into_iter().map(|(_, block)| block).collect();
        let boost = self.meta.sysctl("vm.watermark_boost_factor");
        let mut machine = lists.machine(profile, &blocks, boost)?;
        machine.movable_pcp = self.meta.design.and_then(|design| design.build().movable_pcp());
        if index == 0 {
            if self.meta.profile == Some(profile) {
                agreement::check_kernel(&self.text, &self.meta, lists.release())?;
            }
            agreement::check(&self.text, &self.meta, &machine)?;
        }
        Ok(Dump {
            index,
            machine,
            flags: lists.zone_flags()?,
            pages: PageMap::Known { base: lists.vmemmap, size: lists.struct_page },
            pagetypeinfo: CaseText::read(folder, &format!("snap-{index}.pagetypeinfo.txt"))?,
            buddyinfo: CaseText::read(folder, &format!("snap-{index}.buddyinfo.txt"))?,
            lists: lists.into_text(),
        })
    }
}
