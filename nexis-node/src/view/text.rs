//! Text that came from outside, made safe to print and cut to a width.

use unicode_width::UnicodeWidthChar;

/// What stands for characters that are not shown.
const REPLACEMENT: char = '\u{fffd}';

/// Zero-width marks allowed on one character; more of them pile up over neighbouring lines.
const MARKS: usize = 3;

/// A text on one line that cannot steer a terminal or reorder what stands around it.
///
/// White space becomes one space each. Every run of escape sequences, control characters, bidirectional
/// controls and invisible characters becomes one `U+FFFD`, so that a reader sees that something was there.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut marks = 0;
    while let Some(c) = chars.next() {
        if matches!(c, '\t' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}') || c.is_whitespace() {
            out.push(' ');
            marks = 0;
            continue;
        }
        if matches!(c, '\u{1b}' | '\u{90}' | '\u{98}' | '\u{9b}' | '\u{9d}' | '\u{9e}' | '\u{9f}') {
            skip_sequence(c, &mut chars);
            replace(&mut out);
            continue;
        }
        // A variation selector only chooses between looks of the character before it.
        if matches!(c, '\u{fe00}'..='\u{fe0f}') {
            continue;
        }
        let zero_width = UnicodeWidthChar::width(c).unwrap_or(0) == 0;
        marks = if zero_width { marks + 1 } else { 0 };
        if invisible(c) || marks > MARKS {
            replace(&mut out);
        } else {
            out.push(c);
        }
    }
    out
}

fn replace(out: &mut String) {
    if !out.ends_with(REPLACEMENT) {
        out.push(REPLACEMENT);
    }
}

/// Passes over an escape sequence (ECMA-48) whose first character is already taken.
fn skip_sequence(first: char, chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let kind = if first == '\u{1b}' {
        match chars.peek() {
            Some(&c) if matches!(c, ' '..='~') => {
                chars.next();
                c
            }
            _ => return,
        }
    } else {
        // The one-character form of ESC and a letter.
        char::from_u32((first as u32).saturating_sub(0x40)).unwrap_or(' ')
    };
    match kind {
        '[' => {
            while let Some(c) = chars.next_if(|c| matches!(c, ' '..='~')) {
                if matches!(c, '@'..='~') {
                    return;
                }
            }
        }
        // A string: to its terminator, but only within the line, or one escape would hide all that follows.
        ']' | 'P' | 'X' | '^' | '_' => {
            let mut ahead = chars.clone();
            while let Some(c) = ahead.next() {
                if c == '\n' {
                    return;
                }
                let ends =
                    matches!(c, '\u{7}' | '\u{9c}') || c == '\u{1b}' && ahead.next_if_eq(&'\\').is_some();
                if ends {
                    *chars = ahead;
                    return;
                }
            }
        }
        // An intermediate character, such as the choice of a character set, has one more behind it.
        ' '..='/' => {
            chars.next_if(|c| matches!(c, ' '..='~'));
        }
        _ => {}
    }
}

/// Characters that take no room, or that change the order of others.
fn invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{fffe}' | '\u{ffff}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Columns that a printable text takes on a terminal, never too few.
///
/// Counted character by character: terminals disagree about joined sequences, and the sum is the most
/// that any of them uses.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(|c| UnicodeWidthChar::width(c).unwrap_or(0)).sum()
}

/// The longest beginning of a text that fits, and the rest.
fn split_at_width(text: &str, columns: usize) -> (&str, &str) {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += UnicodeWidthChar::width(c).unwrap_or(0);
        if used > columns {
            return text.split_at_checked(at).unwrap_or((text, ""));
        }
    }
    (text, "")
}

/// A text cut to a width, with an ellipsis where something is missing.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let (head, _) = split_at_width(text, columns.saturating_sub(1));
    if columns == 0 { String::new() } else { format!("{}…", head.trim_end()) }
}

/// A name cut in its middle, as the ends are what people tell addresses apart by.
pub(crate) fn shorten(name: &str, columns: usize) -> String {
    if width(name) <= columns {
        return name.to_owned();
    }
    let tail_columns = columns.saturating_sub(1) / 3;
    let tail_start = name
        .char_indices()
        .rev()
        .scan(0, |used, (at, c)| {
            *used += UnicodeWidthChar::width(c).unwrap_or(0);
            (*used <= tail_columns).then_some(at)
        })
        .last();
    let tail = tail_start.and_then(|at| name.get(at..)).unwrap_or_default();
    let (head, _) = split_at_width(name, columns.saturating_sub(1 + width(tail)));
    cut(&format!("{head}…{tail}"), columns)
}

/// A text as lines of at most `columns`, broken at spaces where there are any.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    // A wide character needs two columns; with fewer nothing could ever be placed.
    let columns = columns.max(2);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut word = word;
        let room = columns.saturating_sub(if line.is_empty() { 0 } else { width(&line) + 1 });
        if width(word) <= room {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        while width(word) > columns {
            let (head, rest) = split_at_width(word, columns);
            lines.push(head.to_owned());
            word = rest;
        }
        line.push_str(word);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_controls_do_not_survive() {
        let shown = |text| printable(text);
        assert_eq!(shown("a\u{1b}[31;1mred\u{1b}[0m"), "a\u{fffd}red\u{fffd}");
        assert_eq!(shown("\u{9b}2Jx"), "\u{fffd}x");
        assert_eq!(shown("\u{1b}]8;;http://evil\u{1b}\\link\u{1b}]8;;\u{7}"), "\u{fffd}link\u{fffd}");
        assert_eq!(shown("\u{1b}(0x\u{1b}cy"), "\u{fffd}x\u{fffd}y");
        assert_eq!(shown("a\0\u{7}\u{8}b\r\nc\td"), "a\u{fffd}b  c d");
        assert_eq!(shown("end\u{1b}"), "end\u{fffd}");
    }

    #[test]
    fn an_unfinished_sequence_hides_nothing_that_follows() {
        assert_eq!(printable("\u{1b}]0;title never ends"), "\u{fffd}0;title never ends");
        assert_eq!(printable("\u{1b}[12é"), "\u{fffd}é");
    }

    #[test]
    fn what_is_invisible_or_reorders_is_marked() {
        assert_eq!(printable("abc\u{202e}fed\u{202c}"), "abc\u{fffd}fed\u{fffd}");
        assert_eq!(printable("a\u{200b}\u{200d}\u{feff}b\u{e0041}"), "a\u{fffd}b\u{fffd}");
        assert_eq!(printable("e\u{301} ☀\u{fe0f} 日本 עברית"), "e\u{301} ☀ 日本 עברית");
        let piled = format!("x{}", "\u{301}".repeat(50));
        assert_eq!(printable(&piled), "x\u{301}\u{301}\u{301}\u{fffd}");
    }

    #[test]
    fn cutting_counts_columns_not_characters() {
        assert_eq!(width("日本"), 4);
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abc", 0), "");
        assert_eq!(shorten("5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY", 13), "5GrwvaEF…utQY");
        assert_eq!(shorten("short", 13), "short");
        for columns in 0..12 {
            assert!(width(&shorten("日本語日本語日本語", columns)) <= columns);
        }
    }

    #[test]
    fn wrapping_keeps_every_character_and_the_width() {
        let text = "one three 日本語日本語 averyveryverylongword x";
        for columns in 2..30 {
            let lines = wrap(text, columns);
            assert!(lines.iter().all(|line| width(line) <= columns), "{columns}: {lines:?}");
            assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
        }
        assert_eq!(wrap("", 10), [""]);
    }
}
