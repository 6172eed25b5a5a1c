//! `meta.json` beside a recorded trace: what machine it was recorded on.

use std::ops::RangeInclusive;
use std::path::Path;

use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{PageCount, Pfn};
use serde::Deserialize;
use serde_json::Value;

use super::error::CaseError;
use super::text::CaseText;
use crate::contender::Contender;

/// The machine of a recorded case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaseMeta {
    /// Name of the case.
    pub name: String,
    /// Memory of the machine in MiB.
    pub mem_mib: u64,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// Whose rules that kernel follows; `None` for a version that is not modelled.
    pub profile: Option<KernelProfile>,
    /// The zones that hold memory, lowest first.
    pub zones: Vec<CaseZone>,
    /// What the kernel was told when it booted. Linux: /proc/cmdline.
    pub cmdline: String,
    /// How many snapshots were taken; 0 when it does not say.
    pub snapshots: usize,
    /// Ticks in a second, if it says. Linux: `CONFIG_HZ`.
    pub hz: Option<u64>,
    /// The design under which the emulator wrote the case; `None` for a recorded kernel.
    pub design: Option<Contender>,
}

/// One zone of a recorded machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CaseZone {
    /// Which.
    pub kind: ZoneType,
    /// First frame. Linux: `zone_start_pfn`.
    pub start: Pfn,
    /// Frames from first to last. Linux: `spanned_pages`.
    pub spanned: PageCount,
    /// Frames that exist. Linux: `present_pages`.
    pub present: PageCount,
    /// Pages that the allocator manages. Linux: `zone_managed_pages()`.
    pub managed: PageCount,
    /// Those of them that belong to CMA areas. Linux: `cma_pages`.
    pub cma: PageCount,
}

/// More memory than any machine has.
const MEMORY_LIMIT_MIB: u64 = 1 << 30;
/// Ticks in a second that kernels have.
const TICKS: RangeInclusive<u64> = 24..=1200;

#[derive(Deserialize)]
struct RawMeta {
    name: String,
    mem_mib: u64,
    kernel: String,
    zones: Vec<RawZone>,
    #[serde(default)]
    booted_cmdline: String,
    #[serde(default)]
    snapshots: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Value,
    #[serde(default)]
    design: Option<String>,
}

#[derive(Deserialize)]
struct RawZone {
    name: String,
    start_pfn: u64,
    spanned: u64,
    present: u64,
    managed: u64,
    #[serde(default)]
    cma: Option<u64>,
}

impl CaseMeta {
    /// Reads the `meta.json` in the directory of `trace`; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`CaseError`] when there is one that cannot be read or does not say what it should.
    pub fn beside(trace: &Path) -> Result<Option<Self>, CaseError> {
        let found = CaseText::beside(trace, "meta.json")?;
        found.map(|CaseText { file, text }| Self::parse(&file, &text)).transpose()
    }

    /// Reads the text of a `meta.json` that errors call `file`.
    ///
    /// # Errors
    ///
    /// [`CaseError`] with the line and, where there is one, the field.
    pub fn parse(file: &str, text: &str) -> Result<Self, CaseError> {
        let raw: RawMeta = serde_json::from_str(text).map_err(|cause| {
            CaseError::at(file, cause.line(), &wrong_field(text, &cause), &cause)
        })?;
        if raw.name.contains(char::is_control) {
            let line = 1 + text.lines().take_while(|line| !line.contains("\"name\"")).count();
            let why = format!("{:?} is no name", raw.name);
            return Err(CaseError::at(file, line, "name", why));
        }
        let memory = (1..=MEMORY_LIMIT_MIB).contains(&raw.mem_mib);
        let memory = memory.then_some(()).ok_or_else(|| ("mem_mib", raw.mem_mib.to_string()));
        let zones = || raw.zones.iter().map(CaseZone::new).collect::<Result<_, _>>();
        let zones = memory.and_then(|()| zones());
        let zones = zones.map_err(|(field, value)| {
            let says = |line: &&str| line.contains(&value) && line.contains(field);
            let line = 1 + text.lines().take_while(|line| !says(line)).count();
            let zone = if field == "mem_mib" { "" } else { "zones." };
            CaseError::at(file, line, &format!("{zone}{field}"), format!("{value} is not possible"))
        })?;
        Ok(Self {
            profile: profile_of(&raw.kernel),
            name: raw.name,
            mem_mib: raw.mem_mib,
            kernel: raw.kernel,
            zones,
            cmdline: raw.booted_cmdline,
            snapshots: raw.snapshots.len(),
            hz: ticks(&raw.config).map_err(|why| {
                let line = 1 + text.lines().take_while(|line| !line.contains("\"HZ\"")).count();
                CaseError::at(file, line, "config.HZ", why)
            })?,
            design: raw.design.as_deref().map(design).transpose().map_err(|why| {
                let line = 1 + text.lines().take_while(|l| !l.contains("\"design\"")).count();
                CaseError::at(file, line, "design", why)
            })?,
        })
    }

    /// A number that the kernel's command line gives a sysctl. Linux: `sysctl.*=`.
    #[must_use]
    pub fn sysctl(&self, name: &str) -> Option<u64> {
        let words = self.cmdline.split_ascii_whitespace();
        let values = words.filter_map(|w| w.strip_prefix("sysctl.")?.strip_prefix(name));
        values.filter_map(|value| value.strip_prefix('=')?.parse().ok()).next_back()
    }

    /// Managed pages of all zones.
    #[must_use]
    pub fn managed(&self) -> PageCount {
        self.zones.iter().map(|zone| zone.managed).sum()
    }
}

