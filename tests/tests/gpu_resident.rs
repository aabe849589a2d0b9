//! Frames that stay on the device between its decoder and its encoder: the same pixels, the same embeddings, and memory that comes
//! back.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nexis_core::hash::Digest;
use nexis_core::media::hardware::{DeviceConverter, DevicePicture};
use nexis_core::media::yuv::{Chroma, Depth, Matrix, Plane, Yuv, rotate};
use nexis_core::media::{
    ClipProbe, DecodedClip, FfmpegDecoder, Frame, FrameRequest, MediaDecoder, MediaFailure, MediaLimits,
    Pixels,
};
use nexis_core::model::card::DoubtBand;
use nexis_core::model::judge::{Answer, Ask, Judge, JudgeIdentity};
use nexis_core::model::towers::Towers;
use nexis_core::model::{DualEncoder, ImageText};
use nexis_core::package::{DirectorySource, ExpectedMiner};
use nexis_core::protocol::{Category, Hotkey, IntervalId};
use nexis_core::report::RowReport;
use nexis_core::synth::{ClipStyle, PackagePlan, RowPlan};
use nexis_core::verifier::{Observer, RowJudge, Submission, Verifier, VerifierOptions};
use nexis_core::{Error, Result};
use nexis_gpu::Several;
use nexis_gpu::compute::{Compute, Format};
use nexis_gpu::encode::{DeviceTowers, EncodeOptions};
use nexis_gpu::pictures::Pictures;
use nexis_gpu::resident::{Pool, Resident};
use nexis_tests::emulated::{Emulated, EmulatedMemory};
use nexis_tests::opinion::{Opinion, opinionated};
use nexis_tests::random_clip::models;
use nexis_tests::{device_tests, fixture};

/// Bytes of a pool that every picture here finds room in.
const ROOMY: usize = 64 << 20;

/// A CLIP, and a SigLIP, whose pictures are resized by another filter.
const EACH_KIND: [&str; 2] = ["quick_f32", "siglip2_bf16"];

fn options() -> EncodeOptions {
    EncodeOptions { format: Format::Bf16, pictures: 8, texts: 4, max_pixels: 64 * 64 }
}

fn load<C: Compute>(name: &str, devices: impl IntoIterator<Item = C>) -> DualEncoder {
    DualEncoder::load_on(models().join(name), Some(name.to_owned()), |plan| {
        let each = devices.into_iter().map(|device| -> Result<Box<dyn Towers>> {
            Ok(Box::new(DeviceTowers::load(device, plan, options())?))
        });
        let each = each.collect::<Result<Vec<_>>>()?;
        Ok(Box::new(Several::of_towers(each, &plan.sizes())?))
    })
    .unwrap()
}

fn converter<C: Compute>(
    lanes: impl IntoIterator<Item = C>,
    bound: usize,
) -> (Pictures<C>, Arc<Pool<C::Memory>>) {
    let pool = Pool::new(bound);
    (Pictures::new(lanes, |_| Ok(()), Arc::clone(&pool)).unwrap(), pool)
}

fn bits(rows: &ndarray::Array2<f32>) -> Vec<u32> {
    rows.iter().map(|x| x.to_bits()).collect()
}

fn embedded(model: &DualEncoder, frames: &[Frame]) -> Vec<u32> {
    bits(&model.encode_tiles(frames, 16).unwrap())
}

/// Waits for what was asked of a device.
fn wait<C: Compute>(device: &C, memory: &C::Memory) {
    device.download(C::span(memory), &mut []).unwrap();
}

/// What a device's decoder would leave there: noise, with rows that are longer than the picture.
struct Decoded<M> {
    picture: DevicePicture,
    luma: Vec<u8>,
    chroma: Vec<u8>,
    _memory: [M; 2],
}

