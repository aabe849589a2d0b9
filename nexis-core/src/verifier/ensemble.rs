//! Two encoders that decide together: whoever fools one model seldom fools another that was trained on other data.
//!
//! - **Each speaks for itself**: its own card makes its P(match) and its labels, with its own threshold and its own band
//!   of doubt. Frames are decoded once, and cut into tiles of each model's own size.
//! - **Where both are clear and agree**, that decides ([`Decider::Agreement`]).
//! - **Where they disagree, or one of them is in its band**, the case is in doubt, and a judge decides it as it does behind
//!   one encoder. Where there is none, or it cannot be asked, two that say the same are still followed; else it is
//!   accepted where the sum of their [`lead`]s is above zero ([`Decider::LogOdds`]). Log-odds are measured from each one's
//!   threshold, where its card's calibration put the share of errors that was asked for: a probability of 0.4 is a yes of
//!   one card and a no of another.
//! - **Whoever is sure of a no is not outvoted.** A lead ends at [`SURE`] on either side, and a tie rejects: however far a
//!   miner drives the one model, it takes the other to be near its threshold too.
//! - **A category** is two questions. The caption gate is asked of words alone, so that no judge is asked about it: it
//!   goes by agreement, else by the sum, of both models' P(nature) of the caption from their own gates. The strict rule
//!   on the frames goes as a caption does, with the mean P(nature) of the middle frames from the protocol's limit. (Scores
//!   of frames sum to 1, so that a mean above that limit has the wins and the margin that the rule asks for too.) What
//!   each of the two rejects, the one for its words and the other for its frames, is rejected.
//! - **The order** in which the two are given shows in reports and in no verdict.

use std::sync::Arc;

use super::cascade::{caption_in_doubt, category_in_doubt, rule_accepts};
use super::encoder::Encoder;
use super::row::RowJudge;
use crate::check::CategoryRule;
use crate::error::{Error, Result};
use crate::evidence::canonical_digest;
use crate::media::{Frame, MediaFailure};
use crate::model::card::ModelCard;
use crate::model::{ImageText, ModelIdentity};
use crate::protocol::Category;
use crate::report::{
    AlignmentReport, CascadeReport, CategoryReport, Decider, EncoderInUse, EnsembleReport, Verdict,
};
use crate::score::FrameEmbeddings;
use crate::score::align::CaptionReading;
use crate::score::category::{CaptionGate, FrameCategory, score_of};

/// How far from a threshold counts as sure, in log-odds: odds of about seven to one beyond it. No lead is greater.
const SURE: f64 = 2.0;

/// Farthest from even that a probability is taken to lie, in log-odds: beyond it an `f64` does not tell one from 1.
const FARTHEST: f64 = 36.0;

/// A caption as each encoder reads it.
pub(super) struct Readings {
    pub(super) first: CaptionReading,
    pub(super) second: Option<CaptionReading>,
}

impl Readings {
    /// Why the caption cannot be read at all.
    pub(super) fn refused(&self) -> Option<&str> {
        self.first.refused().or_else(|| self.second.as_ref().and_then(CaptionReading::refused))
    }
}

/// Frames of one size as each encoder sees them.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    /// As the first does.
    pub first: FrameEmbeddings,
    /// As the second does; none where there is one encoder.
    pub second: Option<FrameEmbeddings>,
}

/// What the gates of all encoders make of a caption.
pub(super) struct Gates {
    pub(super) first: CaptionGate,
    second: Option<CaptionGate>,
    /// Whether the caption is plainly about another label than nature.
    pub(super) rejected: bool,
    log_odds: Option<[f64; 2]>,
}

impl Gates {
    /// P(nature) of the caption, for people.
    pub(super) fn nature(&self) -> String {
        let nature = |gate: &CaptionGate| score_of(&gate.scores, Category::Nature);
        match &self.second {
            None => format!("P(nature) {:.3}", nature(&self.first)),
            Some(second) => {
                format!("P(nature) {:.3}, by the second encoder {:.3}", nature(&self.first), nature(second))
            }
        }
    }
}

/// Log-odds of a probability; one that is not a number is as good as 0, and one beyond a bound lies on it.
fn log_odds(probability: f64) -> f64 {
    let probability = if probability.is_finite() { probability.clamp(0.0, 1.0) } else { 0.0 };
    (probability / (1.0 - probability)).ln().clamp(-FARTHEST, FARTHEST)
}

/// How far a probability lies above its threshold, in log-odds, up to [`SURE`]. A threshold of 0 rejects nothing: whoever
/// has it knows nothing of the matter, and leads nowhere.
pub(super) fn lead(probability: f64, threshold: f64) -> f64 {
    if threshold > 0.0 { (log_odds(probability) - log_odds(threshold)).clamp(-SURE, SURE) } else { 0.0 }
}

