//! Writes clips (H.264 in MP4) and JPEG stills.
//!
//! With the same frames, options and FFmpeg libraries, the same bytes come out: one encoder thread, no dates and
//! no library names in the container.

use std::path::Path;

use image::ImageEncoder as _;
use image::codecs::jpeg::JpegEncoder;
use video_rs::ffmpeg::{self, Dictionary, Packet, Rational, codec, color, encoder, format, frame};

use crate::error::{Error, Result};

/// Largest edge of a clip, in pixels.
const MAX_EDGE: u32 = 8192;

/// Which encoder writes the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum H264Encoder {
    /// FFmpeg's libx264 where this FFmpeg has it, else OpenH264.
    #[default]
    Auto,
    /// FFmpeg's libx264.
    X264,
    /// The openh264 crate, muxed by FFmpeg; it writes no B-frames.
    OpenH264,
}

/// How a clip is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipOptions {
    /// Frames per second.
    pub fps: u32,
    /// Constant rate factor, 0 (lossless) to 51; OpenH264 takes it as its fixed quantiser.
    pub crf: u8,
    /// Most frames from one key frame to the next.
    pub gop: u32,
    /// Most B-frames in a row.
    pub b_frames: u32,
    /// Which encoder.
    pub encoder: H264Encoder,
}

impl Default for ClipOptions {
    fn default() -> Self {
        Self { fps: 30, crf: 23, gop: 250, b_frames: 3, encoder: H264Encoder::Auto }
    }
}

fn fail(error: ffmpeg::Error) -> Error {
    Error::Decoder(format!("writing a clip: {error}"))
}

/// Writes `frames`, each `height * width * 3` bytes of RGB, as an MP4 file at `path`, and returns how many there
/// were. Colours become BT.709 in limited range, and the stream says so.
///
/// # Errors
/// [`Error::Usage`] where an edge is odd, 0 or above 8192, a frame has another length, there is no frame or
/// an option is out of range; [`Error::Missing`] where the encoder asked for is not in this build;
/// [`Error::Decoder`] where FFmpeg fails, for example because `path` cannot be written.
pub fn encode_clip(
    path: &Path,
    width: u32,
    height: u32,
    frames: &mut dyn Iterator<Item = Vec<u8>>,
    options: &ClipOptions,
) -> Result<u64> {
    let what = || format!("clip of {width}x{height} at {} fps", options.fps);
    if [width, height].iter().any(|&edge| edge == 0 || edge > MAX_EDGE || edge % 2 != 0) {
        return Err(Error::usage(what(), format!("even edges up to {MAX_EDGE} are expected")));
    }
    if options.fps == 0 || options.fps > 240 || options.crf > 51 || options.gop == 0 || options.b_frames > 16
    {
        return Err(Error::usage(
            what(),
            "1 to 240 fps, crf up to 51, a gop from 1 and up to 16 B-frames are expected",
        ));
    }
    // The file name is handed to FFmpeg as a URL; the scheme keeps it from being taken for another one.
    let Some(url) = path.to_str().filter(|text| !text.contains('\0')).map(|text| format!("file:{text}"))
    else {
        return Err(Error::usage(path.display().to_string(), "a path in UTF-8 is expected"));
    };
    ffmpeg::init().map_err(fail)?;
    ffmpeg::log::set_level(ffmpeg::log::Level::Quiet);
    let mut counted = Pictures { frames, width, height, count: 0 };
    let x264 = encoder::find_by_name("libx264");
    match (options.encoder, x264) {
        (H264Encoder::Auto | H264Encoder::X264, Some(codec)) => {
            x264_clip(&url, codec, &mut counted, options)?
        }
        (H264Encoder::X264, None) => {
            return Err(Error::Missing {
                what: "FFmpeg's libx264".to_owned(),
                remedy: "build FFmpeg with it or choose OpenH264".to_owned(),
            });
        }
        (H264Encoder::Auto | H264Encoder::OpenH264, _) => open_h264_clip(&url, &mut counted, options)?,
    }
    Ok(counted.count)
}

/// Writes RGB bytes `[height, width, 3]` as a JPEG file of this quality, 1 to 100.
///
/// # Errors
/// [`Error::Usage`] where the length does not fit the size or the quality is out of range, [`Error::Io`] where
/// the file cannot be written.
pub fn write_jpeg(path: &Path, width: u32, height: u32, rgb: &[u8], quality: u8) -> Result<()> {
    let what = || format!("JPEG of {width}x{height} at quality {quality}");
    if rgb.len() as u64 != u64::from(width) * u64::from(height) * 3 || rgb.is_empty() {
        return Err(Error::usage(what(), format!("{} bytes of RGB do not fit", rgb.len())));
    }
    if !(1..=100).contains(&quality) {
        return Err(Error::usage(what(), "a quality from 1 to 100 is expected"));
    }
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .write_image(rgb, width, height, image::ExtendedColorType::Rgb8)
        .map_err(|error| Error::usage(what(), error.to_string()))?;
    std::fs::write(path, bytes).map_err(|error| Error::io(path, error))
}

