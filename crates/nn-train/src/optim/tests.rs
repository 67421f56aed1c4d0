//! Both paths of the rules, their state, and what is refused.

use candle_core::DType;

use super::*;

fn rules() -> Vec<Rule> {
    let (adam, rms) = (Adam::default(), RmsProp::default());
    vec![
        Rule::Sgd(Sgd { weight_decay: 0.1, ..Sgd::default() }),
        Rule::Sgd(Sgd { momentum: 0.9, dampening: 0.2, weight_decay: 0.01, nesterov: false }),
        Rule::Sgd(Sgd { momentum: 0.9, nesterov: true, ..Sgd::default() }),
        Rule::Adam(Adam::default()),
        Rule::Adam(Adam { beta1: 0.5, beta2: 0.9, eps: 1e-3, weight_decay: 0.1, ..adam }),
        Rule::Adam(Adam { amsgrad: true, ..adam }),
        Rule::AdamW(AdamW::default()),
        Rule::AdamW(AdamW { amsgrad: true, ..AdamW::default() }),
        Rule::NAdam(NAdam::default()),
        Rule::RAdam(RAdam { beta2: 0.8, ..RAdam::default() }),
        Rule::RmsProp(rms),
        Rule::RmsProp(RmsProp { momentum: 0.9, ..rms }),
        Rule::RmsProp(RmsProp { centered: true, ..rms }),
        Rule::RmsProp(RmsProp { momentum: 0.9, centered: true, weight_decay: 0.1, ..rms }),
        Rule::Adagrad(Adagrad { lr_decay: 0.1, initial_accumulator_value: 0.5, ..Adagrad::default() }),
        Rule::Adadelta(Adadelta::default()),
        Rule::Lamb(Lamb::default()),
        Rule::Lion(Lion { weight_decay: 0.1, ..Lion::default() }),
    ]
}

/// `n` numbers that are of no particular size.
fn numbers(seed: u64, n: usize) -> Tensor {
    let x = nn_core::testing::randn(seed, n).expect("numbers");
    x.to_dtype(DType::F32).expect("on the CPU")
}

fn grads(of: &[(&Var, Tensor)]) -> GradStore {
    let mut store = Tensor::zeros((), DType::F32, &Device::Cpu).and_then(|t| t.backward()).expect("no graph");
    for (var, grad) in of {
        store.insert(var, grad.clone());
    }
    store
}

fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().and_then(|x| x.to_vec1()).expect("f32 on the CPU")
}

/// The tensors are what runs in `f64`, and on other devices; numbers are what runs in `f32` on the CPU.
#[test]
fn numbers_and_tensors_follow_one_formula() -> Result<()> {
    // Two whole stretches and a bit.
    let n = 2 * apply::STRETCH + 77;
    for rule in rules() {
        let new = |dtype| -> Result<(Var, Optimizer)> {
            let var = Var::from_tensor(&numbers(1, n).to_dtype(dtype)?)?;
            Ok((var.clone(), Optimizer::new(rule, vec![("w".to_owned(), var)])?))
        };
        let ((a, mut single), (b, mut double)) = (new(DType::F32)?, new(DType::F64)?);
        for number in 1..=5 {
            let grad = numbers(10 + number, n);
            single.step(&grads(&[(&a, grad.clone())]), 0.01)?;
            double.step(&grads(&[(&b, grad.to_dtype(DType::F64)?)]), 0.01)?;
        }
        for (ours, theirs) in single.state()?.values().zip(double.state()?.values()) {
            nn_core::testing::assert_close(ours, theirs, 1e-5, 1e-5)
                .map_err(|e| candle_core::Error::Msg(format!("{rule:?}: {e}")))?;
        }
        nn_core::testing::assert_close(&a, &b, 1e-5, 1e-5)
            .map_err(|e| candle_core::Error::Msg(format!("{rule:?}: {e}")))?;
    }
    Ok(())
}

