//! Rows of pictures as a page: what augmentations make of photos, say.

use std::fmt::Write;
use std::path::Path;

use nn_core::ensure;

use super::text::escape;
use super::{END, page, png};
use crate::data::Image;
use crate::error::TrainError;

/// A row of a page of pictures.
#[derive(Clone, Debug)]
pub struct PictureRow {
    /// What stands above it.
    pub title: String,
    /// Of one channel or three, at most 4096 pixels a side.
    pub pictures: Vec<Image>,
}

/// Writes rows of pictures as an HTML page that needs nothing else.
///
/// # Errors
/// If a picture has not one channel or three, or is larger than 4096 pixels a side, or the file cannot be written.
pub fn write_pictures(file: &Path, title: &str, rows: &[PictureRow]) -> Result<(), TrainError> {
    let html = html(title, rows)?;
    nn_core::atomic_file::write(file, |w| w.write_all(html.as_bytes())).map_err(TrainError::io(file))
}

fn html(title: &str, rows: &[PictureRow]) -> candle_core::Result<String> {
    let mut html = page(title);
    for PictureRow { title, pictures } in rows {
        let _ = writeln!(html, "<h2 class=\"row\">{}</h2>\n<div class=\"pictures\">", escape(title));
        for image in pictures {
            let [channels, h, w] = image.size();
            ensure!(
                (channels == 1 || channels == 3) && h.max(w) <= 4096,
                "PictureRow: a picture must have 1 or 3 channels and at most 4096 pixels a side, got {:?}",
                image.size()
            );
            let _ = writeln!(html, "<img src=\"{}\" alt=\"\">", png::image_uri(image)?);
        }
        html.push_str("</div>\n");
    }
    Ok(html + END)
}

#[cfg(test)]
mod tests {
    use candle_core::Result;

    use super::*;

    #[test]
    fn each_picture_is_on_the_page_as_it_is() -> Result<()> {
        let picture = |channels: usize| Image::new((0..6 * channels as u8).collect(), [channels, 2, 3]);
        let row = PictureRow { title: "a < b".to_owned(), pictures: vec![picture(1)?, picture(3)?] };
        let page = html("Pictures", &[row])?;
        assert_eq!(page.matches("<img src=\"data:image/png;base64,").count(), 2);
        assert!(page.contains("a &lt; b") && page.ends_with(END));
        let row = PictureRow { title: String::new(), pictures: vec![picture(2)?] };
        let error = html("", &[row]).expect_err("two channels").to_string();
        assert!(error.contains("1 or 3 channels and at most 4096 pixels a side, got [2, 2, 3]"), "{error}");
        Ok(())
    }
}