/// What two say together: what both say, else whether the sum of their leads is above zero.
pub(super) fn together([first, second]: [bool; 2], [lead, other]: [f64; 2]) -> bool {
    if first == second { first } else { lead + other > 0.0 }
}

fn verdict(accepts: bool) -> Verdict {
    if accepts { Verdict::Accept } else { Verdict::Reject }
}

/// A decision of the encoders alone.
fn decided(doubt: bool, encoder: Verdict) -> CascadeReport {
    let decided_by = if doubt { Decider::LogOdds } else { Decider::Agreement };
    CascadeReport { decided_by, encoder, yes: None }
}

/// That two models are two: no file of weights is in both.
fn unrelated(first: &ModelIdentity, second: &ModelIdentity) -> Result<()> {
    let weights = |model: &ModelIdentity| -> Vec<_> {
        let files = model.digests.iter().filter(|(name, _)| name.ends_with(".safetensors"));
        files.map(|(_, digest)| *digest).collect()
    };
    let known = weights(first);
    let same = weights(second).iter().any(|digest| known.contains(digest));
    if same || first.digests == second.digests {
        let why = format!(
            "it has the same weights as {}: whoever fools the one fools the other, and an ensemble of them decides \
             nothing that one does not; name a model that was trained on other data, or leave it out",
            first.id
        );
        return Err(Error::usage(format!("ensemble {}", second.id), why));
    }
    Ok(())
}

impl RowJudge {
    /// The same with a second encoder, which decides together with the first. The order matters to no verdict.
    ///
    /// # Errors
    /// [`Error::Usage`] where it has the first's weights; where the card is for other weights than the model's, or the
    /// model fails on the card's texts.
    pub fn with_ensemble(&self, model: Arc<dyn ImageText>, card: Arc<ModelCard>) -> Result<Self> {
        let identity = model.identity().clone();
        unrelated(self.first.model().identity(), &identity)?;
        let digest = canonical_digest(card.as_ref())?;
        let mut with = self.clone();
        with.second = Some(Encoder::new(model, card)?);
        with.environment.ensemble = Some(EncoderInUse { model: identity, card: digest });
        with.environment.notice = with.notice();
        Ok(with)
    }

    /// The same with the first encoder alone.
    #[must_use]
    pub fn without_ensemble(&self) -> Self {
        let mut without = self.clone();
        without.second = None;
        without.environment.ensemble = None;
        without.environment.notice = without.notice();
        without
    }

    /// Whether there is a second encoder.
    pub fn has_ensemble(&self) -> bool {
        self.second.is_some()
    }

    /// The card of the second encoder.
    pub fn second_card(&self) -> Option<&ModelCard> {
        self.second.as_ref().map(Encoder::card)
    }

    /// What has to stand beside every result, of each model once.
    fn notice(&self) -> Option<String> {
        let mut notices: Vec<&str> = Vec::new();
        for card in std::iter::once(self.card()).chain(self.second_card()) {
            let notice = card.model.notice.as_str();
            if !notice.is_empty() && !notices.contains(&notice) {
                notices.push(notice);
            }
        }
        (!notices.is_empty()).then(|| notices.join(" "))
    }

    /// The text side of a caption.
    pub(super) fn read_caption(&self, caption: &str) -> Result<Readings> {
        let first = self.first.read(caption)?;
        let second = self.second.as_ref().map(|second| second.read(caption)).transpose()?;
        Ok(Readings { first, second })
    }

    /// What the gates make of a caption that has been read.
    pub(super) fn gates(&self, reading: &Readings) -> Gates {
        let first = self.first.gate(&reading.first);
        let Some((encoder, reading)) = self.second.as_ref().zip(reading.second.as_ref()) else {
            return Gates { rejected: first.rejected, first, second: None, log_odds: None };
        };
        let second = encoder.gate(reading);
        let of = |gate: &CaptionGate, card: &ModelCard| {
            lead(score_of(&gate.scores, Category::Nature), card.category.gate.threshold)
        };
        let leads = [of(&first, self.first.card()), of(&second, encoder.card())];
        let rejected = !together([!first.rejected, !second.rejected], leads);
        Gates { first, second: Some(second), rejected, log_odds: Some(leads) }
    }

    /// Embeds frames of one size with each encoder.
    ///
    /// # Errors
    /// [`MediaFailure::Clip`] where the shape is too extreme; else a model's failure.
    pub fn embed_all(&self, frames: &[Frame]) -> Result<Embedded, MediaFailure> {
        Ok(Embedded { first: self.embed(frames)?, second: self.embed_second(frames)? })
    }

