//! Pictures that come with a request: read within limits, embedded once, remembered by their bytes.

use std::io::Cursor;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use image::codecs::jpeg::JpegEncoder;
use lru::LruCache;
use nexis_core::hash::Digest;
use nexis_core::media::jpeg::{StillLimits, decode_still};
use nexis_core::media::{Frame, MediaFailure};
use nexis_core::report::FrameReport;
use nexis_core::score::FrameEmbeddings;
use nexis_core::verifier::RowJudge;
use nexis_core::{Error, Result};
use rayon::prelude::*;

use super::error::{Answer, Refusal};
use crate::observe::Metrics;

/// Padding may be left out, as some writers do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes of a data URI. An address is refused: nothing is fetched for a stranger.
pub(super) fn from_data_uri(param: &str, uri: &str, limits: &StillLimits) -> Answer<Vec<u8>> {
    let wrong = |why: &str| Refusal::invalid(param, why);
    let lower = uri.get(..8).unwrap_or(uri).to_ascii_lowercase();
    if lower.starts_with("http:") || lower.starts_with("https:") {
        return Err(wrong("nothing is fetched here; send the picture itself: data:image/jpeg;base64,..."));
    }
    let expected = "data:image/jpeg;base64,... or data:image/png;base64,... is expected";
    let (head, data) = match uri.split_once(',') {
        Some((head, data)) if head.len() <= 128 => (head.to_ascii_lowercase(), data),
        _ => return Err(wrong(expected)),
    };
    let kind = head.strip_prefix("data:").and_then(|head| head.strip_suffix(";base64"));
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default());
    if !matches!(kind, Some("image/jpeg" | "image/jpg" | "image/png")) {
        return Err(wrong(expected));
    }
    // What it says it is counts for nothing; its first bytes do. A picture beyond the limit is not decoded at all, and
    // told apart from a request that makes no sense, for it may be a miner's.
    if data.len() / 4 > limits.max_bytes / 3 + 1 {
        return Ok(Vec::new());
    }
    BASE64.decode(data).map_err(|error| wrong(&format!("not base64: {error}")))
}

/// A picture that was embedded.
#[derive(Clone, Debug)]
pub(super) struct Embedded {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) report: FrameReport,
    /// Of this one frame.
    pub(super) embeddings: FrameEmbeddings,
}

/// A picture that was read.
#[derive(Debug)]
pub(super) enum Read {
    /// It was embedded before.
    Known(Arc<Embedded>),
    /// It is new; its frame, and the digest of its bytes.
    New(Frame, Digest),
    /// It is no picture within the limits.
    Broken(String),
}

impl Read {
    /// Width and height, where it is a picture.
    pub(super) fn size(&self) -> Option<(u32, u32)> {
        match self {
            Self::Known(known) => Some((known.width, known.height)),
            Self::New(frame, _) => Some((frame.width, frame.height)),
            Self::Broken(_) => None,
        }
    }
}

/// Reads and embeds pictures, and remembers the latest: a validator asks twice about the frames of a clip. The same
/// bytes give the same embedding, so nothing but the time shows it.
pub(super) struct Pictures {
    kept: Option<Mutex<LruCache<Digest, Arc<Embedded>>>>,
    metrics: Metrics,
}

impl Pictures {
    /// Remembers so many; none where it is 0.
    pub(super) fn new(capacity: usize, metrics: Metrics) -> Self {
        Self { kept: NonZeroUsize::new(capacity).map(|most| Mutex::new(LruCache::new(most))), metrics }
    }

    fn find(&self, digest: &Digest) -> Option<Arc<Embedded>> {
        let kept = self.kept.as_ref()?;
        let found = kept.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned();
        self.metrics.picture_lookup(found.is_some());
        found
    }

    /// Reads picture files, in their order. Where `anew`, those that are remembered are decoded too, for their pixels.
    ///
    /// # Errors
    /// Where something of ours fails; a broken picture is none.
    pub(super) fn read(&self, files: &[Vec<u8>], limits: &StillLimits, anew: bool) -> Result<Vec<Read>> {
        let one = |file: &Vec<u8>| {
            if file.is_empty() {
                return Ok(Read::Broken(format!("empty, or larger than {} bytes", limits.max_bytes)));
            }
            let digest = Digest::of(file);
            if let Some(known) = self.find(&digest).filter(|_| !anew) {
                return Ok(Read::Known(known));
            }
            match decode_still(file, limits) {
                Ok(frame) => Ok(Read::New(frame, digest)),
                Err(MediaFailure::Clip(why)) => Ok(Read::Broken(why)),
                Err(MediaFailure::Ours(error)) => Err(error),
            }
        };
        files.par_iter().map(one).collect()
    }

    /// The embeddings of pictures that were read; broken ones must be gone. New ones of one size that stand together
    /// go to the model in one call.
    ///
    /// # Errors
    /// [`MediaFailure::Clip`] where a shape is too extreme; else the model's failure.
    pub(super) fn embed(&self, judge: &RowJudge, reads: &[Read]) -> Result<Vec<Arc<Embedded>>, MediaFailure> {
        let new: Vec<(&Frame, &Digest)> = reads
            .iter()
            .filter_map(|read| match read {
                Read::New(frame, digest) => Some((frame, digest)),
                _ => None,
            })
            .collect();
        let mut made: std::collections::VecDeque<Arc<Embedded>> = std::collections::VecDeque::new();
        for run in new.chunk_by(|(a, _), (b, _)| (a.width, a.height) == (b.width, b.height)) {
            let frames: Vec<Frame> = run.iter().map(|(frame, _)| (*frame).clone()).collect();
            let embeddings = judge.embed(&frames)?.split();
            let reports: Vec<FrameReport> = nexis_core::verifier::frame_reports(&frames);
            for (((frame, digest), embeddings), report) in run.iter().zip(embeddings).zip(reports) {
                let (width, height) = (frame.width, frame.height);
                let embedded = Arc::new(Embedded { width, height, report, embeddings });
                if let Some(kept) = &self.kept {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.put(**digest, Arc::clone(&embedded));
                }
                made.push_back(embedded);
            }
        }
        let found = reads.iter().filter_map(|read| match read {
            Read::Known(known) => Some(Arc::clone(known)),
            Read::New(..) => made.pop_front(),
            Read::Broken(_) => None,
        });
        Ok(found.collect())
    }
}

/// Width of a small picture.
const SMALL: u32 = 320;
const QUALITY: u8 = 75;

/// A frame, small, as the data URI of a JPEG.
///
/// # Errors
/// Where the frame's bytes do not match its size, or the encoder fails.
pub(super) fn small_picture(frame: &Frame) -> Result<String> {
    let failed = |e: &dyn std::fmt::Display| Error::Internal(format!("a small picture: {e}"));
    let width = frame.width.clamp(1, SMALL);
    let height = u64::from(frame.height) * u64::from(width) / u64::from(frame.width.max(1));
    let height = u32::try_from(height.clamp(1, 4096)).unwrap_or(1);
    let small = frame.resized(width, height).map_err(|e| failed(&e))?;
    let mut jpeg = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode(&small.rgb, width, height, image::ExtendedColorType::Rgb8)
        .map_err(|e| failed(&e))?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg.into_inner())))
}
