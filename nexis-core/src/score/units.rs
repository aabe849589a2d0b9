//! A caption as units that a text encoder can read: the whole, and its sentences and clauses.
//!
//! An encoder with a context of 77 tokens cannot read a long caption, and one that can still weighs its
//! first words most: a false last sentence hides in a true whole. So a caption is read twice, whole
//! (where it fits) and in parts; every word is in some part, and no unit exceeds the context.

use serde::{Deserialize, Serialize};

/// A part of a caption, or the whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its text: the caption's bytes `start..end`.
    pub text: String,
    /// First byte in the caption.
    pub start: usize,
    /// Byte after the last in the caption.
    pub end: usize,
}

/// A shorter fragment is merged with its neighbour.
const MIN_WORDS: usize = 4;
/// A longer sentence is split into clauses.
const MAX_WORDS: usize = 16;
/// Beyond this many bytes a caption is no longer taken apart by sense: it is packed into units as
/// long as the context allows, so that their number stays proportional to the caption's length.
pub const PLAIN_LIMIT: usize = 4096;

/// Words that begin a clause where enough words stand on both sides.
const CLAUSE_WORDS: [&str; 30] = [
    "above",
    "across",
    "against",
    "along",
    "alongside",
    "among",
    "amid",
    "and",
    "as",
    "before",
    "behind",
    "below",
    "beneath",
    "beside",
    "between",
    "but",
    "during",
    "near",
    "over",
    "past",
    "through",
    "toward",
    "towards",
    "under",
    "underneath",
    "where",
    "which",
    "while",
    "with",
    "without",
];

/// Abbreviations whose full stop does not end a sentence.
const ABBREVIATIONS: [&str; 10] =
    ["mr.", "mrs.", "ms.", "dr.", "st.", "e.g.", "i.e.", "etc.", "vs.", "approx."];

#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
    words: usize,
}

impl Span {
    fn joined(self, next: Self) -> Self {
        Self { start: self.start, end: next.end, words: self.words.saturating_add(next.words) }
    }

    fn text(self, caption: &str) -> &str {
        caption.get(self.start..self.end).unwrap_or_default()
    }
}

/// The units of a caption, the whole first where `fits` accepts it, then its parts in order. Empty
/// for a caption without words. `fits` says whether a text is within the encoder's context; it is called a
/// number of times proportional to the caption's length, on texts of about the context's size. Only a
/// single character that does not fit is returned although `fits` refuses it.
///
/// ```
/// # use nexis_core::score::units::caption_units;
/// let fits = |text: &str| text.split_whitespace().count() <= 12;
/// let units = caption_units("Two horses graze in a fenced pasture. Snow falls on the wooden barn.", &fits);
/// assert_eq!(units.len(), 2); // thirteen words: the whole does not fit, both sentences do
/// ```
pub fn caption_units(caption: &str, fits: &dyn Fn(&str) -> bool) -> Vec<Unit> {
    let words = words(caption);
    let (Some(first), Some(last)) = (words.first(), words.last()) else { return Vec::new() };
    let whole = Span { start: first.start, end: last.end, words: words.len() };
    let mut spans = Vec::new();
    if whole.end - whole.start > PLAIN_LIMIT {
        pack(caption, &words, fits, &mut spans);
    } else {
        let mut parts = Vec::new();
        for sentence in sentences(caption, &words) {
            let span = span_of(sentence);
            if span.words <= MAX_WORDS && fits(span.text(caption)) {
                parts.push(span);
                continue;
            }
            for clause in clauses(caption, sentence) {
                let span = span_of(clause);
                if fits(span.text(caption)) {
                    parts.push(span);
                } else {
                    pack(caption, clause, fits, &mut parts);
                }
            }
        }
        if fits(whole.text(caption)) {
            spans.push(whole);
        }
        let parts = merge_fragments(caption, parts, fits);
        if !(spans.len() == 1 && parts.len() == 1) {
            spans.extend(parts);
        }
    }
    spans
        .into_iter()
        .map(|span| Unit { text: span.text(caption).to_owned(), start: span.start, end: span.end })
        .collect()
}

