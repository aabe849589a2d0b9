//! The judge behind the encoder: the encoder decides what is clear, the judge what is in doubt.
//!
//! - **In doubt** is a caption whose P(match) lies in the card's band, and a category whose figures the card's width could
//!   move across the rule ([`AlignmentCard::doubt`](crate::model::card::AlignmentCard::doubt),
//!   [`CategoryCard::doubt`](crate::model::card::CategoryCard::doubt)). What fails for its words alone is never in
//!   doubt: a caption that cannot be read, one that speaks to a judge of the network
//!   ([`has_injection_keyword`]), one that the gate rejects.
//! - **A caption that speaks to this judge** ([`speaks_to_judge`]) is never put to it: the encoder's threshold decides, and
//!   [`Decider::Encoder`] says so. With a P(match) inside the band it means just this, since any other caption there is
//!   put to the judge or says why not.
//! - **A question costs one call**, and an interval has a budget of calls. Where it is not enough, every miner's first
//!   question comes before any miner's second, so that nobody can spend the budget for others; among equals the
//!   protocol's order of miners holds. Who gets a call follows from the rows alone, never from threads or time.
//! - **Where no call is left**, and where a question is longer than the judge reads, the encoder's threshold decides.
//!   What decided is in the report and in the evidence.
//! - **Of two encoders**, more is in doubt, and what they say together stands in for the threshold, with deciders of its
//!   own ([`ensemble`](super::ensemble)).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::ensemble::Readings;
use super::{FrameSetScores, RowJudge};
use crate::check::injection::speaks_to_judge;
use crate::check::{CategoryRule, has_injection_keyword, middle_three};
use crate::error::{Error, Result};
use crate::evidence::Evidence;
use crate::media::Frame;
use crate::model::card::ModelCard;
use crate::model::judge::{Answer, Ask, FRAME_LIMIT, Judge, Question};
use crate::protocol::{Category, Hotkey, IntervalId};
use crate::report::{AlignmentReport, CascadeReport, CategoryReport, Decider, JudgeInUse, Verdict};
use crate::sample::seed_int;

/// P(yes) from which a judge's answer is a yes.
pub const YES: f64 = 0.5;

/// Calls of the judge per interval, where nothing else is asked for: one for each miner that is sampled at most.
pub const JUDGE_BUDGET: u32 = 35;

/// Length of a clip (protocol page, 1).
const CLIP_SECONDS: f64 = 5.0;

/// A judge, and how often it may be asked.
#[derive(Clone)]
pub(super) struct Cascade {
    judge: Arc<dyn Judge>,
    budget: u32,
}

/// Which of a row's questions may go to the judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) caption: bool,
    pub(super) category: bool,
}

impl Turn {
    pub(super) const BOTH: Self = Self { caption: true, category: true };
    pub(super) const NEITHER: Self = Self { caption: false, category: false };

    /// The turn that a recorded row had.
    pub(super) fn recorded(evidence: &Evidence) -> Self {
        let asked = |cascade: Option<&CascadeReport>| {
            cascade.is_none_or(|cascade| cascade.decided_by != Decider::BudgetSpent)
        };
        Self {
            caption: asked(evidence.alignment.as_ref().and_then(|a| a.cascade.as_ref())),
            category: asked(evidence.category.as_ref().and_then(|c| c.cascade.as_ref())),
        }
    }

    /// The questions of a row that wait for a call.
    pub(super) fn waiting(alignment: Option<&AlignmentReport>, category: Option<&CategoryReport>) -> Self {
        let waits = |cascade: Option<&CascadeReport>| {
            cascade.is_some_and(|cascade| cascade.decided_by == Decider::BudgetSpent)
        };
        Self {
            caption: waits(alignment.and_then(|a| a.cascade.as_ref())),
            category: waits(category.and_then(|c| c.cascade.as_ref())),
        }
    }
}

/// The questions that a caller asks, with what the encoder says to each.
pub(super) struct Asked<'a> {
    pub(super) alignment: Option<&'a mut AlignmentReport>,
    pub(super) category: Option<&'a mut CategoryReport>,
}

/// A row with questions in doubt.
#[derive(Clone, Debug)]
pub(super) struct Doubtful<'a> {
    pub(super) interval: IntervalId,
    pub(super) miner: &'a Hotkey,
    /// Which submission of the run.
    pub(super) submission: usize,
    /// Position in the dataset.
    pub(super) row: usize,
    pub(super) questions: Turn,
}

