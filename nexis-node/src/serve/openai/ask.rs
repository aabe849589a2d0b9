//! What a prompt asks for: whether a caption fits its frames, or the labels of frames, and in which JSON.
//!
//! Read from the names of the keys that are asked for, which a validator's parser depends on, and not from the
//! wording around them.

use nexis_core::protocol::Category;
use serde_json::Value;

use super::caption::Prompt;
use super::words::{segments, slice, words};

/// What is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kinds {
    /// Whether the caption fits: `match`, true or false.
    pub(super) matching: bool,
    /// Winners and scores of the seven labels per frame.
    pub(super) labels: bool,
}

impl Kinds {
    /// What a text asks.
    pub(super) fn of(text: &str) -> Self {
        Self { matching: asks_match(text), labels: asks_labels(text) }
    }

    pub(super) fn any(self) -> bool {
        self.matching || self.labels
    }

    /// What a whole request asks. A schema is the operator's, and so is what stands before the caption; what stands
    /// behind it counts only where nothing else asks. Where two things are asked, both are answered: no parser then
    /// misses what it looks for.
    pub(super) fn of_request(schema: Option<&Value>, prompt: &Prompt) -> Self {
        let schema = schema.map(Self::of_schema).unwrap_or_default();
        let sources = [schema, Self::of(&prompt.trusted), Self::of_closing(&prompt.closing)];
        let asked = sources.into_iter().find(|kinds| kinds.any());
        // Labels are asked for without a caption, and then what was taken for one is the question.
        asked.unwrap_or_else(|| Self { matching: false, labels: asks_labels(&prompt.whole()) })
    }

    /// What the end of a prompt asks: where it is two things, the last, for the operator's own words stand last.
    fn of_closing(text: &str) -> Self {
        let kinds = Self::of(text);
        if !(kinds.matching && kinds.labels) {
            return kinds;
        }
        let mut last = segments(text).into_iter().rev().map(|segment| Self::of(slice(text, segment)));
        last.find(|kinds| kinds.any()).unwrap_or(kinds)
    }

    fn of_schema(schema: &Value) -> Self {
        let mut kinds = Self::default();
        names_in(schema, &mut |name, described| {
            kinds.matching |=
                is_match_name(name) && described.get("type").is_none_or(|t| allows(t, "boolean"));
            kinds.labels |= WINNERS.contains(&name) || label_of(name).is_some();
        });
        kinds
    }
}

fn allows(kind: &Value, wanted: &str) -> bool {
    kind == wanted || kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == wanted))
}

/// Every property that a schema names, with its description.
fn names_in(schema: &Value, see: &mut impl FnMut(&str, &Value)) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Object(properties)) = fields.get("properties") {
                properties.iter().for_each(|(name, described)| see(name, described));
            }
            fields.values().for_each(|value| names_in(value, see));
        }
        Value::Array(items) => items.iter().for_each(|value| names_in(value, see)),
        _ => {}
    }
}

/// Whether a key says whether the caption fits.
pub(super) fn is_match_name(name: &str) -> bool {
    matches!(name, "match" | "matches" | "matched" | "is_match")
}

/// Whether `match` is asked for as a key, with true or false as its value.
fn asks_match(text: &str) -> bool {
    let lower = text.to_lowercase();
    let near = ["field", "key", "property", "boolean", "flag", "called", "named", "attribute", "entry"];
    let mut key = false;
    let mut value = false;
    let mut before = "";
    let mut after_match = false;
    for word in words(&lower) {
        value |= matches!(word.text, "true" | "false" | "boolean" | "bool");
        key |= after_match && near.contains(&word.text);
        after_match = word.text == "match";
        if after_match {
            let quote = |c: Option<char>| matches!(c, Some('"' | '\'' | '`' | '\u{201c}' | '\u{201d}' | '*'));
            let left = lower.get(..word.start).and_then(|left| left.chars().next_back());
            let right = lower.get(word.end..).unwrap_or_default();
            let colon = right.trim_start().starts_with([':', '=']);
            key |= (quote(left) && quote(right.chars().next()))
                || colon
                || left == Some('{')
                || near.contains(&before);
        }
        before = word.text;
    }
    key && value
}

/// Whether a text wants to be answered by yes or no: the two words stand together, in this order.
pub(super) fn asks_yes_or_no(text: &str) -> bool {
    let mut yes = false;
    for word in words(text) {
        match word.text.to_lowercase().as_str() {
            "yes" => yes = true,
            "no" if yes => return true,
            "or" | "and" | "a" if yes => {}
            _ => yes = false,
        }
    }
    false
}

