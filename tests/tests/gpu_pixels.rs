//! The kernels before the network, on an emulated device: every byte equals the processor's.

use nexis_core::media::resize::{Resample, resample_rgb};
use nexis_core::media::tiles::{TileLayout, tiles};
use nexis_core::media::yuv::{Chroma, Coefficients, Depth, Matrix, Plane, Yuv, rotate};
use nexis_core::media::{FfmpegDecoder, Frame, FrameRequest, MediaDecoder, MediaLimits};
use nexis_core::model::{Fit, PreprocessSpec};
use nexis_gpu::compute::{Compute, Format, Span};
use nexis_gpu::kernels::{DeviceChroma, DeviceTaps, DeviceYuv, InputFormat, Kernels, TilePlan};
use nexis_tests::emulated::{Emulated, rounded};
use nexis_tests::{device_tests, fixture};

/// Bytes of a fixed sequence.
fn noise(count: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..count).map(step).collect()
}

fn on<C: Compute>(device: &C, bytes: &[u8]) -> C::Memory {
    let memory = device.allocate(bytes.len()).unwrap().unwrap();
    device.upload(bytes, C::span(&memory)).unwrap();
    memory
}

fn room<C: Compute>(device: &C, bytes: usize) -> C::Memory {
    device.allocate(bytes).unwrap().unwrap()
}

fn back<C: Compute>(device: &C, from: Span<'_>) -> Vec<u8> {
    let mut bytes = vec![0; from.bytes()];
    device.download(from, &mut bytes).unwrap();
    bytes
}

/// A picture of noise in every layout that a decoder gives, and the same on a device.
struct Picture {
    width: u32,
    height: u32,
    depth: Depth,
    log2: (u32, u32),
    /// 0 for grey, 1 for U and V alternating, 2 for planes.
    chroma: usize,
    matrix: Matrix,
    full_range: bool,
    luma: Vec<u8>,
    first: Vec<u8>,
    second: Vec<u8>,
    stride: usize,
    chroma_stride: usize,
}

impl Picture {
    fn new(size: (u32, u32), depth: Depth, log2: (u32, u32), chroma: usize, seed: u32) -> Self {
        let (width, height) = size;
        let sample = if depth == Depth::Eight { 1 } else { 2 };
        let chroma_width = width.div_ceil(1 << log2.0) as usize * if chroma == 1 { 2 } else { 1 };
        // Rows with something behind them, which is not to be read as a sample.
        let (stride, chroma_stride) = (width as usize * sample + 6, chroma_width * sample + 10);
        let rows = height.div_ceil(1 << log2.1) as usize;
        let matrices = [Matrix::Bt601, Matrix::Bt709, Matrix::Fcc, Matrix::Smpte240m, Matrix::Bt2020];
        Self {
            width,
            height,
            depth,
            log2,
            chroma,
            matrix: matrices[seed as usize % 5],
            full_range: seed / 5 % 2 == 1,
            luma: noise(stride * height as usize, seed),
            first: noise(chroma_stride * rows, seed + 1000),
            second: noise(chroma_stride * rows, seed + 2000),
            stride,
            chroma_stride,
        }
    }

    /// For messages: its pixels are too many to show.
    fn name(&self) -> String {
        let Self { width, height, depth, log2, chroma, matrix, full_range, .. } = self;
        format!("{width}x{height} {depth:?} {log2:?} {chroma} {matrix:?} {full_range}")
    }

