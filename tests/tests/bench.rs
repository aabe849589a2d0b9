//! Pairs through models: stopped and taken up again, with and without a store, and cards from what was measured.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ndarray::Array2;
use nexis_core::Error;
use nexis_core::bench::align::{AlignOptions, Measure, MistakeKind, Survey, pairs_at};
use nexis_core::bench::fit::{Distractors, FitOptions, fit_pairs};
use nexis_core::bench::{BenchModel, BenchReport, BenchScores, Cost, EmbeddingStore, Opener, Watch, align};
use nexis_core::hash::Digest;
use nexis_core::media::jpeg::StillLimits;
use nexis_core::media::{FfmpegDecoder, MediaDecoder, MediaFailure, MediaLimits};
use nexis_core::model::card::ModelCard;
use nexis_core::model::{Crop, DualEncoder, ImageText, LoadOptions, ModelIdentity, PreprocessSpec};
use nexis_core::pairs::{PairOptions, PairSource, Part, Shown};
use nexis_core::score::bootstrap::Bootstrap;
use nexis_core::score::features::Feature;
use nexis_core::score::text::TextEncoder;

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

/// Pairs, and what opens their files.
struct Files<'a> {
    source: &'a PairSource,
    decoder: FfmpegDecoder,
    limits: MediaLimits,
}

impl<'a> Files<'a> {
    fn of(source: &'a PairSource) -> Self {
        Self { source, decoder: FfmpegDecoder::default(), limits: MediaLimits::default() }
    }

    fn opener(&self) -> Opener<'_> {
        let Self { source, decoder, limits } = self;
        Opener { source, decoder, limits, still: StillLimits::default() }
    }
}

/// A model as the bench takes it, under a card or under none.
fn bench_model(name: &str, model: Arc<dyn ImageText>, card: Option<ModelCard>) -> BenchModel {
    BenchModel::new(name, model, card.map(Arc::new), &FfmpegDecoder::default().name()).unwrap()
}

fn demo() -> DualEncoder {
    DualEncoder::load(nexis_tests::demo_model(), &LoadOptions::default()).unwrap()
}

fn demo_card() -> ModelCard {
    ModelCard::load(&nexis_tests::demo_model().join("card.toml")).unwrap()
}

fn align_options() -> AlignOptions {
    AlignOptions { bootstrap: Bootstrap { seed: 3, resamples: 20 }, ..AlignOptions::default() }
}

/// The pairs by two random models.
fn run(
    source: &PairSource,
    store: Option<&EmbeddingStore>,
    batch: usize,
    watch: &StopAfter,
) -> nexis_core::Result<(BenchReport, BenchScores)> {
    let models = ["quick_f32", "gelu_f16_legacy"].map(|name| {
        let folder = nexis_tests::fixture("models").join(name);
        bench_model(name, Arc::new(DualEncoder::load(&folder, &LoadOptions::default()).unwrap()), None)
    });
    let options = AlignOptions { batch, ..align_options() };
    align(&models, &Files::of(source).opener(), store, &Survey::of(source)?, &options, watch)
}

/// The pairs by these models.
fn judged(
    source: &PairSource,
    models: &[BenchModel],
    store: Option<&EmbeddingStore>,
) -> (BenchReport, BenchScores) {
    let (survey, never) = (Survey::of(source).unwrap(), StopAfter::new(u64::MAX));
    align(models, &Files::of(source).opener(), store, &survey, &align_options(), &never).unwrap()
}

/// The demonstration model with other forward passes.
struct Passes<P, T> {
    own: DualEncoder,
    pictures: P,
    texts: T,
}

impl<P, T> Passes<P, T>
where
    P: Fn(&DualEncoder, &[Crop]) -> nexis_core::Result<Array2<f32>> + Send + Sync + 'static,
    T: Fn(&DualEncoder, &[&str]) -> nexis_core::Result<Array2<f32>> + Send + Sync + 'static,
{
    fn of(pictures: P, texts: T) -> Arc<dyn ImageText> {
        Arc::new(Self { own: demo(), pictures, texts })
    }
}

