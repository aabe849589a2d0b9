//! Text to tokens, for prompts that hold a stranger's words.
//!
//! A `tokenizer.json` finds its added tokens in any text: those that it calls special (`<|im_end|>`, `<|video_pad|>`),
//! and others that it does not (`<think>`, `<tool_call>`), which the switch for special tokens leaves alone. So there is
//! one tokenizer without any added token, for text, and the added tokens by name, for the places of a template. Whatever
//! a caption spells, its tokens are those of ordinary text.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokenizers::Tokenizer;

use crate::error::{Error, Result};
use crate::model::tokenizer::make_certain;

/// Name of the tokenizer's file.
pub(super) const TOKENIZER: &str = "tokenizer.json";

/// Longest text that is tokenized at all, in bytes: a question holds no longer caption than is read at all.
pub(super) const MAX_TEXT: usize = 1 << 16;

/// The tokenizer of ordinary text, and the added tokens.
pub(super) struct TextTokenizer {
    model: String,
    tokenizer: Tokenizer,
    added: BTreeMap<String, u32>,
    reserved: BTreeSet<u32>,
}

impl TextTokenizer {
    /// Parses `tokenizer.json` for a model that knows `vocabulary` ids.
    pub(super) fn parse(model: &str, bytes: &[u8], vocabulary: usize) -> Result<Self> {
        let wrong = |why: String| Error::model(model, format!("{TOKENIZER}: {why}"));
        let unreadable = |why: String| wrong(format!("cannot be read ({why}); fetch the file again"));
        let mut file: Value = serde_json::from_slice(bytes).map_err(|e| unreadable(e.to_string()))?;
        let entries = file.get_mut("added_tokens").map(Value::take).unwrap_or_default();
        let mut added = BTreeMap::new();
        for entry in entries.as_array().into_iter().flatten() {
            let id = entry.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
            let (Some(id), Some(content)) = (id, entry.get("content").and_then(Value::as_str)) else {
                return Err(wrong("an added token has no id or no content".to_owned()));
            };
            added.insert(content.to_owned(), id);
        }
        if let Some(object) = file.as_object_mut() {
            object.insert("added_tokens".to_owned(), Value::Array(Vec::new()));
            // Both hold ids of added tokens, or the state of the last training run.
            for spare in ["post_processor", "truncation", "padding"] {
                object.insert(spare.to_owned(), Value::Null);
            }
        }
        make_certain(&mut file);
        let plain = serde_json::to_vec(&file).map_err(|e| unreadable(e.to_string()))?;
        let tokenizer = Tokenizer::from_bytes(plain).map_err(|e| unreadable(e.to_string()))?;
        let largest =
            tokenizer.get_vocab(false).into_values().chain(added.values().copied()).max().unwrap_or(0);
        if largest as usize >= vocabulary {
            let why = format!("has token id {largest}, but the model has {vocabulary} tokens (vocab_size)");
            return Err(wrong(why));
        }
        let reserved = added.values().copied().collect();
        Ok(Self { model: model.to_owned(), tokenizer, added, reserved })
    }

    /// The id of an added token, which a template puts in by itself.
    pub(super) fn special(&self, content: &str) -> Result<u32> {
        self.added.get(content).copied().ok_or_else(|| {
            let why = format!("{TOKENIZER} has no token {content}: is it another model's?");
            Error::model(&self.model, why)
        })
    }

    /// The tokens of a text, all of them and never an added one.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        if text.len() > MAX_TEXT {
            let why = format!("{} bytes; a question has at most {MAX_TEXT}", text.len());
            return Err(Error::usage("text", why));
        }
        let encoding = self
            .tokenizer
            .encode_fast(text, false)
            .map_err(|e| Error::model(&self.model, format!("{TOKENIZER}: cannot tokenize a text ({e})")))?;
        let ids = encoding.get_ids().to_vec();
        if let Some(id) = ids.iter().find(|id| self.reserved.contains(id)) {
            let why =
                format!("{TOKENIZER} gives token {id} for ordinary text, and has it as an added token too");
            return Err(Error::model(&self.model, why));
        }
        Ok(ids)
    }
}