/// Words between white space.
fn words(caption: &str) -> Vec<Span> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in caption.char_indices() {
        match (c.is_whitespace(), start) {
            (true, Some(from)) => {
                words.push(Span { start: from, end: at, words: 1 });
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    if let Some(from) = start {
        words.push(Span { start: from, end: caption.len(), words: 1 });
    }
    words
}

fn span_of(words: &[Span]) -> Span {
    match (words.first(), words.last()) {
        (Some(first), Some(last)) => Span { start: first.start, end: last.end, words: words.len() },
        _ => Span { start: 0, end: 0, words: 0 },
    }
}

/// The word without what may follow a full stop.
fn bare_end(word: &str) -> &str {
    word.trim_end_matches(['"', '\'', ')', ']', '\u{201d}', '\u{2019}'])
}

fn sentences<'a>(caption: &str, words: &'a [Span]) -> Vec<&'a [Span]> {
    let mut sentences = Vec::new();
    let mut rest = words;
    let mut length = 0_usize;
    let mut following = words.iter().skip(1);
    for word in words {
        length += 1;
        let text = bare_end(word.text(caption));
        let next = following.next().and_then(|next| next.text(caption).chars().next());
        let stop = text.ends_with(['!', '?', '\u{2026}', '\u{3002}'])
            || (text.ends_with('.')
                && !ABBREVIATIONS.contains(&text.to_lowercase().as_str())
                && next.is_none_or(|c| !c.is_lowercase()));
        if stop && let Some((sentence, others)) = rest.split_at_checked(length) {
            sentences.push(sentence);
            rest = others;
            length = 0;
        }
    }
    if !rest.is_empty() {
        sentences.push(rest);
    }
    sentences
}

/// Splits after `;`, `,`, `:` and dashes, and before a clause word or a participle with enough words
/// on both sides. Short ones are merged later.
fn clauses<'a>(caption: &str, sentence: &'a [Span]) -> Vec<&'a [Span]> {
    let mut clauses = Vec::new();
    let mut rest = sentence;
    let mut length = 0_usize;
    let mut left = sentence.len();
    for word in sentence {
        let text = word.text(caption);
        let begins = length >= MIN_WORDS && left >= MIN_WORDS && begins_clause(text);
        if begins && let Some((clause, others)) = rest.split_at_checked(length) {
            clauses.push(clause);
            rest = others;
            length = 0;
        }
        length += 1;
        left -= 1;
        let ends = bare_end(text).ends_with([';', ',', ':', '\u{2014}', '\u{2013}']);
        if ends && let Some((clause, others)) = rest.split_at_checked(length) {
            clauses.push(clause);
            rest = others;
            length = 0;
        }
    }
    if !rest.is_empty() {
        clauses.push(rest);
    }
    clauses
}

fn begins_clause(word: &str) -> bool {
    let lower = word.to_lowercase();
    CLAUSE_WORDS.contains(&lower.as_str())
        || (lower.len() > 5
            && lower.ends_with("ing")
            && !["morning", "evening", "building", "during"].contains(&lower.as_str()))
}

/// Joins fragments of fewer than [`MIN_WORDS`] words with a neighbour, where the two fit.
fn merge_fragments(caption: &str, parts: Vec<Span>, fits: &dyn Fn(&str) -> bool) -> Vec<Span> {
    let mut merged: Vec<Span> = Vec::with_capacity(parts.len());
    for part in parts {
        if let Some(last) = merged.last_mut()
            && (last.words < MIN_WORDS || part.words < MIN_WORDS)
            && fits(last.joined(part).text(caption))
        {
            *last = last.joined(part);
        } else {
            merged.push(part);
        }
    }
    merged
}

/// Packs words into spans as long as fit, in order; a word that does not fit alone is cut between
/// characters.
fn pack(caption: &str, words: &[Span], fits: &dyn Fn(&str) -> bool, out: &mut Vec<Span>) {
    let mut rest = words;
    let mut guess = MAX_WORDS;
    while let Some(&first) = rest.first() {
        let fits_words =
            |count: usize| rest.get(..count).is_some_and(|taken| fits(span_of(taken).text(caption)));
        let taken = longest(guess, rest.len(), &fits_words);
        if taken == 0 {
            pack_characters(caption, first, fits, out);
            rest = rest.get(1..).unwrap_or_default();
        } else {
            let (unit, others) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
            out.push(span_of(unit));
            rest = others;
            guess = taken;
        }
    }
}

fn pack_characters(caption: &str, word: Span, fits: &dyn Fn(&str) -> bool, out: &mut Vec<Span>) {
    let ends: Vec<usize> =
        word.text(caption).char_indices().map(|(at, c)| word.start + at + c.len_utf8()).collect();
    let mut rest = ends.as_slice();
    let mut start = word.start;
    let mut guess = 32;
    while !rest.is_empty() {
        let end_of = |count: usize| rest.get(count.wrapping_sub(1)).copied();
        let fits_characters =
            |count: usize| end_of(count).is_some_and(|end| fits(caption.get(start..end).unwrap_or_default()));
        let taken = longest(guess, rest.len(), &fits_characters).max(1);
        let end = end_of(taken).unwrap_or(word.end);
        out.push(Span { start, end, words: 1 });
        start = end;
        rest = rest.get(taken..).unwrap_or_default();
        guess = taken;
    }
}

