//! What decoding, converting and resizing cost: `cargo bench -p nexis-tests --bench media`.

#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nexis_core::media::encode::{ClipOptions, encode_clip};
use nexis_core::media::resize::{Resample, resize_rgb};
use nexis_core::media::yuv::{Chroma, Depth, Matrix, Plane, Yuv};
use nexis_core::media::{FfmpegDecoder, Frame, FrameRequest, MediaDecoder, MediaLimits, tiles};

const SIZE: (u32, u32) = (1280, 720);

/// Hills that pass by under a sky, with a little grain that stays: about what a camera on a train sees.
fn picture(k: u32) -> Vec<u8> {
    let (width, height) = SIZE;
    let mut rgb = Vec::with_capacity((width * height * 3) as usize);
    let edge: Vec<u32> = (0..width)
        .map(|x| {
            let along = f64::from(x + 4 * k);
            (400.0 + 70.0 * (along / 140.0).sin() + 25.0 * (along / 31.0).sin()) as u32
        })
        .collect();
    for y in 0..height {
        for (x, &edge) in edge.iter().enumerate() {
            let grain = ((x as u32 + 4 * k).wrapping_mul(7919) ^ y.wrapping_mul(104_729)) >> 3 & 7;
            let [r, g, b] = if y < edge { [110, 150 + y / 8, 220] } else { [60 + (y - edge) / 4, 110, 50] };
            rgb.extend([r + grain, g + grain, b + grain].map(|c| c as u8));
        }
    }
    rgb
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.trim().to_owned())
}

fn decode(path: &Path, decoder: &FfmpegDecoder) -> usize {
    let request = FrameRequest::Spread { count: 6, first: false };
    decoder.decode(path, &request, &MediaLimits::default()).unwrap().frames.len()
}

fn media(c: &mut Criterion) {
    let (width, height) = SIZE;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    let options = ClipOptions::default();
    let mut frames = (0..150).map(picture);
    encode_clip(&path, width, height, &mut frames, &options).unwrap();
    let size = std::fs::metadata(&path).unwrap().len();
    println!(
        "{}; {}; clip of 5 s at {}x{height}, {} fps, {size} bytes; nexis {}",
        processor(),
        FfmpegDecoder::default().name(),
        width,
        options.fps,
        env!("CARGO_PKG_VERSION")
    );

    let mut group = c.benchmark_group("clip");
    group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(8));
    let one = FfmpegDecoder::default();
    group.bench_function("six frames", |b| b.iter(|| decode(&path, black_box(&one))));
    let full = FfmpegDecoder::default().without_skipping();
    group.bench_function("six frames, decoding all", |b| b.iter(|| decode(&path, black_box(&full))));
    group.bench_function("probe", |b| b.iter(|| one.probe(&path, &MediaLimits::default()).unwrap()));
    group.finish();

    let mut group = c.benchmark_group("picture");
    group.sample_size(20).measurement_time(Duration::from_secs(4));
    let luma: Vec<u8> = (0..width * height).map(|i| (i % 220 + 16) as u8).collect();
    let chroma: Vec<u8> = (0..width * height / 4).map(|i| (i % 200 + 28) as u8).collect();
    let yuv = Yuv {
        width,
        height,
        depth: Depth::Eight,
        log2_x: 1,
        log2_y: 1,
        luma: Plane { bytes: &luma, stride: width as usize },
        chroma: Chroma::Planar {
            u: Plane { bytes: &chroma, stride: width as usize / 2 },
            v: Plane { bytes: &chroma, stride: width as usize / 2 },
        },
        matrix: Matrix::Bt709,
        full_range: false,
    };
    group.bench_function("1280x720 4:2:0 to RGB", |b| b.iter(|| black_box(&yuv).to_rgb()));
    let rgb = picture(0);
    group.bench_function("1280x720 to 398x224", |b| {
        b.iter(|| resize_rgb(black_box(&rgb), width, height, 398, 224))
    });
    let frame = Frame { width, height, pts_seconds: 0.0, rgb: rgb.into() };
    group.bench_function("three squares of 224", |b| {
        b.iter(|| tiles::tiles(black_box(&frame), 224, Resample::Bicubic))
    });
    group.finish();
}

criterion_group!(benches, media);
criterion_main!(benches);
