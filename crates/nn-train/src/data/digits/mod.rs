//! Handwritten digits drawn by a program: a data set that needs no download.
//!
//! A digit is a few pen strokes (`strokes`) that are slanted, turned, stretched and bent (`distort`), then drawn
//! with a pen of some width (`raster`). Nothing is random but by [`Random`]: image `i` of a seed's part is a pure
//! function of these three, and the two parts draw from places that have nothing in common.

mod distort;
mod raster;
mod strokes;

use nn_core::Random;
use nn_core::random::Draws;
use rayon::prelude::*;

use super::{ImageSet, Images, Normalise, Part};
use distort::Distortion;
use raster::{Canvas, Pen};

/// Height and width of an image, in pixels.
pub const SIDE: usize = raster::SIDE;

/// Mean and deviation of the training images, to three decimals those of every seed.
pub const NORMALISE: Normalise = Normalise { mean: 0.1310, std: 0.2918 };

/// The 10,000 training or 2,000 test images of a seed, with as many of each class, in no order.
pub fn digits(seed: u64, part: Part) -> ImageSet {
    let (n, name) = match part {
        Part::Train => (10_000, "train"),
        Part::Test => (2_000, "test"),
    };
    let random = Random::new(seed).at("digits").at(name);
    let mut labels: Vec<u32> = (0..10).cycle().take(n).collect();
    random.at("labels").draws().shuffle(&mut labels);
    let mut pixels = vec![0; n * SIDE * SIDE];
    pixels.par_chunks_exact_mut(SIDE * SIDE).zip(&labels).enumerate().for_each(|(i, (image, &label))| {
        image.copy_from_slice(&digit(label as usize, random.at("images").nth(i as u64)));
    });
    let classes = (0..10).map(|digit: u32| digit.to_string()).collect();
    ImageSet::new(Images { pixels, size: [1, SIDE, SIDE] }, labels, classes, &[NORMALISE])
        .unwrap_or_else(|e| unreachable!("labels and pixels are made to fit: {e}"))
}

/// One image of the digit `class`, `[28, 28]`, white on black; another for every `random`.
fn digit(class: usize, random: Random) -> [u8; SIDE * SIDE] {
    let mut draws = random.draws();
    let glyphs = strokes::GLYPHS[class];
    let glyph = glyphs[draws.below(glyphs.len() as u32) as usize];
    let mut lines = strokes::trace(glyph, &mut draws);
    let pen = Pen::draw(&mut draws);
    Distortion::draw(&mut draws).apply(&mut lines, pen.radius);
    let mut canvas = Canvas::new();
    lines.iter().for_each(|line| canvas.stroke(line, &pen));
    develop(canvas, &mut draws)
}

/// Ink to bytes: a lens that is not quite sharp, ink that is not quite white, and a sensor that is not quite silent.
fn develop(mut canvas: Canvas, draws: &mut Draws) -> [u8; SIDE * SIDE] {
    canvas.blur(draws.uniform(0.0, 0.14) as f32);
    let white = draws.uniform(0.9, 1.15) as f32;
    // Every other image has no noise at all, as scans have none after their background was cut off.
    let noise = draws.uniform(-0.05, 0.05).max(0.0) as f32;
    canvas.ink.map(|ink| {
        let grain = if noise > 0.0 { noise * nearly_normal(draws.word()) } else { 0.0 };
        (255.0 * (ink * white + grain)).clamp(0.0, 255.0) as u8
    })
}