impl<M> Decoded<M> {
    fn on<C: Compute<Memory = M>>(device: &C, width: u32, height: u32, depth: Depth, seed: u32) -> Self {
        let sample = if depth == Depth::Eight { 1 } else { 2 };
        let stride = (width as usize + 6) * sample;
        let noise = |rows: u32, seed: u32| -> Vec<u8> {
            let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
            let step = |_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            };
            (0..stride * rows as usize).map(step).collect()
        };
        let planes = [noise(height, seed), noise(height / 2, seed + 1000)];
        let memory = planes.each_ref().map(|bytes| {
            let memory = device.allocate(bytes.len()).unwrap().unwrap();
            device.upload(bytes, C::span(&memory)).unwrap();
            wait(device, &memory);
            memory
        });
        let picture = DevicePicture {
            width,
            height,
            depth,
            planes: memory.each_ref().map(|memory| C::span(memory).address()),
            strides: [stride as u32; 2],
            matrix: Matrix::Bt709,
            full_range: seed % 2 == 1,
        };
        let [luma, chroma] = planes;
        Self { picture, luma, chroma, _memory: memory }
    }

    /// The frame as the processor makes it.
    fn expected(&self, degrees: u16) -> Frame {
        let DevicePicture { width, height, depth, strides, matrix, full_range, .. } = self.picture;
        let plane = |bytes, at: usize| Plane { bytes, stride: strides[at] as usize };
        let yuv = Yuv {
            width,
            height,
            depth,
            log2_x: 1,
            log2_y: 1,
            luma: plane(&self.luma, 0),
            chroma: Chroma::Interleaved(plane(&self.chroma, 1)),
            matrix,
            full_range,
        };
        let (width, height, rgb) = rotate(yuv.to_rgb().unwrap(), width, height, degrees);
        Frame { width, height, pts_seconds: 0.0, rgb: rgb.into() }
    }

    fn converted(&self, converter: &dyn DeviceConverter, degrees: u16) -> Frame {
        Frame { rgb: converter.to_rgb(&self.picture, degrees).unwrap(), ..self.expected(degrees) }
    }
}

/// Several pictures of two sizes on a device.
fn some<C: Compute>(device: &C, count: u32) -> Vec<Decoded<C::Memory>> {
    let size = |i| if i % 3 == 2 { (34, 60) } else { (60, 34) };
    (0..count).map(|i| Decoded::on(device, size(i).0, size(i).1, Depth::Eight, i)).collect()
}

fn copy<C: Compute>(frame: &Frame) -> Option<&Resident<C::Memory>> {
    frame.rgb.copy()
}

/// Writes other pixels where a frame's copy is, which no decoder would do: they show who reads it. The frame with these on the
/// host.
fn tampered<C: Compute>(device: &C, frame: &Frame) -> Frame {
    let other: Vec<u8> = frame.rgb.iter().map(|byte| !byte).collect();
    let memory = copy::<C>(frame).unwrap().memory().unwrap();
    device.upload(&other, C::span(memory)).unwrap();
    wait(device, memory);
    Frame { rgb: other.into(), ..frame.clone() }
}

fn pixels_are_the_processors_in_both_places<C: Compute>(open: impl Fn() -> C) {
    let device = open();
    // With room on the device, and without.
    for bound in [ROOMY, 0] {
        let (converter, pool) = converter([open(), open()], bound);
        let mut kept = Vec::new();
        for depth in [Depth::Eight, Depth::TenHigh] {
            for ((width, height), degrees) in
                [(60, 34), (2, 2), (34, 60), (64, 36)].into_iter().zip([0, 90, 180, 270])
            {
                let decoded = Decoded::on(&device, width, height, depth, width + height);
                let (found, expected) = (decoded.converted(&converter, degrees), decoded.expected(degrees));
                assert!(found == expected, "{width}x{height} {depth:?} {degrees}");
                assert_eq!(found.rgb.has_copy(), bound > 0);
                if let Some(copy) = copy::<C>(&found) {
                    let memory = copy.memory().unwrap();
                    assert!(device.reaches(memory));
                    let there = device.fetch(C::span(memory).part(0, copy.bytes()).unwrap()).unwrap();
                    assert!(*there == *expected.rgb, "{width}x{height} {depth:?} {degrees}");
                }
                kept.push(found);
            }
        }
        assert_eq!(pool.lent() > 0, bound > 0);
        drop(kept);
        assert_eq!(pool.lent(), 0);
    }
}

fn the_encoder_reads_the_copy_and_gives_the_bits_of_the_host<C: Compute>(open: impl Fn() -> C) {
    let device = open();
    let (converter, pool) = converter([open()], ROOMY);
    for name in EACH_KIND {
        let model = load(name, [open()]);
        let decoded = some(&device, 5);
        let mut frames: Vec<Frame> = decoded.iter().map(|picture| picture.converted(&converter, 0)).collect();
        let on_host: Vec<Frame> = decoded.iter().map(|picture| picture.expected(0)).collect();
        assert_eq!(embedded(&model, &frames), embedded(&model, &on_host));
        // Copies that differ on purpose are what is encoded, and no longer once a frame has left the device.
        let others: Vec<Frame> = frames.iter().map(|frame| tampered(&device, frame)).collect();
        assert_eq!(embedded(&model, &frames), embedded(&model, &others));
        assert_ne!(embedded(&model, &others), embedded(&model, &on_host));
        frames[1].leave_device();
        let mixed: Vec<Frame> =
            (0..5).map(|i| if i == 1 { on_host[i].clone() } else { others[i].clone() }).collect();
        assert_eq!(embedded(&model, &frames), embedded(&model, &mixed));
        assert_eq!(pool.lent(), 4 * (pool.taken() / 5));
        drop(frames);
        assert_eq!(pool.lent(), 0);
    }
}

