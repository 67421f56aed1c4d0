//! Picture files as tensors: decoding within limits, grey or colour, resizing, dark on light.
//!
//! Source: pixels are made as Pillow makes them, because most models were trained on its: grey is
//! ITU-R 601-2 luma rounded to eight bits, and resizing widens the filter by the scale ("antialias").
//! Digits are placed as MNIST's makers placed theirs (LeCun et al. 1998, section III-A).
//! Differs: a transparent picture lies on white instead of showing whatever colour its clear pixels hide.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;

use candle_core::{Device, Error, Result, Tensor};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};
use nn_core::ensure;

/// No picture for a classifier is larger; a file that claims more is a mistake or an attack.
const MAX_SIDE: u32 = 32_768;
const MAX_PIXELS: u64 = 100_000_000;
const MAX_DECODER_BYTES: u64 = 512 << 20;

/// What a model sees of a picture's colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// One channel, lightness.
    Grey,
    /// Red, green, blue.
    Rgb,
}

impl Channels {
    /// Grey for 1 channel, colour for 3.
    ///
    /// # Errors
    /// For any other number.
    pub fn of(count: usize) -> Result<Self> {
        match count {
            1 => Ok(Self::Grey),
            3 => Ok(Self::Rgb),
            _ => candle_core::bail!("Channels: a picture has 1 channel or 3, got {count}"),
        }
    }

    /// 1 or 3.
    pub fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
        }
    }
}

/// A decoded picture, eight bits a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// `[H, W, C]`, row-major.
    pixels: Vec<u8>,
    size: [usize; 2],
    channels: Channels,
}

impl Picture {
    /// Reads a PNG, JPEG, BMP, GIF (its first frame) or WebP file, whatever its name ends in, turned upright if
    /// the camera noted how it was held.
    ///
    /// # Errors
    /// If the file cannot be read, is none of these formats, is damaged, or claims more than 100 million pixels;
    /// the message names the file.
    pub fn open(path: impl AsRef<Path>, channels: Channels) -> Result<Self> {
        let path = path.as_ref();
        let named = |e: &dyn std::fmt::Display| Error::Msg(format!("{}: {e}", path.display()));
        let file = File::open(path).map_err(|e| named(&e))?;
        let regular = file.metadata().map_err(|e| named(&e))?.is_file();
        ensure!(regular, "{}: not a file", path.display());
        Self::read(BufReader::new(file), channels).map_err(|e| named(&e))
    }

    /// [`Picture::open`] for bytes in memory.
    ///
    /// # Errors
    /// As [`Picture::open`].
    pub fn decode(bytes: &[u8], channels: Channels) -> Result<Self> {
        Self::read(Cursor::new(bytes), channels).map_err(Error::wrap)
    }

    /// From pixels `[H, W, C]`, row-major.
    ///
    /// # Errors
    /// If there are not exactly `H · W · C` bytes, or none.
    pub fn new(pixels: Vec<u8>, size: [usize; 2], channels: Channels) -> Result<Self> {
        let expected = size[0] * size[1] * channels.count();
        ensure!(
            expected > 0 && pixels.len() == expected,
            "Picture: {size:?} with {} channels needs {expected} bytes (not 0), got {}",
            channels.count(),
            pixels.len()
        );
        Ok(Self { pixels, size, channels })
    }

