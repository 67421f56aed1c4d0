use super::*;

#[test]
fn recipes_hold_schedules_and_refuse_what_they_do_not_know() {
    let parse = |text: &str| toml::from_str::<Schedule>(text).map_err(|e| e.message().to_owned());
    let step = Schedule { lr: 0.1, warmup: 0.0, decay: Decay::Step { every: 2.0, factor: 0.5 } };
    assert_eq!(parse("lr = 0.1\ndecay = { kind = 'step', every = 2, factor = 0.5 }"), Ok(step));
    let cosine = Schedule { lr: 0.1, warmup: 1.5, decay: Decay::Cosine { min_lr: 0.0 } };
    assert_eq!(parse("lr = 0.1\nwarmup = 1.5\ndecay = { kind = 'cosine' }"), Ok(cosine));
    assert_eq!(parse("lr = 0.1"), Ok(Schedule { lr: 0.1, ..Schedule::default() }));
    for schedule in [step, cosine] {
        assert_eq!(parse(&toml::to_string(&schedule).expect("text")), Ok(schedule));
    }
    for (text, says) in [
        ("lr = 0.1\nwarm_up = 2", "unknown field `warm_up`"),
        ("lr = 0.1\ndecay = { kind = 'cosine', max_lr = 1 }", "unknown field `max_lr`"),
        ("lr = 0.1\ndecay = { kind = 'linear' }", "unknown variant `linear`"),
        ("warmup = 1", "missing field `lr`"),
    ] {
        let error = parse(text).expect_err(says);
        assert!(error.contains(says), "{says:?} not in {error:?}");
    }
}

#[test]
fn values_out_of_range_are_refused() {
    let good = Schedule::default();
    let step = |every, factor| Schedule { decay: Decay::Step { every, factor }, ..good };
    for (schedule, says) in [
        (Schedule { lr: f64::NAN, ..good }, "lr must be 0 or more, got NaN"),
        (Schedule { warmup: -1.0, ..good }, "warmup must be 0 epochs or more, got -1"),
        (step(0.0, 0.5), "every must be above 0 epochs, got 0"),
        (step(1.0, 1.5), "factor must be in (0, 1], got 1.5"),
        (
            Schedule { decay: Decay::Cosine { min_lr: 1.0 }, ..good },
            "min_lr must be between 0 and lr = 0.001, got 1",
        ),
    ] {
        let error = schedule.check().expect_err(says).to_string();
        assert!(error.contains(says), "{says:?} not in {error}");
    }
    assert!(good.check().is_ok() && step(1.0, 0.5).check().is_ok());
}

#[test]
fn a_run_made_longer_than_its_schedule_stays_at_the_end() {
    let schedule = Schedule { lr: 1.0, warmup: 0.0, decay: Decay::Cosine { min_lr: 0.25 } };
    let length = Length { steps_per_epoch: 4, epochs: 2 };
    assert_eq!(schedule.at(0, length), 1.0);
    assert_eq!(schedule.at(8, length), 0.25);
    assert_eq!(schedule.at(1000, length), 0.25);
    // A warm-up longer than the run never ends, and nothing is divided by zero.
    let endless = Schedule { warmup: 3.0, ..schedule };
    assert!((0..20).all(|step| endless.at(step, length).is_finite()));
}

#[test]
fn every_decay_is_a_recipe() {
    for (text, decay) in [
        ("{ kind = 'constant' }", Decay::Constant),
        (
            "{ kind = 'multi_step', at = [1, 2.5], factor = 0.1 }",
            Decay::MultiStep { at: Milestones::new(&[1.0, 2.5]).expect("they rise"), factor: 0.1 },
        ),
        ("{ kind = 'exponential', factor = 0.5 }", Decay::Exponential { every: 1.0, factor: 0.5 }),
        ("{ kind = 'polynomial' }", Decay::Polynomial { power: 1.0, min_lr: 0.0 }),
        (
            "{ kind = 'cosine_restarts', every = 3 }",
            Decay::CosineRestarts { every: 3.0, mult: 1, min_lr: 0.0 },
        ),
        (
            "{ kind = 'one_cycle', rise = 0.4, phases = 'three', anneal = 'linear' }",
            Decay::OneCycle(OneCycle {
                rise: 0.4,
                phases: Phases::Three,
                anneal: Anneal::Linear,
                ..OneCycle::default()
            }),
        ),
        ("{ kind = 'noam' }", Decay::Noam),
        (
            "{ kind = 'plateau', patience = 3, watch = 'best', threshold_mode = 'abs' }",
            Decay::Plateau(Plateau {
                patience: 3,
                watch: Watch::Best,
                threshold_mode: Threshold::Abs,
                ..Plateau::default()
            }),
        ),
    ] {
        let read: Schedule = toml::from_str(&format!("lr = 0.1\ndecay = {text}")).expect(text);
        assert_eq!(read, Schedule { lr: 0.1, warmup: 0.0, decay });
        assert!(read.check().is_ok());
        let again: Schedule = toml::from_str(&toml::to_string(&read).expect("text")).expect("a schedule");
        assert_eq!(again, read);
    }
    let refused = |text: &str| {
        toml::from_str::<Schedule>(&format!("lr = 0.1\ndecay = {text}")).expect_err(text).to_string()
    };
    for (text, says) in [
        ("{ kind = 'multi_step', at = [2, 1], factor = 0.1 }", "at must rise, got [2.0, 1.0]"),
        ("{ kind = 'multi_step', at = [], factor = 0.1 }", "1 to 16 moments, got 0"),
        ("{ kind = 'multi_step', at = [0], factor = 0.1 }", "at must be above 0 epochs, got 0"),
        ("{ kind = 'one_cycle', pct_start = 0.1 }", "unknown field `pct_start`"),
        ("{ kind = 'plateau', mode = 'min' }", "unknown field `mode`"),
    ] {
        let error = refused(text);
        assert!(error.contains(says), "{says:?} not in {error:?}");
    }
}