/// Parameters of all sizes in one step, some of them in another type: each as if it were alone.
#[test]
fn many_parameters_are_each_updated_as_one_alone() -> Result<()> {
    let sizes = (1..70).map(|i| 37 * i).chain([apply::SHARED, 5]);
    let kinds: Vec<(usize, DType)> =
        sizes.enumerate().map(|(i, n)| (n, if i % 9 == 4 { DType::F64 } else { DType::F32 })).collect();
    for rule in rules() {
        let var = |(i, &(n, dtype)): (usize, &(usize, DType))| -> Result<(String, Var)> {
            Ok((format!("{i:03}"), Var::from_tensor(&numbers(i as u64, n).to_dtype(dtype)?)?))
        };
        let new = || kinds.iter().enumerate().map(var).collect::<Result<Vec<_>>>();
        let (together, apart) = (new()?, new()?);
        let scale = Scale { lr: 0.5, weight_decay: 0.0 };
        let optimizer = |parameters: &[(String, Var)]| -> Result<Optimizer> {
            let mut optimizer = Optimizer::new(rule, parameters.to_vec())?;
            optimizer.scale(scale, |name, _| name.ends_with('7'))?;
            Ok(optimizer)
        };
        let mut all = optimizer(&together)?;
        let mut each =
            apart.iter().map(|one| optimizer(std::slice::from_ref(one))).collect::<Result<Vec<_>>>()?;
        for number in 0..2 {
            let grad = |(i, (_, var)): (usize, &(String, Var))| -> Result<Tensor> {
                numbers(1000 * (1 + number) + i as u64, var.elem_count()).to_dtype(var.dtype())
            };
            let gradients = together.iter().enumerate().map(grad).collect::<Result<Vec<_>>>()?;
            let of_all: Vec<_> = together.iter().map(|(_, var)| var).zip(gradients.iter().cloned()).collect();
            all.step(&grads(&of_all), 0.01)?;
            for ((one, (_, var)), grad) in each.iter_mut().zip(&apart).zip(&gradients) {
                one.step(&grads(&[(var, grad.clone())]), 0.01)?;
            }
        }
        for ((name, ours), (_, theirs)) in together.iter().zip(&apart) {
            let bits = |x: &Var| x.to_dtype(DType::F64)?.to_vec1::<f64>();
            assert_eq!(bits(ours)?, bits(theirs)?, "{rule:?}: {name}");
        }
    }
    Ok(())
}

#[test]
fn the_number_of_threads_changes_nothing() -> Result<()> {
    let n = apply::SHARED + 77;
    for rule in rules() {
        let with = |threads| -> Result<Vec<f32>> {
            let var = Var::from_tensor(&numbers(1, n))?;
            let mut optimizer = Optimizer::new(rule, vec![("w".to_owned(), var.clone())])?;
            let grads = grads(&[(&var, numbers(2, n))]);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| (0..2).try_for_each(|_| optimizer.step(&grads, 0.01)))?;
            Ok(values(&var))
        };
        assert_eq!(with(1)?, with(3)?, "{rule:?}");
    }
    Ok(())
}

#[test]
fn parameters_are_lent_in_groups_of_no_more_elements_than_asked_for() -> Result<()> {
    let groups = |sizes: &[usize], most: usize| -> Result<Vec<Vec<usize>>> {
        let vars = sizes.iter().map(|&n| Var::from_tensor(&numbers(1, n))).collect::<Result<Vec<_>>>()?;
        let gradients = sizes.iter().map(|&n| numbers(2, n)).collect::<Vec<_>>();
        let turn = Turn { lr: 1.0, decay: 0.0, number: 1, memo: 1.0 };
        let updates = vars.iter().zip(&gradients).map(|(var, grad)| Update { turn, var, kept: &[], grad });
        let seen = std::cell::RefCell::new(Vec::new());
        apply::in_place(
            &updates.collect::<Vec<_>>(),
            most,
            |group| seen.borrow_mut().push(group.iter().map(|one| one.grad.len()).collect()),
            |_| unreachable!("all are plain"),
        )?;
        Ok(seen.into_inner())
    };
    assert_eq!(groups(&[4, 6, 1, 25, 3], 10)?, [vec![4, 6], vec![1], vec![25], vec![3]]);
    assert_eq!(groups(&[2; 70], 1000)?.iter().map(Vec::len).collect::<Vec<_>>(), [32, 32, 6]);
    assert!(groups(&[], 10)?.is_empty());
    Ok(())
}

