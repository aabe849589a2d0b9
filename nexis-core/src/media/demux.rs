//! A clip's packets and headers, read within limits before anything is decoded.
//!
//! The whole video stream is read into memory at once. That makes the second pass (decoding) independent of
//! seeking, gives the exact list of frame times that [`select`](super::select) needs, and shows what the file
//! holds rather than what its header claims: duration, frame rate and reordering come from the packets.
//!
//! Refused as the clip's fault: anything but MP4/MOV and Matroska/WebM; no video stream, or more than one (which
//! one is shown would depend on the player; attached pictures do not count); a codec that is not on the list; a
//! display matrix that is no turn by a right angle; a stream that ends before its index does; and whatever is
//! above a limit. Nothing that a file refers to is ever opened.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use video_rs::ffmpeg::{self, codec, media};

use super::h264;
use super::libav::{self, Container, Deadline, OpenFailure, Source, StreamHeader};
use super::select::{self, Stamp, TimeBase};
use super::{MediaFailure, MediaLimits};
use crate::error::Error;

/// Deepest reordering that the codecs allow, in pictures.
const MAX_REORDER: usize = 16;

/// The video stream of a clip, demuxed.
pub struct Demuxed {
    pub(super) deadline: Deadline,
    parameters: codec::Parameters,
    codec: codec::Id,
    packets: Vec<ffmpeg::Packet>,
    stamps: Vec<Stamp>,
    hidden: HashSet<i64>,
    time_base: TimeBase,
    duration: i64,
    declared_frames: Option<u64>,
    rotation: u16,
    has_audio: bool,
}

fn refuse<T>(why: impl Into<String>) -> Result<T, MediaFailure> {
    Err(MediaFailure::Clip(why.into()))
}

impl Demuxed {
    /// Reads the video stream of the file at `path`.
    ///
    /// # Errors
    /// [`MediaFailure::Clip`] where the file is no acceptable clip, [`MediaFailure::Ours`] where it cannot be
    /// read or this build lacks the demuxer.
    pub fn read(path: &Path, limits: &MediaLimits) -> Result<Self, MediaFailure> {
        let deadline = Deadline::after(limits.max_wall);
        libav::prepare(limits.max_pixels);
        let (file, container) = open(path, limits.max_bytes)?;
        let mut source = Source::open(file, container, deadline).map_err(|failure| match failure {
            OpenFailure::NoDemuxer => MediaFailure::Ours(Error::Missing {
                what: format!("FFmpeg's demuxer for {container:?}"),
                remedy: "build FFmpeg with the mov and matroska demuxers".to_owned(),
            }),
            OpenFailure::Refused(_) if deadline.passed() => out_of_time(limits),
            OpenFailure::Refused(error) => {
                MediaFailure::Clip(format!("no readable {container:?}: {}", libav::describe(error)))
            }
        })?;
        let streams = source.streams();
        let video = choose(&streams)?;
        let has_audio = streams.iter().any(|stream| stream.kind == media::Type::Audio);
        check_header(video, source.container_seconds(), limits)?;
        let Some(parameters) = source.parameters(video.index) else {
            return Err(Error::Internal("a stream lost its parameters".to_owned()).into());
        };
        source.keep_only(video.index);
        let packets = read_packets(&mut source, path, video.index, limits, deadline)?;
        if container == Container::Mp4 && packets.len() < source.indexed_packets(video.index) {
            return refuse("the file ends before its video stream does");
        }
        let stamps: Vec<Stamp> = packets
            .iter()
            .map(|packet| Stamp {
                pts: packet.pts(),
                duration: packet.duration(),
                hidden: libav::is_hidden(packet),
            })
            .collect();
        let time_base = TimeBase { num: video.time_base.0, den: video.time_base.1 };
        let declared = (video.duration > 0).then_some(video.duration);
        let Some(duration) = select::duration(&stamps).or(declared).filter(|&ticks| ticks >= 0) else {
            return refuse("the video stream has no displayed frames with times");
        };
        let seconds = time_base.seconds(duration);
        if seconds > limits.max_duration_seconds {
            return refuse(format!("{seconds:.1} s of video is longer than the limit"));
        }
        Ok(Self {
            deadline,
            parameters,
            codec: video.codec,
            hidden: stamps.iter().filter(|s| s.hidden).filter_map(|s| s.pts).collect(),
            packets,
            stamps,
            time_base,
            duration,
            declared_frames: u64::try_from(video.frames).ok().filter(|&n| n > 0),
            rotation: rotation(video.display)?,
            has_audio,
        })
    }

