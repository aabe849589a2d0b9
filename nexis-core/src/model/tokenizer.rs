//! Captions to token ids, as transformers' tokenizers of CLIP and SigLIP give them.
//!
//! A caption is data. Where it spells a special token (`<|endoftext|>`, `</s>`), that spelling is read as
//! ordinary text, which is what transformers does with `split_special_tokens=True`: the begin and end
//! tokens of a sequence are those that the tokenizer's own template puts there, and no others.
//!
//! A model's added tokens that are neither called special nor in the template are left out altogether, where transformers
//! finds them in a text.
//!
//! SigLIP was trained on texts in lower case, the first one without ASCII punctuation too. Its files do not all say so,
//! hence it is done here; where a file does it again, nothing is left to be done.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::Tokenizer;
use tokenizers::models::ModelWrapper;
use tokenizers::models::unigram::Unigram;

use super::config::Architecture;
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

/// What happens to a text before the file's own normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    /// SigLIP 2: lower case, character by character.
    LowerCase,
    /// SigLIP: lower case, no ASCII punctuation, single spaces.
    Canonical,
}

impl Before {
    fn apply(self, text: &str) -> String {
        match self {
            Self::Nothing => text.to_owned(),
            Self::LowerCase => text.chars().flat_map(char::to_lowercase).collect(),
            Self::Canonical => {
                let lower = text.to_lowercase();
                let kept: String = lower.chars().filter(|c| !c.is_ascii_punctuation()).collect();
                let words: Vec<&str> = kept.split(is_space).filter(|word| !word.is_empty()).collect();
                words.join(" ")
            }
        }
    }
}

/// White space to Python's regular expressions: Unicode's, and four separators of ASCII; and the underline that
/// SentencePiece writes for a space.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c) || c == '\u{2581}'
}

/// What is read of the file beside what the `tokenizers` crate reads.
#[derive(Deserialize)]
struct File {
    model: FileModel,
    #[serde(default)]
    padding: Option<FilePadding>,
}

#[derive(Deserialize)]
struct FileModel {
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    unk_id: Option<usize>,
}

#[derive(Deserialize)]
struct FilePadding {
    pad_id: u32,
}

/// A `tokenizer.json`.
pub(super) struct TextTokenizer {
    model: String,
    tokenizer: Tokenizer,
    before: Before,
    /// Ids that the template adds around a text.
    template: Vec<u32>,
    unknown: Option<u32>,
    /// What a text is filled up with, where the architecture fills texts up.
    pad: Option<u32>,
}

impl TextTokenizer {
    /// Parses `tokenizer.json` for a model that knows `vocabulary` ids.
    pub(super) fn parse(
        model: &str,
        bytes: &[u8],
        architecture: Architecture,
        vocabulary: usize,
    ) -> Result<Self> {
        let wrong = |why: String| Error::model(model, format!("{TOKENIZER}: {why}"));
        let unreadable =
            |e: &dyn std::fmt::Display| wrong(format!("cannot be read ({e}); fetch the file again"));
        let file: File = serde_json::from_slice(bytes).map_err(|e| unreadable(&e))?;
        let mut read: Value = serde_json::from_slice(bytes).map_err(|e| unreadable(&e))?;
        make_certain(&mut read);
        // The switch below leaves added tokens alone that are not called special: a text that spells one is text. Those of
        // the template stay, for `encode` to find and count.
        let template = read.get("post_processor").map(Value::to_string).unwrap_or_default();
        if let Some(added) = read.get_mut("added_tokens").and_then(Value::as_array_mut) {
            added.retain(|token| {
                token.get("special").and_then(Value::as_bool) == Some(true)
                    || token.get("content").is_some_and(|content| template.contains(&content.to_string()))
            });
        }
        let certain = serde_json::to_vec(&read).map_err(|e| unreadable(&e))?;
        let mut tokenizer = Tokenizer::from_bytes(certain).map_err(|e| unreadable(&e))?;
        // Files often carry the truncation and padding of the last training run.
        tokenizer.with_truncation(None).map_err(|e| wrong(e.to_string()))?;
        tokenizer.with_padding(None);
        tokenizer.set_encode_special_tokens(true);

        let empty = tokenizer.encode("", true).map_err(|e| wrong(e.to_string()))?;
        let template = empty.get_ids().to_vec();
        // A template brings ids of its own.
        let ids = tokenizer.get_vocab(true).into_values().chain(template.iter().copied());
        let largest = ids.max().unwrap_or(0);
        if largest as usize >= vocabulary {
            let why = format!("has token id {largest}, but the configuration says vocab_size {vocabulary}");
            return Err(wrong(why));
        }
        let (least, why) = match architecture {
            Architecture::Clip => {
                (2, "puts no begin and end tokens around a text; save it with CLIPTokenizer's post-processor")
            }
            Architecture::Siglip => {
                (1, "puts no end token behind a text; save it with one in its post-processor")
            }
        };
        if template.len() < least {
            return Err(wrong(why.to_owned()));
        }

        let before = match (architecture, tokenizer.get_model()) {
            (Architecture::Clip, _) => Before::Nothing,
            (Architecture::Siglip, ModelWrapper::Unigram(_)) => Before::Canonical,
            (Architecture::Siglip, ModelWrapper::BPE(_)) => Before::LowerCase,
            (Architecture::Siglip, _) => {
                let why = "is neither the Unigram of SigLIP nor the BPE of SigLIP 2, so that it is not known how \
                           texts are prepared for it";
                return Err(wrong(why.to_owned()));
            }
        };
        let named = file.model.unk_token.and_then(|token| tokenizer.token_to_id(&token));
        let unknown = named.or(file.model.unk_id.and_then(|id| u32::try_from(id).ok()));
        let stated = file.padding.map(|padding| padding.pad_id);
        let pad = match before {
            Before::Nothing => None,
            // SigLIP's tokenizer fills up with the end token, SigLIP 2's with a token for it.
            Before::Canonical => stated.or(template.last().copied()),
            Before::LowerCase => stated.or_else(|| tokenizer.token_to_id("<pad>")),
        };
        if before != Before::Nothing && pad.is_none_or(|pad| pad as usize >= vocabulary) {
            return Err(wrong("names no token of the vocabulary to fill a text up with".to_owned()));
        }
        if let ModelWrapper::Unigram(unigram) = tokenizer.get_model() {
            let special = tokenizer.get_added_tokens_decoder().into_iter().filter(|(_, token)| token.special);
            let special = special.map(|(id, _)| id).chain(template.iter().copied()).chain(unknown).collect();
            let plain = without_special(unigram, &special, file.model.unk_id);
            tokenizer.with_model(plain.map_err(|e| wrong(e.to_string()))?);
        }
        Ok(Self { model: model.to_owned(), tokenizer, before, template, unknown, pad })
    }

