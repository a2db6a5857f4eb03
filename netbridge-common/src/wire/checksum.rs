//! The Internet checksum, incrementally (RFC 1624).
//!
//! All sums are over words in native order: one's complement addition commutes with a byte swap
//! (RFC 1071, section 2B), so nothing is ever swapped.

/// The difference that a rewrite makes to a sum, as `bpf_csum_diff` returns it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Diff(u64);

impl Diff {
    /// Accounts for four bytes at an even offset that change from `old` to `new`.
    #[must_use]
    pub const fn replace4(self, old: [u8; 4], new: [u8; 4]) -> Self {
        Self(self.0 + !u32::from_ne_bytes(old) as u64 + u32::from_ne_bytes(new) as u64)
    }

    /// Accounts for two bytes at an even offset that change from `old` to `new`.
    #[must_use]
    pub const fn replace2(self, old: [u8; 2], new: [u8; 2]) -> Self {
        Self(self.0 + !u16::from_ne_bytes(old) as u64 + u16::from_ne_bytes(new) as u64)
    }

    /// Both differences.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The difference in 32 bits, the form the kernel's checksum helpers take.
    #[expect(clippy::cast_possible_truncation, reason = "two folds leave at most 32 bits")]
    pub const fn word(self) -> u32 {
        let once = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        ((once & 0xffff_ffff) + (once >> 32)) as u32
    }

    /// `checksum` after the rewrite.
    #[expect(clippy::cast_possible_truncation, reason = "the folds leave at most 16 bits")]
    pub const fn apply(self, checksum: [u8; 2]) -> [u8; 2] {
        let sum = self.word() as u64 + !u16::from_ne_bytes(checksum) as u64;
        let once = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
        let twice = (once & 0xffff) + (once >> 16);
        (!(((twice & 0xffff) + (twice >> 16)) as u16)).to_ne_bytes()
    }
}

/// The checksum over bytes that sum to `rest` without it which a device leaves as it is when it sums it up with them,
/// as it does for a frame whose checksum it is told to complete. That is x = −(rest + x), so −rest / 2, and half of
/// a one's complement number is that number rotated.
pub const fn standing(rest: u16) -> [u8; 2] {
    match (!rest).rotate_right(1) {
        // A device writes zero so, for UDP's sake.
        0 => [0xff; 2],
        checksum => checksum.to_ne_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Diff, standing};

    #[expect(clippy::cast_possible_truncation, reason = "the fold leaves 16 bits")]
    /// The definition: the complement of the one's complement sum of all words (RFC 1071).
    fn full(words: &[[u8; 2]]) -> [u8; 2] {
        let mut sum: u32 = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (!(sum as u16)).to_be_bytes()
    }

    /// Equal as one's complement numbers: 0x0000 and 0xffff are both zero.
    fn same(a: [u8; 2], b: [u8; 2]) -> bool {
        a == b || [a, b].iter().all(|sum| *sum == [0; 2] || *sum == [255; 2])
    }

    #[test]
    fn incremental_agrees_with_the_full_sum() {
        let mut state = 0x9e37_79b9_u32;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_be_bytes()
        };
        for _ in 0..100_000 {
            let (old, new, rest) = (next(), next(), next());
            let before = full(&[[old[0], old[1]], [old[2], old[3]], [rest[0], rest[1]]]);
            let after = full(&[[new[0], new[1]], [new[2], new[3]], [rest[0], rest[1]]]);
            assert!(same(Diff::default().replace4(old, new).apply(before), after));
            let halves = Diff::default().replace2([old[0], old[1]], [new[0], new[1]]);
            assert!(same(
                halves.replace2([old[2], old[3]], [new[2], new[3]]).apply(before),
                after
            ));
        }
    }

    #[test]
    fn a_standing_checksum_is_completed_to_itself() {
        for rest in 0..=u16::MAX {
            let checksum = standing(rest);
            // A device sums all up, the checksum included, and writes the complement.
            let all = full(&[rest.to_be_bytes(), u16::from_ne_bytes(checksum).to_be_bytes()]);
            let written = if all == [0; 2] { [0xff; 2] } else { all };
            assert_eq!(written, u16::from_ne_bytes(checksum).to_be_bytes(), "{rest:#06x}");
        }
    }

    #[test]
    fn corners() {
        let zero = Diff::default();
        assert_eq!(zero.apply([0x12, 0x34]), [0x12, 0x34]);
        // RFC 1624, section 4: m = 0x5555, m' = 0x3285, checksum 0xdd2f becomes 0x0000.
        let diff = zero.replace2([0x55, 0x55], [0x32, 0x85]);
        assert!(same(diff.apply([0xdd, 0x2f]), [0, 0]));
        assert_eq!(
            zero.replace4([0xff; 4], [0xff; 4]).plus(zero).apply([0xab, 0xcd]),
            [0xab, 0xcd]
        );
    }
}
