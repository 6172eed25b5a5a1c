//! What was typed. Nothing here means anything yet; see [`crate::plan`].

use clap::{Args, Parser, Subcommand};

/// Emulates the Linux page allocator on recorded traces and on workloads, under one MTE tag-storage
/// design or several. Without a command: a recorded arm64 machine, as a demonstration.
#[derive(Clone, PartialEq, Eq, Debug, Parser)]
#[command(name = "pagelab", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// A command and its words.
#[derive(Clone, PartialEq, Eq, Debug, Subcommand)]
pub enum Command {
    /// Run a trace or a workload under one design.
    Run {
        /// Tag-storage design: carveout, metadata, cma-v2, cma-v3 (or cma), drop-movable,
        /// cma-filter, cma-flag, zone-movable, numa-node, grab-all, cleancache; each with
        /// +taggable-hw for hardware whose tag storage can be tagged.
        #[arg(long, value_name = "NAME")]
        design: String,
        /// Write the run as ftrace text, as the kernel of the profile would have recorded it.
        #[arg(long, value_name = "FILE", conflicts_with = "case")]
        ftrace: Option<String>,
        /// Write the run as a case: a new folder with the trace, the lists at snapshots and the
        /// machine's description.
        #[arg(long, value_name = "DIR")]
        case: Option<String>,
        /// Words that all commands know.
        #[command(flatten)]
        common: Common,
    },
    /// Run a trace or a workload under several designs and set the results side by side. With
    /// several shares, sizes or seeds, or with --csv, --jsonl, --html or --costs, as an experiment:
    /// means with intervals in place of reports.
    Compare(CompareWords),
    /// Explain one operation of a run: flags, watermarks, lists, tag storage, what moved.
    Explain(ExplainWords),
    /// Find few operations on which two designs differ, none of them superfluous.
    Shrink(ShrinkWords),
    /// List the metrics of data files with their units, ranges and sources, as a table.
    Metrics,
    /// Run scenarios of memory that comes and goes under gates that decide who may join the page
    /// allocator, and compare what comes out with what they promise. Without a scenario: list those
    /// that there are, and the gates, steps and measures.
    Hotplug(HotplugWords),
    /// Perform a recorded case again and compare every frame with what Linux handed out.
    Replay(ReplayWords),
}

/// Words of a comparison.
#[derive(Clone, PartialEq, Eq, Debug, Default, Args)]
pub struct CompareWords {
    /// Tag-storage designs, separated by commas: carveout, metadata, cma-v2, cma-v3 (or cma),
    /// drop-movable, cma-filter, cma-flag, zone-movable, numa-node, grab-all, cleancache; each
    /// with +taggable-hw for hardware whose tag storage can be tagged. `all` is every one. The
    /// first is what the others are measured against.
    #[arg(long, value_name = "NAME,NAME,..")]
    pub designs: Option<String>,
    /// Read words from a plan file (TOML; keys are the names of these flags). Words typed here go
    /// before those in the file.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<String>,
    /// Repeat with so many seeds, from --seed on, and print means with 95 % intervals. Default: 1.
    #[arg(long, value_name = "N")]
    pub seeds: Option<String>,
    /// Write every value as comma-separated values: one row a run, time and metric. Makes an
    /// experiment of the comparison, as the other files and --costs do.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<String>,
    /// Write every run as one line of JSON. Makes an experiment, as --csv does.
    #[arg(long, value_name = "FILE")]
    pub jsonl: Option<String>,
    /// Write a page with pictures; it needs no network. Makes an experiment, as --csv does.
    #[arg(long, value_name = "FILE")]
    pub html: Option<String>,
    /// Turn events into time by a cost model (TOML; lab/costs/copies.toml is one). Its name stands
    /// at every number made with it. Makes an experiment, as --csv does.
    #[arg(long, value_name = "FILE")]
    pub costs: Option<String>,
    /// Threads that carry runs out. Default: one a core. The results are the same.
    #[arg(long, value_name = "N")]
    pub threads: Option<String>,
    /// Words that all commands know.
    #[command(flatten)]
    pub common: Common,
}

/// Words of an explanation.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
pub struct ExplainWords {
    /// Tag-storage design, as for run.
    #[arg(long, value_name = "NAME")]
    pub design: String,
    /// The operation: its number in the stream, from 1; or line:N, the last operation that comes
    /// from line N of the trace.
    #[arg(long, value_name = "EVENT")]
    pub at: String,
    /// Explain the way of this page only, counted from the first of its area or file. Default:
    /// each kind of way once, with how many pages went it.
    #[arg(long, value_name = "N")]
    pub page: Option<String>,
    /// Words that all commands know.
    #[command(flatten)]
    pub common: Common,
}

/// Words of a shrink.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
pub struct ShrinkWords {
    /// One tag-storage design, as for run.
    #[arg(long, value_name = "NAME")]
    pub a: String,
    /// The other.
    #[arg(long, value_name = "NAME")]
    pub b: String,
    /// What happens under one of them and not under the other: tagged-failure, a page cannot be
    /// tagged; request-failure; no-progress, page and tag storage are both held; migration, pages
    /// move; contig-failure, a contiguous range cannot be had.
    #[arg(long, value_name = "NAME")]
    pub property: String,
    /// Most times that operations are carried out under both designs. Default: 4000.
    #[arg(long, value_name = "N")]
    pub budget: Option<String>,
    /// Write the operations to a file that --ops reads.
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: Option<String>,
    /// Words that all commands know. A workload has 256MiB unless --memory says otherwise.
    #[command(flatten)]
    pub common: Common,
}