impl<P, T> ImageText for Passes<P, T>
where
    P: Fn(&DualEncoder, &[Crop]) -> nexis_core::Result<Array2<f32>> + Send + Sync,
    T: Fn(&DualEncoder, &[&str]) -> nexis_core::Result<Array2<f32>> + Send + Sync,
{
    fn identity(&self) -> &ModelIdentity {
        self.own.identity()
    }

    fn preprocess(&self) -> &PreprocessSpec {
        self.own.preprocess()
    }

    fn context_length(&self) -> usize {
        self.own.context_length()
    }

    fn logit_scale(&self) -> f32 {
        self.own.logit_scale()
    }

    fn tokenize(&self, text: &str) -> nexis_core::Result<Vec<u32>> {
        self.own.tokenize(text)
    }

    fn encode_text(&self, texts: &[&str]) -> nexis_core::Result<Array2<f32>> {
        (self.texts)(&self.own, texts)
    }

    fn encode_image(&self, crops: &[Crop]) -> nexis_core::Result<Array2<f32>> {
        (self.pictures)(&self.own, crops)
    }
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
fn a_model_under_two_cards_sees_every_picture_once() {
    let folder = tempfile::tempdir().unwrap();
    let source = world(folder.path());
    let embedded = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&embedded);
    let counting = move |own: &DualEncoder, crops: &[Crop]| {
        counter.fetch_add(crops.len() as u64, Ordering::SeqCst);
        own.encode_image(crops)
    };
    let model = Passes::of(counting, |own: &DualEncoder, texts: &[&str]| own.encode_text(texts));
    let own = demo_card();
    let mut other = own.clone();
    other.alignment.distractors.truncate(1);
    let under = |name: &str, card: &ModelCard| bench_model(name, model.clone(), Some(card.clone()));
    let pictures = |models: &[BenchModel], store| {
        embedded.store(0, Ordering::SeqCst);
        let (report, scores) = judged(&source, models, store);
        (embedded.load(Ordering::SeqCst), report, scores)
    };
    let (once, _, of_own) = pictures(&[under("own", &own)], None);
    let (_, _, of_other) = pictures(&[under("other", &other)], None);
    let both = [under("own", &own), under("other", &other)];
    let (seen, report, scores) = pictures(&both, None);
    assert!(once > 0 && seen == once, "{seen} pictures for two cards, {once} for one");
    assert_eq!(scores.raw, [of_own.raw[0].clone(), of_other.raw[0].clone()]);
    let cost = |report: &BenchReport, m: usize| report.models[m].cost;
    assert_eq!(cost(&report, 0).clips, cost(&report, 1).clips, "both are stated to have needed them");

    // A store that knows the measures under one card lacks those under the other, and no picture.
    let store = EmbeddingStore::open(&folder.path().join("cache")).unwrap();
    assert!(pictures(&both[..1], Some(&store)).0 > 0);
    let (seen, report, again) = pictures(&both, Some(&store));
    assert_eq!((seen, again.raw), (0, scores.raw));
    assert_eq!(cost(&report, 0).clips, cost(&report, 1).clips);
}