impl CaseZone {
    fn new(raw: &RawZone) -> Result<Self, (&'static str, String)> {
        let kind = ZoneType::ALL.into_iter().find(|kind| kind.name() == raw.name);
        let kind = kind.ok_or_else(|| ("name", format!("{:?}", raw.name)))?;
        let cma = raw.cma.unwrap_or(0);
        for (field, value, limit) in [
            ("start_pfn", raw.start_pfn, 1 << 40),
            ("spanned", raw.spanned, 1 << 40),
            ("present", raw.present, raw.spanned),
            ("managed", raw.managed, raw.present),
            ("cma", cma, raw.managed),
        ] {
            if value > limit {
                return Err((field, value.to_string()));
            }
        }
        Ok(Self {
            kind,
            start: Pfn::new(raw.start_pfn),
            spanned: PageCount::new(raw.spanned),
            present: PageCount::new(raw.present),
            managed: PageCount::new(raw.managed),
            cma: PageCount::new(cma),
        })
    }
}

/// The kernel's `CONFIG_HZ`, as a number or its text.
fn ticks(config: &Value) -> Result<Option<u64>, String> {
    let Some(told) = config.get("HZ") else { return Ok(None) };
    let number = told.as_u64().or_else(|| told.as_str()?.parse().ok());
    let number = number.filter(|hz| TICKS.contains(hz));
    number.map(Some).ok_or_else(|| format!("{told} is not possible"))
}

/// The one design of that name.
fn design(name: &str) -> Result<Contender, String> {
    match Contender::named(name).as_deref() {
        Ok([one]) if one.to_string() == name => Ok(*one),
        _ => Err(format!("{name:?} is no design")),
    }
}

/// The profile whose version begins as `release` does.
pub(super) fn profile_of(release: &str) -> Option<KernelProfile> {
    let mut numbers = release.split(['.', '-']);
    match (numbers.next()?, numbers.next()?) {
        ("6", "1") => Some(KernelProfile::V6_1),
        ("6", "12") => Some(KernelProfile::V6_12),
        _ => None,
    }
}

/// The field that `cause` is about: named by a "missing field", else the last key before it.
fn wrong_field(text: &str, cause: &serde_json::Error) -> String {
    let message = cause.to_string();
    if let Some((_, rest)) = message.split_once("missing field `") {
        return rest.split('`').next().unwrap_or_default().to_owned();
    }
    if !cause.is_data() {
        return String::new();
    }
    let lines: Vec<&str> = text.lines().take(cause.line()).collect();
    let keys = lines.iter().rev().filter_map(|line| {
        let (before, _) = line.split_once("\":")?;
        Some(before.rsplit('"').next()?.to_owned())
    });
    keys.into_iter().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{
 "name": "c", "mem_mib": 512,
 "kernel": "6.12.117+deb12-arm64",
 "zones": [{
   "name": "DMA", "start_pfn": 262144,
   "spanned": 131072,
   "present": 131072,
   "managed": 121665,
   "cma": null
 }]
}"#;

    #[test]
    fn a_case_is_read() {
        let meta = CaseMeta::parse("m", GOOD).unwrap();
        assert_eq!((meta.mem_mib, meta.profile), (512, Some(KernelProfile::V6_12)));
        assert_eq!(meta.managed(), PageCount::new(121_665));
        assert_eq!(meta.zones[0].cma, PageCount::ZERO);
        assert_eq!(meta.hz, None);
        for hz in ["100", "\"100\""] {
            let text = GOOD.replacen('{', &format!("{{\n \"config\": {{ \"HZ\": {hz} }},"), 1);
            assert_eq!(CaseMeta::parse("m", &text).unwrap().hz, Some(100));
        }
    }

    #[test]
    fn a_written_case_names_its_design() {
        assert_eq!(CaseMeta::parse("m", GOOD).unwrap().design, None);
        for name in ["carveout", "cma-v3+taggable-hw"] {
            let text = GOOD.replacen('{', &format!("{{\n \"design\": \"{name}\","), 1);
            let design = CaseMeta::parse("m", &text).unwrap().design;
            assert_eq!(design.map(|design| design.to_string()).as_deref(), Some(name));
        }
    }

    #[track_caller]
    fn check(from: &str, to: &str, expected: &str) {
        let error = CaseMeta::parse("m", &GOOD.replace(from, to)).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn a_broken_one_names_line_and_field() {
        check("\"mem_mib\": 512,", "", "m:11: field `mem_mib`: missing field");
        check(
            "131072,\n   \"present",
            "\"x\",\n   \"present",
            "m:6: field `spanned`: invalid type",
        );
        check("121665", "200000", "m:8: field `zones.managed`: 200000 is not possible");
        check("\"DMA\"", "\"HighMem\"", "m:5: field `zones.name`: \"HighMem\" is not possible");
        check("\"c\"", r#""c\nd""#, "m:2: field `name`: \"c\\nd\" is no name");
        check("}]", "}", "m:11: expected");
        let design = "\"mem_mib\": 512, \n\"design\": \"cma\",";
        check("\"mem_mib\": 512,", design, "m:3: field `design`: \"cma\" is no design");
        let hz = "\"mem_mib\": 512, \"config\": {\n\"HZ\": \"n\"},";
        check("\"mem_mib\": 512,", hz, "m:3: field `config.HZ`: \"n\" is not possible");
        check(": 512", ": 0", "m:2: field `mem_mib`: 0 is not possible");
        check(": 512", ": 99999999999999", "m:2: field `mem_mib`: 99999999999999 is not possible");
    }
}
