//! Numbers, times and foreign words as HTML text.

/// Text that cannot be mistaken for mark-up, in attributes too.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// `44426` → `44,426`
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `0.98764` → `98.76 %`
pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// With a capital in front.
pub(super) fn headline(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().into_iter().flat_map(char::to_uppercase).chain(rest).collect()
}

/// Seconds, short: `8.4 s`, `3:20 min`, `5:07 h`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{}:{:02} min", whole / 60, whole % 60),
        _ => format!("{}:{:02} h", whole / 3600, whole / 60 % 60),
    }
}

/// Seconds since 1970 as `2025-11-22 04:00 UTC`.
///
/// Source: Hinnant 2013, "chrono-compatible low-level date algorithms", `civil_from_days`.
pub(super) fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468; // since 0000-03-01
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153; // months since March
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let day = of_year - (153 * march + 2) / 5 + 1;
    let minutes = seconds / 60;
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60 % 24, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [0, 999, 1000, 44_426, 1_234_567].map(count),
            ["0", "999", "1,000", "44,426", "1,234,567"]
        );
        assert_eq!([8.42, 59.4, 200.2, 18_430.0].map(duration), ["8.4 s", "59.4 s", "3:20 min", "5:07 h"]);
        assert_eq!(duration(59.97), "1:00 min");
        let dates = [0, 951_782_400, 1_709_164_800, 1_763_784_059].map(date);
        let known =
            ["1970-01-01 00:00 UTC", "2000-02-29 00:00 UTC", "2024-02-29 00:00 UTC", "2025-11-22 04:00 UTC"];
        assert_eq!(dates, known);
        assert_eq!(escape("<a href='x'>\"&\"</a>"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;&quot;&lt;/a&gt;");
    }
}
