//! Whole recurrent layers.

use candle_core::{Result, Tensor};
use nn_core::ops::{self, Nonlinearity, RecurrentOptions, RecurrentWeights};

use super::case::{Case, trained, weights};
use crate::bench::machine::Work;

/// Batch, steps, inputs, units.
type Size = (usize, usize, usize, usize);

/// The layers of a stack of two, a row of MNIST a step, and one sentence.
const SIZES: &[Size] = &[(32, 100, 128, 256), (32, 100, 256, 256), (64, 28, 28, 128), (1, 100, 128, 256)];

/// A kind of layer: its name here and in PyTorch, its gates, itself, and stock Candle's step from `[B, gates · H]` of the
/// input and of the state.
struct Kind {
    name: &'static str,
    torch: &'static str,
    gates: usize,
    ours: fn(&Tensor, &RecurrentWeights) -> Result<Tensor>,
    step: fn(&Tensor, &Tensor, &State) -> Result<State>,
}

/// `h` and, for an LSTM, `c`.
type State = [Tensor; 2];

const KINDS: [Kind; 3] = [
    Kind {
        name: "rnn",
        torch: "RNN",
        gates: 1,
        ours: |x, w| Ok(ops::rnn(x, w, None, Nonlinearity::Tanh, RecurrentOptions::default())?.0),
        step: |x, h, state| Ok([(x + h)?.tanh()?, state[1].clone()]),
    },
    Kind {
        name: "lstm",
        torch: "LSTM",
        gates: 4,
        ours: |x, w| Ok(ops::lstm(x, w, None, RecurrentOptions::default())?.0),
        step: |x, h, state| {
            let gates = (x + h)?.chunk(4, 1)?;
            let [i, f, o] = [0, 1, 3].map(|gate| candle_nn::ops::sigmoid(&gates[gate]));
            let c = ((f? * &state[1])? + (i? * gates[2].tanh()?)?)?;
            Ok([(o? * c.tanh()?)?, c])
        },
    },
    Kind {
        name: "gru",
        torch: "GRU",
        gates: 3,
        ours: |x, w| Ok(ops::gru(x, w, None, RecurrentOptions::default())?.0),
        step: |x, h, state| {
            let (x, h) = (x.chunk(3, 1)?, h.chunk(3, 1)?);
            let r = candle_nn::ops::sigmoid(&(&x[0] + &h[0])?)?;
            let z = candle_nn::ops::sigmoid(&(&x[1] + &h[1])?)?;
            let n = (&x[2] + (r * &h[2])?)?.tanh()?;
            Ok([((&z * &state[0])? - ((&z - 1.)? * n)?)?, state[1].clone()])
        },
    },
];

pub(super) fn cases() -> Vec<Case> {
    KINDS.iter().flat_map(|kind| SIZES.iter().map(move |&size| case(kind, size))).collect()
}

fn case(kind: &'static Kind, (batch, steps, input, hidden): Size) -> Case {
    let rows = kind.gates * hidden;
    let macs = (batch * steps * rows * (input + hidden)) as f64;
    Case::new(
        kind.name,
        format!("{batch}×{steps}, {input}→{hidden}"),
        [
            trained(&[batch, steps, input]),
            weights(&[rows, input]),
            weights(&[rows, hidden]),
            weights(&[rows]),
            weights(&[rows]),
        ],
        |x| (kind.ours)(&x[0], &parameters(x)),
    )
    .work(Work::MultiplyAdds(macs), Work::MultiplyAdds(3.0 * macs))
    .candle(|x| unrolled(kind, &x[0], &parameters(x)))
    .setup(format!("m = torch.nn.{}({input}, {hidden}, batch_first=True)", kind.torch))
    .torch("m(x[0])[0]")
}

/// The inputs after `x`.
fn parameters(x: &[Tensor]) -> RecurrentWeights {
    let [w_ih, w_hh, b_ih, b_hh] = [1, 2, 3, 4].map(|i| x[i].clone());
    RecurrentWeights { w_ih, w_hh, b_ih: Some(b_ih), b_hh: Some(b_hh) }
}

/// The loop of `candle_nn`'s `RNN::seq` and its `states_to_tensor`.
fn unrolled(kind: &Kind, x: &Tensor, w: &RecurrentWeights) -> Result<Tensor> {
    let (batch, steps, _) = x.dims3()?;
    let zeros = Tensor::zeros((batch, w.w_hh.dim(1)?), x.dtype(), x.device())?;
    let mut state = [zeros.clone(), zeros];
    let mut outputs = Vec::with_capacity(steps);
    let affine = |x: &Tensor, w: &Tensor, b: &Option<Tensor>| {
        let y = x.matmul(&w.t()?)?;
        b.as_ref().map_or(Ok(y.clone()), |b| y.broadcast_add(b))
    };
    for t in 0..steps {
        let x = affine(&x.narrow(1, t, 1)?.squeeze(1)?.contiguous()?, &w.w_ih, &w.b_ih)?;
        state = (kind.step)(&x, &affine(&state[0], &w.w_hh, &w.b_hh)?, &state)?;
        outputs.push(state[0].clone());
    }
    Tensor::stack(&outputs, 1)
}
