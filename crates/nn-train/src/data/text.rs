//! Text files in the encoding they are in.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use candle_core::{Error, Result};
use encoding_rs::UTF_8;
use serde::{Deserialize, Serialize};

/// How the bytes of a file become text: UTF-8 unless it is said otherwise.
///
/// As a string it is any label of the WHATWG's standard: `utf-8`, `windows-1252`, `iso-8859-1`, `shift_jis`.
///
/// Source: WHATWG, Encoding Standard, <https://encoding.spec.whatwg.org>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Encoding(&'static encoding_rs::Encoding);

impl Encoding {
    /// The text of `bytes`, without the mark of their order in front.
    ///
    /// # Errors
    /// If bytes stand for no character; in UTF-8 the message gives line and byte.
    pub fn decode(self, bytes: &[u8]) -> Result<String> {
        if self.0 == UTF_8 {
            let text = std::str::from_utf8(bytes).map_err(|e| no_utf8(bytes, e.valid_up_to()))?;
            return Ok(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned());
        }
        let (text, malformed) = self.0.decode_with_bom_removal(bytes);
        if malformed {
            candle_core::bail!("some bytes are no {self}")
        }
        Ok(text.into_owned())
    }

    /// The text of a file.
    ///
    /// # Errors
    /// If it cannot be read, or as [`Encoding::decode`]; the message names the file.
    pub fn read(self, path: &Path) -> Result<String> {
        let bytes = fs::read(path).map_err(|e| Error::Msg(format!("{}: {e}", path.display())))?;
        self.decode(&bytes).map_err(|e| Error::Msg(format!("{}: {e}", path.display())))
    }
}

/// Lines and their bytes are counted from 1.
fn no_utf8(bytes: &[u8], at: usize) -> Error {
    let line = 1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count();
    let start = bytes[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    let value = bytes.get(at).copied().unwrap_or(0);
    Error::Msg(format!("no UTF-8 in line {line} at byte {}: {value:#04x}", at - start + 1))
}

impl Default for Encoding {
    fn default() -> Self {
        Self(UTF_8)
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name().to_ascii_lowercase())
    }
}

impl FromStr for Encoding {
    type Err = String;

    fn from_str(label: &str) -> std::result::Result<Self, String> {
        let known = encoding_rs::Encoding::for_label_no_replacement(label.as_bytes());
        known.map(Self).ok_or_else(|| {
            format!("there is no encoding {label:?}; windows-1252 and utf-8 are the usual ones")
        })
    }
}

impl TryFrom<String> for Encoding {
    type Error = String;

    fn try_from(label: String) -> std::result::Result<Self, String> {
        label.parse()
    }
}

impl From<Encoding> for String {
    fn from(encoding: Encoding) -> Self {
        encoding.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_in_their_encoding() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let encoding = |label: &str| label.parse::<Encoding>();
        assert_eq!(encoding("windows-1252")?.decode(b"na\xefve \x80 \x93so\x94")?, "naïve € “so”");
        assert_eq!(encoding("latin1")?.to_string(), "windows-1252");
        assert_eq!(Encoding::default().decode("\u{feff}naïve".as_bytes())?, "naïve");
        assert_eq!(Encoding::default().decode("猫\r\n".as_bytes())?, "猫\r\n");
        assert!(encoding("utf-9").expect_err("no such").contains("windows-1252"));
        let error = encoding("shift_jis")?.decode(b"ok \xff").expect_err("no such byte").to_string();
        assert!(error.contains("no shift_jis"), "{error}");
        Ok(())
    }

    #[test]
    fn what_is_no_utf8_is_placed() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("reviews");
        for (bytes, says) in [
            (&b"a\nna\xefve\n"[..], "reviews: no UTF-8 in line 2 at byte 3: 0xef"),
            (b"\x80", "line 1 at byte 1: 0x80"),
            ("a\n\né".as_bytes().split_last().expect("bytes").1, "line 3 at byte 1: 0xc3"),
        ] {
            fs::write(&path, bytes)?;
            let error = Encoding::default().read(&path).expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} is not in {error}");
        }
        let error = Encoding::default().read(&dir.path().join("absent")).expect_err("no file").to_string();
        assert!(error.contains("absent"), "{error}");
        Ok(())
    }
}
