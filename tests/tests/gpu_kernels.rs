//! The kernels between the network's large products against their formulas: on the emulated device always, on a GPU where there
//! is one.

// Kernels that follow numbers in device memory trust their caller for these.
#![allow(unsafe_code)]

use nexis_core::model::towers::Activation;
use nexis_gpu::compute::{Compute, Format, Span};
use nexis_gpu::kernels::{Asking, Kernels, NormSpans, Rows, States};
use nexis_tests::device_tests;
use nexis_tests::emulated::Emulated;
use nexis_tests::on_devices::on;

/// Numbers of a fixed sequence, in -1..1.
fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(step).collect()
}

/// Attention in 64 bits, from operands that were rounded as the kernel rounds them.
fn attention(
    qkv: &[f32],
    bias: &[f32],
    format: Format,
    rows: Rows,
    heads: usize,
    asking: Asking,
) -> Vec<f64> {
    let Rows { items, per, width } = rows;
    let size = width / heads;
    let (absent, queries) = if asking == Asking::One { (1, 1) } else { (0, per) };
    let value = |item: usize, row: usize, part: usize, column: usize| {
        let at = |part: usize| part * width + column;
        let product = |part| {
            if part < absent {
                0.0
            } else {
                qkv[(item * per + row) * (3 - absent) * width + at(part - absent)]
            }
        };
        // A query is rounded with its bias; the other two biases are never added to what is rounded.
        if part == 0 {
            f64::from(format.value(format.rounded(product(part) + bias[at(part)])))
        } else {
            f64::from(product(part)) + f64::from(bias[at(part)])
        }
    };
    let mut out = vec![0.0; items * queries * width];
    for item in 0..items {
        for head in 0..heads {
            for query in 0..queries {
                let seen = if asking == Asking::Causal { query + 1 } else { per };
                let score = |key: usize| {
                    let product =
                        |i| value(item, query, 0, head * size + i) * value(item, key, 1, head * size + i);
                    (0..size).map(product).sum::<f64>() / (size as f64).sqrt()
                };
                let scores: Vec<f64> = (0..seen).map(score).collect();
                let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
                let total: f64 = weights.iter().sum();
                for i in 0..size {
                    let column = head * size + i;
                    let sum: f64 = (0..seen).map(|key| weights[key] * value(item, key, 2, column)).sum();
                    out[(item * queries + query) * width + column] = sum / total;
                }
            }
        }
    }
    out
}

