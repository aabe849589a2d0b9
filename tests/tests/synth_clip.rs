//! Written clips come back as what was written, whichever encoder wrote them; stills too, and they are told from
//! other frames.

use std::path::Path;

use nexis_core::Error;
use nexis_core::hash::Digest;
use nexis_core::media::encode::{ClipOptions, H264Encoder, encode_clip, write_jpeg};
use nexis_core::media::jpeg::{SAME_PICTURE, StillLimits, decode_still, first_frame_similarity};
use nexis_core::media::{FfmpegDecoder, Frame, FrameRequest, MediaDecoder, MediaFailure, MediaLimits};

/// A landscape with a sun that crosses it: smooth areas, an edge, and something that moves.
fn scene(width: u32, height: u32, second: f64) -> Vec<u8> {
    let mut rgb = Vec::with_capacity((width * height * 3) as usize);
    let (w, h) = (f64::from(width), f64::from(height));
    let (sun_x, sun_y) = (w * (0.1 + 0.16 * second), h * 0.3);
    for y in 0..height {
        for x in 0..width {
            let (x, y) = (f64::from(x), f64::from(y));
            let hill = h * (0.6 + 0.15 * ((x / w + second * 0.2) * 9.0).sin());
            let colour = if (x - sun_x).hypot(y - sun_y) < h * 0.15 {
                [250.0, 220.0, 90.0]
            } else if y > hill {
                [40.0 + 40.0 * y / h, 120.0, 50.0]
            } else {
                [100.0, 150.0 + 60.0 * y / h, 230.0]
            };
            rgb.extend(colour.map(|c| c as u8));
        }
    }
    rgb
}

fn write(path: &Path, width: u32, height: u32, seconds: f64, options: &ClipOptions) -> u64 {
    let count = (seconds * f64::from(options.fps)) as u32;
    let fps = f64::from(options.fps);
    let mut frames = (0..count).map(|k| scene(width, height, f64::from(k) / fps));
    encode_clip(path, width, height, &mut frames, options).unwrap()
}

fn mean_difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let total: u64 = a.iter().zip(b).map(|(x, y)| u64::from(x.abs_diff(*y))).sum();
    total as f64 / a.len() as f64
}

#[test]
fn a_written_clip_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    for encoder in [H264Encoder::X264, H264Encoder::OpenH264] {
        let path = folder.path().join("clip.mp4");
        let options = ClipOptions { fps: 15, crf: 18, gop: 30, encoder, ..ClipOptions::default() };
        match encode_clip(&path, 16, 16, &mut std::iter::once(vec![0; 768]), &options) {
            // Not every FFmpeg has libx264.
            Err(Error::Missing { .. }) => {
                assert_eq!(encoder, H264Encoder::X264);
                continue;
            }
            other => assert_eq!(other.unwrap(), 1),
        }
        assert_eq!(write(&path, 160, 90, 5.0, &options), 75);
        let request = FrameRequest::Spread { count: 6, first: true };
        let clip = FfmpegDecoder::default().decode(&path, &request, &MediaLimits::default()).unwrap();
        let probe = &clip.probe;
        assert_eq!((probe.width, probe.height, probe.codec.as_str()), (160, 90, "h264"), "{encoder:?}");
        assert_eq!((probe.fps, probe.duration_seconds, probe.has_audio), (15.0, 5.0, false), "{encoder:?}");
        assert_eq!((probe.frame_count, probe.rotation), (Some(75), 0));
        assert_eq!(clip.frames.len(), 6);
        // (k + 0.5) * 5 / 6 seconds is frame 6.25 + 12.5 k.
        for (k, frame) in clip.frames.iter().enumerate() {
            let index = (6.25 + 12.5 * k as f64).floor();
            assert!((frame.pts_seconds - index / 15.0).abs() < 1e-4, "{encoder:?} {frame:?}");
            let off = mean_difference(&frame.rgb, &scene(160, 90, index / 15.0));
            assert!(off < 6.0, "{encoder:?} {frame:?} is off by {off}");
            // A neighbour a second away is further off: it is the right frame, not only a similar one.
            let elsewhere = mean_difference(&frame.rgb, &scene(160, 90, index / 15.0 + 1.0));
            assert!(elsewhere > off * 2.0, "{encoder:?} {off} {elsewhere}");
        }
        assert!(mean_difference(&clip.first.unwrap().rgb, &scene(160, 90, 0.0)) < 6.0);
    }
}

#[test]
fn the_same_frames_make_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for encoder in [H264Encoder::Auto, H264Encoder::OpenH264] {
        let options = ClipOptions { fps: 10, encoder, ..ClipOptions::default() };
        let digests = ["a.mp4", "b.mp4"].map(|name| {
            let path = folder.path().join(name);
            write(&path, 64, 48, 1.0, &options);
            Digest::of(std::fs::read(path).unwrap())
        });
        assert_eq!(digests[0], digests[1], "{encoder:?}");
    }
}

