//! What comes out of a network, as everybody else reads it.

use ndarray::{Array2, ArrayView1};

use crate::error::{Error, Result};

/// Embeddings of unit length, as rows of a matrix with `width` columns. `weights` is the file that is at fault where one
/// has no length.
pub(super) fn unit_rows(
    model: &str,
    weights: &str,
    width: usize,
    embeddings: Vec<Vec<f32>>,
) -> Result<Array2<f32>> {
    let mut out = Array2::zeros((embeddings.len(), width));
    for (mut to, mut row) in out.rows_mut().into_iter().zip(embeddings) {
        let norm = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt() as f32;
        if !norm.is_normal() {
            let why = format!("an embedding has length {norm}; {weights} is damaged or does not fit f32");
            return Err(Error::model(model, why));
        }
        row.iter_mut().for_each(|x| *x /= norm);
        to.assign(&ArrayView1::from(&row));
    }
    Ok(out)
}