    /// The last id that the template puts after every text.
    pub(super) fn end(&self) -> Option<u32> {
        self.template.last().copied()
    }

    /// What a text is filled up with.
    pub(super) fn pad(&self) -> Option<u32> {
        self.pad
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
            .encode_fast(self.before.apply(text), true)
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

    /// The ids of a text for a network that reads at most `context` of them.
    ///
    /// # Errors
    /// [`Error::Usage`] where there are more, since nothing is cut; as [`encode`](Self::encode).
    pub(super) fn encode_within(&self, text: &str, context: usize) -> Result<Vec<u32>> {
        let ids = self.encode(text)?.ids;
        if ids.len() > context {
            let why = format!("{} tokens, but {} reads {context}; split it", ids.len(), self.model);
            return Err(Error::usage("text", why));
        }
        Ok(ids)
    }
}

/// Takes the dropout of training out of a `tokenizer.json`: with it, a text would have other tokens each time.
pub(super) fn make_certain(file: &mut Value) {
    if let Some(dropout) = file.pointer_mut("/model/dropout") {
        *dropout = Value::Null;
    }
}

/// A Unigram whose special pieces no text can spell. SentencePiece looks for ordinary pieces alone; the `tokenizers`
/// crate looks for all of them, and finds `</s>` in a text that its normaliser turned into that.
fn without_special(
    unigram: &Unigram,
    special: &BTreeSet<u32>,
    unknown: Option<usize>,
) -> tokenizers::Result<Unigram> {
    let pieces = (0_u32..).zip(unigram.iter()).map(|(id, (piece, score))| {
        // Spaces are turned into another character before pieces are looked for.
        let piece = if special.contains(&id) { format!(" {piece}") } else { piece.clone() };
        (piece, *score)
    });
    Unigram::from(pieces.collect(), unknown, unigram.byte_fallback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_prepared_as_they_were_for_training() {
        // What Python's SiglipTokenizer.canonicalize_text and the crate's Lowercase give.
        for (text, canonical, lower) in [
            ("A red-and-white boat.", "a redandwhite boat", "a red-and-white boat."),
            ("  Two\t\n clouds\u{a0}!  ", "two clouds", "  two\t\n clouds\u{a0}!  "),
            ("\u{1c}a\u{1f}b\u{85}", "a b", "\u{1c}a\u{1f}b\u{85}"),
            ("</s> <EOS>", "s eos", "</s> <eos>"),
            (
                "\u{ff1c}/S\u{ff1e} \u{201c}Q\u{201d}",
                "\u{ff1c}s\u{ff1e} \u{201c}q\u{201d}",
                "\u{ff1c}/s\u{ff1e} \u{201c}q\u{201d}",
            ),
            // The end of a word makes another sigma only where whole texts are lowered.
            ("\u{39f}\u{3a3}", "\u{3bf}\u{3c2}", "\u{3bf}\u{3c3}"),
            ("?!", "", "?!"),
            ("a\u{2581}\u{2581}b", "a b", "a\u{2581}\u{2581}b"),
        ] {
            assert_eq!(Before::Canonical.apply(text), canonical);
            assert_eq!(Before::LowerCase.apply(text), lower);
            assert_eq!(Before::Nothing.apply(text), text);
        }
    }
}