#[test]
fn impossible_decays_are_refused() {
    let of = |decay| Schedule { lr: 0.1, warmup: 0.0, decay };
    let cycle = OneCycle::default();
    let plateau = Plateau::default();
    for (schedule, says) in [
        (of(Decay::Exponential { every: 1.0, factor: 0.0 }), "factor must be in (0, 1], got 0"),
        (of(Decay::Polynomial { power: 0.0, min_lr: 0.0 }), "power must be above 0, got 0"),
        (of(Decay::Polynomial { power: 1.0, min_lr: 0.2 }), "min_lr must be between 0 and lr = 0.1"),
        (of(Decay::CosineRestarts { every: 1.0, mult: 0, min_lr: 0.0 }), "mult must be 1 or more, got 0"),
        (
            of(Decay::CosineRestarts { every: f64::NAN, mult: 1, min_lr: 0.0 }),
            "every must be above 0 epochs, got NaN",
        ),
        (of(Decay::OneCycle(OneCycle { rise: 1.0, ..cycle })), "rise must be in (0, 1), got 1"),
        (
            of(Decay::OneCycle(OneCycle { rise: 0.6, phases: Phases::Three, ..cycle })),
            "rise must be at most 0.5 in three phases",
        ),
        (of(Decay::OneCycle(OneCycle { div: 0.5, ..cycle })), "div must be 1 or more, got 0.5"),
        (
            of(Decay::OneCycle(OneCycle { max_momentum: 1.0, ..cycle })),
            "max_momentum must be in [0, 1), got 1",
        ),
        (
            of(Decay::OneCycle(OneCycle { base_momentum: 0.96, ..cycle })),
            "base_momentum must be between 0 and max_momentum = 0.95, got 0.96",
        ),
        (of(Decay::OneCycle(OneCycle { final_div: 0.0, ..cycle })), "final_div must be 1 or more, got 0"),
        (
            Schedule { warmup: 1.0, ..of(Decay::OneCycle(cycle)) },
            "one_cycle rises by itself, so warmup must be 0, got 1",
        ),
        (of(Decay::Plateau(Plateau { factor: 1.0, ..plateau })), "factor must be in (0, 1), got 1"),
        (of(Decay::Plateau(Plateau { threshold: -1.0, ..plateau })), "threshold must be 0 or more, got -1"),
        (of(Decay::Plateau(Plateau { min_lr: 1.0, ..plateau })), "min_lr must be between 0 and lr = 0.1"),
    ] {
        let error = schedule.check().expect_err(says).to_string();
        assert!(error.contains(says), "{says:?} not in {error}");
    }
}

#[test]
fn no_length_of_a_run_breaks_a_schedule() {
    let decays = [
        Decay::Polynomial { power: 0.5, min_lr: 0.01 },
        Decay::CosineRestarts { every: 1e-9, mult: 3, min_lr: 0.0 },
        Decay::OneCycle(OneCycle::default()),
        Decay::OneCycle(OneCycle { phases: Phases::Three, ..OneCycle::default() }),
        Decay::Exponential { every: 1e300, factor: 0.1 },
        Decay::Noam,
    ];
    for decay in decays {
        let schedule = Schedule { lr: 1.0, warmup: 0.0, decay };
        for (steps_per_epoch, epochs) in [(0, 0), (1, 1), (1, 2), (3, 1), (u64::MAX, u64::MAX)] {
            for step in [0, 1, 2, 5, u64::MAX - 1] {
                let length = Length { steps_per_epoch, epochs };
                let rate = schedule.at(step, length);
                assert!((0.0..=1.0).contains(&rate), "{decay:?} at {step}: {rate}");
                let momentum = schedule.momentum(step, length).unwrap_or(0.9);
                assert!((0.85..=0.95).contains(&momentum), "{decay:?} at {step}: {momentum}");
            }
        }
    }
}

#[test]
fn evaluations_during_warm_up_do_not_count() {
    let plateau = Plateau { patience: 0, factor: 0.5, ..Plateau::default() };
    let schedule = Schedule { lr: 1.0, warmup: 2.0, decay: Decay::Plateau(plateau) };
    let (length, mut watched) = (Length { steps_per_epoch: 4, epochs: 9 }, Watched::default());
    let mut rates = Vec::new();
    for epoch in 1..6 {
        schedule.watch(&mut watched, &crate::Figures::new(1.0), 4 * epoch, length);
        rates.push(schedule.after(&watched, 4 * epoch, length));
    }
    assert_eq!(rates, [5.0 / 9.0, 1.0, 1.0, 0.5, 0.25]);
    // Another schedule makes nothing of what was seen.
    assert_eq!(Schedule { decay: Decay::Constant, ..schedule }.after(&watched, 20, length), 1.0);
}
