use super::*;

type Slot = Result<(), SlotRefused>;
type Fault = Result<Stage2, FaultRefused>;

const ALL_MTE: [GuestMte; 2] = [GuestMte::Off, GuestMte::On];
const ALL_HARDWARE: [CacheablePfnmap; 2] =
    [CacheablePfnmap::Unsupported, CacheablePfnmap::Supported];
const ALL_CACHING: [Caching; 2] = [Caching::Cacheable, Caching::Uncached];
const PLAIN: Fault = Ok(Stage2 { memory: MemoryType::Cacheable, sanitised: Sanitised::No });
const TAGGED: Fault = Ok(Stage2 { memory: MemoryType::Cacheable, sanitised: Sanitised::Yes });
const NC: Fault = Ok(Stage2 { memory: MemoryType::NormalNc, sanitised: Sanitised::No });
const DEVICE: Fault = Ok(Stage2 { memory: MemoryType::Device, sanitised: Sanitised::No });

fn inputs() -> impl Iterator<Item = (Vm, KvmVma)> {
    let vms = ALL_MTE
        .into_iter()
        .flat_map(|mte| ALL_HARDWARE.map(move |cacheable_pfnmap| Vm { mte, cacheable_pfnmap }));
    vms.flat_map(|vm| {
        (0..=VmaFlags::all().bits()).flat_map(move |bits| {
            let flags = VmaFlags::from_bits_truncate(bits);
            ALL_CACHING.map(|caching| (vm, KvmVma { flags, caching }))
        })
    })
}

/// A row: flags that are there and that are not, then what else must hold, and what follows. The
/// first that fits decides.
struct Row<X, R> {
    with: VmaFlags,
    without: VmaFlags,
    when: fn(Vm, KvmVma, X) -> bool,
    then: R,
}

impl<X: Copy, R: Copy> Row<X, R> {
    fn new(with: VmaFlags, without: VmaFlags, when: fn(Vm, KvmVma, X) -> bool, then: R) -> Self {
        Self { with, without, when, then }
    }

    fn fits(&self, vm: Vm, vma: KvmVma, x: X) -> bool {
        let flags = vma.flags.contains(self.with) && !vma.flags.intersects(self.without);
        flags && (self.when)(vm, vma, x)
    }
}

fn look_up<X: Copy, R: Copy>(rows: &[Row<X, R>], vm: Vm, vma: KvmVma, x: X) -> R {
    rows.iter().find(|row| row.fits(vm, vma, x)).unwrap().then
}

fn tags(vm: Vm) -> bool {
    vm.mte == GuestMte::On
}

fn lacks_hardware(vm: Vm, vma: KvmVma) -> bool {
    vma.caching == Caching::Cacheable && vm.cacheable_pfnmap == CacheablePfnmap::Unsupported
}

/// The three tests of a new slot, and what passes.
fn slot_rows() -> [Row<DirtyLogging, Slot>; 4] {
    let (no, pfnmap) = (VmaFlags::empty(), VmaFlags::PFNMAP);
    [
        Row::new(no, VmaFlags::MTE_ALLOWED, |vm, _, _| tags(vm), Err(SlotRefused::NoTags)),
        Row::new(pfnmap, no, |_, _, log| log == DirtyLogging::On, Err(SlotRefused::Logging)),
        Row::new(pfnmap, no, |vm, vma, _| lacks_hardware(vm, vma), Err(SlotRefused::Cacheable)),
        Row::new(no, no, |_, _, _| true, Ok(())),
    ]
}

type Faulted = (InMemoryMap, Access);

fn outside((frame, _): Faulted) -> bool {
    frame == InMemoryMap::No
}

fn uncached(vma: KvmVma, x: Faulted) -> bool {
    outside(x) && vma.caching == Caching::Uncached
}

/// A fault's tests: a mapping with either special flag has a row for each.
fn fault_rows() -> Vec<Row<Faulted, Fault>> {
    let (no, allowed) = (VmaFlags::empty(), VmaFlags::MTE_ALLOWED);
    let mut rows = Vec::new();
    for special in [VmaFlags::PFNMAP, VmaFlags::MIXEDMAP] {
        let any = special | VmaFlags::ALLOW_ANY_UNCACHED;
        let bad = Err(FaultRefused::BadAddress);
        rows.push(Row::new(special, no, |vm, vma, x| outside(x) && lacks_hardware(vm, vma), bad));
        let abort = Err(FaultRefused::AbortToGuest);
        let executed = |_, vma, x: Faulted| uncached(vma, x) && x.1 == Access::Execute;
        rows.push(Row::new(special, no, executed, abort));
        rows.push(Row::new(any, no, |_, vma, x| uncached(vma, x), NC));
        rows.push(Row::new(special, no, |_, vma, x| uncached(vma, x), DEVICE));
    }
    rows.push(Row::new(no, no, |vm, _, _| !tags(vm), PLAIN));
    rows.push(Row::new(allowed, no, |_, _, _| true, TAGGED));
    rows.push(Row::new(no, no, |_, _, _| true, Err(FaultRefused::BadAddress)));
    rows
}

/// Number of inputs on which a decision about slots differs from the table.
fn slot_misses(decide: impl Fn(Vm, &[KvmVma], DirtyLogging) -> Slot) -> usize {
    let rows = slot_rows();
    let log = [DirtyLogging::Off, DirtyLogging::On];
    let all = inputs().flat_map(|(vm, vma)| log.map(|log| (vm, vma, log)));
    all.filter(|&(vm, vma, log)| decide(vm, &[vma], log) != look_up(&rows, vm, vma, log)).count()
}