fn attention_is_that_of_the_formula<C: Compute>(open: impl Fn() -> C) {
    let compute = open();
    use Asking::{Causal, Each, One};
    // Lengths of ViT-B/32 and B/16, of the largest SigLIP and of texts, and those around the edges of a block; every size of
    // heads that has a kernel of its own, whole and filled up.
    for (per, heads, size, asking) in [
        (1, 1, 2, Each),
        (5, 2, 8, Causal),
        (50, 2, 64, Each),
        (63, 1, 12, Causal),
        (64, 1, 32, Each),
        (65, 1, 64, Causal),
        (77, 2, 64, Causal),
        (129, 1, 72, Each),
        (197, 1, 64, Each),
        (66, 1, 80, Each),
        (66, 1, 96, Causal),
        (66, 1, 126, Each),
        (70, 1, 128, Causal),
        (729, 1, 72, Each),
        (257, 1, 64, Each),
        (1, 1, 2, One),
        (16, 2, 10, One),
        (64, 1, 32, One),
        (196, 3, 64, One),
        (729, 2, 72, One),
        (65, 1, 96, One),
        (66, 1, 126, One),
    ] {
        for format in [Format::Bf16, Format::F16] {
            let rows = Rows { items: 2, per, width: heads * size };
            let rounded: Vec<u16> = noise(2 * per * if asking == One { 2 } else { 3 } * rows.width, 1)
                .iter()
                .map(|x| format.rounded(x * 3.0))
                .collect();
            let qkv: Vec<f32> = rounded.iter().map(|bits| format.value(*bits)).collect();
            let bias = noise(3 * rows.width, 2);
            let expected = attention(&qkv, &bias, format, rows, heads, asking);
            let values = || rounded.iter().flat_map(|bits| bits.to_le_bytes());
            let (whole, moved) = (on(&compute, values()), on(&compute, [0; 4].into_iter().chain(values())));
            let bias = on(&compute, bias.iter().flat_map(|x| x.to_le_bytes()));
            let out = compute.allocate(expected.len() * 2).unwrap().unwrap();
            let attended = |from: Span<'_>| {
                Kernels(&compute)
                    .attend(format, from, C::span(&bias), rows, heads, asking, C::span(&out))
                    .unwrap();
                let mut bytes = vec![0; expected.len() * 2];
                compute.download(C::span(&out), &mut bytes).unwrap();
                bytes
            };
            let bytes = attended(C::span(&whole));
            // Rows that do not begin with a whole piece of 16 bytes are copied another way.
            let moved = attended(C::span(&moved).part(4, rounded.len() * 2).unwrap());
            assert_eq!(bytes, moved, "{per} x {heads} x {size}, {asking:?}, {format:?}");
            let found = bytes.as_chunks::<2>().0.iter().map(|word| format.value(u16::from_le_bytes(*word)));
            // Values lie within 4. Weights and results are rounded once: half a unit of 8 or 11 bits each, and a
            // little for the sums.
            let tolerance = if format == Format::Bf16 { 4.0 / 128.0 } else { 4.0 / 1024.0 };
            let differences: Vec<f64> = found.zip(&expected).map(|(a, b)| (f64::from(a) - b).abs()).collect();
            let worst = differences.iter().copied().fold(0.0, f64::max);
            assert!(
                differences.iter().all(|difference| *difference < tolerance),
                "{per} x {heads} x {size}, {asking:?}, {format:?}: {worst}"
            );
        }
    }
}

/// The words of a memory.
fn words<C: Compute>(compute: &C, from: Span<'_>) -> Vec<u16> {
    let mut bytes = vec![0; from.bytes()];
    compute.download(from, &mut bytes).unwrap();
    bytes.as_chunks::<2>().0.iter().map(|word| u16::from_le_bytes(*word)).collect()
}

/// The numbers of a memory in one of the formats.
fn numbers<C: Compute>(compute: &C, from: Span<'_>, format: Format) -> Vec<f64> {
    words(compute, from).into_iter().map(|bits| f64::from(format.value(bits))).collect()
}

/// What rounding to a format may change, relative to the number: half a unit of 8 or 11 bits, and a little for what came
/// before it.
fn rounding(format: Format) -> f64 {
    if format == Format::Bf16 { 1.01 / 256.0 } else { 1.2 / 2048.0 }
}

/// The error function's complement in 64 bits: by its series, and by its continued fraction where that converges fast.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x > 2.0 {
        let below = (1..200).rev().fold(x, |below, n| x + f64::from(n) / 2.0 / below);
        return (-x * x).exp() / std::f64::consts::PI.sqrt() / below;
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..100 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    1.0 - sum * std::f64::consts::FRAC_2_SQRT_PI
}

/// An activation in 64 bits.
fn formula(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
        Activation::Gelu => 0.5 * x * erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
        // (1 + tanh(u)) / 2 without what is lost of it where tanh is near -1.
        _ => x / (1.0 + (-2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).exp()),
    }
}

const ACTIVATIONS: [Activation; 3] = [Activation::QuickGelu, Activation::Gelu, Activation::GeluTanh];

#[test]
fn the_tests_own_formulas_are_right() {
    // Python's math.erfc and math.exp.
    for (x, expected) in [
        (0.5, [0.350_388_436_606_380_14, 0.345_731_230_637_006_55, 0.345_714_009_825_143_94]),
        (-1.0, [-0.154_204_234_067_178_7, -0.158_655_253_931_457_07, -0.158_808_009_391_723_26]),
        (2.0, [1.935_658_623_144_208_3, 1.954_499_736_103_641_6, 1.954_597_694_087_775_2]),
        (-3.0, [-0.018_071_309_707_785_97, -0.004_049_694_094_890_287, -0.003_637_392_081_773_019]),
        (-12.0, [-1.618_641_783_584_762_6e-8, -2.131_778_534_493_243_2e-32, -1.635_985_449_353_471_4e-61]),
    ] {
        for (activation, expected) in ACTIVATIONS.into_iter().zip(expected) {
            let found = formula(activation, x);
            assert!((found / expected - 1.0).abs() < 1e-11, "{activation:?} of {x}: {found}, not {expected}");
        }
    }
}

