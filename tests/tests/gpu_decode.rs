//! NVIDIA's decoder against FFmpeg's on the processor: the same frames, times and bytes. Needs a GPU.

#![cfg(feature = "cuda")]

use std::path::PathBuf;

use nexis_core::media::{FfmpegDecoder, FrameRequest, MediaDecoder, MediaLimits};
use nexis_tests::fixture;

fn clips(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(fixture(folder)).unwrap();
    let mut clips: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    clips.sort();
    clips
}

#[test]
#[cfg_attr(not(nexis_require_gpu), ignore = "needs a GPU")]
fn frames_are_the_processors_byte_for_byte() {
    let (device, processor) = (nexis_gpu::cuda::decoder(0).unwrap(), FfmpegDecoder::default());
    let limits = MediaLimits::default();
    let mut on_device = 0;
    for clip in ["media/clips", "media/colour"].into_iter().flat_map(clips) {
        for request in [
            FrameRequest::Spread { count: 6, first: true },
            FrameRequest::At { seconds: (0..20).map(|i| f64::from(i) * 0.21).collect() },
        ] {
            let Ok(expected) = processor.decode(&clip, &request, &limits) else {
                // What a device makes of a damaged stream is its own; it must end all the same.
                let _ = device.decode(&clip, &request, &limits);
                continue;
            };
            let found = device.decode(&clip, &request, &limits).unwrap_or_else(|e| panic!("{clip:?}: {e}"));
            on_device += u32::from(found.decoder == device.name());
            assert_eq!(found.probe, expected.probe, "{clip:?}");
            assert_eq!(found.frames.len(), expected.frames.len());
            for (a, b) in
                found.frames.iter().chain(&found.first).zip(expected.frames.iter().chain(&expected.first))
            {
                assert!(a == b, "{clip:?}, decoded by {}: {a:?} is not {b:?}", found.decoder);
            }
        }
    }
    assert!(on_device > 10, "only {on_device} clips were decoded on the device");
}
