//! The specification's vectors, made by another implementation (`tests/fixtures/exact/make_vectors.py`), for every
//! instruction set that this machine has.

use serde_json::Value;

use super::Activation;
use super::InstructionSet;
use super::arithmetic::{erf, exp};
use super::product::{Factor, Product, Rows, Then, TileBuffer};

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
}

#[test]
fn products() {
    let vectors = &vectors()["product"];
    let (m, k, n) = (size(&vectors["m"]), size(&vectors["k"]), size(&vectors["n"]));
    let (left, right) = (numbers(&vectors["left"]), numbers(&vectors["right"]));
    let bias = numbers(&vectors["bias"]);
    let mut factor = Factor::default();
    factor.fill(k, n, |k, column| right[k * n + column]);
    for set in InstructionSet::available() {
        let product = |rows: usize, bias: Option<&[f32]>, then, out: &mut [f32]| {
            let left = Rows { values: &left, count: rows, stride: k };
            set.product(Product { left, right: &factor, bias, then }, &mut TileBuffer::default(), out, n);
        };
        let (from_bias, from_zero) = (numbers(&vectors["from_bias"]), numbers(&vectors["from_zero"]));
        // Every number of rows, and with it every kind of tile.
        for rows in 1..=m {
            let mut out = vec![f32::NAN; rows * n];
            product(rows, Some(&bias), Then::Store, &mut out);
            same_bits(&out, &from_bias[..rows * n], set.name());
        }
        let mut out = vec![f32::NAN; m * n];
        product(m, None, Then::Store, &mut out);
        same_bits(&out, &from_zero, set.name());
        product(m, Some(&bias), Then::Add, &mut out);
        let sums: Vec<_> = from_zero.iter().zip(&from_bias).map(|(there, added)| there + added).collect();
        same_bits(&out, &sums, set.name());
        for activation in [Activation::QuickGelu, Activation::Gelu] {
            product(m, Some(&bias), Then::Activate(activation), &mut out);
            let expected: Vec<_> = from_bias.iter().map(|x| activation.of(*x)).collect();
            same_bits(&out, &expected, set.name());
        }
    }
}

#[test]
fn rows() {
    let vectors = vectors();
    let norm = &vectors["layer_norm"];
    let (weight, bias) = (numbers(&norm["weight"]), numbers(&norm["bias"]));
    let softmax = &vectors["softmax"];
    for set in InstructionSet::available() {
        let x = numbers(&norm["x"]);
        let mut out = vec![f32::NAN; x.len()];
        for (row, out) in x.chunks_exact(weight.len()).zip(out.chunks_exact_mut(weight.len())) {
            set.layer_norm(row, &weight, &bias, numbers(&norm["eps"])[0], out);
        }
        same_bits(&out, &numbers(&norm["out"]), set.name());

        for (key, causal) in [("all", false), ("causal", true)] {
            let mut rows = numbers(&softmax["x"]);
            for (i, row) in rows.chunks_exact_mut(9).enumerate() {
                set.softmax(row, if causal { i + 1 } else { 9 }, numbers(&softmax["scale"])[0]);
            }
            same_bits(&rows, &numbers(&softmax[key]), set.name());
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
