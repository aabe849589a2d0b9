//! The specification's vectors, made by another implementation (`tests/fixtures/exact/make_vectors.py`), for every
//! instruction set that this machine has.

use serde_json::Value;

use super::arithmetic::{erf, exp, relu, sigmoid};
use super::convolution::Depthwise;
use super::instructions::Bf16Instructions;
use super::operand::{Bf16, Operand};
use super::passes::NormWeights;
use super::product::{Factor, Product, Then};
use super::slabs::{Block, Run, Slabs, runs};
use super::{Activation, InstructionSet};

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/exact/vectors.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    let number = |digits: &Value| u32::from_str_radix(digits.as_str().unwrap(), 16).unwrap();
    value.as_array().unwrap().iter().map(|digits| f32::from_bits(number(digits))).collect()
}

fn size(value: &Value) -> usize {
    value.as_u64().unwrap().try_into().unwrap()
}

fn matrix(values: &[f32], columns: usize) -> Slabs<f32> {
    let mut slabs = Slabs::default();
    slabs.shape(values.len() / columns, columns);
    values.chunks_exact(columns).enumerate().for_each(|(i, row)| slabs.set_row(i, row));
    slabs
}

fn values(slabs: &Slabs<f32>) -> Vec<f32> {
    (0..slabs.rows()).flat_map(|row| slabs.row_values(row)).collect()
}

fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
}

#[track_caller]
fn same_bits(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.to_bits(), expected.to_bits(), "{what}, {i}: {found} where {expected} is expected");
    }
}

#[test]
fn functions() {
    let vectors = &vectors()["functions"];
    let of = |f: &dyn Fn(f32) -> f32| -> Vec<f32> { numbers(&vectors["x"]).into_iter().map(f).collect() };
    same_bits(&of(&exp), &numbers(&vectors["exp"]), "exp");
    same_bits(&of(&erf), &numbers(&vectors["erf"]), "erf");
    same_bits(&of(&|x| Activation::QuickGelu.of(x)), &numbers(&vectors["quick_gelu"]), "quick_gelu");
    same_bits(&of(&|x| Activation::Gelu.of(x)), &numbers(&vectors["gelu"]), "gelu");
    same_bits(&of(&|x| Activation::GeluTanh.of(x)), &numbers(&vectors["gelu_tanh"]), "gelu_tanh");
}

#[test]
fn products() {
    let vectors = &vectors()["product"];
    let (m, k, n) = (size(&vectors["m"]), size(&vectors["k"]), size(&vectors["n"]));
    let (left, right) = (numbers(&vectors["left"]), numbers(&vectors["right"]));
    let start = runs(&numbers(&vectors["bias"]));
    let factor = Factor::<f32>::from_outputs(k, n, &transposed(&right, k, n));
    for set in InstructionSet::available() {
        let product = |rows: usize, parts: usize, bias: &[Run<f32>], then, out: &mut Slabs<f32>| {
            let left = matrix(&left[..rows * k], k);
            out.shape(rows, n);
            Product { left: &left, right: factor.steps(), bias, then }.share(set, parts, out.runs_mut());
        };
        let (from_bias, from_zero) = (numbers(&vectors["from_bias"]), numbers(&vectors["from_zero"]));
        let mut out = Slabs::default();
        // Every number of rows, and with it every kind of tile.
        for rows in 1..=m {
            for parts in 1..=3 {
                product(rows, parts, &start, Then::Store, &mut out);
                same_bits(&values(&out), &from_bias[..rows * n], set.name());
            }
        }
        product(m, 1, &[], Then::Store, &mut out);
        same_bits(&values(&out), &from_zero, set.name());
        product(m, 2, &start, Then::Add, &mut out);
        let sums: Vec<_> = from_zero.iter().zip(&from_bias).map(|(there, added)| there + added).collect();
        same_bits(&values(&out), &sums, set.name());
        for activation in [Activation::QuickGelu, Activation::Gelu, Activation::GeluTanh] {
            product(m, 1, &start, Then::Activate(activation), &mut out);
            let expected: Vec<_> = from_bias.iter().map(|x| activation.of(*x)).collect();
            same_bits(&values(&out), &expected, set.name());
        }
    }
}

