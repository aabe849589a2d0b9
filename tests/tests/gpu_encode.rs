//! The network on a device against the exact one on the processor: on the emulated device always, on a GPU where there is one.

use nexis_core::media::resize::Resample;
use nexis_core::media::tiles::tiles;
use nexis_core::media::{Frame, MediaFailure};
use nexis_core::model::towers::Towers;
use nexis_core::model::{Crop, DualEncoder, ImageText, LoadOptions};
use nexis_core::{Error, Result};
use nexis_gpu::compute::{Compute, Format};
use nexis_gpu::encode::{DeviceTowers, EncodeOptions};
use nexis_tests::emulated::Emulated;
use nexis_tests::image_text::{contract, lcg_picture};
use nexis_tests::on_devices::on;
use nexis_tests::random_clip::{ClipShape, TowerShape, models, write_random_clip, write_random_siglip};
use nexis_tests::{demo_model, device_tests};
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::Ordering;

/// Least cosine of an embedding on a device with the exact one.
const LEAST_COSINE: f64 = 0.999;

fn options(format: Format) -> EncodeOptions {
    EncodeOptions { format, pictures: 8, texts: 4, max_pixels: 64 * 64 }
}

fn load<C: Compute>(compute: C, directory: &Path, options: EncodeOptions) -> Result<DualEncoder> {
    DualEncoder::load_on(directory, None, |plan| Ok(Box::new(DeviceTowers::load(compute, plan, options)?)))
}

fn bits(rows: &ndarray::Array2<f32>) -> Vec<u32> {
    rows.iter().map(|x| x.to_bits()).collect()
}