/// A count in `1..=most` that fits while about as many more do not: down from `guess` by halves, then up
/// by bisection to at most twice as many. 0 where not even one fits.
fn longest(guess: usize, most: usize, fits: &dyn Fn(usize) -> bool) -> usize {
    let mut low = guess.clamp(1, most.max(1));
    let mut high = low.saturating_mul(2).min(most);
    while !fits(low) {
        if low <= 1 {
            return 0;
        }
        high = low - 1;
        low /= 2;
    }
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn limit(most: usize) -> impl Fn(&str) -> bool {
        move |text| text.split_whitespace().count() <= most && text.len() <= most * 20
    }

    fn texts(caption: &str, fits: &dyn Fn(&str) -> bool) -> Vec<String> {
        caption_units(caption, fits).into_iter().map(|unit| unit.text).collect()
    }

    fn assert_covered(caption: &str, units: &[Unit], fits: &dyn Fn(&str) -> bool) {
        let mut covered = vec![false; caption.len()];
        for unit in units {
            assert_eq!(&caption[unit.start..unit.end], unit.text);
            assert!(fits(&unit.text), "too long: {:?}", unit.text);
            covered[unit.start..unit.end].fill(true);
        }
        for (at, c) in caption.char_indices() {
            assert!(covered[at] || c.is_whitespace(), "byte {at} of {caption:?} is in no unit");
        }
    }

    #[test]
    fn whole_and_sentences() {
        let caption = "Two brown horses graze in a pasture. Snow falls on the barn behind them.";
        assert_eq!(
            texts(caption, &limit(40)),
            [caption, "Two brown horses graze in a pasture.", "Snow falls on the barn behind them."]
        );
    }

    #[test]
    fn one_short_sentence_is_one_unit() {
        assert_eq!(texts("  A red car on a street  ", &limit(40)), ["A red car on a street"]);
        assert!(texts(" \n\t ", &limit(40)).is_empty());
    }

    #[test]
    fn a_long_sentence_becomes_clauses_and_fragments_merge() {
        let caption = "Red, white and blue flowers grow beside a winding river while soft rain falls from \
                       grey clouds, and the camera slowly pans left";
        assert_eq!(
            texts(caption, &limit(40)),
            [
                caption,
                "Red, white and blue flowers grow",
                "beside a winding river",
                "while soft rain falls from grey clouds,",
                "and the camera slowly pans left",
            ]
        );
    }

    #[test]
    fn abbreviations_and_decimals_do_not_end_sentences() {
        let caption = "A truck carries approx. 3.5 tons of sand. Dr. Grey waves at it from the road.";
        assert_eq!(texts(caption, &limit(40)).len(), 3);
    }

    #[test]
    fn what_exceeds_the_context_is_cut_between_words_and_nothing_is_lost() {
        let caption = "the quick brown fox jumps over the lazy dog again and again until the night is over \
                       and nobody remembers how it began or why";
        for most in 1..30 {
            let fits = limit(most);
            let units = caption_units(caption, &fits);
            assert_covered(caption, &units, &fits);
        }
    }

    #[test]
    fn words_longer_than_the_context_are_cut_between_characters() {
        let caption = format!("see {} here", "\u{96ea}".repeat(500));
        let fits = |text: &str| text.len() <= 90;
        assert_covered(&caption, &caption_units(&caption, &fits), &fits);
    }

    #[test]
    fn a_character_that_never_fits_is_still_returned() {
        let units = caption_units("abc", &|_| false);
        assert_eq!(units.iter().map(|u| u.text.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn a_huge_caption_costs_in_proportion_to_its_length() {
        let cost = |words: usize| {
            let caption = "meadow river ".repeat(words / 2);
            let read = Cell::new(0_usize);
            let fits = |text: &str| {
                read.set(read.get() + text.len());
                text.split_whitespace().count() <= 50
            };
            let units = caption_units(&caption, &fits);
            assert!(units.len() <= words / 50 + 2, "{}", units.len());
            assert_covered(&caption, &units, &|text: &str| text.split_whitespace().count() <= 50);
            read.get()
        };
        let (small, large) = (cost(2_000), cost(64_000));
        assert!(large < small * 40, "{small} {large}");
    }
}
