//! Some of the examples of a data set.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Result;
use nn_core::{Random, ensure};

use super::Dataset;

/// The examples at chosen indices of another data set, which stays in one place however many portions it has: what is
/// trained on and what is held out for validation, say.
#[derive(Debug)]
pub struct Portion<D> {
    data: Arc<D>,
    indices: Vec<usize>,
}

impl<D: Dataset> Portion<D> {
    /// Those at `indices`, in that order.
    ///
    /// # Errors
    /// If an index is past the end.
    pub fn new(data: Arc<D>, indices: Vec<usize>) -> Result<Self> {
        let len = data.len();
        let beyond = indices.iter().find(|&&index| index >= len);
        ensure!(beyond.is_none(), "Portion: there are {len} examples, got index {}", beyond.unwrap_or(&0));
        Ok(Self { data, indices })
    }

    /// All of them.
    pub fn whole(data: Arc<D>) -> Self {
        let indices = (0..data.len()).collect();
        Self { data, indices }
    }

    /// The data set it is a portion of.
    pub fn data(&self) -> &Arc<D> {
        &self.data
    }

    /// The place there of each of its examples.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    fn places(&self, indices: &[usize]) -> Result<Vec<usize>> {
        let place = |&index: &usize| {
            let Some(&place) = self.indices.get(index) else {
                candle_core::bail!("Portion: there are {} examples, got index {index}", self.indices.len())
            };
            Ok(place)
        };
        indices.iter().map(place).collect()
    }
}

impl<D: Dataset> Dataset for Portion<D> {
    type Batch = D::Batch;

    fn len(&self) -> usize {
        self.indices.len()
    }

    fn batch(&self, indices: &[usize], random: Random) -> Result<D::Batch> {
        self.data.batch(&self.places(indices)?, random)
    }

    /// As the whole would arrange these examples.
    fn arrange(&self, order: Vec<usize>, batch_size: usize, random: Random) -> Vec<usize> {
        let Ok(places) = self.places(&order) else { return order };
        let own: BTreeMap<usize, usize> = places.iter().copied().zip(order).collect();
        let arranged = self.data.arrange(places, batch_size, random);
        arranged.into_iter().filter_map(|place| own.get(&place).copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives out indices, and puts even ones first.
    #[derive(Debug)]
    struct Numbers(usize);

    impl Dataset for Numbers {
        type Batch = Vec<usize>;

        fn len(&self) -> usize {
            self.0
        }

        fn batch(&self, indices: &[usize], _: Random) -> Result<Vec<usize>> {
            Ok(indices.to_vec())
        }

        fn arrange(&self, mut order: Vec<usize>, _: usize, _: Random) -> Vec<usize> {
            order.sort_by_key(|index| index % 2);
            order
        }
    }

    #[test]
    fn a_portion_is_a_data_set_of_its_own() -> Result<()> {
        let data = Arc::new(Numbers(10));
        let portion = Portion::new(Arc::clone(&data), vec![9, 4, 7, 2])?;
        assert_eq!(portion.len(), 4);
        assert_eq!(portion.batch(&[3, 0, 1], Random::new(0))?, [2, 9, 4]);
        assert_eq!(portion.arrange(vec![0, 1, 2, 3], 2, Random::new(0)), [1, 3, 0, 2]);
        assert_eq!(Portion::whole(data).batch(&[0, 9], Random::new(0))?, [0, 9]);
        Ok(())
    }

    #[test]
    fn what_is_not_there_is_refused() -> Result<()> {
        let error = Portion::new(Arc::new(Numbers(3)), vec![0, 3]).expect_err("three examples").to_string();
        assert!(error.contains("3 examples, got index 3"), "{error}");
        let portion = Portion::new(Arc::new(Numbers(3)), vec![2])?;
        let error = portion.batch(&[1], Random::new(0)).expect_err("one example").to_string();
        assert!(error.contains("1 examples, got index 1"), "{error}");
        Ok(())
    }
}