/// A model whose every cosine is stated: a caption has one with each picture. Pictures are `0.png` and so on, of as many
/// as there are; the nth is of the shade n.
fn stated(folder: &Path, captions: impl IntoIterator<Item = (String, Vec<f32>)>) -> Arc<dyn ImageText> {
    let captions: BTreeMap<_, _> = captions.into_iter().collect();
    let pictures = captions.values().map(Vec::len).max().unwrap();
    for i in 0..pictures {
        let shade = image::Rgb([u8::try_from(i).unwrap(); 3]);
        image::RgbImage::from_pixel(32, 32, shade).save(folder.join(format!("{i}.png"))).unwrap();
    }
    let of_pictures = move |_: &DualEncoder, crops: &[Crop]| {
        let one = |(row, i): (usize, usize)| f32::from(u8::from(i == usize::from(crops[row].rgb[0])));
        Ok(Array2::from_shape_fn((crops.len(), pictures + 1), one))
    };
    let of_texts = move |_: &DualEncoder, texts: &[&str]| {
        let mut rows = Array2::zeros((texts.len(), pictures + 1));
        for (text, mut row) in texts.iter().zip(rows.rows_mut()) {
            let cosines = captions.get(*text).cloned().unwrap_or_default();
            let rest = 1.0 - cosines.iter().map(|x| x * x).sum::<f32>();
            assert!(rest >= 0.0, "{text}");
            row.iter_mut().zip(&cosines).for_each(|(x, cosine)| *x = *cosine);
            row[pictures] = rest.sqrt();
        }
        Ok(rows)
    };
    Passes::of(of_pictures, of_texts)
}

/// Examples of Winoground: the similarities of the right pairs, of the first picture with the second caption, and of
/// the second picture with the first.
fn winoground(folder: &Path, examples: &[[f32; 4]]) -> (PairSource, Arc<dyn ImageText>) {
    let pictures = 2 * examples.len();
    let captions = examples.iter().enumerate().flat_map(|(i, [first, second, first_wrong, second_wrong])| {
        let cosines = |of_first: f32, of_second: f32| {
            let mut cosines = vec![0.0; pictures];
            (cosines[2 * i], cosines[2 * i + 1]) = (of_first, of_second);
            cosines
        };
        [(format!("a{i}"), cosines(*first, *second_wrong)), (format!("b{i}"), cosines(*first_wrong, *second))]
    });
    let model = stated(folder, captions);
    let line = |i: usize| {
        format!(
            "{{\"id\": {i}, \"image_0\": \"{}\", \"image_1\": \"{}\", \"caption_0\": \"a{i}\", \
             \"caption_1\": \"b{i}\"}}\n",
            2 * i,
            2 * i + 1
        )
    };
    let path = folder.join("examples.jsonl");
    fs::write(&path, (0..examples.len()).map(line).collect::<String>()).unwrap();
    (PairSource::open(&path, &PairOptions::default()).unwrap(), model)
}

fn measure<'a>(report: &'a BenchReport, key: &str) -> &'a Measure {
    report.models[0].measures.iter().find(|measure| measure.key == key).unwrap()
}

#[test]
fn three_examples_of_winoground() {
    let folder = tempfile::tempdir().unwrap();
    let examples = [
        // Both captions and both pictures are told apart.
        [0.9, 0.8, 0.1, 0.2],
        // The captions are: 0.9 > 0.5 and 0.3 > 0.2. The pictures are not: the second caption's own has 0.3, the other
        // 0.5.
        [0.9, 0.3, 0.5, 0.2],
        // The pictures are: 0.4 > 0.3 and 0.7 > 0.5. The captions are not: the first picture's own has 0.4, the other
        // 0.5.
        [0.4, 0.7, 0.5, 0.3],
    ];
    let (source, model) = winoground(folder.path(), &examples);
    let (report, scores) = judged(&source, &[bench_model("stated", model, None)], None);
    assert_eq!(scores.raw[0].len(), 4 * examples.len());
    for (score, stated) in scores.raw[0].iter().zip(examples.concat()) {
        assert!((score - f64::from(stated)).abs() < 1e-6, "{score} is not {stated}");
    }
    let value = |name: &str| measure(&report, &format!("winoground_{name}")).value;
    let third = |n: f64| Some(n / 3.0);
    assert_eq!((value("text"), value("image"), value("group")), (third(2.0), third(2.0), third(1.0)));
}

