//! YUV to RGB in integers, so that every device gives the same bytes.
//!
//! For a sample depth of `d` bits, the result is, per channel, clamped to 0..=255:
//!
//! ```text
//! R = (cy*(Y - y0)              + crv*(V - c0) + half) >> shift
//! G = (cy*(Y - y0) - cgu*(U - c0) - cgv*(V - c0) + half) >> shift
//! B = (cy*(Y - y0) + cbu*(U - c0)              + half) >> shift
//! ```
//!
//! with `shift = 16 + (d - 8)`, `half = 2^(shift-1)`, `c0 = 2^(d-1)`, `y0 = 16 * 2^(d-8)` in limited range
//! and 0 in full range. The coefficients are the real ones times `2^shift`, rounded to nearest:
//! `cy = 255/Ys`, `crv = 2(1-Kr) * 255/Cs`, `cbu = 2(1-Kb) * 255/Cs`, `cgu = cbu*Kb/Kg`, `cgv = crv*Kr/Kg` (before
//! rounding), `Kg = 1-Kr-Kb`, where `Ys, Cs` are `219, 224` times `2^(d-8)` in limited range and both `2^d - 1` in
//! full range.
//!
//! | matrix | Kr | Kb |
//! | --- | --- | --- |
//! | BT.601 (also 470BG, 170M) | 0.299 | 0.114 |
//! | BT.709 | 0.2126 | 0.0722 |
//! | FCC | 0.30 | 0.11 |
//! | SMPTE 240M | 0.212 | 0.087 |
//! | BT.2020, non-constant luminance | 0.2627 | 0.0593 |
//!
//! Chroma is replicated: a pixel takes the chroma sample of its 2x1 or 2x2 block. That is what players' fast
//! paths and swscale's own fast converter do, it needs no neighbours, and it is the same everywhere.
//! A stream without a matrix is BT.709 from 720 coded rows on and BT.601 below; one without a range is limited.

use std::sync::Arc;

/// The colour matrix of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matrix {
    /// BT.601, which 470BG and 170M share.
    Bt601,
    /// BT.709.
    Bt709,
    /// FCC, 1953.
    Fcc,
    /// SMPTE 240M.
    Smpte240m,
    /// BT.2020 with non-constant luminance.
    Bt2020,
}

impl Matrix {
    /// From the code point of ITU-T H.273, table 4; where it is unspecified, by the number of coded rows.
    /// `None` for matrices that are not converted (RGB, YCgCo, constant luminance, reserved ones).
    pub const fn from_code_point(code: i32, coded_height: u32) -> Option<Self> {
        match code {
            1 => Some(Self::Bt709),
            2 if coded_height >= 720 => Some(Self::Bt709),
            2 | 5 | 6 => Some(Self::Bt601),
            4 => Some(Self::Fcc),
            7 => Some(Self::Smpte240m),
            9 => Some(Self::Bt2020),
            _ => None,
        }
    }

    const fn kr_kb(self) -> (f64, f64) {
        match self {
            Self::Bt601 => (0.299, 0.114),
            Self::Bt709 => (0.2126, 0.0722),
            Self::Fcc => (0.30, 0.11),
            Self::Smpte240m => (0.212, 0.087),
            Self::Bt2020 => (0.2627, 0.0593),
        }
    }
}

/// The integers of one conversion; see the module for their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coefficients {
    /// Factor of luma.
    pub cy: i32,
    /// Factor of V in red.
    pub crv: i32,
    /// Factor of U in green, subtracted.
    pub cgu: i32,
    /// Factor of V in green, subtracted.
    pub cgv: i32,
    /// Factor of U in blue.
    pub cbu: i32,
    /// Luma of black.
    pub y0: i32,
    /// Chroma of grey.
    pub c0: i32,
    /// Bits to shift right by.
    pub shift: u32,
}

