//! Decoding on the CPU, through the FFmpeg libraries that video-rs brings.
//!
//! Only the frames asked for are converted to RGB, and nothing behind the last of them is decoded. In an H.264 stream,
//! frames that no other frame refers to and that nobody asked for are not decoded either; this never changes the
//! others, and wherever the times or the pictures that come out do not fit the plan, everything is decoded instead.
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

use super::demux::{Demuxed, out_of_time};
use super::hardware::DeviceConverter;
use super::libav::{self, DecoderSettings, Hardware, Picture, PictureDecoder, Received};
use super::select::{self, Chooser, Plan};
use super::{ClipProbe, DecodedClip, Frame, FrameRequest, MediaDecoder, MediaFailure, MediaLimits, yuv};
use crate::error::Error;

use video_rs::ffmpeg;

/// Decodes with FFmpeg on the CPU, each clip on the thread that asks.
///
/// FFmpeg's own threads are not used: they hand out a picture before it is known to be damaged, so that which clips are
/// refused would depend on their number. Clips decoded side by side fill the cores.
///
/// FFmpeg's log is silenced and its largest single allocation limited, both for the whole process.
#[derive(Clone, Copy, Debug)]
pub struct FfmpegDecoder {
    skipping: bool,
}

impl Default for FfmpegDecoder {
    fn default() -> Self {
        Self { skipping: true }
    }
}

/// What a clip is decoded with.
#[derive(Clone, Copy)]
pub(super) struct Means<'a> {
    /// A device whose decoder is to be tried, and what converts its pictures.
    pub(super) device: Option<(&'a Hardware, &'a dyn DeviceConverter)>,
    /// Whether frames that nobody asked for may be left out.
    pub(super) skipping: bool,
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
    /// Decodes every frame up to the one after the last wanted one: slower, and the measure of the default.
    #[must_use]
    pub fn without_skipping(mut self) -> Self {
        self.skipping = false;
        self
    }

    const fn means(self) -> Means<'static> {
        Means { device: None, skipping: self.skipping }
    }
}

impl Means<'_> {
    /// One forward pass, stopping after the last frame that matters: no packet behind the last wanted one is decoded,
    /// and what the decoder still holds is asked for instead of pushed out by further packets.
    fn pass(
        self,
        clip: &Demuxed,
        ticks: &[i64],
        want_first: bool,
        plan: Option<&Plan>,
        limits: &MediaLimits,
    ) -> Result<Pass, MediaFailure> {
        let mut decoder = open(clip, limits, self.device.map(|(device, _)| device))?;
        if let Some(plan) = plan.filter(|_| self.device.is_some()) {
            decoder.want_only(plan.times());
        }
        let mut chooser = Chooser::new(ticks.to_vec());
        let mut watch = Watch::new(clip, limits.max_pixels, self.device.map(|(_, converter)| converter));
        let mut first = None;
        let mut frames = Converted::default();
        let skips = plan.filter(|_| skips(clip));
        let mut missing = plan.map_or(usize::MAX, Plan::len);
        let mut done = false;
        let mut packets = clip.packets().iter().zip(clip.stamps());
        'packets: while !done {
            if clip.deadline.passed() {
                return Err(out_of_time(limits));
            }
            match packets.next().filter(|_| missing > 0) {
                Some((packet, stamp)) => {
                    let skippable = skips.is_some_and(|plan| !plan.wants(stamp.pts));
                    decoder.send(packet, skippable).map_err(|e| judge(e, "damaged frame"))?;
                    if plan.is_some_and(|plan| !stamp.hidden && plan.wants(stamp.pts)) {
                        missing -= 1;
                    }
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
                    // Of an interlaced picture, a second packet may hold one field, and not be marked as needed.
                    if (watch.shown == 1 && pts != plan.first()) || picture.is_interlaced() {
                        return Ok(Pass::OffPlan);
                    }
                    watch.planned += usize::from(plan.wants(Some(pts)));
                }
                if watch.shown == 1 && want_first {
                    first = Some(watch.convert(&picture, 0)?);
                }
                done = chooser.offer(pts, picture)? || plan.is_some_and(|plan| pts >= plan.last());
                // Pictures that are certain go at once: a device's decoder has few to give.
                frames.add(&watch, chooser.take_ready())?;
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
        frames.add(&watch, chosen)?;
        Ok(Pass::Done(Box::new(Chosen { probe: watch.probe()?, frames: frames.frames, first })))
    }
}

/// Frames as they become certain.
#[derive(Default)]
struct Converted {
    frames: Vec<Frame>,
    last: Option<(i64, Frame)>,
}

impl Converted {
    fn add(&mut self, watch: &Watch<'_>, chosen: Vec<(i64, Rc<Picture>)>) -> Result<(), MediaFailure> {
        for (time, picture) in chosen {
            let frame = match self.last {
                Some((at, ref frame)) if at == time => frame.clone(),
                _ => watch.convert(&picture, time)?,
            };
            self.last = Some((time, frame.clone()));
            self.frames.push(frame);
        }
        Ok(())
    }
}

impl MediaDecoder for FfmpegDecoder {
    fn name(&self) -> String {
        format!("ffmpeg-cpu {}", libav::version())
    }