#[test]
fn a_fit_resamples_only_the_examples_of_winoground_that_it_scored() {
    let folder = tempfile::tempdir().unwrap();
    let some = |i: u32, k: u32| (Digest::of(format!("{i} {k}")).seed_int() % 60) as f32 / 100.0;
    let examples: Vec<[f32; 4]> =
        (0..20).map(|i| [some(i, 0) + 0.05, some(i, 1) + 0.05, some(i, 2), some(i, 3)]).collect();
    let (source, model) = winoground(folder.path(), &examples);
    let files = Files::of(&source);
    let distractors = Distractors::choose(&source, &TextEncoder::new(Arc::clone(&model))).unwrap();
    let mut draft = demo_card();
    draft.alignment.distractors.clone_from(&distractors.captions);
    let bootstrap = Bootstrap { seed: 3, resamples: 100 };
    let report = AlignOptions { bootstrap, ..AlignOptions::default() };
    let options = FitOptions { features: vec![Feature::Whole], report, ..FitOptions::default() };
    let survey = Survey::of(&source).unwrap();
    let never = StopAfter::new(u64::MAX);
    let fitted =
        fit_pairs(&model, &draft, &distractors, &files.opener(), None, &survey, &options, &never).unwrap();

    let raw = &fitted.scores.raw[0];
    assert_eq!((raw.len(), fitted.facts.held_out), (18 * 4, 2 * 4));
    let won: Vec<bool> = raw.chunks(4).map(|of| of[0] > of[2] && of[1] > of[3]).collect();
    let [interval] = bootstrap.intervals(won.len(), |times| {
        let sum: u32 = won.iter().zip(times).map(|(won, n)| u32::from(*won) * n).sum();
        [Some(f64::from(sum) / 18.0)]
    });
    assert!(interval.unwrap().low < interval.unwrap().high);
    assert_eq!(measure(&fitted.report, "winoground_text").interval, interval);
}

#[test]
fn a_mistake_is_of_one_kind_and_the_worst_come_first() {
    let folder = tempfile::tempdir().unwrap();
    // The two errors are equally frequent at 0.5, the very score of a caption that does not fit.
    let pairs = [("a", 0.3, 1), ("b", 0.8, 1), ("c", 0.5, 0), ("d", 0.1, 0)];
    let captions = pairs.iter().map(|(caption, cosine, _)| ((*caption).to_owned(), vec![*cosine]));
    let model = stated(folder.path(), captions);
    let line = |(caption, _, label): &(&str, f32, i32)| {
        format!("{{\"frames\": [\"0.png\"], \"caption\": \"{caption}\", \"label\": {label}}}\n")
    };
    let path = folder.path().join("pairs.jsonl");
    fs::write(&path, pairs.iter().map(line).collect::<String>()).unwrap();
    let source = PairSource::open(&path, &PairOptions::default()).unwrap();
    let mistakes = |card: Option<ModelCard>| -> Vec<(u64, MistakeKind)> {
        let (report, _) = judged(&source, &[bench_model("stated", model.clone(), card)], None);
        report.models[0].mistakes.iter().map(|mistake| (mistake.index, mistake.kind)).collect()
    };
    assert_eq!(mistakes(None), [(2, MistakeKind::FalseAccept), (0, MistakeKind::FalseReject)]);

    // A threshold that no score reaches: both that fit are rejected, and the lower score is the worse.
    let mut card = demo_card();
    card.alignment.features.retain(|term| term.name == Feature::Whole);
    card.alignment.features[0].coefficient = -1.0;
    card.alignment.threshold = 1.0 - f64::EPSILON;
    assert_eq!(mistakes(Some(card.clone())), [(1, MistakeKind::FalseReject), (0, MistakeKind::FalseReject)]);

    // Of nothing there is no share that fits; what is out of all pairs is zero.
    let (report, _) = judged(&source, &[bench_model("stated", model.clone(), Some(card))], None);
    assert_eq!((measure(&report, "precision").value, measure(&report, "precision").interval), (None, None));
    assert_eq!(
        (measure(&report, "true_accepts").value, measure(&report, "f1").value),
        (Some(0.0), Some(0.0))
    );
    let json = serde_json::to_value(measure(&report, "precision")).unwrap();
    assert!(json["value"].is_null() && json["interval"].is_null(), "{json}");
}