    fn yuv(&self) -> Yuv<'_> {
        let plane = |bytes| Plane { bytes, stride: self.chroma_stride };
        Yuv {
            width: self.width,
            height: self.height,
            depth: self.depth,
            log2_x: self.log2.0,
            log2_y: self.log2.1,
            luma: Plane { bytes: &self.luma, stride: self.stride },
            chroma: match self.chroma {
                0 => Chroma::None,
                1 => Chroma::Interleaved(plane(&self.first)),
                _ => Chroma::Planar { u: plane(&self.first), v: plane(&self.second) },
            },
            matrix: self.matrix,
            full_range: self.full_range,
        }
    }

    fn with_device<C: Compute, R>(&self, device: &C, run: impl FnOnce(&DeviceYuv<'_>) -> R) -> R {
        let planes = [&self.luma, &self.first, &self.second].map(|bytes| on(device, bytes));
        let [luma, first, second] = [0, 1, 2].map(|i| C::span(&planes[i]));
        run(&DeviceYuv {
            width: self.width,
            height: self.height,
            sample_bytes: if self.depth == Depth::Eight { 1 } else { 2 },
            down: if self.depth == Depth::TenHigh { 6 } else { 0 },
            log2_x: self.log2.0,
            log2_y: self.log2.1,
            luma,
            stride: self.stride as u32,
            chroma: match self.chroma {
                0 => DeviceChroma::None,
                1 => DeviceChroma::Interleaved(first),
                _ => DeviceChroma::Planar(first, second),
            },
            chroma_stride: self.chroma_stride as u32,
            coefficients: Coefficients::new(self.matrix, self.full_range, self.depth),
        })
    }
}

/// Every depth, layout, matrix and range, over edges that fill no block.
fn pictures() -> Vec<Picture> {
    let mut all = Vec::new();
    for size in [(1, 1), (1, 9), (17, 1), (33, 14), (300, 7)] {
        for depth in [Depth::Eight, Depth::Ten, Depth::TenHigh] {
            for log2 in [(0, 0), (1, 0), (1, 1)] {
                for chroma in 0..3 {
                    for colours in 0..10 {
                        all.push(Picture::new(size, depth, log2, chroma, colours));
                    }
                }
            }
        }
    }
    all
}

fn colours_are_the_processors<C: Compute>(open: impl Fn() -> C) {
    let device = open();
    for picture in pictures() {
        let expected = picture.yuv().to_rgb().unwrap();
        let (width, height) = (picture.width, picture.height);
        for turns in 0..4 {
            let found = picture.with_device(&device, |yuv| {
                let out = room(&device, expected.len());
                Kernels(&device).yuv_to_rgb(yuv, turns, C::span(&out)).unwrap();
                back(&device, C::span(&out))
            });
            let (_, _, turned) = rotate(expected.clone(), width, height, turns as u16 * 90);
            assert!(found == *turned, "{turns} turns of {}", picture.name());
        }
    }
}

fn every_value_of_luma_and_chroma_is_converted_as_on_the_processor<C: Compute>(open: impl Fn() -> C) {
    let device = open();
    // All pairs of U and V with a luma that goes through its values: 8 bits whole, 10 bits in steps.
    for (depth, step) in [(Depth::Eight, 1_u16), (Depth::Ten, 5), (Depth::TenHigh, 5)] {
        let top = if depth == Depth::Eight { 255 } else { 1023_u16 };
        let values: Vec<u16> = (0..=top).step_by(step.into()).chain([top]).collect();
        let encode = |value: u16| match depth {
            Depth::Eight => vec![value as u8],
            Depth::Ten => value.to_le_bytes().to_vec(),
            Depth::TenHigh => (value << 6).to_le_bytes().to_vec(),
        };
        let edge = values.len();
        let mut picture = Picture::new((edge as u32, edge as u32), depth, (0, 0), 2, 0);
        let plane = |value: &dyn Fn(usize, usize) -> u16| -> Vec<u8> {
            (0..edge).flat_map(|y| (0..edge).flat_map(move |x| encode(value(x, y)))).collect()
        };
        picture.luma = plane(&|x, y| values[(x * 7 + y * 3) % edge]);
        picture.first = plane(&|x, _| values[x]);
        picture.second = plane(&|_, y| values[y]);
        picture.stride = picture.luma.len() / edge;
        picture.chroma_stride = picture.stride;
        for colours in 0..10 {
            picture.matrix = Picture::new((1, 1), depth, (0, 0), 0, colours).matrix;
            picture.full_range = colours >= 5;
            let found = picture.with_device(&device, |yuv| {
                let out = room(&device, edge * edge * 3);
                Kernels(&device).yuv_to_rgb(yuv, 0, C::span(&out)).unwrap();
                back(&device, C::span(&out))
            });
            assert!(found == *picture.yuv().to_rgb().unwrap(), "{}", picture.name());
        }
    }
}