    /// Embeds frames of one size with the second encoder, for whoever has the first's embeddings already; none where there
    /// is one encoder.
    ///
    /// # Errors
    /// As [`embed_all`](Self::embed_all).
    pub fn embed_second(&self, frames: &[Frame]) -> Result<Option<FrameEmbeddings>, MediaFailure> {
        self.second.as_ref().map(|second| second.embed(frames, self.batch)).transpose()
    }

    /// That frames were embedded by every encoder there is: one that is left out would be outvoted in silence.
    pub(super) fn seen_by_all(&self, embedded: &Embedded) -> Result<()> {
        if embedded.second.is_some() == self.second.is_some() {
            return Ok(());
        }
        let (has, frames) =
            if self.second.is_some() { ("two encoders", "one") } else { ("one encoder", "two") };
        Err(Error::Internal(format!("a judge with {has} was given the embeddings of {frames}")))
    }

    /// A caption against frames, as the encoders say.
    pub(super) fn alignment(&self, reading: &Readings, embedded: &Embedded) -> Result<AlignmentReport> {
        let mut report = self.first.alignment(&reading.first, &embedded.first)?;
        if let Some(embedded) = &embedded.second {
            self.join_alignment(reading, embedded, &mut report)?;
        }
        Ok(report)
    }

    /// The category, as the encoders say.
    pub(super) fn category(&self, reading: &Readings, embedded: &Embedded) -> Result<CategoryReport> {
        let gates = self.gates(reading);
        let labels = |encoder: &Encoder, embedded: &FrameEmbeddings| {
            encoder.label_embedded(std::slice::from_ref(embedded))
        };
        let second = match (&self.second, &embedded.second) {
            (Some(encoder), Some(embedded)) => Some(labels(encoder, embedded)?),
            _ => None,
        };
        Ok(self.category_of(&gates, &labels(&self.first, &embedded.first)?, second.as_deref()))
    }

    /// The category of frames that both encoders have labelled, or the first alone.
    pub(super) fn category_of(
        &self,
        gates: &Gates,
        first: &[FrameCategory],
        second: Option<&[FrameCategory]>,
    ) -> CategoryReport {
        let mut report = self.first.category(&gates.first, first);
        if let Some(labels) = second {
            self.join_category(gates, labels, &mut report);
        }
        report
    }

    /// Adds what the second encoder says of a caption to what the first does.
    fn join_alignment(
        &self,
        reading: &Readings,
        embedded: &FrameEmbeddings,
        report: &mut AlignmentReport,
    ) -> Result<()> {
        let Some((encoder, read)) = self.second.as_ref().zip(reading.second.as_ref()) else { return Ok(()) };
        let second = encoder.alignment(read, embedded)?;
        let first = report.verdict;
        let leads = [lead(report.probability, report.threshold), lead(second.probability, second.threshold)];
        let accepts = [first == Verdict::Accept, second.verdict == Verdict::Accept];
        report.verdict = verdict(together(accepts, leads));
        // Both scores moved by what devices differ.
        let moved = |by: f64| {
            let score =
                |of: &AlignmentReport, card: &ModelCard| of.probability + by * card.alignment.borderline;
            let scores = [score(report, self.card()), score(&second, encoder.card())];
            let [p, q] = scores;
            let leads = [lead(p, report.threshold), lead(q, second.threshold)];
            together([p >= report.threshold, q >= second.threshold], leads)
        };
        report.borderline = moved(1.0) != moved(-1.0);
        report.ensemble = Some(Box::new(EnsembleReport { first, second, log_odds: Some(leads), gate: None }));
        let doubt = reading.refused().is_none() && self.caption_doubt(report);
        report.cascade = Some(decided(doubt, report.verdict));
        Ok(())
    }

    /// Adds what the second encoder says of a category to what the first does.
    fn join_category(&self, gates: &Gates, labels: &[FrameCategory], report: &mut CategoryReport) {
        let Some((encoder, gate)) = self.second.as_ref().zip(gates.second.as_ref()) else { return };
        let second = encoder.category(gate, labels);
        let first = report.decision;
        let accepts = [rule_accepts(report, 0.0), rule_accepts(&second, 0.0)];
        let limit = CategoryRule::default().min_nature_score;
        let leads = report.nature_score.zip(second.nature_score);
        let leads = leads.map(|(first, second)| [lead(first, limit), lead(second, limit)]);
        let passes = together(accepts, leads.unwrap_or_default());
        let neither = [first, second.decision] == [Verdict::Reject; 2];
        let moved = |by: f64| {
            let (wide, other) =
                (by * self.card().category.borderline, by * encoder.card().category.borderline);
            let leads = report.nature_score.zip(second.nature_score);
            let leads = leads.map(|(p, q)| [lead(p + wide, limit), lead(q + other, limit)]);
            together([rule_accepts(report, wide), rule_accepts(&second, other)], leads.unwrap_or_default())
        };
        report.borderline = gates.first.borderline || gate.borderline || moved(1.0) != moved(-1.0);
        report.decision = verdict(passes && !gates.rejected && !neither);
        report.ensemble =
            Some(Box::new(EnsembleReport { first, second, log_odds: leads, gate: gates.log_odds }));
        // Gates that disagree have decided where they reject, and where nothing behind them does.
        let split = gates.first.rejected != gate.rejected;
        let doubt = if gates.rejected || neither {
            split && !neither || self.category_doubt(gates, report)
        } else {
            self.category_doubt(gates, report) || (split && passes)
        };
        report.cascade = Some(decided(doubt, report.decision));
    }

