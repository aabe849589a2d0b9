//! Several devices in the place of one: on emulated devices always, on a GPU that stands for two where there is one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use nexis_core::media::{
    ClipProbe, DecodedClip, FfmpegDecoder, Frame, FrameRequest, MediaDecoder, MediaFailure, MediaLimits,
};
use nexis_core::model::towers::Towers;
use nexis_core::model::{DualEncoder, ImageText};
use nexis_core::{Error, Result};
use nexis_gpu::Several;
use nexis_gpu::compute::{Compute, Format};
use nexis_gpu::encode::{DeviceTowers, EncodeOptions};
use nexis_gpu::watched::Watched;
use nexis_tests::emulated::Emulated;
use nexis_tests::image_text::{contract, lcg_picture};
use nexis_tests::random_clip::models;
use nexis_tests::{device_tests, fixture};

fn load<C: Compute>(name: &str, devices: impl IntoIterator<Item = C>) -> Result<DualEncoder> {
    // Batches of different sizes, as on devices of which one has less room left.
    let options = |pictures| EncodeOptions { format: Format::Bf16, pictures, texts: 4, max_pixels: 64 * 64 };
    DualEncoder::load_on(models().join(name), None, |plan| {
        let devices = devices.into_iter().zip([16, 8].into_iter().cycle());
        let each = devices.map(|(device, pictures)| -> Result<Box<dyn Towers>> {
            Ok(Box::new(DeviceTowers::load(device, plan, options(pictures))?))
        });
        let each = each.collect::<Result<Vec<_>>>()?;
        Ok(Box::new(Several::of_towers(each, &plan.sizes())?))
    })
}

fn clip(i: u64) -> Vec<Frame> {
    let frame = |j| Frame {
        width: 60,
        height: 34,
        pts_seconds: 0.0,
        rgb: lcg_picture(i * 8 + j, 60).rgb[..60 * 34 * 3].into(),
    };
    (0..1 + i % 3).map(frame).collect()
}

fn bits(rows: &ndarray::Array2<f32>) -> Vec<u32> {
    rows.iter().map(|x| x.to_bits()).collect()
}

const TEXTS: [&str; 3] = ["a river", "two white clouds over a lake", "snow"];

/// On one GPU, which is opened twice, its second opening stands for another of its kind.
fn two_devices_give_the_bits_of_one<C: Compute>(open: impl Fn() -> C) {
    for name in ["quick_f32", "siglip2_bf16"] {
        let alone = load(name, [open()]).unwrap();
        let both = load(name, [open(), open()]).unwrap();
        let device = alone.identity().device.clone();
        assert_eq!(both.identity().device, format!("{device} and {device}"));
        asked_by_many_it_gives_the_bits_of(&both, &alone);
    }
}

/// Six threads at once, each with a clip of its own and the same texts.
fn asked_by_many_it_gives_the_bits_of(both: &DualEncoder, alone: &DualEncoder) {
    let expected: Vec<_> = (0..6).map(|i| bits(&alone.encode_tiles(&clip(i), 16).unwrap())).collect();
    let read = bits(&alone.encode_text(&TEXTS).unwrap());
    let together = Barrier::new(expected.len());
    std::thread::scope(|scope| {
        for (i, expected) in expected.iter().enumerate() {
            let (read, together) = (&read, &together);
            scope.spawn(move || {
                together.wait();
                for _ in 0..3 {
                    assert!(bits(&both.encode_tiles(&clip(i as u64), 16).unwrap()) == *expected, "clip {i}");
                    assert!(bits(&both.encode_text(&TEXTS).unwrap()) == *read);
                }
            });
        }
    });
}

device_tests!(two_devices_give_the_bits_of_one);

#[test]
fn both_devices_have_something_to_do() {
    let alone = load("quick_f32", [Emulated::default()]).unwrap();
    let devices = [Emulated::default(), Emulated::backwards()];
    let products = devices.each_ref().map(Emulated::products);
    let both = load("quick_f32", devices).unwrap();
    let before = products.each_ref().map(|count| count.load(Ordering::SeqCst));
    asked_by_many_it_gives_the_bits_of(&both, &alone);
    for (count, before) in products.iter().zip(before) {
        assert!(count.load(Ordering::SeqCst) > before, "a device had nothing to do");
    }
    contract(&both);
}

