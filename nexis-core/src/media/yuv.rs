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

use super::wide;

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

    /// Half a unit of the result, so that the shift rounds.
    const fn half(&self) -> i32 {
        1 << (self.shift - 1)
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
    pub fn to_rgb(&self) -> Option<Arc<[u8]>> {
        let length = (self.width as usize).checked_mul(self.height as usize)?.checked_mul(3)?;
        // Made where it stays: turning a vector into shared bytes would copy them.
        let mut rgb: Arc<[u8]> = std::iter::repeat_n(0, length).collect();
        wide::convert(self, Arc::get_mut(&mut rgb)?)?;
        Some(rgb)
    }
}

/// One value per column for each of red, green and blue.
struct Row<T>([Vec<T>; 3]);

impl<T: Clone + Default> Row<T> {
    fn new(width: usize) -> Self {
        Self(std::array::from_fn(|_| vec![T::default(); width]))
    }
}

/// Fills `rgb`, which holds `height * width * 3` bytes; `None` where a plane is shorter than the size says.
#[inline(always)]
pub(super) fn convert(yuv: &Yuv<'_>, rgb: &mut [u8]) -> Option<()> {
    let width = yuv.width as usize;
    let k = Coefficients::new(yuv.matrix, yuv.full_range, yuv.depth);
    let chroma_width = width.div_ceil(1 << yuv.log2_x);
    let mut luma = vec![0_i32; width];
    let (mut us, mut vs) = (vec![0_i32; chroma_width], vec![0_i32; chroma_width]);
    // What chroma adds to each colour of the current row, the rounding included, and the row's finished colours. Each
    // colour has a row of its own: such loops fill wide registers, and only the last step puts the colours side by side.
    let mut shares = Row::<i32>::new(width);
    shares.0.iter_mut().for_each(|row| row.fill(k.half()));
    let mut colours = Row::<u8>::new(width);
    let mut shares_row = None;
    for (y, out) in rgb.chunks_exact_mut(width.checked_mul(3)?.max(1)).enumerate() {
        samples(yuv.luma, y, 0, 1, yuv.depth, &mut luma)?;
        let chroma_y = y >> yuv.log2_y;
        if shares_row != Some(chroma_y) {
            let present = match yuv.chroma {
                Chroma::None => false,
                Chroma::Planar { u, v } => {
                    samples(u, chroma_y, 0, 1, yuv.depth, &mut us)?;
                    samples(v, chroma_y, 0, 1, yuv.depth, &mut vs)?;
                    true
                }
                Chroma::Interleaved(plane) => {
                    samples(plane, chroma_y, 0, 2, yuv.depth, &mut us)?;
                    samples(plane, chroma_y, 1, 2, yuv.depth, &mut vs)?;
                    true
                }
            };
            if present {
                spread(&us, &vs, &k, yuv.log2_x, &mut shares);
            }
            shares_row = Some(chroma_y);
        }
        let [red, green, blue] = &mut colours.0;
        let [to_red, to_green, to_blue] = &shares.0;
        let byte = |luma: i32, share: i32| ((luma + share) >> k.shift).clamp(0, 255) as u8;
        let shares = to_red.iter().zip(to_green).zip(to_blue);
        let bytes = red.iter_mut().zip(&mut *green).zip(&mut *blue);
        for ((&y, ((r, g), b)), ((red, green), blue)) in luma.iter().zip(shares).zip(bytes) {
            let y = k.cy * (y - k.y0);
            (*red, *green, *blue) = (byte(y, *r), byte(y, *g), byte(y, *b));
        }
        let (pixels, _) = out.as_chunks_mut::<3>();
        for (((pixel, r), g), b) in pixels.iter_mut().zip(&*red).zip(&*green).zip(&*blue) {
            *pixel = [*r, *g, *b];
        }
    }
    Some(())
}

/// What one row of chroma adds to each column.
#[inline(always)]
fn spread(us: &[i32], vs: &[i32], k: &Coefficients, log2_x: u32, shares: &mut Row<i32>) {
    let [red, green, blue] = &mut shares.0;
    replicate(red, us, vs, log2_x, |_, v| k.crv * (v - k.c0) + k.half());
    replicate(green, us, vs, log2_x, |u, v| k.half() - k.cgu * (u - k.c0) - k.cgv * (v - k.c0));
    replicate(blue, us, vs, log2_x, |u, _| k.cbu * (u - k.c0) + k.half());
}

/// What each sample gives, once for each of its one or two columns.
#[inline(always)]
fn replicate(row: &mut [i32], us: &[i32], vs: &[i32], log2_x: u32, share: impl Fn(i32, i32) -> i32) {
    if log2_x == 0 {
        for ((column, &u), &v) in row.iter_mut().zip(us).zip(vs) {
            *column = share(u, v);
        }
        return;
    }
    let (pairs, odd) = row.as_chunks_mut::<2>();
    for ((pair, &u), &v) in pairs.iter_mut().zip(us).zip(vs) {
        *pair = [share(u, v); 2];
    }
    if let ([column], [.., u], [.., v]) = (odd, us, vs) {
        *column = share(*u, *v);
    }
}

/// Reads row `y` of a plane: every `step`-th sample from sample `offset` on.
#[inline(always)]
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
            let (words, _) = row.as_chunks::<2>();
            for (value, word) in out.iter_mut().zip(words.iter().step_by(step)) {
                // The mask keeps sums inside i32 whatever a decoder left in the unused bits.
                *value = i32::from((u16::from_le_bytes(*word) >> down) & 0x3ff);
            }
        }
    }
    Some(())
}

/// Turns packed RGB clockwise by 0, 90, 180 or 270 degrees; other angles are taken as 0. Returns the new
/// width, height and bytes.
pub fn rotate(rgb: Arc<[u8]>, width: u32, height: u32, degrees: u16) -> (u32, u32, Arc<[u8]>) {
    let (w, h) = (width as usize, height as usize);
    let pixels: Vec<[u8; 3]> = match degrees {
        90 | 180 | 270 => rgb.as_chunks::<3>().0.to_vec(),
        _ => return (width, height, rgb),
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
                    assert_eq!(*yuv.to_rgb().unwrap(), [expected; 3], "{depth:?} {full_range} {value}");
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
        let rgb: Arc<[u8]> = (1..=6).flat_map(|v| [v; 3]).collect();
        let flat = |bytes: &[u8]| bytes.iter().step_by(3).copied().collect::<Vec<_>>();
        let (w, h, turned) = rotate(rgb.clone(), 3, 2, 90);
        assert_eq!((w, h, flat(&turned)), (2, 3, vec![4, 1, 5, 2, 6, 3]));
        let (w, h, turned) = rotate(rgb.clone(), 3, 2, 180);
        assert_eq!((w, h, flat(&turned)), (3, 2, vec![6, 5, 4, 3, 2, 1]));
        let (w, h, turned) = rotate(rgb, 3, 2, 270);
        assert_eq!((w, h, flat(&turned)), (2, 3, vec![3, 6, 2, 5, 1, 4]));
    }
}
