//! Decoding on the CPU, through the FFmpeg libraries that video-rs brings.
//!
//! Only the frames asked for are converted to RGB. In an H.264 stream, frames that no other frame refers to
//! and that nobody asked for are not decoded either; this never changes the others, and wherever the times or the
//! pictures that come out do not fit the plan, everything is decoded instead.
//!
//! What a frame is: the decoder's picture, cropped as the stream says, turned as the container's display matrix
//! says. A sample aspect ratio other than 1 is ignored: pixels are counted and shown as they are stored. So is a
//! turn that a codec's own messages ask for, as most players do.
//!
//! What bounds the time spent: file size, frames, pixels and duration are limited before decoding, and the wall
//! clock is looked at before every read and every packet. Decoding a single packet is not interrupted; it is bounded
//! by the pixel limit and by the packet's size. Memory: the packets (at most the largest file), the
//! decoder's reference pictures (at most about 17) and the chosen frames.

use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::demux::{Demuxed, out_of_time};
use super::libav::{self, DecoderSettings, Picture, PictureDecoder, Received};
use super::select::{self, Chooser, Plan};
use super::{ClipProbe, DecodedClip, Frame, FrameRequest, MediaDecoder, MediaFailure, MediaLimits, yuv};
use crate::error::Error;

use video_rs::ffmpeg;

/// Decodes with FFmpeg on the CPU.
///
/// FFmpeg's log is silenced and its largest single allocation limited, both for the whole process.
#[derive(Clone, Debug)]
pub struct FfmpegDecoder {
    threads: usize,
    skipping: bool,
}

impl Default for FfmpegDecoder {
    fn default() -> Self {
        Self::new(1)
    }
}

/// How a pass over the packets ended.
enum Pass {
    Done(Box<Chosen>),
    /// What came out did not fit the plan.
    OffPlan,
}

struct Chosen {
    probe: ClipProbe,
    frames: Vec<Frame>,
    first: Option<Frame>,
}

impl FfmpegDecoder {
    /// A decoder that uses this many threads per clip (at least one). The number never changes a frame. One is
    /// best where several clips are decoded side by side.
    pub fn new(threads: usize) -> Self {
        Self { threads: threads.max(1), skipping: true }
    }

    /// Decodes every frame, wanted or not: slower, and the measure of the default.
    #[must_use]
    pub fn without_skipping(mut self) -> Self {
        self.skipping = false;
        self
    }

    fn open(&self, clip: &Demuxed, limits: &MediaLimits) -> Result<PictureDecoder, MediaFailure> {
        let base = clip.time_base();
        let settings = DecoderSettings {
            max_pixels: limits.max_pixels,
            threads: self.threads,
            reorder_depth: clip.reorder_depth(),
            time_base: (base.num, base.den),
        };
        PictureDecoder::open(clip.parameters().clone(), settings).map_err(|error| match error {
            ffmpeg::Error::DecoderNotFound => MediaFailure::Ours(Error::Missing {
                what: format!("FFmpeg's decoder for {}", clip.codec()),
                remedy: "build FFmpeg with it, or take the codec off the list of allowed ones".to_owned(),
            }),
            error => judge(error, "the decoder refused the stream's header"),
        })
    }

    /// One forward pass, stopping after the last frame that matters.
    fn pass(
        &self,
        clip: &Demuxed,
        ticks: &[i64],
        want_first: bool,
        plan: Option<&Plan>,
        limits: &MediaLimits,
    ) -> Result<Pass, MediaFailure> {
        let mut decoder = self.open(clip, limits)?;
        let mut chooser = Chooser::new(ticks.to_vec());
        let mut watch = Watch::new(clip, limits.max_pixels);
        let mut first = None;
        let mut skipping = plan;
        let mut done = false;
        let mut packets = clip.packets().iter();
        'packets: while !done {
            if clip.deadline.passed() {
                return Err(out_of_time(limits));
            }
            match packets.next() {
                Some(packet) => {
                    let skippable = skipping.is_some_and(|plan| !plan.wants(packet.pts()));
                    decoder.send(packet, skippable).map_err(|e| judge(e, "damaged frame"))?;
                }
                None => decoder.send_end().map_err(|e| judge(e, "damaged end of stream"))?,
            }
            loop {
                let picture = match decoder.receive().map_err(|e| judge(e, "damaged frame"))? {
                    Received::Picture(picture) => picture,
                    Received::Hungry => break,
                    Received::End => break 'packets,
                };
                let Some(pts) = watch.accept(&picture)? else { continue };
                if let Some(plan) = plan {
                    if watch.shown == 1 && pts != plan.first() {
                        return Ok(Pass::OffPlan);
                    }
                    watch.planned += usize::from(plan.wants(Some(pts)));
                }
                if picture.is_interlaced() {
                    // One frame may come in two packets, of which only one is marked as unneeded.
                    if plan.is_some() {
                        return Ok(Pass::OffPlan);
                    }
                    skipping = None;
                }
                if watch.shown == 1 && want_first {
                    first = Some(watch.convert(&picture, 0)?);
                }
                done = chooser.offer(pts, picture)? || plan.is_some_and(|plan| pts >= plan.last());
                if done {
                    break;
                }
            }
        }
        if plan.is_some_and(|plan| plan.len() != watch.planned) {
            return Ok(Pass::OffPlan);
        }
        let Some(chosen) = chooser.finish() else {
            return Err(MediaFailure::Clip("no frame could be decoded".to_owned()));
        };
        let mut frames: Vec<Frame> = Vec::with_capacity(chosen.len());
        let mut last: Option<(i64, Frame)> = None;
        for (time, picture) in chosen {
            let frame = match last {
                Some((at, ref frame)) if at == time => frame.clone(),
                _ => watch.convert(&picture, time)?,
            };
            last = Some((time, frame.clone()));
            frames.push(frame);
        }
        Ok(Pass::Done(Box::new(Chosen { probe: watch.probe()?, frames, first })))
    }
}