#[test]
fn pictures_of_one_pair_are_opened_one_after_another() {
    let folder = tempfile::tempdir().unwrap();
    let source = world(folder.path());
    let files = Files::of(&source);
    let opener = files.opener();
    let shown = Shown::Frames(vec!["0.png".into(), "1.png".into()]);
    assert_eq!(opener.frames(&shown).unwrap().len(), 2);
    let mut seen = 0;
    let ended = opener.each_frame(&shown, &mut |_| {
        seen += 1;
        fs::remove_file(folder.path().join("1.png")).unwrap();
        Ok(())
    });
    let Err(MediaFailure::Clip(why)) = ended else { panic!("{ended:?}") };
    assert!(seen == 1 && why.contains("1.png: there is no such file"), "{seen}: {why}");
}

#[test]
fn a_folder_may_have_an_at_in_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("me@host").join("model@1");
    fs::create_dir_all(&model).unwrap();
    let model = model.to_str().unwrap();
    assert_eq!(BenchModel::named(model), (model, None));
    let with_card = format!("{model}@other@2.toml");
    assert_eq!(BenchModel::named(&with_card), (model, Some(Path::new("other@2.toml"))));
    assert_eq!(BenchModel::named("demo"), ("demo", None));
    let card = format!("{model}/card.toml");
    assert_eq!(BenchModel::named(&format!("demo@{card}")), ("demo", Some(Path::new(&card))));
}

#[test]
fn names_of_groups_and_subsets_have_no_null() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pairs.jsonl");
    // A null begins the names that pairs without a group are given.
    for field in ["group", "subset"] {
        let line = format!("{{\"clip\": \"a.mp4\", \"caption\": \"a\", \"{field}\": \"\\u0000b\"}}\n");
        fs::write(&path, line).unwrap();
        let source = PairSource::open(&path, &PairOptions::default()).unwrap();
        let error = source.each(&mut |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains("or a null"), "{error}");
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_gives_no_figures() {
    let folder = tempfile::tempdir().unwrap();
    let source = world(folder.path());
    let survey = Survey::of(&source).unwrap();
    let files = Files::of(&source);
    let opener = files.opener();
    let (model, own): (Arc<dyn ImageText>, _) = (Arc::new(demo()), demo_card());
    let before = Distractors::choose(&source, &TextEncoder::new(Arc::clone(&model))).unwrap();
    let changed = |result: nexis_core::Result<()>| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains("it changed while it was read; run it again"), "{error}");
    };
    let text = fs::read_to_string(source.path()).unwrap();
    fs::write(source.path(), format!("{text}\n")).unwrap();
    let after = Distractors::choose(&source, &TextEncoder::new(Arc::clone(&model))).unwrap();

    let never = StopAfter::new(u64::MAX);
    let options = FitOptions::default();
    let models = [bench_model("demo", Arc::clone(&model), None)];
    changed(align(&models, &opener, None, &survey, &options.report, &never).map(|_| ()));
    changed(pairs_at(&source, &survey, &BTreeSet::from([3])).map(|_| ()));
    for distractors in [&before, &after] {
        let fitted = fit_pairs(&model, &own, distractors, &opener, None, &survey, &options, &never);
        changed(fitted.map(|_| ()));
    }
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
    assert!(!first.is_empty() && !second.is_empty());
    assert!(first.iter().all(|(_, shown)| second.iter().all(|(_, other)| shown != other)));
    let mut both = [first, second].concat();
    both.sort();
    assert_eq!(both, rows(None));
    for wrong in ["0/2", "3/2", "1", "1/x", "1/2000"] {
        assert!(wrong.parse::<Part>().is_err(), "{wrong}");
    }
}
