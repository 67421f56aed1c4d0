//! Batches in order, made on threads of their own while the one before them trains.

use std::any::Any;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use candle_core::{Error, Result};
use nn_core::{Random, ensure};

use super::queue::{Maker, Taker, queue};
use super::sampling::Weighted;
use super::{Dataset, Shard};

/// In which order the examples of an epoch come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As the data set has them.
    #[default]
    Sequential,
    /// Permuted anew in every epoch.
    Shuffled,
}

/// Options of [`Loader`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderConfig {
    /// Examples in a batch, of each shard; an epoch's last batch has what is left.
    pub batch_size: usize,
    /// In which order the examples come.
    pub order: Order,
    /// How many batches may wait to be taken, besides those that are being made, one by each worker. Rounded up to a
    /// multiple of the workers; it bounds the memory. A worker whose share is full goes on when half of it is left.
    pub prefetch: usize,
    /// Threads that make batches. One is enough for data in memory; files to decode and augment want one a core. What
    /// a batch holds does not depend on it.
    pub workers: usize,
    /// The part of every batch that is given out here.
    pub shard: Shard,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self { batch_size: 1, order: Order::Sequential, prefetch: 4, workers: 1, shard: Shard::WHOLE }
    }
}

/// Gives out a data set in batches, epoch by epoch.
///
/// Loaders that differ in their [`Shard`] alone give out the batches of one with `of` times the batch size, each a part
/// of every batch.
///
/// What epoch `n` holds depends on the data set, the options, `random` and `n` alone: not on the epochs before it, not
/// on who asks when. An interrupted epoch can therefore be taken up where it was left.
#[derive(Debug)]
pub struct Loader<D> {
    data: Arc<D>,
    config: LoaderConfig,
    random: Random,
    /// How often each example comes, where that is not once.
    weights: Option<Weighted>,
}

impl<D: Dataset> Loader<D> {
    /// Shuffles and augments with what `random` yields.
    ///
    /// # Errors
    /// If the batch size is 0, there are no workers, or the data set has more than 2³² − 1 examples.
    pub fn new(data: Arc<D>, config: LoaderConfig, random: Random) -> Result<Self> {
        ensure!(config.batch_size > 0, "Loader: the batch size must be positive, got 0");
        ensure!(config.workers > 0, "Loader: there must be a worker, got 0");
        config.shard.check()?;
        ensure!(u32::try_from(data.len()).is_ok(), "Loader: at most 2³² − 1 examples, got {}", data.len());
        Ok(Self { data, config, random, weights: None })
    }

    /// Draws the examples of an epoch by their weights, as many as there are and each again and again, whatever
    /// [`LoaderConfig::order`] says; [`balanced`](super::balanced) has weights for classes of unlike sizes.
    ///
    /// ```
    /// # use candle_core::{Device, Tensor};
    /// # use nn_core::Random;
    /// use nn_train::data::{Loader, LoaderConfig, TensorSet, balanced};
    ///
    /// let labels: Vec<u32> = (0..1000).map(|i| u32::from(i % 10 == 0)).collect();
    /// let targets = Tensor::new(&labels[..], &Device::Cpu)?;
    /// let set = TensorSet::new(targets.clone(), targets)?;
    /// let loader = Loader::new(set.into(), LoaderConfig::default(), Random::new(0))?.weighted(&balanced(&labels))?;
    /// let mut ones = 0;
    /// for batch in loader.epoch(0) {
    ///     ones += batch?.targets.sum_all()?.to_scalar::<u32>()?;
    /// }
    /// assert!((400..600).contains(&ones)); // a tenth of the examples, half of what is drawn
    /// # candle_core::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// If there is not one weight an example, one is negative or not finite, or none is above 0.
    pub fn weighted(self, weights: &[f64]) -> Result<Self> {
        let (count, got) = (self.data.len(), weights.len());
        ensure!(got == count, "Loader: one weight an example, {count}, got {got}");
        Ok(Self { weights: Some(Weighted::new(weights)?), ..self })
    }

    /// The data set behind it.
    pub fn data(&self) -> &Arc<D> {
        &self.data
    }

    /// The options it was made with.
    pub fn config(&self) -> LoaderConfig {
        self.config
    }

    /// How many batches an epoch has: `⌈examples / batch size⌉`, with all shards' examples in a batch.
    pub fn batches_per_epoch(&self) -> usize {
        self.data.len().div_ceil(self.whole())
    }

    /// Examples of a batch in all shards together.
    fn whole(&self) -> usize {
        self.config.batch_size.saturating_mul(self.config.shard.of)
    }