    /// Codec parameters, as FFmpeg keeps them: what a decoder is opened with.
    pub const fn parameters(&self) -> &codec::Parameters {
        &self.parameters
    }

    /// FFmpeg's codec name.
    pub fn codec(&self) -> &'static str {
        self.codec.name()
    }

    /// The packets, in decoding order.
    pub fn packets(&self) -> &[ffmpeg::Packet] {
        &self.packets
    }

    /// Whether the stream cannot be without colours, or have others than 4:2:0, behind a pixel format that says 4:2:0: so
    /// for every codec but H.264, whose parameter sets are looked at.
    pub(super) fn is_420(&self) -> bool {
        if self.codec != codec::Id::H264 {
            return true;
        }
        let later = self.packets.iter().any(libav::changes_header);
        !later && h264::is_420(libav::header(&self.parameters), self.packets.iter().filter_map(|p| p.data()))
    }

    /// The packets' times, in decoding order.
    pub fn stamps(&self) -> &[Stamp] {
        &self.stamps
    }

    /// Whether the frame of this time is decoded but not displayed.
    pub fn is_hidden(&self, pts: i64) -> bool {
        self.hidden.contains(&pts)
    }

    /// Seconds per tick.
    pub const fn time_base(&self) -> TimeBase {
        self.time_base
    }

    /// Duration of the video stream in ticks, from its packets.
    pub const fn duration(&self) -> i64 {
        self.duration
    }

    /// Number of frames that the container declares, where it does.
    pub const fn declared_frames(&self) -> Option<u64> {
        self.declared_frames
    }

    /// Clockwise rotation for display, in degrees: 0, 90, 180 or 270.
    pub const fn rotation(&self) -> u16 {
        self.rotation
    }

    /// Whether there is an audio stream.
    pub const fn has_audio(&self) -> bool {
        self.has_audio
    }

    /// How many pictures a decoder must hold back to give them in order of time.
    pub fn reorder_depth(&self) -> usize {
        select::reorder_depth(&self.stamps, MAX_REORDER)
    }

    /// Displayed frames per second, on average.
    pub fn fps(&self) -> f64 {
        let shown = self.stamps.iter().filter(|stamp| !stamp.hidden).count();
        let seconds = self.time_base.seconds(self.duration);
        if seconds > 0.0 { shown as f64 / seconds } else { 0.0 }
    }
}

pub(super) fn out_of_time(limits: &MediaLimits) -> MediaFailure {
    MediaFailure::Clip(format!("not done within {:?}", limits.max_wall))
}

/// Opens a regular file of acceptable size and tells its container from its first bytes.
fn open(path: &Path, max_bytes: u64) -> Result<(File, Container), MediaFailure> {
    let ours = |error| MediaFailure::Ours(Error::io(path, error));
    // Asked by name first: opening a pipe would wait for a writer.
    let regular = |metadata: std::fs::Metadata| {
        if !metadata.is_file() {
            return refuse("not a regular file");
        }
        if metadata.len() > max_bytes {
            return refuse(format!("{} bytes is above the limit of {max_bytes}", metadata.len()));
        }
        Ok(())
    };
    regular(std::fs::metadata(path).map_err(ours)?)?;
    let mut file = File::open(path).map_err(ours)?;
    regular(file.metadata().map_err(ours)?)?;
    let mut head = Vec::with_capacity(12);
    file.by_ref().take(12).read_to_end(&mut head).map_err(ours)?;
    file.seek(SeekFrom::Start(0)).map_err(ours)?;
    let container = match head.as_slice() {
        [0x1a, 0x45, 0xdf, 0xa3, ..] => Container::Matroska,
        [_, _, _, _, kind @ ..] if is_mp4_box(kind) => Container::Mp4,
        _ => return refuse("neither MP4 nor Matroska"),
    };
    Ok((file, container))
}

