//! MurmurHash3: the first half of its variant of 128 bits for 64-bit machines, with seed 0.

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

/// The hash of `bytes`, as `Sum64` of Go's spaolacci/murmur3 gives it.
pub(super) fn hash64(bytes: &[u8]) -> u64 {
    let (blocks, tail) = bytes.as_chunks::<16>();
    let (mut h1, mut h2) = (0, 0);
    for block in blocks {
        let (k1, k2) = halves(block);
        h1 ^= scramble_first(k1);
        h1 = step(h1, h2, 27, 0x52dc_e729);
        h2 ^= scramble_second(k2);
        h2 = step(h2, h1, 31, 0x3849_5ab5);
    }

    // Missing bytes count as zero, which scrambles to zero and changes nothing.
    let mut last = [0; 16];
    last[..tail.len()].copy_from_slice(tail);
    let (k1, k2) = halves(&last);
    h2 ^= scramble_second(k2);
    h1 ^= scramble_first(k1);

    // `usize` is never wider than 64 bits.
    let length = bytes.len() as u64;
    h1 ^= length;
    h2 ^= length;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    finish(h1).wrapping_add(finish(h2))
}

fn halves(block: &[u8; 16]) -> (u64, u64) {
    let both = u128::from_le_bytes(*block);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lower half, and then the upper"
    )]
    (both as u64, (both >> 64) as u64)
}

const fn scramble_first(k1: u64) -> u64 {
    k1.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

const fn scramble_second(k2: u64) -> u64 {
    k2.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

const fn step(this: u64, other: u64, turn: u32, add: u64) -> u64 {
    this.rotate_left(turn)
        .wrapping_add(other)
        .wrapping_mul(5)
        .wrapping_add(add)
}

const fn finish(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}
