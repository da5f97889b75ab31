//! Sketches: how values are spread, small enough to keep for every hour, and sums of others.
//!
//! Values fall into buckets that are as wide as 1/128 of their power of two, so that a percentile is off by less than 0.8 %, and
//! exact below 256 (the layout of HdrHistogram with seven bits of precision). Sketches are added, and subtracted where
//! a record is corrected, without losing anything: what a crate's histogram does not offer.

/// Bits of a value that count.
const PRECISION: u32 = 7;

/// Fewer buckets than this are always kept as a list.
const FEW: usize = 16;
/// A table may have this many places for each bucket in use: then it is at most twice as large as the list.
const SPARSE: usize = 8;

/// A sketch of values from 0 on: buckets in ascending order, each with a count that is not zero.
///
/// Two forms of the same: a list is small and slow to add to, a table the other way round. Whichever it is, sketches with the same counts are equal.
#[derive(Debug, Clone)]
pub(crate) enum Sketch {
    /// Buckets and their counts, none of them zero.
    List(Vec<(u32, i64)>),
    /// The count of each bucket from the first on. Many may be zero.
    Table { first: u32, counts: Vec<i32> },
}

impl Default for Sketch {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl PartialEq for Sketch {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Sketch {}

/// The bucket of a value.
fn bucket(value: u64) -> u32 {
    let shift = (64 - value.leading_zeros()).saturating_sub(PRECISION + 1);
    let mantissa = u32::try_from(value >> shift).unwrap_or(u32::MAX);
    (shift << PRECISION) + mantissa
}

/// The value in the middle of a bucket.
fn value(bucket: u32) -> u64 {
    let shift = (bucket >> PRECISION).saturating_sub(1);
    let mantissa = u64::from(bucket - (shift << PRECISION));
    let width = 1_u64 << shift;
    (mantissa << shift) + (width - 1) / 2
}

impl Sketch {
    /// Adds a value, or takes it out again where `times` is negative.
    pub(crate) fn add(&mut self, value: i64, times: i64) {
        let bucket = bucket(u64::try_from(value).unwrap_or(0));
        self.add_all(std::iter::once((bucket, times)));
    }

    /// Adds another sketch.
    pub(crate) fn merge(&mut self, other: &Self) {
        match self {
            Self::List(list) if list.is_empty() => self.clone_from(other),
            _ => self.add_all(other.iter()),
        }
    }

    /// Adds what [`Sketch::write`] wrote, without making a sketch of it first. `None`: it is something else; what was read of it is added.
    pub(crate) fn merge_stored(&mut self, bytes: &mut &[u8]) -> Option<()> {
        let mut stored = Stored::new(bytes)?;
        self.add_all(&mut stored);
        (stored.left == 0).then_some(())
    }

    /// Adds buckets, which come in ascending order.
    fn add_all(&mut self, buckets: impl Iterator<Item = (u32, i64)>) {
        match self {
            Self::List(list) => {
                add_to_list(list, buckets);
                self.settle();
            }
            Self::Table { first, counts } => {
                // What has no place in the table.
                let mut outside = Vec::new();
                for (bucket, count) in buckets {
                    if let Some(place) = counts.get_mut(bucket.wrapping_sub(*first) as usize)
                        && let Ok(count) = i32::try_from(count)
                        && let Some(sum) = place.checked_add(count)
                    {
                        *place = sum;
                    } else {
                        outside.push((bucket, count));
                    }
                }
                if !outside.is_empty() {
                    let mut list = self.iter().collect();
                    add_to_list(&mut list, outside.into_iter());
                    *self = Self::List(list);
                    self.settle();
                }
            }
        }
    }

    /// Makes a table of a list that is worth one.
    fn settle(&mut self) {
        let Self::List(list) = self else { return };
        let (Some((first, _)), Some((last, _))) = (list.first(), list.last()) else { return };
        let span = (last - first) as usize + 1;
        if list.len() < FEW || list.len().saturating_mul(SPARSE) < span {
            return;
        }
        // What comes next may lie a little outside.
        let room = u32::try_from(span / 8).unwrap_or(0);
        let first = first.saturating_sub(room);
        let mut counts = vec![0; (last - first + 1 + room) as usize];
        for (bucket, count) in list {
            match (counts.get_mut((*bucket - first) as usize), i32::try_from(*count)) {
                (Some(place), Ok(count)) => *place = count,
                _ => return,
            }
        }
        *self = Self::Table { first, counts };
    }