/// Whether a file may begin with a box of this kind.
fn is_mp4_box(kind: &[u8]) -> bool {
    const FIRST: [&[u8]; 8] = [b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"sidx"];
    kind.get(..4).is_some_and(|kind| FIRST.contains(&kind))
}

/// The one video stream.
fn choose(streams: &[StreamHeader]) -> Result<&StreamHeader, MediaFailure> {
    let mut videos =
        streams.iter().filter(|stream| stream.kind == media::Type::Video && !stream.attached_picture);
    match (videos.next(), videos.next()) {
        (Some(video), None) => Ok(video),
        (None, _) => refuse("there is no video stream"),
        (Some(_), Some(_)) => refuse("there is more than one video stream"),
    }
}

/// What can be refused by the container's word alone.
fn check_header(
    video: &StreamHeader,
    container_seconds: f64,
    limits: &MediaLimits,
) -> Result<(), MediaFailure> {
    let name = video.codec.name();
    if !limits.codecs.iter().any(|codec| codec == name) {
        return refuse(format!("codec {name} is not allowed"));
    }
    // Zero where the container does not say; the decoder has the same limit on what the stream says.
    let pixels = video.width.max(0).saturating_mul(video.height.max(0));
    if u64::try_from(pixels).unwrap_or(u64::MAX) > limits.max_pixels {
        return refuse(format!("{}x{} pixels is above the limit", video.width, video.height));
    }
    let (num, den) = video.time_base;
    if num <= 0 || den <= 0 {
        return refuse("the video stream has no time base");
    }
    let stream_seconds = TimeBase { num, den }.seconds(video.duration.max(0));
    for seconds in [stream_seconds, container_seconds] {
        if seconds > limits.max_duration_seconds {
            return refuse(format!("{seconds:.1} s is longer than the limit"));
        }
    }
    Ok(())
}

fn read_packets(
    source: &mut Source,
    path: &Path,
    index: usize,
    limits: &MediaLimits,
    deadline: Deadline,
) -> Result<Vec<ffmpeg::Packet>, MediaFailure> {
    let mut packets = Vec::new();
    let mut bytes = 0_u64;
    loop {
        if deadline.passed() {
            return Err(out_of_time(limits));
        }
        let packet = match source.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(_) if deadline.passed() => return Err(out_of_time(limits)),
            Err(error) => {
                return match source.trouble() {
                    Some(error) => Err(Error::io(path, error).into()),
                    None => refuse(format!("damaged stream: {}", libav::describe(error))),
                };
            }
        };
        if packet.stream() != index {
            continue;
        }
        if packet.is_corrupt() {
            return refuse("the file ends inside a frame");
        }
        if packets.len() as u64 >= limits.max_frames {
            return refuse(format!("more than {} frames", limits.max_frames));
        }
        // A sample table can name the same bytes many times over.
        bytes = bytes.saturating_add(packet.size() as u64);
        if bytes > limits.max_bytes {
            return refuse("the frames add up to more bytes than the limit");
        }
        packets.push(packet);
    }
    // The end may be the reader's trouble in disguise.
    match source.trouble() {
        Some(error) => Err(Error::io(path, error).into()),
        None if deadline.passed() => Err(out_of_time(limits)),
        None if packets.is_empty() => refuse("the video stream is empty"),
        None => Ok(packets),
    }
}

/// Clockwise degrees of a display matrix (16.16 fixed point, row vectors), if it is a pure turn.
fn rotation(matrix: Option<[i32; 9]>) -> Result<u16, MediaFailure> {
    let Some([a, b, _, c, d, ..]) = matrix else { return Ok(0) };
    match (a.signum(), b.signum(), c.signum(), d.signum()) {
        (1, 0, 0, 1) => Ok(0),
        (0, 1, -1, 0) => Ok(90),
        (-1, 0, 0, -1) => Ok(180),
        (0, -1, 1, 0) => Ok(270),
        _ => refuse("the display matrix is no turn by a right angle"),
    }
}
