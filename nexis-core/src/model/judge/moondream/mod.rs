//! Moondream 2 with few bits per weight, for processors. It sees one picture at a time and no video.
//!
//! So a question is put to up to [`SEEN`](frames::SEEN) frames of a clip, to each by itself, and P(yes) of the clip is
//! the mean of theirs. The mean of probabilities and not of log-odds: those have no bound, so that a single frame in
//! which nothing is to be seen yet could outvote all others with a certain no. Here it counts for its share and no more,
//! and so does one that shows the opposite.
//!
//! The architecture is that of the makers' published code for this revision: a SigLIP without its pooling, two layers, a
//! Phi-1.5. candle-transformers 0.11.1 has it too, and is left: it has the sizes written in, keeps keys and values
//! between calls, and uses the exact GELU in the text tower, where the makers' configuration says `gelu_new`. Its mask of
//! the prompt is right. The names of tensors are those that its code asks for. **The published weights were not at hand
//! when this was written**: if a name should differ there, loading says which.
//!
//! A question's bits depend on nothing but itself. Frames go through the network alone; a product with quantised
//! weights brings each row to eight bits by itself, and shares out tiles of four columns among threads, never the sum of
//! one element. They do depend on the processor: the sums within a block are of integers, exact, and the sum over blocks is
//! in f32, in eight lanes with AVX2, in one without it, in four on ARM, where rows beyond a multiple of four also take
//! another way than the rest. There, and for `q4_k`, `q6_k` and `q8_0` on x86, candle keeps a second copy of the weights
//! in another order where the processor gains by it; of its ways on x86, two environment variables of its own
//! (`MISTRALRS_FORCE_AVX2`, `MISTRALRS_FORCE_AVXVNNI`) choose. The published weights are `q4_0`, of which x86 has one copy
//! and one way for each instruction set. Products of attention and of weights that are not quantised are those of
//! Qwen3-VL, with what is said of them there.

mod config;
mod frames;
mod text;
mod vision;

use std::path::Path;

use rayon::prelude::*;

use self::config::{CONTEXT, VisionConfig};
use self::frames::SEEN;
use self::text::Text;
use self::vision::Vision;
use super::checkpoint::Asked;
use super::gguf::{Gguf, MAX_GGUF};
use super::passes::Passes;
use super::text::{MAX_TEXT, TOKENIZER, TextTokenizer};
use super::{Answer, Ask, Judge, JudgeIdentity, JudgeOptions, QUESTION_LIMIT, Question, YesNo, check_frames};
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::media::Frame;
use crate::model::files::ModelFiles;
use crate::model::{ModelDevice, ModelIdentity};

/// Frames that are in work at once. Products with quantised weights go one after the other, each on all threads; two
/// frames keep those busy while one of them is between its products.
const AT_ONCE: usize = 2;

/// The prompt, of the picture and the question: the makers' own for questions.
const TEMPLATE: &str = "<|endoftext|>{}\n\nQuestion: {}\n\nAnswer:";

/// What stands before everything.
const BEGIN: &str = "<|endoftext|>";

/// A Moondream with its tokenizer.
pub struct Moondream {
    identity: JudgeIdentity,
    tokenizer: TextTokenizer,
    begin: u32,
    words: YesNo,
    config: VisionConfig,
    vision: Vision,
    text: Text,
    passes: Passes,
}

/// A question that has been made into tokens: those around the picture, the first before it.
enum Tokenized {
    /// They fit.
    Fits(Vec<u32>),
    /// So many are not asked about.
    TooLong { tokens: usize },
}

impl Moondream {
    /// Loads `tokenizer.json` and the one file `*.gguf` of a directory. Each is read once; its digest in the identity is
    /// of those bytes.
    ///
    /// # Errors
    /// [`Error::Model`], naming file and tensor, where a file is missing, damaged, unsupported or does not fit the
    /// other; [`Error::Io`] where one cannot be read.
    pub fn load(directory: &Path, options: &JudgeOptions) -> Result<Self> {
        let device = match options.device {
            ModelDevice::Cpu => "cpu",
        };
        let mut files = ModelFiles::new(options.id.as_ref(), directory);
        let id = files.id.clone();
        let tokenizer = files.small(TOKENIZER)?;
        let (name, bytes) = files.only(".gguf", MAX_GGUF)?;
        let mut weights = Gguf::parse(&id, &name, bytes)?;
        let (config, text) = config::of(&weights)?;
        let tokenizer = TextTokenizer::parse(&id, &tokenizer, text.vocabulary)?;
        let begin = tokenizer.special(BEGIN)?;
        let words = YesNo::of(&id, &tokenizer)?;
        let mut asked = Asked::default();
        Vision::load(&mut asked, &config, text.width)?;
        Text::load(&mut asked, &text)?;
        weights.has_all(asked.names())?;
        let vision = Vision::load(&mut weights, &config, text.width)?;
        let text = Text::load(&mut weights, &text)?;
        let model = ModelIdentity {
            id,
            architecture: "moondream".to_owned(),
            digests: files.digests(),
            precision: weights.formats(),
            device: device.to_owned(),
        };
        let same = format!(
            "{TEMPLATE}\n{}\nyes {:?} no {:?}\nmean of {SEEN} frames of {} pixels\n{QUESTION_LIMIT} of {CONTEXT} tokens",
            Question::PICTURE_WORDINGS.join("\n"),
            words.yes,
            words.no,
            config.edge(),
        );
        let identity = JudgeIdentity { model, prompt: Digest::of(same) };
        Ok(Self { identity, tokenizer, begin, words, config, vision, text, passes: Passes::new()? })
    }

