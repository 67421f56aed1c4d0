//! JPEG files, bit for bit as libjpeg-turbo reads them, and so Pillow.

use image::DynamicImage;
use image::metadata::Orientation;
use libjpeg_turbo_rs::{DecodeLimits, Decoder, FrameHeader, JpegError, PixelFormat};

use super::decode::{MAX_DECODER_BYTES, check_size, damaged};

/// Every scan of a progressive JPEG goes through the whole picture; encoders write about ten.
const MAX_SCANS: usize = 200;

/// The pixels, and how the camera was held; `CMYK` becomes RGB as in Pillow.
///
/// # Errors
/// If the file is damaged, too large or of a kind that is not supported.
pub(super) fn decode(bytes: &[u8]) -> std::result::Result<(DynamicImage, Orientation), String> {
    let limits =
        DecodeLimits { max_scans: MAX_SCANS, max_memory: Some(MAX_DECODER_BYTES), ..DecodeLimits::default() };
    let mut decoder = Decoder::new_with_limits(bytes, limits).map_err(damaged)?;
    check_size([decoder.header().height, decoder.header().width].map(u32::from))?;
    check_sampling(decoder.header())?;
    let orientation = decoder.exif_orientation().and_then(Orientation::from_exif);
    decoder.set_output_format(PixelFormat::Rgb);
    let image = decoder.decode_image().map_err(|e| match e {
        JpegError::Unsupported(what) => format!("a JPEG picture of a kind that is not supported ({what})"),
        e => damaged(e),
    })?;
    let pixels = image::RgbImage::from_raw(image.width as u32, image.height as u32, image.data);
    let pixels = pixels.ok_or_else(|| damaged("fewer pixels than the header says"))?;
    Ok((pixels.into(), orientation.unwrap_or(Orientation::NoTransforms)))
}

/// Of four components the decoder reads those where the second and third alone are coarser, by 2×1 or 2×2, as in every
/// CMYK and YCCK file that is met; at others it would panic, or give other colours than Pillow.
fn check_sampling(frame: &FrameHeader) -> std::result::Result<(), String> {
    let factors: Vec<_> =
        frame.components.iter().map(|c| [c.horizontal_sampling, c.vertical_sampling]).collect();
    let &[full, coarse, third, last] = factors.as_slice() else { return Ok(()) };
    let finer = |by: [u8; 2]| full == [coarse[0] * by[0], coarse[1] * by[1]];
    if last == full && third == coarse && [[1, 1], [2, 1], [2, 2]].into_iter().any(finer) {
        return Ok(());
    }
    let factors: Vec<_> = factors.iter().map(|[h, v]| format!("{h}×{v}")).collect();
    Err(format!(
        "a JPEG picture of a kind that is not supported (four components sampled {})",
        factors.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use candle_core::Result;
    use libjpeg_turbo_rs::Subsampling;

    use crate::preprocess::{Channels, Picture};

    use super::*;

    /// Whatever is cut off is missed: no grey half, no panic.
    #[test]
    fn a_jpeg_cut_off_anywhere_before_its_end_is_an_error() {
        let noise: Vec<u8> = (0..48 * 40 * 3u32).map(|i| (i * i % 251) as u8).collect();
        let whole = libjpeg_turbo_rs::compress(&noise, 48, 40, PixelFormat::Rgb, 90, Subsampling::S420)
            .expect("writing to memory");
        assert!(Picture::decode(&whole, Channels::Rgb).is_ok());
        // The last bytes may be padding and the end marker alone.
        for end in 0..whole.len() - 4 {
            let error = Picture::decode(&whole[..end], Channels::Rgb).expect_err("cut off").to_string();
            assert!(error.contains("picture"), "{end}: {error}");
        }
    }

    /// What the components of a YCCK picture may be sampled by; the colour is that of `Image.convert("RGB")`.
    #[test]
    fn of_four_components_the_usual_are_read_and_others_refused() -> Result<()> {
        let [one, wide, full] = [[1, 1], [2, 1], [2, 2]];
        for factors in [[one; 4], [wide; 4], [wide, one, one, wide], [full, one, one, full]] {
            let pixels = Picture::decode(&ycck(factors), Channels::Rgb)?.pixels;
            assert_eq!(pixels, [0, 51, 148].repeat(16 * 16), "{factors:?}");
        }
        let refused = [
            [[2, 3], one, one, one],
            [full, one, one, one],
            [one, full, full, one],
            [full, one, wide, full],
            [wide, full, full, wide],
            [[1, 2], one, one, [1, 2]],
            [[3, 1], [2, 1], [2, 1], [3, 1]],
        ];
        for factors in refused {
            let error = Picture::decode(&ycck(factors), Channels::Rgb).expect_err("odd factors").to_string();
            let [h, v] = factors[0];
            assert!(error.contains(&format!("not supported (four components sampled {h}×{v}, ")), "{error}");
        }
        Ok(())
    }

    /// A height of zero means that a marker behind the pixels tells it, which nobody uses.
    #[test]
    fn a_picture_without_pixels_is_refused() {
        let mut bytes = ycck([[1, 1]; 4]);
        let frame = bytes.windows(2).position(|w| w == [0xff, 0xc0]).expect("a frame header");
        bytes[frame + 6] = 0;
        let error = Picture::decode(&bytes, Channels::Rgb).expect_err("of no height").to_string();
        assert!(error.contains("without pixels"), "{error}");
    }

    /// 16 × 16 pixels of one colour in YCCK, each component with its own factors; the levels are 208, 48, 192 and 200.
    fn ycck(factors: [[u8; 2]; 4]) -> Vec<u8> {
        let mut bytes = b"\xff\xd8\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x02\xff\xdb\0\x43\0".to_vec();
        bytes.extend([8; 64]);
        bytes.extend(b"\xff\xc0\0\x14\x08\0\x10\0\x10\x04");
        for (id, [h, v]) in (1..).zip(factors) {
            bytes.extend([id, h << 4 | v, 0]);
        }
        // A block's mean is `0` and seven bits, or `10` for that of the block before; `0` ends it.
        bytes.extend([b"\xff\xc4\0\x15\0\x01\x01".as_slice(), &[0; 14], b"\x07\0"].concat());
        bytes.extend([b"\xff\xc4\0\x14\x10\x01".as_slice(), &[0; 15], b"\0"].concat());
        bytes.extend(b"\xff\xda\0\x0e\x04\x01\0\x02\0\x03\0\x04\0\0\x3f\0");
        let largest = |axis: usize| factors.iter().map(|f| f[axis]).max().unwrap_or(1);
        let units = 2u8.div_ceil(largest(0)) * 2u8.div_ceil(largest(1));
        let mut bits = String::new();
        for unit in 0..units {
            for ([h, v], level) in factors.into_iter().zip(["01010000", "00101111", "01000000", "01001000"]) {
                let repeated = usize::from(h * v);
                match unit {
                    0 => bits.extend([level, "0", &"100".repeat(repeated - 1)]),
                    _ => bits.push_str(&"100".repeat(repeated)),
                }
            }
        }
        bits.push_str("1111111");
        for eight in bits.as_bytes().chunks_exact(8) {
            bytes.push(eight.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0')));
        }
        bytes.extend([0xff, 0xd9]);
        bytes
    }
}
