//! What fuzz targets share. A target states a property and lets the fuzzer look for bytes that break it.

#[cfg(feature = "wire")]
pub mod wire;

/// Cuts bytes in three ways: not at all, after every byte, and into pieces of 1 to 16 bytes that the bytes themselves choose.
///
/// The input holds no plan of its own, so that a recorded body is a seed as it is.
#[must_use]
pub fn cuts(data: &[u8]) -> [Vec<&[u8]>; 3] {
    // FNV-1a, then xorshift: every input has its own cuts, and the same ones each time.
    let mut state = data.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let (mut pieces, mut rest) = (Vec::new(), data);
    while !rest.is_empty() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let (piece, tail) = rest.split_at(rest.len().min(1 + (state % 16) as usize));
        pieces.push(piece);
        rest = tail;
    }
    [vec![data], data.chunks(1).collect(), pieces]
}
