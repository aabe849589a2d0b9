//! Whether a clip is what a specification asks for, and how to make it so.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::media::resize::resize_rgb;
use crate::media::{ClipProbe, Frame};
use crate::spec::{DatasetSpec, VideoSpec};

/// What becomes of a clip that is not of the size and length asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// Nothing is packed, and the error says what is wrong with which clip.
    #[default]
    Refuse,
    /// Cut, and scaled as a whole; where the shape differs, black bars fill the rest.
    Letterbox,
    /// Cut, and scaled so that the frame is filled; where the shape differs, what sticks out on two sides is lost.
    Crop,
}

impl std::str::FromStr for Fit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "refuse" => Ok(Self::Refuse),
            "letterbox" => Ok(Self::Letterbox),
            "crop" => Ok(Self::Crop),
            _ => Err(Error::usage(format!("fit {text:?}"), "refuse, letterbox or crop is expected")),
        }
    }
}

/// Highest frame rate of a clip that is cut; faster ones are thinned.
const MAX_FPS: f64 = 60.0;

/// A part of a file, to be encoded anew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cut {
    /// Start in the file, in seconds from its first frame.
    pub(super) from: f64,
    /// Frames per second that are written.
    pub(super) fps: u32,
    /// How many frames are written.
    pub(super) frames: u32,
}

impl Cut {
    /// Length of the result, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        f64::from(self.frames) / f64::from(self.fps)
    }

    /// The instants whose frames are written. A quarter of a frame after the frame's own beginning, so that
    /// rounding never picks the one before.
    pub(super) fn instants(&self) -> Vec<f64> {
        (0..self.frames).map(|k| self.from + (f64::from(k) + 0.25) / f64::from(self.fps)).collect()
    }
}

/// What keeps a clip from being packed as it is, each in words; empty where it fits.
pub(super) fn objections(probe: &ClipProbe, mp4: bool, from: f64, spec: &VideoSpec) -> Vec<String> {
    let mut found = Vec::new();
    let (width, height) = spec.frame_size();
    if (probe.width, probe.height) != (width, height) {
        found.push(format!("it is {}x{}, not {width}x{height}", probe.width, probe.height));
    }
    let rules = spec.row_rules();
    let (shortest, longest) = (rules.min_duration_seconds, rules.max_duration_seconds);
    if !(shortest..=longest).contains(&to_milliseconds(probe.duration_seconds)) {
        found.push(format!("it is {:.3} s long, not {shortest:.2} to {longest:.2}", probe.duration_seconds));
    }
    if from > 0.0 {
        found.push(format!("only the part from {from} s on is wanted"));
    }
    if !mp4 {
        found.push("it is a Matroska or WebM file, not MP4".to_owned());
    }
    found
}

/// The part of a file that becomes a clip.
///
/// # Errors
/// In words, where too little is left of the file.
pub(super) fn cut(probe: &ClipProbe, from: f64, spec: &VideoSpec) -> std::result::Result<Cut, String> {
    let shortest = spec.row_rules().min_duration_seconds;
    let left = (probe.duration_seconds - from).min(spec.duration_seconds);
    let fps = probe.fps.round().clamp(1.0, MAX_FPS);
    // Bounded by the specification's duration and the highest rate.
    let cut = Cut { from, fps: fps as u32, frames: (left * fps).round().max(0.0) as u32 };
    if to_milliseconds(cut.seconds()) < shortest {
        return Err(format!(
            "{:.3} s are left from {from} s on, and a clip has {} s; a shorter one cannot be stretched",
            left.max(0.0),
            spec.duration_seconds
        ));
    }
    Ok(cut)
}

