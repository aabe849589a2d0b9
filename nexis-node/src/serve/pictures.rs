//! Pictures that come with a request: read within limits, embedded once, remembered by their bytes.

use std::collections::VecDeque;
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
    pub(super) first: FrameEmbeddings,
    /// The same by the second encoder, where one has looked.
    pub(super) second: Option<FrameEmbeddings>,
}

/// What is wanted of pictures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// What the second encoder sees, beside what the first does.
    pub(super) second: bool,
    /// Their pixels.
    pub(super) pixels: bool,
}

/// A picture that was read.
#[derive(Debug)]
pub(super) enum Read {
    /// All that is wanted of it is remembered.
    Known(Arc<Embedded>),
    /// It was decoded: its frame, the digest of its bytes, and what is remembered of it.
    Decoded(Frame, Digest, Option<Arc<Embedded>>),
    /// It is no picture within the limits.
    Broken(String),
}

impl Read {
    /// Width and height, where it is a picture.
    pub(super) fn size(&self) -> Option<(u32, u32)> {
        match self {
            Self::Known(known) => Some((known.width, known.height)),
            Self::Decoded(frame, ..) => Some((frame.width, frame.height)),
            Self::Broken(_) => None,
        }
    }

    /// Its frame, where it was decoded.
    pub(super) fn frame(&self) -> Option<&Frame> {
        match self {
            Self::Decoded(frame, ..) => Some(frame),
            _ => None,
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
        kept.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// Reads picture files, in their order; none is decoded of which all that is wanted is remembered.
    ///
    /// # Errors
    /// Where something of ours fails; a broken picture is none.
    pub(super) fn read(&self, files: &[Vec<u8>], limits: &StillLimits, wanted: Wanted) -> Result<Vec<Read>> {
        let one = |file: &Vec<u8>| {
            if file.is_empty() {
                return Ok(Read::Broken(format!("empty, or larger than {} bytes", limits.max_bytes)));
            }
            let digest = Digest::of(file);
            let known = self.find(&digest);
            let whole = known.as_ref().filter(|known| !wanted.second || known.second.is_some());
            if self.kept.is_some() {
                self.metrics.picture_lookup(whole.is_some());
            }
            if let Some(whole) = whole.filter(|_| !wanted.pixels) {
                return Ok(Read::Known(Arc::clone(whole)));
            }
            match decode_still(file, limits) {
                Ok(frame) => Ok(Read::Decoded(frame, digest, known)),
                Err(MediaFailure::Clip(why)) => Ok(Read::Broken(why)),
                Err(MediaFailure::Ours(error)) => Err(error),
            }
        };
        files.par_iter().map(one).collect()
    }

    /// The embeddings of pictures that were read, the second encoder's too where they are wanted; broken ones must be
    /// gone. What an encoder has not seen yet goes to it in one call, as far as pictures of one size stand together.
    ///
    /// # Errors
    /// [`MediaFailure::Clip`] where a shape is too extreme; else a model's failure.
    pub(super) fn embed(
        &self,
        judge: &RowJudge,
        reads: &[Read],
        wanted: Wanted,
    ) -> Result<Vec<Arc<Embedded>>, MediaFailure> {
        let mut first = one_by_one(
            reads.iter().filter_map(|read| match read {
                Read::Decoded(frame, _, None) => Some(frame),
                _ => None,
            }),
            |frames| judge.embed(frames).map(Some),
        )?;
        let mut second = one_by_one(
            reads.iter().filter(|_| wanted.second).filter_map(|read| match read {
                Read::Decoded(frame, _, known)
                    if known.as_ref().is_none_or(|known| known.second.is_none()) =>
                {
                    Some(frame)
                }
                _ => None,
            }),
            |frames| judge.embed_second(frames),
        )?;
        let mut found = Vec::with_capacity(reads.len());
        for read in reads {
            let (frame, digest, known) = match read {
                Read::Known(known) => {
                    found.push(Arc::clone(known));
                    continue;
                }
                Read::Decoded(frame, digest, known) => (frame, digest, known),
                Read::Broken(_) => continue,
            };
            let embedded = match known {
                Some(known) if !wanted.second || known.second.is_some() => Arc::clone(known),
                Some(known) => Arc::new(Embedded { second: second.pop_front(), ..Embedded::clone(known) }),
                None => {
                    let gone = || Error::Internal("a picture has no embedding".into());
                    Arc::new(Embedded {
                        width: frame.width,
                        height: frame.height,
                        report: FrameReport { pts_seconds: frame.pts_seconds, rgb_sha256: frame.digest() },
                        first: first.pop_front().ok_or_else(gone)?,
                        second: if wanted.second { second.pop_front() } else { None },
                    })
                }
            };
            self.keep(digest, &embedded);
            found.push(embedded);
        }
        Ok(found)
    }

    /// Remembers a picture; what the second encoder saw is not given up for less.
    fn keep(&self, digest: &Digest, embedded: &Arc<Embedded>) {
        let Some(kept) = &self.kept else { return };
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if embedded.second.is_some() || kept.get(digest).is_none_or(|known| known.second.is_none()) {
            kept.put(*digest, Arc::clone(embedded));
        }
    }
}

/// Embeddings of frames, each by itself and in order; runs of one size go to the model together.
fn one_by_one<'a>(
    frames: impl Iterator<Item = &'a Frame>,
    embed: impl Fn(&[Frame]) -> Result<Option<FrameEmbeddings>, MediaFailure>,
) -> Result<VecDeque<FrameEmbeddings>, MediaFailure> {
    let frames: Vec<Frame> = frames.cloned().collect();
    let mut made = VecDeque::new();
    for run in frames.chunk_by(|a, b| (a.width, a.height) == (b.width, b.height)) {
        made.extend(embed(run)?.iter().flat_map(FrameEmbeddings::split));
    }
    Ok(made)
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
