//! Scenes: the picture, what it shows place by place, and what the model made of it, side by side.

use std::fmt::Write;

use candle_core::{DType, Device, Result, Tensor};

use super::png;
use super::text::{escape, percent};
use crate::metrics::Confusion;

/// A picture with a class for every pixel.
#[derive(Clone, Debug)]
pub struct Scene {
    /// `[3, H, W]` or `[1, H, W]`; the smallest number is drawn black, the largest white.
    pub pixels: Tensor,
    /// `[H, W]`, the classes; what is no class is drawn black.
    pub truth: Tensor,
    /// `[H, W]`, the classes that were decided for.
    pub predicted: Tensor,
}

/// Rows of three pictures, and the classes' colours and figures.
pub(super) fn html(
    scenes: &[Scene],
    confusion: Option<&Confusion>,
    name: impl Fn(usize) -> String,
) -> Result<String> {
    if scenes.is_empty() {
        return Ok(String::new());
    }
    let classes = confusion.map_or(0, |confusion| confusion.counts.len());
    let mut html = String::from("<h2>Scenes</h2>\n<div class=\"panel scenes\">\n");
    html.push_str(&legend(confusion, name));
    for Scene { pixels, truth, predicted } in scenes {
        let masks = [truth, predicted].map(|mask| painted(mask, classes));
        let [truth, predicted] = masks;
        for (what, picture) in [("picture", pixels.clone()), ("truth", truth?), ("prediction", predicted?)] {
            let _ = writeln!(
                html,
                "<figure><img src=\"{}\" alt=\"{what}\"><figcaption>{what}</figcaption></figure>",
                png::data_uri(&picture)?
            );
        }
    }
    Ok(html + "</div>\n")
}

fn legend(confusion: Option<&Confusion>, name: impl Fn(usize) -> String) -> String {
    let shares = confusion.map(Confusion::iou).unwrap_or_default();
    let mut html = String::from("<p class=\"legend\">");
    for (class, share) in shares.into_iter().enumerate() {
        let [r, g, b] = colour(class);
        let share = share.map_or("–".to_owned(), percent);
        let _ = write!(
            html,
            "<span><i style=\"border-color:rgb({r} {g} {b})\"></i>{} {share}</span>",
            escape(&name(class))
        );
    }
    html + "<span>intersection over union</span></p>\n"
}

/// `[H, W]` classes → `[3, H, W]` colours.
fn painted(mask: &Tensor, classes: usize) -> Result<Tensor> {
    let (height, width) = mask.dims2()?;
    let values: Vec<u32> = mask.to_dtype(DType::U32)?.flatten_all()?.to_vec1()?;
    let paint = |class: &u32| match *class as usize {
        class if class < classes => colour(class),
        _ => [0; 3],
    };
    let colours: Vec<[u8; 3]> = values.iter().map(paint).collect();
    let mut bytes: Vec<u8> = (0..3).flat_map(|c| colours.iter().map(move |colour| colour[c])).collect();
    // The picture's range is stretched to black and white: two corners keep the colours what they are.
    if let [first, .., last] = bytes.as_mut_slice() {
        (*first, *last) = (0, 255);
    }
    Tensor::from_vec(bytes, (3, height, width), &Device::Cpu)
}

/// Colours as far apart as they go: hues by the golden angle, in turn light and dark.
fn colour(class: usize) -> [u8; 3] {
    let sixths = (class as f64 * 0.618_034 % 1.0) * 6.0;
    let value = if class.is_multiple_of(2) { 230.0 } else { 150.0 };
    let least = value * 0.25;
    let part = (1.0 - (sixths % 2.0 - 1.0).abs()) * (value - least) + least;
    let [r, g, b] = match sixths as u8 {
        0 => [value, part, least],
        1 => [part, value, least],
        2 => [least, value, part],
        3 => [least, part, value],
        4 => [part, least, value],
        _ => [value, least, part],
    };
    [r, g, b].map(|v| v as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scene_is_three_pictures_and_classes_have_their_own_colours() -> Result<()> {
        let mask = |v: u8| Tensor::full(v, (2, 3), &Device::Cpu);
        let scene = Scene {
            pixels: Tensor::zeros((3, 2, 3), DType::U8, &Device::Cpu)?,
            truth: mask(0)?,
            predicted: mask(1)?,
        };
        let confusion = Confusion { counts: vec![vec![0, 6], vec![0, 0]] };
        let page = html(&[scene], Some(&confusion), |class| format!("<{class}>"))?;
        assert_eq!(page.matches("<img").count(), 3);
        assert!(page.contains("&lt;0&gt; 0.00 %") && page.contains("&lt;1&gt; 0.00 %"), "{page}");
        let painted = painted(&Tensor::new(&[[0u8, 1], [11, 1]], &Device::Cpu)?, 2)?;
        let at = |y: usize, x: usize| -> Result<Vec<u8>> {
            painted.narrow(1, y, 1)?.narrow(2, x, 1)?.flatten_all()?.to_vec1()
        };
        assert_eq!((at(0, 1)?, at(1, 0)?), (colour(1).to_vec(), vec![0; 3]));
        let colours: std::collections::BTreeSet<_> = (0..20).map(colour).collect();
        assert_eq!(colours.len(), 20);
        assert_eq!(html(&[], None, |c| c.to_string())?, "");
        Ok(())
    }
}