impl MediaDecoder for FfmpegDecoder {
    fn name(&self) -> String {
        format!("ffmpeg-cpu {}", libav::version())
    }

    fn probe(&self, clip: &Path, limits: &MediaLimits) -> Result<ClipProbe, MediaFailure> {
        let clip = Demuxed::read(clip, limits)?;
        // An instant before everything: the first picture answers it.
        let plan = Plan::new(clip.stamps(), &[-1]).filter(|_| self.skips(&clip));
        self.run(&clip, &[-1], false, plan, limits).map(|chosen| chosen.probe)
    }

    fn decode(
        &self,
        clip: &Path,
        request: &FrameRequest,
        limits: &MediaLimits,
    ) -> Result<DecodedClip, MediaFailure> {
        let clip = Demuxed::read(clip, limits)?;
        let ticks = select::ticks(request, clip.duration(), clip.time_base())?;
        let plan = Plan::new(clip.stamps(), &ticks).filter(|_| self.skips(&clip));
        let want_first = matches!(request, FrameRequest::Spread { first: true, .. });
        let chosen = self.run(&clip, &ticks, want_first, plan, limits)?;
        Ok(DecodedClip { probe: chosen.probe, frames: chosen.frames, first: chosen.first })
    }
}

impl FfmpegDecoder {
    /// Only in H.264 does FFmpeg tell unreferenced frames by their own header.
    fn skips(&self, clip: &Demuxed) -> bool {
        self.skipping && clip.codec() == "h264"
    }

    fn run(
        &self,
        clip: &Demuxed,
        ticks: &[i64],
        want_first: bool,
        plan: Option<Plan>,
        limits: &MediaLimits,
    ) -> Result<Chosen, MediaFailure> {
        if let Some(plan) = plan
            && let Pass::Done(chosen) = self.pass(clip, ticks, want_first, Some(&plan), limits)?
        {
            return Ok(*chosen);
        }
        match self.pass(clip, ticks, want_first, None, limits)? {
            Pass::Done(chosen) => Ok(*chosen),
            Pass::OffPlan => Err(Error::Internal("a pass without a plan left it".to_owned()).into()),
        }
    }
}

impl FfmpegDecoder {
    /// Frames one after the other, without holding more than a few of them: one per instant (seconds from the
    /// first frame, ascending), each the last frame whose time is not after it. The clip is decoded from its
    /// beginning to the last instant, every frame of it.
    ///
    /// # Errors
    /// [`MediaFailure::Clip`] where the decoder refuses the stream's header; [`MediaFailure::Ours`] where the
    /// instants make no sense.
    pub fn stream<'a>(
        &self,
        clip: &'a Demuxed,
        seconds: Vec<f64>,
        limits: &'a MediaLimits,
    ) -> Result<FrameStream<'a>, MediaFailure> {
        let ticks = select::ticks(&FrameRequest::At { seconds }, clip.duration(), clip.time_base())?;
        Ok(FrameStream {
            decoder: self.open(clip, limits)?,
            chooser: Some(Chooser::new(ticks)),
            watch: Watch::new(clip, limits.max_pixels),
            packets: clip.packets().iter(),
            ready: VecDeque::new(),
            last: None,
            limits,
        })
    }
}

/// Chosen frames as they come out of the decoder; see [`FfmpegDecoder::stream`].
pub struct FrameStream<'a> {
    decoder: PictureDecoder,
    /// Absent once the last frame is certain.
    chooser: Option<Chooser<Picture>>,
    watch: Watch<'a>,
    packets: std::slice::Iter<'a, ffmpeg::Packet>,
    ready: VecDeque<(i64, Rc<Picture>)>,
    /// The frame that was given last: the same picture is not converted twice.
    last: Option<(i64, Frame)>,
    limits: &'a MediaLimits,
}

