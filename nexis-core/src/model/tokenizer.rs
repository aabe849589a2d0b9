//! Captions to token ids, as transformers' CLIP tokenizer gives them.
//!
//! A caption is data. Where it spells a special token (`<|endoftext|>`), that spelling is read as
//! ordinary text, which is what transformers does with `split_special_tokens=True`: the begin and end
//! tokens of a sequence are those that the tokenizer's own template puts there, and no others.

use std::collections::BTreeSet;

use tokenizers::Tokenizer;

use crate::error::{Error, Result};

/// Name of the tokenizer's file.
pub(super) const TOKENIZER: &str = "tokenizer.json";

/// Longest text that is tokenized at all, in bytes; a caption is a few hundred.
const MAX_TEXT: usize = 1 << 20;

/// The tokens of one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Ids with the begin and end tokens, never cut.
    pub ids: Vec<u32>,
    /// How many tokens of the text the vocabulary does not know.
    pub unknown: usize,
}

/// A `tokenizer.json`.
pub(super) struct ClipTokenizer {
    model: String,
    tokenizer: Tokenizer,
    /// Ids that the template adds around a text.
    template: BTreeSet<u32>,
    unknown: Option<u32>,
}

impl ClipTokenizer {
    /// Parses `tokenizer.json` for a model that knows `vocabulary` ids.
    pub(super) fn parse(model: &str, bytes: &[u8], vocabulary: usize) -> Result<Self> {
        let wrong = |why: String| Error::model(model, format!("{TOKENIZER}: {why}"));
        let mut tokenizer = Tokenizer::from_bytes(bytes)
            .map_err(|e| wrong(format!("cannot be read ({e}); fetch the file again")))?;
        // Files often carry the truncation and padding of the last training run.
        tokenizer.with_truncation(None).map_err(|e| wrong(e.to_string()))?;
        tokenizer.with_padding(None);
        tokenizer.set_encode_special_tokens(true);

        let largest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
        if largest as usize >= vocabulary {
            let why =
                format!("has token id {largest}, but config.json says text_config.vocab_size {vocabulary}");
            return Err(wrong(why));
        }
        let empty = tokenizer.encode("", true).map_err(|e| wrong(e.to_string()))?;
        if empty.get_ids().len() < 2 {
            let why =
                "puts no begin and end tokens around a text; save it with CLIPTokenizer's post-processor";
            return Err(wrong(why.to_owned()));
        }
        let unknown = serde_json::from_slice::<serde_json::Value>(bytes)
            .ok()
            .and_then(|file| tokenizer.token_to_id(file.pointer("/model/unk_token")?.as_str()?));
        let template = empty.get_ids().iter().copied().collect();
        Ok(Self { model: model.to_owned(), tokenizer, template, unknown })
    }

    /// The last id that the template puts after every text.
    pub(super) fn end(&self) -> Result<Option<u32>> {
        Ok(self.encode("")?.ids.last().copied())
    }

    /// The tokens of a text.
    ///
    /// Where the vocabulary maps an unknown symbol onto the begin or end token (CLIP's does, but knows
    /// every byte, so that nothing is unknown to it), that symbol is left out and counted: in the
    /// sequence it would end the text for the model at that place.
    pub(super) fn encode(&self, text: &str) -> Result<Tokens> {
        if text.len() > MAX_TEXT {
            let why = format!("{} bytes; at most {MAX_TEXT} are tokenized at once, split it", text.len());
            return Err(Error::usage("text", why));
        }
        let encoding = self
            .tokenizer
            .encode_fast(text, true)
            .map_err(|e| Error::model(&self.model, format!("{TOKENIZER}: cannot tokenize a text ({e})")))?;
        let mut ids = Vec::with_capacity(encoding.len());
        let mut unknown = 0;
        for (id, added) in encoding.get_ids().iter().zip(encoding.get_special_tokens_mask()) {
            let foreign = *added == 0 && self.template.contains(id);
            if *added == 0 && (foreign || self.unknown == Some(*id)) {
                unknown += 1;
            }
            if !foreign {
                ids.push(*id);
            }
        }
        Ok(Tokens { ids, unknown })
    }
}
