//! What a miner did wrong, as stable codes, and the checks that find it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Error;

pub mod assets;
pub mod category_rule;
pub mod hard;
pub mod injection;
pub mod integrity;
pub mod metadata;
mod remedy;

pub use assets::{AssetCheck, check_assets};
pub use category_rule::{CategoryDecision, CategoryRule, FrameScores, category_decision, middle_three};
pub use injection::{caption_hygiene, has_injection_keyword};
pub use metadata::row_metadata;

/// The kinds of violation; [`Violation::code`] gives the string on the wire (protocol page, 4).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // each is its code, and the codes are documented in the protocol
pub enum ViolationKind {
    MissingCommittedReadCredentials,
    MissingSubmissionFiles,
    ManifestSchemaInvalid,
    ManifestIdentityMismatch,
    UnknownSpec {
        spec: String,
    },
    IncompatibleSpecVersion {
        spec: String,
        protocol: String,
        schema: String,
    },
    SpecNotEnabled {
        spec: String,
    },
    MissingCategoryMetadata,
    UnsupportedCategory {
        category: String,
    },
    DatasetSha256Mismatch,
    DatasetSchemaInvalid,
    ManifestRecordCountMismatch,
    NonYoutubeSource {
        clip: String,
    },
    OverlapLt5s {
        source: String,
        clip_a: String,
        clip_b: String,
    },
    EmptyCaption {
        clip: String,
    },
    ShortCaption {
        clip: String,
    },
    UrlLikeCaption {
        clip: String,
    },
    ClipStartGt5000 {
        clip: String,
    },
    InvalidAssetUri {
        uri: String,
    },
    MissingClipAsset {
        clip: String,
    },
    ClipSha256Mismatch {
        clip: String,
    },
    InvalidResolution {
        clip: String,
        width: u32,
        height: u32,
    },
    MissingFirstFrameAsset {
        clip: String,
    },
    FirstFrameSha256Mismatch {
        clip: String,
    },
    CaptionSemanticInjectionKeyword {
        clip: String,
    },
    CaptionSemanticMismatch {
        clip: String,
    },
    CategoryCaptionReject {
        clip: String,
    },
    CategoryStrictFramesMissing {
        clip: String,
    },
    CategoryStrictReject {
        clip: String,
    },
    /// Ours: the clip cannot be decoded within the limits.
    UndecodableClip {
        clip: String,
    },
    ValidationException,
    /// Strict policy: the first-frame JPEG is not the clip's first frame.
    FirstFrameContentMismatch {
        clip: String,
    },
    /// Strict policy: a field of the row differs from the stream.
    RowMetadataMismatch {
        clip: String,
        field: String,
    },
    /// Strict policy: the caption contains what no honest caption does.
    CaptionHygiene {
        clip: String,
        what: String,
    },
    /// Strict policy: two rows share a clip id.
    DuplicateClipId {
        clip: String,
    },
}

impl ViolationKind {
    /// Whether this check is made by this project alone and fails a submission only under the
    /// strict policy; under the network's policy it is a warning.
    pub const fn strict_only(&self) -> bool {
        matches!(
            self,
            Self::FirstFrameContentMismatch { .. }
                | Self::RowMetadataMismatch { .. }
                | Self::CaptionHygiene { .. }
                | Self::DuplicateClipId { .. }
        )
    }
}