/// Seconds to the nearest millisecond, as the row and the clip id give them.
pub(super) fn to_milliseconds(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// Whether a file is no Matroska or WebM file. The decoder takes those and MP4 only.
pub(super) fn is_mp4(path: &Path) -> Result<bool> {
    let mut head = Vec::with_capacity(4);
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    file.take(4).read_to_end(&mut head).map_err(|e| Error::io(path, e))?;
    Ok(head != [0x1a, 0x45, 0xdf, 0xa3])
}

/// A frame's pixels in another size, `[height, width, 3]`; where the shape differs, as `fit` says.
///
/// # Errors
/// Where an edge is 0, which is a defect.
pub(super) fn scale(frame: &Frame, width: u32, height: u32, fit: Fit) -> Result<Vec<u8>> {
    if (frame.width, frame.height) == (width, height) {
        return Ok(frame.rgb.to_vec());
    }
    let (from_w, from_h) = (u64::from(frame.width), u64::from(frame.height));
    let (to_w, to_h) = (u64::from(width), u64::from(height));
    // The frame is wider than what is asked for where `across` is larger.
    let (across, down) = (from_w * to_h, from_h * to_w);
    if fit == Fit::Crop {
        let kept_w = if across > down { nearest(down, to_h) } else { from_w };
        let kept_h = if across > down { from_h } else { nearest(across, to_w) };
        let kept = window(&frame.rgb, from_w, (from_w - kept_w) / 2, (from_h - kept_h) / 2, kept_w, kept_h);
        return resize_rgb(&kept, kept_w as u32, kept_h as u32, width, height);
    }
    let inner_w = if across > down { to_w } else { nearest(across, from_h) };
    let inner_h = if across > down { nearest(down, from_w) } else { to_h };
    let inner = resize_rgb(&frame.rgb, frame.width, frame.height, inner_w as u32, inner_h as u32)?;
    if (inner_w, inner_h) == (to_w, to_h) {
        return Ok(inner);
    }
    let row = to_w as usize * 3;
    let inner_row = inner_w as usize * 3;
    let (left, top) = ((to_w - inner_w) as usize / 2 * 3, (to_h - inner_h) as usize / 2);
    let mut out = vec![0_u8; row * to_h as usize];
    for (to, from) in out.chunks_exact_mut(row).skip(top).zip(inner.chunks_exact(inner_row)) {
        for (to, from) in to.iter_mut().skip(left).zip(from) {
            *to = *from;
        }
    }
    Ok(out)
}

/// `a / b`, rounded to the nearest, at least 1.
const fn nearest(a: u64, b: u64) -> u64 {
    let quotient = (a + b / 2) / b;
    if quotient == 0 { 1 } else { quotient }
}

/// A rectangle of a picture.
fn window(rgb: &[u8], width: u64, left: u64, top: u64, kept_w: u64, kept_h: u64) -> Vec<u8> {
    let (row, left, kept) = (width as usize * 3, left as usize * 3, kept_w as usize * 3);
    rgb.chunks_exact(row.max(1))
        .skip(top as usize)
        .take(kept_h as usize)
        .flat_map(|row| row.get(left..left + kept).unwrap_or_default())
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red left third, green middle, blue right third.
    fn thirds(width: u32, height: u32) -> Frame {
        let colour = |x: u32| match x * 3 / width {
            0 => [255, 0, 0],
            1 => [0, 255, 0],
            _ => [0, 0, 255],
        };
        let rgb: Vec<u8> = (0..height).flat_map(|_| (0..width).flat_map(colour)).collect();
        Frame { width, height, pts_seconds: 0.0, rgb: rgb.into() }
    }

    fn pixel(rgb: &[u8], width: usize, x: usize, y: usize) -> [u8; 3] {
        rgb[(y * width + x) * 3..][..3].try_into().unwrap()
    }

    #[test]
    fn a_wide_picture_gets_bars_or_loses_its_sides() {
        // 48x12 into 32x18: as a whole it is 32x8, with bars of 5 rows.
        let wide = thirds(48, 12);
        let boxed = scale(&wide, 32, 18, Fit::Letterbox).unwrap();
        assert_eq!(boxed.len(), 32 * 18 * 3);
        for (x, y, expected) in [
            (16, 0, [0, 0, 0]),
            (16, 4, [0, 0, 0]),
            (16, 13, [0, 0, 0]),
            (0, 5, [255, 0, 0]),
            (16, 9, [0, 255, 0]),
            (31, 12, [0, 0, 255]),
        ] {
            assert_eq!(pixel(&boxed, 32, x, y), expected, "{x},{y}");
        }
        // The middle 21 of 48 columns are kept, of which 16 are green.
        let cropped = scale(&wide, 32, 18, Fit::Crop).unwrap();
        assert_eq!(cropped.len(), 32 * 18 * 3);
        assert_eq!(pixel(&cropped, 32, 0, 0), [255, 0, 0]);
        assert_eq!(pixel(&cropped, 32, 16, 9), [0, 255, 0]);
        assert_eq!(pixel(&cropped, 32, 31, 17), [0, 0, 255]);
        let green = (0..32).filter(|&x| pixel(&cropped, 32, x, 9) == [0, 255, 0]).count();
        assert!(green > 18, "{green}");
    }

    #[test]
    fn a_high_picture_gets_bars_at_its_sides() {
        let high = thirds(9, 36);
        let boxed = scale(&high, 32, 18, Fit::Letterbox).unwrap();
        // 5 columns wide (4.5 rounded up), from column 13 on.
        assert_eq!(pixel(&boxed, 32, 12, 9), [0, 0, 0]);
        assert_eq!(pixel(&boxed, 32, 18, 9), [0, 0, 0]);
        assert_ne!(pixel(&boxed, 32, 15, 9), [0, 0, 0]);
        assert_eq!(scale(&high, 32, 18, Fit::Crop).unwrap().len(), 32 * 18 * 3);
    }

    fn probe(fps: f64, duration_seconds: f64) -> ClipProbe {
        ClipProbe {
            width: 1280,
            height: 720,
            codec: "h264".into(),
            pixel_format: "yuv420p".into(),
            fps,
            duration_seconds,
            frame_count: None,
            rotation: 0,
            has_audio: false,
        }
    }

    #[test]
    fn a_cut_has_five_seconds_or_what_the_tolerance_allows() {
        let spec = VideoSpec::default();
        let of = |fps, long, from| cut(&probe(fps, long), from, &spec);
        assert_eq!(of(30_000.0 / 1001.0, 12.0, 2.5).unwrap(), Cut { from: 2.5, fps: 30, frames: 150 });
        assert_eq!(of(120.0, 12.0, 0.0).unwrap(), Cut { from: 0.0, fps: 60, frames: 300 });
        assert_eq!(of(25.0, 4.88, 0.0).unwrap().frames, 122);
        for (long, from) in [(4.8, 0.0), (12.0, 7.5), (12.0, 20.0)] {
            assert!(of(25.0, long, from).unwrap_err().contains("are left"), "{long} {from}");
        }
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let spec = VideoSpec::default();
        assert_eq!(objections(&probe(30.0, 5.005), true, 0.0, &spec), [""; 0]);
        let small = ClipProbe { width: 640, height: 360, ..probe(30.0, 9.0) };
        let found = objections(&small, false, 1.5, &spec);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found.iter().any(|text| text == "it is 640x360, not 1280x720"));
        assert!(found.iter().any(|text| text == "it is 9.000 s long, not 4.85 to 5.15"));
    }
}