fn threads_that_decode_and_encode_at_once_change_no_bit<C: Compute>(open: impl Fn() -> C) {
    const THREADS: u32 = 6;
    let device = open();
    let model = load("quick_f32", [open()]);
    // Room for some of the frames that are there at once: the others are uploaded.
    let (converter, pool) = converter([open(), open(), open()], 8 << 20);
    let decoded: Vec<_> = (0..THREADS).map(|i| some(&device, 2 + i % 3)).collect();
    let expected: Vec<_> = decoded
        .iter()
        .map(|clip| embedded(&model, &clip.iter().map(|picture| picture.expected(0)).collect::<Vec<_>>()))
        .collect();
    let copies = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for (clip, expected) in decoded.iter().zip(&expected) {
            let (model, converter, pool, copies) = (&model, &converter, &pool, &copies);
            scope.spawn(move || {
                for _ in 0..8 {
                    let frames: Vec<Frame> =
                        clip.iter().map(|picture| picture.converted(converter, 0)).collect();
                    assert!(pool.taken() <= 8 << 20);
                    copies.fetch_add(
                        frames.iter().filter(|frame| frame.rgb.has_copy()).count(),
                        Ordering::SeqCst,
                    );
                    assert!(embedded(model, &frames) == *expected);
                }
            });
        }
    });
    assert!(copies.into_inner() > 0);
    assert_eq!(pool.lent(), 0);
}

device_tests!(
    pixels_are_the_processors_in_both_places,
    the_encoder_reads_the_copy_and_gives_the_bits_of_the_host,
    threads_that_decode_and_encode_at_once_change_no_bit,
);

/// Bytes that are uploaded while something is done.
fn uploaded<R>(device: &Emulated, work: impl FnOnce() -> R) -> usize {
    let count = device.uploaded();
    let before = count.load(Ordering::SeqCst);
    work();
    count.load(Ordering::SeqCst) - before
}

#[test]
fn frames_of_the_device_are_not_uploaded() {
    let device = Emulated::default();
    let model = load("quick_f32", [device.clone()]);
    let (converter, _) = converter([device.clone()], ROOMY);
    let decoded = some(&device, 4);
    let frames: Vec<Frame> = decoded.iter().map(|picture| picture.converted(&converter, 0)).collect();
    // The first time, what a size is resized by goes there.
    embedded(&model, &frames);
    assert_eq!(uploaded(&device, || embedded(&model, &frames)), 0);
    let on_host: Vec<Frame> = decoded.iter().map(|picture| picture.expected(0)).collect();
    assert_eq!(uploaded(&device, || embedded(&model, &on_host)), 4 * 60 * 34 * 3);
}

#[test]
fn a_picture_takes_no_memory_once_one_of_its_size_was_there() {
    let device = Emulated::default();
    let (converter, pool) = converter([device.clone()], ROOMY);
    let picture = &some(&device, 1)[0];
    let frames: Vec<Frame> = (0..3).map(|_| picture.converted(&converter, 0)).collect();
    let taken = (pool.taken(), device.allocations());
    drop(frames);
    for _ in 0..5 {
        drop([picture.converted(&converter, 0), picture.converted(&converter, 0)]);
    }
    assert_eq!((pool.taken(), device.allocations()), taken);
}

#[test]
fn another_devices_copy_is_not_read() {
    let (device, other) = (Emulated::default(), Emulated::default());
    let model = load("quick_f32", [device.clone()]);
    let (converter, _) = converter([other.clone()], ROOMY);
    let decoded = some(&other, 3);
    let frames: Vec<Frame> = decoded.iter().map(|picture| picture.converted(&converter, 0)).collect();
    let on_host: Vec<Frame> = decoded.iter().map(|picture| picture.expected(0)).collect();
    let expected = embedded(&model, &on_host);
    frames.iter().for_each(|frame| drop(tampered(&other, frame)));
    assert_eq!(uploaded(&device, || assert_eq!(embedded(&model, &frames), expected)), 3 * 60 * 34 * 3);
}