/// Shares each interval's budget out: the turn of every row, in the order given.
pub(super) fn allot(rows: &[Doubtful<'_>], budget: u32) -> Vec<Turn> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let key = |i: &usize| rows.get(*i).map(|row| (row.interval, row.submission, row.row));
    order.sort_by_key(key);
    // Each question with its rank among its miner's.
    let mut ranks: BTreeMap<usize, usize> = BTreeMap::new();
    let mut questions = Vec::new();
    for i in order {
        let Some(row) = rows.get(i) else { continue };
        for caption in [true, false] {
            if if caption { row.questions.caption } else { row.questions.category } {
                let rank = ranks.entry(row.submission).or_default();
                let seed = seed_int(&format!("{}:{}", row.interval.seed(), row.miner));
                questions.push((row.interval, *rank, seed, row.miner, row.submission, i, caption));
                *rank += 1;
            }
        }
    }
    questions.sort();
    let mut spent: BTreeMap<IntervalId, u32> = BTreeMap::new();
    let mut turns = vec![Turn::NEITHER; rows.len()];
    for (interval, _, _, _, _, i, caption) in questions {
        let spent = spent.entry(interval).or_default();
        if *spent >= budget {
            continue;
        }
        *spent += 1;
        if let Some(turn) = turns.get_mut(i) {
            *(if caption { &mut turn.caption } else { &mut turn.category }) = true;
        }
    }
    turns
}

/// Whether the card leaves a P(match) to a judge.
pub(super) fn caption_in_doubt(card: &ModelCard, probability: f64) -> bool {
    let (from, below) = card.alignment.doubt();
    (from..below).contains(&probability)
}

/// Whether the rule would decide otherwise on figures that the card's width lies away.
pub(super) fn category_in_doubt(card: &ModelCard, category: &CategoryReport) -> bool {
    let width = card.category.doubt();
    rule_accepts(category, width) && !rule_accepts(category, -width)
}

/// Whether the strict rule accepts figures that are moved so far.
pub(super) fn rule_accepts(category: &CategoryReport, by: f64) -> bool {
    let rule = CategoryRule::default();
    let (Some(nature), Some(margin)) = (category.nature_score, category.margin) else { return false };
    let wins = category.frames.iter().filter(|frame| frame.winner == Category::Nature).count();
    wins >= rule.min_wins && nature + by >= rule.min_nature_score && margin + by >= rule.min_margin
}

/// The time that one of several pictures without times is shown at: they count as spread over a clip as the protocol
/// spreads its frames. Always of the whole set, before some of it are chosen. A picture alone has the time 0.
pub(super) fn spread(index: usize, pictures: usize) -> f64 {
    if pictures < 2 { 0.0 } else { (index as f64 + 0.5) * CLIP_SECONDS / pictures as f64 }
}

/// Frames as a judge is shown them: pictures from files have no times, and get those of [`spread`].
fn timed(frames: &[Frame]) -> Cow<'_, [Frame]> {
    let known = frames.windows(2).any(|pair| match pair {
        [a, b] => a.pts_seconds != b.pts_seconds,
        _ => false,
    });
    if known || frames.len() < 2 {
        return Cow::Borrowed(frames);
    }
    let at = |(i, frame): (usize, &Frame)| Frame { pts_seconds: spread(i, frames.len()), ..frame.clone() };
    frames.iter().enumerate().map(at).collect()
}

impl RowJudge {
    /// The same with a judge behind it, which decides what is in doubt, at most `budget` questions per interval. Rows
    /// that belong to no package have no interval, and what is in doubt of them is always asked.
    #[must_use]
    pub fn with_judge(&self, judge: Arc<dyn Judge>, budget: u32) -> Self {
        let mut with = self.clone();
        with.environment.judge =
            Some(JudgeInUse { identity: judge.identity().clone(), threshold: YES, budget });
        with.cascade = Some(Cascade { judge, budget });
        with
    }

    /// The same without a judge.
    #[must_use]
    pub fn without_judge(&self) -> Self {
        let mut without = self.clone();
        without.environment.judge = None;
        without.cascade = None;
        without
    }

    /// The same with another budget, where there is a judge.
    #[must_use]
    pub fn with_budget(&self, budget: u32) -> Self {
        match &self.cascade {
            Some(cascade) => self.with_judge(Arc::clone(&cascade.judge), budget),
            None => self.clone(),
        }
    }

    /// Calls of the judge per interval; none without a judge.
    pub(super) fn budget(&self) -> Option<u32> {
        self.cascade.as_ref().map(|cascade| cascade.budget)
    }

    /// Whether there is a judge.
    pub fn has_judge(&self) -> bool {
        self.cascade.is_some()
    }

