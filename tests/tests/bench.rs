//! Pairs through models: stopped and taken up again, with and without a store, and cards from what was measured.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nexis_core::Error;
use nexis_core::bench::align::{AlignOptions, Survey};
use nexis_core::bench::{BenchModel, BenchReport, BenchScores, Cost, EmbeddingStore, Opener, Watch, align};
use nexis_core::media::jpeg::StillLimits;
use nexis_core::media::{FfmpegDecoder, MediaDecoder, MediaLimits};
use nexis_core::model::{ClipModel, LoadOptions};
use nexis_core::pairs::{PairOptions, PairSource, Part};
use nexis_core::score::bootstrap::Bootstrap;

/// More than the 256 that are worked on at once, so that a run can be stopped in between.
const PAIRS: usize = 300;
const PICTURES: usize = 20;

/// Raises the flag after so many pairs.
struct StopAfter {
    pairs: u64,
    seen: AtomicU64,
}

impl StopAfter {
    fn new(pairs: u64) -> Self {
        Self { pairs, seen: AtomicU64::new(0) }
    }
}

impl Watch for StopAfter {
    fn advanced(&self, pairs: u64) {
        self.seen.fetch_add(pairs, Ordering::SeqCst);
    }

    fn interrupted(&self) -> bool {
        self.seen.load(Ordering::SeqCst) >= self.pairs
    }
}

/// Pictures of plain colours, captions that name one, and a picture that is none.
fn world(folder: &Path) -> PairSource {
    let colours = ["red", "green", "blue", "grey"];
    for i in 0..PICTURES {
        let shade = 40 + 10 * i as u8;
        let pixel = match i % 4 {
            0 => [shade, 0, 0],
            1 => [0, shade, 0],
            2 => [0, 0, shade],
            _ => [shade; 3],
        };
        image::RgbImage::from_pixel(48, 32, image::Rgb(pixel)).save(folder.join(format!("{i}.png"))).unwrap();
    }
    fs::write(folder.join("broken.png"), "no picture").unwrap();
    let line = |i: usize| {
        let (picture, colour) = (i % PICTURES, colours[(i / PICTURES) % 4]);
        let label = u8::from(picture % 4 == (i / PICTURES) % 4);
        let name = if i == 7 { "broken".to_owned() } else { picture.to_string() };
        format!(
            "{{\"frames\": [\"{name}.png\"], \"caption\": \"picture {i}, a plain {colour} one\", \"label\": {label}}}\n"
        )
    };
    fs::write(folder.join("pairs.jsonl"), (0..PAIRS).map(line).collect::<String>()).unwrap();
    PairSource::open(&folder.join("pairs.jsonl"), &PairOptions::default()).unwrap()
}

fn run(
    source: &PairSource,
    store: Option<&EmbeddingStore>,
    batch: usize,
    watch: &StopAfter,
) -> nexis_core::Result<(BenchReport, BenchScores)> {
    let decoder = FfmpegDecoder::default();
    let limits = MediaLimits::default();
    let opener = Opener { source, decoder: &decoder, limits: &limits, still: StillLimits::default() };
    let models: Vec<BenchModel> = ["quick_f32", "gelu_f16_legacy"]
        .into_iter()
        .map(|name| {
            let folder = nexis_tests::fixture("models").join(name);
            let model = Arc::new(ClipModel::load(&folder, &LoadOptions::default()).unwrap());
            BenchModel::new(name, model, None, &decoder.name()).unwrap()
        })
        .collect();
    let survey = Survey::of(source)?;
    let options =
        AlignOptions { batch, bootstrap: Bootstrap { seed: 3, resamples: 20 }, ..AlignOptions::default() };
    align(&models, &opener, store, &survey, &options, watch)
}

/// Without what says how it was worked out.
fn bare(mut report: BenchReport) -> BenchReport {
    for model in &mut report.models {
        (model.cost, model.found) = (Cost::default(), 0);
    }
    report
}

#[test]
fn a_run_that_was_stopped_goes_on_and_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let source = world(folder.path());
    let never = || StopAfter::new(u64::MAX);
    let (report, scores) = run(&source, None, 16, &never()).unwrap();
    assert_eq!((report.data.scored, report.data.broken), (PAIRS as u64 - 1, 1));
    assert_eq!((report.data.broken_pairs[0].row, report.data.groups), (8, PICTURES as u64));
    assert!(report.data.broken_pairs[0].why.contains("broken.png: neither JPEG nor PNG"));
    assert!(report.models.iter().all(|model| model.cost.clips > 0 && model.found == 0));

    let cache = folder.path().join("cache");
    {
        let store = EmbeddingStore::open(&cache).unwrap();
        let stopped = run(&source, Some(&store), 16, &StopAfter::new(256));
        assert!(matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
    }
    let store = EmbeddingStore::open(&cache).unwrap();
    let (resumed, again) = run(&source, Some(&store), 5, &never()).unwrap();
    assert!(resumed.models.iter().all(|model| model.found == 255), "what was done before the stop is found");
    assert_eq!(scores, again);
    assert_eq!(bare(report.clone()), bare(resumed));

    // A picture that changes is another picture, and a caption another caption.
    fs::copy(folder.path().join("1.png"), folder.path().join("0.png")).unwrap();
    let (changed, _) = run(&source, Some(&store), 16, &never()).unwrap();
    assert_eq!(changed.models[0].found, PAIRS as u64 - 1 - 15);
    assert_ne!(changed.data.content_sha256, report.data.content_sha256);
    assert_eq!(changed.data.survey.sha256, report.data.survey.sha256);
}

#[test]
fn parts_share_no_group_and_leave_nothing_out() {
    let folder = tempfile::tempdir().unwrap();
    let whole = world(folder.path());
    let rows = |part: Option<Part>| {
        let options = PairOptions { part, ..PairOptions::default() };
        let mut rows = Vec::new();
        let source = PairSource::open(whole.path(), &options).unwrap();
        source
            .each(&mut |pair| {
                rows.push((pair.row, pair.shown.keys().to_vec()));
                Ok(())
            })
            .unwrap();
        rows
    };
    let (first, second) = (rows(Some("1/2".parse().unwrap())), rows(Some("2/2".parse().unwrap())));
    assert!(first.iter().all(|(_, shown)| second.iter().all(|(_, other)| shown != other)));
    let mut both = [first, second].concat();
    both.sort();
    assert_eq!(both, rows(None));
    for wrong in ["0/2", "3/2", "1", "1/x", "1/2000"] {
        assert!(wrong.parse::<Part>().is_err(), "{wrong}");
    }
}