fn both_passes_of_a_resize_are_the_processors<C: Compute>(open: impl Fn() -> C) {
    let device = open();
    let edges = [1, 2, 3, 5, 17, 64, 130];
    for resample in [Resample::Bicubic, Resample::Bilinear] {
        resizes(&device, &edges, resample);
    }
}

fn resizes<C: Compute>(device: &C, edges: &[u32], resample: Resample) {
    let kernels = Kernels(device);
    for &width in edges {
        for &height in edges {
            // The processor takes the columns of such pictures first; tiles are not cut from them.
            if height > width * 100 {
                continue;
            }
            let rgb = noise((width * height * 3) as usize, width * 1000 + height);
            for (to_width, to_height) in [(1, 1), (7, 50), (50, 7), (200, 3), (width, 31), (31, height)] {
                let (across, down) = (
                    DeviceTaps::upload(device, width, to_width, resample).unwrap(),
                    DeviceTaps::upload(device, height, to_height, resample).unwrap(),
                );
                let source = on(device, &rgb);
                let rows = room(device, (to_width * height * 3) as usize);
                let out = room(device, (to_width * to_height * 3) as usize);
                let (source, rows, out) = (C::span(&source), C::span(&rows), C::span(&out));
                kernels.rows_from_rgb(source, height as usize, &across, rows).unwrap();
                kernels.columns_to_bytes(rows, to_width as usize, &down, out).unwrap();
                let expected = resample_rgb(&rgb, width, height, to_width, to_height, resample).unwrap();
                let at = format!("{width}x{height} to {to_width}x{to_height}, {resample:?}");
                assert!(back(device, out) == expected, "{at}");
            }
        }
    }
}

/// The input of a network of this shape, as the processor makes it: patch by patch, channel, line, column.
fn expected_input(spec: &PreprocessSpec, frame: &Frame, patch: usize, row: usize) -> Vec<f32> {
    let grid = spec.size as usize / patch;
    let mut out = Vec::new();
    for crop in tiles(frame, spec.size, spec.resample).unwrap() {
        let values = spec.pixel_values(&crop).unwrap();
        for (y, x) in (0..grid).flat_map(|y| (0..grid).map(move |x| (y * patch, x * patch))) {
            let end = out.len() + row;
            for channel in 0..3 {
                for line in 0..patch {
                    out.extend((0..patch).map(|column| values[[channel, y + line, x + column]]));
                }
            }
            out.resize(end, 0.0);
        }
    }
    out
}

fn input_on_device<C: Compute>(
    device: &C,
    spec: &PreprocessSpec,
    frame: &Frame,
    patch: u32,
    row: u32,
    format: InputFormat,
    shift: usize,
) -> Vec<u8> {
    let kernels = Kernels(device);
    let layout = TileLayout::new(frame.width, frame.height, spec.size).unwrap();
    let corners: Vec<_> = layout.corners().collect();
    let values = corners.len() * (spec.size / patch).pow(2) as usize * row as usize;
    let across = DeviceTaps::upload(device, frame.width, layout.width(), spec.resample).unwrap();
    let down = DeviceTaps::upload(device, frame.height, layout.height(), spec.resample).unwrap();
    let levels: Vec<u8> = (0..3)
        .flat_map(|channel| {
            (0..=255).map(move |byte| {
                let crop = nexis_core::model::Crop { size: 1, rgb: vec![byte; 3] };
                let one = PreprocessSpec { size: 1, ..spec.clone() };
                one.pixel_values(&crop).unwrap()[[channel, 0, 0]]
            })
        })
        .flat_map(f32::to_le_bytes)
        .collect();
    let (source, levels) = (on(device, &frame.rgb), on(device, &levels));
    let rows = room(device, (layout.width() * frame.height * 3) as usize);
    let bytes = values * if format == InputFormat::F32 { 4 } else { 2 };
    // The input begins `shift` bytes behind where memory begins.
    let out = room(device, shift + bytes);
    let out = C::span(&out).part(shift, bytes).unwrap();
    kernels.rows_from_rgb(C::span(&source), frame.height as usize, &across, C::span(&rows)).unwrap();
    let plan = TilePlan { size: spec.size, patch, row, width: layout.width(), corners };
    let (rows, levels) = (C::span(&rows), C::span(&levels));
    kernels.columns_to_input(rows, 1, &down, &plan, levels, format, out).unwrap();
    back(device, out)
}