#[test]
fn what_one_of_several_devices_decoded_another_takes_from_the_host() {
    let devices = [Emulated::default(), Emulated::default()];
    let model = load("quick_f32", devices.clone());
    let (converter, _) = converter([devices[0].clone()], ROOMY);
    let decoded = some(&devices[0], 3);
    let frames: Vec<Frame> = decoded.iter().map(|picture| picture.converted(&converter, 0)).collect();
    let on_host: Vec<Frame> = decoded.iter().map(|picture| picture.expected(0)).collect();
    let expected = embedded(&model, &on_host);
    let bytes = 3 * 60 * 34 * 3;
    // One call at a time goes to the first device, and to the second when that has failed once.
    assert_eq!(uploaded(&devices[0], || assert_eq!(embedded(&model, &frames), expected)), 0);
    devices[0].broken().store(true, Ordering::SeqCst);
    assert!(model.encode_tiles(&frames, 16).is_err());
    embedded(&model, &frames);
    assert_eq!(uploaded(&devices[1], || assert_eq!(embedded(&model, &frames), expected)), bytes);
}

#[test]
fn nothing_is_under_way_when_frames_are_let_go_of() {
    let device = Emulated::default();
    let (converter, pool) = converter([device.clone()], ROOMY);
    let frames: Vec<Frame> =
        some(&device, 3).iter().map(|picture| picture.converted(&converter, 0)).collect();
    assert!(!device.is_busy());
    embedded(&load("quick_f32", [device.clone()]), &frames);
    assert!(!device.is_busy());
    // Rows were read from the copies, and then no input came of them.
    let model = load("quick_f32", [device.lacking("patches_to_input_bf16")]);
    let error = model.encode_tiles(&frames, 16).unwrap_err().to_string();
    assert!(error.contains("lacks it") && !device.is_busy(), "{error}");
    drop(frames);
    assert_eq!(pool.lent(), 0);
    // A device that fails while a picture is converted holds none of its memory.
    let picture = &some(&device, 1)[0];
    device.broken().store(true, Ordering::SeqCst);
    assert!(converter.to_rgb(&picture.picture, 0).is_err());
    assert_eq!(pool.lent(), 0);
    device.broken().store(false, Ordering::SeqCst);
    assert!(picture.converted(&converter, 0) == picture.expected(0));
}

#[test]
fn a_device_without_room_has_no_copies() {
    let device = Emulated::with_room(4 << 20);
    let (converter, pool) = converter([device.clone()], ROOMY);
    let picture = &some(&device, 1)[0];
    let frames: Vec<Frame> = (0..3).map(|_| picture.converted(&converter, 0)).collect();
    assert!(frames.iter().all(|frame| *frame == picture.expected(0)));
    let copies: Vec<bool> = frames.iter().map(|frame| frame.rgb.has_copy()).collect();
    assert_eq!(copies, [true, false, false]);
    assert_eq!((pool.lent(), pool.taken()), (2 << 20, 2 << 20));
}

/// FFmpeg's pictures, put onto a device as if its decoder had left them there.
struct Left {
    device: Emulated,
    pool: Arc<Pool<EmulatedMemory>>,
}

impl Left {
    fn on(&self, frame: Frame) -> Frame {
        let resident = self.pool.lend(frame.rgb.len(), |size| self.device.allocate(size)).unwrap().unwrap();
        self.device.upload(&frame.rgb, Emulated::span(resident.memory().unwrap())).unwrap();
        Frame { rgb: Pixels::with_copy(Arc::from(&*frame.rgb), Arc::new(resident)), ..frame }
    }
}

impl MediaDecoder for Left {
    fn name(&self) -> String {
        FfmpegDecoder::default().name()
    }

    fn probe(&self, clip: &Path, limits: &MediaLimits) -> Result<ClipProbe, MediaFailure> {
        FfmpegDecoder::default().probe(clip, limits)
    }

    fn decode(
        &self,
        clip: &Path,
        request: &FrameRequest,
        limits: &MediaLimits,
    ) -> Result<DecodedClip, MediaFailure> {
        let clip = FfmpegDecoder::default().decode(clip, request, limits)?;
        let frames = clip.frames.into_iter().map(|frame| self.on(frame)).collect();
        Ok(DecodedClip { frames, first: clip.first.map(|frame| self.on(frame)), ..clip })
    }
}

