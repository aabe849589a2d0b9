//! Decoded pictures where a device's decoder left them, to RGB: on the host, and, where there is room, in the device's memory
//! too, for the encoder.

#![allow(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use nexis_core::media::Pixels;
use nexis_core::media::hardware::{DeviceConverter, DevicePicture};
use nexis_core::media::yuv::{Coefficients, Depth};
use nexis_core::{Error, Result};

use crate::compute::{Compute, Span};
use crate::kernels::{DeviceChroma, DeviceYuv, Kernels, no_room};
use crate::resident::{Pool, Resident};

/// Converts pictures on one device, as many at once as it has lanes.
pub struct Pictures<C: Compute> {
    lanes: Vec<Mutex<Lane<C>>>,
    /// The lane that is tried first, so that they take turns.
    next: AtomicUsize,
    /// Waits until a picture that the decoder gave is written.
    written: fn(&C) -> Result<()>,
    pool: Arc<Pool<C::Memory>>,
}

/// One picture at a time.
struct Lane<C: Compute> {
    compute: C,
    /// Room for the largest picture that came when the pool had none.
    rgb: Option<C::Memory>,
}

impl<C: Compute> Pictures<C> {
    /// On a device that was opened once for each lane. `written` waits until what a decoder gave is there; copies stay on the
    /// device as long as `pool`, which is of the same device, has room.
    ///
    /// # Errors
    /// [`Error::Internal`] where there is no lane.
    pub fn new(
        lanes: impl IntoIterator<Item = C>,
        written: fn(&C) -> Result<()>,
        pool: Arc<Pool<C::Memory>>,
    ) -> Result<Self> {
        let lanes: Vec<_> =
            lanes.into_iter().map(|compute| Mutex::new(Lane { compute, rgb: None })).collect();
        if lanes.is_empty() {
            return Err(Error::Internal("no lane for pictures".to_owned()));
        }
        Ok(Self { lanes, next: AtomicUsize::new(0), written, pool })
    }

    /// A lane that is free, or the next one as soon as it is.
    fn lane(&self) -> Result<MutexGuard<'_, Lane<C>>> {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len().max(1);
        let (before, from) = self.lanes.split_at_checked(first).unwrap_or_default();
        for lane in from.iter().chain(before) {
            match lane.try_lock() {
                Ok(lane) => return Ok(lane),
                // What it writes it writes anew.
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        let lane = from.first().ok_or_else(|| Error::Internal("no lane for pictures".to_owned()))?;
        Ok(lane.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<C: Compute> DeviceConverter for Pictures<C> {
    fn to_rgb(&self, picture: &DevicePicture, degrees: u16) -> Result<Pixels> {
        let DevicePicture { width, height, depth, planes: [y, uv], strides: [stride, chroma_stride], .. } =
            *picture;
        let sample = if depth == Depth::Eight { 1 } else { 2 };
        // The last row ends with its pixels.
        let extent = |stride: u32, columns: u32, rows: u32| {
            stride as usize * rows.saturating_sub(1) as usize + columns as usize * sample
        };
        let chroma_columns = width.div_ceil(2) * 2;
        // SAFETY: FFmpeg's picture, which the caller holds, has as many rows of as many bytes behind both addresses
        // (NV12 or P010, whose rows of chroma are as long as those of luma and half as many).
        let (luma, chroma) = unsafe {
            (
                Span::new(y, extent(stride, width, height)),
                Span::new(uv, extent(chroma_stride, chroma_columns, height.div_ceil(2))),
            )
        };
        let yuv = DeviceYuv {
            width,
            height,
            sample_bytes: if depth == Depth::Eight { 1 } else { 2 },
            down: if depth == Depth::TenHigh { 6 } else { 0 },
            log2_x: 1,
            log2_y: 1,
            luma,
            stride,
            chroma: DeviceChroma::Interleaved(chroma),
            chroma_stride,
            coefficients: Coefficients::new(picture.matrix, picture.full_range, depth),
        };
        let bytes = width as usize * height as usize * 3;
        let mut lane = self.lane()?;
        let Lane { compute, rgb } = &mut *lane;
        let resident = self.pool.lend(bytes, |size| compute.allocate(size))?;
        let memory = match resident.as_ref().and_then(Resident::memory) {
            Some(memory) => memory,
            None => {
                if rgb.as_ref().is_none_or(|memory| C::span(memory).bytes() < bytes) {
                    // The old one goes first, so that both are never there at once.
                    *rgb = None;
                    *rgb = compute.allocate(bytes)?;
                }
                rgb.as_ref().ok_or_else(|| no_room("a picture", bytes))?
            }
        };
        let to =
            C::span(memory).part(0, bytes).ok_or_else(|| Error::Internal("a picture's room".to_owned()))?;
        (self.written)(compute)?;
        Kernels(compute).yuv_to_rgb(&yuv, u32::from(degrees / 90), to)?;
        // This waits for the conversion, so that whoever gets the copy may read it at once.
        let host = compute.fetch(to)?;
        Ok(match resident {
            Some(resident) => Pixels::with_copy(host, Arc::new(resident)),
            None => host.into(),
        })
    }
}
