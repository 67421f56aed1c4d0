//! `f32` in half the room: the upper sixteen bits, rounded.

use super::blank::by_chunks;
use super::simd::vectorised;
use super::vector::CHUNK;

/// Elementary operations an element.
const COST: usize = 2;

/// The nearest `bf16` of each number, the even one of two that are as near; NaN stays NaN.
pub(crate) fn round(x: &[f32]) -> Vec<u16> {
    by_chunks(x.len(), CHUNK, COST * x.len(), |i, y| {
        let x = &x[CHUNK * i..][..y.len()];
        vectorised(
            #[inline(always)]
            move || y.map(x, nearest).len(),
        );
    })
}

/// What was rounded.
pub(crate) fn widen(x: &[u16]) -> Vec<f32> {
    by_chunks(x.len(), CHUNK, COST * x.len(), |i, y| {
        let x = &x[CHUNK * i..][..y.len()];
        vectorised(
            #[inline(always)]
            move || y.map(x, |x| f32::from_bits(u32::from(x) << 16)).len(),
        );
    })
}

#[inline(always)]
fn nearest(x: f32) -> u16 {
    let bits = x.to_bits();
    // Half a unit of the last place, less one bit where the number below is even: a carry is a larger exponent, as it should.
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // A payload that lies in the lower bits alone would leave an infinity.
    let quiet = bits >> 16 | 0x40;
    (if x.is_nan() { quiet } else { rounded }) as u16
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;

    #[test]
    fn worked_example() {
        // One unit of the last place above 1 is 1/128.
        let x = [1.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, -1.005, 0.0, f32::INFINITY, f32::MAX];
        let y = [1.0, 1.0, 1.0 + 4.0 / 256.0, -1.0078125, 0.0, f32::INFINITY, f32::INFINITY];
        assert_eq!(widen(&round(&x)), y);
        assert!(widen(&round(&[f32::NAN, f32::from_bits(0x7f80_0001)])).iter().all(|x| x.is_nan()));
    }

    #[test]
    fn every_kind_of_number_is_rounded_as_candle_does() -> candle_core::Result<()> {
        let x: Vec<f32> = (0..60_000u32).map(|i| f32::from_bits(i.wrapping_mul(71_583))).collect();
        let x: Vec<f32> = x.into_iter().filter(|x| !x.is_nan()).collect();
        let candles = Tensor::new(&*x, &Device::Cpu)?.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
        assert_eq!(widen(&round(&x)), candles.to_vec1::<f32>()?);
        Ok(())
    }
}