    /// What the judge says to a question of the caller's own, to be answered by yes or no; `None` without a judge.
    ///
    /// # Errors
    /// As [`Judge::answer`].
    pub fn ask(&self, frames: &[Frame], question: &str) -> Result<Option<Answer>> {
        let Some(cascade) = &self.cascade else { return Ok(None) };
        let frames = timed(frames);
        let asked = [Ask { frames: &frames, question: Question::Other(question) }];
        match cascade.judge.answer(&asked)?.first() {
            Some(answer) => Ok(Some(*answer)),
            None => Err(Error::Internal("the judge gave no answer".into())),
        }
    }

    /// Lets the judge decide what is in doubt of scores that were made from embeddings
    /// ([`score_embedded`](Self::score_embedded)), as [`score_frames`](Self::score_frames) does. `frames` gives the
    /// pictures; it is called only where something is in doubt. Nothing without a judge.
    ///
    /// Where `category` is false, only the caption may be asked about: the category is nobody's question then, and stays
    /// as the encoders have it.
    ///
    /// # Errors
    /// Those of `frames`; [`Error::Usage`] where the scores are of more frames than a judge is shown ([`FRAME_LIMIT`]),
    /// whether something is in doubt or not; where the judge fails.
    pub fn settle_embedded<E: From<Error>>(
        &self,
        caption: &str,
        category: bool,
        scores: &mut FrameSetScores,
        frames: impl FnOnce() -> Result<Vec<Frame>, E>,
    ) -> Result<(), E> {
        if self.cascade.is_none() {
            return Ok(());
        }
        let reading = self.read_caption(caption)?;
        let FrameSetScores { alignment, category: nature } = scores;
        self.few_enough(alignment.units.first().map_or(0, |unit| unit.per_frame.len()))?;
        let asked = Asked { alignment: Some(alignment), category: category.then_some(nature) };
        let mut seen = Vec::new();
        if self.doubts((caption, &reading), &asked) != Turn::NEITHER {
            seen = frames()?;
        }
        // A judge reads what is on the host, and takes its time.
        seen.iter_mut().for_each(Frame::leave_device);
        Ok(self.settle_asked((caption, &reading), &seen, Turn::BOTH, asked)?)
    }

    /// That a judge could be shown so many frames, where there is one: else whether a clip is refused would depend on
    /// its scores.
    pub(super) fn few_enough(&self, frames: usize) -> Result<()> {
        if self.cascade.is_some() && frames > FRAME_LIMIT {
            let why =
                format!("{frames} frames; with a judge behind the model at most {FRAME_LIMIT} are taken");
            return Err(Error::usage("frames", why));
        }
        Ok(())
    }

    /// What the encoder leaves in doubt, or the two of them, and a judge may be asked about.
    fn doubts(&self, (caption, reading): (&str, &Readings), asked: &Asked<'_>) -> Turn {
        let closed =
            || reading.refused().is_some() || has_injection_keyword(caption) || speaks_to_judge(caption);
        let (alignment, category) = (asked.alignment.as_deref(), asked.category.as_deref());
        Turn {
            caption: alignment.is_some_and(|a| self.caption_doubt(a) && !closed()),
            category: category.is_some_and(|c| self.category_doubt(&self.gates(reading), c)),
        }
    }

    /// Lets the judge decide what the encoder leaves in doubt, as far as it is the row's turn, and writes down what
    /// decided. Nothing without a judge.
    pub(super) fn settle(
        &self,
        caption: (&str, &Readings),
        frames: &[Frame],
        turn: Turn,
        alignment: &mut AlignmentReport,
        category: &mut CategoryReport,
    ) -> Result<()> {
        let asked = Asked { alignment: Some(alignment), category: Some(category) };
        self.settle_asked(caption, frames, turn, asked)
    }

