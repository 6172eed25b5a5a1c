//! What can be done to a machine.

use proptest::prelude::*;

use pagelab_migrate::allocator::gfp::GfpFlags;
use pagelab_migrate::allocator::hotplug::gate::Driver;
use pagelab_migrate::allocator::hotplug::pagemap::{PagemapKind, PagemapMemmap};
use pagelab_migrate::allocator::hotplug::range::{Owner, Stranded};
use pagelab_migrate::allocator::online::OnlineTo;
use pagelab_migrate::hotplug::actor::Actor;
use pagelab_migrate::hotplug::guest::GuestTags;
use pagelab_migrate::hotplug::pamt::Pamt;

/// How large the folios of a guest are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Size {
    Page,
    Pageblock,
}

/// An operation; numbers pick among what there is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    CreateDax(u8, Driver),
    KmemProbe(u8),
    KmemRemove(u8),
    DevdaxProbe(u8),
    DevdaxRemove(u8),
    /// Firmware adds some blocks.
    Add(u8, u8),
    /// A driver does, with a name that may be wrong, and ranges that are not blocks.
    AddManaged(u8, u8, &'static str),
    Online(u8, u8, Actor, OnlineTo),
    Offline(u8, u8, Actor),
    Remove(u8, u8, Owner),
    Give(u8, u8, Owner),
    Memremap(u8, u8, PagemapKind, PagemapMemmap),
    Memunmap(u8),
    StartGuest(u8, Size, GuestTags),
    StopGuest(u8),
    Demote(u8),
    UseTags(u8, u8),
    Private(u8, u8),
    FreePrivate,
    TdxInit(Pamt),
    Fill(u8, u8, GfpFlags),
    Free(u8),
    Pin(u8),
    Unpin(u8),
}

fn owners() -> impl Strategy<Value = Owner> {
    use Owner::{Blocks, DaxIdle, Devdax, Free, Leaked, Region};
    let all = [
        Free,
        Free,
        Region,
        DaxIdle,
        DaxIdle,
        Devdax,
        Blocks,
        Leaked,
        Owner::Stranded(Stranded::Denied),
    ];
    prop::sample::select(all.to_vec())
}

fn devices() -> impl Strategy<Value = Op> {
    use Op::{CreateDax, DevdaxProbe, DevdaxRemove, KmemProbe, KmemRemove};
    let drivers = prop_oneof![2 => Just(Driver::Kmem), 1 => Just(Driver::Devdax)];
    prop_oneof![
        3 => (any::<u8>(), drivers).prop_map(|(at, driver)| CreateDax(at, driver)),
        2 => any::<u8>().prop_map(KmemProbe),
        2 => any::<u8>().prop_map(KmemRemove),
        1 => any::<u8>().prop_map(DevdaxProbe),
        2 => any::<u8>().prop_map(DevdaxRemove),
    ]
}

fn blocks() -> impl Strategy<Value = Op> {
    use Op::{Add, AddManaged, Give, Memremap, Memunmap, Offline, Online, Remove};
    let actors = || prop_oneof![Just(Actor::Udev), Just(Actor::Daxctl)];
    let to = prop_oneof![Just(OnlineTo::Default), Just(OnlineTo::Kernel), Just(OnlineTo::Movable)];
    let kinds = prop_oneof![
        Just(PagemapKind::Private),
        Just(PagemapKind::Coherent),
        Just(PagemapKind::FsDax),
        Just(PagemapKind::Generic),
    ];
    let maps = prop_oneof![
        Just(PagemapMemmap::Whole),
        Just(PagemapMemmap::Compound),
        Just(PagemapMemmap::Altmap),
    ];
    let names = prop_oneof![3 => Just("System RAM (kmem)"), 1 => Just("nothing")];
    let at = any::<(u8, u8)>;
    prop_oneof![
        4 => at().prop_map(|(at, len)| Add(at, len)),
        1 => (at(), names).prop_map(|((at, len), name)| AddManaged(at, len, name)),
        6 => (at(), actors(), to).prop_map(|((at, len), by, to)| Online(at, len, by, to)),
        5 => (at(), actors()).prop_map(|((at, len), by)| Offline(at, len, by)),
        4 => (at(), owners()).prop_map(|((at, len), to)| Remove(at, len, to)),
        2 => (at(), owners()).prop_map(|((at, len), to)| Give(at, len, to)),
        3 => (at(), kinds, maps).prop_map(|((at, len), kind, map)| Memremap(at, len, kind, map)),
        2 => any::<u8>().prop_map(Memunmap),
    ]
}

fn users() -> impl Strategy<Value = Op> {
    use Op::{
        Demote, Fill, Free, FreePrivate, Pin, Private, StartGuest, StopGuest, Unpin, UseTags,
    };
    let tags =
        prop_oneof![Just(GuestTags::None), Just(GuestTags::Every), Just(GuestTags::OnAccess)];
    let sizes = prop_oneof![Just(Size::Page), Just(Size::Pageblock)];
    let gfp = prop_oneof![Just(GfpFlags::HIGHUSER_MOVABLE), Just(GfpFlags::KERNEL)];
    let at = any::<(u8, u8)>;
    prop_oneof![
        2 => (any::<u8>(), sizes, tags).prop_map(|(n, size, tags)| StartGuest(n, size, tags)),
        2 => any::<u8>().prop_map(StopGuest),
        2 => any::<u8>().prop_map(Demote),
        1 => at().prop_map(|(guest, page)| UseTags(guest, page)),
        1 => at().prop_map(|(n, node)| Private(n, node)),
        1 => Just(FreePrivate),
        2 => prop_oneof![Just(Pamt::Static), Just(Pamt::Dynamic)].prop_map(Op::TdxInit),
        5 => (at(), gfp).prop_map(|((n, order), gfp)| Fill(n, order, gfp)),
        3 => any::<u8>().prop_map(Free),
        1 => any::<u8>().prop_map(Pin),
        1 => any::<u8>().prop_map(Unpin),
    ]
}

pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(prop_oneof![3 => devices(), 5 => blocks(), 3 => users()], 1..60)
}