    fn read(source: impl BufRead + Seek, channels: Channels) -> std::result::Result<Self, String> {
        let mut reader = ImageReader::new(source).with_guessed_format().map_err(|e| e.to_string())?;
        if reader.format().is_none() {
            return Err("not a PNG, JPEG, BMP, GIF or WebP picture".to_owned());
        }
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        limits.max_alloc = Some(MAX_DECODER_BYTES);
        reader.limits(limits);
        let damaged = |e: image::ImageError| format!("not a whole picture ({e})");
        let mut decoder = reader.into_decoder().map_err(damaged)?;
        let (width, height) = decoder.dimensions();
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(format!("{width}×{height} pixels are more than the {MAX_PIXELS} a picture may have"));
        }
        let orientation = decoder.orientation().map_err(damaged)?;
        let mut image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
        image.apply_orientation(orientation);
        let size = [image.height() as usize, image.width() as usize];
        if size.contains(&0) {
            return Err("a picture without pixels".to_owned());
        }
        let rgb = if image.color().has_alpha() { on_white(image) } else { image.into_rgb8().into_raw() };
        let pixels = match channels {
            Channels::Rgb => rgb,
            Channels::Grey => rgb.chunks_exact(3).map(|p| luma(p[0], p[1], p[2])).collect(),
        };
        Ok(Self { pixels, size, channels })
    }

    /// Height and width, in pixels.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Grey or colour.
    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// Resampled to `size` by the triangle filter, widened by the scale where the picture shrinks, so that thin
    /// lines fade instead of breaking. A picture of that size already is returned as it is.
    ///
    /// # Errors
    /// If a side of `size` is 0.
    pub fn resize(&self, size: [usize; 2]) -> Result<Self> {
        ensure!(!size.contains(&0), "Picture: sides must be at least 1 pixel, got {size:?}");
        if size == self.size {
            return Ok(self.clone());
        }
        let kind = match self.channels {
            Channels::Grey => PixelType::U8,
            Channels::Rgb => PixelType::U8x3,
        };
        let [height, width] = self.size.map(|n| n as u32);
        let from = ImageRef::new(width, height, &self.pixels, kind).map_err(Error::wrap)?;
        let mut to = Image::new(size[1] as u32, size[0] as u32, kind);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        Resizer::new().resize(&from, &mut to, &options).map_err(Error::wrap)?;
        Ok(Self { pixels: to.into_vec(), size, channels: self.channels })
    }

    /// Resampled to the largest size that fits into `size` with the proportions kept, centred, and surrounded by
    /// the average colour of the picture's own edge.
    ///
    /// # Errors
    /// If a side of `size` is 0.
    pub fn fit(&self, size: [usize; 2]) -> Result<Self> {
        let [height, width] = self.size;
        let scale = (size[0] as f64 / height as f64).min(size[1] as f64 / width as f64);
        let scaled = |side: usize, limit: usize| ((side as f64 * scale).round() as usize).max(1).min(limit);
        let inner = self.resize([scaled(height, size[0]), scaled(width, size[1])])?;
        let mut pixels = self.edge().repeat(size[0] * size[1]);
        let place = [(size[0] - inner.size[0]) / 2, (size[1] - inner.size[1]) / 2];
        inner.paste(&mut pixels, size[1], place);
        Ok(Self { pixels, size, channels: self.channels })
    }

    /// Light on dark: as it is if the outermost pixels are dark on average, else with every value turned over.
    ///
    /// Handwriting on paper becomes what MNIST's relatives hold, strokes of 255 on a ground of 0.
    #[must_use]
    pub fn light_on_dark(mut self) -> Self {
        let edge = self.edge();
        let mean = edge.iter().map(|&v| f64::from(v)).sum::<f64>() / edge.len() as f64;
        if mean > 127.5 {
            self.pixels.iter_mut().for_each(|v| *v = 255 - *v);
        }
        self
    }

    /// A drawn digit as MNIST shows them: light on dark, the ground at 0 and the brightest stroke at 255, the longer
    /// side of the ink's box 20/28 of the picture's, its centre of mass in the middle.
    ///
    /// # Errors
    /// If the picture has colours or a side of `size` is 0.
    pub fn digit(&self, size: [usize; 2]) -> Result<Self> {
        ensure!(
            self.channels == Channels::Grey,
            "Picture: a digit is drawn in grey, got {:?}",
            self.channels
        );
        let levels = self.clone().light_on_dark().stretched();
        let Some(ink) = levels.ink() else { return levels.resize(size) };
        let room = size.map(|side| (side * 20).div_ceil(28));
        let scale =
            (0..2).map(|axis| room[axis] as f64 / ink.size[axis] as f64).fold(f64::INFINITY, f64::min);
        let scaled =
            [0, 1].map(|axis| ((ink.size[axis] as f64 * scale).round() as usize).clamp(1, room[axis].max(1)));
        let ink = ink.resize(scaled)?;
        let centre = ink.centre_of_mass();
        let place = [0, 1].map(|axis| {
            let free = size[axis] - scaled[axis];
            (size[axis] as f64 / 2.0 - centre[axis]).round().clamp(0.0, free as f64) as usize
        });
        let mut pixels = vec![0; size[0] * size[1]];
        ink.paste(&mut pixels, size[1], place);
        Ok(Self { pixels, size, channels: self.channels })
    }

    /// The edge's average becomes 0 and the brightest pixel 255; a picture of one colour becomes black.
    fn stretched(mut self) -> Self {
        let ground = self.edge()[0];
        let range = self.pixels.iter().max().map_or(0, |max| max - ground.min(*max));
        let stretch = |v: u8| (u32::from(v.saturating_sub(ground)) * 255 / u32::from(range.max(1))) as u8;
        self.pixels.iter_mut().for_each(|v| *v = stretch(*v));
        self
    }

    /// The smallest part that holds every pixel brighter than a third; nothing if none is.
    fn ink(&self) -> Option<Self> {
        let width = self.size[1];
        let bright =
            self.pixels.iter().enumerate().filter(|(_, v)| **v > 85).map(|(i, _)| [i / width, i % width]);
        let (low, high) = bright.fold(([usize::MAX; 2], [0; 2]), |(low, high), p| {
            ([low[0].min(p[0]), low[1].min(p[1])], [high[0].max(p[0]), high[1].max(p[1])])
        });
        if low[0] > high[0] {
            return None;
        }
        let rows = self.pixels.chunks_exact(width).skip(low[0]).take(high[0] + 1 - low[0]);
        let pixels = rows.flat_map(|row| &row[low[1]..=high[1]]).copied().collect();
        Some(Self { pixels, size: [high[0] + 1 - low[0], high[1] + 1 - low[1]], channels: self.channels })
    }

    /// Height and width at which the values balance, in pixels from the top left corner.
    fn centre_of_mass(&self) -> [f64; 2] {
        let mut sums = [0.0; 3];
        for (i, &v) in self.pixels.iter().enumerate() {
            let (y, x, v) = ((i / self.size[1]) as f64 + 0.5, (i % self.size[1]) as f64 + 0.5, f64::from(v));
            sums = [sums[0] + v * y, sums[1] + v * x, sums[2] + v];
        }
        [sums[0] / sums[2].max(1.0), sums[1] / sums[2].max(1.0)]
    }

    /// Copies itself into a larger picture that is `width` pixels wide, its corner at `place`.
    fn paste(&self, onto: &mut [u8], width: usize, place: [usize; 2]) {
        let c = self.channels.count();
        let row = self.size[1] * c;
        for (y, line) in self.pixels.chunks_exact(row).enumerate() {
            let start = ((place[0] + y) * width + place[1]) * c;
            onto[start..start + row].copy_from_slice(line);
        }
    }

    /// The average colour of the outermost pixels, `[C]`.
    fn edge(&self) -> Vec<u8> {
        let ([height, width], c) = (self.size, self.channels.count());
        let mut sum = vec![0u64; c];
        let mut count = 0;
        for (y, row) in self.pixels.chunks_exact(width * c).enumerate() {
            let whole = y == 0 || y + 1 == height;
            for (x, pixel) in row.chunks_exact(c).enumerate() {
                if whole || x == 0 || x + 1 == width {
                    count += 1;
                    sum.iter_mut().zip(pixel).for_each(|(sum, &v)| *sum += u64::from(v));
                }
            }
        }
        sum.into_iter().map(|sum| ((sum + count / 2) / count) as u8).collect()
    }

    /// The bytes channel by channel, `[C, H, W]`, row-major.
    pub fn planes(&self) -> Vec<u8> {
        let c = self.channels.count();
        (0..c).flat_map(|channel| self.pixels.iter().skip(channel).step_by(c).copied()).collect()
    }

    /// `[C, H, W]` in [0, 1], `f32` on the CPU.
    ///
    /// # Errors
    /// Never for a picture that fits into memory.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let values: Vec<f32> = self.planes().into_iter().map(|v| f32::from(v) / 255.0).collect();
        let [height, width] = self.size;
        Tensor::from_vec(values, (self.channels.count(), height, width), &Device::Cpu)
    }
}

