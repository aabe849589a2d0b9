//! Captions set against clips, true and false, for calibration and evaluation.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::FrameEmbeddings;
use super::align::{CaptionReading, Measurer};
use super::features::AlignmentFeatures;
use crate::error::{Error, Result};
use crate::protocol::Category;

/// What was done to a clip before it was embedded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// Nothing beyond the usual encoding.
    Clean,
    /// Strong compression (x264 crf 38).
    Compressed,
    /// Blur.
    Blurred,
    /// No colour.
    Grey,
    /// A caption bar over the lower quarter.
    CaptionBar,
}

impl View {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Clean, Self::Compressed, Self::Blurred, Self::Grey, Self::CaptionBar];

    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Compressed => "compressed",
            Self::Blurred => "blurred",
            Self::Grey => "grey",
            Self::CaptionBar => "caption bar",
        }
    }
}

/// A caption with one attribute made false.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwappedCaption {
    /// What was changed, for the table: `colour`, `count`, ...
    pub attribute: String,
    /// The caption.
    pub text: String,
}

/// A clip with everything that is said about it.
#[derive(Clone, Debug)]
pub struct TrialClip {
    /// What it mainly shows.
    pub category: Category,
    /// A true caption.
    pub caption: String,
    /// False ones that differ from the true one in one attribute.
    pub swapped: Vec<SwappedCaption>,
    /// Its frames under each treatment; `Clean` is required.
    pub views: BTreeMap<View, FrameEmbeddings>,
}

/// How a trial's caption relates to its clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialKind {
    /// The clip's caption.
    True,
    /// The caption of a clip of another category.
    OtherCategory,
    /// The caption of another clip of the same category.
    SameCategory,
    /// The clip's caption with one attribute made false.
    Swap,
    /// A caption that fits almost anything.
    Generic,
    /// The clip's caption followed by a sentence about another clip.
    PartlyFalse,
}

impl TrialKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::True, Self::OtherCategory, Self::SameCategory, Self::Swap, Self::Generic, Self::PartlyFalse];

    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::OtherCategory => "other category",
            Self::SameCategory => "same category",
            Self::Swap => "swap",
            Self::Generic => "generic",
            Self::PartlyFalse => "partly false",
        }
    }
}

/// Which trials are made of a set of clips.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialPlan {
    /// Captions of other categories set against each clip.
    pub other_category: usize,
    /// Captions of other clips of its category set against each clip.
    pub same_category: usize,
    /// Captions with a false sentence added, set against each clip.
    pub partly_false: usize,
    /// Generic captions, of which each clip gets one in turn; they should not be those of the card.
    pub generic: Vec<String>,
    /// Views that are tried with true captions and captions of other clips. Swaps, generic and partly
    /// false captions are tried on clean clips alone.
    pub views: Vec<View>,
}

impl Default for TrialPlan {
    fn default() -> Self {
        Self {
            other_category: 2,
            same_category: 2,
            partly_false: 1,
            generic: Vec::new(),
            views: View::ALL.to_vec(),
        }
    }
}

/// A trial with its measures.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The clip, by index.
    pub clip: usize,
    /// The treatment of the clip.
    pub view: View,
    /// How the caption relates to the clip.
    pub kind: TrialKind,
    /// What a swap changed; empty otherwise.
    pub attribute: String,
    /// The measures.
    pub features: AlignmentFeatures,
}

/// Makes and measures all trials, in the order of the clips. Which clips lend their captions follows from the order
/// alone.
///
/// # Errors
/// Where a clip lacks its clean view or the model fails.
pub fn run_trials(measurer: &Measurer, clips: &[TrialClip], plan: &TrialPlan) -> Result<Vec<Trial>> {
    let per_clip: Vec<Vec<Trial>> = (0..clips.len())
        .into_par_iter()
        .map(|index| trials_of(measurer, clips, index, plan))
        .collect::<Result<_>>()?;
    Ok(per_clip.into_iter().flatten().collect())
}

fn trials_of(measurer: &Measurer, clips: &[TrialClip], index: usize, plan: &TrialPlan) -> Result<Vec<Trial>> {
    let Some(clip) = clips.get(index) else { return Ok(Vec::new()) };
    if !clip.views.contains_key(&View::Clean) {
        return Err(Error::usage(format!("clip {index} of the trials"), "its clean view is missing"));
    }
    let mut trials = Vec::new();
    let mut against =
        |reading: &CaptionReading, kind: TrialKind, attribute: &str, views: &[View]| -> Result<()> {
            for (view, embeddings) in &clip.views {
                if views.contains(view) {
                    let features = measurer.measure(reading, embeddings)?.features;
                    trials.push(Trial {
                        clip: index,
                        view: *view,
                        kind,
                        attribute: attribute.to_owned(),
                        features,
                    });
                }
            }
            Ok(())
        };
    let clean = &[View::Clean];
    against(&measurer.read(&clip.caption)?, TrialKind::True, "", &plan.views)?;
    let strangers = lenders(clips, index, plan.other_category.max(plan.partly_false), |other| {
        other.category != clip.category
    });
    for other in strangers.iter().take(plan.other_category) {
        against(&measurer.read(&other.caption)?, TrialKind::OtherCategory, "", &plan.views)?;
    }
    let neighbours = lenders(clips, index, plan.same_category, |other| {
        other.category == clip.category && other.caption != clip.caption
    });
    for other in neighbours {
        against(&measurer.read(&other.caption)?, TrialKind::SameCategory, "", &plan.views)?;
    }
    for swap in &clip.swapped {
        against(&measurer.read(&swap.text)?, TrialKind::Swap, &swap.attribute, clean)?;
    }
    if let Some(generic) = plan.generic.get(index % plan.generic.len().max(1)) {
        against(&measurer.read(generic)?, TrialKind::Generic, "", clean)?;
    }
    for other in strangers.iter().take(plan.partly_false) {
        let text = format!("{} {}", clip.caption, other.caption);
        against(&measurer.read(&text)?, TrialKind::PartlyFalse, "", clean)?;
    }
    Ok(trials)
}

/// Up to `count` other clips, in a fixed walk that begins elsewhere for each clip.
fn lenders(
    clips: &[TrialClip],
    index: usize,
    count: usize,
    wanted: impl Fn(&TrialClip) -> bool,
) -> Vec<&TrialClip> {
    let n = clips.len();
    let first = index.wrapping_mul(7919) % n.max(1);
    (0..n)
        .map(|step| (index + 1 + first + step) % n)
        .filter(|other| *other != index)
        .filter_map(|other| clips.get(other))
        .filter(|other| wanted(other))
        .take(count)
        .collect()
}
