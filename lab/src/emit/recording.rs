//! A run being written down: into one file of text, or into the folder of a case.

use core::fmt;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use pagelab_allocator::event::Event;
use pagelab_allocator::restore::MachineState;

use super::kernel::Kernel;
use super::meta::{Provenance, meta};
use super::out::Out;
use super::recorder::Recorder;
use super::snapshot::{Snap, write_snapshot};
use super::writer::{Task, TraceWriter};
use crate::drive::Driver;
use crate::listener::Listener;
use crate::logical::{Op, Step};
use crate::partial::{PartialFile, PartialFolder, WriteError, at};
use crate::trace::SnapPhase;

/// Where a run is written down, and as what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Destination {
    /// Ftrace text into one file.
    Ftrace(PathBuf),
    /// A case: a folder that holds the trace and what goes with it.
    Case(PathBuf),
}

/// What is there under a temporary name.
#[derive(Debug)]
enum Place {
    File(PartialFile),
    Folder(PartialFolder),
}

/// A run that is being written down. Dropped before its end, it leaves nothing behind.
#[derive(Debug)]
pub struct Recording {
    /// What errors call the trace.
    path: PathBuf,
    place: Option<Place>,
    out: Option<Out>,
    writer: Option<TraceWriter<Out>>,
    begin: Option<MachineState>,
    labels: Vec<String>,
    provenance: Provenance,
}

const TRACE: &str = "trace.txt.zst";

impl Recording {
    /// Opens the output under a temporary name.
    ///
    /// # Errors
    ///
    /// [`WriteError`] when nothing can be written there, or something is in the way.
    pub fn create(to: &Destination, provenance: Provenance) -> Result<Self, WriteError> {
        let (path, place, out) = match to {
            Destination::Ftrace(path) => {
                let partial = PartialFile::create(path)?;
                let out = Out::Plain(partial.stream()?);
                (path.clone(), Place::File(partial), out)
            }
            Destination::Case(path) => {
                let folder = PartialFolder::create(path)?;
                let file = BufWriter::new(folder.create_file(TRACE)?);
                let trace = folder.path(TRACE);
                let out = Out::packed(file).map_err(at(&trace))?;
                (trace, Place::Folder(folder), out)
            }
        };
        Ok(Self {
            path,
            place: Some(place),
            out: Some(out),
            writer: None,
            begin: None,
            labels: Vec::new(),
            provenance,
        })
    }

    fn writer(&mut self) -> (&mut TraceWriter<Out>, &Path) {
        (self.writer.as_mut().expect("a recording begins before it goes on"), &self.path)
    }

    /// Dumps the machine between the marks of a snapshot.
    fn snapshot(
        &mut self,
        driver: &Driver<Listener<Vec<Event>>>,
        snap: Snap,
        label: &str,
    ) -> Result<(), WriteError> {
        let k = snap.number();
        self.mark(format_args!("SNAP {k} begin {label}"))?;
        self.mark(format_args!("SNAP {k} end"))?;
        if let (Some(Place::Folder(folder)), Some(writer)) = (&self.place, &self.writer) {
            write_snapshot(folder, driver.emulator(), writer.kernel(), snap)?;
        }
        self.labels.push(label.to_owned());
        self.mark(format_args!("SNAP {k} resume"))
    }

    fn mark(&mut self, text: fmt::Arguments<'_>) -> Result<(), WriteError> {
        let (writer, path) = self.writer();
        writer.marker(Task::RECORDER, text).map_err(at(path))
    }

    /// Writes what the last operation caused.
    fn events(
        &mut self,
        driver: &mut Driver<Listener<Vec<Event>>>,
        task: Task,
    ) -> Result<(), WriteError> {
        let (writer, path) = self.writer();
        for event in driver.sink_mut().rest.drain(..) {
            writer.event(task, &event).map_err(at(path))?;
        }
        Ok(())
    }

    fn tags(
        &mut self,
        driver: &Driver<Listener<Vec<Event>>>,
        task: Task,
    ) -> Result<(), WriteError> {
        let tagged: Vec<_> = driver.tagged_now().iter().map(|p| format!("{:x}", p.get())).collect();
        if tagged.is_empty() {
            return Ok(());
        }
        let (writer, path) = self.writer();
        writer.marker(task, format_args!("MTE+ {}", tagged.join(","))).map_err(at(path))
    }
}

impl Recorder<Listener<Vec<Event>>> for Recording {
    fn begin(&mut self, driver: &mut Driver<Listener<Vec<Event>>>) -> Result<(), WriteError> {
        driver.sink_mut().rest.clear();
        let state = driver.emulator().page_alloc().state();
        let out = self.out.take().expect("a recording begins once");
        self.writer = Some(TraceWriter::new(out, Kernel::of(&state)).map_err(at(&self.path))?);
        self.begin = Some(state);
        self.snapshot(driver, Snap::Begin, "start")
    }

    fn step(
        &mut self,
        driver: &mut Driver<Listener<Vec<Event>>>,
        step: &Step,
    ) -> Result<(), WriteError> {
        let task = Task { pid: step.pid, cpu: 0 };
        self.events(driver, task)?;
        self.tags(driver, task)?;
        if let Op::Snapshot { index, phase: SnapPhase::Begin } = step.op {
            let k = self.labels.len();
            self.snapshot(driver, Snap::Middle(k), &format!("recorded-{index}"))?;
        }
        Ok(())
    }

    fn end(&mut self, driver: &mut Driver<Listener<Vec<Event>>>) -> Result<(), WriteError> {
        let k = self.labels.len();
        self.snapshot(driver, Snap::End(k), "final")?;
        let writer = self.writer.take().expect("a recording ends once");
        let lines = writer.lines();
        writer.into_inner().finish().map_err(at(&self.path))?;
        match self.place.take() {
            Some(Place::File(file)) => file.commit(),
            Some(Place::Folder(folder)) => {
                let state = self.begin.as_ref().expect("a recording begins before it ends");
                let name = folder.name();
                let text = meta(&name, state, &self.provenance, &self.labels, lines);
                folder.write("meta.json", text.as_bytes())?;
                folder.commit()
            }
            None => Ok(()),
        }
    }
}
