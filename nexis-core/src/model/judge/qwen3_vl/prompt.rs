//! The prompt: token ids, and for each its position in time, line and column.
//!
//! The template is that of the model's makers for one message with a video and a text: before each pair of frames stands
//! its time, around its tokens the marks of a picture, then the text, and the beginning of the answer.
//!
//! Newer versions of transformers leave the template's own pair of marks around the whole video; the first version, the
//! model's makers and vLLM replace it by the pairs of frames, as here, and the positions that the makers describe are
//! those of this form.

use super::config::MERGE;
use super::frames::Layout;
use crate::error::Result;
use crate::model::judge::text::TextTokenizer;

/// The template with `{}` for the pairs of frames and the question: for a prompt's digest.
pub(super) const TEMPLATE: &str = "<|im_start|>user\n{<{:.1} seconds><|vision_start|>{<|video_pad|>}<|vision_end|>}{}<|im_end|>\n<|im_start|>assistant\n";

/// The marks of the template.
pub(super) struct Marks {
    begin: u32,
    end: u32,
    vision_begin: u32,
    vision_end: u32,
    video: u32,
}

/// A prompt, ready for the network.
pub(super) struct Prompt {
    pub(super) ids: Vec<u32>,
    /// Time, line and column of each token.
    pub(super) positions: Vec<[u32; 3]>,
    /// Where each pair's tokens begin.
    pub(super) pairs: Vec<usize>,
    /// Tokens of one pair.
    pub(super) pair_tokens: usize,
}

impl Marks {
    pub(super) fn of(tokenizer: &TextTokenizer) -> Result<Self> {
        Ok(Self {
            begin: tokenizer.special("<|im_start|>")?,
            end: tokenizer.special("<|im_end|>")?,
            vision_begin: tokenizer.special("<|vision_start|>")?,
            vision_end: tokenizer.special("<|vision_end|>")?,
            video: tokenizer.special("<|video_pad|>")?,
        })
    }
}

impl Prompt {
    /// Puts a question's tokens behind the pairs of frames.
    pub(super) fn new(
        tokenizer: &TextTokenizer,
        marks: &Marks,
        layout: &Layout,
        question: &[u32],
    ) -> Result<Self> {
        let mut prompt = Self {
            ids: Vec::new(),
            positions: Vec::new(),
            pairs: Vec::with_capacity(layout.seconds.len()),
            pair_tokens: layout.tokens(),
        };
        let mut next = 0;
        prompt.text(&mut next, &[marks.begin]);
        for (i, seconds) in layout.seconds.iter().enumerate() {
            let time = format!("<{seconds:.1} seconds>");
            // One stretch of text is tokenized as one.
            let text = if i == 0 { format!("user\n{time}") } else { time };
            prompt.text(&mut next, &tokenizer.encode(&text)?);
            prompt.text(&mut next, &[marks.vision_begin]);
            prompt.pairs.push(prompt.ids.len());
            prompt.video(&mut next, marks.video, layout.grid);
            prompt.text(&mut next, &[marks.vision_end]);
        }
        prompt.text(&mut next, question);
        prompt.text(&mut next, &[marks.end]);
        prompt.text(&mut next, &tokenizer.encode("\n")?);
        prompt.text(&mut next, &[marks.begin]);
        prompt.text(&mut next, &tokenizer.encode("assistant\n")?);
        Ok(prompt)
    }

    /// Text: all three positions go on by one.
    fn text(&mut self, next: &mut u32, ids: &[u32]) {
        for id in ids {
            self.ids.push(*id);
            self.positions.push([*next; 3]);
            *next += 1;
        }
    }

    /// A pair of frames: one instant, lines and columns counted from the next position. What follows goes on behind
    /// the longer edge.
    fn video(&mut self, next: &mut u32, mark: u32, (rows, columns): (usize, usize)) {
        let (rows, columns) = ((rows / MERGE) as u32, (columns / MERGE) as u32);
        let start = *next;
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            self.ids.push(mark);
            self.positions.push([start, start + row, start + column]);
        }
        *next += rows.max(columns);
    }
}
