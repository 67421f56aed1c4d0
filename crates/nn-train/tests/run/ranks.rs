//! Several ranks train as one process with batches as large as theirs together; here they are threads.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use candle_core::{DType, Device, Result, Tensor, Var};
use nn_core::{Ctx, ParamStore, Random};
use nn_train::data::{Batch, Loader, LoaderConfig, Order, Shard};
use nn_train::event::Step;
use nn_train::run::{CHECKPOINT, MODEL};
use nn_train::{Ended, Evaluation, Event, FitConfig, Outcome, Ranks, TrainError, evaluate, fit, test};

use crate::resume::log;
use crate::toy::{
    Forward, Model, Points, SEED, Toy, classify, config, go_on, quiet, steps_of, toy, toy_in, weighed,
    weights,
};

/// Ranks of one process.
#[derive(Debug)]
struct Thread {
    shard: Shard,
    meeting: Arc<Meeting>,
}

#[derive(Debug)]
struct Meeting {
    barrier: Barrier,
    brought: Mutex<Vec<Vec<u8>>>,
}

impl Ranks for Thread {
    fn shard(&self) -> Shard {
        self.shard
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let Meeting { barrier, brought } = &*self.meeting;
        brought.lock().expect("no panic")[self.shard.index] = own.to_vec();
        barrier.wait();
        let all = brought.lock().expect("no panic").clone();
        barrier.wait();
        Ok(all)
    }

    fn sum(&self, values: &mut [f32]) -> Result<()> {
        let all = self.gather(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())?;
        values.fill(0.0);
        for one in all {
            let one = one.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four")));
            values.iter_mut().zip(one).for_each(|(sum, value)| *sum += value);
        }
        Ok(())
    }
}

/// Does the work on every rank at the same time.
pub(crate) fn on_each<T: Send>(of: usize, work: impl Fn(Arc<dyn Ranks>) -> T + Sync) -> Vec<T> {
    let brought = Mutex::new(vec![Vec::new(); of]);
    let meeting = Arc::new(Meeting { barrier: Barrier::new(of), brought });
    thread::scope(|scope| {
        let rank = |index| Thread { shard: Shard { index, of }, meeting: Arc::clone(&meeting) };
        let threads = (0..of).map(|index| (rank(index), &work));
        let threads = threads.map(|(rank, work)| scope.spawn(move || work(Arc::new(rank))));
        threads.collect::<Vec<_>>().into_iter().map(|t| t.join().expect("no panic")).collect()
    })
}

pub(crate) fn loader(shard: Shard, batch_size: usize, examples: usize, order: Order) -> Loader<Points> {
    let config = LoaderConfig { batch_size, order, shard, ..LoaderConfig::default() };
    Loader::new(Arc::new(Points(examples)), config, Random::new(SEED)).expect("a good configuration")
}

/// What is left of a run.
struct Remains {
    steps: Vec<Step>,
    weights: Vec<f32>,
    tested: Evaluation,
}

/// Trains on this rank's shards of batches of `size`.
fn train(mut toy: Toy, size: usize, forward: Forward) -> std::result::Result<Remains, TrainError> {
    let shard = toy.trainer.shard();
    let (train, eval) = (loader(shard, size, 18, Order::Shuffled), loader(shard, size, 7, Order::Sequential));
    let steps = steps_of(&mut toy, &train, &eval, forward)?;
    let Toy { model, trainer } = &mut toy;
    let tested = test(trainer, &eval, go_on, |batch, ctx| forward(model, batch, ctx))?.expect("not stopped");
    Ok(Remains { steps, weights: weights(&toy)?, tested })
}

fn joined(store: ParamStore, config: FitConfig, ranks: &Arc<dyn Ranks>) -> Toy {
    let mut toy = toy_in(store, config);
    toy.trainer.join(Arc::clone(ranks));
    toy
}