    /// The tokens that count as yes and as no.
    pub const fn words(&self) -> &YesNo {
        &self.words
    }

    /// The tokens of a prompt, without those of the picture, which come behind the first.
    ///
    /// # Errors
    /// [`Error::Usage`] where the question is too long to be asked.
    pub fn prompt(&self, question: &Question<'_>) -> Result<Vec<u32>> {
        match self.tokenize(question)? {
            Tokenized::Fits(ids) => Ok(ids),
            Tokenized::TooLong { tokens } => {
                Err(Error::usage("question", format!("{tokens} tokens are not asked about")))
            }
        }
    }

    /// The network's input values of a frame, `[patches, values]` row by row.
    ///
    /// # Errors
    /// As [`answer`](Judge::answer).
    pub fn pixel_values(&self, frame: &Frame) -> Result<Vec<f32>> {
        check_frames(std::slice::from_ref(frame))?;
        frames::patches(frame, &self.config)
    }

    /// The frames of a clip that a question is put to.
    pub fn seen<'a>(&self, frames: &'a [Frame]) -> Vec<&'a Frame> {
        frames::seen(frames)
    }

    /// Logits of the token that would follow a question about one frame, over the whole vocabulary.
    ///
    /// # Errors
    /// As [`answer`](Judge::answer), and where the question is too long to be asked.
    pub fn logits(&self, frame: &Frame, question: &Question<'_>) -> Result<Vec<f32>> {
        check_frames(std::slice::from_ref(frame))?;
        let ids = self.prompt(question)?;
        self.passes.run(|| self.logits_of(frame, &ids))
    }

    fn tokenize(&self, question: &Question<'_>) -> Result<Tokenized> {
        let text = one_line(&question.text_of_picture());
        if text.len() > MAX_TEXT {
            return Ok(Tokenized::TooLong { tokens: text.len() });
        }
        let tokens = self.tokenizer.encode(&text)?.len();
        if tokens > QUESTION_LIMIT {
            return Ok(Tokenized::TooLong { tokens });
        }
        // One stretch of text is tokenized as one.
        let around = TEMPLATE.rsplit("{}").next().unwrap_or_default();
        let mut ids = vec![self.begin];
        ids.extend(self.tokenizer.encode(&format!("\n\nQuestion: {text}{around}"))?);
        let tokens = ids.len() + self.config.tokens();
        Ok(if tokens > CONTEXT { Tokenized::TooLong { tokens } } else { Tokenized::Fits(ids) })
    }

    fn logits_of(&self, frame: &Frame, ids: &[u32]) -> Result<Vec<f32>> {
        let patches = frames::patches(frame, &self.config)?;
        let picture = self.vision.see(&patches);
        picture
            .and_then(|picture| self.text.next(ids, &picture))
            .map_err(|e| Error::Internal(format!("the judge's forward pass: {e}")))
    }
}

/// A question's words in one line. The marks of this model's prompt are words behind an empty line, which a caption
/// without line breaks cannot have. The words themselves it can.
fn one_line(text: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.chars().map(|c| if breaks(c) { ' ' } else { c }).collect()
}

impl Judge for Moondream {
    fn identity(&self) -> &JudgeIdentity {
        &self.identity
    }

    fn answer(&self, asks: &[Ask<'_>]) -> Result<Vec<Answer>> {
        // All are looked at before the first is computed.
        asks.iter().try_for_each(|ask| check_frames(ask.frames))?;
        let asks = asks
            .iter()
            .map(|ask| Ok((frames::seen(ask.frames), self.tokenize(&ask.question)?)))
            .collect::<Result<Vec<_>>>()?;
        let mut passes: Vec<(&Frame, &[u32])> = Vec::new();
        for (seen, tokenized) in &asks {
            if let Tokenized::Fits(ids) = tokenized {
                passes.extend(seen.iter().map(|frame| (*frame, ids.as_slice())));
            }
        }
        let mut found = Vec::with_capacity(passes.len());
        if !passes.is_empty() {
            self.passes.run(|| {
                for passes in passes.chunks(AT_ONCE) {
                    let of = |(frame, ids): &(&Frame, &[u32])| {
                        self.words.probability(&self.logits_of(frame, ids)?)
                    };
                    found.extend(passes.par_iter().map(of).collect::<Result<Vec<f64>>>()?);
                }
                Ok(())
            })?;
        }
        let mut found = found.into_iter();
        let answer = |(seen, tokenized): &(Vec<&Frame>, Tokenized)| match tokenized {
            Tokenized::TooLong { tokens } => Answer::TooLong { tokens: *tokens },
            Tokenized::Fits(_) => {
                Answer::Yes(found.by_ref().take(seen.len()).sum::<f64>() / seen.len() as f64)
            }
        };
        Ok(asks.iter().map(answer).collect())
    }
}