impl Coefficients {
    /// The integers for a matrix, a range and a depth of 8 or 10 bits.
    pub fn new(matrix: Matrix, full_range: bool, depth: Depth) -> Self {
        let extra = depth.bits() - 8;
        let shift = 16 + extra;
        let one = f64::from(1_u32 << shift);
        let (kr, kb) = matrix.kr_kb();
        let kg = 1.0 - kr - kb;
        let steps = f64::from(1_u32 << extra);
        let full = f64::from((1_u32 << depth.bits()) - 1);
        let (luma, chroma) = if full_range { (full, full) } else { (219.0 * steps, 224.0 * steps) };
        let crv = 2.0 * (1.0 - kr) * 255.0 / chroma * one;
        let cbu = 2.0 * (1.0 - kb) * 255.0 / chroma * one;
        Self {
            cy: (255.0 / luma * one).round() as i32,
            crv: crv.round() as i32,
            cgu: (cbu * kb / kg).round() as i32,
            cgv: (crv * kr / kg).round() as i32,
            cbu: cbu.round() as i32,
            y0: if full_range { 0 } else { 16 << extra },
            c0: 1 << (depth.bits() - 1),
            shift,
        }
    }
}

/// Bits per sample and where they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// One byte per sample.
    Eight,
    /// Two bytes per sample, little-endian, the value in the lower ten bits.
    Ten,
    /// Two bytes per sample, little-endian, the value in the upper ten bits (P010).
    TenHigh,
}

impl Depth {
    /// Bits that count.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Eight => 8,
            Self::Ten | Self::TenHigh => 10,
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Eight => 1,
            Self::Ten | Self::TenHigh => 2,
        }
    }
}

/// One plane: `stride` bytes from a row to the next.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    /// The bytes, rows top to bottom.
    pub bytes: &'a [u8],
    /// Bytes from the start of a row to the start of the next one.
    pub stride: usize,
}

/// Where the chroma is.
#[derive(Clone, Copy, Debug)]
pub enum Chroma<'a> {
    /// None: a grey picture.
    None,
    /// U and V in planes of their own.
    Planar {
        /// Blue difference.
        u: Plane<'a>,
        /// Red difference.
        v: Plane<'a>,
    },
    /// U and V alternating in one plane (NV12, P010).
    Interleaved(Plane<'a>),
}

/// A picture as a decoder holds it.
#[derive(Clone, Copy, Debug)]
pub struct Yuv<'a> {
    /// Width of the luma plane in samples.
    pub width: u32,
    /// Height of the luma plane in rows.
    pub height: u32,
    /// Sample layout.
    pub depth: Depth,
    /// Log2 of the horizontal chroma subsampling: 0 or 1.
    pub log2_x: u32,
    /// Log2 of the vertical chroma subsampling: 0 or 1.
    pub log2_y: u32,
    /// Luma.
    pub luma: Plane<'a>,
    /// Chroma.
    pub chroma: Chroma<'a>,
    /// Colour matrix.
    pub matrix: Matrix,
    /// Whether luma and chroma use all values.
    pub full_range: bool,
}