impl fmt::Display for ViolationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingCommittedReadCredentials => f.write_str("missing_committed_read_credentials"),
            Self::MissingSubmissionFiles => f.write_str("missing_submission_files"),
            Self::ManifestSchemaInvalid => f.write_str("manifest_schema_invalid"),
            Self::ManifestIdentityMismatch => f.write_str("manifest_identity_mismatch"),
            Self::UnknownSpec { spec } => write!(f, "unknown_spec:{spec}"),
            Self::IncompatibleSpecVersion { spec, protocol, schema } => {
                write!(f, "incompatible_spec_version:{spec}:protocol={protocol}:schema={schema}")
            }
            Self::SpecNotEnabled { spec } => write!(f, "spec_not_enabled:{spec}"),
            Self::MissingCategoryMetadata => f.write_str("missing_category_metadata"),
            Self::UnsupportedCategory { category } => write!(f, "unsupported_category:{category}"),
            Self::DatasetSha256Mismatch => f.write_str("dataset_sha256_mismatch"),
            Self::DatasetSchemaInvalid => f.write_str("dataset_schema_invalid"),
            Self::ManifestRecordCountMismatch => f.write_str("manifest_record_count_mismatch"),
            Self::NonYoutubeSource { clip } => write!(f, "non_youtube_source:{clip}"),
            Self::OverlapLt5s { source, clip_a, clip_b } => {
                write!(f, "overlap_lt_5s:{source}:{clip_a}:{clip_b}")
            }
            Self::EmptyCaption { clip } => write!(f, "empty_caption:{clip}"),
            Self::ShortCaption { clip } => write!(f, "short_caption:{clip}"),
            Self::UrlLikeCaption { clip } => write!(f, "url_like_caption:{clip}"),
            Self::ClipStartGt5000 { clip } => write!(f, "clip_start_gt_5000:{clip}"),
            Self::InvalidAssetUri { uri } => write!(f, "invalid_asset_uri:{uri}"),
            Self::MissingClipAsset { clip } => write!(f, "missing_clip_asset:{clip}"),
            Self::ClipSha256Mismatch { clip } => write!(f, "clip_sha256_mismatch:{clip}"),
            Self::InvalidResolution { clip, width, height } => {
                write!(f, "invalid_resolution:{clip}:{width}x{height}")
            }
            Self::MissingFirstFrameAsset { clip } => write!(f, "missing_first_frame_asset:{clip}"),
            Self::FirstFrameSha256Mismatch { clip } => write!(f, "first_frame_sha256_mismatch:{clip}"),
            Self::CaptionSemanticInjectionKeyword { clip } => {
                write!(f, "caption_semantic_injection_keyword:{clip}")
            }
            Self::CaptionSemanticMismatch { clip } => write!(f, "caption_semantic_mismatch:{clip}"),
            Self::CategoryCaptionReject { clip } => write!(f, "category_caption_reject:{clip}"),
            Self::CategoryStrictFramesMissing { clip } => {
                write!(f, "category_strict_frames_missing:{clip}")
            }
            Self::CategoryStrictReject { clip } => write!(f, "category_strict_reject:{clip}"),
            Self::UndecodableClip { clip } => write!(f, "undecodable_clip:{clip}"),
            Self::ValidationException => f.write_str("validation_exception"),
            Self::FirstFrameContentMismatch { clip } => write!(f, "first_frame_content_mismatch:{clip}"),
            Self::RowMetadataMismatch { clip, field } => write!(f, "row_metadata_mismatch:{clip}:{field}"),
            Self::CaptionHygiene { clip, what } => write!(f, "caption_hygiene:{clip}:{what}"),
            Self::DuplicateClipId { clip } => write!(f, "duplicate_clip_id:{clip}"),
        }
    }
}

/// Something a miner did wrong: a stable code, and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What it is.
    pub kind: ViolationKind,
    /// What was found, in words; may be empty where the code says it all.
    pub detail: String,
}

impl Violation {
    /// A violation whose code says it all.
    pub const fn new(kind: ViolationKind) -> Self {
        Self { kind, detail: String::new() }
    }

    /// A violation with an explanation for people.
    pub fn explained(kind: ViolationKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// The stable code, as other validators and dashboards read it.
    pub fn code(&self) -> String {
        self.kind.to_string()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() { self.kind.fmt(f) } else { write!(f, "{} ({})", self.kind, self.detail) }
    }
}

impl Serialize for Violation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut state = serializer.serialize_struct("Violation", 2)?;
        state.serialize_field("code", &self.code())?;
        state.serialize_field("detail", &self.detail)?;
        state.end()
    }
}

/// Which checks fail a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Exactly the network's; this project's own checks are warnings.
    #[default]
    Network,
    /// The network's and this project's own.
    Strict,
}

impl std::str::FromStr for Policy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "network" => Ok(Self::Network),
            "strict" => Ok(Self::Strict),
            _ => Err(Error::usage(format!("policy {text:?}"), "network or strict is expected")),
        }
    }
}
