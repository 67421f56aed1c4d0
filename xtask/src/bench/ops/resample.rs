//! Images of another size, and rotary embeddings.

use candle_core::{Result, Tensor};
use candle_nn::rotary_emb::rope;
use nn_core::ops::{Interpolation, RotaryPairs, Sampling, interpolate, rotary_embedding};

use super::activation::{memory, size};
use super::case::{Case, fixed, trained};
use crate::bench::machine::Work;

type Stock = fn(&Tensor, usize) -> Result<Tensor>;

/// Input, size of the output: FCN's scores, a step of a U-Net's or FPN's decoder, a ViT's positions at 384 pixels.
struct Row {
    input: [usize; 4],
    output: usize,
    how: Interpolation,
    name: &'static str,
    candle: Option<Stock>,
    torch: &'static str,
}

const BILINEAR: Interpolation = Interpolation::Bilinear(Sampling::Centers);
const STOCK_BILINEAR: Option<Stock> = Some(|x, n| x.upsample_bilinear2d(n, n, false));
const STOCK_NEAREST: Option<Stock> = Some(|x, n| x.upsample_nearest2d(n, n));

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { input: [1, 21, 28, 28], output: 224, how: BILINEAR, name: "bilinear", candle: STOCK_BILINEAR, torch: "mode='bilinear'" },
    Row { input: [8, 256, 28, 28], output: 56, how: BILINEAR, name: "bilinear", candle: STOCK_BILINEAR, torch: "mode='bilinear'" },
    Row { input: [8, 256, 28, 28], output: 56, how: Interpolation::Nearest, name: "nearest", candle: STOCK_NEAREST, torch: "mode='nearest'" },
    Row { input: [1, 768, 14, 14], output: 24, how: Interpolation::Bicubic(Sampling::Antialiased), name: "bicubic, antialiased", candle: None, torch: "mode='bicubic', antialias=True" },
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = ROWS.iter().map(interpolation).collect();
    cases.push(rotation([4, 12, 512, 64]));
    cases
}

fn interpolation(&Row { input, output, how, name, candle, torch }: &Row) -> Case {
    let bytes = memory(&input) + memory(&[input[0], input[1], output, output]);
    let label = format!("{} → {output}², {name}", size(&input));
    let case =
        Case::new("interpolate", label, [trained(&input)], move |x| interpolate(&x[0], [output; 2], how));
    let case = case
        .work(Work::Bytes(bytes), Work::Bytes(2.0 * bytes))
        .torch(format!("F.interpolate(x[0], size=({output}, {output}), {torch})"));
    match candle {
        // Its gradient overwrites others, but is one.
        Some(stock) if how == Interpolation::Nearest => case.candle(move |x| stock(&x[0], output)),
        Some(stock) => case.candle_forward(move |x| stock(&x[0], output)),
        None => case,
    }
}

fn rotation(input: [usize; 4]) -> Case {
    let [_, _, t, d] = input;
    let (angles, bytes) = ([t, d / 2], 2.0 * memory(&input));
    let inputs = [trained(&input), fixed(&angles), fixed(&angles)];
    Case::new("rotary_embedding", size(&input), inputs, |x| {
        rotary_embedding(&x[0], &x[1], &x[2], RotaryPairs::Halves)
    })
    .work(Work::Bytes(bytes), Work::Bytes(2.0 * bytes))
    .candle_forward(|x| rope(&x[0], &x[1], &x[2]))
    .setup("def rotate(x, cos, sin):\n    a, b = x.chunk(2, -1)\n    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)")
    .torch("rotate(x[0], x[1], x[2])")
}
