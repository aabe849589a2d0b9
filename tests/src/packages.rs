//! Drawn packages of one interval, and what a verifier is told of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use nexis_core::package::{DirectorySource, ExpectedIdentity, ExpectedMiner, Opened, Package, PackageRules};
use nexis_core::protocol::{Category, Hotkey, IntervalId};
use nexis_core::report::Report;
use nexis_core::synth::{Attack, ClipStyle, PackagePlan, RowPlan};
use nexis_core::verifier::Submission;

/// The interval of all of them.
pub const INTERVAL: IntervalId = IntervalId::new(7_756_900);

/// A miner.
pub const ALICE: &str = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";
/// Another.
pub const BOB: &str = "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty";
/// A third.
pub const CAROL: &str = "5FLSigC9HGRKVhB9FiEo4Y3koPsNmBmLJbpXg2mp1hXcS59Y";

/// When they are checked: an hour after they were made.
pub fn now() -> DateTime<Utc> {
    made_at() + chrono::Duration::hours(1)
}

fn made_at() -> DateTime<Utc> {
    "2026-04-10T12:00:00Z".parse().unwrap()
}

/// A miner's package with a scene of nature per seed.
pub fn plan(
    hotkey: &str,
    seeds: impl IntoIterator<Item = u64>,
    attack: impl Into<Option<Attack>>,
) -> PackagePlan {
    PackagePlan {
        hotkey: Hotkey::new(hotkey),
        interval: INTERVAL,
        created_at: made_at(),
        rows: seeds.into_iter().map(|seed| RowPlan::new(seed, Category::Nature)).collect(),
        style: ClipStyle { fps: 6, ..ClipStyle::default() },
        attack: attack.into(),
    }
}

/// Draws a package into its miner's bucket below `root`, and gives the bucket.
///
/// # Panics
/// Where it cannot be drawn.
pub fn draw(plan: &PackagePlan, root: &Path) -> PathBuf {
    let bucket = root.join(plan.hotkey.bucket_name());
    plan.write(&bucket, None, &|| {}).unwrap();
    bucket
}

/// What the verifier is told of a miner's bucket below `root`.
pub fn submission(root: &Path, hotkey: &str) -> Submission {
    let hotkey = Hotkey::new(hotkey);
    Submission {
        miner: ExpectedMiner::Bucket(hotkey.bucket_name()),
        interval: INTERVAL,
        label: hotkey.to_string(),
        source: Arc::new(DirectorySource::new(root.join(hotkey.bucket_name()))),
    }
}

/// The package in a bucket, opened as a verifier opens it.
///
/// # Panics
/// Where it is refused.
pub fn opened(bucket: &Path) -> Package {
    let expected = ExpectedIdentity { miner: ExpectedMiner::Anyone, interval: INTERVAL };
    let source = Arc::new(DirectorySource::new(bucket));
    match Package::open(source, &expected, &PackageRules::default(), now()).unwrap() {
        Opened::Package(package) => *package,
        Opened::Rejected { violation, .. } => panic!("{}", violation.code()),
    }
}

/// The folder of the interval's files in a bucket.
pub fn interval_folder(bucket: &Path) -> PathBuf {
    bucket.join(INTERVAL.to_string())
}

/// A report without what varies from run to run.
///
/// # Panics
/// Where a row says nothing of its times.
pub fn timeless(report: &Report) -> serde_json::Value {
    let mut value = serde_json::to_value(report).unwrap();
    for submission in value["submissions"].as_array_mut().unwrap() {
        for row in submission["rows"].as_array_mut().unwrap() {
            assert!(row.as_object_mut().unwrap().remove("timings_ms").is_some());
        }
    }
    value
}
