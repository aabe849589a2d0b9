//! Judges: vision-language models that are asked one question about a clip and answer with P(yes).
//!
//! [`Judge`] is the seam. No text is generated and none is parsed: the prompt goes through the network once, and P(yes)
//! comes from the logits of the words for yes and no at its last place ([`YesNo`]).
//!
//! A judge costs many times what an encoder costs, so that it is asked only where the encoder's score is in doubt:
//! [`RowJudge::with_judge`](crate::verifier::RowJudge::with_judge).

mod answer;
mod checkpoint;
mod gguf;
mod layers;
mod moondream;
mod passes;
mod qwen3_vl;
mod text;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use answer::YesNo;
pub use moondream::Moondream;
pub use qwen3_vl::Qwen3Vl;

use super::registry::ModelKind;
use super::{ModelDevice, ModelIdentity};
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::media::Frame;

/// Most tokens of a question. A caption of eighty words has about 110; what is longer is answered with
/// [`Answer::TooLong`], never cut.
pub const QUESTION_LIMIT: usize = 1024;

/// Most frames of one question.
pub const FRAME_LIMIT: usize = 16;

/// Most numbers of one product of attention, heads x queries x keys: 2 GiB in f32.
const MAX_SCORES: usize = 1 << 29;

/// What a judge is, for evidence: everything that could change an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeIdentity {
    /// The model, with the digest of each of its files.
    pub model: ModelIdentity,
    /// SHA-256 of what is the same in every prompt: its template, the wording of the questions, the words that count as
    /// yes and no with their tokens, and the rule for the size of frames.
    pub prompt: Digest,
}

/// What a judge is asked about a clip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question<'a> {
    /// Whether the clip shows what a caption says, all of it.
    Shows(&'a str),
    /// Whether natural scenery is its main subject.
    MainlyNature,
    /// A question in the caller's own words, to be answered by yes or no.
    Other(&'a str),
}

impl Question<'_> {
    /// Every wording, with `{}` for a caption: for a prompt's digest.
    const WORDINGS: [&'static str; 3] = [
        "Does this clip show: {}? Answer yes or no.",
        "Is natural scenery the main subject of this clip? Answer yes or no.",
        "{} Answer yes or no.",
    ];

    /// The same for a model that sees one picture of a clip.
    const PICTURE_WORDINGS: [&'static str; 3] = [
        "Does this picture show: {}? Answer yes or no.",
        "Is natural scenery the main subject of this picture? Answer yes or no.",
        "{} Answer yes or no.",
    ];

    /// The words that the model reads. A caption is data: it is put in as it is, white space around it taken away, and
    /// reaches the model as ordinary text whatever it spells.
    pub fn text(&self) -> Cow<'static, str> {
        self.worded(Self::WORDINGS)
    }

    /// The words that a model reads which sees one picture of the clip, put together in the same way.
    pub fn text_of_picture(&self) -> Cow<'static, str> {
        self.worded(Self::PICTURE_WORDINGS)
    }

    fn worded(&self, [shows, nature, other]: [&'static str; 3]) -> Cow<'static, str> {
        match self {
            Self::Shows(caption) => shows.replacen("{}", caption.trim(), 1).into(),
            Self::MainlyNature => nature.into(),
            Self::Other(question) => other.replacen("{}", question.trim(), 1).into(),
        }
    }
}

/// A clip and what is asked about it.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// The clip's frames, in order of time and of one size.
    pub frames: &'a [Frame],
    /// The question.
    pub question: Question<'a>,
}

/// What a judge says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    /// P(yes), 0 to 1.
    Yes(f64),
    /// The question has more tokens than [`QUESTION_LIMIT`], or the model reads fewer than it has together with its
    /// frames, so that it was not asked.
    TooLong {
        /// How many these are; of a text that is too long to be counted, its bytes.
        tokens: usize,
    },
}

/// A model that answers questions about clips.
pub trait Judge: Send + Sync {
    /// What it is.
    fn identity(&self) -> &JudgeIdentity;

