//! Pictures on their way into a network: read, augmented, normalised, stacked.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use candle_core::{Device, Error, Result, Tensor};
use nn_core::{Random, ensure};

use super::normalise::Inputs;
use super::{Batch, Dataset, Example, Normalise, Source, Target};
use crate::augment::Mix;

/// What is done to an example before it is normalised; draws come from the place it is given.
type Prepare = dyn Fn(Example, Random) -> Result<Example> + Send + Sync;

/// A [`Source`] whose examples are read when they are asked for, go through a function, and become a batch.
pub struct Prepared {
    source: Arc<dyn Source>,
    inputs: Inputs,
    prepare: Box<Prepare>,
    mix: Mix,
}

impl Prepared {
    /// `normalise` has an entry for each channel. `prepare` makes all pictures one size and, in training, makes more of
    /// them; [`crate::augment`] has what it is made of. What it draws from its place depends on seed, epoch and index.
    ///
    /// # Errors
    /// If a mean or deviation is no number to work with.
    pub fn new(
        source: Arc<dyn Source>,
        normalise: &[Normalise],
        prepare: impl Fn(Example, Random) -> Result<Example> + Send + Sync + 'static,
    ) -> Result<Self> {
        let inputs = Inputs::new("Prepared", normalise)?;
        Ok(Self { source, inputs, prepare: Box::new(prepare), mix: Mix::default() })
    }

    /// The same, with the pictures of each batch mixed, whose targets are then shares of the classes. How depends on seed,
    /// epoch, and the batch's first index.
    ///
    /// # Errors
    /// As [`Mix::check`].
    pub fn mixed(self, mix: Mix) -> Result<Self> {
        mix.check()?;
        Ok(Self { mix, ..self })
    }

    /// The pictures as they are.
    pub fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// The example at `index` as it goes into a batch, but for the normalisation.
    ///
    /// # Errors
    /// If it cannot be read or prepared; the message names its index.
    pub fn example(&self, index: usize, random: Random) -> Result<Example> {
        let example = self.source.example(index)?;
        let named = |e: Error| e.context(format!("example {index} cannot be prepared"));
        (self.prepare)(example, random.nth(index as u64)).map_err(named)
    }
}

impl Dataset for Prepared {
    type Batch = Batch;

    fn len(&self) -> usize {
        self.source.len()
    }

    /// Inputs `[B, C, H, W]` in `f32`, normalised, and as targets classes, `[B]` in `u32`, or masks, `[B, H, W]` in
    /// `u8`, or where pictures are mixed shares of classes, `[B, classes]` in `f32`; all on the CPU.
    ///
    /// # Errors
    /// As [`Prepared::example`], and if pictures differ in size, have more or fewer channels than the normalisation, or have
    /// masks and are to be mixed.
    fn batch(&self, indices: &[usize], random: Random) -> Result<Batch> {
        let mut inputs = Vec::new();
        let mut targets = Targets::None;
        let mut size = None;
        let mut times = HashMap::new();
        for &index in indices {
            // What a batch has several times is not to be prepared in the same way each time.
            let before = times.entry(index).and_modify(|n| *n += 1).or_insert(0u64);
            let random = if *before == 0 { random } else { random.at("again").nth(*before) };
            let Example { image, target } = self.example(index, random)?;
            let first = *size.get_or_insert(image.size());
            ensure!(
                image.size() == first,
                "Prepared: the pictures of a batch must have one size, got {first:?} and {:?} at example {index}",
                image.size()
            );
            ensure!(
                first[0] == self.inputs.channels(),
                "Prepared: every channel needs its mean and deviation, got {} for {} channels at example {index}",
                self.inputs.channels(),
                first[0]
            );
            inputs
                .reserve_exact(image.pixels().len() * (indices.len() - inputs.len() / image.pixels().len()));
            self.inputs.extend(&mut inputs, image.pixels());
            targets.push(target, first, index)?;
        }
        let [c, h, w] = size.unwrap_or([self.inputs.channels(), 1, 1]);
        let first = indices.first().copied().unwrap_or(0) as u64;
        let targets = match self.mix.draw([h, w], random.at("mix").nth(first)) {
            None => targets.into_tensor(indices.len(), [h, w])?,
            Some(mixing) => {
                let (labels, classes) = (targets.into_classes()?, self.source.classes().len());
                let shares = mixing.apply(&mut inputs, [c, h, w], &labels, classes)?;
                Tensor::from_vec(shares, (indices.len(), classes), &Device::Cpu)?
            }
        };
        Ok(Batch { inputs: Tensor::from_vec(inputs, (indices.len(), c, h, w), &Device::Cpu)?, targets })
    }
}

