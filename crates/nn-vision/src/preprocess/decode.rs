//! Picture files: formats, limits, and what colours become.
//!
//! A pixel is what Pillow makes of it.
//! Differs: of sixteen bits the upper eight are kept in grey pictures too, where Pillow cuts off at 255; a transparent
//! picture lies on white instead of showing whatever colour its clear pixels hide; it is turned upright if the camera
//! noted how it was held.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use candle_core::{Error, Result};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use nn_core::ensure;

use super::{Channels, MAX_PIXELS, Picture, jpeg};

const MAX_SIDE: u32 = 32_768;
const MAX_FILE_BYTES: u64 = 512 << 20;
/// A progressive JPEG of so many pixels needs twelve bytes each.
pub(super) const MAX_DECODER_BYTES: u64 = 1280 << 20;

impl Picture {
    /// Reads a PNG, JPEG, BMP, GIF (its first frame) or WebP file, whatever its name ends in, turned upright if
    /// the camera noted how it was held.
    ///
    /// # Errors
    /// If the file cannot be read, is none of these formats, is damaged, or claims more than 100 million pixels;
    /// the message names the file.
    pub fn open(path: impl AsRef<Path>, channels: Channels) -> Result<Self> {
        let path = path.as_ref();
        Self::read(&contents(path)?, channels).map_err(|e| named(path, e))
    }

    /// [`Picture::open`] for bytes in memory.
    ///
    /// # Errors
    /// As [`Picture::open`].
    pub fn decode(bytes: &[u8], channels: Channels) -> Result<Self> {
        Self::read(bytes, channels).map_err(Error::wrap)
    }

    fn read(bytes: &[u8], channels: Channels) -> std::result::Result<Self, String> {
        let (mut image, orientation) = match image::guess_format(bytes) {
            Ok(ImageFormat::Jpeg) => jpeg::decode(bytes)?,
            Ok(format) => other(bytes, format)?,
            Err(_) => return Err("not a PNG, JPEG, BMP, GIF or WebP picture".to_owned()),
        };
        image.apply_orientation(orientation);
        let size = [image.height() as usize, image.width() as usize];
        let rgb = rgb(image);
        let pixels = match channels {
            Channels::Rgb => rgb,
            Channels::Grey => rgb.chunks_exact(3).map(|p| luma(p[0], p[1], p[2])).collect(),
        };
        Ok(Self { pixels, size, channels })
    }
}

/// An error with the file that it is about.
pub(super) fn named(path: &Path, e: impl std::fmt::Display) -> Error {
    Error::Msg(format!("{}: {e}", path.display()))
}

/// The bytes of a file that is no larger than one of a picture can be.
pub(super) fn contents(path: &Path) -> Result<Vec<u8>> {
    // Asked first: to open a pipe is to wait for who writes into it.
    let about = std::fs::metadata(path).map_err(|e| named(path, e))?;
    ensure!(about.is_file(), "{}: not a file", path.display());
    let file = File::open(path).map_err(|e| named(path, e))?;
    // Room for the byte that tells the end as well; a length that is wrong costs nothing but time.
    let mut bytes = Vec::with_capacity(about.len().min(MAX_FILE_BYTES) as usize + 1);
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| named(path, e))?;
    let whole = bytes.len() as u64 <= MAX_FILE_BYTES;
    ensure!(whole, "{}: a picture file has at most {MAX_FILE_BYTES} bytes", path.display());
    Ok(bytes)
}

pub(super) fn damaged(e: impl std::fmt::Display) -> String {
    format!("not a whole picture ({e})")
}

pub(super) fn check_size([height, width]: [u32; 2]) -> std::result::Result<(), String> {
    if width == 0 || height == 0 {
        return Err("a picture without pixels".to_owned());
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS || width.max(height) > MAX_SIDE {
        let rule = format!("a picture may have {MAX_PIXELS}, and sides of {MAX_SIDE}");
        return Err(format!("{width}×{height} pixels are too many: {rule}"));
    }
    Ok(())
}

fn other(bytes: &[u8], format: ImageFormat) -> std::result::Result<(DynamicImage, Orientation), String> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    check_size([height, width])?;
    if format == ImageFormat::Gif {
        check_frame(bytes)?;
    }
    let orientation = decoder.orientation().map_err(damaged)?;
    Ok((DynamicImage::from_decoder(decoder).map_err(damaged)?, orientation))
}

