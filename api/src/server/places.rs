//! How many connections an address has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Taken = Mutex<HashMap<IpAddr, usize>>;

/// The connections of each address; an address without one isn't remembered.
pub(super) struct Places {
    most: Option<usize>,
    taken: Arc<Taken>,
}

/// A connection's place; free again when dropped.
pub(super) struct Place(Option<(Arc<Taken>, IpAddr)>);

impl Places {
    pub(super) fn new(most: Option<usize>) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// A place for one more connection, if the address may have one.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Place> {
        let Some(most) = self.most else { return Some(Place(None)) };
        let mut taken = lock(&self.taken);
        let count = taken.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place(Some((Arc::clone(&self.taken), address))))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((taken, address)) = self.0.take() else { return };
        let mut taken = lock(&taken);
        if let Some(count) = taken.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&address);
            }
        }
    }
}

fn lock(taken: &Taken) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_an_addresss_own_and_are_given_back() {
        let places = Places::new(Some(2));
        let [one, other] = ["1.1.1.1", "2.2.2.2"].map(|address| address.parse().unwrap());
        let (first, second) = (places.enter(one), places.enter(one));
        assert!(first.is_some() && second.is_some() && places.enter(one).is_none());
        assert!(places.enter(other).is_some());
        drop(first);
        assert!(places.enter(one).is_some());
        drop(second);
        assert!(lock(&places.taken).is_empty());
        let endless = Places::new(None);
        assert!((0..10_000).all(|_| endless.enter(one).is_some()));
    }
}
