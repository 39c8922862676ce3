//! What is printed, and how: for people on a terminal in colour, plain when piped.

use std::error::Error;
use std::fmt::{Display, Write as _};
use std::io::{ErrorKind, Write as _};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::Format;
use crate::verbs::Outcome;

/// Headings.
pub const TITLE: Style = Style::new().bold();
/// What is there now.
pub const NEW: Style = AnsiColor::Green.on_default();
/// What is not there any more.
pub const OLD: Style = AnsiColor::Red.on_default();
/// What is of less interest.
pub const FAINT: Style = Style::new().dimmed();

/// A text in a style.
pub fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Prints all of it, or says that it could not: what is redirected may end on a full disk. Colours
/// are left out unless they are seen, and with `NO_COLOR`.
pub fn say(text: &str) -> Result<(), Box<dyn Error>> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| {
        if error.kind() == ErrorKind::BrokenPipe {
            Closed.into()
        } else {
            format!("standard output: {error}").into()
        }
    })
}

/// Prints what a verb has done: a line or more for people, or one JSON object.
pub fn done(format: Format, text: impl Display, json: &Value) -> Outcome {
    say(&match format {
        Format::Text => format!("{text}\n"),
        Format::Json => format!("{json:#}\n"),
    })?;
    Ok(true)
}

/// Nobody reads what is printed any more.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub struct Closed;

/// A text of the log for people: characters that a terminal obeys are written as escapes, so that no text can
/// change what stands around it, or the order in which it is read.
pub fn harmless(text: &str) -> String {
    let written = |character: char| match character {
        // Line separators, and what turns the direction of writing.
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => character.escape_default().to_string(),
        _ if character.is_control() => character.escape_default().to_string(),
        _ => character.to_string(),
    };
    text.chars().map(written).collect()
}

/// Lines in columns, each as wide as its widest value.
pub fn columns(lines: &[Vec<String>]) -> String {
    let count = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let values = lines.iter().filter_map(|line| line.get(column));
        values.map(|value| value.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut padded = String::new();
        for (value, width) in line.iter().zip(&widths) {
            // Writing to a string does not fail.
            let _ = write!(padded, "{value:width$}  ");
        }
        text.push_str(padded.trim_end());
        text.push('\n');
    }
    text
}

/// How many of so many events are done, with the rate and the time left; only on a terminal.
pub fn progress_bar(events: u64) -> ProgressBar {
    bar(events, "{wide_bar} {pos}/{len}  {per_sec}  {eta} left")
}

/// The same for the bytes of a file.
pub fn progress_bar_of_bytes(bytes: u64) -> ProgressBar {
    bar(bytes, "{wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left")
}

fn bar(total: u64, template: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(total);
    // The templates are constants that are known to parse; without one the bar is a plainer one.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_move_the_cursor_or_the_colours() {
        assert_eq!(
            harmless("a\u{1b}[1A\u{1b}[2K\r\n\u{9b}31m\u{7f}é"),
            r"a\u{1b}[1A\u{1b}[2K\r\n\u{9b}31m\u{7f}é"
        );
    }

    #[test]
    fn no_text_can_turn_the_direction_of_writing() {
        for character in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}') {
            assert_eq!(harmless(&character.to_string()), character.escape_default().to_string());
        }
    }
}