/// Whether most of the seven labels are named, and winners or scores asked for.
fn asks_labels(text: &str) -> bool {
    let mut named = [false; Category::ALL.len()];
    let mut asked = false;
    for word in words(text) {
        let lower = word.text.to_lowercase();
        asked |= WINNERS.contains(&lower.as_str()) || lower.contains("score") || lower == "scored";
        for (seen, label) in named.iter_mut().zip(Category::ALL) {
            let label = label.as_str();
            *seen |= lower == label
                || lower.strip_suffix("_score") == Some(label)
                || lower.strip_suffix('s') == Some(label);
        }
    }
    asked && named.iter().filter(|seen| **seen).count() >= 5
}

/// Names for the label that wins, in order of preference.
const WINNERS: [&str; 7] =
    ["winner", "winning_label", "top_label", "best_label", "predicted_label", "label", "category"];
/// Names for a frame's number.
const INDICES: [&str; 9] =
    ["frame_index", "frame_number", "frame_id", "frame_no", "image_index", "frame", "index", "idx", "image"];
/// Names for scores by label in an object of their own.
const SCORES: [&str; 5] = ["scores", "label_scores", "category_scores", "probabilities", "class_scores"];
/// Names for a sentence that says why.
const REASONS: [&str; 7] =
    ["reason", "reasoning", "explanation", "rationale", "justification", "why", "comment"];
/// Names for how sure the answer is.
const CONFIDENCES: [&str; 3] = ["confidence", "certainty", "confidence_score"];

/// The label that a key is about: `nature` or `nature_score`.
pub(super) fn label_of(name: &str) -> Option<Category> {
    let bare = name.strip_suffix("_score").unwrap_or(name);
    Category::ALL.into_iter().find(|label| label.as_str() == bare)
}

/// What a key is known to mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Match,
    Winner,
    Index,
    Scores,
    Score(Category),
    Reason,
    Confidence,
    Probability,
}

/// What a key means here, if anything.
pub(super) fn meaning(name: &str) -> Option<Meaning> {
    let name = name.to_lowercase();
    let name = name.as_str();
    Some(match name {
        _ if is_match_name(name) => Meaning::Match,
        _ if label_of(name).is_some() => Meaning::Score(label_of(name)?),
        _ if WINNERS.contains(&name) => Meaning::Winner,
        _ if INDICES.contains(&name) => Meaning::Index,
        _ if SCORES.contains(&name) => Meaning::Scores,
        _ if REASONS.contains(&name) => Meaning::Reason,
        _ if CONFIDENCES.contains(&name) => Meaning::Confidence,
        "probability" | "match_probability" | "match_score" | "p_match" => Meaning::Probability,
        _ => return None,
    })
}

/// A key of a JSON sample in a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key<'a> {
    name: &'a str,
    /// What stands behind its colon.
    value: &'a str,
}

/// The keys that a text shows, in their order: what is quoted and followed by a colon, or set in backticks.
fn keys(text: &str) -> Vec<Key<'_>> {
    let found = words(text).filter_map(|word| {
        let left = text.get(..word.start)?.chars().next_back()?;
        let mut right = text.get(word.end..)?.chars();
        let quote = right.next()?;
        let behind = right.as_str().trim_start();
        let quoted = matches!((left, quote), ('"', '"') | ('\'', '\'') | ('\u{201c}', '\u{201d}'));
        let value = behind.strip_prefix(':').map(str::trim_start);
        match value {
            Some(value) if quoted => Some(Key { name: word.text, value }),
            _ if left == '`' && quote == '`' => Some(Key { name: word.text, value: "" }),
            _ => None,
        }
    });
    found.collect()
}

/// Keys beside `match` that are asked for and can be answered.
pub(super) fn extras(text: &str) -> Vec<(String, Meaning)> {
    let mut found: Vec<(String, Meaning)> = Vec::new();
    for key in keys(text) {
        if let Some(meaning @ (Meaning::Reason | Meaning::Confidence | Meaning::Probability)) =
            meaning(key.name)
            && !found.iter().any(|(name, _)| name == key.name)
        {
            found.push((key.name.to_owned(), meaning));
        }
    }
    found
}

/// The JSON in which labels are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LabelShape {
    /// The key of the list of frames; none where the list itself is asked for.
    pub(super) list: Option<String>,
    /// The key of a frame's number, and the number of the first.
    pub(super) index: Option<(String, usize)>,
    /// The key of the winner.
    pub(super) winner: Option<String>,
    /// The key of an object of scores; none where they are the frame's own.
    pub(super) nested: Option<String>,
    /// The keys of the scores.
    pub(super) scores: Vec<(String, Category)>,
    /// Further keys of a frame.
    pub(super) extras: Vec<(String, Meaning)>,
}