/// A momentum that goes through 0, as a schedule's may: what is kept goes on.
#[test]
fn a_step_without_momentum_keeps_its_memory() -> Result<()> {
    let sgd = Rule::Sgd(Sgd { momentum: 0.9, dampening: 0.5, ..Sgd::default() });
    // Of the mean square of one gradient alone, the root is the gradient: each adds 1.
    let rms = RmsProp { alpha: 0.0, eps: 0.0, momentum: 0.9, ..RmsProp::default() };
    let by_hand = [
        // b = 1, then ½ · 2, then 0.9 · 1 + ½ · 3
        (sgd, [-1.0, -2.0, -4.4]),
        // b = 1, then 1, then 0.9 + 1
        (Rule::RmsProp(rms), [-1.0, -2.0, -3.9]),
    ];
    for (rule, expected) in by_hand {
        let var = Var::zeros(1, DType::F32, &Device::Cpu)?;
        let mut optimizer = Optimizer::new(rule, vec![("w".to_owned(), var.clone())])?;
        for ((grad, momentum), expected) in [(1f32, 0.9), (2.0, 0.0), (3.0, 0.9)].into_iter().zip(expected) {
            let pace = Pace { lr: 1.0, momentum: Some(momentum) };
            optimizer.step(&grads(&[(&var, Tensor::new(&[grad], &Device::Cpu)?)]), pace)?;
            let got = values(&var)[0];
            assert!((got - expected).abs() < 1e-6, "{rule:?}: {got} instead of {expected}");
        }
    }
    Ok(())
}

#[test]
fn a_step_that_is_refused_changes_nothing() -> Result<()> {
    let (a, b) = (Var::from_tensor(&numbers(1, 5))?, Var::from_tensor(&numbers(2, 5))?);
    let before = values(&a);
    let named = vec![("a".to_owned(), a.clone()), ("b".to_owned(), b.clone())];
    let mut optimizer = Optimizer::new(Rule::Adam(Adam::default()), named)?;
    let error =
        optimizer.step(&grads(&[(&a, numbers(3, 5)), (&b, numbers(4, 6))]), 0.1).expect_err("6 for 5");
    assert!(error.to_string().contains("b is [5], got a gradient of [6]"), "{error}");
    assert_eq!(values(&a), before);
    assert!(optimizer.slots.iter().all(|slot| slot.updates == 0));
    Ok(())
}

#[test]
fn a_parameter_that_is_listed_twice_is_refused() -> Result<()> {
    let var = Var::from_tensor(&numbers(1, 5))?;
    let named = ["head.weight", "embedding.weight"].map(|name| (name.to_owned(), var.clone()));
    let error = Optimizer::new(Rule::default(), named.to_vec()).expect_err("twice").to_string();
    assert!(error.contains("embedding.weight and head.weight are one parameter"), "{error}");
    Ok(())
}

#[test]
fn groups_have_rates_and_decays_of_their_own() -> Result<()> {
    let rule = Rule::Sgd(Sgd { weight_decay: 0.5, ..Sgd::default() });
    let var = |dims: &[usize]| Var::ones(dims, DType::F32, &Device::Cpu);
    let (weight, bias) = (var(&[1, 1])?, var(&[1])?);
    let named = vec![("head.weight".to_owned(), weight.clone()), ("bias".to_owned(), bias.clone())];
    let mut optimizer = Optimizer::new(rule, named)?;
    optimizer.scale(Scale { weight_decay: 0.0, ..Scale::default() }, |_, var| var.rank() < 2)?;
    optimizer.scale(Scale { lr: 0.1, ..Scale::default() }, |name, _| name.starts_with("head"))?;
    optimizer.step(&grads(&[(&weight, weight.ones_like()?), (&bias, bias.ones_like()?)]), 1.0)?;
    assert_eq!(values(&bias), [0.0]); // 1 − 1
    assert_eq!(values(&weight), [1.0 - 0.1 * 1.5]);
    let error = optimizer.scale(Scale { lr: -1.0, ..Scale::default() }, |_, _| true).expect_err("negative");
    assert!(error.to_string().contains("a scale of lr must be 0 or more, got -1"), "{error}");
    Ok(())
}

