//! What recurrent layers keep: each sequence its own, streams equal to whole sequences, and memory.

use candle_core::{DType, Device, Result, Tensor, Var};
use nn_core::ops::{self, Nonlinearity, Reduction};
use nn_core::testing::{assert_close, is_direct, randn};
use nn_core::{Ctx, Layer, ParamStore};
use nn_sequence::{
    AnyUnit, Axes, Cell, CellConfig, Directions, Elman, Gated, Jordan, LongShortTerm, Recurrent,
    RecurrentConfig, State,
};

const UNITS: [AnyUnit; 5] = [
    AnyUnit::Rnn(Elman { nonlinearity: Nonlinearity::Tanh }),
    AnyUnit::Jordan(Jordan { nonlinearity: Nonlinearity::Tanh, outputs: Some(2) }),
    AnyUnit::Lstm(LongShortTerm { projection: None }),
    AnyUnit::Lstm(LongShortTerm { projection: Some(3) }),
    AnyUnit::Gru(Gated),
];

type Config = RecurrentConfig<AnyUnit>;

fn layer(input: usize, hidden: usize, cfg: Config, dtype: DType) -> Result<(ParamStore, Recurrent<AnyUnit>)> {
    let store = ParamStore::new(5);
    let layer = Recurrent::new(input, hidden, cfg, store.vb(dtype, &Device::Cpu))?;
    Ok((store, layer))
}

/// The gradients of `Σ y²` by `x` and by all parameters.
fn gradients(y: &Tensor, x: &Var, store: &ParamStore) -> Result<Vec<Tensor>> {
    let loss = ops::mse(y, &y.zeros_like()?, Reduction::Sum)?;
    assert!(is_direct(&loss), "every op of the graph is one of ours");
    let grads = nn_core::backward(&loss)?;
    let all = store.parameters().into_iter().map(|(_, var)| var);
    std::iter::once(x.clone())
        .chain(all)
        .map(|var| grads.get(&var).cloned().map_or_else(|| var.zeros_like(), Ok))
        .collect()
}