/// How far a result of a format may lie from the exact one: half a unit in the last place, and a fiftieth or a twentieth of
/// one for what came before the rounding.
fn half_a_unit(format: Format, exact: f64) -> f64 {
    let (bits, least, half) = if format == Format::Bf16 { (7, -126, 0.51) } else { (10, -14, 0.54) };
    let exponent = exact.abs().log2().floor().max(f64::from(least));
    // What lies below the least normal number of 32 bits is zero on the way.
    half * (exponent - f64::from(bits)).exp2() + 1e-35
}

/// Memory that begins `shift` bytes behind where memory begins.
fn shifted<C: Compute>(compute: &C, bytes: impl Iterator<Item = u8>, shift: usize) -> (C::Memory, usize) {
    let memory = on(compute, std::iter::repeat_n(0, shift).chain(bytes));
    let length = C::span(&memory).bytes() - shift;
    (memory, length)
}

/// What the kernel makes of `rows`, which begin `shift` bytes behind where memory begins.
fn activated<C: Compute>(
    compute: &C,
    format: Format,
    activation: Activation,
    rows: Rows,
    (product, bias): (&[u16], &[f32]),
    shift: usize,
) -> Vec<u16> {
    let (product, length) = shifted(compute, product.iter().flat_map(|bits| bits.to_le_bytes()), shift);
    let bias = on(compute, bias.iter().flat_map(|x| x.to_le_bytes()));
    let product = C::span(&product).part(shift, length).unwrap();
    Kernels(compute).bias_and_activation(format, product, C::span(&bias), activation, rows).unwrap();
    words(compute, product)
}

fn activations_of_all_numbers_are_those_of_the_formulas<C: Compute>(open: impl Fn() -> C) {
    let compute = open();
    let rows = Rows { items: 1, per: 64, width: 1024 };
    let none = vec![0.0; rows.width];
    for format in [Format::Bf16, Format::F16] {
        let all: Vec<u16> =
            (0..=u16::MAX).map(|bits| if format.value(bits).is_finite() { bits } else { 0 }).collect();
        for activation in ACTIVATIONS {
            let found = activated(&compute, format, activation, rows, (&all, &none), 0);
            for (bits, found) in all.iter().zip(found) {
                let (x, found) = (f64::from(format.value(*bits)), f64::from(format.value(found)));
                let expected = formula(activation, x);
                assert!(
                    (found - expected).abs() <= half_a_unit(format, expected),
                    "{activation:?} of {x:e} in {format:?}: {found:e}, not {expected:e}"
                );
            }
        }
    }
}

/// Rows and columns that fill no block, whole vectors or not, wherever they lie.
fn activations_are_added_to_their_bias<C: Compute>(open: impl Fn() -> C) {
    let compute = open();
    for (i, width) in [1, 38, 40, 1028, 1032].into_iter().enumerate() {
        let (rows, format) = (Rows { items: 3, per: 3, width }, [Format::Bf16, Format::F16][i % 2]);
        let activation = ACTIVATIONS[i % 3];
        let product: Vec<u16> = noise(9 * width, 5).iter().map(|x| format.rounded(x * 4.0)).collect();
        let bias = noise(width, 6);
        let found = activated(&compute, format, activation, rows, (&product, &bias), 0);
        for (i, found) in found.iter().enumerate() {
            let expected = formula(activation, f64::from(format.value(product[i]) + bias[i % width]));
            let found = f64::from(format.value(*found));
            assert!(
                (found - expected).abs() <= half_a_unit(format, expected),
                "{activation:?}, {width}, {i}: {found}, not {expected}"
            );
        }
        assert!(activated(&compute, format, activation, rows, (&product, &bias), 2) == found, "{width}");
        let (last, alone) = (&product[8 * width..], Rows { items: 1, per: 1, width });
        assert!(
            activated(&compute, format, activation, alone, (last, &bias), 0) == found[8 * width..],
            "{width}"
        );
    }
}

