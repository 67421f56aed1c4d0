//! The same convolution from differentiable Candle operations: other devices and types, and the kernel's oracle.

use candle_core::{Result, Tensor};

use super::Plan;

impl Plan {
    /// Every tap is a strided view of the padded image; the taps side by side are the columns of a matrix product.
    pub(in crate::ops) fn portable(&self, x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
        let ([rows, cols], [h_out, w_out]) = (self.patches.windows, self.patches.output);
        let x = x.pad_with_zeros(2, rows.padding[0], rows.padding[1])?;
        let x = x.pad_with_zeros(3, cols.padding[0], cols.padding[1])?;
        let index = |first: usize, stride: usize, count: usize| {
            let index: Vec<u32> = (0..count).map(|i| (first + i * stride) as u32).collect();
            Tensor::from_vec(index, count, x.device())
        };
        let mut taps = Vec::with_capacity(self.patches.taps());
        for kh in 0..rows.kernel {
            let lines = x.index_select(&index(kh * rows.dilation, rows.stride, h_out)?, 2)?;
            for kw in 0..cols.kernel {
                let tap = lines.index_select(&index(kw * cols.dilation, cols.stride, w_out)?, 3)?;
                taps.push(tap.reshape((self.batch, self.groups, self.i(), 1, h_out * w_out))?);
            }
        }
        let columns = Tensor::cat(&taps, 3)?; // [B, groups, i, kh·kw, H'·W']
        let columns = columns.reshape((self.batch, self.groups, self.depth(), h_out * w_out))?;
        let w = w.reshape((1, self.groups, self.o(), self.depth()))?;
        let y = w.broadcast_matmul(&columns)?.reshape((self.batch, self.c_out, h_out, w_out))?;
        match b {
            Some(b) => y.broadcast_add(&b.reshape((1, self.c_out, 1, 1))?),
            None => Ok(y),
        }
    }
}