#[test]
fn a_batch_of_mixed_lengths_is_each_sequence_alone() -> Result<()> {
    const LENGTHS: [usize; 4] = [3, 6, 1, 5];
    for unit in UNITS {
        let cfg = Config { unit, layers: 2, directions: Directions::Both, ..Config::default() };
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-6)] {
            let (store, layer) = layer(3, 7, cfg, dtype)?;
            let x = Var::from_tensor(&randn(1, (4, 6, 3))?.to_dtype(dtype)?)?;
            let (y, states) = layer.run(&x, None, Some(&LENGTHS), &Ctx::eval())?;
            let together = gradients(&y, &x, &store)?;
            let mut sum: Vec<Tensor> = together[1..].iter().map(Tensor::zeros_like).collect::<Result<_>>()?;
            for (b, length) in LENGTHS.into_iter().enumerate() {
                let alone = Var::from_tensor(&x.narrow(0, b, 1)?.narrow(1, 0, length)?.contiguous()?)?;
                let (z, last) = layer.run(&alone, None, None, &Ctx::eval())?;
                let row = y.narrow(0, b, 1)?;
                assert_close(&row.narrow(1, 0, length)?, &z, tolerance, tolerance)?;
                let beyond = row.narrow(1, length, 6 - length)?;
                assert_close(&beyond, &beyond.zeros_like()?, 0.0, 0.0)?;
                for (state, last) in states.iter().zip(&last) {
                    assert_close(&state.output().narrow(0, b, 1)?, last.output(), tolerance, tolerance)?;
                }
                let mut own = gradients(&z, &alone, &store)?.into_iter();
                let (dx, own_dx) = (together[0].narrow(0, b, 1)?, own.next().expect("of x"));
                assert_close(&dx.narrow(1, 0, length)?, &own_dx, tolerance, tolerance)?;
                let beyond = dx.narrow(1, length, 6 - length)?;
                assert_close(&beyond, &beyond.zeros_like()?, 0.0, 0.0)?;
                for (sum, own) in sum.iter_mut().zip(own) {
                    *sum = (&*sum + own)?;
                }
            }
            for (sum, together) in sum.iter().zip(&together[1..]) {
                assert_close(together, sum, 10.0 * tolerance, 10.0 * tolerance)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_stream_is_the_whole_sequence() -> Result<()> {
    for unit in UNITS {
        let cfg = Config { unit, layers: 2, ..Config::default() };
        let (_, layer) = layer(3, 4, cfg, DType::F64)?;
        let x = randn(2, (2, 7, 3))?;
        let (whole, last) = layer.run(&x, None, None, &Ctx::eval())?;
        let mut states = None;
        for t in 0..7 {
            let (y, next) = layer.run(&x.narrow(1, t, 1)?, states.as_deref(), None, &Ctx::eval())?;
            assert_close(&y, &whole.narrow(1, t, 1)?, 1e-12, 1e-12)?;
            states = Some(next);
        }
        for (state, last) in states.iter().flatten().zip(&last) {
            assert_close(state.output(), last.output(), 1e-12, 1e-12)?;
        }
    }
    Ok(())
}

#[test]
fn a_cell_is_one_step_of_the_layer() -> Result<()> {
    for unit in UNITS {
        let (store, layer) = layer(3, 4, Config { unit, ..Config::default() }, DType::F64)?;
        let own = store.tensors().into_iter().map(|(name, t)| (name.replace("_l0", ""), t)).collect();
        let vb = candle_nn::VarBuilder::from_tensors(own, DType::F64, &Device::Cpu);
        let cell = Cell::new(3, 4, CellConfig { unit, ..CellConfig::default() }, vb)?;
        let x = randn(3, (2, 5, 3))?;
        let whole = layer.call(&x, &Ctx::eval())?;
        let mut state = None;
        for t in 0..5 {
            let next = cell.step(&x.narrow(1, t, 1)?.squeeze(1)?, state.as_ref())?;
            assert_close(next.output(), &whole.narrow(1, t, 1)?.squeeze(1)?, 1e-12, 1e-12)?;
            state = Some(next);
        }
    }
    Ok(())
}

#[test]
fn a_hundred_thousand_steps_there_and_back() -> Result<()> {
    const STEPS: usize = 100_000;
    let run = |unit| -> Result<bool> {
        let cfg = Config { unit, layers: 2, directions: Directions::Both, ..Config::default() };
        let (store, layer) = layer(1, 2, cfg, DType::F32)?;
        let x = Var::from_tensor(&randn(4, (1, STEPS, 1))?.to_dtype(DType::F32)?)?;
        let y = layer.call(&x, &Ctx::train(0))?;
        let all = gradients(&y, &x, &store)?;
        let sums = all.iter().map(|d| d.abs()?.sum_all()?.to_scalar::<f32>()).collect::<Result<Vec<_>>>()?;
        Ok(sums.iter().all(|sum| sum.is_finite() && *sum > 0.0))
    };
    for unit in UNITS {
        // An eighth of the stack that a thread has.
        let small = std::thread::Builder::new().stack_size(1 << 18);
        let done =
            std::thread::scope(|scope| small.spawn_scoped(scope, || run(unit)).expect("a thread").join());
        assert!(done.expect("no overflow")?, "{unit:?}");
    }
    Ok(())
}

#[test]
fn dropout_is_between_layers_alone() -> Result<()> {
    let one = Config { dropout: 1.0, ..Config::default() };
    let (_, alone) = layer(2, 3, one, DType::F64)?;
    let x = randn(5, (1, 2, 2))?;
    assert_close(&alone.call(&x, &Ctx::train(0))?, &alone.call(&x, &Ctx::eval())?, 0.0, 0.0)?;
    let (_, stack) = layer(2, 3, Config { layers: 2, ..one }, DType::F64)?;
    let (dropped, zeros) = (stack.call(&x, &Ctx::train(0))?, stack.call(&x.zeros_like()?, &Ctx::train(0))?);
    assert_close(&dropped, &zeros, 0.0, 0.0)?;
    assert!(assert_close(&dropped, &stack.call(&x, &Ctx::eval())?, 0.0, 1e-3).is_err());
    Ok(())
}

#[test]
fn time_may_come_first() -> Result<()> {
    let (_, layer) = layer(2, 3, Config { directions: Directions::Both, ..Config::default() }, DType::F64)?;
    let (_, turned) = self::layer(
        2,
        3,
        Config { directions: Directions::Both, axes: Axes::TimeFirst, ..Config::default() },
        DType::F64,
    )?;
    let x = randn(6, (2, 4, 2))?;
    let (y, _) = layer.run(&x, None, Some(&[4, 2]), &Ctx::eval())?;
    let (z, _) = turned.run(&x.transpose(0, 1)?, None, Some(&[4, 2]), &Ctx::eval())?;
    assert_close(&z, &y.transpose(0, 1)?, 0.0, 0.0)
}

#[test]
fn names_shapes_and_start_values_are_pytorchs() -> Result<()> {
    let unit = AnyUnit::Lstm(LongShortTerm { projection: Some(2) });
    let cfg = Config { unit, layers: 2, directions: Directions::Both, ..Config::default() };
    let (store, _) = layer(3, 400, cfg, DType::F32)?;
    let all = store.tensors();
    assert_eq!(all.len(), 4 * 5);
    for (name, shape) in [
        ("weight_ih_l0", &[1600, 3][..]),
        ("weight_hh_l1_reverse", &[1600, 2]),
        ("weight_ih_l1", &[1600, 4]),
        ("weight_hr_l0_reverse", &[2, 400]),
        ("bias_ih_l1_reverse", &[1600]),
        ("bias_hh_l0", &[1600]),
    ] {
        assert_eq!(all[name].dims(), shape, "{name}");
        let largest = all[name].abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
        assert!((0.045..=0.05).contains(&largest), "{name} starts within ±1/√400, got {largest}");
    }
    Ok(())
}

#[test]
fn refusals_name_the_rule() -> Result<()> {
    let store = ParamStore::new(0);
    let new = |hidden: usize, cfg: Config| Recurrent::new(2, hidden, cfg, store.vb(DType::F64, &Device::Cpu));
    let projection = AnyUnit::Lstm(LongShortTerm { projection: Some(0) });
    for (hidden, cfg, rule) in [
        (0, Config::default(), "must be at least 1, got 2, 0 and 1"),
        (3, Config { layers: 0, ..Config::default() }, "must be at least 1, got 2, 3 and 0"),
        (3, Config { dropout: 1.5, ..Config::default() }, "p must be in [0, 1], got 1.5"),
        (3, Config { unit: projection, ..Config::default() }, "must leave at least one output of 3 units"),
    ] {
        let error = new(hidden, cfg).expect_err(rule).to_string();
        assert!(error.contains(rule), "{error}");
    }
    let layer = new(3, Config::default())?;
    let x = randn(1, (2, 4, 2))?;
    let (_, states) = layer.run(&x, None, None, &Ctx::eval())?;
    let wrong = [nn_sequence::AnyState::Output(states[0].output().clone())];
    for (x, states, lengths, rule) in [
        (randn(1, (2, 4, 3))?, None, None, "x must have rank 3 and 2 numbers a step, got [2, 4, 3]"),
        (randn(1, (4, 2))?, None, None, "x must have rank 3 and 2 numbers a step, got [4, 2]"),
        (randn(1, (2, 0, 2))?, None, None, "x must have at least one step"),
        (x.clone(), Some(&[][..]), None, "one state a layer and direction, 1, got 0"),
        (x.clone(), Some(&wrong[..]), None, "the state must be an LSTM's, with h and c"),
        (x.clone(), None, Some(&[4][..]), "one length a sequence of 2, got 1"),
        (x.clone(), None, Some(&[0, 4]), "the length of sequence 0 must be in 1..=4, got 0"),
        (x.clone(), None, Some(&[4, 5]), "the length of sequence 1 must be in 1..=4, got 5"),
    ] {
        let error = layer.run(&x, states, lengths, &Ctx::eval()).expect_err(rule).to_string();
        assert!(error.contains(rule), "{error}");
    }
    let cell = Cell::new(
        2,
        3,
        CellConfig { unit: UNITS[0], ..CellConfig::default() },
        store.vb(DType::F64, &Device::Cpu).pp("cell"),
    )?;
    let error = cell.step(&randn(1, (2, 3))?, None).expect_err("of 2").to_string();
    assert!(error.contains("x must be [B, 2], got [2, 3]"), "{error}");
    let error = cell.step(&randn(1, (2, 2))?, Some(&states[0])).expect_err("no LSTM").to_string();
    assert!(error.contains("the state must be an output alone"), "{error}");
    Ok(())
}
