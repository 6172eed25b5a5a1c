//! Things that are given numbers in turn, and whose numbers are never given again.

use core::fmt::Debug;
use core::marker::PhantomData;
use core::ops::Index;

/// A number that names something.
pub(crate) trait Number: Copy + Debug {
    /// Number `raw`.
    fn of(raw: u32) -> Self;

    /// The raw number.
    fn raw(self) -> u32;
}

/// Live things by number: one word for every number ever given. Linux: an `idr` without reuse.
#[derive(Clone, Debug)]
pub(crate) struct Numbered<K, T> {
    slots: Vec<Option<Box<T>>>,
    key: PhantomData<K>,
}

impl<K, T> Default for Numbered<K, T> {
    fn default() -> Self {
        Self { slots: Vec::new(), key: PhantomData }
    }
}

impl<K: Number, T> Numbered<K, T> {
    /// Gives the next number.
    ///
    /// # Panics
    ///
    /// Panics when all 2^32 are given.
    pub(crate) fn add(&mut self, thing: T) -> K {
        let key = K::of(u32::try_from(self.slots.len()).expect("fewer than 2^32 numbers"));
        self.slots.push(Some(Box::new(thing)));
        key
    }

    #[inline]
    pub(crate) fn get(&self, key: &K) -> Option<&T> {
        self.slots.get(key.raw() as usize)?.as_deref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut T> {
        self.slots.get_mut(key.raw() as usize)?.as_deref_mut()
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<T> {
        self.slots.get_mut(key.raw() as usize)?.take().map(|thing| *thing)
    }

    /// Live things, ascending by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        (0..).map(K::of).zip(&self.slots).filter_map(|(key, slot)| Some((key, &**slot.as_ref()?)))
    }

    /// Live things, ascending by number.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten().map(|thing| &**thing)
    }
}

impl<K: Number, T> Index<&K> for Numbered<K, T> {
    type Output = T;

    fn index(&self, key: &K) -> &T {
        self.get(key).unwrap_or_else(|| panic!("{key:?} is not there"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folio::SpaceId;

    #[test]
    fn numbers_are_given_once() {
        let mut things = Numbered::<SpaceId, char>::default();
        let [a, b] = ['a', 'b'].map(|thing| things.add(thing));
        assert_eq!((things.remove(&a), things.remove(&a)), (Some('a'), None));
        let c = things.add('c');
        assert_eq!((a.get(), b.get(), c.get()), (0, 1, 2));
        assert_eq!((things.get(&a), things[&b]), (None, 'b'));
        *things.get_mut(&c).unwrap() = 'd';
        assert_eq!(things.iter().collect::<Vec<_>>(), [(b, &'b'), (c, &'d')]);
        assert_eq!(things.values().collect::<String>(), "bd");
    }
}
