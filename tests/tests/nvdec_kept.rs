//! The whole of `media::hardware` over FFmpeg, on a driver that only counts: `nexis-py/ffmpeg/check/run --rust` runs it, and compares
//! what was counted.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nexis_core::Result;
use nexis_core::media::hardware::{DeviceConverter, DevicePicture, NvdecDecoder};
use nexis_core::media::{DecodedClip, FfmpegDecoder, FrameRequest, MediaDecoder, MediaLimits, Pixels};
use nexis_tests::fixture;
use rayon::prelude::*;

/// Clips that any device decodes.
const CLIPS: [&str; 9] = [
    "h264-audio.mp4",
    "h264-bframes.mp4",
    "h264-edit-list.mp4",
    "h264-fragmented.mp4",
    "h264-main-16refs.mkv",
    "h264-open-gop.mp4",
    "h264-short-gop.mp4",
    "h264-vfr.mp4",
    "hevc.mp4",
];

/// Converts nothing: pictures are grey.
#[derive(Default)]
struct Grey(AtomicUsize);

impl DeviceConverter for Grey {
    fn to_rgb(&self, picture: &DevicePicture, _: u16) -> Result<Pixels> {
        assert!(picture.planes.iter().all(|plane| *plane != 0), "a picture without pixels is shown");
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(vec![128; picture.width as usize * picture.height as usize * 3].into())
    }
}

fn clips() -> Vec<PathBuf> {
    CLIPS.map(|name| fixture("media/clips").join(name)).into()
}

fn times(decoded: &DecodedClip) -> Vec<f64> {
    decoded.frames.iter().map(|frame| frame.pts_seconds).collect()
}

#[test]
#[ignore = "needs the driver of nexis-py/ffmpeg/check"]
fn every_frame_that_was_asked_for_comes_from_the_device() {
    let grey = Arc::new(Grey::default());
    let device = NvdecDecoder::open(0, Arc::clone(&grey) as Arc<dyn DeviceConverter>).unwrap();
    let limits = MediaLimits::default();
    let requests = [
        FrameRequest::Spread { count: 6, first: true },
        FrameRequest::Spread { count: 12, first: false },
        FrameRequest::At { seconds: (0..20).map(|i| f64::from(i) * 0.21).collect() },
    ];
    for round in 0..3 {
        clips().par_iter().for_each(|clip| {
            for request in &requests {
                let expected = FfmpegDecoder::default().decode(clip, request, &limits).unwrap();
                let found = device.decode(clip, request, &limits).unwrap();
                assert_eq!(found.decoder, device.name(), "{clip:?}, round {round}");
                assert_eq!((times(&found), found.probe), (times(&expected), expected.probe), "{clip:?}");
                assert_eq!(found.first.is_some(), expected.first.is_some());
            }
        });
    }
    assert!(grey.0.load(Ordering::SeqCst) > 0);
    for clip in clips() {
        device.set_up(&clip, &limits).unwrap();
    }
}

#[test]
#[ignore = "needs the driver of nexis-py/ffmpeg/check"]
fn a_clip_whose_pictures_become_others_is_the_processors() {
    let device = NvdecDecoder::open(0, Arc::new(Grey::default())).unwrap();
    let (request, limits) = (FrameRequest::Spread { count: 6, first: true }, MediaLimits::default());
    let clip = fixture("media/hostile/changing-size.mp4");
    let expected = FfmpegDecoder::default().decode(&clip, &request, &limits).map(|decoded| times(&decoded));
    let found = device.decode(&clip, &request, &limits).map(|decoded| times(&decoded));
    assert_eq!(format!("{found:?}"), format!("{expected:?}"));
}