    /// The places in the order of an epoch of the examples that this shard has in batch `n`; of the last it may have none.
    pub fn places(&self, n: usize) -> Range<usize> {
        let begin = n.saturating_mul(self.whole()).min(self.data.len());
        let part = self.config.shard.part((self.data.len() - begin).min(self.whole()));
        begin + part.start..begin + part.end
    }

    /// How many batches of an epoch have an example in this shard: all, or all but the last.
    fn own_batches(&self) -> usize {
        let all = self.batches_per_epoch();
        if all > 0 && self.places(all - 1).is_empty() { all - 1 } else { all }
    }

    /// The indices of the examples in the order of epoch `n`.
    pub fn order(&self, n: u64) -> Vec<usize> {
        let random = self.random.at("order").nth(n);
        let order = match (&self.weights, self.config.order) {
            (Some(weights), _) => weights.draw(random),
            (None, Order::Sequential) => return (0..self.data.len()).collect(),
            (None, Order::Shuffled) => {
                let mut order: Vec<usize> = (0..self.data.len()).collect();
                random.draws().shuffle(&mut order);
                order
            }
        };
        self.data.arrange(order, self.whole(), random.at("arrange"))
    }

    /// All batches of epoch `n`.
    pub fn epoch(&self, n: u64) -> Epoch<D::Batch> {
        self.epoch_from(n, 0)
    }

    /// The batches of epoch `n` but for its first `first_batch`: bit for bit those that [`Self::epoch`] gives there. A
    /// batch without an example in this shard is left out.
    ///
    /// If the epoch has fewer batches than that, the one item is an error.
    pub fn epoch_from(&self, n: u64, first_batch: usize) -> Epoch<D::Batch> {
        let all = self.batches_per_epoch();
        if first_batch > all {
            let message = format!("Loader: an epoch has {all} batches, cannot go on after {first_batch}");
            return Epoch::failed(Error::Msg(message));
        }
        let left = self.own_batches().saturating_sub(first_batch);
        let workers = self.config.workers.min(left);
        let (order, random) = (Arc::new(self.order(n)), self.random.at("examples").nth(n));
        let start = |worker| self.start(Arc::clone(&order), random, first_batch + worker, workers);
        match (0..workers).map(start).collect() {
            Ok(workers) => Epoch { state: State::Running(workers), left },
            Err(e) => Epoch::failed(e),
        }
    }

    /// Starts a thread that makes every `stride`-th batch from `first` on.
    fn start(
        &self,
        order: Arc<Vec<usize>>,
        random: Random,
        first: usize,
        stride: usize,
    ) -> Result<Worker<D::Batch>> {
        let data = Arc::clone(&self.data);
        let (maker, taker) = queue(self.config.prefetch.div_ceil(stride));
        // What comes twice in an epoch, here or in another shard, is not to be augmented twice in the same way.
        let (repeats, shard) = (self.weights.is_some(), self.config.shard);
        let batches = (first..self.own_batches()).step_by(stride).map(|n| {
            let random = if repeats { random.nth((n * shard.of + shard.index) as u64) } else { random };
            (self.places(n), random)
        });
        let batches: Vec<_> = batches.collect();
        let work = move || {
            let batches = batches.into_iter().map(|(places, random)| (&order[places], random));
            produce(&*data, batches, &maker);
        };
        let thread = thread::Builder::new().name("loader".to_owned()).spawn(work);
        let thread = thread.map_err(|e| Error::Msg(format!("Loader: cannot start its thread: {e}")))?;
        Ok(Worker { batches: taker, thread })
    }
}

/// Makes one batch after the other until there are no more, one fails, or nobody wants them.
fn produce<'a, D: Dataset>(
    data: &D,
    batches: impl Iterator<Item = (&'a [usize], Random)>,
    maker: &Maker<Result<D::Batch>>,
) {
    for (indices, random) in batches {
        let batch = data.batch(indices, random);
        let failed = batch.is_err();
        if maker.put(batch).is_err() || failed {
            return;
        }
    }
}

/// The batches of one epoch; see [`Loader::epoch`].
///
/// An error or a panic of the data set is an item, the last one. Dropping this early ends the threads, once each has
/// finished the batch it is at.
#[derive(Debug)]
pub struct Epoch<B> {
    state: State<B>,
    /// Batches that are still to come.
    left: usize,
}

/// A thread, and where it puts its batches.
#[derive(Debug)]
struct Worker<B> {
    batches: Taker<Result<B>>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
enum State<B> {
    /// The workers take turns; it is the first one's.
    Running(VecDeque<Worker<B>>),
    Failed(Error),
    Over,
}

impl<B> Epoch<B> {
    fn failed(error: Error) -> Self {
        Self { state: State::Failed(error), left: 1 }
    }

