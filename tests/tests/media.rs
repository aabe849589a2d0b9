//! Decoding, colours, resizing and squares against ffmpeg, Pillow and transformers, by fixtures made with
//! `fixtures/media/make_fixtures.py`.

use std::path::PathBuf;

use nexis_core::hash::Digest;
use nexis_core::media::demux::Demuxed;
use nexis_core::media::resize::{Resample, resample_rgb, resize_rgb};
use nexis_core::media::{FfmpegDecoder, Frame, FrameRequest, MediaDecoder, MediaFailure, MediaLimits, tiles};
use nexis_core::model::{Fit, PreprocessSpec};
use nexis_tests::reference::expected;
use serde_json::Value;

fn fixtures() -> PathBuf {
    nexis_tests::fixture("media")
}

fn cases(name: &str) -> Vec<Value> {
    let cases = expected(fixtures().join(name)).as_array().unwrap().clone();
    assert!(!cases.is_empty(), "{name} has no cases");
    cases
}

fn number(value: &Value) -> u32 {
    value.as_u64().unwrap() as u32
}

/// The generator that `make_fixtures.py` uses.
fn noise(width: u32, height: u32, seed: u64) -> Vec<u8> {
    let mut state = seed as u32;
    (0..width * height * 3)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

const SIX: FrameRequest = FrameRequest::Spread { count: 6, first: true };

#[test]
fn resizing_gives_pillows_bytes() {
    let cases = cases("resize.json");
    assert!(cases.len() >= 60);
    for case in &cases {
        let [w, h] = [0, 1].map(|i| number(&case["from"][i]));
        let [tw, th] = [0, 1].map(|i| number(&case["to"][i]));
        let input = noise(w, h, case["seed"].as_u64().unwrap());
        for (key, resample) in [("sha256", Resample::Bicubic), ("bilinear", Resample::Bilinear)] {
            let output = resample_rgb(&input, w, h, tw, th, resample).unwrap();
            assert_eq!(output.len() as u32, tw * th * 3);
            let digest = Digest::of(&output).to_string();
            assert_eq!(digest, case[key].as_str().unwrap(), "{w}x{h} to {tw}x{th}, {resample:?}");
        }
    }
}

#[test]
fn resizing_refuses_sizes_that_make_no_sense() {
    assert!(resize_rgb(&[], 0, 1, 1, 1).is_err());
    assert!(resize_rgb(&[0; 3], 1, 1, 1, 0).is_err());
    assert!(resize_rgb(&[0; 3], 1, 1, 70_000, 1).is_err());
    assert!(resize_rgb(&[0; 4], 1, 1, 1, 1).is_err());
}

/// A specification of this view.
fn view_of(size: u32, resample: Resample, fit: Fit) -> PreprocessSpec {
    PreprocessSpec { size, resample, fit, mean: [0.5; 3], std: [0.5; 3], rescale: 1.0 / 255.0 }
}

#[test]
fn each_models_own_view_is_transformers() {
    for case in cases("crops.json") {
        let [width, height] = [0, 1].map(|i| number(&case["from"][i]));
        let rgb = noise(width, height, case["seed"].as_u64().unwrap()).into();
        let frame = Frame { width, height, pts_seconds: 0.0, rgb };
        let size = number(&case["size"]);
        for (key, resample, fit) in [
            ("sha256", Resample::Bicubic, Fit::Centre),
            ("siglip", Resample::Bicubic, Fit::Squeeze),
            ("siglip2", Resample::Bilinear, Fit::Squeeze),
        ] {
            let view = tiles::own_view(&frame, &view_of(size, resample, fit)).unwrap();
            let digest = Digest::of(&view.rgb).to_string();
            assert_eq!(digest, case[key].as_str().unwrap(), "{width}x{height} at {size}, {key}");
            if fit == Fit::Centre {
                // It is the middle one of the squares that cover the frame.
                let all = tiles::tiles(&frame, size, resample).unwrap();
                assert_eq!(all[all.len() / 2], view, "{width}x{height} at {size}");
            }
        }
    }
}

#[test]
fn squares_cover_the_whole_frame() {
    // Each pixel says where it is, so that a square's place can be read from its bytes: at a size equal to the
    // shorter edge nothing is resized.
    for (width, height, offsets) in [
        (398, 224, vec![0, 87, 174]),
        (224, 398, vec![0, 87, 174]),
        (224, 224, vec![0]),
        (225, 224, vec![0, 0, 1]),
        (672, 224, vec![0, 224, 448]),
        (673, 224, vec![0, 112, 224, 336, 449]),
        (1568, 224, vec![0, 224, 448, 672, 896, 1120, 1344]),
    ] {
        let mut rgb = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let along: u32 = if width >= height { x } else { y };
                rgb.extend([(along % 256) as u8, (along / 256) as u8, 7]);
            }
        }
        let frame = Frame { width, height, pts_seconds: 0.0, rgb: rgb.into() };
        let squares = tiles::tiles(&frame, 224, Resample::Bicubic).unwrap();
        let places: Vec<u32> =
            squares.iter().map(|s| u32::from(s.rgb[0]) + u32::from(s.rgb[1]) * 256).collect();
        assert_eq!(places, offsets, "{width}x{height}");
        for square in &squares {
            assert_eq!(square.rgb.len(), 224 * 224 * 3);
        }
        for pair in places.windows(2) {
            assert!(pair[1] - pair[0] <= 224, "a gap in {width}x{height}");
        }
        assert_eq!(*places.last().unwrap() + 224, width.max(height));
    }
}

