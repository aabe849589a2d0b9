//! Qwen3-VL, asked about a video.
//!
//! Composed of candle's operations, in f32. candle-transformers has this architecture too, and is left: at 0.11.1 it
//! masks nothing in a prefill (its mask is made for one token only), gives every token one position where the model has
//! time, line and column, uses tanh's approximation of GELU in the mergers, where the model has the exact function, and
//! brings neither the video's placeholders and times nor sizes that are bounded before they are allocated.
//!
//! A question's bits depend on nothing but itself: it goes through the network alone, with a shape that follows from its
//! frames and words. Within a product the threads of the `gemm` crate share out tiles of the result and never the sum
//! of one element. They do depend on the processor: `gemm` sums in an order that differs by instruction set.

mod config;
mod frames;
mod layers;
mod prompt;
mod text;
mod vision;

use std::path::Path;

use candle_core::Device;
use rayon::prelude::*;

use self::config::Config;
use self::prompt::{Marks, Prompt};
use self::text::Text;
use self::vision::Vision;
use super::checkpoint::ModelFiles;
use super::text::{TOKENIZER, TextTokenizer};
use super::{Answer, Ask, Judge, JudgeIdentity, JudgeOptions, QUESTION_LIMIT, Question, YesNo, check_frames};
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::model::{ModelDevice, ModelIdentity};

/// Questions of one call that may be in work at once: a thread that waits for a product may take up another, and its
/// stack and memory have to hold all that it has taken up.
const AT_ONCE: usize = 4;

/// A Qwen3-VL with its tokenizer.
pub struct Qwen3Vl {
    identity: JudgeIdentity,
    config: Config,
    tokenizer: TextTokenizer,
    marks: Marks,
    words: YesNo,
    vision: Vision,
    text: Text,
}

impl Qwen3Vl {
    /// Loads `config.json`, `preprocessor_config.json`, `tokenizer.json` and the weights, in one file or in several,
    /// from a directory. Each is read once; its digest in the identity is of those bytes.
    ///
    /// # Errors
    /// [`Error::Model`], naming file and field, where a file is missing, damaged, unsupported or does not fit the
    /// others; [`Error::Io`] where one cannot be read.
    pub fn load(directory: &Path, options: &JudgeOptions) -> Result<Self> {
        let id = match &options.id {
            Some(id) => id.clone(),
            None => directory.file_name().unwrap_or(directory.as_os_str()).to_string_lossy().into_owned(),
        };
        let (device, device_name) = match options.device {
            ModelDevice::Cpu => (Device::Cpu, "cpu"),
        };
        let mut files = ModelFiles::new(id.clone(), directory);
        let config = config::parse(&id, &files.small(config::CONFIG)?, &files.small(config::PREPROCESSOR)?)?;
        let tokenizer = TextTokenizer::parse(&id, &files.small(TOKENIZER)?, config.text.vocabulary)?;
        let marks = Marks::of(&tokenizer)?;
        let words = YesNo::of(&id, &tokenizer)?;
        let mut weights = files.weights(&device)?;
        let vision = Vision::load(&mut weights, &config.vision, config.text.width, &device)?;
        let text = Text::load(&mut weights, &config.text, &device)?;
        let model = ModelIdentity {
            id,
            architecture: "qwen3-vl".to_owned(),
            digests: files.digests(),
            precision: "f32".to_owned(),
            device: device_name.to_owned(),
        };
        let same = format!(
            "{}\n{}\nyes {:?} no {:?}\n{} pixels\n{QUESTION_LIMIT} tokens",
            prompt::TEMPLATE,
            Question::WORDINGS.join("\n"),
            words.yes,
            words.no,
            frames::PIXELS,
        );
        let identity = JudgeIdentity { model, prompt: Digest::of(same) };
        Ok(Self { identity, config, tokenizer, marks, words, vision, text })
    }

    /// The tokens that count as yes and as no.
    pub const fn words(&self) -> &YesNo {
        &self.words
    }

    /// The tokens of a whole prompt, those of the video as placeholders.
    ///
    /// # Errors
    /// As [`answer`](Judge::answer).
    pub fn prompt(&self, ask: &Ask<'_>) -> Result<Vec<u32>> {
        let question = self.tokenizer.encode(&ask.question.text())?;
        Ok(self.ready(ask, &question)?.1.ids)
    }

    /// The network's input values of a clip, `[patches, values]` row by row, and its grid: pairs of frames, patches
    /// along a column and along a line.
    ///
    /// # Errors
    /// As [`answer`](Judge::answer).
    pub fn pixel_values(&self, frames: &[crate::media::Frame]) -> Result<(Vec<f32>, [usize; 3])> {
        check_frames(frames)?;
        let patches = frames::patches(frames, &self.config)?;
        let grid = [patches.pairs.len(), patches.grid.0, patches.grid.1];
        Ok((patches.pairs.into_iter().flat_map(|pair| pair.patches).collect(), grid))
    }

    /// Logits of the token that would follow the prompt, over the whole vocabulary.
    ///
    /// # Errors
    /// As [`answer`](Judge::answer).
    pub fn logits(&self, ask: &Ask<'_>) -> Result<Vec<f32>> {
        self.logits_of(ask, &self.tokenizer.encode(&ask.question.text())?)
    }

    fn ready(&self, ask: &Ask<'_>, question: &[u32]) -> Result<(frames::Patches, Prompt)> {
        check_frames(ask.frames)?;
        let patches = frames::patches(ask.frames, &self.config)?;
        let longest = self.config.text.positions;
        let prompt = Prompt::new(&self.tokenizer, &self.marks, &patches, question, longest)?;
        Ok((patches, prompt))
    }

    fn logits_of(&self, ask: &Ask<'_>, question: &[u32]) -> Result<Vec<f32>> {
        let internal = |e: candle_core::Error| Error::Internal(format!("the judge's forward pass: {e}"));
        let (patches, prompt) = self.ready(ask, question)?;
        let seen = patches
            .pairs
            .iter()
            .map(|pair| self.vision.see(&pair.patches, patches.grid))
            .collect::<candle_core::Result<Vec<_>>>()
            .map_err(internal)?;
        self.text.next(&prompt, &seen).map_err(internal)
    }

    fn answer_one(&self, ask: &Ask<'_>) -> Result<Answer> {
        let question = self.tokenizer.encode(&ask.question.text())?;
        if question.len() > QUESTION_LIMIT {
            return Ok(Answer::TooLong { tokens: question.len() });
        }
        Ok(Answer::Yes(self.words.probability(&self.logits_of(ask, &question)?)?))
    }
}

impl Judge for Qwen3Vl {
    fn identity(&self) -> &JudgeIdentity {
        &self.identity
    }

    fn answer(&self, asks: &[Ask<'_>]) -> Result<Vec<Answer>> {
        // All are looked at before the first is computed.
        asks.iter().try_for_each(|ask| check_frames(ask.frames))?;
        let mut answers = Vec::with_capacity(asks.len());
        for asks in asks.chunks(AT_ONCE) {
            answers.extend(asks.par_iter().map(|ask| self.answer_one(ask)).collect::<Result<Vec<_>>>()?);
        }
        Ok(answers)
    }
}
