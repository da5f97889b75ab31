//! Sketches: how values are spread, small enough to keep for every hour, and sums of others.
//!
//! Values fall into buckets that are as wide as 1/128 of their power of two, so that a percentile is off by less than 0.8 %, and
//! exact below 256 (the layout of HdrHistogram with seven bits of precision). Sketches are added, and subtracted where
//! a record is corrected, without losing anything: what a crate's histogram does not offer.

/// Bits of a value that count.
const PRECISION: u32 = 7;

/// A sketch of values from 0 on: buckets in ascending order, each with a count that is not zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sketch(Vec<(u32, i64)>);

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
        self.shift(bucket(u64::try_from(value).unwrap_or(0)), times);
    }

    /// Adds another sketch.
    pub(crate) fn merge(&mut self, other: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        let mut cursor = Cursor::default();
        other.0.iter().for_each(|(bucket, count)| cursor.add(self, *bucket, *count));
        cursor.finish(self);
    }

    /// Adds what [`Sketch::write`] wrote, without making a sketch of it first. `None`: it is something else; what was read of it is added.
    pub(crate) fn merge_stored(&mut self, bytes: &mut &[u8]) -> Option<()> {
        let mut cursor = Cursor::default();
        let read = buckets(bytes, |bucket, count| cursor.add(self, bucket, count));
        cursor.finish(self);
        read
    }

    fn shift(&mut self, bucket: u32, times: i64) {
        match self.0.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => {
                self.0[at].1 += times;
                if self.0[at].1 == 0 {
                    self.0.remove(at);
                }
            }
            Err(at) if times != 0 => self.0.insert(at, (bucket, times)),
            Err(_) => {}
        }
    }

    /// How many values there are.
    pub(crate) fn count(&self) -> i64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// How many values are above a bound, as exactly as buckets are.
    pub(crate) fn above(&self, bound: i64) -> i64 {
        let bound = bucket(u64::try_from(bound).unwrap_or(0));
        self.0.iter().filter(|(bucket, _)| *bucket > bound).map(|(_, count)| count).sum()
    }

    /// The value that `percent` of all do not exceed, by nearest rank. `None` without any.
    pub(crate) fn percentile(&self, percent: i64) -> Option<u64> {
        let count = self.count();
        if count <= 0 {
            return None;
        }
        let rank = (count.saturating_mul(percent) + 99) / 100;
        let mut seen = 0;
        let found = self.0.iter().find(|(_, count)| {
            seen += *count;
            seen >= rank.max(1)
        });
        found.map(|(bucket, _)| value(*bucket))
    }

    /// Appends it as numbers: how many buckets, then each one's distance from the one before and its count.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        varint(i64::try_from(self.0.len()).unwrap_or(i64::MAX), out);
        let mut last = 0;
        for (bucket, count) in &self.0 {
            varint(i64::from(*bucket) - last, out);
            varint(*count, out);
            last = i64::from(*bucket);
        }
    }

    /// Reads what [`Sketch::write`] wrote. `None`: it is something else.
    pub(crate) fn read(bytes: &mut &[u8]) -> Option<Self> {
        let mut sketch = Self::default();
        buckets(bytes, |bucket, count| sketch.0.push((bucket, count)))?;
        sketch.0.retain(|(_, count)| *count != 0);
        Some(sketch)
    }
}

/// Walks through a sketch to which buckets are added in ascending order.
#[derive(Default)]
struct Cursor {
    at: usize,
    /// Buckets that the sketch does not have.
    new: Vec<(u32, i64)>,
    /// Whether a count became zero.
    emptied: bool,
}

impl Cursor {
    fn add(&mut self, to: &mut Sketch, bucket: u32, count: i64) {
        while to.0.get(self.at).is_some_and(|(known, _)| *known < bucket) {
            self.at += 1;
        }
        match to.0.get_mut(self.at) {
            Some((known, sum)) if *known == bucket => {
                *sum += count;
                self.emptied |= *sum == 0;
            }
            _ => self.new.push((bucket, count)),
        }
    }

    fn finish(self, to: &mut Sketch) {
        if !self.new.is_empty() {
            // Two runs in order, which is what this sort is quick at.
            to.0.extend(self.new);
            to.0.sort_by_key(|(bucket, _)| *bucket);
        }
        if self.emptied {
            to.0.retain(|(_, count)| *count != 0);
        }
    }
}

/// Reads buckets, which come in ascending order. `None`: they are something else.
fn buckets(bytes: &mut &[u8], mut each: impl FnMut(u32, i64)) -> Option<()> {
    let mut last: Option<i64> = None;
    for _ in 0..read_varint(bytes)? {
        let step = read_varint(bytes)?;
        let next = last.unwrap_or(0).checked_add(step)?;
        if last.is_some_and(|last| next <= last) {
            return None;
        }
        each(u32::try_from(next).ok()?, read_varint(bytes)?);
        last = Some(next);
    }
    Some(())
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
pub(crate) fn read_varint(bytes: &mut &[u8]) -> Option<i64> {
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
        assert_eq!(
            [50, 95, 99, 100].map(|p| sketch.percentile(p)),
            [Some(50), Some(95), Some(99), Some(100)]
        );
        assert_eq!(Sketch::default().percentile(50), None);
        assert_eq!([0, 40, 100].map(|bound| sketch.above(bound)), [100, 60, 0]);
        for small in 0..256 {
            assert_eq!(value(bucket(small)), small);
        }
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
            a in proptest::collection::vec(0_i64..1_000_000, 0..50), b in proptest::collection::vec(0_i64..1_000_000, 0..50)
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