    /// The buckets in use and their counts, in ascending order.
    fn iter(&self) -> impl Iterator<Item = (u32, i64)> {
        let (list, first, counts): (&[_], _, &[i32]) = match self {
            Self::List(list) => (list, 0, &[]),
            Self::Table { first, counts } => (&[], *first, counts),
        };
        let table = (first..).zip(counts).filter(|(_, count)| **count != 0);
        list.iter().copied().chain(table.map(|(bucket, count)| (bucket, i64::from(*count))))
    }

    /// How many values there are.
    pub(crate) fn count(&self) -> i64 {
        self.iter().map(|(_, count)| count).sum()
    }

    /// How many values are above a bound, as exactly as buckets are.
    pub(crate) fn above(&self, bound: i64) -> i64 {
        let bound = bucket(u64::try_from(bound).unwrap_or(0));
        self.iter().filter(|(bucket, _)| *bucket > bound).map(|(_, count)| count).sum()
    }

    /// The values that so many percent of all do not exceed, by nearest rank; percents ascend. `None` without any.
    pub(crate) fn percentiles<const N: usize>(&self, percents: [i64; N]) -> Option<[u64; N]> {
        let count = self.count();
        if count <= 0 {
            return None;
        }
        let (mut buckets, mut seen, mut last) = (self.iter(), 0, 0);
        Some(percents.map(|percent| {
            let rank = ((count.saturating_mul(percent) + 99) / 100).max(1);
            while seen < rank
                && let Some((bucket, count)) = buckets.next()
            {
                (seen, last) = (seen + count, bucket);
            }
            value(last)
        }))
    }

    /// Appends it as numbers: how many buckets, then each one's distance from the one before and its count.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        varint(i64::try_from(self.iter().count()).unwrap_or(i64::MAX), out);
        let mut last = 0;
        for (bucket, count) in self.iter() {
            varint(i64::from(bucket) - last, out);
            varint(count, out);
            last = i64::from(bucket);
        }
    }

    /// Reads what [`Sketch::write`] wrote. `None`: it is something else.
    pub(crate) fn read(bytes: &mut &[u8]) -> Option<Self> {
        let mut sketch = Self::default();
        sketch.merge_stored(bytes)?;
        Some(sketch)
    }
}

/// Adds buckets to a list; both are in ascending order.
fn add_to_list(list: &mut Vec<(u32, i64)>, buckets: impl Iterator<Item = (u32, i64)>) {
    if list.is_empty() {
        return list.extend(buckets.filter(|(_, count)| *count != 0));
    }
    let (mut at, mut emptied) = (0, false);
    // Buckets that the list does not have.
    let mut new = Vec::with_capacity(buckets.size_hint().0);
    for (bucket, count) in buckets {
        while list.get(at).is_some_and(|(known, _)| *known < bucket) {
            at += 1;
        }
        emptied |= match list.get_mut(at) {
            Some((known, sum)) if *known == bucket => {
                *sum = sum.saturating_add(count);
                *sum == 0
            }
            _ => {
                new.push((bucket, count));
                count == 0
            }
        };
    }
    // Into their places, from the last on, so that each is moved once.
    let (mut known, mut left) = (list.len(), new.len());
    list.extend_from_slice(&new);
    while known > 0 && left > 0 {
        let end = known + left - 1;
        if list[known - 1].0 > new[left - 1].0 {
            known -= 1;
            list[end] = list[known];
        } else {
            left -= 1;
            list[end] = new[left];
        }
    }
    list[..left].copy_from_slice(&new[..left]);
    if emptied {
        list.retain(|(_, count)| *count != 0);
    }
}

/// The buckets of a stored sketch. Ends early where it is something else.
struct Stored<'a, 'b> {
    bytes: &'a mut &'b [u8],
    left: i64,
    last: Option<u32>,
}

impl<'a, 'b> Stored<'a, 'b> {
    fn new(bytes: &'a mut &'b [u8]) -> Option<Self> {
        let left = read_varint(bytes)?;
        Some(Self { bytes, left, last: None })
    }
}

impl Iterator for Stored<'_, '_> {
    type Item = (u32, i64);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        let step = read_varint(self.bytes)?;
        let bucket = u32::try_from(i64::from(self.last.unwrap_or(0)).checked_add(step)?).ok()?;
        let count = read_varint(self.bytes).filter(|_| self.last.is_none_or(|last| bucket > last))?;
        (self.left, self.last) = (self.left - 1, Some(bucket));
        Some((bucket, count))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Each takes two bytes at least, whatever the number says.
        (usize::try_from(self.left).unwrap_or(0).min(self.bytes.len() / 2), None)
    }
}

