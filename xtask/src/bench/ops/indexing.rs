//! Numbers picked by number.

use nn_core::ops;

use super::activation::memory;
use super::case::{Case, labels, trained};
use crate::bench::machine::Work;

/// Tokens, words in the table, numbers a word: a tagger's batch, a Transformer's.
const TABLES: &[[usize; 3]] = &[[32 * 100, 10_000, 128], [16 * 64, 8_000, 512]];

/// Rows, columns, picked columns.
const PICKS: &[[usize; 3]] = &[[128, 1000, 1], [256, 1000, 1000]];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = TABLES.iter().map(|size| embedding(*size)).collect();
    for &size in PICKS {
        cases.extend([gather(size), scatter_add(size)]);
    }
    cases
}

fn embedding([tokens, words, width]: [usize; 3]) -> Case {
    let (table, rows) = ([words, width], memory(&[tokens, width]));
    let inputs = [labels(&[tokens], words as u32), trained(&table)];
    Case::new("embedding", format!("{tokens} of {words}×{width}"), inputs, |x| {
        ops::embedding(&x[0], &x[1], None)
    })
    // Backward: read the gradient, write the table's.
    .work(Work::Bytes(2.0 * rows), Work::Bytes(3.0 * rows + memory(&table)))
    .candle(|x| x[1].index_select(&x[0], 0))
    .torch("F.embedding(x[0], x[1])")
}

fn gather([rows, columns, picked]: [usize; 3]) -> Case {
    let (from, index) = ([rows, columns], [rows, picked]);
    let inputs = [trained(&from), labels(&index, columns as u32)];
    // An index of ours and a number, each of four bytes.
    let forward = 3.0 * memory(&index);
    Case::new("gather", format!("{picked} of {columns}, {rows} rows"), inputs, |x| {
        ops::gather(&x[0], &x[1], 1)
    })
    .work(Work::Bytes(forward), Work::Bytes(forward + 2.0 * memory(&index) + memory(&from)))
    .candle(|x| x[0].gather(&x[1], 1))
    .torch("x[0].gather(1, x[1])")
}

fn scatter_add([rows, columns, picked]: [usize; 3]) -> Case {
    let (into, index) = ([rows, columns], [rows, picked]);
    let inputs = [trained(&into), labels(&index, columns as u32), trained(&index)];
    let forward = 2.0 * memory(&into) + 2.0 * memory(&index);
    Case::new("scatter_add", format!("{picked} into {columns}, {rows} rows"), inputs, |x| {
        ops::scatter_add(&x[0], &x[1], &x[2], 1)
    })
    .work(Work::Bytes(forward), Work::Bytes(forward + 3.0 * memory(&index)))
    .candle_forward(|x| x[0].scatter_add(&x[1], &x[2], 1))
    .torch("x[0].scatter_add(1, x[1], x[2])")
}
