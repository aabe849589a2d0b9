//! Decoding by itself.

use std::path::PathBuf;

use nexis_core::Error;
use nexis_core::media::{FfmpegDecoder, Frame, FrameRequest, MediaDecoder, MediaFailure, MediaLimits};
use nexis_core::verifier::FRAMES_PER_CLIP;
use numpy::ndarray::Array4;
use numpy::{IntoPyArray, PyArray1, PyArray4, PyReadonlyArray4};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors::media;
use crate::work::beside;

/// Most frames of one call.
const MAX_FRAMES: usize = 1000;
/// Most bytes of pixels of one call: 1,000 frames of 1280x720 are 2.8 GB.
const MAX_PIXEL_BYTES: u64 = 4 << 30;
/// So many frames of the largest picture allowed are always below that.
const FEW_FRAMES: usize = 64;

/// What a clip's stream is.
#[pyfunction]
#[pyo3(signature = (clip) -> "dict[str, Any]")]
pub(crate) fn probe<'py>(py: Python<'py>, clip: PathBuf) -> PyResult<Bound<'py, PyAny>> {
    let probed = beside(py, move |_| FfmpegDecoder::default().probe(&clip, &MediaLimits::default()))?;
    Ok(pythonize::pythonize(py, &probed.map_err(|e| media(py, e))?)?)
}

/// Frames at these seconds, or the verifier's six: pixels `[N, H, W, 3]`, and the time of each frame.
#[pyfunction]
#[allow(clippy::type_complexity)]
#[pyo3(signature = (clip, at=None) -> "tuple[NDArray[numpy.uint8], NDArray[numpy.float64]]")]
pub(crate) fn decode<'py>(
    py: Python<'py>,
    clip: PathBuf,
    at: Option<Vec<f64>>,
) -> PyResult<(Bound<'py, PyArray4<u8>>, Bound<'py, PyArray1<f64>>)> {
    if at.as_ref().is_some_and(|at| at.len() > MAX_FRAMES) {
        return Err(PyValueError::new_err(format!("at: at most {MAX_FRAMES} frames in one call")));
    }
    let decoded = beside(py, move |_| {
        let Some(at) = at else {
            let request = FrameRequest::Spread { count: FRAMES_PER_CLIP, first: false };
            return stacked(decode_frames(&clip, &request)?);
        };
        if at.len() > FEW_FRAMES {
            let probe = FfmpegDecoder::default().probe(&clip, &MediaLimits::default())?;
            let bytes = u64::from(probe.width) * u64::from(probe.height) * 3 * at.len() as u64;
            if bytes > MAX_PIXEL_BYTES {
                let why = format!(
                    "{} frames of {}x{} are {bytes} bytes; at most {MAX_PIXEL_BYTES} come in one call",
                    at.len(),
                    probe.width,
                    probe.height
                );
                return Err(Error::usage("at", why).into());
            }
        }
        // The decoder goes forward once; the caller's order is restored afterwards.
        let mut order: Vec<usize> = (0..at.len()).collect();
        let second = |i: usize| at.get(i).copied().unwrap_or_default();
        order.sort_by(|&a, &b| second(a).total_cmp(&second(b)));
        let seconds = order.iter().map(|&i| second(i)).collect();
        let frames = decode_frames(&clip, &FrameRequest::At { seconds })?;
        let mut placed: Vec<(usize, Frame)> = order.into_iter().zip(frames).collect();
        placed.sort_by_key(|(place, _)| *place);
        stacked(placed.into_iter().map(|(_, frame)| frame).collect())
    })?;
    let (pixels, times) = decoded.map_err(|e| media(py, e))?;
    Ok((pixels.into_pyarray(py), PyArray1::from_vec(py, times)))
}

fn decode_frames(clip: &std::path::Path, request: &FrameRequest) -> Result<Vec<Frame>, MediaFailure> {
    Ok(FfmpegDecoder::default().decode(clip, request, &MediaLimits::default())?.frames)
}

fn stacked(frames: Vec<Frame>) -> Result<(Array4<u8>, Vec<f64>), MediaFailure> {
    let (width, height) = frames.first().map_or((0, 0), |f| (f.width as usize, f.height as usize));
    let mut pixels = Vec::with_capacity(frames.len() * width * height * 3);
    for frame in &frames {
        pixels.extend_from_slice(&frame.rgb);
    }
    let times = frames.iter().map(|f| f.pts_seconds).collect();
    let shape = (frames.len(), height, width, 3);
    let array = Array4::from_shape_vec(shape, pixels)
        .map_err(|_| MediaFailure::Clip("its frames have different sizes".to_owned()))?;
    Ok((array, times))
}

/// Frames of the library from an array `[N, H, W, 3]` in any layout. The pixels are copied, because work goes on
/// without the interpreter's lock while the caller may write into the array.
pub(crate) fn frames(array: &PyReadonlyArray4<'_, u8>, limit: usize) -> PyResult<Vec<Frame>> {
    let view = array.as_array();
    let (count, height, width, channels) = view.dim();
    if channels != 3 || width == 0 || height == 0 {
        let shape = view.shape();
        return Err(PyValueError::new_err(format!("frames: shape [N, H, W, 3] is expected, not {shape:?}")));
    }
    if count > limit {
        return Err(PyValueError::new_err(format!("frames: at most {limit} in one call, not {count}")));
    }
    let size = |edge: usize| {
        u32::try_from(edge).map_err(|_| PyValueError::new_err("frames: a picture is too large"))
    };
    let (width, height) = (size(width)?, size(height)?);
    Ok(view
        .outer_iter()
        .enumerate()
        .map(|(k, picture)| Frame {
            width,
            height,
            pts_seconds: k as f64,
            rgb: picture.iter().copied().collect::<Vec<u8>>().into(),
        })
        .collect())
}