/// Appends a number: zigzag, then seven bits a byte, as in Protocol Buffers.
pub(crate) fn varint(number: i64, out: &mut Vec<u8>) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap_or(0));
}

/// Reads a number from the front.
#[inline]
pub(crate) fn read_varint(bytes: &mut &[u8]) -> Option<i64> {
    // Most are small.
    if let [byte @ 0..0x80, rest @ ..] = *bytes {
        *bytes = rest;
        return Some(i64::from(byte >> 1) ^ -i64::from(byte & 1));
    }
    let (mut number, mut shift) = (0_u64, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift).filter(|_| shift < 64)?;
        shift += 7;
        if byte & 0x80 == 0 {
            return Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_values_are_exact_and_percentiles_are_the_nearest_rank() {
        let mut sketch = Sketch::default();
        (1..=100).for_each(|value| sketch.add(value, 1));
        assert_eq!(sketch.percentiles([50, 50, 95, 99, 100]), Some([50, 50, 95, 99, 100]));
        assert_eq!(Sketch::default().percentiles([50]), None);
        assert_eq!([0, 40, 100].map(|bound| sketch.above(bound)), [100, 60, 0]);
        for small in 0..256 {
            assert_eq!(value(bucket(small)), small);
        }
    }

    /// Few and scattered, or so many and close that they become a table; some far from the others.
    fn values() -> impl Strategy<Value = Vec<i64>> {
        let close =
            || proptest::collection::vec(prop_oneof![9 => 100_i64..400, 1 => 0_i64..1_000_000], 0..150);
        prop_oneof![proptest::collection::vec(0_i64..1_000_000, 0..50), close(), close()]
    }

    proptest! {
        #[test]
        fn values_are_found_again_within_the_stated_error(number in 0_i64..i64::MAX) {
            let found = value(bucket(number.cast_unsigned()));
            prop_assert!(found.abs_diff(number.cast_unsigned()) <= number.cast_unsigned() / 128);
        }

        #[test]
        fn numbers_and_sketches_survive_and_add_up(
            numbers in proptest::collection::vec(any::<i64>(), 0..20),
            a in values(), b in values()
        ) {
            let mut bytes = Vec::new();
            numbers.iter().for_each(|number| varint(*number, &mut bytes));
            let mut rest = &bytes[..];
            let back: Vec<_> = numbers.iter().map(|_| read_varint(&mut rest).unwrap()).collect();
            prop_assert_eq!(back, numbers);
            let of = |values: &[i64]| {
                let mut sketch = Sketch::default();
                values.iter().for_each(|value| sketch.add(*value, 1));
                sketch
            };
            let mut sum = of(&a);
            sum.merge(&of(&b));
            prop_assert_eq!(&sum, &of(&[&a[..], &b[..]].concat()));
            let mut bytes = Vec::new();
            sum.write(&mut bytes);
            prop_assert_eq!(Sketch::read(&mut &bytes[..]).unwrap(), sum.clone());
            let mut twice = of(&a);
            twice.merge_stored(&mut &bytes[..]).unwrap();
            prop_assert_eq!(&twice, &of(&[&a[..], &a[..], &b[..]].concat()));
            b.iter().for_each(|value| sum.add(*value, -1));
            prop_assert_eq!(sum, of(&a));
        }

        #[test]
        fn garbage_is_no_sketch_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _read = Sketch::read(&mut &bytes[..]);
        }
    }
}
