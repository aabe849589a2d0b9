//! Expected values of other implementations: the files beside the scripts that made them, and how far from one is too far.

use std::path::Path;

use serde_json::Value;

use crate::fixture;

/// A file of expected values below `tests/fixtures`.
///
/// # Panics
/// Where it is not there, or no JSON.
pub fn expected(path: impl AsRef<Path>) -> Value {
    let path = fixture(path);
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The list of this key, which is not empty: a loop over it is meant to look at something.
///
/// # Panics
/// Where there is none.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    let list = value[key].as_array().unwrap_or_else(|| panic!("{key} is no list"));
    assert!(!list.is_empty(), "{key} is empty");
    list
}

/// Numbers.
///
/// # Panics
/// Where they are none.
pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// Token ids.
///
/// # Panics
/// Where they are none.
pub fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|x| u32::try_from(x.as_u64().unwrap()).unwrap()).collect()
}

/// The largest difference of as many numbers, infinite where one of them is not finite: `f64::max` would pass over a NaN.
///
/// # Panics
/// Where there are more of one than of the other.
pub fn largest_difference<'a>(found: impl IntoIterator<Item = &'a f32>, expected: &[f64]) -> f64 {
    let found: Vec<f32> = found.into_iter().copied().collect();
    assert_eq!(found.len(), expected.len());
    worst(found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()))
}

/// The largest of these, infinite where one is not finite.
pub fn worst(differences: impl IntoIterator<Item = f64>) -> f64 {
    differences.into_iter().map(|x| if x.is_finite() { x } else { f64::INFINITY }).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::{largest_difference, worst};

    #[test]
    fn what_is_no_number_is_no_small_difference() {
        assert_eq!(largest_difference(&[1.0, 2.5], &[1.0, 2.0]), 0.5);
        assert_eq!(largest_difference(&[f32::NAN, 2.0], &[1.0, 2.0]), f64::INFINITY);
        assert_eq!(worst([0.25, f64::NAN, 0.5]), f64::INFINITY);
    }
}
