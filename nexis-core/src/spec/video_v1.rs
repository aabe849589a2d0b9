//! `video_v1`: five-second captioned clips (protocol page, 1).

use serde::{Deserialize, Serialize};

use super::DatasetSpec;
use crate::check::{Violation, hard};
use crate::package::ClipRecord;
use crate::package::rows::RowRules;

/// The spec's id, and what a manifest without one means.
pub const SPEC_ID: &str = "video_v1";
/// Version of the protocol, and what a manifest without one means.
pub const PROTOCOL_VERSION: &str = "1.0.0";
/// Version of the row schema, and what a manifest without one means.
pub const SCHEMA_VERSION: &str = "1.0.0";

/// The numbers of a version of `video_v1`; the default is 1.0.0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VideoSpec {
    /// The id that manifests name.
    pub id: String,
    /// Version of the protocol.
    pub protocol_version: String,
    /// Version of the row schema.
    pub schema_version: String,
    /// The category that packages must claim.
    pub category: String,
    /// Width of every clip, in pixels.
    pub width: u32,
    /// Height of every clip, in pixels.
    pub height: u32,
    /// Nominal length of a clip, in seconds.
    pub duration_seconds: f64,
    /// How far `duration_sec` may be from that, either way.
    pub duration_tolerance_seconds: f64,
    /// Two clips of one source are in conflict where their starts differ by less.
    pub min_start_distance_seconds: f64,
    /// Latest start of a clip, in seconds.
    pub max_start_seconds: f64,
    /// Fewest words of a caption.
    pub min_caption_words: usize,
}

impl Default for VideoSpec {
    fn default() -> Self {
        Self {
            id: SPEC_ID.to_owned(),
            protocol_version: PROTOCOL_VERSION.to_owned(),
            schema_version: SCHEMA_VERSION.to_owned(),
            category: "nature_landscape_scenery".to_owned(),
            width: 1280,
            height: 720,
            duration_seconds: 5.0,
            duration_tolerance_seconds: 0.15,
            min_start_distance_seconds: 4.5,
            max_start_seconds: 5000.0,
            min_caption_words: 20,
        }
    }
}

impl DatasetSpec for VideoSpec {
    fn id(&self) -> &str {
        &self.id
    }

    fn protocol_version(&self) -> &str {
        &self.protocol_version
    }

    fn schema_version(&self) -> &str {
        &self.schema_version
    }

    fn category(&self) -> &str {
        &self.category
    }

    fn row_rules(&self) -> RowRules {
        // The bounds are rounded sums: 4.85 and 5.15 themselves are inside, though 5.15 - 5.0 > 0.15.
        RowRules {
            min_duration_seconds: self.duration_seconds - self.duration_tolerance_seconds,
            max_duration_seconds: self.duration_seconds + self.duration_tolerance_seconds,
        }
    }

    fn hard_checks(&self, rows: &[ClipRecord]) -> Vec<Violation> {
        hard::check_rows(rows, self)
    }

    fn frame_size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn min_start_distance_seconds(&self) -> f64 {
        self.min_start_distance_seconds
    }
}