#[test]
fn devices_that_compute_differently_are_refused() {
    for name in ["quick_f32", "siglip2_bf16"] {
        load(name, [Emulated::with_other_sums(), Emulated::with_other_sums()]).unwrap();
        let found = load(name, [Emulated::default(), Emulated::default(), Emulated::with_other_sums()]);
        let error = found.err().unwrap();
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains("other embeddings of the same picture and text"), "{error}");
    }
    assert!(matches!(load::<Emulated>("quick_f32", []), Err(Error::Internal(_))));
}

/// A model on two devices, and what breaks each.
fn on_two() -> (DualEncoder, [Arc<AtomicBool>; 2]) {
    let devices = [Emulated::default(), Emulated::default()];
    let broken = devices.each_ref().map(Emulated::broken);
    (load("quick_f32", devices).unwrap(), broken)
}

fn is_off_the_bus(failure: &MediaFailure) -> bool {
    matches!(failure, MediaFailure::Ours(error) if error.to_string().contains("fallen off the bus"))
}

#[test]
fn a_device_that_fails_is_trouble_of_ours() {
    for reads in [false, true] {
        let (model, broken) = on_two();
        let expected = bits(&model.encode_tiles(&clip(1), 16).unwrap());
        // One call at a time goes to the first device; it is not tried again on the second.
        broken[0].store(true, Ordering::SeqCst);
        if reads {
            assert!(model.encode_text(&["a river"]).is_err());
        } else {
            let found = model.encode_tiles(&clip(1), 16);
            assert!(found.as_ref().is_err_and(is_off_the_bus), "{found:?}");
        }
        // What is asked next, the second answers.
        assert!(bits(&model.encode_tiles(&clip(1), 16).unwrap()) == expected);
        // Where both fail there is no answer, and the first gives it once it is whole again.
        broken[1].store(true, Ordering::SeqCst);
        assert!(model.encode_text(&["a river"]).is_err());
        broken[0].store(false, Ordering::SeqCst);
        assert!(bits(&model.encode_tiles(&clip(1), 16).unwrap()) == expected);
    }
    // A device that is broken when the model is loaded is not left out.
    let device = Emulated::default();
    device.broken().store(true, Ordering::SeqCst);
    assert!(load("quick_f32", [Emulated::default(), device]).is_err());
}

