//! An answer as the JSON that was asked for.

use std::cell::Cell;

use nexis_core::protocol::Category;
use nexis_core::report::FrameCategoryReport;
use serde_json::{Map, Value};

use super::ask::{LabelShape, Meaning, extras, meaning};

/// What was found about the caption.
#[derive(Clone, Debug)]
pub(super) struct Matched {
    pub(super) matched: bool,
    /// P(match).
    pub(super) probability: f64,
    /// How sure the answer is: of what was measured, the share that speaks for it.
    pub(super) confidence: f64,
    pub(super) why: String,
}

/// Everything that an answer can say.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) matched: Option<Matched>,
    /// Frame by frame.
    pub(super) labels: Vec<FrameCategoryReport>,
}

/// The answer to a prompt whose instructions are `text`.
pub(super) fn by_text(facts: &Facts, text: &str) -> Value {
    let mut top = Map::new();
    if let Some(matched) = &facts.matched {
        top.insert("match".into(), matched.matched.into());
        for (name, meaning) in extras(text) {
            if let Some(value) = of_match(matched, meaning) {
                top.insert(name, value);
            }
        }
    }
    if !facts.labels.is_empty() {
        let shape = LabelShape::of(text);
        let frames: Vec<Value> = facts.labels.iter().map(|frame| of_frame(frame, &shape)).collect();
        match shape.list {
            None if top.is_empty() => return frames.into(),
            list => top.insert(list.unwrap_or_else(|| "frames".into()), frames.into()),
        };
    }
    top.into()
}

fn of_match(matched: &Matched, meaning: Meaning) -> Option<Value> {
    Some(match meaning {
        Meaning::Match => matched.matched.into(),
        Meaning::Reason => matched.why.clone().into(),
        Meaning::Confidence => matched.confidence.into(),
        Meaning::Probability => matched.probability.into(),
        _ => return None,
    })
}

fn score(frame: &FrameCategoryReport, label: Category) -> f64 {
    frame.scores.get(&label).copied().unwrap_or_default()
}

/// What a key of a frame says.
fn of_label(frame: &FrameCategoryReport, meaning: Meaning, base: usize) -> Option<Value> {
    Some(match meaning {
        Meaning::Winner => frame.winner.as_str().into(),
        Meaning::Index => (frame.frame_index + base).into(),
        Meaning::Score(label) => score(frame, label).into(),
        Meaning::Confidence | Meaning::Probability => score(frame, frame.winner).into(),
        Meaning::Reason => {
            format!("{} scores {:.3}, the most of the seven labels", frame.winner, score(frame, frame.winner))
                .into()
        }
        Meaning::Match | Meaning::Scores => return None,
    })
}

fn of_frame(frame: &FrameCategoryReport, shape: &LabelShape) -> Value {
    let mut fields = Map::new();
    let base = shape.index.as_ref().map_or(0, |(_, base)| *base);
    if let Some((name, _)) = &shape.index {
        fields.insert(name.clone(), (frame.frame_index + base).into());
    }
    if let Some(name) = &shape.winner {
        fields.insert(name.clone(), frame.winner.as_str().into());
    }
    let scores = shape.scores.iter().map(|(name, label)| (name.clone(), Value::from(score(frame, *label))));
    match &shape.nested {
        Some(name) => {
            fields.insert(name.clone(), Value::Object(scores.collect()));
        }
        None => fields.extend(scores),
    }
    for (name, meaning) in &shape.extras {
        if let Some(value) = of_label(frame, *meaning, base) {
            fields.insert(name.clone(), value);
        }
    }
    fields.into()
}

/// Deepest schema that is followed.
const MAX_DEPTH: usize = 16;
/// Most places of a schema that are looked at: alternatives multiply.
const MAX_PLACES: usize = 10_000;