/// The frames, checked, converted and counted.
struct Pictures<'a> {
    frames: &'a mut dyn Iterator<Item = Vec<u8>>,
    width: u32,
    height: u32,
    count: u64,
}

impl Pictures<'_> {
    fn next(&mut self) -> Result<Option<Yuv420>> {
        let Some(rgb) = self.frames.next() else {
            return if self.count == 0 {
                Err(Error::usage("clip", "at least one frame is expected"))
            } else {
                Ok(None)
            };
        };
        if rgb.len() as u64 != u64::from(self.width) * u64::from(self.height) * 3 {
            return Err(Error::usage(
                format!("frame {} of a {}x{} clip", self.count, self.width, self.height),
                format!("{} bytes of RGB do not fit", rgb.len()),
            ));
        }
        self.count += 1;
        Ok(Some(Yuv420::from_rgb(&rgb, self.width as usize)))
    }
}

/// Planes without padding, chroma halved both ways.
struct Yuv420 {
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
}

/// BT.709 in limited range, times 2^16, rounded: luma from R, G, B; then U and V.
const LUMA: [i32; 3] = [11966, 40254, 4064];
const BLUE: [i32; 3] = [-6596, -22189, 28784];
const RED: [i32; 3] = [28784, -26145, -2639];

impl Yuv420 {
    /// Chroma is the mean of each 2x2 block. Both edges are even.
    fn from_rgb(rgb: &[u8], width: usize) -> Self {
        let pixels = rgb.len() / 3;
        let mut y = Vec::with_capacity(pixels);
        y.extend(rgb.as_chunks::<3>().0.iter().map(|p| {
            let sum: i32 = p.iter().zip(LUMA).map(|(&c, k)| i32::from(c) * k).sum();
            (((sum + (1 << 15)) >> 16) + 16) as u8
        }));
        let (mut u, mut v) = (Vec::with_capacity(pixels / 4), Vec::with_capacity(pixels / 4));
        for rows in rgb.chunks_exact(width * 6) {
            let (upper, lower) = rows.split_at(width * 3);
            for (a, b) in upper.as_chunks::<6>().0.iter().zip(lower.as_chunks::<6>().0) {
                let [a0, a1, a2, a3, a4, a5] = a.map(i32::from);
                let [b0, b1, b2, b3, b4, b5] = b.map(i32::from);
                let block = [a0 + a3 + b0 + b3, a1 + a4 + b1 + b4, a2 + a5 + b2 + b5];
                for (plane, factors) in [(&mut u, BLUE), (&mut v, RED)] {
                    let sum: i32 = block.iter().zip(factors).map(|(&c, k)| c * k).sum();
                    plane.push((((sum + (1 << 17)) >> 18) + 128).clamp(0, 255) as u8);
                }
            }
        }
        Self { y, u, v }
    }
}

/// Starts an MP4 file.
fn container(url: &str) -> Result<format::context::Output> {
    format::output_as(url, "mp4").map_err(fail)
}

/// Writes the header: nothing in it depends on when or by what it is written, and the index comes first.
fn write_header(output: &mut format::context::Output) -> Result<()> {
    let mut options = Dictionary::new();
    options.set("fflags", "+bitexact");
    options.set("movflags", "+faststart");
    output.write_header_with(options).map(drop).map_err(fail)
}

fn x264_clip(
    url: &str,
    x264: ffmpeg::Codec,
    pictures: &mut Pictures<'_>,
    options: &ClipOptions,
) -> Result<()> {
    let tick = Rational::new(1, options.fps as i32);
    let mut video = codec::Context::new_with_codec(x264).encoder().video().map_err(fail)?;
    video.set_width(pictures.width);
    video.set_height(pictures.height);
    video.set_format(format::Pixel::YUV420P);
    video.set_time_base(tick);
    video.set_frame_rate(Some(tick.invert()));
    video.set_gop(options.gop);
    video.set_max_b_frames(options.b_frames as usize);
    video.set_colorspace(color::Space::BT709);
    video.set_color_range(color::Range::MPEG);
    video.set_color_primaries(color::Primaries::BT709);
    video.set_color_transfer_characteristic(color::TransferCharacteristic::BT709);
    video.set_flags(codec::Flags::GLOBAL_HEADER | codec::Flags::BITEXACT);
    let mut settings = Dictionary::new();
    settings.set("preset", "veryfast");
    settings.set("crf", &options.crf.to_string());
    settings.set("threads", "1");
    let mut encoder = video.open_as_with(x264, settings).map_err(fail)?;
    let mut output = container(url)?;
    output.add_stream_with(encoder.as_ref()).map_err(fail)?.set_avg_frame_rate(tick.invert());
    write_header(&mut output)?;
    let mut time = 0_i64;
    loop {
        let picture = pictures.next()?;
        match &picture {
            Some(picture) => {
                let raw = filled(picture, pictures.width, pictures.height, time);
                encoder.send_frame(&raw).map_err(fail)?;
                time += 1;
            }
            None => encoder.send_eof().map_err(fail)?,
        }
        loop {
            let mut packet = Packet::empty();
            match encoder.receive_packet(&mut packet) {
                Ok(()) => {
                    packet.set_duration(1);
                    write(&mut output, packet, tick)?;
                }
                Err(ffmpeg::Error::Other { errno }) if errno == ffmpeg::error::EAGAIN => break,
                Err(ffmpeg::Error::Eof) => return output.write_trailer().map_err(fail),
                Err(error) => return Err(fail(error)),
            }
        }
    }
}