#[test]
fn ranks_are_one_process_with_batches_of_all() -> std::result::Result<(), TrainError> {
    let averaged = FitConfig { ema: Some(0.8), accumulate: 2, evaluate_every: Some(2), ..config() };
    // 8, 8, 2 examples; 6, 6, 6; 8, 8, 2, of which two ranks have none.
    let cases = [(2, 4, config()), (3, 2, averaged), (4, 2, config()), (4, 2, averaged)];
    let cases = cases.into_iter().flat_map(|case| [(case, quiet as Forward), (case, weighed)]);
    for ((of, size, config), forward) in cases {
        let alone = train(toy(config), of * size, forward)?;
        let ranks = on_each(of, |ranks| {
            // Rank 0's weights are those that count.
            let store = ParamStore::new(SEED + ranks.shard().index as u64);
            train(joined(store, config, &ranks), size, forward)
        });
        let ranks = ranks.into_iter().collect::<std::result::Result<Vec<_>, _>>()?;
        for rank in &ranks {
            assert_eq!(rank.weights, ranks[0].weights, "all hold the same bits");
            assert_eq!(rank.steps.len(), alone.steps.len());
            for (a, b) in rank.steps.iter().zip(&alone.steps) {
                let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
                assert_eq!((a.step, a.epoch, a.batch, a.lr), (b.step, b.epoch, b.batch, b.lr));
                assert!(near(a.loss, b.loss) && near(a.so_far.loss, b.so_far.loss), "{a:?} {b:?}");
            }
            assert!(rank.weights.iter().zip(&alone.weights).all(|(a, b)| (a - b).abs() < 1e-5));
            assert_eq!((rank.tested.examples(), rank.tested.confusion()), (7, alone.tested.confusion()));
            assert!((rank.tested.figures().loss - alone.tested.figures().loss).abs() < 1e-6);
            let mistakes = |found: &Evaluation| found.mistakes().iter().map(|m| m.index).collect::<Vec<_>>();
            assert_eq!(mistakes(&rank.tested), mistakes(&alone.tested));
        }
    }
    Ok(())
}

/// Trains in a folder with noise, on this rank's shards; `halt` is asked after each step.
fn fit_in(
    toy: &mut Toy,
    halt: impl Fn(u64) -> bool,
    forward: impl Fn(&Model, &Batch, &Ctx<'_>) -> Result<Outcome>,
) -> std::result::Result<Ended, TrainError> {
    let Toy { model, trainer } = toy;
    let shard = trainer.shard();
    let (train, eval) = (loader(shard, 2, 18, Order::Shuffled), loader(shard, 2, 7, Order::Sequential));
    let hear = |event: &Event| match event {
        Event::Step(step) if halt(step.step) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    fit(trainer, &train, &eval, hear, |batch, ctx| forward(model, batch, ctx)).map(|summary| summary.ended)
}

fn create(path: &Path, ranks: &Arc<dyn Ranks>) -> std::result::Result<Toy, TrainError> {
    joined(ParamStore::new(SEED), config(), ranks).create(path)
}

fn resume(path: &Path, ranks: &Arc<dyn Ranks>) -> std::result::Result<Toy, TrainError> {
    joined(ParamStore::new(SEED), config(), ranks).resume(path)
}

#[test]
fn a_run_that_one_rank_stops_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (alone, path) = (folder.path().join("alone"), folder.path().join("run"));
    on_each(2, |ranks| {
        let ended = fit_in(&mut create(&alone, &ranks).expect("new"), |_| false, classify);
        assert_eq!(ended.expect("no error"), Ended::Finished);
    });
    for stop in [1, 7, 8] {
        on_each(2, |ranks| {
            let own = ranks.shard().index == 1;
            let mut toy = create(&path, &ranks).expect("new");
            let ended = fit_in(&mut toy, |step| own && step == stop, classify);
            assert_eq!((ended.expect("no error"), toy.trainer.steps()), (Ended::Interrupted, stop));
        });
        on_each(2, |ranks| {
            let mut toy = resume(&path, &ranks).expect("a run");
            assert_eq!(toy.trainer.steps(), stop);
            assert_eq!(fit_in(&mut toy, |_| false, classify).expect("no error"), Ended::Finished);
        });
        let weights = |path: &Path| fs::read(path.join(MODEL)).expect("weights");
        assert!(weights(&path) == weights(&alone), "stopped after step {stop}");
        assert_eq!(log(&path), log(&alone));
        fs::remove_dir_all(&path).expect("a folder of ours");
    }
}

#[test]
fn an_error_of_one_rank_ends_all_and_leaves_a_run_to_go_on_with() {
    let folder = tempfile::tempdir().expect("a folder");
    for culprit in [0, 1] {
        let path = folder.path().join(format!("run-{culprit}"));
        let errors = on_each(2, |ranks| {
            let own = ranks.shard().index == culprit;
            let mut toy = create(&path, &ranks).expect("new");
            let broken = |model: &Model, batch: &Batch, ctx: &Ctx<'_>| {
                if own && batch.targets.dim(0)? == 1 {
                    candle_core::bail!("a broken example")
                }
                classify(model, batch, ctx)
            };
            let first = fit_in(&mut toy, |_| false, broken).expect_err("a broken example");
            let second = fit_in(&mut toy, |_| false, classify).expect_err("they have parted");
            [first.to_string(), second.to_string()]
        });
        for (rank, [first, second]) in errors.iter().enumerate() {
            let says = if rank == culprit { "a broken" } else { &format!("rank {culprit} failed: a broken") };
            assert!(first.starts_with(says), "{first}");
            assert!(second.contains("have parted"), "{second}");
        }
        on_each(2, |ranks| {
            let mut toy = resume(&path, &ranks).expect("a checkpoint");
            assert_eq!(fit_in(&mut toy, |_| false, classify).expect("no error"), Ended::Finished);
        });
    }
    let told =
        |made: std::result::Result<Toy, TrainError>| made.map(drop).expect_err("it exists").to_string();
    let taken = on_each(2, |ranks| told(create(&folder.path().join("run-0"), &ranks)));
    assert!(taken[1].starts_with("rank 0 failed: ") && taken[1].contains("exists"), "{taken:?}");
    let missing = on_each(2, |ranks| told(resume(&folder.path().join("run-2"), &ranks)));
    assert!(missing[1].starts_with("rank 0 failed: ") && missing[1].contains("holds no run"), "{missing:?}");
}

