//! Files that gzip made: what they begin with, and how much they may become.

/// The first two bytes.
pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The most bytes that so many packed ones may become. Scans shrink to a fifth and texts to a third, gzip's best is a thousandth:
/// who claims more than a hundredth, beyond a size that harms nobody, means to fill the memory.
pub(super) fn most(packed: u64) -> u64 {
    packed.saturating_mul(100).max(64 << 20)
}
