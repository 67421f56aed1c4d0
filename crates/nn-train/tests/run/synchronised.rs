//! Batch norms of several ranks that go by the statistics of all their examples.

use std::result::Result;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::Init;
use nn_core::ops::{BatchNorm, RunningStatistics, batch_norm, linear};
use nn_core::store::buffer;
use nn_core::{Ctx, ParamStore};
use nn_train::data::{Batch, Order};
use nn_train::{FitConfig, Norms, Outcome, Ranks, TrainError, Trainer, fit};

use crate::ranks::{loader, on_each};
use crate::toy::{SEED, config, go_on};

/// Two linear layers with a norm between.
struct Normed {
    weights: [Tensor; 2],
    affine: [Tensor; 2],
    running: RunningStatistics,
}

impl Normed {
    fn new(store: &ParamStore) -> candle_core::Result<Self> {
        let vb = store.vb(DType::F32, &Device::Cpu);
        let weight = |name: &str, shape: [usize; 2]| {
            vb.get_with_hints(&shape[..], name, Init::Randn { mean: 0.0, stdev: 0.5 })
        };
        let affine = |name: &str, value| vb.get_with_hints(6, name, Init::Const(value));
        let statistic = |name: &str, value| buffer(&vb, 6, name, value);
        Ok(Self {
            weights: [weight("first.weight", [6, 3])?, weight("second.weight", [3, 6])?],
            affine: [affine("norm.weight", 1.0)?, affine("norm.bias", 0.0)?],
            running: RunningStatistics {
                mean: statistic("norm.running_mean", 0.0)?,
                variance: statistic("norm.running_var", 1.0)?,
                batches: buffer(&vb.to_dtype(DType::I64), (), "norm.num_batches_tracked", 0.0)?,
            },
        })
    }

    fn classify(&self, batch: &Batch, ctx: &Ctx<'_>) -> candle_core::Result<Outcome> {
        let [first, second] = &self.weights;
        let [weight, bias] = &self.affine;
        let x = linear(&batch.inputs, first, None)?;
        let x = batch_norm(&x, Some([weight, bias]), Some(&self.running), BatchNorm::default(), ctx)?;
        Outcome::classification(&linear(&x, second, None)?, &batch.targets)
    }
}

/// Everything the store holds after a run on this rank's shards of batches of `size`.
fn train(
    ranks: Option<Arc<dyn Ranks>>,
    size: usize,
    norms: Norms,
    spoil: impl Fn(&Batch) -> candle_core::Result<()>,
) -> Result<Vec<f32>, TrainError> {
    let store = ParamStore::new(SEED);
    let model = Normed::new(&store)?;
    let mut trainer = Trainer::new(&store, FitConfig { norms, ..config() })?;
    ranks.into_iter().for_each(|ranks| trainer.join(ranks));
    let shard = trainer.shard();
    let (train, eval) = (loader(shard, size, 19, Order::Shuffled), loader(shard, size, 7, Order::Sequential));
    fit(&mut trainer, &train, &eval, go_on, |batch, ctx| {
        spoil(batch)?;
        model.classify(batch, ctx)
    })?;
    let numbers = |t: &Tensor| t.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    let all = store.tensors().values().map(numbers).collect::<candle_core::Result<Vec<_>>>()?;
    Ok(all.concat())
}

fn apart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn their_statistics_are_those_of_one_process_with_the_whole_batch() -> Result<(), TrainError> {
    // Batches of 8, 8 and 3 examples: of the last, two ranks have unlike parts, and one of four has none.
    for (of, size) in [(2, 4), (4, 2)] {
        let alone = train(None, of * size, Norms::Batch, |_| Ok(()))?;
        let together = |norms| on_each(of, |ranks| train(Some(ranks), size, norms, |_| Ok(())));
        for rank in together(Norms::Synchronised) {
            assert!(apart(&rank?, &alone) < 1e-5, "{of} ranks");
        }
        // Each by itself, one example has no variance.
        for rank in together(Norms::Batch) {
            let error = rank.expect_err("one number a channel").to_string();
            assert!(error.contains("more than one number a channel"), "{error}");
        }
    }
    Ok(())
}

/// A rank may fail before a norm, where the others wait for its statistics.
#[test]
fn an_error_before_a_norm_ends_all() {
    for (of, culprit) in [(2, 1), (4, 1), (4, 3)] {
        let errors = on_each(of, |ranks| {
            let own = ranks.shard().index == culprit;
            let spoil = |batch: &Batch| {
                // In the last batch, for which one of four ranks is at its meeting already.
                if own && batch.targets.dim(0)? < 8 / of {
                    candle_core::bail!("a broken example")
                }
                Ok(())
            };
            train(Some(ranks), 8 / of, Norms::Synchronised, spoil).expect_err("a broken example").to_string()
        });
        for (rank, error) in errors.iter().enumerate() {
            let says = if rank == culprit { "a broken" } else { &format!("rank {culprit} failed: a broken") };
            assert!(error.starts_with(says), "rank {rank} of {of}: {error}");
        }
    }
}

/// What is trained alone has nobody to ask.
#[test]
fn alone_they_are_as_always() -> Result<(), TrainError> {
    let one = |norms| train(None, 4, norms, |_| Ok(()));
    assert_eq!(one(Norms::Synchronised)?, one(Norms::Batch)?);
    Ok(())
}