impl FrameStream<'_> {
    /// The next frame, `None` after the last.
    ///
    /// # Errors
    /// [`MediaFailure::Clip`] where the clip is damaged or the limits are exceeded.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, MediaFailure> {
        loop {
            if let Some((time, picture)) = self.ready.pop_front() {
                let frame = match &self.last {
                    Some((at, frame)) if *at == time => frame.clone(),
                    _ => self.watch.convert(&picture, time)?,
                };
                self.last = Some((time, frame.clone()));
                return Ok(Some(frame));
            }
            if self.chooser.is_none() {
                return Ok(None);
            }
            self.advance()?;
        }
    }

    /// Feeds one packet and takes the pictures that it completes.
    fn advance(&mut self) -> Result<(), MediaFailure> {
        if self.watch.clip.deadline.passed() {
            return Err(out_of_time(self.limits));
        }
        match self.packets.next() {
            Some(packet) => self.decoder.send(packet, false).map_err(|e| judge(e, "damaged frame"))?,
            None => self.decoder.send_end().map_err(|e| judge(e, "damaged end of stream"))?,
        }
        loop {
            let picture = match self.decoder.receive().map_err(|e| judge(e, "damaged frame"))? {
                Received::Picture(picture) => picture,
                Received::Hungry => return Ok(()),
                Received::End => break,
            };
            let Some(pts) = self.watch.accept(&picture)? else { continue };
            let Some(chooser) = &mut self.chooser else { return Ok(()) };
            let done = chooser.offer(pts, picture)?;
            self.ready.extend(chooser.take_ready());
            if done {
                break;
            }
        }
        match self.chooser.take().map(Chooser::finish) {
            Some(None) => Err(MediaFailure::Clip("no frame could be decoded".to_owned())),
            Some(Some(rest)) => {
                self.ready.extend(rest);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// Tells a damaged clip from a decoder that cannot work here.
fn judge(error: ffmpeg::Error, what: &str) -> MediaFailure {
    use ffmpeg::error::{ENOMEM, ENOSYS};
    match error {
        ffmpeg::Error::Other { errno } if errno == ENOMEM || errno == ENOSYS => {
            MediaFailure::Ours(Error::Decoder(libav::describe(error)))
        }
        ffmpeg::Error::Bug | ffmpeg::Error::Bug2 => {
            MediaFailure::Ours(Error::Decoder(libav::describe(error)))
        }
        error => MediaFailure::Clip(format!("{what}: {}", libav::describe(error))),
    }
}

/// Looks at every picture that comes out of the decoder.
struct Watch<'a> {
    clip: &'a Demuxed,
    /// Width, height and format of the first picture, which all others must have.
    shape: Option<(u32, u32, &'static str)>,
    max_pixels: u64,
    shown: u64,
    planned: usize,
}

impl<'a> Watch<'a> {
    const fn new(clip: &'a Demuxed, max_pixels: u64) -> Self {
        Self { clip, shape: None, max_pixels, shown: 0, planned: 0 }
    }

    /// The picture's time; `None` where it is not displayed.
    fn accept(&mut self, picture: &Picture) -> Result<Option<i64>, MediaFailure> {
        let refuse = |why: String| Err(MediaFailure::Clip(why));
        if picture.is_damaged() {
            return refuse("damaged frame".to_owned());
        }
        let Some(pts) = picture.pts() else {
            return refuse("a frame has no time".to_owned());
        };
        let shape = (picture.width(), picture.height(), picture.format_name());
        if u64::from(shape.0) * u64::from(shape.1) > self.max_pixels {
            return refuse(format!("{}x{} pixels is above the limit", shape.0, shape.1));
        }
        match self.shape {
            Some(before) if before != shape => {
                return refuse(format!(
                    "the picture changes from {}x{} {} to {}x{} {}",
                    before.0, before.1, before.2, shape.0, shape.1, shape.2
                ));
            }
            _ => self.shape = Some(shape),
        }
        if self.clip.is_hidden(pts) {
            return Ok(None);
        }
        self.shown += 1;
        Ok(Some(pts))
    }

    fn convert(&self, picture: &Picture, time: i64) -> Result<Frame, MediaFailure> {
        let yuv = picture.yuv().map_err(MediaFailure::Clip)?;
        let Some(rgb) = yuv.to_rgb() else {
            return Err(Error::Internal("a picture is shorter than its size says".to_owned()).into());
        };
        let (width, height, rgb) = yuv::rotate(rgb, yuv.width, yuv.height, self.clip.rotation());
        let pts_seconds = self.clip.time_base().seconds(time);
        Ok(Frame { width, height, pts_seconds, rgb: Arc::clone(&rgb) })
    }

    fn probe(&self) -> Result<ClipProbe, MediaFailure> {
        let Some((width, height, format)) = self.shape else {
            return Err(MediaFailure::Clip("no frame could be decoded".to_owned()));
        };
        let rotation = self.clip.rotation();
        let (width, height) = if rotation.is_multiple_of(180) { (width, height) } else { (height, width) };
        Ok(ClipProbe {
            width,
            height,
            codec: self.clip.codec().to_owned(),
            pixel_format: format.to_owned(),
            fps: self.clip.fps(),
            duration_seconds: self.clip.time_base().seconds(self.clip.duration()),
            frame_count: self.clip.declared_frames(),
            rotation,
            has_audio: self.clip.has_audio(),
        })
    }
}
