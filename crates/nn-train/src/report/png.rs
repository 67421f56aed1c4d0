//! Pictures of tensors as PNG in a data URI.
//!
//! Source: PNG (third edition), W3C 2025, §§5, 9, 11.2; base64: RFC 4648, §4.

use std::io::{self, Write};

use candle_core::{DType, Result, Tensor};
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use nn_core::ensure;

use crate::data::Image;

/// A picture of `[H, W]`, `[1, H, W]` (grey) or `[3, H, W]` (red, green, blue) from the smallest number, black, to
/// the largest, white.
///
/// # Errors
/// If the shape is another one.
pub(super) fn data_uri(pixels: &Tensor) -> Result<String> {
    let pixels = if pixels.rank() == 2 { pixels.unsqueeze(0)? } else { pixels.clone() };
    let (channels, height, width) = match *pixels.dims() {
        [c @ (1 | 3), h, w] if h > 0 && w > 0 => (c, h, w),
        _ => candle_core::bail!(
            "Sample: pixels must be [H, W], [1, H, W] or [3, H, W], got {:?}",
            pixels.dims()
        ),
    };
    ensure!(height.max(width) <= 4096, "Sample: at most 4096 pixels a side, got {height} × {width}");
    let values: Vec<f32> = pixels.permute((1, 2, 0))?.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?; // H·W·C
    let (lo, hi) =
        values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    let scale = if hi > lo { 255.0 / (hi - lo) } else { 0.0 };
    let bytes: Vec<u8> = values.iter().map(|v| ((v - lo) * scale).round() as u8).collect();
    Ok(uri(&encode(&bytes, width, height, channels)?))
}

/// A picture of one channel or three as it is.
pub(super) fn image_uri(image: &Image) -> Result<String> {
    let [channels, height, width] = image.size();
    let area = height * width;
    let pixel = |at: usize| image.planes().map(move |plane| plane[at]);
    let bytes: Vec<u8> = (0..area).flat_map(pixel).collect(); // H·W·C
    Ok(uri(&encode(&bytes, width, height, channels)?))
}

fn uri(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", base64(png))
}

fn encode(bytes: &[u8], width: usize, height: usize, channels: usize) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    header.extend((width as u32).to_be_bytes());
    header.extend((height as u32).to_be_bytes());
    // Eight bits a sample; colour type 0 is grey, 2 red, green and blue.
    header.extend([8, if channels == 1 { 0 } else { 2 }, 0, 0, 0]);
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::default());
    for row in bytes.chunks_exact(width * channels) {
        rows.write_all(&[0])?; // no filter
        rows.write_all(row)?;
    }
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for (name, data) in [(b"IHDR", header), (b"IDAT", rows.finish()?), (b"IEND", Vec::new())] {
        let mut crc = Crc::new();
        crc.update(name);
        crc.update(&data);
        png.extend((data.len() as u32).to_be_bytes());
        png.extend(name);
        png.extend(data);
        png.extend(crc.sum().to_be_bytes());
    }
    Ok(png)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |w, &b| w << 8 | u32::from(b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i)) as usize & 63];
            text.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use candle_core::Device;

    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (text, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), coded);
        }
    }

    #[test]
    fn pixels_survive() -> Result<()> {
        let png = encode(&[0, 64, 128, 255, 1, 2], 3, 2, 1)?;
        assert_eq!(&png[16..24], &[0, 0, 0, 3, 0, 0, 0, 2]);
        let length = u32::from_be_bytes([png[33], png[34], png[35], png[36]]) as usize;
        let mut rows = Vec::new();
        flate2::read::ZlibDecoder::new(&png[41..41 + length]).read_to_end(&mut rows)?;
        assert_eq!(rows, [0, 0, 64, 128, 0, 255, 1, 2]);
        assert_eq!(&png[png.len() - 4..], &0xae42_6082u32.to_be_bytes()); // the checksum of every IEND
        Ok(())
    }

    #[test]
    fn other_shapes_are_refused() -> Result<()> {
        for shape in [vec![4], vec![2, 4, 4], vec![1, 1, 4, 4], vec![1, 0, 4]] {
            let error = data_uri(&Tensor::zeros(shape, DType::F32, &Device::Cpu)?)
                .expect_err("no picture")
                .to_string();
            assert!(error.contains("[3, H, W]"), "{error}");
        }
        assert!(
            data_uri(&Tensor::zeros((3, 4, 5), DType::F32, &Device::Cpu)?)?
                .starts_with("data:image/png;base64,iVBOR")
        );
        Ok(())
    }
}