#[test]
fn convolutions_of_single_channels() {
    let vectors = vectors();
    for vectors in vectors["depthwise"].as_array().unwrap() {
        let [edge, channels, each, kernel, stride] =
            ["edge", "channels", "each", "kernel", "stride"].map(|key| size(&vectors[key]));
        let convolution =
            Depthwise::new(kernel, stride, each, &numbers(&vectors["weight"]), &numbers(&vectors["bias"]));
        let x = matrix(&numbers(&vectors["x"]), channels);
        let expected = numbers(&vectors["out"]);
        let activated: Vec<_> = expected.iter().map(|x| Activation::Gelu.of(*x)).collect();
        for set in InstructionSet::available() {
            for parts in 1..=3 {
                let (mut planes, mut out) = (vec![Vec::new(); parts], Slabs::<f32>::default());
                for (then, expected) in
                    [(Then::Store, &expected), (Then::Activate(Activation::Gelu), &activated)]
                {
                    convolution.forward(set, &x, edge, then, &mut planes, &mut out);
                    same_bits(&values(&out), expected, set.name());
                }
            }
        }
    }
}

#[test]
fn gates_of_single_numbers() {
    assert_eq!(
        [-1.5, -0.0, 0.0, 2.5].map(|x| relu(x).to_bits()),
        [0.0_f32, -0.0, 0.0, 2.5].map(f32::to_bits)
    );
    assert!(relu(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
    for i in -9_000..=9_000 {
        let x = i as f32 / 100.0;
        let expected = 1.0 / (1.0 + (-f64::from(x)).exp());
        assert!((f64::from(sigmoid(x)) - expected).abs() < 1e-7, "{x}");
    }
}

#[test]
fn rows() {
    let vectors = vectors();
    let norm = &vectors["layer_norm"];
    let (weight, bias) = (numbers(&norm["weight"]), numbers(&norm["bias"]));
    let softmax = &vectors["softmax"];
    for set in InstructionSet::available() {
        // Alone, and among as many rows as are summed abreast.
        for copies in 1..=3 {
            let x = matrix(&numbers(&norm["x"]).repeat(copies), weight.len());
            let mut out = Slabs::<f32>::default();
            let weights =
                NormWeights { weight: &runs(&weight), bias: &runs(&bias), eps: numbers(&norm["eps"])[0] };
            set.layer_norm(&x, weights, &mut Vec::new(), &mut out);
            same_bits(&values(&out), &numbers(&norm["out"]).repeat(copies), set.name());
        }
        for (key, causal) in [("all", false), ("causal", true)] {
            let mut x = matrix(&numbers(&softmax["x"]), 9);
            set.softmax(&mut x, causal, numbers(&softmax["scale"])[0]);
            same_bits(&values(&x), &numbers(&softmax[key]), set.name());
        }
    }
}

#[test]
fn blocks_are_copied_and_transposed_wherever_they_lie() {
    let (rows, columns) = (7, 150);
    let from: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
    let slabs = matrix(&from, columns);
    for (first, length) in [(0, 150), (0, 32), (32, 64), (5, 3), (30, 40), (95, 55), (149, 1)] {
        let block = Block { rows: 2..6, columns: first..first + length };
        let at = |row: usize, column: usize| from[(2 + row) * columns + first + column];
        let mut turned = Slabs::default();
        block.transpose(&slabs, &mut turned);
        let expected: Vec<_> =
            (0..length).flat_map(|column| (0..4).map(move |row| at(row, column))).collect();
        assert_eq!(values(&turned), expected, "{first}, {length}");
        for (row, column) in [(0, 0), (1, 32), (3, 7), (2, 61)] {
            let mut to = Slabs::<f32>::default();
            to.shape(9, column + length + 2);
            block.copy(&slabs, &mut to, row, column);
            let mut expected = vec![0.0; 9 * to.columns()];
            for (i, j) in (0..4).flat_map(|i| (0..length).map(move |j| (i, j))) {
                expected[(row + i) * to.columns() + column + j] = at(i, j);
            }
            assert_eq!(values(&to), expected, "{first}, {length} to {row}, {column}");
        }
    }
}

#[test]
fn picked_rows_stay_whole() {
    let from: Vec<f32> = (0..5 * 70).map(|i| i as f32).collect();
    for picked in [&[0, 1, 2, 3, 4][..], &[0, 3], &[4], &[1, 2, 4]] {
        let mut slabs = matrix(&from, 70);
        slabs.pick(picked);
        let expected: Vec<f32> =
            picked.iter().flat_map(|row| from[row * 70..(row + 1) * 70].to_vec()).collect();
        assert_eq!(values(&slabs), expected);
    }
}

#[test]
fn bfloat16_is_rounded_to_nearest_even() {
    // Either half-way case, a carry into the exponent, overflow, the smallest subnormals, and numbers that stay.
    for (x, expected) in [
        (0x3f80_8000, 0x3f80_0000),
        (0x3f81_8000, 0x3f82_0000),
        (0x3f80_8001, 0x3f81_0000),
        (0x3f80_7fff, 0x3f80_0000),
        (0x3fff_ffff, 0x4000_0000),
        (0x7f7f_ffff, 0x7f80_0000),
        (0x0000_8000, 0x0000_0000),
        (0x0000_8001, 0x0001_0000),
        (0xff80_0000, 0xff80_0000),
        (0x8000_0000, 0x8000_0000),
    ] {
        assert_eq!(Bf16::rounded(f32::from_bits(x)).widened().to_bits(), expected, "{x:08x}");
    }
    assert!(Bf16::rounded(f32::from_bits(0x7f80_0001)).widened().is_nan());
}

#[test]
fn products_of_bfloat16() {
    let Some(set) = Bf16Instructions::detect() else {
        // Where the processor does not multiply bfloat16, the precision is refused and nothing is to be shown.
        #[cfg(target_arch = "x86_64")]
        assert!(!is_x86_feature_detected!("avx512bf16"), "it does, and was not found to");
        return;
    };
    let vectors = &vectors()["product"];
    let (m, k, n) = (size(&vectors["m"]), size(&vectors["k"]), size(&vectors["n"]));
    let rounded = |key: &str| -> Vec<f32> {
        numbers(&vectors[key]).into_iter().map(|x| Bf16::rounded(x).widened()).collect()
    };
    let (left, right, bias) = (rounded("left"), rounded("right"), numbers(&vectors["bias"]));
    let factor = Factor::<Bf16>::from_outputs(k, n, &transposed(&right, k, n));
    for rows in 1..=m {
        let mut slabs = Slabs::<Bf16>::default();
        slabs.shape(rows, k);
        left.chunks_exact(k).take(rows).enumerate().for_each(|(i, row)| slabs.set_row(i, row));
        let mut out = Slabs::<f32>::default();
        out.shape(rows, n);
        Product { left: &slabs, right: factor.steps(), bias: &runs(&bias), then: Then::Store }.share(
            set,
            2,
            out.runs_mut(),
        );
        for (at, found) in values(&out).into_iter().enumerate() {
            let (row, column) = (at / n, at % n);
            let terms = (0..k).map(|i| f64::from(left[row * k + i]) * f64::from(right[i * n + column]));
            let (sum, size) =
                terms.fold((f64::from(bias[column]), 1.0), |(sum, size), x| (sum + x, size + x.abs()));
            assert!((f64::from(found) - sum).abs() <= 1e-6 * size, "{row}, {column}: {found} for {sum}");
        }
    }
}

#[test]
fn exponential_is_within_two_units_of_the_last_place() {
    for i in -870_000..=880_000 {
        let x = i as f32 / 10_000.0;
        let expected = f64::from(x).exp();
        let error = (f64::from(exp(x)) - expected).abs() / expected;
        assert!(error < 2.4e-7, "{x}: {error}");
    }
    assert!(exp(f32::NAN).is_nan());
    assert!(exp(f32::NEG_INFINITY) < 1e-37);
}

#[test]
fn error_function_agrees_with_candle() {
    for i in -60_000..=60_000 {
        let x = i as f32 / 10_000.0;
        let expected = candle_core::cpu::erf::erf_f64(f64::from(x));
        assert!((f64::from(erf(x)) - expected).abs() < 6e-7, "{x}");
    }
}

#[test]
fn gelu_by_tanh_agrees_with_its_definition() {
    for i in -60_000..=60_000 {
        let x = i as f32 / 5_000.0;
        let (found, x) = (f64::from(Activation::GeluTanh.of(x)), f64::from(x));
        let expected =
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh());
        assert!((found - expected).abs() < 1e-6, "{x}: {found} for {expected}");
    }
}