    /// Whether the encoders leave it in doubt that a caption fits: one of them is in its band, or two disagree.
    pub(super) fn caption_doubt(&self, report: &AlignmentReport) -> bool {
        let ensemble = self.second.as_ref().zip(report.ensemble.as_ref());
        caption_in_doubt(self.card(), report.probability)
            || ensemble.is_some_and(|(encoder, said)| {
                said.first != said.second.verdict || caption_in_doubt(encoder.card(), said.second.probability)
            })
    }

    /// The same of the strict rule on frames, behind gates that let the caption pass. What each of two would reject
    /// whatever a judge says, the one by its gate and the other by the rule, is not in doubt.
    pub(super) fn category_doubt(&self, gates: &Gates, report: &CategoryReport) -> bool {
        let near = category_in_doubt(self.card(), report);
        let Some(((encoder, said), gate)) =
            self.second.as_ref().zip(report.ensemble.as_ref()).zip(gates.second.as_ref())
        else {
            return near && !gates.rejected;
        };
        let other_near = category_in_doubt(encoder.card(), &said.second);
        let (accepts, other_accepts) = (rule_accepts(report, 0.0), rule_accepts(&said.second, 0.0));
        let open =
            (!gates.first.rejected && (accepts || near)) || (!gate.rejected && (other_accepts || other_near));
        !gates.rejected && open && (near || other_near || accepts != other_accepts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_odds_are_measured_from_each_ones_threshold() {
        // Python: math.log(0.6 / 0.4) - math.log(0.3 / 0.7)
        assert!((lead(0.6, 0.3) - 1.252_762_968_495_368).abs() < 1e-12);
        assert_eq!(lead(0.3, 0.3), 0.0);
        assert!(lead(0.29, 0.3) < 0.0);
        // What a softmax rounds to 0 or 1 stays finite, and so does a gate that rejects nothing.
        assert_eq!((log_odds(1.0), log_odds(0.0), log_odds(f64::NAN)), (FARTHEST, -FARTHEST, -FARTHEST));
        // No lead is greater than that of whoever is sure, and a gate that rejects nothing has none.
        assert_eq!((lead(1.0, 0.5), lead(0.0, 0.5), lead(f64::NAN, 0.5)), (SURE, -SURE, -SURE));
        assert_eq!((lead(0.0, 0.0), lead(0.9, 0.0)), (0.0, 0.0));
    }

    #[test]
    fn the_surer_of_two_that_disagree_prevails_and_a_tie_rejects() {
        assert!(together([true, false], [2.0, -1.5]));
        assert!(!together([true, false], [1.0, -1.5]));
        assert!(!together([false, true], [-1.5, 1.5]));
        assert!(!together([true, false], [0.0, 0.0]));
        // Whoever is sure of a no is not outvoted by anybody, and who knows nothing outvotes nobody.
        assert!(!together([true, false], [lead(1.0, 0.4), lead(0.05, 0.4)]));
        assert!(!together([true, false], [lead(0.001, 0.0), lead(0.049, 0.05)]));
        // Two that say the same are followed, though one of them lies so near that its lead rounds to nothing.
        assert!(!together([false, false], [0.0, 0.0]));
        assert!(together([true, true], [0.0, 0.0]));
    }

    #[test]
    fn the_order_of_the_two_makes_no_difference() {
        let values = [0.0, 1e-300, 0.01, 0.299_999, 0.3, 0.5, 0.7, 0.999, 1.0 - f64::EPSILON, 1.0];
        for p in values {
            for q in values {
                let (leads, accepts) = ([lead(p, 0.3), lead(q, 0.7)], [p >= 0.3, q >= 0.7]);
                let [a, b] = leads;
                let [yes, no] = accepts;
                assert_eq!(together(accepts, leads), together([no, yes], [b, a]), "{p} {q}");
            }
        }
    }
}
