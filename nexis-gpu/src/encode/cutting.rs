//! Cutting the tiles of frames into a network's input.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use nexis_core::media::Frame;
use nexis_core::media::tiles::{MAX_TILES, TileLayout};
use nexis_core::{Error, Result};

use super::{DeviceTowers, memory};
use crate::compute::{Compute, Span};
use crate::kernels::{DeviceTaps, InputFormat, Kernels, TilePlan, no_room};
use crate::resident::Resident;

/// Most sizes of frames whose taps are kept.
const KEPT_TAPS: usize = 64;

/// For what comes before the network's input. Whoever asks the intake holds it.
pub(super) struct Cutting<M> {
    /// Pictures of one batch, as bytes.
    pub(super) crops: M,
    pub(super) frames: FrameSpace<M>,
}

/// For cutting tiles out of frames. It grows where a frame is larger than was expected.
pub(super) struct FrameSpace<M> {
    pub(super) rgb: Option<M>,
    pub(super) rows: Option<M>,
    pub(super) taps: HashMap<(u32, u32), DeviceTaps<M>>,
}

/// Bytes of the largest frame, and of what its rows are resized to.
pub(super) fn frame_bytes(max_pixels: u64, edge: usize) -> [usize; 2] {
    // Rows come to no more than the longer edge of a frame times the edge of a tile, whichever way the frame lies.
    let longest = max_pixels.saturating_mul(MAX_TILES.into()).isqrt();
    let number = |x: u64| usize::try_from(x).unwrap_or(usize::MAX);
    [number(max_pixels).saturating_mul(3), number(longest).saturating_mul(edge).saturating_mul(3)]
}

impl<C: Compute> DeviceTowers<C> {
    /// How tiles lie in what the vision tower reads.
    pub(super) fn tile_plan(&self, width: u32, corners: Vec<(u32, u32)>) -> Result<TilePlan> {
        let number = |x: usize| u32::try_from(x).map_err(|_| Error::Internal(format!("size {x}")));
        Ok(TilePlan {
            size: number(self.sizes.image)?,
            patch: number(self.sizes.patch)?,
            row: number(self.vision.row)?,
            width,
            corners,
        })
    }

    /// Where this device has a frame's pixels already, from its decoder.
    fn resident<'f>(&self, frame: &'f Frame) -> Option<Span<'f>> {
        let resident = frame.rgb.copy::<Resident<C::Memory>>()?;
        let memory = resident.memory().filter(|memory| self.compute.reaches(memory))?;
        (resident.bytes() == frame.rgb.len()).then_some(C::span(memory))
    }

    /// Cuts the tiles of a frame into a network's input, from tile `at` on.
    pub(super) fn cut(
        &self,
        space: &mut FrameSpace<C::Memory>,
        input: Span<'_>,
        frame: &Frame,
        layout: &TileLayout,
        at: usize,
    ) -> Result<()> {
        let (kernels, compute) = (Kernels(&self.intake), &self.intake);
        let height = frame.height as usize;
        let bytes = rgb_bytes(frame);
        let rows = self.grown(&mut space.rows, "a frame's rows", layout.width() as usize * height * 3)?;
        if space.taps.len() + 2 > KEPT_TAPS {
            // Frames before this one may still be resized by them.
            self.wait_for_intake()?;
            space.taps.clear();
        }
        for sizes in [(frame.width, layout.width()), (frame.height, layout.height())] {
            if let Entry::Vacant(vacant) = space.taps.entry(sizes) {
                vacant.insert(DeviceTaps::upload(compute, sizes.0, sizes.1, self.resample)?);
            }
        }
        let taps = |sizes| space.taps.get(&sizes).ok_or_else(|| Error::Internal("taps are gone".to_owned()));
        let rgb = match self.resident(frame) {
            Some(rgb) => rgb,
            None => {
                let rgb = self.grown(&mut space.rgb, "a frame", bytes)?;
                let pixels = frame
                    .rgb
                    .get(..bytes)
                    .ok_or_else(|| Error::Internal("a frame lost pixels".to_owned()))?;
                compute.upload(pixels, rgb)?;
                rgb
            }
        };
        kernels.rows_from_rgb(rgb, height, taps((frame.width, layout.width()))?, rows)?;
        let plan = self.tile_plan(layout.width(), layout.corners().collect())?;
        let grid = self.sizes.grid();
        let tile = grid * grid * self.vision.row * 2;
        let to = input
            .part(at * tile, plan.corners.len() * tile)
            .ok_or_else(|| Error::Internal("a batch has no room for a frame's tiles".to_owned()))?;
        let (columns, levels) = (taps((frame.height, layout.height()))?, C::span(&self.vision.levels));
        kernels.columns_to_input(rows, 1, columns, &plan, levels, InputFormat::Short(self.format), to)
    }

    /// Waits until the intake has done what it was asked for.
    pub(super) fn wait_for_intake(&self) -> Result<()> {
        self.intake.download(C::span(&self.vision.levels), &mut [])
    }

    /// Memory of at least this size, for the intake.
    fn grown<'a>(&self, memory: &'a mut Option<C::Memory>, what: &str, bytes: usize) -> Result<Span<'a>> {
        if memory.as_ref().is_none_or(|memory| C::span(memory).bytes() < bytes) {
            // The old one goes first, so that both are never there at once, and not before the last frame was cut.
            self.wait_for_intake()?;
            *memory = None;
            *memory = Some(self::memory(&self.intake, what, bytes)?);
        }
        let memory = memory.as_ref().ok_or_else(|| no_room(what, bytes))?;
        Ok(C::span(memory))
    }
}

/// Bytes of a frame of this size.
pub(super) const fn rgb_bytes(frame: &Frame) -> usize {
    (frame.width as usize).saturating_mul(frame.height as usize).saturating_mul(3)
}