/// The answer in the shape of a JSON schema.
///
/// # Errors
/// What in the schema cannot be answered.
pub(super) fn by_schema(facts: &Facts, schema: &Value, text: &str) -> Result<Value, String> {
    let base = LabelShape::of(text).index.map_or(0, |(_, base)| base);
    Filling { facts, root: schema, base, seen: Cell::new(0) }.fill(schema, "", None, 0)
}

struct Filling<'a> {
    facts: &'a Facts,
    root: &'a Value,
    base: usize,
    seen: Cell<usize>,
}

impl Filling<'_> {
    fn fill(
        &self,
        schema: &Value,
        name: &str,
        frame: Option<&FrameCategoryReport>,
        depth: usize,
    ) -> Result<Value, String> {
        self.seen.set(self.seen.get() + 1);
        if depth > MAX_DEPTH || self.seen.get() > MAX_PLACES {
            return Err("the schema is nested too deeply".into());
        }
        if let Some(pointer) = schema.get("$ref").and_then(Value::as_str) {
            let target = pointer.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            let target = target.ok_or_else(|| format!("the schema has no {pointer}"))?;
            return self.fill(target, name, frame, depth + 1);
        }
        for choice in ["anyOf", "oneOf"] {
            if let Some(options) = schema.get(choice).and_then(Value::as_array) {
                let filled = options.iter().find_map(|option| self.fill(option, name, frame, depth + 1).ok());
                return filled.ok_or_else(|| unknown(name));
            }
        }
        let kind = schema.get("type");
        let is = |wanted: &str| {
            kind.is_some_and(|kind| {
                kind == wanted || kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == wanted))
            })
        };
        if is("object") || schema.get("properties").is_some() {
            return self.object(schema, name, frame, depth);
        }
        if is("array") {
            let items = schema.get("items").unwrap_or(&Value::Null);
            if frame.is_some() || self.facts.labels.is_empty() {
                return Ok(vec![self.fill(items, name, frame, depth + 1)?].into());
            }
            let frames = self.facts.labels.iter().map(|frame| self.fill(items, name, Some(frame), depth + 1));
            return frames.collect::<Result<Vec<_>, _>>().map(Value::from);
        }
        let value = self.leaf(name, frame).ok_or_else(|| unknown(name))?;
        let fits = match &value {
            Value::Bool(_) => is("boolean"),
            Value::String(_) => is("string"),
            Value::Number(number) => is("number") || (is("integer") && number.is_u64()),
            _ => false,
        };
        let allowed = schema.get("enum").and_then(Value::as_array).map_or(Some(value.clone()), |allowed| {
            let same = |other: &&Value| match (other.as_str(), value.as_str()) {
                (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
                _ => **other == value,
            };
            allowed.iter().find(same).cloned()
        });
        match allowed {
            Some(allowed) if fits || kind.is_none() => Ok(allowed),
            _ => Err(format!("{name:?} cannot be {}", kind.unwrap_or(&Value::Null))),
        }
    }

    fn object(
        &self,
        schema: &Value,
        name: &str,
        frame: Option<&FrameCategoryReport>,
        depth: usize,
    ) -> Result<Value, String> {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            let scores =
                frame.filter(|_| meaning(name) == Some(Meaning::Scores)).ok_or_else(|| unknown(name))?;
            let scores = scores.scores.iter().map(|(label, score)| (label.to_string(), Value::from(*score)));
            return Ok(Value::Object(scores.collect()));
        };
        let required = schema.get("required").and_then(Value::as_array);
        let needed = |name: &str| required.is_some_and(|names| names.iter().any(|needed| needed == name));
        let mut fields = Map::new();
        for (name, described) in properties {
            match self.fill(described, name, frame, depth + 1) {
                Ok(value) => {
                    fields.insert(name.clone(), value);
                }
                Err(why) if needed(name) => return Err(why),
                Err(_) => {}
            }
        }
        Ok(fields.into())
    }

    fn leaf(&self, name: &str, frame: Option<&FrameCategoryReport>) -> Option<Value> {
        let meaning = meaning(name)?;
        match frame {
            Some(frame) => of_label(frame, meaning, self.base),
            None => of_match(self.facts.matched.as_ref()?, meaning),
        }
    }
}