#[test]
fn flat_colours_survive_the_conversion() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flat.mp4");
    let options = ClipOptions { fps: 1, crf: 1, ..ClipOptions::default() };
    let colours =
        [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128], [200, 120, 40]];
    let mut frames = colours.iter().map(|c: &[u8; 3]| c.repeat(32 * 32));
    encode_clip(&path, 32, 32, &mut frames, &options).unwrap();
    let seconds = (0..colours.len()).map(|k| k as f64).collect();
    let clip = FfmpegDecoder::default()
        .decode(&path, &FrameRequest::At { seconds }, &MediaLimits::default())
        .unwrap();
    assert_eq!(clip.frames.len(), colours.len());
    for (frame, colour) in clip.frames.iter().zip(colours) {
        assert_eq!(frame.rgb.len(), 32 * 32 * 3);
        for (got, want) in frame.rgb.iter().zip(colour.iter().cycle()) {
            assert!(got.abs_diff(*want) <= 3, "{colour:?} became {:?}", &frame.rgb[..3]);
        }
    }
}

#[test]
fn what_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    let options = ClipOptions::default();
    let one = || std::iter::once(vec![0_u8; 32 * 32 * 3]);
    let usage =
        |result: Result<u64, Error>| assert!(matches!(result, Err(Error::Usage { .. })), "{result:?}");
    usage(encode_clip(&path, 31, 32, &mut one(), &options));
    usage(encode_clip(&path, 0, 32, &mut one(), &options));
    usage(encode_clip(&path, 32, 64, &mut one(), &options));
    usage(encode_clip(&path, 32, 32, &mut std::iter::empty(), &options));
    usage(encode_clip(&path, 32, 32, &mut one(), &ClipOptions { fps: 0, ..options }));
    usage(encode_clip(&path, 32, 32, &mut one(), &ClipOptions { crf: 52, ..options }));
    let nowhere = folder.path().join("absent/clip.mp4");
    let error = encode_clip(&nowhere, 32, 32, &mut one(), &options).unwrap_err();
    assert!(error.to_string().contains("writing a clip"), "{error}");
    assert!(write_jpeg(&path, 2, 2, &[0; 11], 90).is_err());
    assert!(write_jpeg(&path, 2, 2, &[0; 12], 0).is_err());
    write_jpeg(&path, 2, 2, &[0; 12], 90).unwrap();
}

#[test]
fn a_still_is_told_from_another_second_at_every_quality() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("first.jpg");
    let (width, height) = (640, 360);
    let frame =
        |second| Frame { width, height, pts_seconds: second, rgb: scene(width, height, second).into() };
    let first = frame(0.0);
    for quality in [30, 50, 75, 95] {
        write_jpeg(&path, width, height, &first.rgb, quality).unwrap();
        let still = decode_still(&std::fs::read(&path).unwrap(), &StillLimits::default()).unwrap();
        assert_eq!((still.width, still.height), (width, height));
        let same = first_frame_similarity(&first, &still).unwrap();
        assert!(same > SAME_PICTURE, "quality {quality}: {same}");
        let later = first_frame_similarity(&frame(1.0), &still).unwrap();
        assert!(later < SAME_PICTURE, "quality {quality}: {later}");
        // A still in another size is still the same picture.
        let small = first_frame_similarity(&first.resized(320, 180).unwrap(), &still).unwrap();
        assert!(small > SAME_PICTURE, "{small}");
    }
    assert_eq!(first_frame_similarity(&first, &first).unwrap(), 1.0);
}

#[test]
fn a_still_beyond_its_limits_or_of_another_kind_is_the_miners_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("still.jpg");
    write_jpeg(&path, 64, 48, &scene(64, 48, 0.0), 90).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let limits = StillLimits::default();
    assert!(decode_still(&bytes, &limits).is_ok());
    let refused = |bytes: &[u8], limits: &StillLimits| {
        assert!(matches!(decode_still(bytes, limits), Err(MediaFailure::Clip(_))));
    };
    refused(&bytes, &StillLimits { max_bytes: bytes.len() - 1, ..limits });
    refused(&bytes, &StillLimits { max_pixels: 64 * 48 - 1, ..limits });
    refused(b"", &limits);
    refused(b"GIF89a and what follows", &limits);
    for length in [2, 20, bytes.len() / 10] {
        refused(&bytes[..length], &limits);
    }
    // A size of 65500 x 65500 in the header of a tiny file.
    let mut huge = bytes.clone();
    let at = huge.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    huge[at + 5..at + 9].copy_from_slice(&[0xff, 0xdc, 0xff, 0xdc]);
    refused(&huge, &limits);
    // Flipped bytes never panic.
    let mut state = 1_u32;
    for _ in 0..300 {
        let mut flipped = bytes.clone();
        for _ in 0..4 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (state >> 8) as usize % flipped.len();
            flipped[at] = state as u8;
        }
        let answer = decode_still(&flipped, &limits);
        assert!(!matches!(answer, Err(MediaFailure::Ours(_))));
    }
}
