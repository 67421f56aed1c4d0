use candle_core::{DType, Device, Result, Tensor, Var};

use super::plan::Plan;
use super::{
    Direction, LstmState, Nonlinearity, Projection, RecurrentOptions, RecurrentWeights, cell, gru, lstm,
    portable, rnn,
};
use crate::ops::oracle::{assert_same, assert_types, with_gradients};
use crate::testing::{assert_close, gradcheck, randn};

/// A kind of layer as a function of `x`, `w_ih`, `w_hh`, `b_ih`, `b_hh`, `h` and `c`, of which the last ones may be
/// missing; it gives outputs and final states end to end.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Tanh,
    Relu,
    Lstm,
    Gru,
}

const KINDS: [Kind; 4] = [Kind::Tanh, Kind::Relu, Kind::Lstm, Kind::Gru];

/// Batch, steps, inputs, units, lengths.
type Case = (usize, usize, usize, usize, Option<&'static [usize]>);

const CASES: &[Case] = &[
    (1, 1, 1, 1, None),
    (2, 3, 4, 5, None),
    (3, 5, 2, 17, Some(&[2, 5, 1])),
    (1, 6, 3, 16, Some(&[4])),
    (5, 4, 1, 33, Some(&[1, 1, 1, 1, 1])),
    (7, 4, 9, 3, Some(&[3, 4, 2, 4, 1, 3, 2])),
];

const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Reverse];

impl Kind {
    fn gates(self) -> usize {
        match self {
            Self::Tanh | Self::Relu => 1,
            Self::Gru => 3,
            Self::Lstm => 4,
        }
    }

    fn run(self, args: &[Tensor], options: RecurrentOptions<'_>) -> Result<Vec<Tensor>> {
        let (x, w, state) = (&args[0], weights(args), args.get(5..).unwrap_or_default());
        let pair = |(y, h)| vec![y, h];
        Ok(match self {
            Self::Tanh => pair(rnn(x, &w, state.first(), Nonlinearity::Tanh, options)?),
            Self::Relu => pair(rnn(x, &w, state.first(), Nonlinearity::Relu, options)?),
            Self::Gru => pair(gru(x, &w, state.first(), options)?),
            Self::Lstm => {
                let state = state.first().map(|h| LstmState { h: h.clone(), c: state[1].clone() });
                let (y, state) = lstm(x, &w, state.as_ref(), options)?;
                vec![y, state.h, state.c]
            }
        })
    }

    /// All arguments; the weights small enough that gates are not saturated.
    fn arguments(self, &(batch, steps, input, hidden, _): &Case) -> Result<Vec<Tensor>> {
        let gates = self.gates() * hidden;
        let mut args = vec![
            randn(1, (batch, steps, input))?,
            (randn(2, (gates, input))? * 0.5)?,
            (randn(3, (gates, hidden))? * (hidden as f64).powf(-0.5))?,
            randn(4, gates)?,
            randn(5, gates)?,
            randn(6, (batch, hidden))?,
        ];
        if matches!(self, Self::Lstm) {
            args.push(randn(7, (batch, hidden))?);
        }
        Ok(args)
    }

    fn portable(self, args: &[Tensor], options: RecurrentOptions<'_>) -> Result<Vec<Tensor>> {
        fn of<C: cell::Cell<G>, const G: usize>(
            cell: C,
            args: &[Tensor],
            options: RecurrentOptions<'_>,
        ) -> Result<Vec<Tensor>> {
            let plan = Plan::new("test", G, &args[0], &weights(args), &[], options)?;
            let (y, state) = portable::portable(cell, &plan, &args[0], &weights(args), args[5..].to_vec())?;
            Ok([vec![y], state].concat())
        }
        match self {
            Self::Tanh => of(super::rnn::Tanh, args, options),
            Self::Relu => of(super::rnn::Relu, args, options),
            Self::Lstm => of(super::lstm::Lstm, args, options),
            Self::Gru => of(super::gru::Gru, args, options),
        }
    }
}

