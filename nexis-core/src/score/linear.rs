//! Solving the small symmetric systems of Newton's method.

/// Solves `a x = b` for a symmetric positive definite `a` given by rows; `None` where it is not.
pub(crate) fn solve_spd(a: &[Vec<f64>], b: &[f64]) -> Option<Vec<f64>> {
    let lower = cholesky(a)?;
    // L y = b
    let mut y: Vec<f64> = Vec::with_capacity(b.len());
    for (row, &b_i) in lower.iter().zip(b) {
        let known: f64 = row.iter().zip(&y).map(|(l, y)| l * y).sum();
        y.push((b_i - known) / row.last()?);
    }
    // transpose(L) x = y, from the last unknown to the first
    let mut x = Vec::with_capacity(y.len());
    for row in lower.iter().rev() {
        let (diagonal, rest) = row.split_last()?;
        let x_i = y.pop()? / diagonal;
        for (y_k, l) in y.iter_mut().zip(rest) {
            *y_k -= l * x_i;
        }
        x.push(x_i);
    }
    x.reverse();
    Some(x)
}

/// The lower triangle, row by row.
fn cholesky(a: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let mut lower: Vec<Vec<f64>> = Vec::with_capacity(a.len());
    for (i, a_row) in a.iter().enumerate() {
        let mut row: Vec<f64> = Vec::with_capacity(i + 1);
        for (a_ij, earlier) in a_row.iter().zip(&lower) {
            let known: f64 = row.iter().zip(earlier).map(|(x, y)| x * y).sum();
            row.push((a_ij - known) / earlier.last()?);
        }
        let pivot = a_row.get(i)? - row.iter().map(|x| x * x).sum::<f64>();
        if !(pivot > 0.0 && pivot.is_finite()) {
            return None;
        }
        row.push(pivot.sqrt());
        lower.push(row);
    }
    Some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_a_hilbert_system() {
        // numpy.linalg.solve(scipy.linalg.hilbert(4), [1, 2, 3, 4]) = [-64, 900, -2520, 1820]
        let a: Vec<Vec<f64>> = (0..4).map(|i| (0..4).map(|j| 1.0 / f64::from(i + j + 1)).collect()).collect();
        let x = solve_spd(&a, &[1.0, 2.0, 3.0, 4.0]).unwrap();
        for (got, want) in x.iter().zip([-64.0, 900.0, -2520.0, 1820.0]) {
            assert!((got - want).abs() < 1e-8, "{got} {want}");
        }
    }

    #[test]
    fn refuses_what_is_not_positive_definite() {
        assert!(solve_spd(&[vec![1.0, 2.0], vec![2.0, 1.0]], &[1.0, 1.0]).is_none());
        assert!(solve_spd(&[vec![0.0]], &[1.0]).is_none());
    }
}