    /// The same for what is asked of the two.
    pub(super) fn settle_asked(
        &self,
        (caption, reading): (&str, &Readings),
        frames: &[Frame],
        turn: Turn,
        asked: Asked<'_>,
    ) -> Result<()> {
        let Some(cascade) = &self.cascade else { return Ok(()) };
        let Turn { caption: caption_doubt, category: category_doubt } =
            self.doubts((caption, reading), &asked);
        let frames = timed(frames);
        let middle: Vec<Frame> =
            middle_three(frames.len()).into_iter().flatten().filter_map(|i| frames.get(i).cloned()).collect();

        let mut asks = Vec::new();
        if caption_doubt && turn.caption {
            asks.push(Ask { frames: &frames, question: Question::Shows(caption) });
        }
        if category_doubt && turn.category {
            asks.push(Ask { frames: &middle, question: Question::MainlyNature });
        }
        let mut answers = cascade.judge.answer(&asks)?.into_iter();
        let mut decide = |doubt: bool,
                          turn: bool,
                          verdict: &mut Verdict,
                          before: Option<CascadeReport>|
         -> Result<CascadeReport> {
            let encoder = *verdict;
            let (decided_by, yes) = match (doubt, turn) {
                (false, _) => (before.map_or(Decider::Encoder, |before| before.decided_by), None),
                (true, false) => (Decider::BudgetSpent, None),
                (true, true) => match answers.next() {
                    Some(Answer::Yes(yes)) => (Decider::Judge, Some(yes)),
                    Some(Answer::TooLong { .. }) => (Decider::TooLong, None),
                    None => {
                        return Err(Error::Internal("the judge gave fewer answers than it was asked".into()));
                    }
                },
            };
            if let Some(yes) = yes {
                *verdict = if yes >= YES { Verdict::Accept } else { Verdict::Reject };
            }
            Ok(CascadeReport { decided_by, encoder, yes })
        };
        if let Some(alignment) = asked.alignment {
            let before = alignment.cascade;
            alignment.cascade = Some(decide(caption_doubt, turn.caption, &mut alignment.verdict, before)?);
        }
        if let Some(category) = asked.category {
            let before = category.cascade;
            category.cascade = Some(decide(category_doubt, turn.category, &mut category.decision, before)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IntervalId = IntervalId::new(100);
    const TWO: IntervalId = IntervalId::new(200);

    fn row(
        interval: IntervalId,
        miner: &Hotkey,
        submission: usize,
        row: usize,
        questions: (bool, bool),
    ) -> Doubtful<'_> {
        let questions = Turn { caption: questions.0, category: questions.1 };
        Doubtful { interval, miner, submission, row, questions }
    }

    fn granted(turns: &[Turn]) -> usize {
        turns.iter().map(|t| usize::from(t.caption) + usize::from(t.category)).sum()
    }

    #[test]
    fn every_miners_first_question_comes_before_any_miners_second() {
        let (greedy, modest) = (Hotkey::new("5Greedy"), Hotkey::new("5Modest"));
        let mut rows: Vec<_> = (0..10).map(|i| row(ONE, &greedy, 0, i, (true, true))).collect();
        rows.push(row(ONE, &modest, 1, 7, (true, false)));
        let turns = allot(&rows, 2);
        assert_eq!(
            (turns[0], turns[10]),
            (Turn { caption: true, category: false }, Turn { caption: true, category: false })
        );
        assert_eq!(granted(&turns), 2);
        // With one more, the greedy miner's second question: its first row's category.
        let turns = allot(&rows, 3);
        assert_eq!((turns[0], turns[1]), (Turn::BOTH, Turn::NEITHER));
        assert_eq!(granted(&allot(&rows, 1000)), 21);
        assert_eq!(granted(&allot(&rows, 0)), 0);
    }

    #[test]
    fn shares_do_not_depend_on_the_order_of_rows() {
        let miners: Vec<Hotkey> = (0..7).map(|i| Hotkey::new(format!("5Miner{i}"))).collect();
        let rows: Vec<_> = miners
            .iter()
            .enumerate()
            .flat_map(|(s, miner)| {
                (0..3).map(move |i| row(ONE, miner, s, i * 4, (i != 1 || s % 2 == 0, i == 1)))
            })
            .collect();
        for budget in 0..25 {
            let turns = allot(&rows, budget);
            assert_eq!(granted(&turns), (budget as usize).min(7 * 3 + 4));
            let mut backwards: Vec<_> = rows.iter().rev().cloned().collect();
            backwards.rotate_left(5);
            let mut other = allot(&backwards, budget);
            other.rotate_right(5);
            other.reverse();
            assert_eq!(turns, other, "{budget}");
        }
        // Which miner comes first is the protocol's order, not the alphabet's.
        let first = allot(&rows, 1).iter().position(|turn| *turn != Turn::NEITHER).unwrap();
        let order = crate::sample::select_miners_with(
            &crate::sample::MinerSampling { rate: 1.0, min: 7, max: 7 },
            &ONE.seed(),
            &miners,
        );
        assert_eq!(*rows[first].miner, order[0]);
    }

    #[test]
    fn each_interval_has_its_own_budget() {
        let miner = Hotkey::new("5Miner");
        let rows: Vec<_> = [(ONE, 0), (TWO, 1)]
            .into_iter()
            .flat_map(|(interval, s)| {
                (0..3).map(|i| row(interval, &miner, s, i, (true, false))).collect::<Vec<_>>()
            })
            .collect();
        let turns = allot(&rows, 2);
        assert_eq!((granted(&turns[..3]), granted(&turns[3..])), (2, 2));
    }
}
