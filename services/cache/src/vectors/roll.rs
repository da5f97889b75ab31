//! Which points there are, and which go first when there is no room for another.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::entry::EntryId;

/// The points of a store that evicts by itself, each with where its store keeps it.
///
/// Bounded in total and per tenant: of a tenant the oldest goes first, and when all together have no more room, whoever has the most
/// gives, so that nobody is pushed out by a neighbour's flood.
pub(super) struct Roll<Place> {
    most: usize,
    most_per_tenant: usize,
    tenants: HashMap<Arc<str>, Queue>,
    points: HashMap<EntryId, Noted<Place>>,
    next: u64,
}

struct Noted<Place> {
    tenant: Arc<str>,
    number: u64,
    place: Place,
}

#[derive(Default)]
struct Queue {
    /// Oldest first, by the number under which they were noted. Holds those that were removed, until they come to the front or are too
    /// many.
    order: VecDeque<(u64, EntryId)>,
    points: usize,
}

impl<Place> Roll<Place> {
    pub(super) fn new(most: usize, most_per_tenant: usize) -> Self {
        Self { most, most_per_tenant, tenants: HashMap::new(), points: HashMap::new(), next: 0 }
    }

    /// The point that must go before a tenant gets another, if one must.
    pub(super) fn full(&mut self, tenant: &str) -> Option<EntryId> {
        let own = self.tenants.get(tenant).map_or(0, |queue| queue.points);
        let name = if own >= self.most_per_tenant {
            Arc::from(tenant)
        } else if self.points.len() >= self.most {
            let (name, _) = self.tenants.iter().max_by_key(|(_, queue)| queue.points)?;
            Arc::clone(name)
        } else {
            return None;
        };
        let Self { tenants, points, .. } = self;
        let order = &mut tenants.get_mut(&name)?.order;
        while order.front().is_some_and(|noted| !is_there(points, *noted)) {
            order.pop_front();
        }
        order.front().map(|(_, id)| *id)
    }

    /// Notes a point that is not there; gives its number, by which later ones are told from earlier ones.
    pub(super) fn add(&mut self, id: EntryId, tenant: &Arc<str>, place: Place) -> u64 {
        let number = self.next;
        self.restore(number, id, tenant, place);
        number
    }

    /// Notes a point of an earlier roll under its number there; those with lower ones first.
    pub(super) fn restore(&mut self, number: u64, id: EntryId, tenant: &Arc<str>, place: Place) {
        self.next = self.next.max(number.saturating_add(1));
        let queue = self.tenants.entry(Arc::clone(tenant)).or_default();
        queue.order.push_back((number, id));
        queue.points += 1;
        self.points.insert(id, Noted { tenant: Arc::clone(tenant), number, place });
    }

    /// Strikes a point out; gives its tenant and its place.
    pub(super) fn remove(&mut self, id: EntryId) -> Option<(Arc<str>, Place)> {
        let Noted { tenant, place, .. } = self.points.remove(&id)?;
        if let Some(queue) = self.tenants.get_mut(&tenant) {
            queue.points -= 1;
            if queue.points == 0 {
                self.tenants.remove(&tenant);
            } else if queue.order.len() > 2 * queue.points + 16 {
                queue.order.retain(|noted| is_there(&self.points, *noted));
            }
        }
        Some((tenant, place))
    }

    pub(super) fn place_mut(&mut self, id: EntryId) -> Option<&mut Place> {
        self.points.get_mut(&id).map(|noted| &mut noted.place)
    }

    /// Whether that tenant has that point.
    pub(super) fn has(&self, tenant: &str, id: EntryId) -> bool {
        self.points.get(&id).is_some_and(|noted| *noted.tenant == *tenant)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// How many points each tenant has, and how many are remembered for that.
    #[cfg(test)]
    pub(super) fn tenants(&self) -> impl Iterator<Item = (usize, usize)> {
        self.tenants.values().map(|queue| (queue.points, queue.order.len()))
    }
}

fn is_there<Place>(points: &HashMap<EntryId, Noted<Place>>, (number, id): (u64, EntryId)) -> bool {
    points.get(&id).is_some_and(|noted| noted.number == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(roll: &mut Roll<()>, id: u128, tenant: &str) {
        while let Some(gone) = roll.full(tenant) {
            roll.remove(gone);
        }
        roll.add(EntryId(id), &tenant.into(), ());
    }

    #[test]
    fn whoever_has_the_most_gives_its_oldest() {
        let mut roll = Roll::new(6, 4);
        add(&mut roll, 1, "quiet");
        (10..30).for_each(|id| add(&mut roll, id, "flood"));
        assert_eq!(roll.len(), 5);
        (30..34).for_each(|id| add(&mut roll, id, "second"));
        assert!(roll.has("quiet", EntryId(1)) && !roll.has("flood", EntryId(1)));
        assert!(roll.has("flood", EntryId(29)) && !roll.has("flood", EntryId(26)));
        assert_eq!(roll.len(), 6);
    }

    #[test]
    fn a_removed_point_is_not_evicted_instead_of_one_that_is_there() {
        let mut roll = Roll::new(10, 2);
        add(&mut roll, 1, "a");
        add(&mut roll, 2, "a");
        assert_eq!(roll.remove(EntryId(1)), Some(("a".into(), ())));
        assert_eq!(roll.remove(EntryId(1)), None);
        add(&mut roll, 3, "a");
        add(&mut roll, 4, "a");
        assert!(roll.has("a", EntryId(3)) && roll.has("a", EntryId(4)) && roll.len() == 2);
        for id in 5..10_000 {
            add(&mut roll, id, "a");
            roll.remove(EntryId(id));
        }
        assert!(roll.tenants().all(|(points, noted)| noted <= 2 * points + 17));
    }

    #[test]
    fn a_point_that_comes_again_is_new() {
        let mut roll = Roll::new(10, 3);
        (1..=3).for_each(|id| add(&mut roll, id, "a"));
        for _ in 0..1_000 {
            for id in [1, 2] {
                roll.remove(EntryId(id));
                add(&mut roll, id, "a");
            }
        }
        assert!(roll.tenants().all(|(_, noted)| noted <= 23), "nothing is remembered of what it was");
        assert_eq!(roll.full("a"), Some(EntryId(3)));
        add(&mut roll, 4, "a");
        assert_eq!(roll.full("a"), Some(EntryId(1)));
    }
}