fn fault_inputs() -> impl Iterator<Item = (Vm, KvmVma, InMemoryMap, Access)> {
    inputs().flat_map(|(vm, vma)| {
        [InMemoryMap::No, InMemoryMap::Yes].into_iter().flat_map(move |frame| {
            [Access::Data, Access::Execute].map(|access| (vm, vma, frame, access))
        })
    })
}

fn fault_misses(decide: impl Fn(Vm, KvmVma, InMemoryMap, Access) -> Fault) -> usize {
    let rows = fault_rows();
    let differs = |&(vm, vma, frame, access): &(Vm, KvmVma, InMemoryMap, Access)| {
        decide(vm, vma, frame, access) != look_up(&rows, vm, vma, (frame, access))
    };
    fault_inputs().filter(differs).count()
}

#[test]
fn row_34_truth_table() {
    assert_eq!(slot_misses(prepare_memory_region), 0);
    assert_eq!(fault_misses(stage2_fault), 0);
}

#[test]
fn canary_tables_that_miss_a_rule() {
    let wrong_order = |vm: Vm, vmas: &[KvmVma], log| {
        let without = Vm { mte: GuestMte::Off, ..vm };
        prepare_memory_region(without, vmas, log)?;
        prepare_memory_region(vm, vmas, log)
    };
    assert!(slot_misses(wrong_order) > 0, "tags are asked about first");
    // The idea of 2023: fall back to uncached where tags cannot be.
    let fall_back = |vm: Vm, vma: KvmVma, frame, access| match stage2_fault(vm, vma, frame, access)
    {
        Err(FaultRefused::BadAddress) => NC,
        other => other,
    };
    assert!(fault_misses(fall_back) > 0);
    let uncached_first = |vm: Vm, vma: KvmVma, frame, access| {
        let mte = vm.mte == GuestMte::On && !vma.flags.contains(VmaFlags::MTE_ALLOWED);
        if mte { Err(FaultRefused::BadAddress) } else { stage2_fault(vm, vma, frame, access) }
    };
    assert!(fault_misses(uncached_first) > 0, "uncached memory has no tags to ask for");
}

const NO_MTE: Vm = Vm { mte: GuestMte::Off, cacheable_pfnmap: CacheablePfnmap::Unsupported };
const MTE: Vm = Vm { mte: GuestMte::On, ..NO_MTE };
const fn vma(flags: VmaFlags, caching: Caching) -> KvmVma {
    KvmVma { flags, caching }
}

#[test]
fn row_34_by_example() {
    let (no, data) = (InMemoryMap::No, Access::Data);
    let bar = vma(VmaFlags::PFNMAP.union(VmaFlags::ALLOW_ANY_UNCACHED), Caching::Uncached);
    let registers = vma(VmaFlags::PFNMAP, Caching::Uncached);
    let memory = vma(VmaFlags::PFNMAP, Caching::Cacheable);
    let heap = vma(VmaFlags::MTE_ALLOWED, Caching::Cacheable);
    let able = Vm { cacheable_pfnmap: CacheablePfnmap::Supported, ..NO_MTE };
    assert_eq!(stage2_fault(NO_MTE, bar, no, data), NC);
    assert_eq!(stage2_fault(NO_MTE, registers, no, data), DEVICE);
    let executed = stage2_fault(NO_MTE, bar, no, Access::Execute).unwrap_err();
    assert_eq!((executed, executed.errno()), (FaultRefused::AbortToGuest, None));
    let refused = stage2_fault(NO_MTE, memory, no, data).unwrap_err();
    assert_eq!(refused.errno(), Some(Errno::Fault));
    assert_eq!(stage2_fault(able, memory, no, data), PLAIN);
    assert_eq!(stage2_fault(MTE, heap, InMemoryMap::Yes, data), TAGGED);
}

#[test]
fn row_34_a_device_of_a_guest_with_tags_still_fails() {
    let bar = vma(VmaFlags::PFNMAP.union(VmaFlags::ALLOW_ANY_UNCACHED), Caching::Uncached);
    let refused = prepare_memory_region(MTE, &[bar], DirtyLogging::Off).unwrap_err();
    assert_eq!((refused, refused.errno()), (SlotRefused::NoTags, Errno::Inval));
    let heap = vma(VmaFlags::MTE_ALLOWED, Caching::Cacheable);
    let second = prepare_memory_region(MTE, &[heap, bar], DirtyLogging::Off);
    assert_eq!(second, Err(SlotRefused::NoTags));
    assert_eq!(prepare_memory_region(NO_MTE, &[heap, bar], DirtyLogging::Off), Ok(()));
}

/// Caches may hold what memory does not: whoever maps through them gets no page past them.
#[test]
fn cacheable_mappings_never_become_uncached() {
    for (vm, vma, frame, access) in fault_inputs() {
        if let (Caching::Cacheable, Ok(page)) = (vma.caching, stage2_fault(vm, vma, frame, access))
        {
            assert_eq!(page.memory, MemoryType::Cacheable, "{vm:?} {vma:?}");
        }
    }
}

/// What a slot lets through may still fail as a fault, since mappings change; but one that passes
/// both gives a guest with tags no cacheable page without.
#[test]
fn guests_with_tags_get_tagged_pages_only() {
    for (vm, vma, frame, access) in fault_inputs().filter(|(vm, ..)| tags(*vm)) {
        if let Ok(page) = stage2_fault(vm, vma, frame, access) {
            assert_eq!(page.memory == MemoryType::Cacheable, page.sanitised == Sanitised::Yes);
        }
    }
}
