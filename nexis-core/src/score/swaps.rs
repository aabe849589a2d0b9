//! One-attribute swaps of a caption: the same sentence with one colour, number, object, ... made wrong.
//!
//! A caption that describes a clip should fit it better than any of its swaps does. The swaps follow from
//! the caption alone: the same caption always gives the same swaps.

use serde::{Deserialize, Serialize};

use super::vocabulary::{CLASSES, COUNTING_PHRASES, Entry, INDEX, LONGEST_PHRASE, NUMBERS, VERBS};
use crate::hash::Digest;

/// What a swap changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attribute {
    /// The colour of something.
    Colour,
    /// How many there are.
    Number,
    /// What a thing is, within its class: a dog for a horse.
    Object,
    /// Rain, snow, fog, sunshine.
    Weather,
    /// Time of day and brightness.
    Light,
    /// Whether something is there at all.
    Negation,
    /// The place.
    Setting,
}

impl Attribute {
    /// All of them, in the order in which swaps are listed.
    pub const ALL: [Self; 7] =
        [Self::Colour, Self::Number, Self::Object, Self::Weather, Self::Light, Self::Negation, Self::Setting];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Colour => "colour",
            Self::Number => "number",
            Self::Object => "object",
            Self::Weather => "weather",
            Self::Light => "light",
            Self::Negation => "negation",
            Self::Setting => "setting",
        }
    }
}

/// How many swaps are made of one caption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwapBudget {
    /// Most swaps of one attribute.
    pub per_attribute: usize,
    /// Most swaps of one caption.
    pub total: usize,
}

impl Default for SwapBudget {
    fn default() -> Self {
        Self { per_attribute: 4, total: 24 }
    }
}

/// Replaces the caption's bytes `start..end`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Edit {
    start: usize,
    end: usize,
    text: String,
}

/// A caption with one attribute changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// What is changed.
    pub attribute: Attribute,
    /// The whole caption, changed.
    pub text: String,
    edits: Vec<Edit>,
}

impl Swap {
    /// The part `start..end` (bytes) of the caption with this swap's changes, or `None` where a change is
    /// not wholly inside it.
    pub fn apply_within(&self, caption: &str, start: usize, end: usize) -> Option<String> {
        let mut text = String::new();
        let mut at = start;
        for edit in &self.edits {
            if edit.start < at || edit.end > end {
                return None;
            }
            text.push_str(caption.get(at..edit.start)?);
            text.push_str(&edit.text);
            at = edit.end;
        }
        text.push_str(caption.get(at..end)?);
        Some(text)
    }
}

/// Captions longer than this many bytes are swapped in their first part only.
const READ_LIMIT: usize = 4096;

/// The swaps of a caption, at most `budget.per_attribute` of each attribute and `budget.total` in all:
/// the first of each attribute, then the second of each, and so on. Where an attribute is stated
/// several times its swaps take turns between the places. Which alternatives come first follows from
/// the caption's digest.
///
/// ```
/// # use nexis_core::score::swaps::{Attribute, SwapBudget, swaps};
/// let swaps = swaps("Two brown horses graze in a meadow.", SwapBudget { per_attribute: 1, total: 24 });
/// let number = swaps.iter().find(|s| s.attribute == Attribute::Number).unwrap();
/// assert_eq!(number.text.split(' ').skip(1).collect::<Vec<_>>().len(), 6);
/// assert!(!number.text.starts_with("Two"));
/// ```
pub fn swaps(caption: &str, budget: SwapBudget) -> Vec<Swap> {
    let tokens = tokens(caption);
    let turn = Digest::of(caption).seed_int();
    let mut places: Vec<(Attribute, Vec<Vec<Edit>>)> = Vec::new();
    for (at, _) in tokens.iter().enumerate() {
        let reading = Reading { caption, tokens: &tokens, at };
        for (attribute, mut alternatives) in reading.places() {
            if !alternatives.is_empty() {
                let by = (turn.wrapping_add(places.len() as u64) % alternatives.len() as u64) as usize;
                alternatives.rotate_left(by);
                places.push((attribute, alternatives));
            }
        }
    }
    let mut lists: Vec<Vec<Swap>> = Attribute::ALL
        .iter()
        .map(|&attribute| {
            let here: Vec<&Vec<Vec<Edit>>> =
                places.iter().filter(|(a, _)| *a == attribute).map(|(_, edits)| edits).collect();
            take_turns(&here, budget.per_attribute)
                .into_iter()
                .filter_map(|edits| finish(caption, attribute, edits.clone()))
                .collect()
        })
        .collect();
    for list in &mut lists {
        list.reverse();
    }
    let mut swaps = Vec::new();
    while swaps.len() < budget.total && lists.iter().any(|list| !list.is_empty()) {
        for list in &mut lists {
            if swaps.len() < budget.total {
                swaps.extend(list.pop());
            }
        }
    }
    swaps
}