    fn probe(&self, clip: &Path, limits: &MediaLimits) -> Result<ClipProbe, MediaFailure> {
        let clip = Demuxed::read(clip, limits)?;
        // An instant before everything: the first picture answers it.
        self.means().run(&clip, &[-1], false, limits).map(|chosen| chosen.probe)
    }

    fn decode(
        &self,
        clip: &Path,
        request: &FrameRequest,
        limits: &MediaLimits,
    ) -> Result<DecodedClip, MediaFailure> {
        let clip = Demuxed::read(clip, limits)?;
        self.means().decode(&clip, request, limits)
    }
}

impl Means<'_> {
    /// The frames asked for. With a device, all of them are its own: anything else is an error.
    pub(super) fn decode(
        self,
        clip: &Demuxed,
        request: &FrameRequest,
        limits: &MediaLimits,
    ) -> Result<DecodedClip, MediaFailure> {
        let ticks = select::ticks(request, clip.duration(), clip.time_base())?;
        let want_first = matches!(request, FrameRequest::Spread { first: true, .. });
        let chosen = self.run(clip, &ticks, want_first, limits)?;
        let decoder = FfmpegDecoder::default().name();
        let (probe, frames, first) = (chosen.probe, chosen.frames, chosen.first);
        Ok(DecodedClip { decoder, left: None, probe, frames, first })
    }

    fn run(
        self,
        clip: &Demuxed,
        ticks: &[i64],
        want_first: bool,
        limits: &MediaLimits,
    ) -> Result<Chosen, MediaFailure> {
        let plan = Plan::new(clip.stamps(), ticks).filter(|_| self.skipping);
        if let Some(plan) = &plan
            && let Pass::Done(chosen) = self.pass(clip, ticks, want_first, Some(plan), limits)?
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
            decoder: open(clip, limits, None)?,
            chooser: Some(Chooser::new(ticks)),
            watch: Watch::new(clip, limits.max_pixels, None),
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

pub(super) fn open(
    clip: &Demuxed,
    limits: &MediaLimits,
    device: Option<&Hardware>,
) -> Result<PictureDecoder, MediaFailure> {
    let base = clip.time_base();
    let settings = DecoderSettings {
        max_pixels: limits.max_pixels,
        reorder_depth: clip.reorder_depth(),
        time_base: (base.num, base.den),
    };
    PictureDecoder::open(clip.parameters().clone(), settings, device).map_err(|error| match error {
        ffmpeg::Error::DecoderNotFound => MediaFailure::Ours(Error::Missing {
            what: format!("FFmpeg's decoder for {}", clip.codec()),
            remedy: "build FFmpeg with it, or take the codec off the list of allowed ones".to_owned(),
        }),
        error => judge(error, "the decoder refused the stream's header"),
    })
}

/// Width and height after a turn by a right angle.
const fn turned(width: u32, height: u32, rotation: u16) -> (u32, u32) {
    if rotation.is_multiple_of(180) { (width, height) } else { (height, width) }
}

/// Whether frames that no other refers to may be left out: only in H.264 does FFmpeg tell them by their own header.
fn skips(clip: &Demuxed) -> bool {
    clip.codec() == "h264"
}

/// Tells a damaged clip from a decoder that cannot work here.
pub(super) fn judge(error: ffmpeg::Error, what: &str) -> MediaFailure {
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
    /// What converts pictures in a device's memory, where they are to be there.
    converter: Option<&'a dyn DeviceConverter>,
}

impl<'a> Watch<'a> {
    const fn new(clip: &'a Demuxed, max_pixels: u64, converter: Option<&'a dyn DeviceConverter>) -> Self {
        Self { clip, shape: None, max_pixels, shown: 0, planned: 0, converter }
    }

    /// The picture's time; `None` where it is not displayed.
    fn accept(&mut self, picture: &Picture) -> Result<Option<i64>, MediaFailure> {
        let refuse = |why: String| Err(MediaFailure::Clip(why));
        if self.converter.is_some() {
            // Also in the middle of a clip: a device may give up on it there.
            picture.as_the_processor_shows_it().map_err(Error::Decoder)?;
        }
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
        let pts_seconds = self.clip.time_base().seconds(time);
        if let Some(converter) = self.converter {
            let picture = picture.on_device().map_err(Error::Decoder)?;
            let rotation = self.clip.rotation();
            let rgb = converter.to_rgb(&picture, rotation)?;
            let (width, height) = turned(picture.width, picture.height, rotation);
            return Ok(Frame { width, height, pts_seconds, rgb });
        }
        let yuv = picture.yuv().map_err(MediaFailure::Clip)?;
        let Some(rgb) = yuv.to_rgb() else {
            return Err(Error::Internal("a picture is shorter than its size says".to_owned()).into());
        };
        let (width, height, rgb) = yuv::rotate(rgb, yuv.width, yuv.height, self.clip.rotation());
        Ok(Frame { width, height, pts_seconds, rgb: rgb.into() })
    }

    fn probe(&self) -> Result<ClipProbe, MediaFailure> {
        let Some((width, height, format)) = self.shape else {
            return Err(MediaFailure::Clip("no frame could be decoded".to_owned()));
        };
        let rotation = self.clip.rotation();
        let (width, height) = turned(width, height, rotation);
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
