//! What the machine can do: a matrix product and a copy, timed in the same rounds as what is measured.

use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::Spread;

/// What something cannot do without.
#[derive(Clone, Copy)]
pub(super) enum Work {
    /// For what is bound by arithmetic.
    MultiplyAdds(f64),
    /// For what is bound by memory: the least to read and to write.
    Bytes(f64),
    Unknown,
}

const SIDE: usize = 1024;
const FLOATS: usize = 16 << 20;
/// The best of so many counts: what the machine can do, not what it happened to do.
const TRIES: usize = 3;

pub(super) struct Machine {
    a: Tensor,
    b: Tensor,
    from: Vec<f32>,
    to: Vec<f32>,
    multiply_adds: Vec<f64>,
    bytes: Vec<f64>,
}

impl Machine {
    pub(super) fn new() -> Result<Self> {
        let square = || Tensor::ones((SIDE, SIDE), DType::F32, &Device::Cpu);
        let (from, to) = (vec![1.0; FLOATS], vec![0.0; FLOATS]);
        let mut machine =
            Self { a: square()?, b: square()?, from, to, multiply_adds: Vec::new(), bytes: Vec::new() };
        machine.multiply()?;
        machine.copy();
        Ok(machine)
    }

    /// How much of what the machine can do `work` in so many seconds is.
    pub(super) fn fraction(&mut self, work: Work, seconds: f64) -> Result<Option<f64>> {
        Ok(match work {
            Work::MultiplyAdds(n) => Some(n / seconds / self.multiply()?),
            Work::Bytes(n) => Some(n / seconds / self.copy()),
            Work::Unknown => None,
        })
    }

    /// Multiply-adds and bytes a second, in thousand millions.
    pub(super) fn rates(&self) -> [Spread; 2] {
        [&self.multiply_adds, &self.bytes]
            .map(|rates| Spread::of(&rates.iter().map(|r| r / 1e9).collect::<Vec<_>>()))
    }

    fn multiply(&mut self) -> Result<f64> {
        let mut seconds = f64::INFINITY;
        for _ in 0..TRIES {
            let began = Instant::now();
            std::hint::black_box(self.a.matmul(&self.b)?);
            seconds = seconds.min(began.elapsed().as_secs_f64());
        }
        let rate = (SIDE * SIDE * SIDE) as f64 / seconds;
        self.multiply_adds.push(rate);
        Ok(rate)
    }

    fn copy(&mut self) -> f64 {
        let chunk = FLOATS / 16;
        let mut seconds = f64::INFINITY;
        for _ in 0..TRIES {
            let began = Instant::now();
            self.to.par_chunks_mut(chunk).zip(self.from.par_chunks(chunk)).for_each(|(to, from)| {
                to.copy_from_slice(from);
            });
            std::hint::black_box(&self.to);
            seconds = seconds.min(began.elapsed().as_secs_f64());
        }
        let rate = (2 * size_of::<f32>() * FLOATS) as f64 / seconds;
        self.bytes.push(rate);
        rate
    }
}