fn weights(args: &[Tensor]) -> RecurrentWeights {
    RecurrentWeights {
        w_ih: args[1].clone(),
        w_hh: args[2].clone(),
        b_ih: args.get(3).cloned(),
        b_hh: args.get(4).cloned(),
    }
}

fn joined(parts: Vec<Tensor>) -> Result<Tensor> {
    let parts = parts.iter().map(Tensor::flatten_all).collect::<Result<Vec<_>>>()?;
    Tensor::cat(&parts, 0)
}

fn each(f: impl Fn(Kind, &Case, RecurrentOptions<'_>) -> Result<()>) -> Result<()> {
    for kind in KINDS {
        for case in CASES {
            for direction in DIRECTIONS {
                let options = RecurrentOptions { direction, lengths: case.4, ..RecurrentOptions::default() };
                f(kind, case, options).map_err(|e| e.context(format!("{kind:?} {case:?} {direction:?}")))?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_worked_example() -> Result<()> {
    let t = |x: &[f64], shape: &[usize]| Tensor::from_slice(x, shape, &Device::Cpu);
    let w = RecurrentWeights { w_ih: t(&[2.0], &[1, 1])?, w_hh: t(&[3.0], &[1, 1])?, b_ih: None, b_hh: None };
    let x = t(&[1.0, -1.0, 2.0, 5.0, -3.0, 9.0], &[2, 3, 1])?;
    let options = RecurrentOptions { lengths: Some(&[3, 2]), ..RecurrentOptions::default() };
    let (y, h) = rnn(&x, &w, None, Nonlinearity::Relu, options)?;
    // 2·1, then −2 + 3·2, then 4 + 3·4; 2·5, then −6 + 3·10, then nothing.
    assert_eq!(y.flatten_all()?.to_vec1::<f64>()?, [2.0, 4.0, 16.0, 10.0, 24.0, 0.0]);
    assert_eq!(h.flatten_all()?.to_vec1::<f64>()?, [16.0, 24.0]);
    let options = RecurrentOptions { direction: Direction::Reverse, ..options };
    let (y, h) = rnn(&x, &w, Some(&t(&[1.0, 3.0], &[2, 1])?), Nonlinearity::Relu, options)?;
    // From the end: 4 + 3·1, −2 + 3·7, 2 + 3·19; −6 + 3·3, 10 + 3·3.
    assert_eq!(y.flatten_all()?.to_vec1::<f64>()?, [59.0, 19.0, 7.0, 19.0, 3.0, 0.0]);
    assert_eq!(h.flatten_all()?.to_vec1::<f64>()?, [59.0, 19.0]);
    Ok(())
}

#[test]
fn the_kernel_is_its_portable_twin() -> Result<()> {
    each(|kind, case, options| {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-5)] {
            let args = kind.arguments(case)?.iter().map(|x| x.to_dtype(dtype)).collect::<Result<Vec<_>>>()?;
            let f = |args: &[Tensor]| joined(kind.run(args, options)?);
            let g = |args: &[Tensor]| joined(kind.portable(args, options)?);
            assert_same(f, g, &args, tolerance)?;
        }
        Ok(())
    })
}

#[test]
fn gradients_check() -> Result<()> {
    for case in [(2, 3, 2, 3, Some(&[3, 2][..])), (3, 2, 1, 2, None)] {
        for kind in KINDS {
            for direction in DIRECTIONS {
                let options = RecurrentOptions { direction, lengths: case.4, ..RecurrentOptions::default() };
                gradcheck(|args| joined(kind.run(args, options)?), &kind.arguments(&case)?)?;
            }
        }
    }
    Ok(())
}

/// `x`, `w_ih`, `w_hh`, two biases, `w_hr`, `b_hr` and a state, which may be left out.
fn projected(kind: Kind, args: &[Tensor], options: RecurrentOptions<'_>) -> Result<Vec<Tensor>> {
    let projection = Some(Projection { weight: &args[5], bias: Some(&args[6]) });
    kind.run(&[&args[..5], &args[7..]].concat(), RecurrentOptions { projection, ..options })
}

fn projected_arguments(kind: Kind, steps: usize) -> Result<Vec<Tensor>> {
    let gates = 4 * kind.gates();
    let shapes: [&[usize]; 9] =
        [&[2, steps, 3], &[gates, 3], &[gates, 2], &[gates], &[gates], &[2, 4], &[2], &[2, 2], &[2, 4]];
    let states = if matches!(kind, Kind::Lstm) { 2 } else { 1 };
    shapes.into_iter().take(7 + states).zip(1..).map(|(shape, seed)| randn(seed, shape)? * 0.7).collect()
}

/// As the formula says: a step at a time, with nothing but products.
#[test]
fn projected_outputs_are_what_the_next_step_sees() -> Result<()> {
    const LENGTHS: [usize; 2] = [2, 4];
    let args = projected_arguments(Kind::Tanh, 4)?;
    let affine = |x: &Tensor, w: usize, b: usize| x.matmul(&args[w].t()?)?.broadcast_add(&args[b]);
    for direction in DIRECTIONS {
        for state in [Some(&args[7]), None] {
            let given = if state.is_some() { &args[..] } else { &args[..7] };
            let options =
                RecurrentOptions { direction, lengths: Some(&LENGTHS), ..RecurrentOptions::default() };
            let out = projected(Kind::Tanh, given, options)?;
            for (b, &length) in LENGTHS.iter().enumerate() {
                let mut h = state.map_or_else(|| args[7].zeros_like(), |h| Ok(h.clone()))?.narrow(0, b, 1)?;
                for s in 0..length {
                    let t = if direction == Direction::Forward { s } else { length - 1 - s };
                    let seen = affine(&args[0].narrow(0, b, 1)?.narrow(1, t, 1)?.squeeze(1)?, 1, 3)?;
                    h = affine(&(seen + affine(&h, 2, 4)?)?.tanh()?, 5, 6)?;
                    assert_close(&out[0].narrow(0, b, 1)?.narrow(1, t, 1)?.squeeze(1)?, &h, 1e-12, 1e-12)?;
                }
                assert_close(&out[1].narrow(0, b, 1)?, &h, 1e-12, 1e-12)?;
                let beyond = out[0].narrow(0, b, 1)?.narrow(1, length, 4 - length)?;
                assert_close(&beyond, &beyond.zeros_like()?, 0.0, 0.0)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_projection_has_gradients_and_one_step_is_like_many() -> Result<()> {
    for kind in [Kind::Relu, Kind::Lstm] {
        for direction in DIRECTIONS {
            for (steps, lengths) in [(3, Some(&[2, 3][..])), (3, None), (1, None)] {
                let options = RecurrentOptions { direction, lengths, ..RecurrentOptions::default() };
                let args = projected_arguments(kind, steps)?;
                gradcheck(|args| joined(projected(kind, args, options)?), &args[..7])?;
                gradcheck(|args| joined(projected(kind, args, options)?), &args)?;
            }
        }
        let mut args = projected_arguments(kind, 4)?;
        let whole = projected(kind, &args, RecurrentOptions::default())?;
        for t in 0..4 {
            let mut now = args.clone();
            now[0] = args[0].narrow(1, t, 1)?;
            let out = projected(kind, &now, RecurrentOptions::default())?;
            assert_close(&out[0], &whole[0].narrow(1, t, 1)?, 1e-12, 1e-12)?;
            args.truncate(7);
            args.extend_from_slice(&out[1..]);
        }
    }
    Ok(())
}

#[test]
fn views_are_read_as_they_are() -> Result<()> {
    for kind in KINDS {
        let mut args = kind.arguments(&(2, 3, 4, 3, None))?;
        args[0] = args[0].permute((2, 0, 1))?.contiguous()?; // time last
        args[2] = args[2].t()?.contiguous()?;
        let run = |args: &[Tensor]| {
            let mut args = args.to_vec();
            args[0] = args[0].permute((1, 2, 0))?.narrow(1, 1, 2)?;
            args[2] = args[2].t()?;
            joined(kind.run(&args, RecurrentOptions::default())?)
        };
        gradcheck(run, &args)?;
    }
    Ok(())
}

/// What comes after a layer may hand back a gradient that is a view.
#[test]
fn states_may_lie_side_by_side() -> Result<()> {
    for kind in KINDS {
        let args = kind.arguments(&(2, 3, 2, 3, None))?;
        let both = |args: &[Tensor]| {
            let out = kind.run(args, RecurrentOptions::default())?;
            crate::ops::concat(&[&out[1], out.last().expect("a state")], 1)
        };
        gradcheck(both, &args)?;
    }
    Ok(())
}

#[test]
fn biases_and_states_may_be_missing() -> Result<()> {
    each(|kind, case, options| {
        let args = kind.arguments(case)?;
        let zeros = |x: &Tensor| x.zeros_like();
        let (mut full, mut state) = (args.clone(), args.clone());
        for x in &mut full[3..] {
            *x = zeros(x)?;
        }
        for x in &mut state[5..] {
            *x = zeros(x)?;
        }
        for (given, expected) in [(&args[..3], full), (&args[..5], state)] {
            for (y, z) in kind.run(given, options)?.iter().zip(kind.run(&expected, options)?) {
                assert_close(y, &z, 0.0, 0.0)?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_batch_of_mixed_lengths_is_each_sequence_alone() -> Result<()> {
    const LENGTHS: &[usize] = &[7, 1, 9, 4, 9, 2, 3, 8, 5];
    let case = (LENGTHS.len(), 9, 5, 20, Some(LENGTHS));
    for kind in KINDS {
        for direction in DIRECTIONS {
            for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-6)] {
                let args =
                    kind.arguments(&case)?.iter().map(|x| x.to_dtype(dtype)).collect::<Result<Vec<_>>>()?;
                let batch = kind.run(
                    &args,
                    RecurrentOptions { direction, lengths: case.4, ..RecurrentOptions::default() },
                )?;
                for (b, &length) in LENGTHS.iter().enumerate() {
                    let mut alone = args.clone();
                    alone[0] = args[0].narrow(0, b, 1)?.narrow(1, 0, length)?;
                    for state in &mut alone[5..] {
                        *state = state.narrow(0, b, 1)?;
                    }
                    let alone =
                        kind.run(&alone, RecurrentOptions { direction, ..RecurrentOptions::default() })?;
                    let y = batch[0].narrow(0, b, 1)?;
                    assert_close(&y.narrow(1, 0, length)?, &alone[0], tolerance, tolerance)?;
                    let beyond = y.narrow(1, length, 9 - length)?;
                    assert_close(&beyond, &beyond.zeros_like()?, 0.0, 0.0)?;
                    for (state, alone) in batch[1..].iter().zip(&alone[1..]) {
                        assert_close(&state.narrow(0, b, 1)?, alone, tolerance, tolerance)?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Each sequence of `[B, T, …]` turned round up to its own end.
fn reversed(x: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    let steps = x.dim(1)?;
    let rows = lengths.iter().enumerate().map(|(b, &length)| {
        let order: Vec<u32> = (0..length).rev().chain(length..steps).map(|t| t as u32).collect();
        x.get(b)?.index_select(&Tensor::new(order, x.device())?, 0)
    });
    Tensor::stack(&rows.collect::<Result<Vec<_>>>()?, 0)
}

#[test]
fn the_reverse_of_the_reversed_is_the_forward() -> Result<()> {
    each(|kind, case, options| {
        let mut args = kind.arguments(case)?;
        let lengths = case.4.map_or_else(|| vec![case.1; case.0], <[usize]>::to_vec);
        let forward = kind.run(&args, RecurrentOptions { direction: Direction::Forward, ..options })?;
        args[0] = reversed(&args[0], &lengths)?;
        let reverse = kind.run(&args, RecurrentOptions { direction: Direction::Reverse, ..options })?;
        assert_close(&reversed(&reverse[0], &lengths)?, &forward[0], 0.0, 0.0)?;
        assert_close(&reverse[1], &forward[1], 0.0, 0.0)
    })
}

#[test]
fn an_empty_batch_is_an_empty_batch() -> Result<()> {
    for kind in KINDS {
        let args = kind.arguments(&(0, 3, 2, 4, None))?;
        let out = kind.run(&args, RecurrentOptions::default())?;
        assert_eq!((out[0].dims(), out[1].dims()), (&[0, 3, 4][..], &[0, 4][..]));
    }
    Ok(())
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    const LENGTHS: &[usize] = &[9; 35];
    for kind in KINDS {
        let case = (LENGTHS.len(), 9, 20, 40, Some(LENGTHS));
        let args =
            kind.arguments(&case)?.iter().map(|x| x.to_dtype(DType::F32)).collect::<Result<Vec<_>>>()?;
        let options = RecurrentOptions { lengths: case.4, ..RecurrentOptions::default() };
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| with_gradients(|args| joined(kind.run(args, options)?), &args))
        };
        let (y, dy) = with(1)?;
        for threads in [2, 3] {
            let (z, dz) = with(threads)?;
            assert_close(&y, &z, 0.0, 0.0)?;
            for (a, b) in dy.iter().zip(dz) {
                assert_close(a.as_ref().expect("a gradient"), &b.expect("a gradient"), 0.0, 0.0)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_hundred_thousand_steps_are_one_node_of_the_graph() -> Result<()> {
    const STEPS: usize = 100_000;
    for kind in KINDS {
        let args = kind.arguments(&(1, STEPS, 1, 2, None))?;
        let x = Var::from_tensor(&args[0])?;
        let args = [&[x.as_tensor().clone()], &args[1..]].concat();
        let run = || -> Result<bool> {
            let out = kind.run(&args, RecurrentOptions::default())?;
            // The gradient of the first output reaches the first step alone, that of the last the last ones.
            let loss = out[0].narrow(1, 0, 1)?.sum_all()?.add(&out[1].sum_all()?)?;
            let dx = loss.backward()?.remove(&x).expect("a gradient").flatten_all()?.to_vec1::<f64>()?;
            Ok(dx.len() == STEPS && dx.iter().all(|d| d.is_finite()))
        };
        // A stack of 256 KiB, an eighth of what a thread has.
        let small = std::thread::Builder::new().stack_size(1 << 18);
        let done = std::thread::scope(|scope| small.spawn_scoped(scope, run).expect("a thread").join());
        assert!(done.expect("no overflow")?);
    }
    Ok(())
}

#[test]
fn nothing_is_kept_and_nothing_worked_out_that_nobody_wants() -> Result<()> {
    for kind in KINDS {
        let args = kind.arguments(&(2, 3, 2, 3, None))?;
        let w = Var::from_tensor(&args[2])?;
        let mut some = args.clone();
        some[2] = w.as_tensor().clone();
        let grads = joined(kind.run(&some, RecurrentOptions::default())?)?.sum_all()?.backward()?;
        assert!(grads.get(&w).is_some() && grads.get(&args[0]).is_none() && grads.get(&args[5]).is_none());
        let out = kind.run(&args, RecurrentOptions::default())?;
        assert!(out.iter().all(|out| !out.track_op()));
    }
    Ok(())
}

#[test]
fn each_result_has_its_gradient_alone_and_again() -> Result<()> {
    for kind in KINDS {
        let args = kind.arguments(&(2, 3, 2, 3, None))?;
        for i in 0..kind.run(&args, RecurrentOptions::default())?.len() {
            let result = |args: &[Tensor]| Ok(kind.run(args, RecurrentOptions::default())?.swap_remove(i));
            gradcheck(result, &args)?;
            let w = Var::from_tensor(&args[1])?;
            let args = [&args[..1], &[w.as_tensor().clone()], &args[2..]].concat();
            let (one, all) =
                (result(&args)?.sum_all()?, joined(kind.run(&args, RecurrentOptions::default())?)?);
            let dw = |y: &Tensor| -> Result<Tensor> { Ok(y.backward()?.remove(&w).expect("a gradient")) };
            assert_close(&dw(&one)?, &dw(&one)?, 0.0, 0.0)?;
            dw(&all.sum_all()?)?;
            assert_close(&dw(&one)?, &dw(&one)?, 0.0, 0.0)?;
        }
    }
    Ok(())
}

#[test]
fn types_are_told_apart() -> Result<()> {
    for (kind, name) in KINDS.into_iter().zip(["rnn", "rnn", "lstm", "gru"]) {
        let args = kind.arguments(&(2, 3, 2, 4, Some(&[3, 2])))?;
        let options = RecurrentOptions {
            direction: Direction::Reverse,
            lengths: Some(&[3, 2]),
            ..RecurrentOptions::default()
        };
        assert_types(name, |args| joined(kind.run(args, options)?), &args)?;
    }
    Ok(())
}

#[test]
fn refusals_name_the_rule() -> Result<()> {
    let args = Kind::Lstm.arguments(&(2, 3, 4, 5, None))?;
    let refused = |at: usize, shape: &[usize], lengths: Option<&[usize]>, rule: &str| -> Result<()> {
        let mut args = args.clone();
        args[at] = Tensor::zeros(shape, DType::F64, &Device::Cpu)?;
        let options = RecurrentOptions { lengths, ..RecurrentOptions::default() };
        let error = Kind::Lstm.run(&args, options).expect_err(rule).to_string();
        assert!(error.contains(rule), "{error}");
        Ok(())
    };
    let [weight, bias] =
        [[2, 4].as_slice(), &[3]].map(|shape| Tensor::zeros(shape, DType::F64, &Device::Cpu));
    let (weight, bias) = (weight?, bias?);
    for (kind, weight, bias, rule) in [
        (Kind::Gru, &weight, None, "gru: only an RNN and an LSTM have a projection"),
        (Kind::Lstm, &weight, None, "lstm: w_hh must be [4·H, P] for a projection [2, 4], got [20, 5]"),
        (
            Kind::Lstm,
            &args[2],
            Some(&bias),
            "lstm: w_hh must be [4·H, P] for a projection [20, 5], got [20, 5]",
        ),
        (Kind::Lstm, &bias, None, "lstm: the projection must be [P, H], got [3]"),
    ] {
        let options =
            RecurrentOptions { projection: Some(Projection { weight, bias }), ..RecurrentOptions::default() };
        let error = kind.run(&kind.arguments(&(2, 3, 4, 5, None))?, options).expect_err(rule).to_string();
        assert!(error.contains(rule), "{error}");
    }
    for (at, shape, rule) in [
        (6, &[3][..], "rnn: the projection's bias must be [2], got [3]"),
        (7, &[2, 4], "rnn: the state h must be [2, 2], got [2, 4]"),
        (0, &[2, 3], "rnn: x must be [B, T, I], got [2, 3]"),
    ] {
        let mut args = projected_arguments(Kind::Tanh, 3)?;
        args[at] = Tensor::zeros(shape, DType::F64, &Device::Cpu)?;
        let error = projected(Kind::Tanh, &args, RecurrentOptions::default()).expect_err(rule).to_string();
        assert!(error.contains(rule), "{error}");
    }
    refused(0, &[2, 3], None, "lstm: x must be [B, T, I], got [2, 3]")?;
    refused(0, &[2, 0, 4], None, "lstm: x must have at least one step, got [2, 0, 4]")?;
    refused(1, &[20, 3], None, "lstm: w_ih must be [20, 4] for x [2, 3, 4] and w_hh [20, 5], got [20, 3]")?;
    refused(2, &[15, 5], None, "lstm: w_hh must be [4·H, H], got [15, 5]")?;
    refused(2, &[0, 0], None, "lstm: w_hh must be [4·H, H], got [0, 0]")?;
    refused(3, &[19], None, "lstm: b_ih must be [20]")?;
    refused(4, &[4, 5], None, "lstm: b_hh must be [20]")?;
    refused(5, &[3, 5], None, "lstm: the state h must be [2, 5]")?;
    refused(6, &[2, 4], None, "lstm: the state c must be [2, 5]")?;
    refused(3, &[20], Some(&[1]), "lstm: one length a sequence of 2, got 1")?;
    refused(3, &[20], Some(&[3, 0]), "lstm: the length of sequence 1 must be in 1..=3, got 0")?;
    refused(3, &[20], Some(&[4, 1]), "lstm: the length of sequence 0 must be in 1..=3, got 4")?;
    Ok(())
}