/// A GIF's frame is read whole before it is cut to the picture, of which it may be any part, or beyond.
fn check_frame(bytes: &[u8]) -> std::result::Result<(), String> {
    let mut reader = gif::DecodeOptions::new().read_info(bytes).map_err(damaged)?;
    match reader.next_frame_info().map_err(damaged)? {
        Some(frame) => check_size([frame.height, frame.width].map(u32::from)),
        None => Err(damaged("a GIF without a frame")),
    }
}

/// `[H, W, 3]`, eight bits a channel.
fn rgb(image: DynamicImage) -> Vec<u8> {
    let color = image.color();
    let deep = color.bytes_per_pixel() > color.channel_count();
    match (color.has_alpha(), deep) {
        (false, false) => image.into_rgb8().into_raw(),
        (false, true) => upper_bytes(&image.into_rgb16()),
        (true, false) => on_white(&image.into_rgba8()),
        (true, true) => on_white(&upper_bytes(&image.into_rgba16())),
    }
}

fn upper_bytes(values: &[u16]) -> Vec<u8> {
    values.iter().map(|v| (v >> 8) as u8).collect()
}

/// `[H, W, 4]`, the last of them how opaque → `[H, W, 3]` on white paper.
fn on_white(rgba: &[u8]) -> Vec<u8> {
    let lay = |p: &[u8]| {
        let [r, g, b, alpha] = [p[0], p[1], p[2], p[3]].map(u32::from);
        [r, g, b].map(|v| ((v * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
    };
    rgba.chunks_exact(4).flat_map(lay).collect()
}

/// `(299·r + 587·g + 114·b) / 1000` in Pillow's fixed point; exactly `v` where all three are `v`.
fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b) + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use image::{ExtendedColorType, ImageEncoder};
    use libjpeg_turbo_rs::{PixelFormat, Subsampling};

    use super::*;

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
    fn of_sixteen_bits_the_upper_eight_are_kept() -> Result<()> {
        let values = [0x0000u16, 0x00ff, 0x0100, 0x7fff, 0xff00, 0xffff].map(u16::to_ne_bytes).concat();
        let grey = png(&values, [1, 6], ExtendedColorType::L16);
        assert_eq!(Picture::decode(&grey, Channels::Grey)?.pixels, [0, 0, 1, 0x7f, 0xff, 0xff]);
        let rgb = png(&values, [1, 2], ExtendedColorType::Rgb16);
        assert_eq!(Picture::decode(&rgb, Channels::Rgb)?.pixels, [0, 0, 1, 0x7f, 0xff, 0xff]);
        Ok(())
    }

    #[test]
    fn transparency_lies_on_white() -> Result<()> {
        let bytes = png(&[0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0, 51], [1, 3], ExtendedColorType::Rgba8);
        assert_eq!(Picture::decode(&bytes, Channels::Grey)?.pixels, [255, 0, 204]);
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
        // A JPEG of one grey pixel whose frame header is made to claim as many.
        let mut jpeg = libjpeg_turbo_rs::compress(&[9], 1, 1, PixelFormat::Grayscale, 90, Subsampling::S444)
            .expect("writing to memory");
        let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).expect("a frame header");
        for at in [frame + 5, frame + 7] {
            jpeg[at..at + 2].copy_from_slice(&30_000u16.to_be_bytes());
        }
        // A GIF of one pixel and two colours whose frame claims as many.
        let mut gif = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0".to_vec();
        gif.extend([30_000u16.to_le_bytes(); 2].concat());
        gif.extend(b"\0\x02\0;");
        for bytes in [bmp, jpeg, gif] {
            let message =
                Picture::decode(&bytes, Channels::Grey).expect_err("900 million pixels").to_string();
            assert!(message.contains("30000×30000"), "{message}");
        }
    }
}