#[test]
fn a_broken_device_takes_few_calls_of_many_threads() {
    const THREADS: usize = 6;
    const CALLS: usize = 20;
    let (model, broken) = on_two();
    let expected: Vec<_> =
        (0..THREADS).map(|i| bits(&model.encode_tiles(&clip(i as u64), 16).unwrap())).collect();
    broken[0].store(true, Ordering::SeqCst);
    let (failed, together) = (AtomicUsize::new(0), Barrier::new(THREADS));
    std::thread::scope(|scope| {
        for (i, expected) in expected.iter().enumerate() {
            let (model, failed, together) = (&model, &failed, &together);
            scope.spawn(move || {
                together.wait();
                for _ in 0..CALLS {
                    match model.encode_tiles(&clip(i as u64), 16) {
                        Ok(found) => assert!(bits(&found) == *expected, "clip {i}"),
                        Err(failure) => {
                            assert!(is_off_the_bus(&failure), "{failure:?}");
                            failed.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
    });
    // One of each thread, before the first failure is known, and then at most one behind every sixteen.
    let failed = failed.into_inner();
    assert!((1..=THREADS + THREADS * CALLS / 17).contains(&failed), "{failed} of {}", THREADS * CALLS);
}

/// A decoder that counts its clips, and waits with the first until another has begun one.
struct Counted {
    clips: Arc<AtomicUsize>,
    together: Arc<Barrier>,
    fails: bool,
}

impl MediaDecoder for Counted {
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
        if self.clips.fetch_add(1, Ordering::SeqCst) == 0 {
            self.together.wait();
        }
        if self.fails {
            return Err(Error::Decoder("the device is gone".to_owned()).into());
        }
        FfmpegDecoder::default().decode(clip, request, limits)
    }
}

fn decoders(fails: [bool; 2]) -> (Several<Arc<dyn MediaDecoder>>, [Arc<AtomicUsize>; 2]) {
    let (counts, together): ([Arc<AtomicUsize>; 2], _) = (Default::default(), Arc::new(Barrier::new(2)));
    let each = counts.iter().zip(fails).map(|(clips, fails)| -> Arc<dyn MediaDecoder> {
        Arc::new(Counted { clips: Arc::clone(clips), together: Arc::clone(&together), fails })
    });
    (Several::of_decoders(each.collect()).unwrap(), counts)
}

fn some_clips() -> Vec<PathBuf> {
    ["h264-bframes.mp4", "vp9.webm", "h264-vfr.mp4"].map(|name| fixture("media/clips").join(name)).to_vec()
}

#[test]
fn clips_are_shared_out_between_decoders() {
    let (request, limits) = (FrameRequest::Spread { count: 6, first: true }, MediaLimits::default());
    let (both, counts) = decoders([false, false]);
    assert_eq!(both.name(), FfmpegDecoder::default().name());
    let clips = some_clips();
    std::thread::scope(|scope| {
        for clip in &clips {
            let (both, request, limits) = (&both, &request, &limits);
            scope.spawn(move || {
                let expected = FfmpegDecoder::default().decode(clip, request, limits).unwrap();
                assert_eq!(both.probe(clip, limits).unwrap(), expected.probe);
                let found = both.decode(clip, request, limits).unwrap();
                assert!(found.frames == expected.frames && found.first == expected.first, "{clip:?}");
            });
        }
    });
    let counts = counts.map(|count| count.load(Ordering::SeqCst));
    assert!(counts[0] > 0 && counts[1] > 0 && counts[0] + counts[1] == clips.len(), "{counts:?}");
}

#[test]
fn a_decoder_that_fails_is_trouble_of_ours() {
    let (request, limits) = (FrameRequest::Spread { count: 2, first: false }, MediaLimits::default());
    let (both, _) = decoders([true, false]);
    let clip = &some_clips()[0];
    let found: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(|| both.decode(clip, &request, &limits))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let ours = found.iter().filter(|found| matches!(found, Err(MediaFailure::Ours(_)))).count();
    assert_eq!((ours, found.iter().filter(|found| found.is_ok()).count()), (1, 1), "{found:?}");
}

/// A decoder that fails as it is told, and counts its calls.
#[derive(Default)]
struct Told {
    failure: Mutex<Option<fn() -> MediaFailure>>,
    calls: AtomicUsize,
}

impl MediaDecoder for Told {
    fn name(&self) -> String {
        "told".to_owned()
    }

    fn probe(&self, _: &Path, _: &MediaLimits) -> Result<ClipProbe, MediaFailure> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let failure = *self.failure.lock().unwrap();
        failure.map_or_else(
            || {
                Ok(ClipProbe {
                    width: 64,
                    height: 36,
                    codec: "h264".to_owned(),
                    pixel_format: "yuv420p".to_owned(),
                    fps: 25.0,
                    duration_seconds: 5.0,
                    frame_count: None,
                    rotation: 0,
                    has_audio: false,
                })
            },
            |failure| Err(failure()),
        )
    }

    fn decode(
        &self,
        clip: &Path,
        _: &FrameRequest,
        limits: &MediaLimits,
    ) -> Result<DecodedClip, MediaFailure> {
        let probe = self.probe(clip, limits)?;
        Ok(DecodedClip { decoder: self.name(), left: None, probe, frames: Vec::new(), first: None })
    }
}

#[test]
fn one_that_fails_is_passed_over_and_comes_back() {
    let each = [Arc::new(Told::default()), Arc::new(Told::default())];
    let several =
        Several::of_decoders(each.iter().map(|told| Arc::clone(told) as Arc<dyn MediaDecoder>).collect())
            .unwrap();
    let (request, limits) = (FrameRequest::Spread { count: 6, first: false }, MediaLimits::default());
    let ask = |_: &usize| several.decode(Path::new("clip.mp4"), &request, &limits).is_err();
    let calls = || each.each_ref().map(|told| told.calls.load(Ordering::SeqCst));
    let tell = |failure| *each[0].failure.lock().unwrap() = failure;
    // It is asked again behind 16 calls, then behind 32, and so on.
    tell(Some(|| Error::Decoder("the device is gone".to_owned()).into()));
    assert_eq!((0..1000).filter(ask).collect::<Vec<_>>(), [0, 17, 50, 115, 244, 501]);
    assert_eq!(calls(), [6, 994]);
    // Once it works, it takes its share again as soon as it has rested, behind 512 calls, and its failures are forgotten.
    tell(None);
    assert_eq!((0..14).filter(ask).count(), 0);
    assert_eq!(calls(), [6, 1008]);
    assert_eq!((0..10).filter(ask).count(), 0);
    assert_eq!(calls(), [16, 1008]);
    tell(Some(|| Error::Decoder("the device is gone".to_owned()).into()));
    assert_eq!((0..40).filter(ask).collect::<Vec<_>>(), [0, 17]);
    tell(None);
    assert_eq!((0..40).filter(ask).count(), 0);
    // A clip's fault says nothing about a device.
    let [first, second] = calls();
    tell(Some(|| MediaFailure::Clip("no clip".to_owned())));
    assert_eq!((0..20).filter(ask).count(), 20);
    assert_eq!(calls(), [first + 20, second]);
}

/// What a device's decoder makes of a clip.
#[derive(Clone, Copy)]
enum Does {
    Decodes,
    Leaves,
    NeverHad,
    Refuses,
}

/// A device's decoder that does as it is told and counts its clips.
struct Device {
    name: &'static str,
    does: Mutex<Does>,
    clips: AtomicUsize,
}

impl Device {
    fn new(name: &'static str, does: Does) -> Arc<Self> {
        Arc::new(Self { name, does: Mutex::new(does), clips: AtomicUsize::new(0) })
    }

    fn clips(&self) -> usize {
        self.clips.load(Ordering::SeqCst)
    }
}

impl MediaDecoder for Device {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn probe(&self, clip: &Path, limits: &MediaLimits) -> Result<ClipProbe, MediaFailure> {
        Told::default().probe(clip, limits)
    }

    fn decode(
        &self,
        clip: &Path,
        request: &FrameRequest,
        limits: &MediaLimits,
    ) -> Result<DecodedClip, MediaFailure> {
        self.clips.fetch_add(1, Ordering::SeqCst);
        let does = *self.does.lock().unwrap();
        let (decoder, left) = match does {
            Does::Decodes => (self.name.to_owned(), None),
            Does::Leaves => ("processor".to_owned(), Some("it has fallen off the bus".to_owned())),
            Does::NeverHad => ("processor".to_owned(), None),
            Does::Refuses => return Err(MediaFailure::Clip("no clip".to_owned())),
        };
        Ok(DecodedClip { decoder, left, ..Told::default().decode(clip, request, limits)? })
    }
}

/// A watched device, and what decodes one clip and names who did.
fn watched(device: &Arc<Device>) -> (Watched, impl Fn(&Watched) -> Option<String>) {
    let watched = Watched::new(Arc::clone(device) as Arc<dyn MediaDecoder>);
    let (request, limits) = (FrameRequest::Spread { count: 6, first: false }, MediaLimits::default());
    let decode = move |watched: &Watched| {
        watched.decode(Path::new("clip.mp4"), &request, &limits).ok().map(|clip| clip.decoder)
    };
    (watched, decode)
}

#[test]
fn a_device_that_leaves_every_clip_says_so_and_has_the_next() {
    let device = Device::new("device", Does::Leaves);
    let (watched, decode) = watched(&device);
    for clips in 1..=40 {
        // Whoever decodes it, no clip fails, and evidence has the one that did.
        assert_eq!(decode(&watched).as_deref(), Some("processor"));
        assert_eq!((device.clips(), watched.trouble().is_some()), (clips, clips >= 8));
    }
    let trouble = watched.trouble().unwrap();
    assert!(trouble.contains("device") && trouble.contains("fallen off the bus"), "{trouble}");
    let several = Several::of_decoders(vec![Arc::new(watched) as Arc<dyn MediaDecoder>]).unwrap();
    assert_eq!(several.trouble(), Some(trouble));
    assert_eq!(decoders([false, false]).0.trouble(), None);
}

#[test]
fn a_device_that_decodes_again_is_in_no_trouble() {
    let device = Device::new("device", Does::Leaves);
    let (watched, decode) = watched(&device);
    for _ in 0..24 {
        decode(&watched);
    }
    assert!(watched.trouble().is_some());
    *device.does.lock().unwrap() = Does::Decodes;
    assert_eq!(decode(&watched).as_deref(), Some("device"));
    assert_eq!(watched.trouble(), None);
    // What it left before is forgotten.
    *device.does.lock().unwrap() = Does::Leaves;
    for _ in 0..7 {
        decode(&watched);
    }
    assert_eq!(watched.trouble(), None);
}

#[test]
fn clips_that_are_not_for_the_device_say_nothing_about_it() {
    let device = Device::new("device", Does::NeverHad);
    let (watched, decode) = watched(&device);
    // Seven that it leaves, and one that it decodes, are no row; nor does the processor's own refusal count.
    for does in [Does::NeverHad, Does::Refuses, Does::Decodes] {
        for at in 0..80 {
            *device.does.lock().unwrap() =
                if matches!(does, Does::Decodes) && at % 8 > 0 { Does::Leaves } else { does };
            decode(&watched);
        }
    }
    assert_eq!((device.clips(), watched.trouble()), (240, None));
}