    /// One answer per question, in order. On one machine each depends on its own frames and words alone, to the last
    /// bit, whatever else is in the call and however many threads there are. Between machines the last places may
    /// differ: products are summed in an order that follows from the processor's instruction set and from the sizes of
    /// its caches. Where a model brings what goes into a product to eight bits, a difference in the last place can tip
    /// one of these, so that answers differ by more than that.
    ///
    /// # Errors
    /// [`Error::Usage`] where there are no frames or more than [`FRAME_LIMIT`], or their sizes differ or cannot be
    /// read; else the model's failure. Never for what a caption says.
    fn answer(&self, asks: &[Ask<'_>]) -> Result<Vec<Answer>>;
}

/// How to load a judge.
#[derive(Clone, Debug, Default)]
pub struct JudgeOptions {
    /// Device of the forward pass.
    pub device: ModelDevice,
    /// Name in evidence and messages; the directory's own name where absent.
    pub id: Option<String>,
}

/// Loads a judge of some kind from its directory.
///
/// # Errors
/// [`Error::Usage`] where the kind is no judge's; else as [`Qwen3Vl::load`] and [`Moondream::load`].
pub fn load(kind: ModelKind, directory: &Path, options: &JudgeOptions) -> Result<Arc<dyn Judge>> {
    let name = || options.id.clone().unwrap_or_else(|| directory.display().to_string());
    match kind {
        ModelKind::Qwen3Vl => Ok(Arc::new(Qwen3Vl::load(directory, options)?)),
        ModelKind::Moondream => Ok(Arc::new(Moondream::load(directory, options)?)),
        kind => {
            let why = format!(
                "it is an encoder ({}) and answers no questions; `nexis models list` shows the judges",
                kind.name()
            );
            Err(Error::usage(format!("judge {}", name()), why))
        }
    }
}

/// What is wrong with the first of these sizes that lies outside of its range: name, size, least, most.
fn out_of_range(sizes: &[(&str, usize, usize, usize)]) -> Option<String> {
    let wrong = sizes.iter().find(|(_, size, least, most)| !(least..=most).contains(&size))?;
    let (name, size, least, most) = wrong;
    Some(format!("{name} is {size}; {least} to {most} is supported"))
}

/// That a clip can be asked about: there are frames, not too many, of one size and whole.
fn check_frames(frames: &[Frame]) -> Result<()> {
    let Some(first) = frames.first() else {
        return Err(Error::usage("frames", "at least one is needed to ask about a clip"));
    };
    if frames.len() > FRAME_LIMIT {
        let why = format!("{} frames; at most {FRAME_LIMIT} are asked about at once", frames.len());
        return Err(Error::usage("frames", why));
    }
    let bytes = u64::from(first.width) * u64::from(first.height) * 3;
    for (i, frame) in frames.iter().enumerate() {
        if (frame.width, frame.height) != (first.width, first.height) {
            let why = format!("frame {i} differs in size from frame 0, {}x{}", first.width, first.height);
            return Err(Error::usage("frames", why));
        }
        if frame.rgb.len() as u64 != bytes || !frame.pts_seconds.is_finite() {
            return Err(Error::usage("frames", format!("frame {i} is not whole, or has no time")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caption_is_put_in_whole_and_as_it_is() {
        let caption = "  a {} river\n<|im_end|> {}  ";
        assert_eq!(
            Question::Shows(caption).text(),
            "Does this clip show: a {} river\n<|im_end|> {}? Answer yes or no."
        );
        assert_eq!(Question::Other("Is it day?").text(), "Is it day? Answer yes or no.");
        assert_eq!(
            Question::Shows(caption).text_of_picture(),
            "Does this picture show: a {} river\n<|im_end|> {}? Answer yes or no."
        );
    }

    #[test]
    fn clips_that_cannot_be_asked_about() {
        let frame = |width: u32, bytes: usize| Frame {
            width,
            height: 2,
            pts_seconds: 0.0,
            rgb: vec![0; bytes].into(),
        };
        check_frames(&[frame(2, 12)]).unwrap();
        assert!(check_frames(&[]).is_err());
        assert!(check_frames(&vec![frame(2, 12); FRAME_LIMIT + 1]).is_err());
        assert!(check_frames(&[frame(2, 12), frame(3, 18)]).is_err());
        assert!(check_frames(&[frame(2, 11)]).is_err());
        assert!(check_frames(&[Frame { pts_seconds: f64::NAN, ..frame(2, 12) }]).is_err());
    }

    #[test]
    fn only_judges_judge() {
        let none = Path::new("nowhere");
        let error = |kind| load(kind, none, &JudgeOptions::default()).err().map(|e| e.to_string());
        for kind in [ModelKind::Clip, ModelKind::Siglip, ModelKind::Mobileclip] {
            assert!(error(kind).unwrap().contains("is an encoder"));
        }
        for kind in [ModelKind::Qwen3Vl, ModelKind::Moondream] {
            assert!(error(kind).unwrap().contains("is missing from nowhere"));
        }
    }
}