impl LabelShape {
    /// The shape that a text asks for; what it leaves open is as today's validators have it.
    pub(super) fn of(text: &str) -> Self {
        let keys = keys(text);
        let lower = text.to_lowercase();
        let first = |names: &[&str]| {
            names.iter().find_map(|name| keys.iter().find(|key| key.name.eq_ignore_ascii_case(name)))
        };
        let name = |key: &Key<'_>| key.name.to_owned();
        let list = keys.iter().find(|key| {
            key.value.starts_with('[')
                && !matches!(meaning(key.name), Some(Meaning::Scores | Meaning::Score(_)))
        });
        let array =
            lower.contains("json array") || lower.contains("array of objects") || lower.contains("json list");
        // A sample that shows keys and no number among them wants none.
        let sample = first(&WINNERS).is_some_and(|key| !key.value.is_empty());
        let index = match first(&INDICES) {
            Some(key) => Some(name(key)),
            None => (!sample).then(|| "frame_index".to_owned()),
        };
        let winner = first(&WINNERS).map_or_else(|| "winner".to_owned(), name);
        let nested = first(&SCORES).filter(|key| !key.value.starts_with('[')).map(name);
        let suffixed: Vec<Category> = Category::ALL
            .into_iter()
            .filter(|label| {
                words(&lower).any(|word| word.text.strip_suffix("_score") == Some(label.as_str()))
            })
            .collect();
        let shown: Vec<Category> = keys.iter().filter_map(|key| label_of(key.name)).collect();
        let plain = suffixed.is_empty() && (nested.is_some() || shown.len() >= 3);
        // Where most are written out, those; where the rest is left to be understood, all.
        let labels = if suffixed.len() >= 5 { suffixed } else { Category::ALL.to_vec() };
        let key = |label: Category| if plain { label.to_string() } else { format!("{label}_score") };
        Self {
            list: match list {
                Some(key) => Some(name(key)),
                None if array => None,
                None => Some("frames".to_owned()),
            },
            index: index.map(|key| {
                let base = usize::from(counts_from_one(&lower, &key));
                (key, base)
            }),
            winner: Some(winner),
            nested,
            scores: labels.into_iter().map(|label| (key(label), label)).collect(),
            extras: extras(text),
        }
    }
}