/// `(299·r + 587·g + 114·b) / 1000` in Pillow's fixed point; exactly `v` where all three are `v`.
fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b) + 0x8000) >> 16) as u8
}

/// The picture laid on white paper, `[H, W, 3]`.
fn on_white(image: DynamicImage) -> Vec<u8> {
    let rgba = image.into_rgba8();
    rgba.pixels()
        .flat_map(|p| {
            let [r, g, b, alpha] = p.0.map(u32::from);
            [r, g, b].map(|v| ((v * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use image::{ExtendedColorType, ImageEncoder};

    use super::*;

    fn grey(pixels: &[u8], size: [usize; 2]) -> Picture {
        Picture::new(pixels.to_vec(), size, Channels::Grey).expect("as many bytes as pixels")
    }

    fn png(pixels: &[u8], [h, w]: [u32; 2], colour: ExtendedColorType) -> Vec<u8> {
        let mut bytes = Vec::new();
        image::codecs::png::PngEncoder::new(&mut bytes)
            .write_image(pixels, w, h, colour)
            .expect("writing to memory");
        bytes
    }

    #[test]
    fn grey_is_pillows() -> Result<()> {
        // PIL.Image.new("RGB", (1, 1), p).convert("L") gives 76, 150, 29, 255, 124 and 1.
        let colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [200, 100, 50], [1, 1, 1]];
        let bytes = png(&colours.concat(), [1, 6], ExtendedColorType::Rgb8);
        assert_eq!(Picture::decode(&bytes, Channels::Grey)?.pixels, [76, 150, 29, 255, 124, 1]);
        assert_eq!(Picture::decode(&bytes, Channels::Rgb)?.pixels, colours.concat());
        Ok(())
    }

    #[test]
    fn transparency_lies_on_white() -> Result<()> {
        let bytes = png(&[0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0, 51], [1, 3], ExtendedColorType::Rgba8);
        assert_eq!(Picture::decode(&bytes, Channels::Grey)?.pixels, [255, 0, 204]);
        Ok(())
    }

    #[test]
    fn halving_averages_as_pillow_does() -> Result<()> {
        // PIL.Image.fromarray(uint8 [[0, 40, 80, 120]]).resize((2, 1), BILINEAR) gives 29 and 91: the filter
        // widens by the scale and reaches over the neighbours, so the result is not 20 and 100.
        let small = grey(&[0, 40, 80, 120], [1, 4]).resize([1, 2])?;
        assert_eq!(small.pixels, [29, 91]);
        assert!(grey(&[1], [1, 1]).resize([0, 2]).is_err());
        Ok(())
    }

    #[test]
    fn fitting_keeps_proportions_and_fills_with_the_edges_colour() -> Result<()> {
        let wide = grey(&[10, 10, 10, 10, 10, 10, 10, 10], [2, 4]).fit([4, 4])?;
        assert_eq!((wide.size, wide.pixels), ([4, 4], vec![10; 16]));
        let tall = grey(&[0, 0, 0, 200, 0, 0], [6, 1]).fit([3, 3])?;
        assert_eq!(tall.size, [3, 3]);
        assert_eq!(tall.pixels[0], 33); // 200 / 6: every pixel of so thin a picture is edge
        let sliver = grey(&[7; 1000], [1000, 1]).fit([28, 28])?;
        assert_eq!(sliver.pixels, [7; 784]);
        Ok(())
    }

    #[test]
    fn ink_on_paper_is_turned_over_and_light_on_dark_left() {
        let mut paper = vec![250; 25];
        paper[12] = 0;
        let turned = grey(&paper, [5, 5]).light_on_dark();
        assert_eq!((turned.pixels[0], turned.pixels[12]), (5, 255));
        assert_eq!(turned.clone().light_on_dark(), turned);
    }

    #[test]
    fn digits_are_placed_as_in_mnist() -> Result<()> {
        // A bar of ink, 40 high and 10 wide, off centre on grey paper.
        let bar = |y: usize, x: usize| if (50..90).contains(&y) && (5..15).contains(&x) { 40 } else { 200 };
        let paper: Vec<u8> = (0..100 * 120).map(|i| bar(i / 120, i % 120)).collect();
        let digit = grey(&paper, [100, 120]).digit([28, 28])?;
        // 20 of 28 rows, in proportion 5 columns, in the middle: rows 4 to 23, columns 12 to 16 (half a pixel off).
        for (i, &v) in digit.pixels.iter().enumerate() {
            let inside = (4..24).contains(&(i / 28)) && (12..17).contains(&(i % 28));
            assert_eq!(v, if inside { 255 } else { 0 }, "row {}, column {}", i / 28, i % 28);
        }
        let blank = grey(&[255; 64], [8, 8]).digit([28, 28])?;
        assert_eq!(blank.pixels, [0; 784]);
        assert!(Picture::new(vec![0; 3], [1, 1], Channels::Rgb)?.digit([28, 28]).is_err());
        Ok(())
    }

    #[test]
    fn the_centre_of_mass_not_of_the_box_is_in_the_middle() -> Result<()> {
        // Two dots, one bright and one half as bright, eleven apart: the balance lies nearer the bright one.
        let mut dots = vec![0; 20 * 20];
        (dots[10 * 20 + 4], dots[10 * 20 + 15]) = (250, 125);
        let digit = grey(&dots, [20, 20]).digit([28, 28])?;
        let [y, x] = digit.centre_of_mass();
        assert!((y - 14.0).abs() <= 0.5 && (x - 14.0).abs() <= 0.5, "{y}, {x}");
        Ok(())
    }

    #[test]
    fn tensors_are_channels_first_in_0_to_1() -> Result<()> {
        let picture = Picture::new(vec![0, 51, 102, 153, 204, 255], [1, 2], Channels::Rgb)?;
        let x = picture.to_tensor()?;
        assert_eq!(x.dims(), [3, 1, 2]);
        assert_eq!(x.flatten_all()?.to_vec1::<f32>()?, [0.0, 0.6, 0.2, 0.8, 0.4, 1.0]);
        assert!(Picture::new(vec![0; 5], [1, 2], Channels::Rgb).is_err());
        assert!(Channels::of(2).is_err());
        Ok(())
    }

    #[test]
    fn what_is_no_picture_is_an_error_that_names_the_file() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("letter.png");
        let error = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("a writable folder");
            Picture::open(&path, Channels::Grey).expect_err("no picture").to_string()
        };
        let whole = png(&[7; 64 * 64], [64, 64], ExtendedColorType::L8);
        for bytes in [b"".as_slice(), b"Dear Sir or Madam,", &whole[..20], &whole[..whole.len() / 2]] {
            let message = error(bytes);
            assert!(message.contains("letter.png") && message.contains("picture"), "{message}");
        }
        let folder = Picture::open(dir.path(), Channels::Grey).expect_err("a folder").to_string();
        assert!(folder.contains("not a file"), "{folder}");
        assert!(Picture::open(dir.path().join("absent.png"), Channels::Grey).is_err());
        Ok(())
    }

    #[test]
    fn a_header_that_claims_too_much_is_refused_before_memory_is_taken() {
        // A BMP header alone: 30000 × 30000 true colour, no pixels behind it.
        let mut bmp = b"BM".to_vec();
        bmp.extend([0; 8]);
        bmp.extend(54u32.to_le_bytes());
        bmp.extend(40u32.to_le_bytes());
        bmp.extend(30_000i32.to_le_bytes());
        bmp.extend(30_000i32.to_le_bytes());
        bmp.extend(1u16.to_le_bytes());
        bmp.extend(24u16.to_le_bytes());
        bmp.extend([0; 24]);
        let message = Picture::decode(&bmp, Channels::Grey).expect_err("900 million pixels").to_string();
        assert!(message.contains("30000×30000"), "{message}");
    }
}
