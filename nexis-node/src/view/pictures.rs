//! Small pictures of judged frames, kept during a run for the page at its end.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use image::codecs::jpeg::JpegEncoder;
use nexis_core::media::Frame;
use nexis_core::protocol::{Hotkey, IntervalId};

use super::sheet::scaled;

/// Width of a thumbnail in pixels: sharp on a phone, about ten kilobytes.
const WIDTH: u32 = 320;
const JPEG_QUALITY: u8 = 75;
/// Most thumbnails of one row.
const MAX_FRAMES: usize = 16;

/// A frame, small, as JPEG.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Thumbnail {
    /// The file's bytes.
    pub(crate) jpeg: Vec<u8>,
    /// Width in pixels.
    pub(crate) width: u32,
    /// Height in pixels.
    pub(crate) height: u32,
    /// Presentation time of the frame in seconds.
    pub(crate) pts_seconds: f64,
}

impl Thumbnail {
    /// Makes a frame small.
    ///
    /// # Errors
    /// Where the frame's bytes do not match its size, or the encoder fails.
    pub(crate) fn of(frame: &Frame) -> Result<Self> {
        let picture = scaled(frame, WIDTH).context("a frame's bytes do not match its size")?;
        let mut jpeg = Cursor::new(Vec::new());
        JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY)
            .encode_image(&picture)
            .context("encoding a thumbnail")?;
        Ok(Self {
            jpeg: jpeg.into_inner(),
            width: picture.width(),
            height: picture.height(),
            pts_seconds: frame.pts_seconds,
        })
    }
}

type Key = (Hotkey, IntervalId, usize);

/// Thumbnails by submission and row; filled from any thread while rows are judged.
#[derive(Debug, Default)]
pub(crate) struct RowPictures {
    rows: Mutex<BTreeMap<Key, Arc<[Thumbnail]>>>,
}

impl RowPictures {
    /// Keeps small pictures of a row's frames, at most sixteen; frames kept before are replaced.
    ///
    /// # Errors
    /// See [`Thumbnail::of`]; nothing is kept then.
    pub(crate) fn keep(
        &self,
        miner: &Hotkey,
        interval: IntervalId,
        row_index: usize,
        frames: &[Frame],
    ) -> Result<()> {
        let thumbnails = frames.iter().take(MAX_FRAMES).map(Thumbnail::of).collect::<Result<Vec<_>>>()?;
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.insert((miner.clone(), interval, row_index), thumbnails.into());
        Ok(())
    }

    /// The thumbnails of a row, in the order of its frames; none where none were kept.
    pub(crate) fn of_row(&self, miner: &Hotkey, interval: IntervalId, row_index: usize) -> Arc<[Thumbnail]> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.get(&(miner.clone(), interval, row_index)).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbnails_come_back_for_their_row_alone() {
        let rgb = [200_u8, 30, 30].repeat(1280 * 720);
        let frame = Frame { width: 1280, height: 720, pts_seconds: 2.5, rgb: rgb.into() };
        let pictures = RowPictures::default();
        let (a, b) = (Hotkey::new("a"), Hotkey::new("b"));
        pictures.keep(&a, IntervalId::new(100), 7, &[frame]).unwrap();
        let kept = pictures.of_row(&a, IntervalId::new(100), 7);
        assert_eq!((kept.len(), kept[0].width, kept[0].height, kept[0].pts_seconds), (1, 320, 180, 2.5));
        let read = image::load_from_memory(&kept[0].jpeg).unwrap().to_rgb8();
        let pixel = read.get_pixel(160, 90).0;
        assert!(pixel[0] > 180 && pixel[1] < 60, "{pixel:?}");
        assert!(pictures.of_row(&b, IntervalId::new(100), 7).is_empty());
        assert!(pictures.of_row(&a, IntervalId::new(200), 7).is_empty());
        assert!(pictures.of_row(&a, IntervalId::new(100), 8).is_empty());
    }

    #[test]
    fn a_broken_frame_is_an_error() {
        let frame = Frame { width: 10, height: 10, pts_seconds: 0.0, rgb: vec![0; 5].into() };
        assert!(Thumbnail::of(&frame).is_err());
    }
}
