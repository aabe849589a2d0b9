//! NVIDIA's decoder against FFmpeg's on the processor: the same frames, times and bytes. Needs a GPU.

#![cfg(feature = "cuda")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use nexis_core::media::{FfmpegDecoder, FrameRequest, MediaDecoder, MediaLimits};
use nexis_gpu::compute::Compute;
use nexis_gpu::cuda::{Cuda, CudaMemory};
use nexis_gpu::resident::Resident;
use nexis_tests::fixture;

fn clips(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(fixture(folder)).unwrap();
    let mut clips: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    clips.sort();
    clips
}

/// A copy of a clip in which a few bits are others; none in the container's first quarter.
fn damaged(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = bytes.to_vec();
    let (begin, length) = (bytes.len() / 4, bytes.len() - bytes.len() / 4);
    for _ in 0..3 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes[begin + (state >> 33) as usize % length] ^= 1 << (state >> 20 & 7);
    }
    bytes
}

/// A decoder is kept from clip to clip, and its memory with it.
#[test]
#[cfg_attr(not(nexis_require_gpu), ignore = "needs a GPU")]
fn a_damaged_clip_shows_nothing_of_the_clips_before_it() {
    let kept = nexis_gpu::cuda::decoder(0).unwrap();
    let (limits, folder) = (MediaLimits::default(), tempfile::tempdir().unwrap());
    let request = FrameRequest::Spread { count: 6, first: true };
    let mut shown = 0;
    for clip in clips("media/clips") {
        let bytes = std::fs::read(&clip).unwrap();
        for seed in 0..2 {
            let name = format!("{seed}-{}", clip.file_name().unwrap().to_str().unwrap());
            let path = folder.path().join(&name);
            std::fs::write(&path, damaged(&bytes, seed)).unwrap();
            // Of a device of its own, so that the decoder is a new one.
            let alone = nexis_gpu::cuda::decoder(0).unwrap().decode(&path, &request, &limits);
            for neighbour in [&fixture("media/clips/turned-90.mp4"), &clip] {
                let _ = kept.decode(neighbour, &request, &limits);
                let after = kept.decode(&path, &request, &limits);
                match (&alone, after) {
                    (Ok(alone), Ok(after)) => {
                        assert!(
                            alone.frames == after.frames && alone.first == after.first,
                            "{name} after {neighbour:?}"
                        );
                        shown += 1;
                    }
                    (Err(_), Err(_)) => {}
                    (alone, after) => {
                        panic!("{name}: {} alone, {} after {neighbour:?}", alone.is_ok(), after.is_ok())
                    }
                }
            }
        }
    }
    assert!(shown > 0, "all were refused: nothing was compared");
}

/// Clips that every device decodes that there are kernels for.
const ON_DEVICE: [&str; 16] = [
    "h264-audio.mp4",
    "h264-bframes.mp4",
    "h264-edit-list.mp4",
    "h264-fragmented.mp4",
    "h264-interlaced.mp4",
    "h264-main-16refs.mkv",
    "h264-open-gop.mp4",
    "h264-short-gop.mp4",
    "h264-vfr.mp4",
    "turned-180.mp4",
    "turned-270.mp4",
    "turned-90.mp4",
    "yuv420p-bt709-full.mp4",
    "yuv420p-bt709-limited.mp4",
    "yuv420p-smpte170m-full.mp4",
    "yuv420p-smpte170m-limited.mp4",
];

/// Clips that only some devices decode: AV1 from Ada Lovelace on, and it, HEVC and VP9 not everywhere in pictures as small as
/// these; H.264 in ten bits from Blackwell on.
const ON_SOME: [&str; 6] = [
    "av1.mp4",
    "hevc-10bit.mkv",
    "hevc.mp4",
    "vp9.webm",
    "yuv420p10le-bt2020nc-limited.mp4",
    "yuv420p10le-bt709-limited.mp4",
];

#[test]
#[cfg_attr(not(nexis_require_gpu), ignore = "needs a GPU")]
fn frames_are_the_processors_byte_for_byte() {
    let (device, processor) = (nexis_gpu::cuda::decoder(0).unwrap(), FfmpegDecoder::default());
    let encoder = Cuda::open(0).unwrap();
    let limits = MediaLimits::default();
    let mut seen = BTreeSet::new();
    for clip in ["media/clips", "media/colour"].into_iter().flat_map(clips) {
        for request in [
            FrameRequest::Spread { count: 6, first: true },
            FrameRequest::At { seconds: (0..20).map(|i| f64::from(i) * 0.21).collect() },
        ] {
            let Ok(expected) = processor.decode(&clip, &request, &limits) else {
                // A device may conceal damage; it must end all the same.
                let _ = device.decode(&clip, &request, &limits);
                continue;
            };
            let found = device.decode(&clip, &request, &limits).unwrap_or_else(|e| panic!("{clip:?}: {e}"));
            let name = clip.file_name().unwrap().to_str().unwrap();
            // What is in neither list has other chroma, which is for the processor.
            if !ON_SOME.contains(&name) {
                let by = if ON_DEVICE.contains(&name) { device.name() } else { processor.name() };
                assert_eq!(found.decoder, by, "{name}");
            }
            seen.insert(name.to_owned());
            assert_eq!(found.probe, expected.probe, "{clip:?}");
            assert_eq!(found.frames.len(), expected.frames.len());
            for (a, b) in
                found.frames.iter().chain(&found.first).zip(expected.frames.iter().chain(&expected.first))
            {
                assert!(a == b, "{clip:?}, decoded by {}: {a:?} is not {b:?}", found.decoder);
                let copy = a.rgb.copy::<Resident<CudaMemory>>();
                assert_eq!(copy.is_some(), found.decoder == device.name(), "{clip:?}");
                // Whoever encodes on the device finds the same there.
                if let Some(copy) = copy {
                    let memory = copy.memory().unwrap();
                    assert!(encoder.reaches(memory));
                    let there = encoder.fetch(Cuda::span(memory).part(0, copy.bytes()).unwrap()).unwrap();
                    assert!(*there == *b.rgb, "{clip:?}: {b:?} is another one on the device");
                }
            }
        }
    }
    for name in ON_DEVICE.iter().chain(&ON_SOME) {
        assert!(seen.contains(*name), "{name} was not decoded");
    }
}
