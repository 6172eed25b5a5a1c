//! Single words and lists of them, as typed.

use std::path::PathBuf;

use pagelab_allocator::profile::KernelProfile;

use crate::cli::Common;
use crate::contender::{Contender, NoContender};
use crate::emit::Destination;
use crate::machine::MAX_MEMORY;
use crate::size::{Share, parse_size};

use super::{PlanError, TraceChoice};

pub(super) fn parse_trace(words: &Common) -> Result<TraceChoice, PlanError> {
    match words.trace.as_deref() {
        None => Ok(TraceChoice::Demo),
        Some("") => Err(PlanError::new("--trace", "", "a file name is needed")),
        Some(path) => Ok(TraceChoice::File(PathBuf::from(path))),
    }
}

/// Where results go.
pub(super) fn parse_path(flag: &'static str, text: &str) -> Result<PathBuf, PlanError> {
    match text {
        "" => Err(PlanError::new(flag, "", "a file name is needed")),
        _ if text.ends_with('/') => Err(PlanError::new(flag, text, "a folder")),
        _ => Ok(PathBuf::from(text)),
    }
}

/// Values separated by commas, each once.
pub(super) fn list<T: PartialEq>(
    flag: &'static str,
    text: &str,
    one: impl Fn(&str) -> Result<T, PlanError>,
) -> Result<Vec<T>, PlanError> {
    let mut values = Vec::new();
    for word in text.split(',') {
        let value = one(word.trim())?;
        if values.contains(&value) {
            return Err(PlanError::new(flag, text, "names a value twice"));
        }
        values.push(value);
    }
    Ok(values)
}

/// At most one of the two was given.
pub(super) fn parse_record(
    ftrace: Option<&str>,
    case: Option<&str>,
) -> Result<Option<Destination>, PlanError> {
    match (ftrace, case) {
        (Some(""), _) => Err(PlanError::new("--ftrace", "", "a file name is needed")),
        (_, Some("")) => Err(PlanError::new("--case", "", "the name of a folder is needed")),
        (Some(path), _) if path.ends_with('/') => {
            Err(PlanError::new("--ftrace", path, "a folder; --case writes one"))
        }
        (Some(path), _) => Ok(Some(Destination::Ftrace(PathBuf::from(path)))),
        (None, Some(path)) => Ok(Some(Destination::Case(PathBuf::from(path)))),
        (None, None) => Ok(None),
    }
}

pub(super) const NO_DESIGN: &str = "not one of carveout, metadata, cma-v2, cma-v3, cma, drop-movable, \
                         cma-filter, cma-flag, zone-movable, numa-node, grab-all, cleancache";
const NO_SUFFIX: &str = "only +taggable-hw can follow a design";

fn parse_contenders(flag: &'static str, word: &str) -> Result<Vec<Contender>, PlanError> {
    Contender::named(word).map_err(|error| match error {
        NoContender::Unknown => PlanError::new(flag, word, NO_DESIGN),
        NoContender::Suffix => PlanError::new(flag, word, NO_SUFFIX),
    })
}

pub(super) fn parse_design(flag: &'static str, name: &str) -> Result<Contender, PlanError> {
    match parse_contenders(flag, name)?[..] {
        [one] => Ok(one),
        _ => Err(PlanError::new(flag, name, "several designs; compare takes them")),
    }
}

pub(super) fn parse_designs(list: &str) -> Result<Vec<Contender>, PlanError> {
    let mut contenders = Vec::new();
    for word in list.split(',') {
        for contender in parse_contenders("--designs", word.trim())? {
            if contenders.contains(&contender) {
                return Err(PlanError::new("--designs", list, "names a design twice"));
            }
            contenders.push(contender);
        }
    }
    Ok(contenders)
}

pub(super) const SIZE: &str = "not a size such as 512MiB or 16GiB";
const MIB: u64 = 1 << 20;

pub(super) fn parse_memory(text: &str) -> Result<u64, PlanError> {
    let error = |why| PlanError::new("--memory", text, why);
    let bytes = parse_size(text).ok_or_else(|| error(SIZE))?;
    match bytes {
        _ if !bytes.is_multiple_of(2 * MIB) => Err(error("not a multiple of 2MiB")),
        _ if bytes < 16 * MIB => Err(error("less than 16MiB")),
        _ if bytes > MAX_MEMORY => Err(error("more than 1TiB")),
        _ => Ok(bytes),
    }
}

pub(super) fn parse_cma(text: &str) -> Result<u64, PlanError> {
    let error = |why| PlanError::new("--cma", text, why);
    let bytes = parse_size(text).ok_or_else(|| error(SIZE))?;
    match bytes {
        _ if !bytes.is_multiple_of(2 * MIB) => Err(error("not a multiple of 2MiB")),
        _ if bytes > MAX_MEMORY => Err(error("more than 1TiB")),
        _ => Ok(bytes),
    }
}

pub(super) fn parse_block(text: &str) -> Result<u64, PlanError> {
    let error = |why| PlanError::new("--block-size", text, why);
    let bytes = parse_size(text).ok_or_else(|| error("not a size such as 4096 or 8KiB"))?;
    match bytes {
        0 => Err(error("zero")),
        _ if !bytes.is_multiple_of(4096) => Err(error("not a multiple of 4096")),
        _ if bytes > 2 * MIB => Err(error("more than 2MiB")),
        _ => Ok(bytes),
    }
}

pub(super) fn parse_share(flag: &'static str, text: &str) -> Result<Share, PlanError> {
    let why = "not a share between 0% and 100%, with at most two decimal places";
    Share::parse(text).ok_or_else(|| PlanError::new(flag, text, why))
}

pub(super) fn parse_seed(text: &str) -> Result<u64, PlanError> {
    text.parse().map_err(|_| PlanError::new("--seed", text, "not a whole number of 64 bits"))
}

pub(crate) fn parse_profile(text: &str) -> Result<KernelProfile, PlanError> {
    match text {
        "6.1" => Ok(KernelProfile::V6_1),
        "6.12" => Ok(KernelProfile::V6_12),
        _ => Err(PlanError::new("--profile", text, "not one of 6.1, 6.12")),
    }
}

/// Shares separated by commas.
pub(super) fn parse_shares(text: &str) -> Result<Vec<Share>, PlanError> {
    list("--tagged", text, |word| parse_share("--tagged", word))
}

/// Most seeds of an experiment.
const MOST_SEEDS: usize = 100_000;

/// How many seeds, from `first` on.
pub(super) fn parse_seeds(text: &str, first: u64) -> Result<usize, PlanError> {
    let error = |why| PlanError::new("--seeds", text, why);
    match text.parse::<usize>() {
        Ok(0) => Err(error("zero")),
        Ok(seeds) if seeds <= MOST_SEEDS => {
            let last = u64::try_from(seeds - 1).ok().and_then(|more| first.checked_add(more));
            last.map(|_| seeds).ok_or_else(|| error("more than there are seeds from --seed on"))
        }
        _ => Err(error("not a whole number up to 100000")),
    }
}

pub(super) fn parse_threads(text: &str) -> Result<usize, PlanError> {
    let error = |why| PlanError::new("--threads", text, why);
    match text.parse::<usize>() {
        Ok(0) => Err(error("zero")),
        Ok(threads) if threads <= 1024 => Ok(threads),
        _ => Err(error("not a whole number up to 1024")),
    }
}
