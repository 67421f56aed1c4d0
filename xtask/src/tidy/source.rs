//! A source file as the rules see it: its text, its code without comments and strings, its functions.
//!
//! A scanner of a hundred lines instead of a parser: the rules need words, braces and parameter lists.

/// One file, with its path from the workspace root in forward slashes.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with comments and the insides of literals turned to spaces; bytes and lines stay in place.
    pub(crate) code: String,
}

/// A function or method: where it is, how long, what it takes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// From `fn` to the closing brace.
    pub(crate) lines: usize,
    /// `pub`, without a restriction.
    pub(crate) public: bool,
    /// `name: Type` each; a receiver is left out.
    pub(crate) parameters: Vec<String>,
}

impl Source {
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { path: path.into(), code: without_comments_and_literals(&text), text }
    }

    /// The line, from 1, of the byte at `offset`.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        self.text.as_bytes()[..offset].iter().filter(|&&b| b == b'\n').count() + 1
    }

    /// Offsets in the code where `word` stands alone, not inside a longer identifier.
    pub(crate) fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let bytes = self.code.as_bytes();
        self.code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
            let before = at.checked_sub(1).is_some_and(|i| is_identifier(bytes[i]));
            !before && !bytes.get(at + word.len()).is_some_and(|&b| is_identifier(b))
        })
    }

    /// Whether the whole file is the tests of the one beside it.
    pub(crate) fn is_tests(&self) -> bool {
        self.path.ends_with("/tests.rs")
    }

    /// Where the unit tests begin, which the house style puts last; the end if there are none.
    pub(crate) fn tests_start(&self) -> usize {
        if self.is_tests() {
            return 0;
        }
        self.code
            .match_indices("#[cfg(test)]")
            .map(|(at, _)| at)
            .find(|&at| self.code[at..].split_whitespace().nth(1) == Some("mod"))
            .unwrap_or(self.code.len())
    }

    /// The text of the leading `//!` lines.
    pub(crate) fn header(&self) -> String {
        self.text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n")
    }

    /// Every function with a body, in order; nested ones too.
    pub(crate) fn functions(&self) -> Vec<Function> {
        self.words("fn").filter_map(|at| self.function(at)).collect()
    }

    fn function(&self, at: usize) -> Option<Function> {
        let bytes = self.code.as_bytes();
        let start = at + 2 + self.code[at + 2..].find(|c: char| !c.is_whitespace())?;
        let name_len = bytes[start..].iter().take_while(|&&b| is_identifier(b)).count();
        if name_len == 0 {
            return None; // `fn(` is a type
        }
        let mut open = start + name_len;
        if bytes.get(open) == Some(&b'<') {
            open = close_of(bytes, open) + 1;
        }
        let open = open + self.code.get(open..)?.find('(')?;
        let close = close_of(bytes, open);
        let body = body_start(bytes, close)?;
        let end = close_of(bytes, body);
        let line_start = self.code[..at].rfind('\n').map_or(0, |i| i + 1);
        let parameters = split(&self.code[open + 1..close]);
        Some(Function {
            name: self.code[start..start + name_len].to_owned(),
            line: self.line_of(at),
            lines: self.line_of(end) - self.line_of(at) + 1,
            public: self.code[line_start..at].trim_start().starts_with("pub "),
            parameters: parameters.into_iter().filter(|p| p.contains(':')).collect(),
        })
    }
}