/// The first of each list, then the second of each, up to `most`.
fn take_turns<'a, T>(lists: &[&'a Vec<T>], most: usize) -> Vec<&'a T> {
    let longest = lists.iter().map(|list| list.len()).max().unwrap_or(0);
    (0..longest).flat_map(|turn| lists.iter().filter_map(move |list| list.get(turn))).take(most).collect()
}

fn finish(caption: &str, attribute: Attribute, mut edits: Vec<Edit>) -> Option<Swap> {
    edits.sort_by_key(|edit| edit.start);
    let mut swap = Swap { attribute, text: String::new(), edits };
    swap.text = swap.apply_within(caption, 0, caption.len())?;
    (swap.text != caption).then_some(swap)
}

#[derive(Debug)]
struct Token {
    start: usize,
    end: usize,
    lower: String,
}

/// Runs of letters, digits and apostrophes.
fn tokens(caption: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut start = None;
    let ends = std::iter::once((caption.len(), ' '));
    for (at, c) in caption.char_indices().take_while(|(at, _)| *at < READ_LIMIT).chain(ends) {
        let inside = c.is_alphanumeric() || matches!(c, '\'' | '\u{2019}');
        match (inside, start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                start = None;
                if let Some(text) = caption.get(from..at) {
                    // A run that the limit cut short is no word.
                    if at < READ_LIMIT || caption.len() <= READ_LIMIT {
                        tokens.push(Token { start: from, end: at, lower: text.to_lowercase() });
                    }
                }
            }
            _ => {}
        }
    }
    tokens
}

/// Words after which the thing that a number counts is no longer sought.
const STOPS: [&str; 22] = [
    "of", "in", "on", "at", "with", "and", "or", "by", "to", "from", "under", "over", "near", "beside", "is",
    "are", "while", "as", "the", "a", "an", "that",
];

/// One place of a caption under scrutiny.
struct Reading<'a> {
    caption: &'a str,
    tokens: &'a [Token],
    at: usize,
}

/// A vocabulary entry found at a token, and how many tokens it takes.
struct Found {
    entry: Entry,
    length: usize,
}

