//! A linear-chain conditional random field: labels chosen together, each with an eye on its neighbours.
//!
//! Source: Lafferty, McCallum & Pereira 2001, "Conditional random fields: probabilistic models for segmenting and labeling
//! sequence data", ICML, §3; Viterbi 1967, "Error bounds for convolutional codes and an asymptotically optimum decoding
//! algorithm". Names and start values are those of the package `pytorch-crf`.

use candle_core::{DType, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use nn_core::ensure;
use nn_core::ops::{CrfWeights, Reduction, crf_loss};

/// Scores of labels beside their neighbours, and of the first and the last one.
///
/// Parameters: `transitions [C, C]`, at `[i, j]` of label `j` right after label `i`; `start_transitions [C]` and
/// `end_transitions [C]`; all uniform in ±0.1 at the start.
#[derive(Clone, Debug)]
pub struct Crf {
    weights: CrfWeights,
}

impl Crf {
    /// For `classes` labels.
    ///
    /// # Errors
    /// If there are none, or `vb` has the names with other shapes.
    pub fn new(classes: usize, vb: VarBuilder) -> Result<Self> {
        ensure!(classes > 0, "Crf: there must be at least one class");
        let init = Init::Uniform { lo: -0.1, up: 0.1 };
        let weights = CrfWeights {
            transitions: vb.get_with_hints((classes, classes), "transitions", init)?,
            start: vb.get_with_hints(classes, "start_transitions", init)?,
            end: vb.get_with_hints(classes, "end_transitions", init)?,
        };
        Ok(Self { weights })
    }

    /// `−ln` of the probability of the labels: emissions `[B, T, C]` and labels `[B, T]` → a scalar, or `[B]` with
    /// [`Reduction::None`]; see [`crf_loss`].
    ///
    /// # Errors
    /// If shapes do not belong together, a label is no class, or a length is not in `1..=T`.
    pub fn loss(
        &self,
        emissions: &Tensor,
        labels: &Tensor,
        lengths: Option<&[usize]>,
        reduction: Reduction,
    ) -> Result<Tensor> {
        crf_loss(emissions, &self.weights, labels, lengths, reduction)
    }

    /// The likeliest labels of each sequence for emissions `[B, T, C]`, as many as it has steps; of equally likely ones
    /// those with the smaller numbers at the end.
    ///
    /// # Errors
    /// If emissions are of another shape, there is not one length a sequence, or one is not in `1..=T`.
    pub fn decode(&self, emissions: &Tensor, lengths: Option<&[usize]>) -> Result<Vec<Vec<u32>>> {
        let (batch, steps, classes) = emissions.dims3()?;
        let wide = |x: &Tensor| x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
        let CrfWeights { transitions, start, end } = &self.weights;
        ensure!(
            classes == start.elem_count() && steps > 0,
            "Crf: emissions must be [B, T, {}] with at least one step, got {:?}",
            start.elem_count(),
            emissions.dims()
        );
        let viterbi = Viterbi { transitions: wide(transitions)?, start: wide(start)?, end: wide(end)? };
        let emissions = wide(emissions)?;
        let lengths = lengths.map_or_else(|| vec![steps; batch], <[usize]>::to_vec);
        ensure!(lengths.len() == batch, "Crf: one length a sequence of {batch}, got {}", lengths.len());
        let sequences = emissions.chunks_exact(steps * classes).zip(lengths).enumerate();
        sequences
            .map(|(b, (emissions, length))| {
                ensure!(
                    (1..=steps).contains(&length),
                    "Crf: the length of sequence {b} must be in 1..={steps}, got {length}"
                );
                Ok(viterbi.decode(&emissions[..length * classes]))
            })
            .collect()
    }
}

struct Viterbi {
    transitions: Vec<f64>,
    start: Vec<f64>,
    end: Vec<f64>,
}

impl Viterbi {
    /// The best way through the emissions `[T, C]`.
    fn decode(&self, emissions: &[f64]) -> Vec<u32> {
        let classes = self.start.len();
        let mut steps = emissions.chunks_exact(classes);
        let sum = |(a, b): (&f64, &f64)| a + b;
        // Of the best way to each label, its score; and of all steps but the first, where it came from.
        let mut best: Vec<f64> = steps.next().unwrap_or_default().iter().zip(&self.start).map(sum).collect();
        let mut came_from = Vec::with_capacity(emissions.len());
        for emissions in steps {
            let ways = (0..classes)
                .map(|j| largest((0..classes).map(|i| best[i] + self.transitions[i * classes + j])));
            let ways: Vec<(usize, f64)> = ways.collect();
            came_from.extend(ways.iter().map(|way| way.0));
            best = ways.iter().zip(emissions).map(|(way, emission)| way.1 + emission).collect();
        }
        let (mut label, _) = largest(best.iter().zip(&self.end).map(sum));
        let mut labels = vec![label as u32];
        for from in came_from.chunks_exact(classes).rev() {
            label = from[label];
            labels.push(label as u32);
        }
        labels.reverse();
        labels
    }
}

/// The first of the largest, and where it is.
fn largest(xs: impl Iterator<Item = f64>) -> (usize, f64) {
    let first = (0, f64::NEG_INFINITY);
    xs.enumerate().fold(first, |best, x| if x.1 > best.1 { x } else { best })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use nn_core::ParamStore;
    use nn_core::testing::randn;

    use super::*;

    fn crf(classes: usize) -> Result<Crf> {
        let store = ParamStore::new(0);
        let crf = Crf::new(classes, store.vb(DType::F64, &Device::Cpu))?;
        for (n, (_, var)) in store.parameters().into_iter().enumerate() {
            var.set(&randn(n as u64, var.dims())?)?;
        }
        Ok(crf)
    }

    /// The loss of every labelling is no smaller, so all of them are tried.
    #[test]
    fn what_is_decoded_is_likelier_than_any_other() -> Result<()> {
        let crf = crf(3)?;
        let emissions = randn(7, (4, 5, 3))?;
        let lengths = [5, 1, 3, 4];
        let decoded = crf.decode(&emissions, Some(&lengths))?;
        for (b, &length) in lengths.iter().enumerate() {
            let own = emissions.narrow(0, b, 1)?.narrow(1, 0, length)?;
            let loss = |labels: Vec<u32>| -> Result<f64> {
                let labels = Tensor::from_vec(labels, (1, length), &Device::Cpu)?;
                crf.loss(&own, &labels, None, Reduction::Sum)?.to_scalar::<f64>()
            };
            let mut best = (f64::INFINITY, Vec::new());
            let mut total = 0.0;
            for n in 0..3usize.pow(length as u32) {
                let labels: Vec<u32> = (0..length).map(|t| (n / 3usize.pow(t as u32) % 3) as u32).collect();
                let loss = loss(labels.clone())?;
                total += (-loss).exp();
                if loss < best.0 {
                    best = (loss, labels);
                }
            }
            assert_eq!(decoded[b], best.1);
            assert!((total - 1.0).abs() < 1e-12, "probabilities sum up to {total}");
        }
        Ok(())
    }

    #[test]
    fn mistakes_are_named() -> Result<()> {
        let crf = crf(3)?;
        for (shape, lengths, rule) in [
            ([2, 4, 5], None, "emissions must be [B, T, 3] with at least one step, got [2, 4, 5]"),
            ([2, 0, 3], None, "with at least one step"),
            ([2, 4, 3], Some(&[4][..]), "one length a sequence of 2, got 1"),
            ([2, 4, 3], Some(&[4, 0]), "the length of sequence 1 must be in 1..=4, got 0"),
        ] {
            let emissions = Tensor::zeros(&shape, DType::F64, &Device::Cpu)?;
            let error = crf.decode(&emissions, lengths).expect_err(rule).to_string();
            assert!(error.contains(rule), "{error}");
        }
        let store = ParamStore::new(0);
        assert!(Crf::new(0, store.vb(DType::F32, &Device::Cpu)).is_err());
        Ok(())
    }
}