    /// Ends the epoch and its threads; what one of them died of, if one did.
    fn stop(&mut self) -> Option<Error> {
        self.left = 0;
        match std::mem::replace(&mut self.state, State::Over) {
            State::Running(workers) => {
                // Threads may be waiting for room: they must see that nobody takes batches any more.
                let threads: Vec<_> = workers.into_iter().map(|worker| worker.thread).collect();
                let died = threads.into_iter().filter_map(|thread| thread.join().err());
                let died =
                    died.map(|panic| Error::Msg(format!("Loader: the data set panicked: {}", said(&*panic))));
                // Each is joined.
                died.collect::<Vec<_>>().into_iter().next()
            }
            State::Failed(error) => Some(error),
            State::Over => None,
        }
    }
}

/// The message of a panic.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

impl<B> Iterator for Epoch<B> {
    type Item = Result<B>;

    fn next(&mut self) -> Option<Self::Item> {
        let worker = match &mut self.state {
            State::Running(workers) if self.left > 0 => workers.pop_front(),
            _ => None,
        };
        let Some(worker) = worker else { return self.stop().map(Err) };
        let batch = worker.batches.take();
        if let State::Running(workers) = &mut self.state {
            workers.push_back(worker);
        }
        match batch {
            Some(Ok(batch)) => {
                self.left -= 1;
                Some(Ok(batch))
            }
            Some(Err(error)) => {
                self.stop();
                Some(Err(error))
            }
            // The thread is gone before its turn was over: it panicked.
            None => self.stop().map(Err),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

impl<B> Drop for Epoch<B> {
    fn drop(&mut self) {
        // Nobody asks any more, so there is nobody to tell.
        let _ = self.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    /// Yields the indices asked for and a draw for each; fails or panics at one of them.
    #[derive(Default, Debug)]
    struct Numbers {
        len: usize,
        fails_at: Option<usize>,
        panics_at: Option<usize>,
        made: AtomicUsize,
    }

    impl Dataset for Numbers {
        type Batch = Vec<(usize, u32)>;

        fn len(&self) -> usize {
            self.len
        }

        fn batch(&self, indices: &[usize], random: Random) -> Result<Self::Batch> {
            self.made.fetch_add(1, SeqCst);
            assert!(
                !indices.iter().any(|&i| Some(i) == self.panics_at),
                "example {:?} is poison",
                self.panics_at
            );
            ensure!(
                !indices.iter().any(|&i| Some(i) == self.fails_at),
                "example {:?} is broken",
                self.fails_at
            );
            Ok(indices.iter().map(|&i| (i, random.nth(i as u64).block(0)[0])).collect())
        }
    }

    fn numbers(len: usize) -> Arc<Numbers> {
        Arc::new(Numbers { len, ..Numbers::default() })
    }

    fn loader(data: &Arc<Numbers>, batch_size: usize, order: Order, prefetch: usize) -> Loader<Numbers> {
        let config = LoaderConfig { batch_size, order, prefetch, ..LoaderConfig::default() };
        Loader::new(Arc::clone(data), config, Random::new(5)).expect("a good configuration")
    }

    fn with_workers(loader: &Loader<Numbers>, workers: usize) -> Loader<Numbers> {
        let config = LoaderConfig { workers, ..loader.config() };
        Loader::new(Arc::clone(loader.data()), config, loader.random).expect("a good configuration")
    }

    fn batches(epoch: Epoch<Vec<(usize, u32)>>) -> Vec<Vec<(usize, u32)>> {
        epoch.collect::<Result<_>>().expect("no example is broken")
    }

    #[test]
    fn every_example_comes_once_an_epoch() {
        for (len, batch_size, sizes) in [
            (10, 4, &[4, 4, 2][..]),
            (8, 4, &[4, 4]),
            (3, 7, &[3]),
            (3, usize::MAX, &[3]),
            (3, 1, &[1, 1, 1]),
            (0, 4, &[]),
        ] {
            for order in [Order::Sequential, Order::Shuffled] {
                for prefetch in [0, 1, 2, 100] {
                    let loader = loader(&numbers(len), batch_size, order, prefetch);
                    let epoch = batches(loader.epoch(0));
                    assert_eq!(epoch.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
                    assert_eq!(loader.batches_per_epoch(), sizes.len());
                    let mut seen: Vec<usize> = epoch.concat().into_iter().map(|(i, _)| i).collect();
                    assert_eq!(seen, loader.order(0));
                    seen.sort_unstable();
                    assert_eq!(seen, (0..len).collect::<Vec<_>>());
                }
            }
        }
        assert_eq!(loader(&numbers(5), 2, Order::Sequential, 2).order(3), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn an_epoch_depends_on_seed_and_number_only() {
        let data = numbers(100);
        let one = loader(&data, 8, Order::Shuffled, 2);
        let two = loader(&data, 8, Order::Shuffled, 7);
        let first = batches(one.epoch(0));
        // Two did not go through epoch 0 before its epoch 1.
        assert_eq!(batches(one.epoch(1)), batches(two.epoch(1)));
        assert_eq!(first, batches(two.epoch(0)));
        let second = batches(one.epoch(1));
        assert_ne!(first, second);
        assert_ne!(one.order(0), one.order(1));
        // What happens to an example in another epoch is something else too.
        let draw =
            |epoch: &[Vec<(usize, u32)>]| epoch.concat().into_iter().find(|&(i, _)| i == 42).map(|(_, d)| d);
        assert_ne!(draw(&first), draw(&second));
        let other =
            Loader::new(Arc::clone(&data), one.config(), Random::new(6)).expect("a good configuration");
        assert_ne!(one.order(0), other.order(0));
    }

    #[test]
    fn weights_say_how_often_an_example_comes() -> Result<()> {
        let weights: Vec<f64> = (0..22).map(|i| f64::from(u8::from(i >= 20)) + 1e-3).collect();
        let of = |seed| {
            let config = LoaderConfig { batch_size: 4, ..LoaderConfig::default() };
            Loader::new(numbers(22), config, Random::new(seed))?.weighted(&weights)
        };
        let loader = of(5)?;
        let order = loader.order(3);
        assert_eq!((order.len(), loader.batches_per_epoch()), (22, 6));
        assert!(order.iter().filter(|&&i| i >= 20).count() > 18, "{order:?}");
        assert_eq!(order, of(5)?.order(3));
        assert_ne!(order, loader.order(4));
        assert_ne!(order, of(6)?.order(3));
        let whole = batches(loader.epoch(3));
        assert_eq!(whole.concat().iter().map(|(i, _)| *i).collect::<Vec<_>>(), order);
        for done in 0..=whole.len() {
            assert_eq!(batches(loader.epoch_from(3, done)), whole[done..], "after {done}");
        }
        // The draws of the two that come again and again.
        let mut draws: Vec<(usize, u32)> = whole.concat().into_iter().filter(|(i, _)| *i >= 20).collect();
        draws.sort_unstable();
        draws.dedup();
        assert!(draws.len() > 6, "{draws:?}");
        let error = of(5)?.weighted(&weights[1..]).expect_err("one too few").to_string();
        assert!(error.contains("one weight an example, 22, got 21"), "{error}");
        Ok(())
    }

    #[test]
    fn an_epoch_taken_up_gives_the_batches_that_were_left() {
        for order in [Order::Sequential, Order::Shuffled] {
            let loader = loader(&numbers(22), 4, order, 2);
            let whole = batches(loader.epoch(3));
            for done in 0..=whole.len() {
                assert_eq!(batches(loader.epoch_from(3, done)), whole[done..], "after {done}");
            }
            let mut beyond = loader.epoch_from(3, 7);
            let error = beyond.next().expect("an item").expect_err("out of range").to_string();
            assert!(error.contains("an epoch has 6 batches, cannot go on after 7"), "{error}");
            assert!(beyond.next().is_none());
        }
    }

    #[test]
    fn shards_are_parts_of_every_batch() {
        for (len, each, of) in [(24, 4, 2), (23, 4, 2), (25, 4, 3), (26, 4, 3), (1, 4, 3), (0, 4, 2)] {
            let data = numbers(len);
            let whole = loader(&data, each * of, Order::Shuffled, 2);
            for first in [0, 1.min(whole.batches_per_epoch())] {
                let expected = batches(whole.epoch_from(2, first));
                let shards = (0..of).map(|index| {
                    let config = LoaderConfig {
                        batch_size: each,
                        shard: Shard { index, of },
                        workers: 2,
                        ..whole.config()
                    };
                    let shard = Loader::new(Arc::clone(&data), config, whole.random).expect("a good one");
                    assert_eq!(shard.batches_per_epoch(), whole.batches_per_epoch());
                    batches(shard.epoch_from(2, first))
                });
                let shards: Vec<_> = shards.collect();
                for (n, batch) in expected.iter().enumerate() {
                    let parts: Vec<_> = shards.iter().filter_map(|shard| shard.get(n).cloned()).collect();
                    assert!(parts.iter().all(|part| !part.is_empty() && part.len() <= each));
                    assert_eq!(parts.concat(), *batch, "{len} {of} {n}");
                }
            }
        }
    }

    #[test]
    fn workers_change_nothing_but_the_time() {
        let one = loader(&numbers(23), 3, Order::Shuffled, 2);
        for workers in [2, 3, 7, 100] {
            for (prefetch, first) in [(0, 0), (1, 0), (2, 3), (9, 7), (2, 8)] {
                let many = with_workers(&one, workers);
                let many = Loader { config: LoaderConfig { prefetch, ..many.config }, ..many };
                assert_eq!(
                    batches(many.epoch_from(4, first)),
                    batches(one.epoch_from(4, first)),
                    "{workers}"
                );
            }
        }
    }

    #[test]
    fn workers_work_at_the_same_time() {
        /// Each batch waits until the other one is being made as well.
        struct Meeting(std::sync::Barrier);
        impl Dataset for Meeting {
            type Batch = usize;
            fn len(&self) -> usize {
                4
            }
            fn batch(&self, indices: &[usize], _: Random) -> Result<usize> {
                self.0.wait();
                Ok(indices[0])
            }
        }
        let config = LoaderConfig { workers: 2, ..LoaderConfig::default() };
        let loader = Loader::new(Arc::new(Meeting(std::sync::Barrier::new(2))), config, Random::new(0));
        let epoch = loader.expect("a good configuration").epoch(0);
        assert_eq!(epoch.collect::<Result<Vec<_>>>().expect("no errors"), [0, 1, 2, 3]);
    }

    #[test]
    fn dropping_an_epoch_ends_its_threads() {
        let data = numbers(1_000);
        for (taken, prefetch, workers) in [
            (0, 0, 1),
            (0, 2, 1),
            (1, 2, 1),
            (5, 1, 1),
            (1_000, 2, 1),
            (0, 0, 2),
            (5, 2, 2),
            (7, 6, 3),
            (1_000, 2, 2),
        ] {
            data.made.store(0, SeqCst);
            let loader = with_workers(&loader(&data, 1, Order::Sequential, prefetch), workers);
            let mut epoch = loader.epoch(0);
            assert!(epoch.by_ref().take(taken).all(|batch| batch.is_ok()));
            drop(epoch);
            drop(loader);
            // The threads held the data set, so they are over when nobody else does.
            assert_eq!(Arc::strong_count(&data), 1);
            // One a worker beyond what fits in the queues is in the making.
            let made = data.made.load(SeqCst);
            assert!(made <= taken + prefetch + workers, "{made} batches made for {taken}");
        }
    }

    #[test]
    fn errors_and_panics_reach_the_one_who_asks() {
        let broken = Numbers { len: 10, fails_at: Some(5), ..Numbers::default() };
        let poison = Numbers { len: 10, panics_at: Some(5), ..Numbers::default() };
        let cases = [(broken, "example Some(5) is broken"), (poison, "panicked: example Some(5) is poison")];
        let cases = cases.map(|(data, says)| (Arc::new(data), says));
        for ((data, says), workers) in cases.iter().flat_map(|case| [1, 2, 9].map(|workers| (case, workers)))
        {
            let mut epoch = with_workers(&loader(data, 2, Order::Sequential, 2), workers).epoch(0);
            assert!(epoch.next().is_some_and(|batch| batch.is_ok()));
            assert!(epoch.next().is_some_and(|batch| batch.is_ok()));
            let error = epoch.next().expect("an item").expect_err("the third batch").to_string();
            assert!(error.contains(says), "{says:?} not in {error}");
            assert!(epoch.next().is_none() && epoch.next().is_none());
            assert_eq!(Arc::strong_count(data), 1);
        }
    }

    #[test]
    fn a_batch_of_nothing_is_refused() {
        let config = LoaderConfig { batch_size: 0, ..LoaderConfig::default() };
        let error = Loader::new(numbers(3), config, Random::new(0)).expect_err("refused").to_string();
        assert!(error.contains("batch size must be positive, got 0"), "{error}");
        let config = LoaderConfig { workers: 0, ..LoaderConfig::default() };
        let error = Loader::new(numbers(3), config, Random::new(0)).expect_err("refused").to_string();
        assert!(error.contains("there must be a worker, got 0"), "{error}");
        let error = Loader::new(numbers(1 << 32), LoaderConfig::default(), Random::new(0));
        assert!(error.expect_err("refused").to_string().contains("got 4294967296"));
    }
}
