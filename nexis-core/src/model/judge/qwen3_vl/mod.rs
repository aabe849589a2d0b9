//! Qwen3-VL, asked about a video.
//!
//! Composed of candle's operations, in f32. candle-transformers has this architecture too, and is left: at 0.11.1 it
//! masks nothing in a prefill (its mask is made for one token only), gives every token one position where the model has
//! time, line and column, uses tanh's approximation of GELU in the mergers, where the model has the exact function, and
//! brings neither the video's placeholders and times nor sizes that are bounded before they are allocated.
//!
//! A question's bits depend on nothing but itself: it goes through the network alone, with a shape that follows from its
//! frames and words. Within a product the threads of the `gemm` crate share out tiles of the result and never the sum
//! of one element. They do depend on the processor: `gemm` sums in an order that differs by instruction set and, since it
//! cuts sums into blocks that fit, by the sizes of the caches.

mod config;
mod frames;
mod prompt;
mod text;
mod vision;

use std::path::Path;

use candle_core::Device;
use rayon::prelude::*;

use self::config::{Config, PROMPT_LIMIT};
use self::frames::Layout;
use self::prompt::{Marks, Prompt};
use self::text::Text;
use self::vision::Vision;
use super::checkpoint::Asked;
use super::passes::Passes;
use super::text::{MAX_TEXT, TOKENIZER, TextTokenizer};
use super::{Answer, Ask, Judge, JudgeIdentity, JudgeOptions, QUESTION_LIMIT, Question, YesNo, check_frames};
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::model::files::ModelFiles;
use crate::model::{ModelDevice, ModelIdentity};

/// Questions that may be in work at once, whoever asks: a thread that waits for a product may take up another, and its
/// stack and memory have to hold all that it has taken up. Calls go one after the other ([`Passes`]), and a call in
/// parts of this size.
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
    passes: Passes,
}

/// A question that has been made into tokens.
enum Tokenized {
    /// They fit.
    Fits(Layout, Prompt),
    /// So many are not asked about.
    TooLong { tokens: usize },
}

impl Qwen3Vl {
    /// Loads `config.json`, `preprocessor_config.json`, `tokenizer.json` and the weights, in one file or in several,
    /// from a directory. Each is read once; its digest in the identity is of those bytes.
    ///
    /// # Errors
    /// [`Error::Model`], naming file and field, where a file is missing, damaged, unsupported or does not fit the
    /// others; [`Error::Io`] where one cannot be read.
    pub fn load(directory: &Path, options: &JudgeOptions) -> Result<Self> {
        let (device, device_name) = match options.device {
            ModelDevice::Cpu => (Device::Cpu, "cpu"),
        };
        let mut files = ModelFiles::new(options.id.as_ref(), directory);
        let id = files.id.clone();
        let config = config::parse(&id, &files.small(config::CONFIG)?, &files.small(config::PREPROCESSOR)?)?;
        let tokenizer = TextTokenizer::parse(&id, &files.small(TOKENIZER)?, config.text.vocabulary)?;
        let marks = Marks::of(&tokenizer)?;
        let words = YesNo::of(&id, &tokenizer)?;
        let mut asked = Asked::default();
        Vision::load(&mut asked, &config.vision, config.text.width, &device)?;
        Text::load(&mut asked, &config.text, &device)?;
        let mut weights = files.weights(&device, &asked)?;
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
        Ok(Self { identity, config, tokenizer, marks, words, vision, text, passes: Passes::new()? })
    }

    /// The tokens that count as yes and as no.
    pub const fn words(&self) -> &YesNo {
        &self.words
    }

    /// The tokens of a whole prompt, those of the video as placeholders.
    ///
    /// # Errors
    /// As [`answer`](Judge::answer), and where it is too long to be asked.
    pub fn prompt(&self, ask: &Ask<'_>) -> Result<Vec<u32>> {
        Ok(self.fitting(ask)?.1.ids)
    }