/// The sum of a uniform word's bytes, with mean 0 and variance 1: good enough for grain, and ten times cheaper than a
/// normal draw, of which an image would need 784.
fn nearly_normal(word: u32) -> f32 {
    let sum: u16 = word.to_le_bytes().into_iter().map(u16::from).sum();
    // Four times the mean 127.5 and the variance (256² − 1) / 12 of a byte.
    (f32::from(sum) - 510.0) * (1.0 / 147.8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;

    const AREA: usize = SIDE * SIDE;

    fn images(set: &ImageSet) -> impl Iterator<Item = (&[u8], usize)> {
        set.labels().iter().enumerate().filter_map(|(i, &label)| Some((set.pixels(i)?, label as usize)))
    }

    #[test]
    fn parts_are_balanced_shuffled_and_apart() {
        let (train, test) = (digits(0, Part::Train), digits(0, Part::Test));
        assert_eq!([train.len(), test.len()], [10_000, 2_000]);
        assert_eq!((train.size(), train.classes().len(), &train.classes()[7][..]), ([1, 28, 28], 10, "7"));
        for set in [&train, &test] {
            let mut counts = [0; 10];
            images(set).for_each(|(_, label)| counts[label] += 1);
            assert_eq!(counts, [set.len() / 10; 10]);
            assert!((0..100).any(|i| set.labels()[i] != set.labels()[i + 10]), "the classes take turns");
        }
        let mut all: Vec<&[u8]> = images(&train).chain(images(&test)).map(|(image, _)| image).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 12_000, "an image comes twice");
    }

    #[test]
    fn an_image_depends_on_seed_part_and_index_only() {
        let of = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| digits(3, Part::Test))
        };
        let (one, three) = (of(1), of(3));
        assert_eq!(one.labels(), three.labels());
        assert!(images(&one).eq(images(&three)));
        let alone =
            digit(one.labels()[77] as usize, Random::new(3).at("digits").at("test").at("images").nth(77));
        assert_eq!(one.pixels(77), Some(&alone[..]));
        let other = digits(4, Part::Test);
        assert_ne!(one.labels(), other.labels());
        assert!(images(&one).zip(images(&other)).all(|((a, _), (b, _))| a != b));
    }

    #[test]
    fn every_image_has_a_digit_well_inside() {
        let (mut sum, mut squares) = (0.0, 0.0);
        let train = digits(1, Part::Train);
        for (image, label) in images(&train) {
            let ink: f64 = image.iter().map(|&v| f64::from(v) / 255.0).sum();
            // In pixels: the shortest stroke with the thinnest pen, and a third of the paper.
            assert!((15.0..260.0).contains(&ink), "a {label} of {ink} pixels");
            assert!(image.iter().any(|&v| v > 160), "a {label} that is too pale to see");
            let border = (0..SIDE).flat_map(|i| [i, AREA - 1 - i, i * SIDE, i * SIDE + SIDE - 1]);
            let cut = border.filter(|&at| image[at] > 128).count();
            assert!(cut <= 8, "a {label} whose ink runs off the paper for {cut} pixels");
            sum += ink;
            squares += image.iter().map(|&v| (f64::from(v) / 255.0).powi(2)).sum::<f64>();
        }
        let n = (train.len() * AREA) as f64;
        let (mean, std) = (sum / n, (squares / n - (sum / n).powi(2)).sqrt());
        assert!((mean - f64::from(NORMALISE.mean)).abs() < 1e-3, "mean {mean}");
        assert!((std - f64::from(NORMALISE.std)).abs() < 1e-3, "deviation {std}");
    }

    #[test]
    fn grain_has_mean_0_and_variance_1() {
        let words: Vec<u32> = (0..5_000).flat_map(|i| Random::new(0).block(i)).collect();
        let moment =
            |power| words.iter().map(|&w| nearly_normal(w).powi(power)).sum::<f32>() / words.len() as f32;
        assert!(moment(1).abs() < 0.02 && (moment(2) - 1.0).abs() < 0.03, "{} {}", moment(1), moment(2));
        assert!(words.iter().any(|&w| nearly_normal(w) > 2.5));
    }

    /// Labels go with images, and it takes more than templates to tell them: a network has something to learn.
    #[test]
    fn the_nearest_mean_image_is_often_but_not_always_right() {
        let (train, test) = (digits(0, Part::Train), digits(0, Part::Test));
        let mut means = vec![[0f32; AREA]; 10];
        for (image, label) in images(&train) {
            means[label].iter_mut().zip(image).for_each(|(m, &v)| *m += f32::from(v) / 1_000.0);
        }
        let distance = |image: &[u8], mean: &[f32; AREA]| -> f32 {
            image.iter().zip(mean).map(|(&v, m)| (f32::from(v) - m).powi(2)).sum()
        };
        let right = images(&test).filter(|(image, label)| {
            let own = distance(image, &means[*label]);
            means.iter().all(|mean| own <= distance(image, mean))
        });
        let right = right.count();
        assert!((1_200..1_800).contains(&right), "{right} of 2000");
    }
}