/// Words about memory that comes and goes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Args)]
pub struct HotplugWords {
    /// Scenarios: files (TOML), folders of them, names of those in the program, or `all` of these.
    #[arg(value_name = "SCENARIO")]
    pub scenarios: Vec<String>,
    /// Gates, separated by commas, in place of those of each scenario. `all` is every one.
    #[arg(long, value_name = "NAME,NAME,..")]
    pub gate: Option<String>,
    /// Lines of each log that are printed, up to 20. Default: 3.
    #[arg(long, value_name = "N")]
    pub log: Option<String>,
    /// Write every value as comma-separated values: one row a scenario, gate and measure.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<String>,
    /// Write a line of JSON for each scenario and gate.
    #[arg(long, value_name = "FILE")]
    pub jsonl: Option<String>,
    /// Write a page with pictures of the address map; it needs no network.
    #[arg(long, value_name = "FILE")]
    pub html: Option<String>,
}

/// Words of a replay.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
pub struct ReplayWords {
    /// Folder of the case: meta.json, trace.txt.zst, and the lists at each snapshot.
    #[arg(value_name = "CASE")]
    pub case: String,
    /// What to predict: buddy, the blocks that leave the buddy lists; pcp, all from the requests.
    #[arg(long, value_name = "LEVEL", default_value = "buddy")]
    pub level: String,
    /// Kernel whose rules to follow, 6.1 or 6.12. Default: the recorded one's.
    #[arg(long, value_name = "VERSION")]
    pub profile: Option<String>,
    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,
    /// Print the summary as a row of a table.
    #[arg(long, conflicts_with = "json")]
    pub table: bool,
    /// Show miss number N with the lists around it, before and after.
    #[arg(long, value_name = "N", conflicts_with_all = ["json", "table"])]
    pub explain: Option<String>,
    /// Stop before this line of the trace and print the machine's lists as the kernel would.
    #[arg(long, value_name = "EVENT")]
    pub until: Option<String>,
    /// Exit 1 when a smaller share of predictions is exact.
    #[arg(long, value_name = "R")]
    pub require: Option<String>,
    /// Exit 1 when the lists differ at a snapshot.
    #[arg(long)]
    pub require_lists: bool,
}

/// Words that the commands of traces know.
#[derive(Clone, PartialEq, Eq, Debug, Default, Args)]
pub struct Common {
    /// Recorded trace: ftrace or perf script text, plain or zstd. Default: the demonstration's.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<String>,
    /// Workload: phone, server, kbuild, fragment, adversary, guest; or trace, the recorded one.
    #[arg(long, value_name = "NAME")]
    pub workload: Option<String>,
    /// Operations to carry out, one a line as shrink writes them. With --trace or --workload: in
    /// place of theirs, on their machine; alone, on a machine of 256MiB without swap.
    #[arg(long, value_name = "FILE")]
    pub ops: Option<String>,
    /// Memory of the emulated machine; compare takes several, separated by commas. Default: that
    /// of the recorded one; 4GiB for a workload.
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Share of movable user pages that become PROT_MTE right after allocation, besides the
    /// recorded ones: 0% to 100%; compare takes several, separated by commas. With a workload:
    /// share of what --tag-by says.
    #[arg(long, value_name = "SHARE")]
    pub tagged: Option<String>,
    /// Seed of the generator that chooses those pages, and of the workload.
    #[arg(long, value_name = "N")]
    pub seed: Option<String>,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
    /// Skip and count lines of the trace that cannot be read. Only with a trace.
    #[arg(long)]
    pub lenient: bool,
    /// Kernel whose rules to follow, 6.1 or 6.12. Default: the recorded one's.
    #[arg(long, value_name = "VERSION")]
    pub profile: Option<String>,
    /// Tag block size of the hardware, as in the device tree. Default: 4KiB.
    #[arg(long, value_name = "BYTES")]
    pub block_size: Option<String>,
    /// Size of an ordinary CMA area. Default: that of the recorded machine, or the workload's.
    #[arg(long, value_name = "SIZE")]
    pub cma: Option<String>,
    /// Words about the workload.
    #[command(flatten)]
    pub load: Load,
}

/// Words that only workloads know.
#[derive(Clone, PartialEq, Eq, Debug, Default, Args)]
pub struct Load {
    /// Length of the workload in ticks of a tenth of a second. Default: 600.
    #[arg(long, value_name = "N")]
    pub ticks: Option<String>,
    /// What --tagged is a share of: process, memory, vma. Default: memory.
    #[arg(long, value_name = "UNIT")]
    pub tag_by: Option<String>,
    /// Tagged by mmap, or by a later mprotect. Default: mmap.
    #[arg(long, value_name = "CALL")]
    pub tag_when: Option<String>,
    /// Tagged pages of an area: clustered or scattered. Default: clustered.
    #[arg(long, value_name = "LAYOUT")]
    pub tag_layout: Option<String>,
    /// Swap in memory, before compression; 0 for none. Default: the workload's.
    #[arg(long, value_name = "SIZE")]
    pub swap: Option<String>,
    /// For fragment: unusable free space index to reach at pageblock order. Default: 75%.
    #[arg(long, value_name = "SHARE")]
    pub index: Option<String>,
    /// For fragment: share of the pages in the way that cannot move. Default: 50%.
    #[arg(long, value_name = "SHARE")]
    pub unmovable: Option<String>,
}