/// Whether frames are numbered from 1: said so, or the first sample has a 1.
fn counts_from_one(lower: &str, key: &str) -> bool {
    let said = [
        "1-based",
        "one-based",
        "1-indexed",
        "one-indexed",
        "starting at 1",
        "starting from 1",
        "starting with 1",
        "start at 1",
        "starts at 1",
        "start from 1",
        "(1, 2, 3)",
        "(1,2,3)",
        "1, 2, 3",
        "1, 2 or 3",
        "1 to 3",
        "1-3",
        "1..3",
    ];
    let denied = [
        "0-based",
        "zero-based",
        "0-indexed",
        "zero-indexed",
        "starting at 0",
        "starting from 0",
        "start at 0",
    ];
    let sample = format!("\"{}\"", key.to_lowercase());
    let sampled = lower.split_once(sample.as_str()).is_some_and(|(_, rest)| {
        let value = rest.trim_start().trim_start_matches(':').trim_start();
        value.starts_with('1')
            && !value.get(1..2).is_some_and(|next| next.starts_with(|c: char| c.is_ascii_digit()))
    });
    !denied.iter().any(|text| lower.contains(text))
        && (sampled || said.iter().any(|text| lower.contains(text)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yes_or_no_is_asked_for_where_both_stand_together() {
        for asked in
            ["Answer yes or no.", "Yes/no: is it so?", "Say YES or NO only", "reply with \"yes\" or \"no\""]
        {
            assert!(asks_yes_or_no(asked), "{asked}");
        }
        for other in [
            "Yes, describe it. There is no limit.",
            "no or yes",
            "Is it a boat?",
            "",
            "yes, and say why, no less",
        ] {
            assert!(!asks_yes_or_no(other), "{other}");
        }
    }

    #[test]
    fn a_boolean_called_match_is_asked_for_in_many_words() {
        for text in [
            "Return ONLY JSON: {\"match\": true} or {\"match\": false}",
            "Respond with {\"match\": true|false}.",
            "Reply as a JSON object whose single boolean field `match` tells whether they agree.",
            "Give JSON with one key named match, true if the description holds and false if not.",
            "Output: {match: <bool>}",
            "your answer has the form {'match': bool}",
            "Set the match field to true or false.",
        ] {
            assert_eq!(Kinds::of(text), Kinds { matching: true, labels: false }, "{text}");
        }
        for text in [
            "Does the caption match the frames? Answer yes or no.",
            "Describe what is to be seen. Is it true?",
            "Write a poem about a tennis match.",
            "",
        ] {
            assert!(!Kinds::of(text).any(), "{text}");
        }
    }

    #[test]
    fn labels_are_asked_for_in_many_words() {
        for text in [
            "For each frame return {\"frame_index\": 0, \"winner\": \"nature\", \"nature_score\": 0.0, \"people_score\": 0.0, \
             \"animal_score\": 0.0, \"vehicle_score\": 0.0, \"urban_score\": 0.0, \"indoor_score\": 0.0, \"other_score\": 0.0}",
            "Score every frame for nature, people, animal, vehicle, urban, indoor and other, between 0 and 1, and name the winner.",
            "Labels: Nature, People, Animals, Vehicles, Urban, Indoor, Other. Give the winning_label and all scores per image.",
        ] {
            assert_eq!(Kinds::of(text), Kinds { matching: false, labels: true }, "{text}");
        }
        for text in [
            "Is it nature, people or animal? Give a score.",
            "nature people animal vehicle urban indoor other",
        ] {
            assert!(!Kinds::of(text).any(), "{text}");
        }
    }

    #[test]
    fn a_schema_says_what_is_asked_whatever_the_text() {
        let schema =
            json!({"type": "object", "properties": {"match": {"type": "boolean"}}, "required": ["match"]});
        let prompt = Prompt {
            trusted: "winner and scores of nature people animal vehicle urban".into(),
            ..Prompt::default()
        };
        assert_eq!(Kinds::of_request(Some(&schema), &prompt), Kinds { matching: true, labels: false });
        assert_eq!(Kinds::of_request(None, &prompt), Kinds { matching: false, labels: true });
        let schema =
            json!({"properties": {"frames": {"items": {"properties": {"winner": {"type": "string"}}}}}});
        assert_eq!(
            Kinds::of_request(Some(&schema), &Prompt::default()),
            Kinds { matching: false, labels: true }
        );
        assert!(!Kinds::of_request(Some(&json!({"properties": {"summary": {}}})), &Prompt::default()).any());
    }

    #[test]
    fn the_shape_follows_the_sample() {
        let usual = LabelShape::of("frames with frame_index, winner, nature_score, people_score and so on");
        assert_eq!(usual.list.as_deref(), Some("frames"));
        assert_eq!(usual.index, Some(("frame_index".into(), 0)));
        assert_eq!(usual.scores.len(), 7);
        assert_eq!(usual.scores[6].0, "other_score");

        let six = "{\"frames\": [{\"frame_index\": 0, \"winner\": \"nature\", \"nature_score\": 0.9, \"people_score\": 0, \
                   \"animal_score\": 0, \"vehicle_score\": 0, \"urban_score\": 0, \"indoor_score\": 0}]}";
        let six = LabelShape::of(six);
        assert_eq!(six.scores.len(), 6);
        assert_eq!(six.nested, None);

        let nested = "{\"results\": [{\"frame\": 1, \"label\": \"nature\", \"scores\": {\"nature\": 0.9, \"people\": 0.1}, \
                      \"reason\": \"...\"}]}";
        let nested = LabelShape::of(nested);
        assert_eq!(nested.list.as_deref(), Some("results"));
        assert_eq!(nested.index, Some(("frame".into(), 1)));
        assert_eq!(nested.winner.as_deref(), Some("label"));
        assert_eq!(nested.nested.as_deref(), Some("scores"));
        assert_eq!((nested.scores.len(), nested.scores[0].0.as_str()), (7, "nature"));
        assert_eq!(nested.extras, [("reason".to_owned(), Meaning::Reason)]);

        let bare = LabelShape::of(
            "A JSON array: [{\"winner\": \"...\", \"nature\": 0, \"people\": 0, \"animal\": 0}]",
        );
        assert_eq!((bare.list, bare.index), (None, None));
        assert_eq!(bare.scores[0].0, "nature");
        let counted = LabelShape::of("`frame_index` is 1-based; `winner`; nature_score ...");
        assert_eq!(counted.index, Some(("frame_index".into(), 1)));
    }
}