fn unknown(name: &str) -> String {
    format!("{name:?} is nothing that can be answered here")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn facts() -> Facts {
        let frame = |frame_index| FrameCategoryReport {
            frame_index,
            winner: Category::Nature,
            scores: Category::ALL
                .into_iter()
                .map(|l| (l, if l == Category::Nature { 0.7 } else { 0.05 }))
                .collect::<BTreeMap<_, _>>(),
        };
        Facts {
            matched: Some(Matched {
                matched: true,
                probability: 0.9,
                confidence: 0.9,
                why: "because".into(),
            }),
            labels: (0..3).map(frame).collect(),
        }
    }

    #[test]
    fn an_answer_has_what_was_asked_and_nothing_else() {
        let only = Facts { labels: Vec::new(), ..facts() };
        assert_eq!(by_text(&only, "{\"match\": true}"), json!({"match": true}));
        let more =
            by_text(&only, "{\"match\": true, \"reason\": \"...\", \"confidence\": 0.5, \"mood\": \"\"}");
        assert_eq!(more, json!({"match": true, "reason": "because", "confidence": 0.9}));
        let labels = Facts { matched: None, ..facts() };
        let answer = by_text(&labels, "frame_index, winner, nature_score, ...");
        assert_eq!(answer["frames"][2]["frame_index"], 2);
        assert_eq!(answer["frames"][0]["winner"], "nature");
        assert_eq!(answer["frames"][0]["other_score"], 0.05);
        let both = by_text(&facts(), "");
        assert!(both["match"] == true && both["frames"].as_array().unwrap().len() == 3);
        assert!(by_text(&labels, "A JSON array of objects with winner").is_array());
    }

    #[test]
    fn a_schema_is_filled() {
        let schema = json!({
            "type": "object",
            "properties": {"frames": {"type": "array", "items": {"$ref": "#/$defs/Frame"}}},
            "required": ["frames"],
            "$defs": {"Frame": {
                "type": "object",
                "properties": {
                    "frame_index": {"type": "integer"},
                    "winner": {"type": "string", "enum": ["Nature", "People"]},
                    "nature_score": {"type": "number"},
                    "scores": {"type": "object", "additionalProperties": {"type": "number"}},
                    "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                },
                "required": ["frame_index", "winner", "nature_score"],
            }},
        });
        let filled = by_schema(&Facts { matched: None, ..facts() }, &schema, "").unwrap();
        assert_eq!(filled["frames"][1]["frame_index"], 1);
        assert_eq!(filled["frames"][1]["winner"], "Nature");
        assert_eq!(filled["frames"][1]["scores"]["indoor"], 0.05);
        assert!(filled["frames"][1].get("note").is_none());

        let matching = json!({"type": "object", "properties": {"match": {"type": "boolean"}, "reason": {"type": ["string", "null"]}},
            "required": ["match", "reason"], "additionalProperties": false});
        let only = Facts { labels: Vec::new(), ..facts() };
        assert_eq!(by_schema(&only, &matching, "").unwrap(), json!({"match": true, "reason": "because"}));
        let beyond = json!({"type": "object", "properties": {"match": {"type": "boolean"}, "poem": {"type": "string"}},
            "required": ["match", "poem"]});
        assert!(by_schema(&only, &beyond, "").unwrap_err().contains("poem"));
        let mut deep = json!({"type": "boolean"});
        for _ in 0..40 {
            deep = json!({"type": "object", "properties": {"match": deep}, "required": ["match"]});
        }
        assert!(by_schema(&only, &deep, "").is_err());
        let endless = json!({"$ref": "#"});
        assert!(by_schema(&only, &endless, "").is_err());
        let wide = json!({"anyOf": vec![json!({"$ref": "#"}); 1000]});
        assert!(by_schema(&only, &wide, "").is_err());
    }
}