#[test]
fn a_parameter_without_a_gradient_stays_as_it_is() -> Result<()> {
    for rule in rules() {
        let (a, b) = (Var::from_tensor(&numbers(1, 5))?, Var::from_tensor(&numbers(2, 5))?);
        let before = values(&b);
        let named = vec![("b".to_owned(), b.clone()), ("a".to_owned(), a.clone())];
        let mut optimizer = Optimizer::new(rule, named)?;
        optimizer.step(&grads(&[(&a, numbers(3, 5))]), 0.1)?;
        assert_eq!(values(&b), before);
        assert_eq!(optimizer.slots.iter().map(|s| s.updates).collect::<Vec<_>>(), [1, 0]);
    }
    Ok(())
}

#[test]
fn state_goes_out_and_comes_back() -> Result<()> {
    for rule in rules() {
        let new = |seed| -> Result<(Var, Optimizer)> {
            let var = Var::from_tensor(&numbers(seed, 5))?;
            Ok((var.clone(), Optimizer::new(rule, vec![("w".to_owned(), var)])?))
        };
        let ((a, mut one), (b, mut two)) = (new(1)?, new(2)?);
        one.step(&grads(&[(&a, numbers(3, 5))]), 0.1)?;
        b.set(&a)?;
        two.set_state(&one.state()?)?;
        for (var, optimizer) in [(&a, &mut one), (&b, &mut two)] {
            optimizer.step(&grads(&[(var, numbers(4, 5))]), 0.1)?;
        }
        assert_eq!(values(&a), values(&b));
    }
    Ok(())
}

#[test]
fn the_state_of_something_else_is_refused() -> Result<()> {
    let adam = |n: usize| {
        Optimizer::new(Rule::Adam(Adam::default()), vec![("w".to_owned(), Var::from_tensor(&numbers(1, n))?)])
    };
    let refused = |state: &BTreeMap<String, Tensor>| {
        adam(5).and_then(|mut o| o.set_state(state)).expect_err("refused").to_string()
    };
    let mut state = adam(5)?.state()?;
    assert_eq!(state.keys().collect::<Vec<_>>(), ["w.exp_avg", "w.exp_avg_sq", "w.step"]);
    assert!(refused(&adam(4)?.state()?).contains("w.exp_avg is F32 [5], got F32 [4]"));
    state.insert("v.step".to_owned(), Tensor::new(1i64, &Device::Cpu)?);
    assert!(refused(&state).contains("the state has v.step"));
    state.remove("w.exp_avg_sq");
    assert!(refused(&state).contains("the state lacks w.exp_avg_sq"));
    Ok(())
}

#[test]
fn hyper_parameters_out_of_range_are_refused() {
    let (sgd, adam) = (Sgd::default(), Adam::default());
    for (rule, says) in [
        (Rule::Sgd(Sgd { momentum: 1.0, ..sgd }), "momentum must be in [0, 1), got 1"),
        (Rule::Sgd(Sgd { momentum: f64::NAN, ..sgd }), "momentum must be in [0, 1), got NaN"),
        (Rule::Sgd(Sgd { weight_decay: -1.0, ..sgd }), "weight_decay must be 0 or more, got -1"),
        (Rule::Sgd(Sgd { dampening: 2.0, ..sgd }), "dampening must be in [0, 1], got 2"),
        (Rule::Sgd(Sgd { nesterov: true, ..sgd }), "nesterov needs momentum above 0"),
        (
            Rule::Sgd(Sgd { nesterov: true, momentum: 0.9, dampening: 0.1, ..sgd }),
            "dampening 0, got momentum 0.9",
        ),
        (Rule::Adam(Adam { beta1: 1.0, ..adam }), "beta1 must be in [0, 1), got 1"),
        (Rule::Adam(Adam { beta2: -0.1, ..adam }), "beta2 must be in [0, 1), got -0.1"),
        (Rule::Adam(Adam { eps: -1.0, ..adam }), "eps must be 0 or more, got -1"),
        (Rule::Adam(Adam { weight_decay: f64::INFINITY, ..adam }), "weight_decay must be 0 or more, got inf"),
    ] {
        let error = Optimizer::new(rule, Vec::new()).expect_err(says).to_string();
        assert!(error.contains(says), "{says:?} not in {error}");
    }
    let mut optimizer = Optimizer::new(Rule::default(), Vec::new()).expect("the default");
    let error = optimizer.step(&grads(&[]), -0.1).expect_err("negative").to_string();
    assert!(error.contains("lr must be 0 or more, got -0.1"), "{error}");
}
