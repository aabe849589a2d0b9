//! Our side of `tests/peers/bench_peers`, one step or measurement a call, as one line of JSON.
//!
//! ```text
//! peers precisions DIR                  those of the forward pass that this processor can compute
//! peers model DIR                       a ViT-B/32 with random weights, in Hugging Face's format
//! peers pictures COUNT FILE             pictures of 224x224, RGB bytes
//! peers clip FILE                       five seconds of 1280x720 at 30 frames/s, drawn, H.264
//! peers embed DIR COUNT PRECISION       embeddings of those pictures
//! peers frames CLIP FILE                the six frames that are judged, RGB bytes
//! peers squares DIR CLIP PRECISION      embeddings of the six frames' centre squares
//! peers decode CLIP SECONDS CLIPS       seconds for each clip; CLIPS are decoded side by side
//! peers judge DIR CLIP PRECISION SECONDS CLIPS     the same from a clip to the embeddings of its centre squares
//! ```

use std::path::Path;
use std::time::Instant;

use nexis_core::media::tiles::own_view;
use nexis_core::media::{DecodedClip, FfmpegDecoder, FrameRequest, MediaDecoder, MediaLimits};
use nexis_core::model::{Crop, DualEncoder, ImageText, LoadOptions, Precision};
use nexis_core::synth::{ClipStyle, Scene, render_clip};
use nexis_tests::image_text::lcg_picture;
use nexis_tests::random_clip::{ClipShape, write_random_clip};
use rayon::prelude::*;
use serde_json::{Value, json};

/// Scene of the clip: rain and clouds move over a landscape.
const SEED: u64 = 7;

const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::Exact, Precision::Fast];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let line = match arguments.as_slice() {
        ["precisions", dir] => {
            let able = PRECISIONS.into_iter().filter(|precision| load(dir, *precision).is_ok());
            json!({ "precisions": able.map(|precision| precision.to_string()).collect::<Vec<_>>() })
        }
        ["model", dir] => {
            write_random_clip(Path::new(dir), &ClipShape::VIT_B_32).unwrap();
            json!({ "model": dir })
        }
        ["pictures", count, file] => {
            let bytes: Vec<u8> = pictures(count).into_iter().flat_map(|crop| crop.rgb).collect();
            std::fs::write(file, bytes).unwrap();
            json!({ "pictures": file })
        }
        ["clip", file] => {
            let file = Path::new(file);
            let style = ClipStyle { fps: 30, ..ClipStyle::default() };
            render_clip(&Scene::from_seed(SEED), &style, file, &file.with_extension("jpg")).unwrap();
            json!({ "clip": file, "bytes": std::fs::metadata(file).unwrap().len() })
        }
        ["embed", dir, count, precision] => {
            json!({ "embeddings": rows(&model(dir, precision), &pictures(count)) })
        }
        ["frames", clip, file] => {
            let decoded = six(&FfmpegDecoder::default(), clip);
            std::fs::write(file, decoded.frames.iter().flat_map(|f| f.rgb.to_vec()).collect::<Vec<_>>())
                .unwrap();
            let times: Vec<f64> = decoded.frames.iter().map(|f| f.pts_seconds).collect();
            json!({ "pts_seconds": times, "size": [decoded.probe.width, decoded.probe.height], "decoder": FfmpegDecoder::default().name() })
        }
        ["squares", dir, clip, precision] => {
            let model = model(dir, precision);
            let crops = squares(&six(&FfmpegDecoder::default(), clip), &model);
            json!({ "embeddings": rows(&model, &crops) })
        }
        ["decode", clip, seconds, clips] => measure(seconds, clips, || {
            six(&FfmpegDecoder::default(), clip);
        }),
        ["judge", dir, clip, precision, seconds, clips] => {
            let model = model(dir, precision);
            measure(seconds, clips, || {
                let crops = squares(&six(&FfmpegDecoder::default(), clip), &model);
                model.encode_image(&crops).unwrap();
            })
        }
        other => panic!("{other:?} is not among the commands at the top of this file"),
    };
    println!("{line}");
}

fn pictures(count: &str) -> Vec<Crop> {
    (0..count.parse().unwrap()).map(|i| lcg_picture(i, ClipShape::VIT_B_32.image as u32)).collect()
}

fn load(dir: &str, precision: Precision) -> nexis_core::Result<DualEncoder> {
    DualEncoder::load(dir, &LoadOptions { precision, ..LoadOptions::default() })
}

fn model(dir: &str, precision: &str) -> DualEncoder {
    load(dir, precision.parse().unwrap()).unwrap()
}

fn rows(model: &DualEncoder, crops: &[Crop]) -> Value {
    model.encode_image(crops).unwrap().rows().into_iter().map(|row| json!(row.to_vec())).collect()
}

fn six(decoder: &FfmpegDecoder, clip: &str) -> DecodedClip {
    let request = FrameRequest::Spread { count: 6, first: false };
    decoder.decode(Path::new(clip), &request, &MediaLimits::default()).unwrap()
}

/// What the model's own processor makes of the frames: their centre squares.
fn squares(clip: &DecodedClip, model: &DualEncoder) -> Vec<Crop> {
    clip.frames.iter().map(|frame| own_view(frame, model.preprocess()).unwrap()).collect()
}

/// Runs work for about as long as asked, so many times side by side, and says how long each took on average.
fn measure(seconds: &str, side_by_side: &str, work: impl Fn() + Sync) -> Value {
    let (seconds, side_by_side): (f64, usize) = (seconds.parse().unwrap(), side_by_side.parse().unwrap());
    let batch = || {
        let start = Instant::now();
        (0..side_by_side).into_par_iter().with_max_len(1).for_each(|_| work());
        start.elapsed().as_secs_f64()
    };
    batch();
    let start = Instant::now();
    let mut each = Vec::new();
    while each.is_empty() || start.elapsed().as_secs_f64() < seconds {
        each.push(batch() / side_by_side as f64);
    }
    json!({ "seconds_per_clip": each })
}
