//! The text of a document, before anything is built of it.

use super::TooMuch;

/// The most tokens of a document.
const TOKENS_MAX: u32 = 10_000;

/// How deep brackets of all kinds may nest. The parser goes down one level of its stack for each, and
/// a stack that ends takes the server with it.
const NESTING_MAX: u32 = 64;

const BLOCK_QUOTE: &[u8] = br#"""""#;
const ESCAPED_BLOCK_QUOTE: &[u8] = br#"\""""#;
const EMPTY_STRING: &[u8] = br#""""#;

/// Counts the tokens of a text and how deep its brackets nest. It looks at each byte once, and leaves
/// it to the parser to find what is no GraphQL.
pub fn check(text: &str) -> Result<(), TooMuch> {
    let mut rest = text.as_bytes();
    let (mut tokens, mut nesting) = (0_u32, 0_u32);
    // Where one block string has no end, none after it has: its beginning would have been the end.
    let mut blocks_end = true;
    while let Some((first, after)) = rest.split_first() {
        let length = match first {
            // Ignored, the three bytes of a byte order mark, too.
            b' ' | b'\t' | b'\n' | b'\r' | b',' | 0xEF | 0xBB | 0xBF => {
                rest = after;
                continue;
            }
            b'#' => {
                let comment = after.iter().take_while(|byte| !matches!(byte, b'\n' | b'\r'));
                rest = after.get(comment.count()..).unwrap_or_default();
                continue;
            }
            b'{' | b'[' | b'(' => {
                nesting += 1;
                if nesting > NESTING_MAX {
                    return Err(TooMuch::of("nested brackets", nesting, NESTING_MAX));
                }
                1
            }
            b'}' | b']' | b')' => {
                nesting = nesting.saturating_sub(1);
                1
            }
            b'"' if blocks_end && rest.starts_with(BLOCK_QUOTE) => {
                let length = block_string(rest);
                blocks_end = length.is_some();
                length.unwrap_or(EMPTY_STRING.len())
            }
            b'"' => string(rest),
            b'.' => rest.iter().take(3).take_while(|byte| **byte == b'.').count(),
            b'-' | b'0'..=b'9' => rest.iter().take_while(|byte| is_of_number(**byte)).count(),
            byte if is_of_name(*byte) => rest.iter().take_while(|byte| is_of_name(**byte)).count(),
            _ => 1,
        };
        rest = rest.get(length..).unwrap_or_default();
        tokens += 1;
        if tokens > TOKENS_MAX {
            return Err(TooMuch::of("tokens", tokens, TOKENS_MAX));
        }
    }
    Ok(())
}

fn is_of_name(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')
}

/// The length of the string that a text begins with. One without an end ends with its line: the parser
/// does not go on behind it either.
fn string(text: &[u8]) -> usize {
    let mut length = 1;
    while let Some(byte) = text.get(length) {
        length += 1;
        match byte {
            b'"' | b'\n' | b'\r' => break,
            b'\\' => length += 1,
            _ => {}
        }
    }
    length
}

/// The length of the block string that a text begins with. One without an end is none: the parser
/// takes its first quotes for an empty string.
fn block_string(text: &[u8]) -> Option<usize> {
    let mut length = BLOCK_QUOTE.len();
    loop {
        let rest = text.get(length..).filter(|rest| !rest.is_empty())?;
        if rest.starts_with(BLOCK_QUOTE) {
            return Some(length + BLOCK_QUOTE.len());
        }
        let is_escaped = rest.starts_with(ESCAPED_BLOCK_QUOTE);
        length += if is_escaped { ESCAPED_BLOCK_QUOTE.len() } else { 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text that has as many tokens as it should: with so many more it passes, with one more not.
    #[track_caller]
    fn has_tokens(text: &str, tokens: usize) {
        let max = usize::try_from(TOKENS_MAX).unwrap();
        let padded = |count: usize| format!("{} {text}", "a ".repeat(count));
        assert_eq!(check(&padded(max - tokens)), Ok(()), "{text}");
        assert_eq!(check(&padded(max - tokens + 1)).unwrap_err().limit, "tokens", "{text}");
    }

    #[test]
    fn tokens_are_counted_as_graphql_has_them() {
        has_tokens("", 0);
        has_tokens("query($a:Int=-1.5e3){b(c:$a)...D@e}", 22);
        has_tokens("{ a, # b c d\n e }", 4);
        has_tokens(r#"{ a(b: "c d \" e") }"#, 8);
        has_tokens(r#"{ a(b: """c " d \""" e""") }"#, 8);
        has_tokens("\u{feff}{ a }", 3);
        has_tokens("\"a b\nc", 2);
        has_tokens(r#""""a" b c"#, 4);
        has_tokens("é", 2);
    }

    #[test]
    fn brackets_nest_so_deep_and_no_deeper() {
        assert_eq!(check(&"[".repeat(64)), Ok(()));
        assert_eq!(check(&"([{".repeat(22)).unwrap_err().limit, "nested brackets");
        assert_eq!(check(&"{}[]()".repeat(1_000)), Ok(()));
        assert_eq!(check(&format!("\"{}\"", "[".repeat(100))), Ok(()));
        // Behind what only looks like the beginning of a block string.
        let hidden = format!(r#"{{ a(b: ["""c" {}"#, "[".repeat(100));
        assert_eq!(check(&hidden).unwrap_err().limit, "nested brackets");
    }
}