    /// The network's input values of a clip, `[patches, values]` row by row, and its grid: pairs of frames, patches
    /// along a column and along a line.
    ///
    /// # Errors
    /// As [`answer`](Judge::answer).
    pub fn pixel_values(&self, frames: &[crate::media::Frame]) -> Result<(Vec<f32>, [usize; 3])> {
        check_frames(frames)?;
        let layout = Layout::of(frames, self.config.vision.patch)?;
        let patches = frames::patches(frames, &layout, &self.config)?;
        let grid = [patches.len(), layout.grid.0, layout.grid.1];
        Ok((patches.into_iter().flatten().collect(), grid))
    }

    /// Logits of the token that would follow the prompt, over the whole vocabulary.
    ///
    /// # Errors
    /// As [`answer`](Judge::answer), and where the prompt is too long to be asked.
    pub fn logits(&self, ask: &Ask<'_>) -> Result<Vec<f32>> {
        let (layout, prompt) = self.fitting(ask)?;
        self.passes.run(|| self.logits_of(ask, &layout, &prompt))
    }

    /// Makes a question into tokens. No frame has been resized or cut yet.
    fn tokenize(&self, ask: &Ask<'_>) -> Result<Tokenized> {
        check_frames(ask.frames)?;
        let layout = Layout::of(ask.frames, self.config.vision.patch)?;
        let text = ask.question.text();
        if text.len() > MAX_TEXT {
            return Ok(Tokenized::TooLong { tokens: text.len() });
        }
        let question = self.tokenizer.encode(&text)?;
        if question.len() > QUESTION_LIMIT {
            return Ok(Tokenized::TooLong { tokens: question.len() });
        }
        let prompt = Prompt::new(&self.tokenizer, &self.marks, &layout, &question)?;
        if prompt.ids.len() > PROMPT_LIMIT.min(self.config.text.positions) {
            return Ok(Tokenized::TooLong { tokens: prompt.ids.len() });
        }
        Ok(Tokenized::Fits(layout, prompt))
    }

    fn fitting(&self, ask: &Ask<'_>) -> Result<(Layout, Prompt)> {
        match self.tokenize(ask)? {
            Tokenized::Fits(layout, prompt) => Ok((layout, prompt)),
            Tokenized::TooLong { tokens } => {
                Err(Error::usage("frames and question", format!("{tokens} tokens are not asked about")))
            }
        }
    }

    fn logits_of(&self, ask: &Ask<'_>, layout: &Layout, prompt: &Prompt) -> Result<Vec<f32>> {
        let internal = |e: candle_core::Error| Error::Internal(format!("the judge's forward pass: {e}"));
        let seen = frames::patches(ask.frames, layout, &self.config)?
            .iter()
            .map(|patches| self.vision.see(patches, layout.grid))
            .collect::<candle_core::Result<Vec<_>>>()
            .map_err(internal)?;
        self.text.next(prompt, &seen).map_err(internal)
    }

    fn answer_one(&self, ask: &Ask<'_>) -> Result<Answer> {
        Ok(match self.tokenize(ask)? {
            Tokenized::TooLong { tokens } => Answer::TooLong { tokens },
            Tokenized::Fits(layout, prompt) => {
                Answer::Yes(self.words.probability(&self.logits_of(ask, &layout, &prompt)?)?)
            }
        })
    }
}

impl Judge for Qwen3Vl {
    fn identity(&self) -> &JudgeIdentity {
        &self.identity
    }

    fn answer(&self, asks: &[Ask<'_>]) -> Result<Vec<Answer>> {
        // All are looked at before the first is computed.
        asks.iter().try_for_each(|ask| check_frames(ask.frames))?;
        if asks.is_empty() {
            return Ok(Vec::new());
        }
        self.passes.run(|| {
            let mut answers = Vec::with_capacity(asks.len());
            for asks in asks.chunks(AT_ONCE) {
                answers.extend(asks.par_iter().map(|ask| self.answer_one(ask)).collect::<Result<Vec<_>>>()?);
            }
            Ok(answers)
        })
    }
}