pub(super) fn is_identifier(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

/// The offset of the bracket that closes the one at `open`; the last byte if none does.
fn close_of(bytes: &[u8], open: usize) -> usize {
    let (up, down) = match bytes[open] {
        b'(' => (b'(', b')'),
        b'{' => (b'{', b'}'),
        _ => (b'<', b'>'),
    };
    let mut depth = 0usize;
    for (i, &b) in bytes.iter().enumerate().skip(open) {
        let arrow = down == b'>' && matches!(bytes[i - 1], b'-' | b'=');
        if b == up {
            depth += 1;
        } else if b == down && !arrow {
            depth -= 1;
            if depth == 0 {
                return i;
            }
        }
    }
    bytes.len() - 1
}

/// The offset of the brace after a signature, or nothing where a semicolon ends it first.
fn body_start(bytes: &[u8], after: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (i, &b) in bytes.iter().enumerate().skip(after + 1) {
        match b {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.checked_sub(1)?,
            b'{' if depth == 0 => return Some(i),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The parts of a parameter list, split at the commas outside brackets.
fn split(list: &str) -> Vec<String> {
    let mut depth = 0i32;
    let mut parts = vec![String::new()];
    let mut before = ' ';
    for c in list.chars() {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            '>' if matches!(before, '-' | '=') => {}
            ')' | ']' | '}' | '>' => depth -= 1,
            _ => {}
        }
        match parts.last_mut() {
            Some(last) if c != ',' || depth > 0 => last.push(c),
            _ => parts.push(String::new()),
        }
        before = c;
    }
    parts.into_iter().map(|p| p.trim().to_owned()).filter(|p| !p.is_empty()).collect()
}

/// Turns comments, and what stands between the quotes of literals, to spaces.
fn without_comments_and_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut i = 0;
    while i < bytes.len() {
        let end = token_end(bytes, i);
        if let Some(end) = end {
            out[i..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        }
        i = end.unwrap_or(i + 1);
    }
    // Only whole tokens were replaced, each byte by a space, so what is left of UTF-8 is whole too.
    String::from_utf8_lossy(&out).into_owned()
}

/// The end of the comment or literal that starts at `i`, if one does.
fn token_end(bytes: &[u8], i: usize) -> Option<usize> {
    let rest = &bytes[i..];
    let identifier_before = i > 0 && is_identifier(bytes[i - 1]);
    match rest {
        [b'/', b'/', ..] => Some(i + rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => Some(block_comment_end(bytes, i)),
        [b'r', b'"' | b'#', ..] if !identifier_before => raw_string_end(bytes, i + 1),
        [b'b', b'r', b'"' | b'#', ..] if !identifier_before => raw_string_end(bytes, i + 2),
        [b'"', ..] => Some(quoted_end(bytes, i, b'"')),
        [b'\'', b'\\', ..] => Some(quoted_end(bytes, i, b'\'')),
        [b'\'', ..] => char_end(bytes, i),
        _ => None,
    }
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut i) = (0, start);
    while i + 1 < bytes.len() {
        match &bytes[i..i + 2] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                i += 1;
                continue;
            }
        }
        i += 2;
        if depth == 0 {
            return i;
        }
    }
    bytes.len()
}

/// After `r`: as many `#` close the string as opened it; `r#name` is no string.
fn raw_string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let hashes = bytes[start..].iter().take_while(|&&b| b == b'#').count();
    if bytes.get(start + hashes) != Some(&b'"') {
        return None;
    }
    let mut i = start + hashes + 1;
    while i < bytes.len() {
        let closes = bytes[i] == b'"' && bytes[i + 1..].iter().take(hashes).all(|&b| b == b'#');
        if closes && i + hashes < bytes.len() {
            return Some(i + 1 + hashes);
        }
        i += 1;
    }
    Some(bytes.len())
}

fn quoted_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut i = start + 1;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 2,
            b if b == quote => return i + 1,
            _ => i += 1,
        }
    }
    bytes.len()
}

/// `'x'` is a literal, `'a` a lifetime: a literal has its quote after one character.
fn char_end(bytes: &[u8], start: usize) -> Option<usize> {
    let width = match bytes.get(start + 1)? {
        b if b.is_ascii() => 1,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    (bytes.get(start + 1 + width) == Some(&b'\'')).then_some(start + 2 + width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_go_code_and_lines_stay() {
        let text = "let a = \"unsafe \\\" {\"; // unsafe {\n/* { /* */ unsafe */ let b = '{'; let c: &'static str = r#\"}\"}\"#;\nfn r#match() {}\n";
        let source = Source::new("a.rs", text);
        assert_eq!(source.code.len(), text.len());
        assert_eq!(source.words("unsafe").count(), 0);
        assert_eq!(source.code.matches(['{', '}']).count(), 2);
        assert!(source.code.contains("&'static str"));
        assert_eq!(source.line_of(source.code.find("match").expect("still there")), 3);
    }

    #[test]
    fn functions_know_their_length_and_parameters() {
        let text = "impl A {\n    pub fn f<F: Fn(&T, u8) -> U>(&self, a: [u8; 2], b: Vec<(u8, u8)>, c: F) -> [u8; 2]\n    where F: B {\n        if x {\n        }\n    }\n}\npub(crate) fn g() {}\ntrait T { fn h(&self); }\ntype P = fn(bool);\n";
        let functions = Source::new("a.rs", text).functions();
        assert_eq!(functions.len(), 2);
        let f = &functions[0];
        assert_eq!((f.name.as_str(), f.line, f.lines, f.public), ("f", 2, 5, true));
        assert_eq!(f.parameters, ["a: [u8; 2]", "b: Vec<(u8, u8)>", "c: F"]);
        assert!(!functions[1].public);
    }

    #[test]
    fn tests_start_at_their_module_not_at_a_lone_item() {
        let text = "#[cfg(test)]\nfn only() {}\n#[cfg(test)]\nmod tests {}\n";
        let source = Source::new("a.rs", text);
        assert_eq!(source.line_of(source.tests_start()), 3);
        assert_eq!(Source::new("b.rs", "fn f() {}").tests_start(), 9);
        assert_eq!(Source::new("b/tests.rs", "fn f() {}").tests_start(), 0);
    }
}
