//! From logits to P(yes).

use super::text::TextTokenizer;
use crate::error::{Error, Result};

/// The spellings that count, each word with its opposite: three cases, without and with a space before.
const SPELLINGS: [(&str, &str); 6] =
    [("yes", "no"), (" yes", " no"), ("Yes", "No"), (" Yes", " No"), ("YES", "NO"), (" YES", " NO")];

/// The tokens that count as yes and as no.
///
/// A spelling counts where both of its words are one token each, so that neither side has a word that the other lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YesNo {
    /// Tokens of yes.
    pub yes: Vec<u32>,
    /// Tokens of no, in the same order.
    pub no: Vec<u32>,
}

impl YesNo {
    /// The tokens that a tokenizer has for the two words.
    pub(super) fn of(model: &str, tokenizer: &TextTokenizer) -> Result<Self> {
        let (mut yes, mut no) = (Vec::new(), Vec::new());
        for (word, opposite) in SPELLINGS {
            let (ids, opposite_ids) = (tokenizer.encode(word)?, tokenizer.encode(opposite)?);
            if let ([y], [n]) = (ids.as_slice(), opposite_ids.as_slice()) {
                yes.push(*y);
                no.push(*n);
            }
        }
        if yes.is_empty() {
            let why =
                "tokenizer.json has no single tokens for yes and no, in any spelling: is it another model's?";
            return Err(Error::model(model, why));
        }
        Ok(Self { yes, no })
    }

    /// P(yes): the share of yes in the softmax over both words' logits, of which `logits` holds the whole vocabulary's.
    ///
    /// # Errors
    /// Where a logit is missing or not finite.
    pub fn probability(&self, logits: &[f32]) -> Result<f64> {
        let of = |ids: &[u32]| {
            ids.iter()
                .map(|id| logits.get(*id as usize).copied().filter(|x| x.is_finite()).map(f64::from))
                .collect::<Option<Vec<f64>>>()
        };
        let (Some(yes), Some(no)) = (of(&self.yes), of(&self.no)) else {
            return Err(Error::Internal("a logit of yes or no is missing or not finite".into()));
        };
        let most = yes.iter().chain(&no).copied().fold(f64::NEG_INFINITY, f64::max);
        let weight = |logits: &[f64]| logits.iter().map(|x| (x - most).exp()).sum::<f64>();
        let (yes, no) = (weight(&yes), weight(&no));
        Ok(yes / (yes + no))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_yes_among_both_words() {
        let words = YesNo { yes: vec![0, 3], no: vec![1, 2] };
        let even = words.probability(&[1.0, 1.0, 1.0, 1.0, 99.0]).unwrap();
        assert!((even - 0.5).abs() < 1e-15);
        let sure = words.probability(&[1000.0, -1000.0, 0.0, 0.0]).unwrap();
        assert_eq!(sure, 1.0);
        // ln 3 against 0, once each: three quarters.
        let one = YesNo { yes: vec![0], no: vec![1] };
        assert!((one.probability(&[3.0_f32.ln(), 0.0]).unwrap() - 0.75).abs() < 1e-7);
    }

    #[test]
    fn logits_that_say_nothing_are_errors() {
        let words = YesNo { yes: vec![0], no: vec![1] };
        assert!(words.probability(&[1.0]).is_err());
        assert!(words.probability(&[f32::NAN, 1.0]).is_err());
        assert!(words.probability(&[f32::INFINITY, 1.0]).is_err());
    }
}