#[test]
fn a_frame_too_long_for_squares_is_the_clips_fault() {
    let frame = Frame { width: 1569, height: 224, pts_seconds: 0.0, rgb: vec![0; 1569 * 224 * 3].into() };
    assert!(matches!(tiles::tiles(&frame, 224, Resample::Bicubic), Err(MediaFailure::Clip(_))));
    let centre = view_of(224, Resample::Bicubic, Fit::Centre);
    assert!(matches!(tiles::own_view(&frame, &centre), Err(MediaFailure::Clip(_))));
    tiles::own_view(&frame, &view_of(224, Resample::Bicubic, Fit::Squeeze)).unwrap();
}

#[test]
fn colours_are_the_documented_integers_and_swscales() {
    let decoder = FfmpegDecoder::default();
    for case in cases("colour.json") {
        let name = case["name"].as_str().unwrap();
        let folder = fixtures().join("colour");
        let clip =
            decoder.decode(&folder.join(format!("{name}.mp4")), &SIX, &MediaLimits::default()).unwrap();
        let first = clip.first.unwrap();
        assert_eq!((first.width, first.height), (64, 48));
        assert_eq!(first.digest().to_string(), case["sha256"].as_str().unwrap(), "{name}");
        // The one second-best opinion: swscale with nearest chroma. In full-range ten bits it drops two bits
        // instead of scaling, hence the larger mean.
        let mean = if name == "yuv444p10le-bt709-full" { 0.5 } else { 0.01 };
        close(&first, &std::fs::read(folder.join(format!("{name}.rgb"))).unwrap(), 1, mean, name);
    }
}

#[test]
fn turned_clips_are_shown_as_ffmpeg_shows_them() {
    let decoder = FfmpegDecoder::default();
    for angle in [90, 180, 270] {
        let path = fixtures().join(format!("clips/turned-{angle}.mp4"));
        let clip = decoder.decode(&path, &SIX, &MediaLimits::default()).unwrap();
        assert_eq!(clip.probe.rotation, angle);
        let expected = std::fs::read(fixtures().join(format!("colour/turned-{angle}.rgb"))).unwrap();
        close(&clip.first.unwrap(), &expected, 1, 0.05, &format!("turned {angle}"));
    }
}

fn close(frame: &Frame, expected: &[u8], most: u8, mean: f64, name: &str) {
    assert_eq!(frame.rgb.len(), expected.len(), "{name}");
    let differences = frame.rgb.iter().zip(expected).map(|(a, b)| a.abs_diff(*b));
    assert!(differences.clone().max().unwrap() <= most, "{name}");
    let total: u64 = differences.map(u64::from).sum();
    assert!(total as f64 / expected.len() as f64 <= mean, "{name}");
}

#[test]
fn chosen_frames_are_those_of_ffmpeg_to_the_byte() {
    let every = [FfmpegDecoder::default(), FfmpegDecoder::default().without_skipping()];
    let cases = cases("clips.json");
    assert!(cases.len() >= 15);
    for case in cases {
        let name = case["file"].as_str().unwrap();
        let path = fixtures().join("clips").join(name);
        for decoder in &every {
            let clip = decoder.decode(&path, &SIX, &MediaLimits::default()).expect(name);
            let first = clip.first.unwrap();
            assert_eq!(first.digest().to_string(), case["first"].as_str().unwrap(), "{name} first");
            assert_eq!(first.pts_seconds, 0.0);
            assert_eq!(clip.frames.len(), 6);
            for (k, frame) in clip.frames.iter().enumerate() {
                let expected = &case["chosen"][k];
                let off = (frame.pts_seconds - expected[0].as_f64().unwrap()).abs();
                assert!(off < 1e-9, "{name} {k}: {frame:?}");
                assert_eq!(
                    frame.digest().to_string(),
                    expected[1].as_str().unwrap(),
                    "{name} {k}: {frame:?}"
                );
            }
        }
    }
}