#[test]
fn what_is_no_number_on_one_rank_ends_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    let errors = on_each(2, |ranks| {
        let own = ranks.shard().index == 1;
        let diverging = |model: &Model, batch: &Batch, ctx: &Ctx<'_>| {
            let outcome = classify(model, batch, ctx)?;
            let spoiled = own && ctx.mode() == nn_core::Mode::Eval;
            let loss = outcome.loss().affine(if spoiled { f64::NAN } else { 1.0 }, 0.0)?;
            outcome.with_loss(loss)
        };
        fit_in(&mut create(&path, &ranks).expect("new"), |_| false, diverging).expect_err("no number")
    });
    assert!(matches!(errors[1], TrainError::Diverged { .. }), "{errors:?}");
    assert!(matches!(errors[0], TrainError::Elsewhere { rank: 1, .. }), "{errors:?}");
    assert!(path.join(CHECKPOINT).is_file());
}

#[test]
fn every_rank_draws_something_else() {
    let draws = on_each(2, |ranks| {
        let drawn = Mutex::new(Vec::new());
        let mut toy = joined(ParamStore::new(SEED), config(), &ranks);
        let noting = |model: &Model, batch: &Batch, ctx: &Ctx<'_>| {
            drawn.lock().expect("no panic").push(ctx.random().block(0));
            classify(model, batch, ctx)
        };
        fit_in(&mut toy, |step| step == 10, noting).expect("no error");
        let mut drawn = drawn.into_inner().expect("no panic");
        drawn.dedup();
        drawn
    });
    let mut all = draws.concat();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert!(count > 20 && all.len() + 2 >= count, "{} of {count} draws are others", all.len());
}

#[test]
fn buffers_are_the_mean_over_all_examples_and_counters_agree() -> Result<()> {
    let means = on_each(2, |ranks| -> Result<(f32, i64)> {
        let store = ParamStore::new(SEED);
        let vb = store.vb(DType::F32, &Device::Cpu).pp("norm");
        let running: Var = nn_core::store::buffer(&vb, 1, "running_mean", 0.0)?;
        // As a batch norm has it; a rank may be without an example of a batch, and count one less.
        let counted = nn_core::store::buffer(&vb.to_dtype(DType::I64), (), "num_batches_tracked", 0.0)?;
        let more = 1 + ranks.shard().index as i64;
        let mut toy = joined(store, config(), &ranks);
        let summing = |model: &Model, batch: &Batch, ctx: &Ctx<'_>| {
            running.set(&batch.targets.to_dtype(DType::F32)?.mean_keepdim(0)?)?;
            counted.set(&Tensor::new(more, &Device::Cpu)?)?;
            classify(model, batch, ctx)
        };
        fit_in(&mut toy, |step| step == 1, summing).expect("no error");
        Ok((running.get(0)?.to_scalar()?, counted.to_scalar()?))
    });
    let means = means.into_iter().collect::<Result<Vec<_>>>()?;
    let whole = loader(Shard::WHOLE, 4, 18, Order::Shuffled).epoch(0).next().expect("a batch")?;
    let expected: f32 = whole.targets.to_dtype(DType::F32)?.mean_all()?.to_scalar()?;
    assert_eq!(means, [(expected, 2), (expected, 2)]);
    Ok(())
}

#[test]
fn loaders_must_have_the_trainers_shard() {
    let mut toy = toy(config());
    let (whole, half) = (Shard::WHOLE, Shard { index: 0, of: 2 });
    for shards in [[half, whole], [whole, half]] {
        let [train, eval] = shards.map(|shard| loader(shard, 2, 18, Order::Sequential));
        let Toy { model, trainer } = &mut toy;
        let error = fit(trainer, &train, &eval, go_on, |batch, ctx| classify(model, batch, ctx));
        let error = error.expect_err("another shard").to_string();
        assert!(error.contains("index: 0, of: 1") && error.contains("of: 2"), "{error}");
    }
    let half = loader(half, 2, 7, Order::Sequential);
    let own = evaluate(&half, go_on, |batch, ctx| classify(&toy.model, batch, ctx)).expect("no error");
    assert_eq!(own.expect("not stopped").examples(), 3);
}