impl Yuv<'_> {
    /// Packed RGB `[height, width, 3]`, or `None` where a plane is shorter than the size says.
    pub fn to_rgb(&self) -> Option<Vec<u8>> {
        let width = self.width as usize;
        let height = self.height as usize;
        let k = Coefficients::new(self.matrix, self.full_range, self.depth);
        let half = 1_i32 << (k.shift - 1);
        let chroma_width = (width + (1 << self.log2_x) - 1) >> self.log2_x;
        let mut rgb = vec![0_u8; width.checked_mul(height)?.checked_mul(3)?];
        // Per chroma sample of the current row: what it adds to red, green and blue, the rounding included.
        let mut shares = vec![[half; 3]; chroma_width];
        let mut luma = vec![0_i32; width];
        let (mut us, mut vs) = (vec![0_i32; chroma_width], vec![0_i32; chroma_width]);
        let mut shares_row = None;
        for (y, out) in rgb.chunks_exact_mut(width.checked_mul(3)?).enumerate() {
            samples(self.luma, y, 0, 1, self.depth, &mut luma)?;
            let chroma_y = y >> self.log2_y;
            if shares_row != Some(chroma_y) {
                let present = match self.chroma {
                    Chroma::None => false,
                    Chroma::Planar { u, v } => {
                        samples(u, chroma_y, 0, 1, self.depth, &mut us)?;
                        samples(v, chroma_y, 0, 1, self.depth, &mut vs)?;
                        true
                    }
                    Chroma::Interleaved(plane) => {
                        samples(plane, chroma_y, 0, 2, self.depth, &mut us)?;
                        samples(plane, chroma_y, 1, 2, self.depth, &mut vs)?;
                        true
                    }
                };
                if present {
                    for ((share, &u), &v) in shares.iter_mut().zip(us.iter()).zip(vs.iter()) {
                        let (u, v) = (u - k.c0, v - k.c0);
                        *share = [k.crv * v + half, half - k.cgu * u - k.cgv * v, k.cbu * u + half];
                    }
                }
                shares_row = Some(chroma_y);
            }
            let (pixels, _) = out.as_chunks_mut::<3>();
            if self.log2_x == 0 {
                for ((pixel, &y), share) in pixels.iter_mut().zip(luma.iter()).zip(shares.iter()) {
                    *pixel = mixed(k.cy * (y - k.y0), share, k.shift);
                }
            } else {
                let (pairs, odd) = pixels.as_chunks_mut::<2>();
                let (luma_pairs, luma_odd) = luma.as_chunks::<2>();
                for (([a, b], [ya, yb]), share) in pairs.iter_mut().zip(luma_pairs).zip(shares.iter()) {
                    *a = mixed(k.cy * (ya - k.y0), share, k.shift);
                    *b = mixed(k.cy * (yb - k.y0), share, k.shift);
                }
                if let ([pixel], [y], Some(share)) = (odd, luma_odd, shares.last()) {
                    *pixel = mixed(k.cy * (y - k.y0), share, k.shift);
                }
            }
        }
        Some(rgb)
    }
}

/// Reads row `y` of a plane: every `step`-th sample from sample `offset` on.
fn samples(
    plane: Plane<'_>,
    y: usize,
    offset: usize,
    step: usize,
    depth: Depth,
    out: &mut [i32],
) -> Option<()> {
    let size = depth.bytes();
    let start = y.checked_mul(plane.stride)?;
    let row = plane.bytes.get(start..)?;
    let needed = match out.len().checked_sub(1) {
        Some(last) => (last * step + offset + 1) * size,
        None => 0,
    };
    let row = row.get(offset * size..needed)?;
    match (depth, step) {
        (Depth::Eight, 1) => {
            for (value, &byte) in out.iter_mut().zip(row) {
                *value = i32::from(byte);
            }
        }
        (Depth::Eight, _) => {
            for (value, &byte) in out.iter_mut().zip(row.iter().step_by(step)) {
                *value = i32::from(byte);
            }
        }
        (Depth::Ten | Depth::TenHigh, _) => {
            let down = if depth == Depth::TenHigh { 6 } else { 0 };
            for (value, bytes) in out.iter_mut().zip(row.chunks_exact(2).step_by(step)) {
                let [low, high] = bytes else { return None };
                // The mask keeps sums inside i32 whatever a decoder left in the unused bits.
                *value = i32::from((u16::from_le_bytes([*low, *high]) >> down) & 0x3ff);
            }
        }
    }
    Some(())
}

/// One pixel.
fn mixed(luma: i32, share: &[i32; 3], shift: u32) -> [u8; 3] {
    share.map(|part| ((luma + part) >> shift).clamp(0, 255) as u8)
}

