//! Counter-based random numbers: every draw is a pure function of a seed, a place and an index.
//!
//! Why not a sequential generator: what it yields depends on who asked before. Here dropout's mask depends on
//! (seed, step, layer path, element), a parameter's start on (seed, name, element), a shuffle on (seed, epoch):
//! the same whatever the number of threads, and an interrupted run continues with the numbers it would have had.
//!
//! Source: Philox4x32-10, Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", §3.3.

use std::f64::consts::TAU;

/// A place in the space of random numbers: 2⁶⁴ blocks of four words, all of them reachable at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random {
    key: [u32; 2],
    stream: u64,
}

impl Random {
    /// The root of everything drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], stream: 0 }
    }

    /// The place called `name` below this one.
    #[must_use]
    pub fn at(self, name: &str) -> Self {
        // FNV-1a: the names are ours, so no adversary; the mixing below spreads its weak low bits.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
        self.nth(hash)
    }

    /// The place numbered `n` below this one.
    #[must_use]
    pub fn nth(self, n: u64) -> Self {
        Self { stream: mix(self.stream.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ mix(n)), ..self }
    }

    /// Four uniform words at `index`.
    #[inline(always)]
    pub fn block(self, index: u64) -> [u32; 4] {
        let (i, s) = (index, self.stream);
        philox([i as u32, (i >> 32) as u32, s as u32, (s >> 32) as u32], self.key)
    }

    /// The numbers of this place one after the other.
    pub fn draws(self) -> Draws {
        self.draws_from(0)
    }

    /// Those that come after the first `blocks` times four words.
    pub(crate) fn draws_from(self, blocks: u64) -> Draws {
        Draws { random: self, index: blocks, words: [0; 4], left: 0 }
    }
}

/// The splitmix64 finaliser: every input bit flips every output bit with probability one half.
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

// Without a branch or a call, so that a loop over blocks becomes vector instructions.
#[inline(always)]
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
        }
        let p0 = u64::from(counter[0]) * 0xd251_1f53;
        let p1 = u64::from(counter[2]) * 0xcd9e_8d57;
        counter = [
            (p1 >> 32) as u32 ^ counter[1] ^ key[0],
            p1 as u32,
            (p0 >> 32) as u32 ^ counter[3] ^ key[1],
            p0 as u32,
        ];
    }
    counter
}

/// `[0, 1)` with 24 random bits: exact in `f32`.
#[inline]
pub fn unit_f32(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// A sequence of draws from one place; see [`Random::draws`].
#[derive(Clone, Debug)]
pub struct Draws {
    random: Random,
    index: u64,
    words: [u32; 4],
    left: usize,
}

impl Draws {
    /// A uniform word.
    pub fn word(&mut self) -> u32 {
        if self.left == 0 {
            self.words = self.random.block(self.index);
            self.index += 1;
            self.left = 4;
        }
        self.left -= 1;
        self.words[3 - self.left]
    }

    /// Uniform in `[0, 1)` with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        let bits = (u64::from(self.word()) << 32) | u64::from(self.word());
        (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `[lo, hi)`.
    pub fn uniform(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * self.unit()
    }

    /// Standard normal, by Box and Muller's transform.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (TAU * self.unit()).cos()
    }

    /// Uniform in `0..n` without bias (Lemire 2019, arXiv:1805.10941). `n` must not be 0.
    pub fn below(&mut self, n: u32) -> u32 {
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u64::from(self.word()) * u64::from(n);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// Permutes the slice uniformly (Fisher and Yates). At most 2³² items.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_vectors() {
        // `kat_vectors` of the authors' Random123 distribution.
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut draws = Random::new(1).at("moments").draws();
        let n = 100_000;
        let (mut mean, mut square, mut unit) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            let z = draws.normal();
            mean += z / f64::from(n);
            square += z * z / f64::from(n);
            unit += draws.unit() / f64::from(n);
        }
        assert!(mean.abs() < 0.015, "mean of standard normals {mean}");
        assert!((square - 1.0).abs() < 0.02, "variance of standard normals {square}");
        assert!((unit - 0.5).abs() < 0.005, "mean of uniforms {unit}");
    }

    #[test]
    fn places_are_independent_and_repeatable() {
        let root = Random::new(7);
        assert_eq!(root.at("a").block(3), root.at("a").block(3));
        assert_ne!(root.at("a").block(3), root.at("b").block(3));
        assert_ne!(root.at("a").at("b").block(0), root.at("b").at("a").block(0));
        assert_ne!(root.nth(0).block(0), root.block(0));
        assert_ne!(Random::new(8).block(0), root.block(0));
    }

    #[test]
    fn below_is_uniform_and_shuffle_permutes() {
        let mut draws = Random::new(3).draws();
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[draws.below(6) as usize] += 1;
        }
        assert!(counts.iter().all(|&c| (9_500..10_500).contains(&c)), "{counts:?}");
        let mut items: Vec<u32> = (0..100).collect();
        draws.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
