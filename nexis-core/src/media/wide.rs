//! Loops over pixels, compiled for wide registers beside what every processor has, and chosen when the program runs.
//!
//! They compute in integers, so that the choice changes how long they take and nothing else.

#![allow(unsafe_code)]

/// Makes `$name`, which calls `$body` compiled for AVX2 where the processor has it. `$body` has to be inlined whole, for
/// only then is it compiled anew.
macro_rules! widest {
    ($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $out:ty = $body:path) => {
        $(#[$doc])*
        pub(super) fn $name($($argument: $type),*) -> $out {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($argument: $type),*) -> $out {
                    $body($($argument),*)
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor was just found to have AVX2.
                    return unsafe { avx2($($argument),*) };
                }
            }
            $body($($argument),*)
        }
    };
}

use super::resize::{self, Taps};
use super::yuv::{self, Yuv};

widest! {
    /// See [`yuv::convert`].
    fn convert(yuv: &Yuv<'_>, rgb: &mut [u8]) -> Option<()> = yuv::convert
}

widest! {
    /// See [`resize::horizontal_pass`].
    fn horizontal_pass(rgb: &[u8], row_in: usize, row_out: usize, taps: &Taps) -> Vec<u8> = resize::horizontal_pass
}

widest! {
    /// See [`resize::vertical_pass`].
    fn vertical_pass(rows: &[u8], row: usize, taps: &Taps) -> Vec<u8> = resize::vertical_pass
}

#[cfg(test)]
mod tests {
    use crate::media::resize::Resample::{Bicubic, Bilinear};
    use crate::media::yuv::{Chroma, Depth, Matrix, Plane};

    use super::*;

    fn noise(count: usize) -> Vec<u8> {
        let mut state = 1_u32;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect()
    }

    #[test]
    fn wide_registers_change_no_byte() {
        // Edges that fill no register, block or cell.
        for (width, height) in [(1, 1), (2, 3), (47, 131), (130, 18)] {
            let (w, h) = (width as usize, height as usize);
            let bytes = noise(w * h * 4);
            for depth in [Depth::Eight, Depth::Ten, Depth::TenHigh] {
                for (log2_x, log2_y) in [(0, 0), (1, 0), (1, 1)] {
                    let stride = w * 2;
                    let plane = Plane { bytes: &bytes, stride };
                    let both = Plane { bytes: &bytes, stride: stride * 2 };
                    for chroma in
                        [Chroma::None, Chroma::Planar { u: plane, v: plane }, Chroma::Interleaved(both)]
                    {
                        let matrix = Matrix::Bt601;
                        let yuv = Yuv {
                            width,
                            height,
                            depth,
                            log2_x,
                            log2_y,
                            luma: plane,
                            chroma,
                            matrix,
                            full_range: false,
                        };
                        let (mut wide, mut narrow) = (vec![1; w * h * 3], vec![2; w * h * 3]);
                        assert_eq!(convert(&yuv, &mut wide), yuv::convert(&yuv, &mut narrow));
                        if yuv::convert(&yuv, &mut narrow).is_some() {
                            assert_eq!(wide, narrow, "{width}x{height} {yuv:?}");
                        }
                    }
                }
            }
            let rgb = noise(w * h * 3);
            for (to, resample) in [1, 5, 16, 33, 200].into_iter().zip([Bicubic, Bilinear].into_iter().cycle())
            {
                let taps = Taps::new(width, to, resample);
                let row_out = to as usize * 3;
                let wide = horizontal_pass(&rgb, w * 3, row_out, &taps);
                assert_eq!(wide, resize::horizontal_pass(&rgb, w * 3, row_out, &taps), "{width} to {to}");
                let taps = Taps::new(height, to, resample);
                let wide = vertical_pass(&rgb, w * 3, &taps);
                assert_eq!(wide, resize::vertical_pass(&rgb, w * 3, &taps), "{height} to {to}");
            }
        }
    }
}