fn spec(size: u32) -> PreprocessSpec {
    let (mean, std) = ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1]);
    PreprocessSpec { size, resample: Resample::Bicubic, fit: Fit::Centre, mean, std, rescale: 1.0 / 255.0 }
}

fn the_networks_input_is_the_processors_to_the_bit<C: Compute>(open: impl Fn() -> C) {
    let device = open();
    for (width, height) in [(64, 64), (80, 45), (45, 80), (200, 31), (31, 200), (20, 33)] {
        // A whole tile, channel by channel; patches; patches that leave a rest, and rows that are filled up.
        for (size, patch, row) in [(32, 32, 3072), (32, 8, 192), (33, 8, 200), (28, 14, 592)] {
            is_the_processors(&device, (width, height), (size, patch, row), 0);
        }
    }
    // Pictures that are not resized, of one tile and of three, in whole vectors and in others.
    for frame in [(64, 64), (224, 64), (200, 64), (64, 130)] {
        for network in [(64, 16, 768), (64, 14, 592)] {
            is_the_processors(&device, frame, network, 0);
        }
    }
    // Rows that are no whole vectors, that begin beside one, and more than a block keeps.
    is_the_processors(&device, (80, 45), (28, 14, 588), 0);
    is_the_processors(&device, (80, 45), (32, 8, 192), 4);
    is_the_processors(&device, (64, 64), (120, 120, 43_200), 0);
}

fn is_the_processors<C: Compute>(
    device: &C,
    (width, height): (u32, u32),
    (size, patch, row): (u32, u32, u32),
    shift: usize,
) {
    let rgb = noise((width * height * 3) as usize, width).into();
    let frame = Frame { width, height, pts_seconds: 0.0, rgb };
    let resample = if size == 33 { Resample::Bilinear } else { Resample::Bicubic };
    let spec = PreprocessSpec { resample, ..spec(size) };
    let expected = expected_input(&spec, &frame, patch as usize, row as usize);
    let at = format!("{width}x{height}, {size}/{patch}");
    let found = input_on_device(device, &spec, &frame, patch, row, InputFormat::F32, shift);
    let bits: Vec<u8> = expected.iter().flat_map(|x| x.to_le_bytes()).collect();
    assert!(found == bits, "{at}");
    for format in [Format::Bf16, Format::F16] {
        let found = input_on_device(device, &spec, &frame, patch, row, InputFormat::Short(format), shift);
        let bits: Vec<u8> = expected.iter().flat_map(|x| format.rounded(*x).to_le_bytes()).collect();
        assert!(found == bits, "{at} {format:?}");
    }
}

fn frames_of_the_fixtures_give_the_processors_input<C: Compute>(open: impl Fn() -> C) {
    let device = open();
    let mut seen = 0;
    let mut clips: Vec<_> =
        std::fs::read_dir(fixture("media/colour")).unwrap().map(|entry| entry.unwrap().path()).collect();
    clips.sort();
    for clip in
        clips.iter().filter(|clip| clip.extension().is_some_and(|e| e == "mp4" || e == "mkv" || e == "webm"))
    {
        let request = FrameRequest::Spread { count: 1, first: false };
        let decoded = FfmpegDecoder::default().decode(clip, &request, &MediaLimits::default()).unwrap();
        let frame = &decoded.frames[0];
        let spec = spec(56);
        let found = input_on_device(&device, &spec, frame, 14, 592, InputFormat::F32, 0);
        let expected = expected_input(&spec, frame, 14, 592);
        assert!(found == expected.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>(), "{clip:?}");
        seen += 1;
    }
    assert!(seen > 5, "{seen} clips");
}