#[test]
fn probing_says_what_ffprobe_says() {
    let decoder = FfmpegDecoder::default();
    for case in cases("clips.json") {
        let name = case["file"].as_str().unwrap();
        let path = fixtures().join("clips").join(name);
        let probe = decoder.probe(&path, &MediaLimits::default()).expect(name);
        assert_eq!(probe.codec, case["codec"].as_str().unwrap(), "{name}");
        assert_eq!(probe.pixel_format, case["pixel_format"].as_str().unwrap(), "{name}");
        assert_eq!([probe.width, probe.height], [number(&case["width"]), number(&case["height"])], "{name}");
        assert_eq!(u32::from(probe.rotation), number(&case["rotation"]), "{name}");
        assert_eq!(probe.has_audio, case["audio"].as_bool().unwrap(), "{name}");
        assert!(
            (probe.duration_seconds - case["duration"].as_f64().unwrap()).abs() < 1e-9,
            "{name} {probe:?}"
        );
        assert!((probe.fps - case["fps"].as_f64().unwrap()).abs() < 1e-6, "{name} {probe:?}");
        let decoded = decoder.decode(&path, &SIX, &MediaLimits::default()).unwrap();
        assert_eq!(decoded.probe, probe, "{name}");
    }
}

#[test]
fn skipping_changes_nothing_at_any_instant() {
    for case in cases("clips.json") {
        let name = case["file"].as_str().unwrap();
        let path = fixtures().join("clips").join(name);
        let full = FfmpegDecoder::default().without_skipping();
        let seconds: Vec<f64> = (0..100).map(|k| f64::from(k) * 0.05).collect();
        let all = full.decode(&path, &FrameRequest::At { seconds: seconds.clone() }, &MediaLimits::default());
        let all = all.unwrap().frames;
        for (instant, expected) in seconds.iter().zip(&all).step_by(3) {
            let request = FrameRequest::At { seconds: vec![*instant] };
            let one = FfmpegDecoder::default().decode(&path, &request, &MediaLimits::default()).unwrap();
            assert_eq!(one.frames[0], *expected, "{name} at {instant}");
        }
    }
}

#[test]
fn a_frames_own_time_leads_back_to_it() {
    let decoder = FfmpegDecoder::default();
    for name in ["h264-vfr.mp4", "h264-main-16refs.mkv", "vp9.webm"] {
        let path = fixtures().join("clips").join(name);
        let spread = FrameRequest::Spread { count: 25, first: false };
        let chosen = decoder.decode(&path, &spread, &MediaLimits::default()).unwrap();
        assert!(chosen.first.is_none());
        let seconds = chosen.frames.iter().map(|frame| frame.pts_seconds).collect();
        let again = decoder.decode(&path, &FrameRequest::At { seconds }, &MediaLimits::default()).unwrap();
        assert_eq!(chosen.frames, again.frames, "{name}");
    }
}

#[test]
fn instants_outside_the_clip_get_its_ends_and_neighbours_share_pixels() {
    let path = fixtures().join("clips/h264-bframes.mp4");
    let request = FrameRequest::At { seconds: vec![-3.0, 0.0, 0.01, 4.99, 1e9] };
    let clip = FfmpegDecoder::default().decode(&path, &request, &MediaLimits::default()).unwrap();
    let times: Vec<f64> = clip.frames.iter().map(|frame| frame.pts_seconds).collect();
    assert_eq!(times, [0.0, 0.0, 0.0, 4.96, 4.96]);
    let places: Vec<_> = [0, 2, 3].into_iter().map(|i| clip.frames[i].rgb.as_ptr()).collect();
    assert!(places[0] == places[1] && places[1] != places[2]);
}

#[test]
fn a_request_that_makes_no_sense_is_ours() {
    let path = fixtures().join("clips/h264-bframes.mp4");
    for request in [
        FrameRequest::Spread { count: 0, first: false },
        FrameRequest::At { seconds: vec![] },
        FrameRequest::At { seconds: vec![2.0, 1.0] },
        FrameRequest::At { seconds: vec![f64::NAN] },
    ] {
        let answer = FfmpegDecoder::default().decode(&path, &request, &MediaLimits::default());
        assert!(matches!(answer, Err(MediaFailure::Ours(_))), "{request:?}");
    }
}

#[test]
fn reordering_is_read_from_the_packets() {
    for (name, depth) in [("h264-bframes.mp4", 2), ("h264-short-gop.mp4", 0), ("hevc.mp4", 2)] {
        let clip = Demuxed::read(&fixtures().join("clips").join(name), &MediaLimits::default()).unwrap();
        assert_eq!(clip.reorder_depth(), depth, "{name}");
    }
}
