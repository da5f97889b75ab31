//! What further training changed of a model, added to its weights when it is loaded: far smaller than another model.

use std::array;

/// Adds changes to the bytes of a model. They begin with the BLAKE3 hash of the file that they belong to; then come, for each stretch of
/// 32-bit floats in it, where it begins and how many there are (u32), what a step is worth (f32), and as many steps (i8), all little
/// endian. Says whether they belong to these bytes; a changed model that does not is of no use.
pub(crate) fn apply(graph: &mut [u8], changes: &[u8]) -> bool {
    let Some((hash, mut rest)) = changes.split_first_chunk::<32>() else { return false };
    if blake3::hash(graph).as_bytes() != hash {
        return false;
    }
    while !rest.is_empty() {
        let Some(left) = add(graph, rest) else { return false };
        rest = left;
    }
    true
}

/// Adds the first stretch; gives what follows it.
fn add<'a>(graph: &mut [u8], changes: &'a [u8]) -> Option<&'a [u8]> {
    let (head, rest) = changes.split_first_chunk::<12>()?;
    let [begin, count, step] = array::from_fn(|field| array::from_fn(|byte| head[4 * field + byte]));
    let begin = usize::try_from(u32::from_le_bytes(begin)).ok()?;
    let count = usize::try_from(u32::from_le_bytes(count)).ok()?;
    let step = f32::from_le_bytes(step);
    let (steps, rest) = rest.split_at_checked(count)?;
    let weights = graph.get_mut(begin..begin.checked_add(count.checked_mul(4)?)?)?;
    for (weight, steps) in weights.as_chunks_mut::<4>().0.iter_mut().zip(steps) {
        *weight = (f32::from_le_bytes(*weight) + step * f32::from(steps.cast_signed())).to_le_bytes();
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::apply;

    /// A graph of two floats behind one byte, and changes to the second.
    fn sample() -> (Vec<u8>, Vec<u8>) {
        let graph = [&[7][..], &1.0_f32.to_le_bytes(), &2.0_f32.to_le_bytes()].concat();
        let hash = blake3::hash(&graph);
        let stretch = [&5_u32.to_le_bytes()[..], &1_u32.to_le_bytes(), &0.25_f32.to_le_bytes()].concat();
        let changes = [&hash.as_bytes()[..], &stretch, &[(-2_i8).cast_unsigned()]].concat();
        (graph, changes)
    }

    #[test]
    fn steps_are_added_where_they_belong() {
        let (mut graph, changes) = sample();
        assert!(apply(&mut graph, &changes));
        assert_eq!(graph, [&[7][..], &1.0_f32.to_le_bytes(), &1.5_f32.to_le_bytes()].concat());
    }

    #[test]
    fn changes_of_another_model_or_cut_short_or_out_of_bounds_are_refused() {
        let (graph, changes) = sample();
        assert!(!apply(&mut [graph.clone(), vec![0]].concat(), &changes));
        for end in [0, 31, 33, changes.len() - 1] {
            assert!(!apply(&mut graph.clone(), &changes[..end]), "{end}");
        }
        for (at, byte) in [(32, 6), (36, 2), (35, 0xff), (39, 0xff)] {
            let mut wrong = changes.clone();
            wrong[at] = byte;
            assert!(!apply(&mut graph.clone(), &wrong), "{at}");
        }
    }
}