fn what_leaves_its_memory_is_refused_before_a_launch<C: Compute>(open: impl Fn() -> C) {
    let device = open();
    let kernels = Kernels(&device);
    let picture = Picture::new((33, 14), Depth::TenHigh, (1, 1), 1, 3);
    picture.with_device(&device, |yuv| {
        let out = room(&device, 33 * 14 * 3);
        let span = C::span(&out);
        kernels.yuv_to_rgb(yuv, 0, span).unwrap();
        kernels.yuv_to_rgb(yuv, 0, span.part(0, 33 * 14 * 3 - 1).unwrap()).unwrap_err();
        let plane = |at, bytes| yuv.luma.part(at, bytes).unwrap();
        let short = DeviceYuv { luma: plane(0, yuv.luma.bytes() - 7), ..*yuv };
        kernels.yuv_to_rgb(&short, 0, span).unwrap_err();
        // Samples of two bytes at an odd address.
        let odd = DeviceYuv { luma: plane(1, yuv.luma.bytes() - 1), ..*yuv };
        kernels.yuv_to_rgb(&odd, 0, span).unwrap_err();
        kernels.yuv_to_rgb(&DeviceYuv { stride: 32, ..*yuv }, 0, span).unwrap_err();
        kernels.yuv_to_rgb(&DeviceYuv { width: 0, ..*yuv }, 0, span).unwrap_err();
        kernels.yuv_to_rgb(&DeviceYuv { width: 35, ..*yuv }, 0, span).unwrap_err();
    });
    let taps = DeviceTaps::upload(&device, 40, 20, Resample::Bicubic).unwrap();
    let memory = room(&device, 1 << 16);
    let span = C::span(&memory);
    let plan = TilePlan { size: 20, patch: 10, row: 304, width: 60, corners: vec![(0, 0), (40, 0)] };
    let run = |plan: &TilePlan, out: Span<'_>| {
        kernels.columns_to_input(span, 1, &taps, plan, span, InputFormat::F32, out)
    };
    let enough = 2 * 4 * 304 * 4;
    run(&plan, span.part(0, enough).unwrap()).unwrap();
    run(&plan, span.part(0, enough - 1).unwrap()).unwrap_err();
    for wrong in [
        TilePlan { corners: vec![(41, 0)], ..plan.clone() },
        TilePlan { corners: vec![(0, 1)], ..plan.clone() },
        TilePlan { corners: vec![(u32::MAX, 0)], ..plan.clone() },
        TilePlan { corners: vec![], ..plan.clone() },
        TilePlan { corners: vec![(0, 0); 8], ..plan.clone() },
        TilePlan { row: 299, ..plan.clone() },
        TilePlan { patch: 0, ..plan.clone() },
        TilePlan { patch: 21, row: 5000, ..plan.clone() },
    ] {
        run(&wrong, span).unwrap_err();
    }
}

device_tests!(
    colours_are_the_processors,
    every_value_of_luma_and_chroma_is_converted_as_on_the_processor,
    both_passes_of_a_resize_are_the_processors,
    the_networks_input_is_the_processors_to_the_bit,
    frames_of_the_fixtures_give_the_processors_input,
    what_leaves_its_memory_is_refused_before_a_launch,
);

/// What no kernel may depend on.
#[test]
fn the_order_of_blocks_changes_no_byte() {
    colours_are_the_processors(Emulated::backwards);
    both_passes_of_a_resize_are_the_processors(Emulated::backwards);
    the_networks_input_is_the_processors_to_the_bit(Emulated::backwards);
}

#[test]
fn both_roundings_to_sixteen_bits_are_the_same() {
    let mut state = 7_u32;
    let edges = [
        0.0,
        -0.0,
        65504.0,
        65519.9,
        65520.0,
        1e-8,
        5.96e-8,
        2.98e-8,
        2.99e-8,
        6.1e-5,
        6.097e-5,
        f32::INFINITY,
    ];
    let random = (0..200_000).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from_bits(state)
    });
    for x in edges.into_iter().chain(edges.map(|x| -x)).chain(random.filter(|x| !x.is_nan())) {
        let expected = (Format::Bf16.rounded(x), Format::F16.rounded(x));
        assert_eq!(rounded(x), expected, "{x:e}");
    }
}