/// The answers of a batch, all of one kind.
enum Targets {
    None,
    Classes(Vec<u32>),
    Masks(Vec<u8>),
}

impl Targets {
    fn push(&mut self, target: Target, [_, h, w]: [usize; 3], index: usize) -> Result<()> {
        if matches!(self, Self::None) {
            *self = match target {
                Target::Class(_) => Self::Classes(Vec::new()),
                Target::Mask { .. } => Self::Masks(Vec::new()),
            };
        }
        match (self, target) {
            (Self::Classes(all), Target::Class(class)) => all.push(class),
            (Self::Masks(all), Target::Mask { classes, .. }) => {
                ensure!(
                    classes.size() == [1, h, w],
                    "Prepared: a mask must have its picture's height and width, got {:?} for {:?} at example {index}",
                    classes.size(),
                    [h, w]
                );
                all.extend_from_slice(classes.pixels());
            }
            _ => candle_core::bail!("Prepared: classes and masks do not mix, got both by example {index}"),
        }
        Ok(())
    }

    fn into_classes(self) -> Result<Vec<u32>> {
        match self {
            Self::None => Ok(Vec::new()),
            Self::Classes(all) => Ok(all),
            Self::Masks(_) => {
                candle_core::bail!("Prepared: only pictures with a class each are mixed, got masks")
            }
        }
    }

