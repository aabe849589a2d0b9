//! Decoded pictures where NVIDIA's decoder left them, to RGB.

use std::sync::{Arc, Mutex, PoisonError};

use nexis_core::media::hardware::{DeviceConverter, DevicePicture};
use nexis_core::media::yuv::{Coefficients, Depth};
use nexis_core::{Error, Result};

use super::{Cuda, CudaMemory};
use crate::compute::{Compute, Span};
use crate::kernels::{DeviceChroma, DeviceYuv, Kernels, no_room};

/// Converts pictures on a device, one at a time.
pub(super) struct Pictures {
    compute: Cuda,
    /// Room for the largest picture that came.
    rgb: Mutex<Option<CudaMemory>>,
}

impl Pictures {
    pub(super) const fn new(compute: Cuda) -> Self {
        Self { compute, rgb: Mutex::new(None) }
    }
}

impl DeviceConverter for Pictures {
    fn to_rgb(&self, picture: &DevicePicture, degrees: u16) -> Result<Arc<[u8]>> {
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
        let mut rgb = self.rgb.lock().unwrap_or_else(PoisonError::into_inner);
        if rgb.as_ref().is_none_or(|memory| memory.bytes < bytes) {
            // The old one goes first, so that both are never there at once.
            *rgb = None;
            *rgb = self.compute.allocate(bytes)?;
        }
        let memory = rgb.as_ref().ok_or_else(|| no_room("a picture", bytes))?;
        let to = Cuda::span(memory)
            .part(0, bytes)
            .ok_or_else(|| Error::Internal("a picture's room".to_owned()))?;
        self.compute.wait_for_default_stream()?;
        Kernels(&self.compute).yuv_to_rgb(&yuv, u32::from(degrees / 90), to)?;
        let mut out: Arc<[u8]> = std::iter::repeat_n(0, bytes).collect();
        let target =
            Arc::get_mut(&mut out).ok_or_else(|| Error::Internal("a new picture is shared".to_owned()))?;
        self.compute.download(to, target)?;
        Ok(out)
    }
}