/// Layer normalisation in 64 bits.
fn normalised(row: &[f64], weight: &[f32], bias: &[f32]) -> Vec<f64> {
    let width = row.len() as f64;
    let mean = row.iter().sum::<f64>() / width;
    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width;
    let vectors = weight.iter().zip(bias).map(|(weight, bias)| (f64::from(*weight), f64::from(*bias)));
    row.iter()
        .zip(vectors)
        .map(|(x, (weight, bias))| (x - mean) / (variance + EPS).sqrt() * weight + bias)
        .collect()
}

/// What is added to variances, in 32 and 64 bits.
const EPS: f64 = 1e-5;

fn are_near(found: &[f64], expected: &[f64], format: Format, at: &str) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let tolerance = expected.abs() * rounding(format) + 1e-5;
        assert!((found - expected).abs() < tolerance, "{at}, value {i}: {found}, not {expected}");
    }
}

/// 32-bit numbers in a memory.
fn floats<C: Compute>(compute: &C, values: &[f32]) -> C::Memory {
    on(compute, values.iter().flat_map(|x| x.to_le_bytes()))
}

/// The 32-bit numbers of a memory.
fn read_floats<C: Compute>(compute: &C, from: Span<'_>) -> Vec<f32> {
    let mut bytes = vec![0; from.bytes()];
    compute.download(from, &mut bytes).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

/// A memory of so many bytes that begins `shift` bytes behind where memory begins.
fn room<C: Compute>(compute: &C, bytes: usize, shift: usize) -> (C::Memory, usize) {
    (compute.allocate(bytes + shift).unwrap().unwrap(), bytes)
}

/// Widths of rows that a lane holds in 1 to 6 vectors, whole or not, and of rows that are never held: those longer, and those
/// that are no whole vectors.
const WIDTHS: [usize; 11] = [2, 30, 34, 40, 256, 264, 768, 1000, 1152, 1536, 1544];

fn sums_and_norms_are_those_of_the_formula<C: Compute>(open: impl Fn() -> C) {
    let compute = open();
    for (i, width) in WIDTHS.into_iter().enumerate() {
        let (rows, format) = (Rows { items: 3, per: 3, width }, [Format::Bf16, Format::F16][i % 2]);
        let x = noise(9 * width, 1);
        let product: Vec<u16> = noise(9 * width, 2).iter().map(|x| format.rounded(x * 2.0)).collect();
        let [product_bias, weight, bias] = [3, 4, 5].map(|seed| noise(width, seed));
        // The residual stream and what the next product reads, of the rows from `first` on, which lie `shift` bytes
        // behind where memory begins.
        let run = |rows: Rows, first: usize, shift: usize| -> (Vec<f32>, Vec<u16>) {
            let values = first * width..(first + rows.items * rows.per) * width;
            let [own, weight, bias] = [&product_bias, &weight, &bias].map(|values| floats(&compute, values));
            let norm = NormSpans { weight: C::span(&weight), bias: C::span(&bias), eps: EPS as f32 };
            let (x, x_bytes) =
                shifted(&compute, x[values.clone()].iter().flat_map(|x| x.to_le_bytes()), 2 * shift);
            let words = product[values.clone()].iter().flat_map(|bits| bits.to_le_bytes());
            let (product, bytes) = shifted(&compute, words, shift);
            let (h, _) = room(&compute, bytes, shift);
            let product = C::span(&product).part(shift, bytes).unwrap();
            let (x, h) =
                (C::span(&x).part(2 * shift, x_bytes).unwrap(), C::span(&h).part(shift, bytes).unwrap());
            let states = States { rows, norm, x, h };
            Kernels(&compute).add_and_norm(format, product, C::span(&own), &states).unwrap();
            (read_floats(&compute, x), self::words(&compute, h))
        };
        let (sums, normal) = run(rows, 0, 0);
        let expected =
            (0..9 * width).map(|at| x[at] + (format.value(product[at]) + product_bias[at % width]));
        assert!(sums == expected.collect::<Vec<_>>(), "{width}");
        for (row, (sums, found)) in sums.chunks_exact(width).zip(normal.chunks_exact(width)).enumerate() {
            let sums: Vec<f64> = sums.iter().map(|x| f64::from(*x)).collect();
            let found: Vec<f64> = found.iter().map(|bits| f64::from(format.value(*bits))).collect();
            are_near(&found, &normalised(&sums, &weight, &bias), format, &format!("{width}, row {row}"));
        }
        // The same bits wherever rows lie, and alone.
        assert!(run(rows, 0, 2) == (sums.clone(), normal.clone()), "{width}");
        let last = (sums[8 * width..].to_vec(), normal[8 * width..].to_vec());
        assert!(run(Rows { items: 1, per: 1, width }, 8, 0) == last, "{width}");
    }
}

fn first_states_are_those_of_the_formula<C: Compute>(open: impl Fn() -> C) {
    let compute = open();
    for (i, width) in [34, 40, 264, 1152, 1544].into_iter().enumerate() {
        let (rows, format) = (Rows { items: 3, per: 3, width }, [Format::Bf16, Format::F16][i % 2]);
        let table: Vec<u16> = noise(9 * width, 2).iter().map(|x| format.rounded(x * 2.0)).collect();
        let position = noise(3 * width, 3);
        let [class, patch_bias, weight, bias, pre_weight, pre_bias] =
            [4, 5, 6, 7, 8, 9].map(|seed| noise(width, seed));
        let [
            position_there,
            class_there,
            patch_bias_there,
            weight_there,
            bias_there,
            pre_weight_there,
            pre_bias_there,
        ] = [&position, &class, &patch_bias, &weight, &bias, &pre_weight, &pre_bias]
            .map(|x| floats(&compute, x));
        let tokens = [8_u32, 0, 3, 3, 7, 1, 2, 5, 4];
        let tokens_there = on(&compute, tokens.iter().flat_map(|token| token.to_le_bytes()));
        let word = |at: usize| f64::from(format.value(table[at]));
        let at = |row: usize, i: usize| f64::from(position[row % 3 * width + i]);
        // Pictures with a class and a normalisation before, pictures with neither but a bias, and texts.
        for (kind, shift) in (0..3).flat_map(|kind| [(kind, 0), (kind, 2)]) {
            let first = |row: usize| -> Vec<f64> {
                let exact: Vec<f64> = (0..width)
                    .map(|i| match kind {
                        0 if row.is_multiple_of(3) => f64::from(class[i]) + at(row, i),
                        0 => word((row / 3 * 2 + row % 3 - 1) * width + i) + at(row, i),
                        1 => word(row * width + i) + f64::from(patch_bias[i]) + at(row, i),
                        _ => word(tokens[row] as usize * width + i) + at(row, i),
                    })
                    .collect();
                if kind == 0 { normalised(&exact, &pre_weight, &pre_bias) } else { exact }
            };
            let norm =
                NormSpans { weight: C::span(&weight_there), bias: C::span(&bias_there), eps: EPS as f32 };
            let (from, bytes) = shifted(&compute, table.iter().flat_map(|bits| bits.to_le_bytes()), shift);
            let ((x, x_bytes), (h, _)) = (room(&compute, 2 * bytes, 2 * shift), room(&compute, bytes, shift));
            let from = C::span(&from).part(shift, bytes).unwrap();
            let (x, h) =
                (C::span(&x).part(2 * shift, x_bytes).unwrap(), C::span(&h).part(shift, bytes).unwrap());
            let (states, position) = (States { rows, norm, x, h }, C::span(&position_there));
            let kernels = Kernels(&compute);
            if kind == 2 {
                // SAFETY: there are nine rows, and every token is below that.
                unsafe { kernels.embed_texts(format, C::span(&tokens_there), (from, 9), position, &states) }
                    .unwrap();
            } else {
                let before = NormSpans {
                    weight: C::span(&pre_weight_there),
                    bias: C::span(&pre_bias_there),
                    eps: EPS as f32,
                };
                let with = |there: bool, span| there.then_some(span);
                let (bias, class) =
                    (with(kind == 1, C::span(&patch_bias_there)), with(kind == 0, C::span(&class_there)));
                let before = (kind == 0).then_some(before);
                kernels.embed_pictures(format, from, bias, class, position, before, &states).unwrap();
            }
            let (x, h) = (read_floats(&compute, x), numbers(&compute, h, format));
            for (row, (x, h)) in x.chunks_exact(width).zip(h.chunks_exact(width)).enumerate() {
                let place = format!("kind {kind}, {width}, row {row}");
                let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
                // The stream is not rounded to a format.
                for (found, expected) in x.iter().zip(first(row)) {
                    assert!((found - expected).abs() < 1e-5, "{place}: {found}, not {expected}");
                }
                are_near(h, &normalised(&x, &weight, &bias), format, &place);
            }
        }
    }
}

fn wanted_rows_are_picked<C: Compute>(open: impl Fn() -> C) {
    let compute = open();
    for (width, shift) in [(2, 0), (34, 0), (40, 0), (40, 2), (1152, 0)] {
        let rows = Rows { items: 3, per: 4, width };
        let (x, attended) =
            (noise(12 * width, 1), (0..12 * width).map(|i| (i * 7) as u16).collect::<Vec<_>>());
        let wanted = [11_u32, 4, 0];
        let x_there = floats(&compute, &x);
        let (attended_there, bytes) =
            shifted(&compute, attended.iter().flat_map(|bits| bits.to_le_bytes()), shift);
        let wanted_there = on(&compute, wanted.iter().flat_map(|row| row.to_le_bytes()));
        let ((x_out, _), (attended_out, _)) =
            (room(&compute, 3 * width * 4, 0), room(&compute, 3 * width * 2, 0));
        let (to, attended_to) = (C::span(&x_out), C::span(&attended_out));
        let from = C::span(&attended_there).part(shift, bytes).unwrap();
        // SAFETY: there are twelve rows.
        unsafe {
            Kernels(&compute).pick(
                Format::Bf16,
                C::span(&x_there),
                from,
                C::span(&wanted_there),
                rows,
                to,
                attended_to,
            )
        }
        .unwrap();
        let row = |row: &u32| *row as usize * width..(*row as usize + 1) * width;
        let expected: Vec<f32> = wanted.iter().flat_map(|wanted| x[row(wanted)].to_vec()).collect();
        assert!(read_floats(&compute, to) == expected, "{width}");
        let expected: Vec<u16> = wanted.iter().flat_map(|wanted| attended[row(wanted)].to_vec()).collect();
        assert!(words(&compute, attended_to) == expected, "{width}");
    }
}

device_tests!(
    activations_of_all_numbers_are_those_of_the_formulas,
    activations_are_added_to_their_bias,
    sums_and_norms_are_those_of_the_formula,
    first_states_are_those_of_the_formula,
    wanted_rows_are_picked,
    attention_is_that_of_the_formula,
);

/// Which kernel takes rows shows in no bit of them, and so is asked for.
#[test]
fn rows_of_whole_vectors_take_the_kernels_that_move_them() {
    for (width, shift, expected) in [
        (256, 0, "add_and_norm_1_f16"),
        (264, 0, "add_and_norm_2_f16"),
        (768, 0, "add_and_norm_3_f16"),
        (1152, 0, "add_and_norm_5_f16"),
        (1536, 0, "add_and_norm_6_f16"),
        (1544, 0, "add_and_norm_f16"),
        (772, 0, "add_and_norm_f16"),
        (768, 8, "add_and_norm_f16"),
    ] {
        let device = Emulated::default();
        let memory = device.allocate(width * 4 + shift).unwrap().unwrap();
        let numbers = Emulated::span(&memory).part(shift, width * 4).unwrap();
        let norm = NormSpans { weight: numbers, bias: numbers, eps: 0.0 };
        let states = States { rows: Rows { items: 1, per: 1, width }, norm, x: numbers, h: numbers };
        Kernels(&device).add_and_norm(Format::F16, numbers, numbers, &states).unwrap();
        assert_eq!(device.kernels().lock().unwrap().first(), Some(&expected), "{width}, {shift}");
    }
}
