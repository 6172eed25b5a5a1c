//! The lists against four vectors that say the same in the obvious way.

use super::*;
use proptest::prelude::*;

/// Each list oldest first, with the orders of its folios.
#[derive(Default)]
struct Twin([Vec<(FolioId, Order)>; 4]);

impl Twin {
    fn take(&mut self, id: FolioId) -> Option<(LruList, Order)> {
        LruList::ALL.into_iter().find_map(|list| {
            let entries = &mut self.0[list.index()];
            let at = entries.iter().position(|(other, _)| *other == id)?;
            Some((list, entries.remove(at).1))
        })
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Add(u32, usize, u8),
    Remove(u32),
    Promote(u32, usize),
    Demote(u32, usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        (0..12u32, 0..4usize, 0..3u8).prop_map(|(id, list, order)| Act::Add(id, list, order)),
        (0..12u32).prop_map(Act::Remove),
        (0..12u32, 0..4usize).prop_map(|(id, list)| Act::Promote(id, list)),
        (0..12u32, 0..4usize).prop_map(|(id, list)| Act::Demote(id, list)),
    ];
    proptest::collection::vec(act, 0..80)
}

fn carry_out(lru: &mut Lru, twin: &mut Twin, act: Act) {
    match act {
        Act::Add(raw, at, order) => {
            let (id, list, order) = (FolioId::new(raw), LruList::ALL[at], Order::of(order));
            if lru.list_of(id).is_none() {
                lru.add(id, list, order);
                twin.0[at].push((id, order));
            }
        }
        Act::Remove(raw) => {
            let id = FolioId::new(raw);
            assert_eq!(lru.remove(id), twin.take(id).map(|(list, _)| list));
        }
        Act::Promote(raw, at) => {
            let id = FolioId::new(raw);
            if let Some((_, order)) = twin.take(id) {
                lru.promote(id, LruList::ALL[at]);
                twin.0[at].push((id, order));
            }
        }
        Act::Demote(raw, at) => {
            let id = FolioId::new(raw);
            if let Some((_, order)) = twin.take(id) {
                lru.demote(id, LruList::ALL[at]);
                twin.0[at].insert(0, (id, order));
            }
        }
    }
}

#[track_caller]
fn compare(lru: &Lru, twin: &Twin) {
    lru.check().unwrap();
    for list in LruList::ALL {
        let expected: Vec<_> = twin.0[list.index()].iter().map(|(id, _)| *id).collect();
        assert_eq!(lru.iter(list).collect::<Vec<_>>(), expected, "{list:?}");
        let pages: PageCount = twin.0[list.index()].iter().map(|(_, order)| order.pages()).sum();
        assert_eq!(lru.pages(list), pages, "{list:?}");
    }
}

proptest! {
    #[test]
    fn the_lists_are_what_the_vectors_are(acts in acts()) {
        let (mut lru, mut twin) = (Lru::default(), Twin::default());
        for act in acts {
            carry_out(&mut lru, &mut twin, act);
            compare(&lru, &twin);
        }
    }
}

fn two_of_three() -> Lru {
    let mut lru = Lru::default();
    for raw in 0..3 {
        lru.add(FolioId::new(raw), LruList::InactiveFile, Order::ZERO);
    }
    lru
}

#[test]
fn uses_belong_to_listed_folios_only() {
    let mut lru = two_of_three();
    let (listed, other) = (FolioId::new(1), FolioId::new(9));
    lru.mark(listed, Used::YOUNG | Used::REFERENCED);
    lru.mark(other, Used::YOUNG);
    assert!(lru.clear(listed, Used::YOUNG) && !lru.clear(listed, Used::YOUNG));
    assert_eq!((lru.used(listed), lru.used(other)), (Used::REFERENCED, Used::empty()));
    lru.remove(listed);
    assert_eq!(lru.used(listed), Used::empty());
}

#[test]
fn canary_a_wrong_size() {
    let mut lru = two_of_three();
    lru.sizes[LruList::InactiveFile.index()] += 1;
    let violation = lru.check().unwrap_err().to_string();
    assert_eq!(violation, "pages of InactiveFile: 4 instead of 3");
}

#[test]
fn canary_a_folio_that_lost_its_list() {
    let mut lru = two_of_three();
    lru.unlink(FolioId::new(2), LruList::InactiveFile);
    assert!(lru.check().is_err());
    let mut lru = two_of_three();
    lru.links[2].newer = 0;
    assert_eq!(lru.check().unwrap_err().what, "InactiveFile goes round in circles");
}