    fn into_tensor(self, batch: usize, [h, w]: [usize; 2]) -> Result<Tensor> {
        match self {
            Self::None => Tensor::from_vec(Vec::<u32>::new(), 0, &Device::Cpu),
            Self::Classes(all) => Tensor::from_vec(all, batch, &Device::Cpu),
            Self::Masks(all) => Tensor::from_vec(all, (batch, h, w), &Device::Cpu),
        }
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("examples", &self.source.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::Mixup;
    use crate::data::{Image, ImageSet, Images};

    const UNIT: Normalise = Normalise { mean: 0.0, std: 1.0 };

    /// Masks of a width that depends on the index.
    struct Masks;

    impl Source for Masks {
        fn len(&self) -> usize {
            4
        }

        fn example(&self, index: usize) -> Result<Example> {
            let image = Image::new(vec![255; 4], [1, 2, 2])?;
            let width = if index == 2 { 1 } else { 2 };
            let classes = Image::new(vec![index as u8; 2 * width], [1, 2, width])?;
            let target = if index == 3 { Target::Class(0) } else { Target::Mask { classes, ignore: 11 } };
            Ok(Example { image, target })
        }

        fn classes(&self) -> &[String] {
            &[]
        }
    }

    #[test]
    fn a_batch_is_that_of_the_set_in_memory_if_nothing_is_done() -> Result<()> {
        let images = Images { pixels: (0..36).collect(), size: [2, 2, 3] };
        let grey = Normalise { mean: 0.5, std: 0.25 };
        let classes = vec!["a".to_owned(), "b".to_owned()];
        let set = Arc::new(ImageSet::new(images, vec![1, 0, 1], classes, &[UNIT, grey])?);
        let prepared = Prepared::new(set.clone(), &[UNIT, grey], |example, _| Ok(example))?;
        assert_eq!((prepared.len(), prepared.source().classes().len()), (3, 2));
        for indices in [&[2, 0][..], &[1], &[]] {
            let (ours, theirs) =
                (prepared.batch(indices, Random::new(0))?, set.batch(indices, Random::new(0))?);
            let bits = |t: &Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>());
            assert_eq!(bits(&ours.inputs)?, bits(&theirs.inputs)?);
            assert_eq!(ours.targets.to_vec1::<u32>()?, theirs.targets.to_vec1::<u32>()?);
        }
        Ok(())
    }

    #[test]
    fn draws_depend_on_the_index_and_how_often_it_came_before() -> Result<()> {
        let images = Images { pixels: vec![0; 8], size: [1, 1, 1] };
        let set = ImageSet::new(images, vec![0; 8], vec!["a".to_owned()], &[UNIT])?;
        let prepared = Prepared::new(Arc::new(set), &[UNIT], |mut example, random| {
            example.image.pixels_mut()[0] = random.block(0)[0] as u8;
            Ok(example)
        })?;
        let values = |indices: &[usize]| -> Result<Vec<f32>> {
            prepared.batch(indices, Random::new(7))?.inputs.flatten_all()?.to_vec1()
        };
        let (all, some) = (values(&[0, 1, 2, 3, 4, 5, 6, 7])?, values(&[6, 2])?);
        assert_eq!(some, [all[6], all[2]]);
        assert_ne!(all[6], all[2]);
        // What is drawn several times, to balance classes, is another picture each time.
        let again = values(&[6, 2, 6, 6])?;
        assert_eq!(again[..2], some);
        assert!(again[2] != again[0] && again[3] != again[0] && again[3] != again[2]);
        Ok(())
    }

    #[test]
    fn mixed_pictures_have_mixed_classes() -> Result<()> {
        let images = Images { pixels: vec![0, 100, 200], size: [1, 1, 1] };
        let names = ["a", "b", "c"].map(str::to_owned).to_vec();
        let set = Arc::new(ImageSet::new(images, vec![0, 1, 2], names, &[UNIT])?);
        let mix = Mix { mixup: Some(Mixup::default()), cutmix: None };
        let prepared = Prepared::new(set, &[UNIT], |example, _| Ok(example))?.mixed(mix)?;
        let mixed = |indices: &[usize], seed| -> Result<[Vec<Vec<f32>>; 2]> {
            let batch = prepared.batch(indices, Random::new(seed))?;
            Ok([batch.inputs.flatten_from(1)?.to_vec2()?, batch.targets.to_vec2()?])
        };
        let [inputs, targets] = mixed(&[2, 0, 1], 7)?;
        let [rest, share] = [targets[0][1], targets[0][2]];
        assert!(share > 0.0 && share < 1.0 && (share + rest - 1.0).abs() < 1e-6);
        assert_eq!(targets, [[0.0, rest, share], [share, 0.0, rest], [rest, share, 0.0]]);
        assert_eq!(inputs[1], [rest * (200.0 / 255.0)]);
        assert_eq!(mixed(&[2, 0, 1], 7)?[1], targets);
        // Another epoch's place, or another batch of this one, is mixed otherwise.
        assert_ne!(mixed(&[2, 0, 1], 8)?[1][0][2], share);
        assert_ne!(mixed(&[0, 1], 7)?[1][0][0], share);
        let masks = Prepared::new(Arc::new(Masks), &[UNIT], |example, _| Ok(example))?.mixed(mix)?;
        let error = masks.batch(&[0, 1], Random::new(0)).expect_err("masks").to_string();
        assert!(error.contains("only pictures with a class each are mixed"), "{error}");
        let no_alpha = Mix { mixup: Some(Mixup { alpha: 0.0 }), cutmix: None };
        assert!(prepared.mixed(no_alpha).is_err());
        Ok(())
    }

    #[test]
    fn masks_go_along_and_what_does_not_fit_is_named() -> Result<()> {
        let same = |example, _: Random| Ok(example);
        let prepared = Prepared::new(Arc::new(Masks), &[UNIT], same)?;
        let batch = prepared.batch(&[1, 0], Random::new(0))?;
        assert_eq!(batch.targets.to_vec3::<u8>()?, [[[1, 1], [1, 1]], [[0, 0], [0, 0]]]);
        let cut = |mut example: Example, _: Random| {
            example.image = example.image.window([0, 0], [1, 2], 0);
            Ok(example)
        };
        let larger = |mut example: Example, random: Random| {
            let side = 1 + (random == Random::new(0).nth(1)) as usize;
            example.image = example.image.window([0, 0], [side, side], 0);
            example.target = Target::Class(0);
            Ok(example)
        };
        let fails = |_: Example, _: Random| candle_core::bail!("poison");
        for (prepared, indices, says) in [
            (
                Prepared::new(Arc::new(Masks), &[UNIT], same)?,
                &[0, 2][..],
                "got [1, 2, 1] for [2, 2] at example 2",
            ),
            (Prepared::new(Arc::new(Masks), &[UNIT], same)?, &[0, 3], "got both by example 3"),
            (Prepared::new(Arc::new(Masks), &[UNIT], cut)?, &[0], "for [1, 2] at example 0"),
            (
                Prepared::new(Arc::new(Masks), &[UNIT], larger)?,
                &[0, 1],
                "[1, 1, 1] and [1, 2, 2] at example 1",
            ),
            (Prepared::new(Arc::new(Masks), &[UNIT; 3], same)?, &[0], "got 3 for 1 channels at example 0"),
            (Prepared::new(Arc::new(Masks), &[UNIT], fails)?, &[1], "example 1 cannot be prepared"),
        ] {
            let error = prepared.batch(indices, Random::new(0)).expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} not in {error}");
        }
        let no_std = Normalise { mean: 0.0, std: 0.0 };
        assert!(Prepared::new(Arc::new(Masks), &[no_std], same).is_err());
        Ok(())
    }
}