fn write(output: &mut format::context::Output, mut packet: Packet, tick: Rational) -> Result<()> {
    let Some(base) = output.stream(0).map(|stream| stream.time_base()) else {
        return Err(Error::Internal("a clip lost its stream".to_owned()));
    };
    packet.set_stream(0);
    packet.set_position(-1);
    packet.rescale_ts(tick, base);
    packet.write_interleaved(output).map_err(fail)
}

/// The picture in a buffer of FFmpeg's.
fn filled(picture: &Yuv420, width: u32, height: u32, time: i64) -> frame::Video {
    let mut raw = frame::Video::new(format::Pixel::YUV420P, width, height);
    raw.set_pts(Some(time));
    let (width, half) = (width as usize, width as usize / 2);
    for (index, (plane, row)) in
        [(&picture.y, width), (&picture.u, half), (&picture.v, half)].into_iter().enumerate()
    {
        let stride = raw.stride(index);
        for (to, from) in raw.data_mut(index).chunks_mut(stride).zip(plane.chunks_exact(row)) {
            for (to, from) in to.iter_mut().zip(from) {
                *to = *from;
            }
        }
    }
    raw
}

fn open_h264_clip(url: &str, pictures: &mut Pictures<'_>, options: &ClipOptions) -> Result<()> {
    use openh264::encoder::{
        Encoder, EncoderConfig, FrameRate, IntraFramePeriod, QpRange, RateControlMode, VuiConfig,
    };
    let wrong = |error: openh264::Error| Error::Decoder(format!("OpenH264: {error}"));
    let config = EncoderConfig::new()
        .max_frame_rate(FrameRate::from_hz(options.fps as f32))
        .rate_control_mode(RateControlMode::Off)
        .qp(QpRange::new(options.crf, options.crf))
        .intra_frame_period(IntraFramePeriod::from_num_frames(options.gop))
        .skip_frames(false)
        .num_threads(1)
        .vui(VuiConfig::bt709());
    let api = openh264::OpenH264API::from_source();
    let mut encoder = Encoder::with_api_config(api, config).map_err(wrong)?;
    let (width, height) = (pictures.width as usize, pictures.height as usize);
    let mut stream = Vec::new();
    while let Some(picture) = pictures.next()? {
        let planes = openh264::formats::YUVSlices::new(
            (&picture.y, &picture.u, &picture.v),
            (width, height),
            (width, width / 2, width / 2),
        );
        encoder.encode(&planes).map_err(wrong)?.write_vec(&mut stream);
    }
    remux(url, stream, options)
}

/// Cuts a raw H.264 stream without B-frames into frames and puts them into an MP4 file.
fn remux(url: &str, stream: Vec<u8>, options: &ClipOptions) -> Result<()> {
    let tick = Rational::new(1, options.fps as i32);
    let io = format::context::StreamIo::from_read_seek(std::io::Cursor::new(stream)).map_err(fail)?;
    let mut input = format::input_from_stream(io, Some("clip.h264"), None).map_err(fail)?;
    let Some(parameters) = input.stream(0).map(|stream| stream.parameters()) else {
        return Err(Error::Decoder("OpenH264 wrote no stream".to_owned()));
    };
    let mut output = container(url)?;
    let mut added = output.add_stream(encoder::find(codec::Id::None)).map_err(fail)?;
    added.set_parameters(parameters);
    added.set_time_base(tick);
    added.set_avg_frame_rate(tick.invert());
    write_header(&mut output)?;
    let mut time = 0_i64;
    loop {
        let mut packet = Packet::empty();
        match packet.read(&mut input) {
            Ok(()) => {
                packet.set_pts(Some(time));
                packet.set_dts(Some(time));
                packet.set_duration(1);
                time += 1;
                write(&mut output, packet, tick)?;
            }
            Err(ffmpeg::Error::Eof) => return output.write_trailer().map_err(fail),
            Err(error) => return Err(fail(error)),
        }
    }
}