/// Turns packed RGB clockwise by 0, 90, 180 or 270 degrees; other angles are taken as 0. Returns the new
/// width, height and bytes.
pub fn rotate(rgb: Vec<u8>, width: u32, height: u32, degrees: u16) -> (u32, u32, Arc<[u8]>) {
    let (w, h) = (width as usize, height as usize);
    let pixels: Vec<[u8; 3]> = match degrees {
        90 | 180 | 270 => rgb.as_chunks::<3>().0.to_vec(),
        _ => return (width, height, rgb.into()),
    };
    let take = |x: usize, y: usize| pixels.get(y * w + x).copied().unwrap_or_default();
    let mut out = Vec::with_capacity(rgb.len());
    match degrees {
        90 => {
            for y in 0..w {
                for x in 0..h {
                    out.extend(take(y, h - 1 - x));
                }
            }
            (height, width, out.into())
        }
        180 => {
            for pixel in pixels.iter().rev() {
                out.extend(pixel);
            }
            (width, height, out.into())
        }
        _ => {
            for y in 0..w {
                for x in 0..h {
                    out.extend(take(w - 1 - y, x));
                }
            }
            (height, width, out.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coefficients_are_the_published_ones() {
        // ITU-R BT.601 in limited range, the integers known from common converters (1.164, 1.596, 0.391,
        // 0.813, 2.018 times 65536).
        let k = Coefficients::new(Matrix::Bt601, false, Depth::Eight);
        assert_eq!((k.cy, k.crv, k.cgu, k.cgv, k.cbu), (76309, 104_597, 25675, 53279, 132_201));
        // Ten bits use the same integers over two more bits of shift.
        let ten = Coefficients::new(Matrix::Bt601, false, Depth::Ten);
        assert_eq!((ten.cy, ten.crv, ten.shift, ten.y0), (k.cy, k.crv, 18, 64));
        // Full range leaves luma alone.
        assert_eq!(Coefficients::new(Matrix::Bt709, true, Depth::Eight).cy, 65536);
    }

    #[test]
    fn black_white_and_grey_come_out_exactly() {
        for depth in [Depth::Eight, Depth::Ten] {
            for (full_range, black, white) in [(false, 16, 235), (true, 0, 255)] {
                for (value, expected) in [(black, 0_u8), (white, 255)] {
                    let (wide, value) = match depth {
                        Depth::Eight => (vec![value as u8], value),
                        _ if full_range && value == 255 => (1023_u16.to_le_bytes().to_vec(), 1023),
                        _ => (((value as u16) << 2).to_le_bytes().to_vec(), value << 2),
                    };
                    let yuv = Yuv {
                        width: 1,
                        height: 1,
                        depth,
                        log2_x: 0,
                        log2_y: 0,
                        luma: Plane { bytes: &wide, stride: wide.len() },
                        chroma: Chroma::None,
                        matrix: Matrix::Bt709,
                        full_range,
                    };
                    assert_eq!(yuv.to_rgb().unwrap(), [expected; 3], "{depth:?} {full_range} {value}");
                }
            }
        }
    }

    #[test]
    fn a_short_plane_gives_none_and_no_panic() {
        let bytes = [0_u8; 7];
        let plane = Plane { bytes: &bytes, stride: 4 };
        let yuv = Yuv {
            width: 4,
            height: 2,
            depth: Depth::Eight,
            log2_x: 1,
            log2_y: 1,
            luma: plane,
            chroma: Chroma::Planar { u: plane, v: plane },
            matrix: Matrix::Bt601,
            full_range: false,
        };
        assert!(yuv.to_rgb().is_none());
        let empty = Plane { bytes: &[], stride: 0 };
        assert!(Yuv { luma: empty, ..yuv }.to_rgb().is_none());
    }

    #[test]
    fn turning_is_clockwise() {
        // 1 2 3      4 1
        // 4 5 6  ->  5 2
        //            6 3
        let rgb: Vec<u8> = (1..=6).flat_map(|v| [v; 3]).collect();
        let flat = |bytes: &[u8]| bytes.iter().step_by(3).copied().collect::<Vec<_>>();
        let (w, h, turned) = rotate(rgb.clone(), 3, 2, 90);
        assert_eq!((w, h, flat(&turned)), (2, 3, vec![4, 1, 5, 2, 6, 3]));
        let (w, h, turned) = rotate(rgb.clone(), 3, 2, 180);
        assert_eq!((w, h, flat(&turned)), (3, 2, vec![6, 5, 4, 3, 2, 1]));
        let (w, h, turned) = rotate(rgb, 3, 2, 270);
        assert_eq!((w, h, flat(&turned)), (2, 3, vec![3, 6, 2, 5, 1, 4]));
    }
}