impl Reading<'_> {
    /// What is stated here, each with its alternatives.
    fn places(&self) -> Vec<(Attribute, Vec<Vec<Edit>>)> {
        let mut places = Vec::new();
        if let Some(found) = self.entry(self.at)
            && !self.inside_earlier_phrase()
            && !self.is_denied()
        {
            places.extend(self.exchanged(&found));
        }
        places.push((Attribute::Number, self.counted()));
        places.push((Attribute::Negation, self.negated()));
        places
    }

    fn word(&self, at: usize) -> Option<&str> {
        self.tokens.get(at).map(|token| token.lower.as_str())
    }

    /// Whether only one space or hyphen stands between this token and the next.
    fn adjoins(&self, at: usize) -> bool {
        let gap = self.tokens.get(at).zip(self.tokens.get(at + 1));
        gap.and_then(|(a, b)| self.caption.get(a.end..b.start)).is_some_and(|gap| gap == " " || gap == "-")
    }

    /// The words at a place joined by spaces, where nothing else stands between them.
    fn phrase(&self, at: usize, length: usize) -> Option<String> {
        if !(at..at + length - 1).all(|i| self.adjoins(i)) {
            return None;
        }
        let words = self.tokens.get(at..at + length)?;
        Some(words.iter().map(|token| token.lower.as_str()).collect::<Vec<_>>().join(" "))
    }

    /// The longest entry that begins at a token.
    fn entry(&self, at: usize) -> Option<Found> {
        (1..=LONGEST_PHRASE).rev().find_map(|length| {
            let entry = *INDEX.get(self.phrase(at, length)?.as_str())?;
            Some(Found { entry, length })
        })
    }

    /// Whether an entry that began earlier covers this token: the pine of "pine tree" is one thing.
    fn inside_earlier_phrase(&self) -> bool {
        (1..LONGEST_PHRASE).any(|back| {
            self.at.checked_sub(back).and_then(|at| self.entry(at)).is_some_and(|found| found.length > back)
        })
    }

    /// Whether what stands here is said not to be there: "no dogs" is as true of a clip without horses as
    /// "no horses".
    fn is_denied(&self) -> bool {
        (1..=3).map_while(|back| self.at.checked_sub(back)).find_map(|at| match self.word(at)? {
            "no" | "without" | "not" | "never" => Some(true),
            word if STOPS.contains(&word) => Some(false),
            _ => (!self.adjoins(at)).then_some(false),
        }) == Some(true)
    }

    fn exchanged(&self, found: &Found) -> Option<(Attribute, Vec<Vec<Edit>>)> {
        let class = CLASSES.get(found.entry.class)?;
        let own = class.groups.get(found.entry.group)?.first()?.0;
        if self.means_something_else(found) {
            return None;
        }
        let alternatives = class
            .groups
            .iter()
            .filter_map(|group| group.first())
            .filter(|forms| {
                forms.0 != own
                    && !class.near.iter().any(|&(a, b)| (a, b) == (own, forms.0) || (b, a) == (own, forms.0))
            })
            .filter_map(|forms| {
                let word = if found.entry.plural { forms.1 } else { forms.0 };
                self.replace(self.at, found.length, word)
            })
            .collect();
        Some((class.attribute, alternatives))
    }

    /// Words of the vocabulary in another sense.
    fn means_something_else(&self, found: &Found) -> bool {
        let next = self.word(self.at + found.length);
        let before = self.at.checked_sub(1).and_then(|at| self.word(at));
        match self.word(self.at) {
            Some("clear") => {
                let of_weather = |word: Option<&str>| {
                    matches!(
                        word,
                        Some("sky" | "skies" | "day" | "weather" | "night" | "morning" | "evening")
                    )
                };
                let subject = self.at.checked_sub(2).and_then(|at| self.word(at));
                let said_of_weather = matches!(before, Some("is" | "are" | "stays")) && of_weather(subject);
                !of_weather(next) && !said_of_weather
            }
            Some("bright" | "dark" | "brilliant") => {
                // "bright red": a shade, not the light of the scene
                next.and_then(|word| INDEX.get(word)).is_some_and(|entry| entry.class == 0)
            }
            Some("orange") => matches!(next, Some("juice" | "peel")),
            Some("train") => matches!(before, Some("to")),
            Some("rose" | "circle" | "rock" | "park") => matches!(before, Some("to" | "they" | "it")),
            _ => false,
        }
    }

    /// Puts a word in place of some tokens and puts right the article before them.
    fn replace(&self, at: usize, length: usize, word: &str) -> Option<Vec<Edit>> {
        let (first, last) = (self.tokens.get(at)?, self.tokens.get(at + length - 1)?);
        let original = self.caption.get(first.start..last.end)?;
        let mut edits = vec![Edit { start: first.start, end: last.end, text: in_case_of(original, word) }];
        if let Some(before) = at.checked_sub(1)
            && self.adjoins(before)
            && let Some(token) = self.tokens.get(before)
            && matches!(token.lower.as_str(), "a" | "an")
        {
            let article = if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
            if article != token.lower {
                let original = self.caption.get(token.start..token.end)?;
                let text = in_case_of(original, article);
                edits.push(Edit { start: token.start, end: token.end, text });
            }
        }
        Some(edits)
    }

    /// Other numbers of what is counted here.
    fn counted(&self) -> Vec<Vec<Edit>> {
        let Some(word) = self.word(self.at) else { return Vec::new() };
        if let Some(position) = NUMBERS.iter().position(|number| *number == word) {
            let next = self.word(self.at + 1);
            let before = self.at.checked_sub(1).and_then(|at| self.word(at));
            let is_pronoun = word == "one"
                && (matches!(next, Some("of" | "is" | "another" | "by" | "side") | None)
                    || matches!(before, Some("no" | "each" | "every" | "this" | "that" | "the")));
            if is_pronoun {
                return Vec::new();
            }
            return self.other_numbers(1, position as u32 + 1, in_words);
        }
        if word.len() <= 2
            && let Ok(number @ 1..=99) = word.parse::<u32>()
            && !self.is_part_of_a_figure()
        {
            return self.other_numbers(1, number, |n| Some(n.to_string()));
        }
        for (phrase, number) in COUNTING_PHRASES {
            let length = phrase.split(' ').count();
            if self.phrase(self.at, length).as_deref() == Some(phrase) {
                return self.other_numbers(length, number, in_words);
            }
        }
        let counts_one = matches!(word, "a" | "an")
            && self.head_noun(self.at + 1).is_some_and(|(_, found)| {
                !found.entry.plural && CLASSES.get(found.entry.class).is_some_and(|class| class.countable)
            });
        if counts_one { self.other_numbers(1, 1, in_words) } else { Vec::new() }
    }

    /// Whether the digits belong to a decimal, a time, a percentage or the like.
    fn is_part_of_a_figure(&self) -> bool {
        let Some(token) = self.tokens.get(self.at) else { return true };
        let before = self.caption.get(..token.start).unwrap_or_default();
        let after = self.caption.get(token.end..).unwrap_or_default();
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        let (mut back, mut forth) = (before.chars().rev(), after.chars());
        let joined_before = matches!(back.next(), Some('.' | ',' | ':' | '/' | '-')) && digit(back.next());
        let joined_after = match forth.next() {
            Some('%') => true,
            Some('.' | ',' | ':' | '/' | '-') => digit(forth.next()),
            _ => false,
        };
        joined_before || joined_after
    }

    /// The numbers next to `number`, nearest first.
    fn other_numbers(
        &self,
        length: usize,
        number: u32,
        write: impl Fn(u32) -> Option<String>,
    ) -> Vec<Vec<Edit>> {
        let near = [
            number.checked_add(1),
            number.checked_sub(1),
            number.checked_add(2),
            number.checked_sub(2),
            number.checked_add(3),
        ];
        near.into_iter()
            .flatten()
            .filter(|other| *other >= 1)
            .filter_map(|other| {
                let mut edits = self.replace(self.at, length, &write(other)?)?;
                if (number == 1) != (other == 1) {
                    edits.extend(self.agreement(self.at + length, other == 1));
                }
                Some(edits)
            })
            .collect()
    }

    /// The noun that is counted: the last of the first run of known nouns within four words.
    fn head_noun(&self, from: usize) -> Option<(usize, Found)> {
        let mut at = from;
        while at < from + 4 {
            if at > from && !self.adjoins(at - 1) {
                return None;
            }
            if let Some(found) = self.entry(at)
                && CLASSES.get(found.entry.class).is_some_and(|class| class.countable)
            {
                let next = at + found.length;
                if self.adjoins(next - 1)
                    && let Some((_, further)) = self.head_noun_at(next)
                    && !found.entry.plural
                {
                    return Some((next, further));
                }
                return Some((at, found));
            }
            if STOPS.contains(&self.word(at)?) {
                return None;
            }
            at += 1;
        }
        None
    }

    fn head_noun_at(&self, at: usize) -> Option<(usize, Found)> {
        let found = self.entry(at)?;
        CLASSES.get(found.entry.class).is_some_and(|class| class.countable).then_some((at, found))
    }

    /// Makes the counted noun and the verb right after it, or an "are" before the number, agree.
    fn agreement(&self, from: usize, singular: bool) -> Vec<Edit> {
        let mut edits = Vec::new();
        let verb = |at: usize| {
            let word = self.word(at)?;
            let (plain, third) = VERBS.iter().find(|(plain, third)| *plain == word || *third == word)?;
            let wanted = if singular { *third } else { *plain };
            (wanted != word).then(|| self.replace(at, 1, wanted)).flatten()
        };
        if let Some((at, found)) = self.head_noun(from) {
            let wanted = if singular { found.entry.forms.0 } else { found.entry.forms.1 };
            if found.entry.plural == singular {
                edits.extend(self.replace(at, found.length, wanted).into_iter().flatten());
            }
            if self.adjoins(at + found.length - 1) {
                edits.extend(verb(at + found.length).into_iter().flatten());
            }
        }
        if let Some(before) = self.at.checked_sub(1)
            && matches!(self.word(before), Some("is" | "are" | "was" | "were"))
        {
            edits.extend(verb(before).into_iter().flatten());
        }
        edits
    }

    /// The opposite of what is said to be there or not.
    fn negated(&self) -> Vec<Vec<Edit>> {
        let before = self.at.checked_sub(1).and_then(|at| self.word(at));
        let next = self.word(self.at + 1);
        let edits = match self.word(self.at) {
            Some("without") => self.replace(self.at, 1, "with"),
            Some("with") if next == Some("no") => self.replace(self.at, 2, "with"),
            Some("with") => self.replace(self.at, 1, "without"),
            Some("no") if before == Some("with") => None,
            Some("no") => {
                let singular = self.head_noun(self.at + 1).is_some_and(|(_, found)| !found.entry.plural);
                self.replace(self.at, 1, if singular { "a" } else { "some" })
            }
            Some("not") if matches!(before, Some("is" | "are" | "was" | "were" | "does" | "do")) => self
                .tokens
                .get(self.at - 1)
                .zip(self.tokens.get(self.at))
                .map(|(verb, not)| vec![Edit { start: verb.end, end: not.end, text: String::new() }]),
            Some("isn't") => self.replace(self.at, 1, "is"),
            Some("aren't") => self.replace(self.at, 1, "are"),
            _ => None,
        };
        edits.into_iter().collect()
    }
}

fn in_words(number: u32) -> Option<String> {
    let index = usize::try_from(number.checked_sub(1)?).ok()?;
    NUMBERS.get(index).map(|word| (*word).to_owned())
}

/// `word` with the case of `original`: all capitals, a first capital, or as it is.
fn in_case_of(original: &str, word: &str) -> String {
    let mut letters = original.chars().filter(|c| c.is_alphabetic());
    let first = letters.next().is_some_and(char::is_uppercase);
    let more = letters.clone().next().is_some();
    if first && more && letters.all(char::is_uppercase) {
        return word.to_uppercase();
    }
    let mut characters = word.chars();
    match characters.next() {
        Some(c) if first => c.to_uppercase().chain(characters).collect(),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests;
