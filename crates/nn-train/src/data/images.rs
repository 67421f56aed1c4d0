//! Labelled images in memory.

use std::fmt;

use candle_core::{Device, Result, Tensor};
use nn_core::{Random, ensure};

use super::image::area;
use super::normalise::Inputs;
use super::{Batch, Dataset, Example, Image, Normalise, Source, Target};

/// Which part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What a model is fitted to.
    Train,
    /// What it never sees while it is fitted.
    Test,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "training",
            Self::Test => "test",
        })
    }
}

/// Images of one size without labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// `[N, C, H, W]`, 0 is black and 255 is white.
    pub pixels: Vec<u8>,
    /// `[C, H, W]`
    pub size: [usize; 3],
}

/// Images of one size, each with the index of its class.
#[derive(Clone, Debug)]
pub struct ImageSet {
    pixels: Vec<u8>,
    size: [usize; 3],
    labels: Vec<u32>,
    classes: Vec<String>,
    inputs: Inputs,
}

impl ImageSet {
    /// `normalise` has an entry for each channel; class `i` is called `classes[i]`.
    ///
    /// # Errors
    /// If the images have no pixels or are no whole number, if there are more or fewer labels than images, if a
    /// label has no class, or if `normalise` does not fit the channels or divides by something not positive.
    pub fn new(
        images: Images,
        labels: Vec<u32>,
        classes: Vec<String>,
        normalise: &[Normalise],
    ) -> Result<Self> {
        let Images { pixels, size } = images;
        let area = area(size);
        ensure!(area > 0, "ImageSet: an image must have pixels, got {size:?} for channels, height, width");
        let (n, rest) = (pixels.len() / area, pixels.len() % area);
        ensure!(rest == 0, "ImageSet: {} pixels are no whole number of {size:?} images", pixels.len());
        ensure!(
            n == labels.len(),
            "ImageSet: every image needs one label, got {n} images and {} labels",
            labels.len()
        );
        if let Some((i, label)) = labels.iter().enumerate().find(|&(_, &l)| l as usize >= classes.len()) {
            ensure!(
                false,
                "ImageSet: labels must be below the {} classes, got {label} at position {i}",
                classes.len()
            );
        }
        ensure!(
            normalise.len() == size[0],
            "ImageSet: every channel needs its mean and deviation, got {} for {} channels",
            normalise.len(),
            size[0]
        );
        let inputs = Inputs::new("ImageSet", normalise)?;
        Ok(Self { pixels, size, labels, classes, inputs })
    }

    /// `[C, H, W]`
    pub fn size(&self) -> [usize; 3] {
        self.size
    }

    /// The name of each class, by its index.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The class of every image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The pixels of image `index` as they were given: `[C, H, W]`, 0 is black and 255 is white.
    /// `None` past the end.
    pub fn pixels(&self, index: usize) -> Option<&[u8]> {
        self.pixels.chunks_exact(area(self.size)).nth(index)
    }

    fn labelled(&self, index: usize) -> Result<(&[u8], u32)> {
        let (Some(pixels), Some(&label)) = (self.pixels(index), self.labels.get(index)) else {
            candle_core::bail!("ImageSet: there are {} examples, got index {index}", self.labels.len());
        };
        Ok((pixels, label))
    }
}

impl Source for ImageSet {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn example(&self, index: usize) -> Result<Example> {
        let (pixels, label) = self.labelled(index)?;
        Ok(Example { image: Image::new(pixels.to_vec(), self.size)?, target: Target::Class(label) })
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn class(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied()
    }
}

impl Dataset for ImageSet {
    type Batch = Batch;

    fn len(&self) -> usize {
        self.labels.len()
    }

    /// Inputs `[B, C, H, W]` in `f32`, normalised, and targets `[B]` in `u32`, both on the CPU.
    ///
    /// # Errors
    /// If an index is past the end.
    fn batch(&self, indices: &[usize], _random: Random) -> Result<Batch> {
        let [c, h, w] = self.size;
        let mut inputs = Vec::with_capacity(indices.len() * area(self.size));
        let mut targets = Vec::with_capacity(indices.len());
        for &i in indices {
            let (pixels, label) = self.labelled(i)?;
            self.inputs.extend(&mut inputs, pixels);
            targets.push(label);
        }
        Ok(Batch {
            inputs: Tensor::from_vec(inputs, (indices.len(), c, h, w), &Device::Cpu)?,
            targets: Tensor::from_vec(targets, indices.len(), &Device::Cpu)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREY: Normalise = Normalise { mean: 0.5, std: 0.25 };

    fn classes(n: usize) -> Vec<String> {
        (0..n).map(|i| i.to_string()).collect()
    }

    fn images(pixels: &[u8], size: [usize; 3]) -> Images {
        Images { pixels: pixels.to_vec(), size }
    }

    #[test]
    fn a_batch_holds_the_examples_asked_for_in_that_order() -> Result<()> {
        let rgb = Normalise { mean: 0.0, std: 1.0 };
        let set = ImageSet::new(
            images(&[0, 255, 51, 102, 255, 0, 0, 0], [2, 1, 2]),
            vec![1, 0],
            classes(2),
            &[GREY, rgb],
        )?;
        let batch = set.batch(&[1, 0, 1], Random::new(0))?;
        assert_eq!(batch.inputs.dims(), [3, 2, 1, 2]);
        assert_eq!(
            batch.inputs.flatten_all()?.to_vec1::<f32>()?,
            [2.0, -2.0, 0.0, 0.0, -2.0, 2.0, 0.2, 0.4, 2.0, -2.0, 0.0, 0.0]
        );
        assert_eq!(batch.targets.to_vec1::<u32>()?, [0, 1, 0]);
        assert_eq!(set.pixels(0), Some(&[0, 255, 51, 102][..]));
        assert_eq!(set.pixels(2), None);
        assert_eq!((set.labels().len(), set.size(), set.labels()), (2, [2, 1, 2], &[1, 0][..]));
        assert_eq!(set.batch(&[], Random::new(0))?.inputs.dims(), [0, 2, 1, 2]);
        let error = set.batch(&[0, 2], Random::new(0)).expect_err("past the end").to_string();
        assert!(error.contains("there are 2 examples, got index 2"), "{error}");
        Ok(())
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let no_std = Normalise { mean: 0.5, std: 0.0 };
        let no_mean = Normalise { mean: f32::NAN, std: 1.0 };
        let four = images(&[0; 4], [1, 1, 2]);
        for (images, labels, n, normalise, says) in [
            (images(&[], [1, 0, 28]), vec![], 2, vec![GREY], "must have pixels"),
            (images(&[], [usize::MAX, 2, 2]), vec![], 2, vec![GREY], "must have pixels"),
            (images(&[0; 5], [1, 1, 2]), vec![0, 1], 2, vec![GREY], "5 pixels are no whole number"),
            (four.clone(), vec![0], 2, vec![GREY], "got 2 images and 1 labels"),
            (four.clone(), vec![0, 2], 2, vec![GREY], "below the 2 classes, got 2 at position 1"),
            (four.clone(), vec![0, 1], 2, vec![GREY, GREY], "got 2 for 1 channels"),
            (four.clone(), vec![0, 1], 2, vec![no_std], "std finite and positive"),
            (four, vec![0, 1], 2, vec![no_mean], "mean must be finite"),
        ] {
            let error = ImageSet::new(images, labels, classes(n), &normalise).expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} not in {error}");
        }
    }
}
