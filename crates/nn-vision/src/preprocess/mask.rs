//! Masks: pictures whose numbers are classes, and nothing to be seen.
//!
//! Source: the PNG files of CamVid (greys) and PASCAL VOC (numbers of a palette's colours).

use std::io::Cursor;
use std::path::Path;

use candle_core::Result;
use image::ImageFormat;
use png::{BitDepth, ColorType, Limits};

use super::decode::{MAX_DECODER_BYTES, check_size, contents, damaged, named};
use super::{Channels, Picture};

impl Picture {
    /// Reads a PNG file whose numbers are classes: greys of up to eight bits, or the places of a palette's colours. They stay as
    /// they are written, where [`Picture::open`] makes lightness of them.
    ///
    /// # Errors
    /// If the file cannot be read, is of another format or holds other numbers, is damaged, or claims more than 100 million
    /// pixels; the message names the file.
    pub fn open_mask(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        read(&contents(path)?).map_err(|e| named(path, e))
    }
}

fn read(bytes: &[u8]) -> std::result::Result<Picture, String> {
    if !matches!(image::guess_format(bytes), Ok(ImageFormat::Png)) {
        return Err("a mask must be a PNG file, which keeps its numbers as they are".to_owned());
    }
    let limits = Limits { bytes: MAX_DECODER_BYTES as usize };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    let header = decoder.read_header_info().map_err(damaged)?;
    let (height, width) = (header.height, header.width);
    check_size([height, width])?;
    let bits = match (header.color_type, header.bit_depth) {
        (ColorType::Grayscale | ColorType::Indexed, BitDepth::One) => 1,
        (ColorType::Grayscale | ColorType::Indexed, BitDepth::Two) => 2,
        (ColorType::Grayscale | ColorType::Indexed, BitDepth::Four) => 4,
        (ColorType::Grayscale | ColorType::Indexed, BitDepth::Eight) => 8,
        (colour, depth) => {
            return Err(format!(
                "a mask must hold greys of up to 8 bits, or a palette's numbers, which are its classes; it holds {colour:?} of {} bits",
                depth as u8
            ));
        }
    };
    let mut reader = decoder.read_info().map_err(damaged)?;
    let size = reader.output_buffer_size().ok_or_else(|| damaged("too many pixels"))?;
    let mut packed = vec![0; size];
    let frame = reader.next_frame(&mut packed).map_err(damaged)?;
    if [frame.height, frame.width] != [height, width] {
        return Err(damaged("its first frame is a part of it"));
    }
    let rows = packed.chunks_exact(frame.line_size);
    let pixels = rows.flat_map(|row| (0..width as usize).map(move |x| sample(row, x, bits))).collect();
    Ok(Picture { pixels, size: [height as usize, width as usize], channels: Channels::Grey })
}

/// One of the numbers of so many bits that a row is packed of, the first in the upper bits.
fn sample(row: &[u8], x: usize, bits: usize) -> u8 {
    let (byte, place) = (row[x * bits / 8], x * bits % 8);
    byte >> (8 - bits - place) & (0xff >> (8 - bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png([height, width]: [u32; 2], colour: ColorType, depth: BitDepth, rows: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        if colour == ColorType::Indexed {
            encoder.set_palette([[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]].concat());
        }
        let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(rows));
        written.expect("writing to memory");
        bytes
    }

    #[test]
    fn numbers_stay_as_they_are_written() {
        let grey = png([2, 3], ColorType::Grayscale, BitDepth::Eight, &[0, 1, 11, 255, 2, 3]);
        let nibbles = png([2, 3], ColorType::Grayscale, BitDepth::Four, &[0x01, 0xb0, 0xf2, 0x30]);
        let palette = png([2, 3], ColorType::Indexed, BitDepth::Eight, &[0, 1, 2, 3, 2, 1]);
        let pairs = png([2, 3], ColorType::Indexed, BitDepth::Two, &[0b00_01_10_00, 0b11_10_01_00]);
        let bits = png([1, 9], ColorType::Grayscale, BitDepth::One, &[0b1000_0001, 0b1000_0000]);
        for (bytes, size, numbers) in [
            (grey, [2, 3], &[0, 1, 11, 255, 2, 3][..]),
            (nibbles, [2, 3], &[0, 1, 11, 15, 2, 3]),
            (palette, [2, 3], &[0, 1, 2, 3, 2, 1]),
            (pairs, [2, 3], &[0, 1, 2, 3, 2, 1]),
            (bits, [1, 9], &[1, 0, 0, 0, 0, 0, 0, 1, 1]),
        ] {
            let mask = read(&bytes).expect("a mask");
            assert_eq!((mask.size(), mask.pixels()), (size, numbers));
            for cut in [8, 20, 33, bytes.len() - 20] {
                assert!(read(&bytes[..cut]).is_err(), "{cut} of {}", bytes.len());
            }
        }
    }

    #[test]
    fn what_holds_no_classes_is_refused() {
        let deep = png([1, 2], ColorType::Grayscale, BitDepth::Sixteen, &[0, 1, 0, 2]);
        let colours = png([1, 1], ColorType::Rgb, BitDepth::Eight, &[1, 2, 3]);
        for (bytes, says) in [
            (deep, "it holds Grayscale of 16 bits"),
            (colours, "it holds Rgb of 8 bits"),
            (b"BM".to_vec(), "must be a PNG file"),
        ] {
            let error = read(&bytes).expect_err(says);
            assert!(error.contains(says), "{error}");
        }
        let error = Picture::open_mask("no/mask.png").expect_err("no file").to_string();
        assert!(error.contains("no/mask.png"), "{error}");
    }
}
