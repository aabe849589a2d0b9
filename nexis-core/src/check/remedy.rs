//! What whoever made a package can do about each failure code, one sentence each.
//!
//! What a code means, for whoever reads a report, is said by the program's views.

use super::{Violation, ViolationKind};

impl ViolationKind {
    /// What to do about it, as a sentence for the maker of the package.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::MissingCommittedReadCredentials => {
                "Commit the read credentials of the bucket on chain, 128 characters, before the interval closes."
            }
            Self::MissingSubmissionFiles => {
                "Publish manifest.json and dataset.parquet in the folder that is named after the interval."
            }
            Self::ManifestSchemaInvalid => {
                "Write manifest.json anew: all fields, whole numbers of 0 or more, a digest of 64 characters."
            }
            Self::ManifestIdentityMismatch => {
                "Name in manifest.json the hotkey whose bucket it is, to the letter, and the folder's interval."
            }
            Self::UnknownSpec { .. } => {
                "Set spec_id in manifest.json to a specification of the network: video_v1."
            }
            Self::IncompatibleSpecVersion { .. } => {
                "Set protocol_version and schema_version in manifest.json to those in force: 1.0.0."
            }
            Self::SpecNotEnabled { .. } => "Publish under a specification that the validator has enabled.",
            Self::MissingCategoryMetadata | Self::UnsupportedCategory { .. } => {
                "Set category in manifest.json to the one that is asked for: nature_landscape_scenery."
            }
            Self::DatasetSha256Mismatch => {
                "Write dataset.parquet first and manifest.json last, with the digest of the file as published."
            }
            Self::DatasetSchemaInvalid => {
                "Write dataset.parquet anew with all 18 columns; the detail names the one that does not hold."
            }
            Self::ManifestRecordCountMismatch => "Set record_count to the number of rows in dataset.parquet.",
            Self::NonYoutubeSource { .. } => {
                "Take the clip from YouTube and give the video's address; other sources are not allowed."
            }
            Self::OverlapLt5s { .. } => {
                "Drop one of the two rows, or choose clips of that video that start at least 5 s apart."
            }
            Self::EmptyCaption { .. } => "Write a caption of at least 20 words.",
            Self::ShortCaption { .. } => "Describe more of what the clip shows: at least 20 words.",
            Self::UrlLikeCaption { .. } => "Take the web address out of the caption.",
            Self::ClipStartGt5000 { .. } => "Choose a clip that starts within the first 5000 s of its video.",
            Self::InvalidAssetUri { .. } => {
                "Name assets by plain relative paths: clips/{clip_id}.mp4 and frames/{clip_id}.jpg."
            }
            Self::MissingClipAsset { .. } => "Publish the clip under the name that its row gives.",
            Self::ClipSha256Mismatch { .. } => {
                "Publish the very file whose digest the row gives, or write the row's digest anew."
            }
            Self::InvalidResolution { .. } => "Scale the clip to exactly 1280x720.",
            Self::MissingFirstFrameAsset { .. } => {
                "Publish the first-frame picture under the name its row gives."
            }
            Self::FirstFrameSha256Mismatch { .. } => {
                "Publish the very picture whose digest the row gives, or write the row's digest anew."
            }
            Self::CaptionSemanticInjectionKeyword { .. } => {
                "Say it without the words \"match\" and \"true\": a caption that has them is taken for an attack."
            }
            Self::CaptionSemanticMismatch { .. } => {
                "Describe what can be seen in the clip, specifically, and nothing that cannot be seen."
            }
            Self::CategoryCaptionReject { .. } => {
                "The caption is not about natural scenery. Say so if the clip is; otherwise drop the row."
            }
            Self::CategoryStrictFramesMissing { .. } => {
                "Encode the clip so that at least three frames can be decoded from it."
            }
            Self::CategoryStrictReject { .. } => {
                "Drop the row: natural scenery must be the main subject from beginning to end."
            }
            Self::UndecodableClip { .. } => {
                "Encode the clip as H.264 in an MP4 file, 8 bits, 4:2:0, complete and with one video stream."
            }
            Self::ValidationException => {
                "Write the package anew. Where that does not help, report it: it is a defect."
            }
            Self::FirstFrameContentMismatch { .. } => {
                "Save the clip's own first frame as its first-frame picture."
            }
            Self::RowMetadataMismatch { .. } => "Write into the row what the clip's stream is.",
            Self::CaptionHygiene { .. } => "Write the caption as plain sentences, each thing said once.",
            Self::DuplicateClipId { .. } => "Drop one of the rows: source, start and duration are the same.",
        }
    }

    /// The clip ids that it names: none where it concerns the package, two where a pair is in conflict.
    pub fn clips(&self) -> Vec<&str> {
        match self {
            Self::MissingCommittedReadCredentials
            | Self::MissingSubmissionFiles
            | Self::ManifestSchemaInvalid
            | Self::ManifestIdentityMismatch
            | Self::UnknownSpec { .. }
            | Self::IncompatibleSpecVersion { .. }
            | Self::SpecNotEnabled { .. }
            | Self::MissingCategoryMetadata
            | Self::UnsupportedCategory { .. }
            | Self::DatasetSha256Mismatch
            | Self::DatasetSchemaInvalid
            | Self::ManifestRecordCountMismatch
            | Self::InvalidAssetUri { .. }
            | Self::ValidationException => Vec::new(),
            Self::OverlapLt5s { clip_a, clip_b, .. } => vec![clip_a, clip_b],
            Self::NonYoutubeSource { clip }
            | Self::EmptyCaption { clip }
            | Self::ShortCaption { clip }
            | Self::UrlLikeCaption { clip }
            | Self::ClipStartGt5000 { clip }
            | Self::MissingClipAsset { clip }
            | Self::ClipSha256Mismatch { clip }
            | Self::InvalidResolution { clip, .. }
            | Self::MissingFirstFrameAsset { clip }
            | Self::FirstFrameSha256Mismatch { clip }
            | Self::CaptionSemanticInjectionKeyword { clip }
            | Self::CaptionSemanticMismatch { clip }
            | Self::CategoryCaptionReject { clip }
            | Self::CategoryStrictFramesMissing { clip }
            | Self::CategoryStrictReject { clip }
            | Self::UndecodableClip { clip }
            | Self::FirstFrameContentMismatch { clip }
            | Self::RowMetadataMismatch { clip, .. }
            | Self::CaptionHygiene { clip, .. }
            | Self::DuplicateClipId { clip } => vec![clip],
        }
    }
}

impl Violation {
    /// What to do about it; see [`ViolationKind::remedy`].
    pub const fn remedy(&self) -> &'static str {
        self.kind.remedy()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_says_what_to_do_and_whom_it_concerns() {
        let clip = || "c1".to_owned();
        let pair = ViolationKind::OverlapLt5s { source: "s:1".into(), clip_a: clip(), clip_b: "c2".into() };
        assert_eq!(pair.clips(), ["c1", "c2"]);
        assert_eq!(ViolationKind::DatasetSchemaInvalid.clips(), [""; 0]);
        let size = Violation::new(ViolationKind::InvalidResolution { clip: clip(), width: 1, height: 1 });
        assert_eq!(size.kind.clips(), ["c1"]);
        assert!(size.remedy().contains("1280x720"));
    }
}
