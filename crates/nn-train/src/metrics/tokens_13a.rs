//! Words of a text as the evaluation script `mteval-v13a` of NIST tells them apart.

/// Words and punctuation marks: a point or comma between digits stays where it is.
pub fn tokens_13a(text: &str) -> Vec<String> {
    let text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    // `&quot;` first, and `&amp;` before the others, so that `&amp;lt;` becomes `<`, as it does there.
    let text = text.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
    let mut marks = String::from(" ");
    for c in text.chars() {
        if is_mark(c) { marks.extend([' ', c, ' ']) } else { marks.push(c) }
    }
    marks.push(' ');
    let point = |c: char| c == '.' || c == ',';
    let digit = |c: char| c.is_ascii_digit();
    let text = spread(&marks, |a, b| !digit(a) && point(b), |a, b| [a, ' ', b, ' ']);
    let text = spread(&text, |a, b| point(a) && !digit(b), |a, b| [' ', a, ' ', b]);
    let text = spread(&text, |a, b| digit(a) && b == '-', |a, b| [a, ' ', b, ' ']);
    text.split_whitespace().map(str::to_owned).collect()
}

/// All of ASCII's marks but `'`, `,`, `-` and `.`.
fn is_mark(c: char) -> bool {
    c.is_ascii_punctuation() && !matches!(c, '\'' | ',' | '-' | '.')
}

/// Replaces pairs of neighbours, from the left, each character in one pair at most.
fn spread(text: &str, is: impl Fn(char, char) -> bool, becomes: impl Fn(char, char) -> [char; 4]) -> String {
    let mut spread = String::with_capacity(text.len() + text.len() / 4);
    let mut rest = text.chars().peekable();
    while let Some(a) = rest.next() {
        match rest.next_if(|&b| is(a, b)) {
            Some(b) => spread.extend(becomes(a, b)),
            None => spread.push(a),
        }
    }
    spread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_words_and_numbers_stay_whole() {
        for (text, words) in [
            ("Hello, world!", "Hello , world !"),
            ("It's 3.14, or 1,000.", "It's 3.14 , or 1,000 ."),
            ("a 5-year-old (boy)", "a 5 - year-old ( boy )"),
            ("x &amp;lt; y &quot;z&quot;", "x < y \" z \""),
            ("wait...", "wait . . ."),
            ("Straßen-\nbahn\nfährt", "Straßenbahn fährt"),
        ] {
            assert_eq!(tokens_13a(text).join(" "), words);
        }
        assert!(tokens_13a(" \n").is_empty());
    }
}