/// The least cosine of rows of unit length; none is a number where one of them is not.
fn least_cosine(a: &ndarray::Array2<f32>, b: &ndarray::Array2<f32>) -> f64 {
    assert_eq!(a.dim(), b.dim());
    let cosine = |(a, b): (ndarray::ArrayView1<'_, f32>, ndarray::ArrayView1<'_, f32>)| {
        a.iter().zip(b.iter()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
    };
    a.rows().into_iter().zip(b.rows()).map(cosine).fold(f64::INFINITY, least)
}

/// The smaller of two numbers; not a number where one is none, which `f64::min` would leave out.
fn least(a: f64, b: f64) -> f64 {
    if a.is_nan() || a < b { a } else { b }
}

#[test]
fn what_is_no_number_is_near_nothing() {
    let (one, none) = (ndarray::array![[1.0_f32], [1.0]], ndarray::array![[1.0_f32], [f32::NAN]]);
    assert!(least_cosine(&one, &one) > LEAST_COSINE);
    assert!(least_cosine(&one, &none).is_nan() && least_cosine(&none, &one).is_nan());
    let turned = ndarray::array![[f32::NAN], [1.0]];
    assert!(least_cosine(&turned, &one).is_nan());
}

/// A CLIP, and a SigLIP, whose pictures are resized by another filter.
const EACH_KIND: [&str; 2] = ["quick_f32", "siglip2_bf16"];

const TEXTS: [&str; 6] =
    ["a river", "two white clouds over a lake", "", "Snow!", "rain, and a city in the evening", "the dog"];

fn pictures(size: u32, count: u64) -> Vec<Crop> {
    let flat = |value| Crop { size, rgb: vec![value; size as usize * size as usize * 3] };
    (0..count).map(|i| lcg_picture(i, size)).chain([flat(0), flat(255)]).collect()
}

fn embeddings_are_near_the_exact_ones<C: Compute>(open: impl Fn() -> C) {
    for name in [
        "quick_f32",
        "gelu_f16_legacy",
        "quick_bf16",
        "gelu_f32_unknown_is_end",
        "siglip_f32",
        "siglip2_bf16",
    ] {
        are_near_the_exact_ones(&open, &models().join(name), &[Format::Bf16, Format::F16]);
    }
}

fn are_near_the_exact_ones<C: Compute>(open: impl Fn() -> C, directory: &Path, formats: &[Format]) {
    let exact = DualEncoder::load(directory, &LoadOptions::default()).unwrap();
    let pictures = pictures(exact.preprocess().size, 9);
    for format in formats {
        let model = load(open(), directory, options(*format)).unwrap();
        assert_eq!(model.identity().precision, format.name());
        assert_eq!(model.identity().architecture, exact.identity().architecture);
        assert_ne!(model.identity().device, "cpu");
        let images =
            least_cosine(&model.encode_image(&pictures).unwrap(), &exact.encode_image(&pictures).unwrap());
        let texts = least_cosine(&model.encode_text(&TEXTS).unwrap(), &exact.encode_text(&TEXTS).unwrap());
        let at = directory.display();
        assert!(images > LEAST_COSINE && texts > LEAST_COSINE, "{at} {format:?}: {images} {texts}");
    }
}

/// What the largest SigLIP has and the fixtures have not: heads of 72, patches of 14 whose values do not fill whole
/// vectors, pixels that no patch covers, more rows than a block of attention takes.
const SO400M_IN_SMALL: ClipShape = ClipShape {
    image: 132,
    patch: 14,
    vision: TowerShape { width: 144, intermediate: 270, heads: 2, layers: 1 },
    text: TowerShape { width: 144, intermediate: 270, heads: 2, layers: 1 },
    vocabulary: 500,
    projection: 144,
};

fn the_sizes_of_the_largest_siglip_are_near_the_exact_ones<C: Compute>(open: impl Fn() -> C) {
    let directory = tempfile::tempdir().unwrap();
    write_random_siglip(directory.path(), &SO400M_IN_SMALL).unwrap();
    are_near_the_exact_ones(open, directory.path(), &[Format::Bf16]);
}

fn the_demonstration_model_is_near_the_exact_one<C: Compute>(open: impl Fn() -> C) {
    let exact = DualEncoder::load(demo_model(), &LoadOptions::default()).unwrap();
    let model = load(open(), &demo_model(), EncodeOptions { texts: 2, ..options(Format::Bf16) }).unwrap();
    let pictures = pictures(exact.preprocess().size, 2);
    let images =
        least_cosine(&model.encode_image(&pictures).unwrap(), &exact.encode_image(&pictures).unwrap());
    let texts =
        least_cosine(&model.encode_text(&TEXTS[..2]).unwrap(), &exact.encode_text(&TEXTS[..2]).unwrap());
    assert!(images > LEAST_COSINE && texts > LEAST_COSINE, "{images} {texts}");
}

/// Bits that depend on nothing beside a row, in any order, alone or together.
fn the_contract_of_models_holds<C: Compute>(open: impl Fn() -> C) {
    for name in EACH_KIND {
        contract(&load(open(), &models().join(name), options(Format::Bf16)).unwrap());
    }
}

fn every_pass_is_recorded<C: Compute>(open: impl Fn() -> C) {
    for name in EACH_KIND {
        // One over texts, and of pictures two of each shape that the device keeps.
        let (recorded, passes) = recorded(open(), name);
        assert!(recorded == passes && passes > 2, "{name}: {recorded} of {passes}");
    }
}

/// How many passes were recorded of a model with three shapes of pictures, and how many there are.
fn recorded<C: Compute>(compute: C, name: &str) -> (usize, usize) {
    let options = EncodeOptions { pictures: 24, ..options(Format::Bf16) };
    let mut found = None;
    DualEncoder::load_on(models().join(name), None, |plan| {
        let towers = DeviceTowers::load(compute, plan, options)?;
        found = Some(towers.recorded());
        Ok(Box::new(towers))
    })
    .unwrap();
    found.unwrap()
}

#[test]
fn a_device_that_records_nothing_says_so() {
    assert_eq!(recorded(Emulated::without_recordings(), "quick_f32"), (0, 7));
    // What another breaks off is recorded once more, and not for ever.
    assert_eq!(recorded(Emulated::breaking_recordings(2), "quick_f32"), (7, 7));
    assert_eq!(recorded(Emulated::breaking_recordings(3), "quick_f32"), (6, 7));
}

/// As many pictures as fill a batch, or a part of it, or one more or less, give the bits that each has among all.
fn any_number_of_pictures_has_the_same_bits<C: Compute>(open: impl Fn() -> C) {
    for name in EACH_KIND {
        let options = EncodeOptions { pictures: 24, ..options(Format::Bf16) };
        let model = load(open(), &models().join(name), options).unwrap();
        let pictures = pictures(model.preprocess().size, 23);
        let all = bits(&model.encode_image(&pictures).unwrap());
        let row = all.len() / pictures.len();
        for count in [1, 7, 8, 9, 16, 17, 24, 25] {
            let found = bits(&model.encode_image(&pictures[..count]).unwrap());
            assert!(found == all[..count * row], "{name}: {count} pictures");
        }
    }
}

#[test]
fn few_pictures_take_a_part_of_a_batch() {
    let device = Emulated::default();
    let multiplied = device.multiplied();
    let options = EncodeOptions { pictures: 24, ..options(Format::Bf16) };
    let model = load(device, &models().join("quick_f32"), options).unwrap();
    let pictures = pictures(model.preprocess().size, 22);
    let rows = |count: usize| {
        multiplied.store(0, Ordering::SeqCst);
        model.encode_image(&pictures[..count]).unwrap();
        multiplied.load(Ordering::SeqCst)
    };
    let third = rows(1);
    let found = [1, 8, 9, 16, 17, 24].map(rows);
    assert_eq!(found, [1, 1, 2, 2, 3, 3].map(|parts| parts * third));
}

/// A device that adds up otherwise for some numbers of rows computes these as parts of larger batches.
#[test]
fn a_number_of_pictures_that_would_have_other_bits_is_not_computed_alone() {
    any_number_of_pictures_has_the_same_bits(|| Emulated::with_other_sums_of(16));
    let device = Emulated::with_other_sums_of(16);
    let multiplied = device.multiplied();
    let options = EncodeOptions { pictures: 24, ..options(Format::Bf16) };
    let model = load(device, &models().join("quick_f32"), options).unwrap();
    let pictures = pictures(model.preprocess().size, 22);
    let [third, whole] = [8, 16].map(|count| {
        multiplied.store(0, Ordering::SeqCst);
        model.encode_image(&pictures[..count]).unwrap();
        multiplied.load(Ordering::SeqCst)
    });
    assert_eq!(whole, 3 * third);
}

fn tiles_cut_on_the_device_are_the_processors<C: Compute>(open: impl Fn() -> C) {
    for (name, resample) in EACH_KIND.into_iter().zip([Resample::Bicubic, Resample::Bilinear]) {
        let model = load(open(), &models().join(name), options(Format::F16)).unwrap();
        assert_eq!(model.preprocess().resample, resample);
        tiles_of(&model, resample);
    }
}

fn tiles_of(model: &DualEncoder, resample: Resample) {
    let size = model.preprocess().size;
    let frame = |i: u32, width: u32, height: u32| {
        let picture = lcg_picture(i.into(), width.max(height));
        let rgb = picture.rgb[..(width * height * 3) as usize].to_vec();
        Frame { width, height, pts_seconds: 0.0, rgb: rgb.into() }
    };
    let frames = [(80, 45), (80, 45), (45, 80), (64, 64), (32, 32), (200, 31), (20, 33), (80, 45)];
    let frames: Vec<Frame> =
        frames.iter().zip(0..).map(|((width, height), i)| frame(i, *width, *height)).collect();
    let crops: Vec<Crop> = frames.iter().flat_map(|frame| tiles(frame, size, resample).unwrap()).collect();
    assert!(crops.len() > 20);
    let expected = model.encode_image(&crops).unwrap();
    assert_eq!(bits(&model.encode_tiles(&frames, 16).unwrap()), bits(&expected));
    // A frame that is too long is the clip's fault, and found before anything is computed.
    let long = frame(0, 8 * 9, 9);
    let found = model.encode_tiles(&[frames[0].clone(), long], 16);
    assert!(matches!(found, Err(MediaFailure::Clip(_))), "{found:?}");
    assert_eq!(model.encode_tiles(&[], 16).unwrap().nrows(), 0);
    // One that has more or fewer bytes than its size says is ours, as on the processor.
    for bytes in [80 * 45 * 3 - 1, 80 * 45 * 3 + 1] {
        let broken = Frame { rgb: vec![0; bytes].into(), ..frame(0, 80, 45) };
        let there = tiles(&broken, size, resample).unwrap_err();
        let here = model.encode_tiles(&[broken], 16).unwrap_err();
        for failure in [there, here] {
            let usage = matches!(failure, MediaFailure::Ours(nexis_core::Error::Usage { .. }));
            assert!(usage, "{failure:?}");
        }
    }
}

fn parts_arrive_one_behind_another_or_not_at_all<C: Compute>(open: impl Fn() -> C) {
    let compute = open();
    let bytes: Vec<u8> = (0..5_000_011_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let (before, after) = (7_u8, 9_u8);
    let memory = on(&compute, std::iter::repeat_n(before, bytes.len()));
    let there = || {
        let mut there = vec![0; bytes.len()];
        compute.download(C::span(&memory), &mut there).unwrap();
        there
    };
    // Parts that end and begin anywhere, one of them longer than what goes over at once.
    let mut parts: Vec<&[u8]> = bytes[..900_000].chunks(150_528).collect();
    parts.extend([&bytes[900_000..900_000], &bytes[900_000..4_999_999], &bytes[4_999_999..]]);
    let one_more = [after];
    let too_many = [parts.as_slice(), &[one_more.as_slice()]].concat();
    assert!(matches!(compute.upload_parts(&too_many, C::span(&memory)), Err(Error::Internal(_))));
    assert!(there().iter().all(|byte| *byte == before), "something was copied");
    compute.upload_parts(&parts, C::span(&memory)).unwrap();
    assert!(there() == bytes);
    // Fewer bytes leave the rest as it was.
    compute.upload_parts(&[&one_more, &one_more], C::span(&memory)).unwrap();
    assert!(there()[..3] == [after, after, bytes[2]]);
}

fn pictures_of_another_size_are_refused<C: Compute>(open: impl Fn() -> C) {
    DualEncoder::load_on(models().join("quick_f32"), None, |plan| {
        let towers = DeviceTowers::load(open(), plan, options(Format::Bf16))?;
        let size = plan.sizes().image;
        for bytes in [0, size * size * 3 - 1, size * size * 3 + 1] {
            let crops = [bytes, size * size * 3].map(|bytes| Crop { size: size as u32, rgb: vec![0; bytes] });
            let found = towers.embed_pictures(&crops);
            assert!(matches!(found, Err(Error::Usage { .. })), "{bytes}: {found:?}");
        }
        Ok(Box::new(towers))
    })
    .unwrap();
}

device_tests!(
    parts_arrive_one_behind_another_or_not_at_all,
    pictures_of_another_size_are_refused,
    what_waits_or_copies_is_no_part_of_a_recording,
    results_land_behind_what_was_asked_before,
    embeddings_are_near_the_exact_ones,
    the_sizes_of_the_largest_siglip_are_near_the_exact_ones,
    the_demonstration_model_is_near_the_exact_one,
    the_contract_of_models_holds,
    any_number_of_pictures_has_the_same_bits,
    every_pass_is_recorded,
    tiles_cut_on_the_device_are_the_processors,
);

/// Which kernel takes rows shows in no bit of them, and so is asked for.
#[test]
fn the_network_takes_the_kernels_of_whole_vectors() {
    let device = Emulated::default();
    let kernels = device.kernels();
    let model = load(device, &models().join("quick_f32"), options(Format::Bf16)).unwrap();
    model.encode_image(&pictures(model.preprocess().size, 1)).unwrap();
    model.encode_text(&TEXTS).unwrap();
    let found: Vec<_> =
        kernels.lock().unwrap().iter().copied().filter(|name| !name.starts_with("attend")).collect();
    let expected = [
        "add_and_norm_1_bf16",
        "bias_and_activation_8_bf16",
        "embed_pictures_1_bf16",
        "embed_texts_1_bf16",
        "patches_to_input_bf16",
        "pick_8_bf16",
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_order_of_blocks_changes_no_bit() {
    for name in EACH_KIND {
        let directory = models().join(name);
        let found = [Emulated::default(), Emulated::backwards()].map(|device| {
            let model = load(device, &directory, options(Format::Bf16)).unwrap();
            let images = model.encode_image(&pictures(model.preprocess().size, 3)).unwrap();
            (bits(&images), bits(&model.encode_text(&TEXTS).unwrap()))
        });
        assert!(found[0] == found[1], "{name}");
    }
}

#[test]
fn where_memory_is_short_the_batch_is_halved_and_the_bits_stay() {
    EACH_KIND.into_iter().for_each(halved);
}

fn halved(name: &str) {
    let directory = models().join(name);
    let wanted = EncodeOptions { pictures: 64, ..options(Format::Bf16) };
    // How much the whole batch takes, and what is left of it with less room.
    let memory = |device| {
        let mut memory = None;
        let model = DualEncoder::load_on(&directory, None, |plan| {
            let towers = DeviceTowers::load(device, plan, wanted)?;
            memory = Some(towers.memory());
            Ok(Box::new(towers))
        });
        (model, memory)
    };
    let (whole, full) = memory(Emulated::default());
    let (whole, full) = (whole.unwrap(), full.unwrap());
    assert_eq!(full.pictures, 64);
    let pictures = pictures(whole.preprocess().size, 20);
    let expected = whole.encode_image(&pictures).unwrap();
    // What was taken before there was no room is let go of again, so that half of it is enough for a quarter.
    let (tight, less) = memory(Emulated::with_room(full.weights + full.workspace / 2));
    let (tight, less) = (tight.unwrap(), less.unwrap());
    assert!(less.pictures < 64 && less.workspace < full.workspace / 2, "{less:?} of {full:?}");
    assert!(bits(&tight.encode_image(&pictures).unwrap()) == bits(&expected));
    let (none, _) = memory(Emulated::with_room(full.weights / 2));
    assert!(none.err().unwrap().to_string().contains("there is no room"));
}

/// Bits of pictures and texts, each in three calls: the first is launched step by step, the next recorded.
fn three_times(model: &DualEncoder) -> Vec<Vec<u32>> {
    let pictures = pictures(model.preprocess().size, 12);
    let each = |i: usize| {
        // Others each time, so that what a recording reads is what was uploaded last.
        let (pictures, texts) = (&pictures[i..i + 3], [TEXTS[i], TEXTS[i + 1]]);
        let tiles = frame_of(&pictures[0]);
        let found = [model.encode_image(pictures), model.encode_text(&texts)].map(Result::unwrap);
        let tiles = model.encode_tiles(&[tiles], 16).unwrap();
        found.iter().chain([&tiles]).flat_map(bits).collect()
    };
    (0..3).map(each).collect()
}

/// The whole of a picture as a frame that is wider than high.
fn frame_of(picture: &Crop) -> Frame {
    let (width, height) = (picture.size, picture.size / 2);
    let rgb = picture.rgb[..(width * height * 3) as usize].into();
    Frame { width, height, pts_seconds: 0.0, rgb }
}

#[test]
fn a_recorded_pass_gives_the_bits_of_its_launches() {
    for name in EACH_KIND {
        let [recording, launching] = [Emulated::default(), Emulated::without_recordings()];
        let replays = [recording.replays(), launching.replays()];
        let directory = models().join(name);
        let recording = load(recording, &directory, options(Format::Bf16)).unwrap();
        let launching = load(launching, &directory, options(Format::Bf16)).unwrap();
        assert!(three_times(&recording) == three_times(&launching), "{name}");
        // All six passes over pictures, and all three over texts.
        assert_eq!(replays.map(|count| count.load(Ordering::SeqCst)), [6 + 3, 0], "{name}");
    }
}

fn what_waits_or_copies_is_no_part_of_a_recording<C: Compute>(open: impl Fn() -> C) {
    let compute = open();
    let (from, to) = (on(&compute, 0..64), on(&compute, 100..164));
    let bytes = |memory| {
        let mut bytes = [0; 64];
        compute.download(C::span(memory), &mut bytes).unwrap();
        bytes
    };
    let before = bytes(&to);
    let (mut landing, mark) = (compute.landing(64).unwrap(), compute.mark().unwrap());
    let mut found = Vec::new();
    let recording = compute.record(&mut || {
        found.push(compute.allocate(64).map(|_| ()));
        found.push(compute.upload(&[1], C::span(&to)));
        found.push(compute.download(C::span(&from), &mut [0]));
        found.push(compute.land(C::span(&from), &mut landing));
        found.push(compute.mark().map(|_| ()));
        found.push(compute.follow(&mark));
        Ok(())
    });
    assert_eq!(found.len(), 6);
    assert!(found.iter().all(|found| matches!(found, Err(Error::Internal(_)))), "{found:?}");
    drop(recording);
    // A pass that fails is not recorded, and leaves the device as it was.
    assert!(compute.record(&mut || Err(Error::Internal("no pass".to_owned()))).is_none());
    assert_eq!(bytes(&to), before);
    compute.upload(&[9; 64], C::span(&to)).unwrap();
    assert_eq!(bytes(&to), [9; 64]);
}

fn results_land_behind_what_was_asked_before<C: Compute>(open: impl Fn() -> C) {
    let compute = open();
    let beside = compute.beside().unwrap();
    let memory = on(&compute, 0..200);
    let mut landings = [200, 200, 5].map(|bytes| compute.landing(bytes).unwrap());
    let [first, second, small] = &mut landings;
    compute.land(C::span(&memory), first).unwrap();
    assert!(matches!(compute.land(C::span(&memory), small), Err(Error::Internal(_))));
    // Another queue writes behind the mark, and this one reads behind that.
    beside.follow(&compute.mark().unwrap()).unwrap();
    beside.upload(&[7; 200], C::span(&memory)).unwrap();
    compute.follow(&beside.mark().unwrap()).unwrap();
    compute.land(C::span(&memory), second).unwrap();
    compute.land(C::span(&memory).part(3, 5).unwrap(), small).unwrap();
    assert_eq!(compute.landed(second).unwrap(), [7; 200]);
    assert_eq!(compute.landed(first).unwrap(), (0..200).collect::<Vec<u8>>());
    assert_eq!(compute.landed(small).unwrap(), [7; 5]);
    // As often as it is asked for, and anew.
    assert_eq!(compute.landed(first).unwrap().len(), 200);
    compute.land(C::span(&memory).part(0, 2).unwrap(), first).unwrap();
    assert_eq!(compute.landed(first).unwrap(), [7; 2]);
}

/// Which of its queues an emulated device puts off.
const LATE: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

#[test]
fn batches_under_way_at_once_give_the_bits_of_each_alone() {
    for name in EACH_KIND {
        let directory = models().join(name);
        let alone = load(Emulated::default(), &directory, options(Format::Bf16)).unwrap();
        let pictures = pictures(alone.preprocess().size, 24);
        let frames: Vec<Frame> = pictures[..9].iter().map(frame_of).collect();
        let one = |crop: &Crop| bits(&alone.encode_image(std::slice::from_ref(crop)).unwrap());
        let expected: Vec<u32> = pictures.iter().flat_map(one).collect();
        let one = |frame: &Frame| bits(&alone.encode_tiles(std::slice::from_ref(frame), 16).unwrap());
        let tiles: Vec<u32> = frames.iter().flat_map(one).collect();
        let read: Vec<u32> =
            TEXTS.iter().flat_map(|text| bits(&alone.encode_text(&[text]).unwrap())).collect();
        for (first, beside) in LATE {
            let what = format!("{name}, late: {first}, {beside}");
            let model = load(Emulated::late(first, beside), &directory, options(Format::Bf16)).unwrap();
            for _ in 0..2 {
                assert!(bits(&model.encode_image(&pictures).unwrap()) == expected, "{what}");
                assert!(bits(&model.encode_tiles(&frames, 16).unwrap()) == tiles, "{what}");
                assert!(bits(&model.encode_text(&TEXTS).unwrap()) == read, "{what}");
            }
            let together = Barrier::new(4);
            std::thread::scope(|scope| {
                for at in 0..4 {
                    let (model, what, together) = (&model, &what, &together);
                    let (pictures, expected, frames, tiles, read) =
                        (&pictures, &expected, &frames, &tiles, &read);
                    scope.spawn(move || {
                        together.wait();
                        let (some, columns) = (&pictures[at * 3..], expected.len() / pictures.len());
                        let found = bits(&model.encode_image(some).unwrap());
                        assert!(found == expected[at * 3 * columns..], "{what}");
                        assert!(bits(&model.encode_tiles(frames, 16).unwrap()) == *tiles, "{what}");
                        assert!(bits(&model.encode_text(&TEXTS).unwrap()) == *read, "{what}");
                    });
                }
            });
        }
    }
}

/// A frame that needs more room than the one before it, which is still being cut.
#[test]
fn memory_grows_behind_what_reads_it() {
    let directory = models().join("quick_f32");
    let options = EncodeOptions { max_pixels: 0, ..options(Format::Bf16) };
    let frames = [32, 48, 64].map(|size| frame_of(&lcg_picture(size.into(), size)));
    let expected = load(Emulated::default(), &directory, options).unwrap().encode_tiles(&frames, 16).unwrap();
    for (first, beside) in LATE {
        let model = load(Emulated::late(first, beside), &directory, options).unwrap();
        assert!(bits(&model.encode_tiles(&frames, 16).unwrap()) == bits(&expected), "{first}, {beside}");
    }
}

#[test]
fn whatever_fails_within_a_call_leaves_the_next_its_room() {
    let directory = models().join("quick_f32");
    for (first, beside) in LATE {
        let device = Emulated::late(first, beside);
        let fuse = device.fuse();
        let model = load(device, &directory, options(Format::Bf16)).unwrap();
        let pictures = pictures(model.preprocess().size, 18);
        let expected = bits(&model.encode_image(&pictures).unwrap());
        let mut failures = 0;
        for ask in (1..).step_by(4) {
            fuse.store(ask, Ordering::SeqCst);
            let found = model.encode_image(&pictures);
            let left = fuse.swap(0, Ordering::SeqCst);
            match found {
                Ok(found) => {
                    assert!(left > 0 && bits(&found) == expected, "{ask}");
                    break;
                }
                Err(error) => assert!(error.to_string().contains("fallen off the bus"), "{error}"),
            }
            failures += 1;
            assert!(bits(&model.encode_image(&pictures).unwrap()) == expected, "behind {ask}");
        }
        // Every batch asks for several things.
        assert!(failures > 5, "{failures}");
    }
}

#[test]
fn a_pass_that_breaks_off_leaves_nothing_to_the_next() {
    for name in EACH_KIND {
        let device = Emulated::default();
        let broken = device.broken();
        let model = load(device, &models().join(name), options(Format::Bf16)).unwrap();
        let unbroken = load(Emulated::default(), &models().join(name), options(Format::Bf16)).unwrap();
        let pictures = pictures(model.preprocess().size, 12);
        // Before the first pass, before a recording, and once there is one.
        for times in 0..4 {
            broken.store(true, Ordering::SeqCst);
            assert!(model.encode_image(&pictures).is_err() && model.encode_text(&TEXTS).is_err());
            assert!(model.encode_tiles(&[frame_of(&pictures[0])], 16).is_err());
            broken.store(false, Ordering::SeqCst);
            let found = model.encode_image(&pictures[times..]).unwrap();
            assert!(bits(&found) == bits(&unbroken.encode_image(&pictures[times..]).unwrap()), "{name}");
            let texts = &TEXTS[times..];
            let found = model.encode_text(texts).unwrap();
            assert!(bits(&found) == bits(&unbroken.encode_text(texts).unwrap()), "{name}");
        }
    }
}

#[test]
fn algorithms_are_those_of_a_full_batch_whatever_its_size() {
    for name in EACH_KIND {
        let chosen = [(8, 4), (11, 3), (24, 16)].map(|(pictures, texts)| {
            let device = Emulated::default();
            let chosen = device.chosen();
            let options = EncodeOptions { pictures, texts, ..options(Format::Bf16) };
            let model = load(device, &models().join(name), options).unwrap();
            model.encode_image(&self::pictures(model.preprocess().size, 0)).unwrap();
            model.encode_text(&TEXTS[..1]).unwrap();
            let chosen = chosen.lock().unwrap().clone();
            assert!(chosen.iter().any(|[rows, ..]| *rows == 64), "behind the last attention: {chosen:?}");
            chosen
        });
        assert!(chosen[0] == chosen[1] && chosen[1] == chosen[2], "{name}: {chosen:?}");
    }
}

#[test]
fn halving_ends_at_the_smallest_batch() {
    let directory = models().join("quick_f32");
    let load = |device, pictures| {
        let mut memory = None;
        let options = EncodeOptions { pictures, ..options(Format::Bf16) };
        let model = DualEncoder::load_on(&directory, None, |plan| {
            let towers = DeviceTowers::load(device, plan, options)?;
            memory = Some(towers.memory());
            Ok(Box::new(towers))
        });
        model.map(|_| memory.unwrap())
    };
    let full = load(Emulated::default(), 8).unwrap();
    assert_eq!(full.pictures, 8);
    let room = full.weights + full.workspace;
    // Half of twelve would be less than the smallest batch.
    for pictures in [8, 9, 12, 15, 16, 23, 64, 100] {
        assert_eq!(load(Emulated::with_room(room), pictures).unwrap(), full, "{pictures}");
    }
    // What would have been enough is named, and what a second encoder's operator can do.
    for pictures in [8, 12, 100] {
        let error = load(Emulated::with_room(room - 1), pictures).unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        let error = error.to_string();
        for part in [room, full.weights, full.workspace] {
            assert!(error.contains(&format!("{part} ")), "{part}: {error}");
        }
        assert!(error.contains("there is no room") && error.contains("--batch or model.batch"), "{error}");
    }
}

#[test]
fn a_batch_leaves_room_for_frames() {
    let directory = models().join("quick_f32");
    let load = |device, max_pixels| {
        let mut memory = None;
        let options = EncodeOptions { pictures: 64, max_pixels, ..options(Format::Bf16) };
        let model = DualEncoder::load_on(&directory, None, |plan| {
            let towers = DeviceTowers::load(device, plan, options)?;
            memory = Some(towers.memory());
            Ok(Box::new(towers))
        });
        (model.unwrap(), memory.unwrap())
    };
    let pixels = 320 * 180;
    let (_, full) = load(Emulated::default(), 0);
    // Room for the whole batch, and a little less than a frame: both fit once the batch is smaller.
    let tight = Emulated::with_room(full.weights + full.workspace + pixels * 3 - 1);
    let (model, less) = load(tight, pixels as u64);
    assert!(less.pictures < full.pictures, "{less:?} of {full:?}");
    let rgb = vec![7; pixels * 3].into();
    let frame = Frame { width: 320, height: 180, pts_seconds: 0.0, rgb };
    assert!(model.encode_tiles(&[frame], 16).unwrap().nrows() > 1);
}

#[test]
fn sizes_without_a_kernel_are_refused_with_advice() {
    let refused = |directory: &Path, why: &str| {
        DualEncoder::load(directory, &LoadOptions::default()).unwrap();
        let found = load(Emulated::default(), directory, options(Format::Bf16));
        let error = found.err().unwrap().to_string();
        assert!(error.contains(why) && error.contains("choose device cpu"), "{why}: {error}");
    };
    refused(&models().join("siglip_f16_plain"), "vision tower: heads of 9 values");
    let tower = |width, intermediate| TowerShape { width, intermediate, heads: 2, layers: 1 };
    let small = tower(16, 32);
    for (vision, text, why) in [
        (tower(260, 32), small, "vision tower: heads of 130 values"),
        (small, tower(14, 32), "text tower: heads of 7 values"),
        (small, tower(16, 33), "text tower: heads of 8 values, 33 inside"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let shape = ClipShape { image: 16, patch: 8, vision, text, vocabulary: 700, projection: 16 };
        write_random_clip(directory.path(), &shape).unwrap();
        refused(directory.path(), why);
    }
}

#[test]
fn texts_of_a_siglip_fill_their_place() {
    for name in EACH_KIND {
        DualEncoder::load_on(models().join(name), None, |plan| {
            let towers = DeviceTowers::load(Emulated::default(), plan, options(Format::Bf16))?;
            let context = plan.sizes().context;
            for (length, read) in [
                (1, name == "quick_f32"),
                (context - 1, name == "quick_f32"),
                (context, true),
                (context + 1, false),
            ] {
                let found = towers.embed_texts(&[vec![1; length]]);
                assert_eq!(found.is_ok(), read, "{name}: {length} tokens, {found:?}");
            }
            Ok(Box::new(towers))
        })
        .unwrap();
    }
}

#[test]
fn weights_beyond_half_precision_are_refused() {
    for (model, name) in [
        ("quick_f32", "vision_model.encoder.layers.1.mlp.fc1.weight"),
        ("siglip_f32", "vision_model.head.attention.in_proj_weight"),
    ] {
        is_refused_beyond_half_precision(model, name);
    }
}

fn is_refused_beyond_half_precision(model: &str, name: &str) {
    let directory = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(models().join(model)).unwrap() {
        let from = entry.unwrap().path();
        std::fs::copy(&from, directory.path().join(from.file_name().unwrap())).unwrap();
    }
    let path = directory.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let index: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    // The last of them: of queries, keys and values side by side, it is one of a value.
    let at = 8 + header + index[name]["data_offsets"][1].as_u64().unwrap() as usize - 4;
    bytes[at..at + 4].copy_from_slice(&70_000_f32.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    load(Emulated::default(), directory.path(), options(Format::Bf16)).unwrap();
    let error = load(Emulated::default(), directory.path(), options(Format::F16)).err().unwrap().to_string();
    assert!(error.contains(name) && error.contains("choose bf16"), "{error}");
}

#[test]
fn clips_of_several_threads_share_batches_and_no_bit_changes() {
    EACH_KIND.into_iter().for_each(shared);
}

fn shared(name: &str) {
    let model = load(Emulated::default(), &models().join(name), options(Format::Bf16)).unwrap();
    let clip = |i: u64| -> Vec<Frame> {
        let frame = |j| Frame {
            width: 60,
            height: 34,
            pts_seconds: 0.0,
            rgb: lcg_picture(i * 8 + j, 60).rgb[..60 * 34 * 3].into(),
        };
        (0..1 + i % 3).map(frame).collect()
    };
    let alone: Vec<_> = (0..6).map(|i| bits(&model.encode_tiles(&clip(i), 16).unwrap())).collect();
    std::thread::scope(|scope| {
        for (i, alone) in alone.iter().enumerate() {
            let model = &model;
            scope.spawn(move || {
                for _ in 0..2 {
                    assert!(bits(&model.encode_tiles(&clip(i as u64), 16).unwrap()) == *alone, "clip {i}");
                }
            });
        }
    });
}
