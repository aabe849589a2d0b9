//! The measures of a caption against a clip, by name.
//!
//! All come from cosines between unit-length embeddings. Writing `s(t, f, k)` for text `t`, frame `f` and tile
//! `k`: the similarity of a text with a clip is `S(t)`, the mean over frames of the mean over tiles, unless a feature
//! says otherwise. `c` is the caption: the whole where the encoder can read it at once, else the mean over its units.

use std::fmt;
use std::str::FromStr;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Version of what the features mean: with a change of any value for the same caption and clip this changes, so that
/// nothing that was measured before is taken for it.
pub const FEATURES_VERSION: &str = "1";

macro_rules! features {
    ($($(#[$doc:meta])* $variant:ident => $name:literal),* $(,)?) => {
        /// One measure of a caption against a clip.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Feature { $($(#[$doc])* $variant),* }

        impl Feature {
            /// All of them, in the order of [`AlignmentFeatures::as_vector`].
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The name in model cards and evidence.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

features! {
    /// `S(c)`.
    Whole => "whole",
    /// Mean over frames of the best tile's similarity with the caption.
    WholeBestTile => "whole_best_tile",
    /// The frame that fits the caption best: maximum over frames of the mean over tiles.
    WholeBestFrame => "whole_best_frame",
    /// The frame that fits the caption worst: minimum over frames of the mean over tiles.
    WholeWorstFrame => "whole_worst_frame",
    /// Standard deviation over frames of the caption's similarity (mean over tiles).
    FrameSpread => "frame_spread",
    /// Mean over units of `S(unit)`, the whole not counted where the caption has parts.
    UnitsMean => "units_mean",
    /// Minimum over units of `S(unit)`: what the least supported part gets.
    UnitsMin => "units_min",
    /// Minimum over units of `S(unit)` less the mean of `S` over the distractor captions.
    UnitsMinMargin => "units_min_margin",
    /// `S(c)` less the mean of `S` over the distractor captions.
    BankMarginMean => "bank_margin_mean",
    /// `S(c)` less the maximum of `S` over the distractor captions.
    BankMarginMax => "bank_margin_max",
    /// `S(c)` less the mean over the distractor captions, in their standard deviations.
    BankStanding => "bank_standing",
    /// Logarithm of the caption's share in a softmax, at the model's own temperature, with the distractors.
    BankLogShare => "bank_log_share",
    /// Mean cosine of the caption's own embedding with the distractors': a caption in a usual wording is
    /// near to everything, and its `S` is to be read against that.
    BankLikeness => "bank_likeness",
    /// `S(c)` less the maximum of `S` over the generic captions.
    Specificity => "specificity",
    /// Greatest cosine of the caption's own embedding with a generic caption's.
    GenericLikeness => "generic_likeness",
    /// `S` of the swapped text's original less `S` of the swapped text, minimum over all swaps; 0 without any.
    SwapMarginMin => "swap_margin_min",
    /// The same, mean over all swaps.
    SwapMarginMean => "swap_margin_mean",
    /// Logarithm of the caption's share in a softmax, at the model's own temperature, with its swaps.
    SwapLogShare => "swap_log_share",
    /// Minimum margin over the colour swaps; 0 without any.
    SwapColour => "swap_colour",
    /// Minimum margin over the number swaps; 0 without any.
    SwapNumber => "swap_number",
    /// Minimum margin over the object swaps; 0 without any.
    SwapObject => "swap_object",
    /// Minimum margin over the weather swaps; 0 without any.
    SwapWeather => "swap_weather",
    /// Minimum margin over the light swaps; 0 without any.
    SwapLight => "swap_light",
    /// Minimum margin over the negation swaps; 0 without any.
    SwapNegation => "swap_negation",
    /// Minimum margin over the setting swaps; 0 without any.
    SwapSetting => "swap_setting",
    /// Number of units, the whole not counted where the caption has parts.
    UnitCount => "unit_count",
    /// Tokens per word: high where the tokenizer falls back to pieces and bytes, that is, where the caption uses
    /// words that the model has hardly seen.
    TokensPerWord => "tokens_per_word",
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Feature {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|feature| feature.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            Error::usage(format!("feature `{name}`"), format!("it is not one of {known}"))
        })
    }
}

impl Serialize for Feature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Feature {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The value of every feature.
#[derive(Clone, Debug, PartialEq)]
pub struct AlignmentFeatures {
    values: [f64; Feature::ALL.len()],
}

impl AlignmentFeatures {
    /// Features from a function of their names.
    pub fn from_fn(mut value: impl FnMut(Feature) -> f64) -> Self {
        Self { values: Feature::ALL.map(&mut value) }
    }

    /// Features from their values, in the order of [`Feature::ALL`].
    pub const fn from_values(values: [f64; Feature::ALL.len()]) -> Self {
        Self { values }
    }

    /// One value.
    pub fn get(&self, feature: Feature) -> f64 {
        Feature::ALL
            .iter()
            .zip(&self.values)
            .find_map(|(name, value)| (*name == feature).then_some(*value))
            .unwrap_or(0.0)
    }

    /// All values, in the order of [`Feature::ALL`].
    pub fn as_vector(&self) -> Vec<f64> {
        self.values.to_vec()
    }

    /// The values of some features, in their order.
    pub fn select(&self, features: &[Feature]) -> Vec<f64> {
        features.iter().map(|feature| self.get(*feature)).collect()
    }
}

impl Serialize for AlignmentFeatures {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.values.len()))?;
        for (feature, value) in Feature::ALL.iter().zip(&self.values) {
            map.serialize_entry(feature.name(), value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_read_back() {
        for feature in Feature::ALL {
            assert_eq!(feature.name().parse::<Feature>().unwrap(), feature);
        }
        let names: std::collections::BTreeSet<_> = Feature::ALL.iter().map(|f| f.name()).collect();
        assert_eq!(names.len(), Feature::ALL.len());
        let error = "wholes".parse::<Feature>().unwrap_err().to_string();
        assert!(error.contains("wholes") && error.contains("swap_colour"), "{error}");
    }

    #[test]
    fn values_keep_their_names() {
        let features = AlignmentFeatures::from_fn(|f| f as usize as f64);
        assert_eq!(features.get(Feature::UnitsMin), Feature::UnitsMin as usize as f64);
        assert_eq!(
            features.select(&[Feature::SwapColour, Feature::Whole]),
            [Feature::SwapColour as usize as f64, 0.0]
        );
        assert_eq!(features.as_vector().len(), Feature::ALL.len());
        let json = serde_json::to_value(&features).unwrap();
        assert_eq!(json["frame_spread"], 4.0);
    }
}