/// A judge that remembers how many frames were on the device when it was asked, and how much was lent.
struct Watching {
    identity: JudgeIdentity,
    pool: Arc<Pool<EmulatedMemory>>,
    seen: Mutex<Vec<(usize, usize)>>,
}

impl Judge for Watching {
    fn identity(&self) -> &JudgeIdentity {
        &self.identity
    }

    fn answer(&self, asks: &[Ask<'_>]) -> Result<Vec<Answer>> {
        let frames = asks.iter().flat_map(|ask| ask.frames).filter(|frame| frame.rgb.has_copy()).count();
        self.seen.lock().unwrap().push((frames, self.pool.lent()));
        Ok(vec![Answer::Yes(0.75); asks.len()])
    }
}

/// Remembers the same of the frames that are shown.
struct Shown(Arc<Pool<EmulatedMemory>>, Mutex<Vec<(usize, usize)>>);

impl Observer for Shown {
    fn row_judged(&self, _: &Hotkey, _: IntervalId, _: &RowReport, frames: &[Frame]) {
        assert_eq!(frames.len(), 6);
        let copies = frames.iter().filter(|frame| frame.rgb.has_copy()).count();
        self.1.lock().unwrap().push((copies, self.0.lent()));
    }
}

#[test]
fn frames_leave_the_device_once_they_are_embedded() {
    let device = Emulated::default();
    let pool = Pool::new(ROOMY);
    let model = Arc::new(load("quick_f32", [device.clone()]));
    // Every caption is left to the judge.
    let (_, card) = opinionated("quick_f32", Opinion::YES, |card| {
        card.alignment.doubt = Some(DoubtBand { from: 0.0, below: 1.0 });
    });
    let decoder = Arc::new(Left { device: device.clone(), pool: Arc::clone(&pool) });
    let identity = JudgeIdentity { model: model.identity().clone(), prompt: Digest::of("no prompt") };
    let watching = Arc::new(Watching { identity, pool: Arc::clone(&pool), seen: Mutex::default() });
    let seen = || std::mem::take(&mut *watching.seen.lock().unwrap());
    let judge = RowJudge::new(decoder, model, card, MediaLimits::default(), 16)
        .unwrap()
        .with_judge(Arc::clone(&watching) as Arc<dyn Judge>, 100);

    let clip = fixture("media/clips/h264-bframes.mp4");
    let caption = "a river between two hills";
    let scores = judge.score(&clip, caption).unwrap();
    let frames = scores.decoded.frames;
    assert_eq!((seen(), frames.len(), pool.lent()), (vec![(0, 0)], 6, 0));
    // What is put there as the decoder's is all that goes there: as much as the encoder uploads where it has to.
    let as_decoded = uploaded(&device, || judge.score(&clip, caption).unwrap());
    assert_eq!(uploaded(&device, || judge.score_frames(&frames, caption).unwrap()), as_decoded);
    let inspected = judge.inspect(&clip, None).unwrap();
    assert_eq!((inspected.decoded.frames.len(), pool.lent()), (6, 0));
    let mut embedded = judge.score_frames(&frames, caption).unwrap();
    seen();
    let again = || -> Result<_, Error> { Ok(judge.decode(&clip).unwrap().frames) };
    judge.settle_embedded(caption, true, &mut embedded, again).unwrap();
    assert_eq!((seen(), pool.lent()), (vec![(0, 0)], 0));

    // The same for a row of a package, whose first frame is decoded as well.
    let root = tempfile::tempdir().unwrap();
    let hotkey = Hotkey::new("5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY");
    let interval = IntervalId::new(7_756_900);
    let plan = PackagePlan {
        interval,
        created_at: "2026-04-10T12:00:00Z".parse().unwrap(),
        rows: vec![RowPlan::new(1, Category::Nature)],
        style: ClipStyle { fps: 6, ..ClipStyle::default() },
        attack: None,
        hotkey: hotkey.clone(),
    };
    plan.write(root.path(), None, &|| {}).unwrap();
    let submission = Submission {
        miner: ExpectedMiner::Bucket(hotkey.bucket_name()),
        interval,
        label: hotkey.to_string(),
        source: Arc::new(DirectorySource::new(root.path().to_owned())),
    };
    let shown = Shown(Arc::clone(&pool), Mutex::default());
    let now = "2026-04-10T13:00:00Z".parse().unwrap();
    Verifier::new(judge, VerifierOptions::default()).verify(&[submission], now, &shown).unwrap();
    assert_eq!((seen(), pool.lent()), (vec![(0, 0)], 0));
    assert_eq!(*shown.1.lock().unwrap(), [(0, 0)]);
}
