//! The raw layer over FFmpeg's libraries: the one file here where `unsafe` is allowed.
//!
//! Most of what is needed has a safe wrapper in the `ffmpeg` crate that video-rs re-exports. Written here by
//! hand are only: opening a demuxer that is chosen by us, reads through our own reader and looks no further
//! (the wrapper's open would decode frames before any limit could be set); C enums that come from the stream,
//! read as plain integers; a decoder's reorder depth; and the exact extent of a picture's planes.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use video_rs::ffmpeg::{self, Dictionary, Packet, codec, ffi, format, frame, media};

use super::hardware::DevicePicture;
use super::yuv::{Chroma, Depth, Matrix, Plane, Yuv};

/// Streams of a file beyond this number are refused by the demuxer.
const MAX_STREAMS: &str = "16";

/// Smallest cap that is put on a single allocation of FFmpeg's, in bytes.
const MIN_ALLOCATION_CAP: usize = 64 << 20;

/// Bytes per pixel of the largest picture format there is a use for (4:4:4 in two-byte samples).
const MAX_BYTES_PER_PIXEL: u64 = 6;

/// Pixels that rounding a picture's width up to a multiple of 64 may add, for heights up to 8192.
const ALIGNMENT_SLACK: u64 = 64 * 8192;

/// Silences FFmpeg's log and caps its single allocations, for the process: both settings are global in FFmpeg.
/// The cap grows with the largest `max_pixels` seen and never shrinks; it is what stops a few bytes of sample
/// table from claiming gigabytes.
pub(super) fn prepare(max_pixels: u64) {
    static ONCE: Once = Once::new();
    static CAP: AtomicUsize = AtomicUsize::new(0);
    ONCE.call_once(|| {
        // Registers the error texts; it has no other effect since FFmpeg 4 and cannot fail.
        let _ = ffmpeg::init();
        ffmpeg::log::set_level(ffmpeg::log::Level::Quiet);
    });
    let picture = max_pixels.saturating_mul(MAX_BYTES_PER_PIXEL).saturating_add(1 << 20);
    let wanted = usize::try_from(picture).unwrap_or(usize::MAX).clamp(MIN_ALLOCATION_CAP, i32::MAX as usize);
    if CAP.fetch_max(wanted, Ordering::SeqCst) < wanted {
        // SAFETY: a plain store to FFmpeg's own atomic limit.
        #[allow(unsafe_code)]
        unsafe {
            ffi::av_max_alloc(CAP.load(Ordering::SeqCst));
        }
    }
}

/// FFmpeg's version of its codec library, `major.minor.micro`.
pub(super) fn version() -> String {
    let v = codec::version();
    format!("{}.{}.{}", v >> 16, (v >> 8) & 0xff, v & 0xff)
}

/// FFmpeg's text for one of its errors.
pub(super) fn describe(error: ffmpeg::Error) -> String {
    let mut text = [0; 128];
    // SAFETY: the buffer's length is passed along, and av_strerror always ends it with a zero.
    #[allow(unsafe_code)]
    let text = unsafe {
        ffi::av_strerror(error.into(), text.as_mut_ptr(), text.len());
        CStr::from_ptr(text.as_ptr())
    };
    text.to_string_lossy().into_owned()
}

/// A moment after which work on a clip stops.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    pub(super) fn after(wall: Duration) -> Self {
        Self(Instant::now().checked_add(wall))
    }

    pub(super) fn passed(self) -> bool {
        self.0.is_some_and(|at| Instant::now() >= at)
    }
}

/// A file that stops giving bytes at a deadline, and remembers the system's own read errors, which are not
/// the clip's fault.
struct GuardedFile {
    file: File,
    deadline: Deadline,
    trouble: Arc<Mutex<Option<io::Error>>>,
}

impl GuardedFile {
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            // A seek to a place that cannot exist is a hostile offset, not a broken disk.
            if !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Interrupted)
                && let Ok(mut slot) = self.trouble.lock()
            {
                slot.get_or_insert_with(|| io::Error::new(error.kind(), error.to_string()));
            }
        })
    }
}

impl Read for GuardedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.deadline.passed() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let result = self.file.read(buffer);
        self.note(result)
    }
}

impl Seek for GuardedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        if self.deadline.passed() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let result = self.file.seek(to);
        self.note(result)
    }
}

/// The containers that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    /// MP4 and MOV.
    Mp4,
    /// Matroska and WebM.
    Matroska,
}

impl Container {
    const fn demuxer(self) -> &'static CStr {
        match self {
            Self::Mp4 => c"mp4",
            Self::Matroska => c"matroska",
        }
    }
}

/// An open demuxer.
pub(super) struct Source {
    input: format::context::Input,
    trouble: Arc<Mutex<Option<io::Error>>>,
}

/// What a container says of a stream.
pub(super) struct StreamHeader {
    pub index: usize,
    pub kind: media::Type,
    pub codec: codec::Id,
    pub attached_picture: bool,
    pub width: i64,
    pub height: i64,
    /// Seconds per tick, as a fraction.
    pub time_base: (i32, i32),
    /// In ticks; not positive where unknown.
    pub duration: i64,
    pub frames: i64,
    /// Display matrix, where there is one.
    pub display: Option<[i32; 9]>,
}

/// Why a demuxer did not open.
pub(super) enum OpenFailure {
    /// This build of FFmpeg lacks the demuxer.
    NoDemuxer,
    /// FFmpeg refused the file.
    Refused(ffmpeg::Error),
}

impl Source {
    /// Opens `file` as `container` and nothing else: no probing, no other protocol, no second file. Nothing is
    /// decoded.
    pub(super) fn open(file: File, container: Container, deadline: Deadline) -> Result<Self, OpenFailure> {
        let trouble = Arc::new(Mutex::new(None));
        let reader = GuardedFile { file, deadline, trouble: Arc::clone(&trouble) };
        let mut io = format::context::StreamIo::from_read_seek(reader).map_err(OpenFailure::Refused)?;
        let mut options = Dictionary::new();
        // There is no protocol of this name: whatever a file refers to cannot be opened.
        options.set("protocol_whitelist", "none");
        options.set("max_streams", MAX_STREAMS);
        // SAFETY: the context is allocated here and either handed to `Input`, which frees it, or freed by
        // avformat_open_input where that fails. `io` outlives the context: `Input` keeps it and drops it after
        // the context, and on failure it is dropped after this block. The options are owned here, and freed
        // after the call that may replace them. The demuxer is a static of FFmpeg's.
        #[allow(unsafe_code)]
        let input = unsafe {
            let demuxer = ffi::av_find_input_format(container.demuxer().as_ptr());
            if demuxer.is_null() {
                return Err(OpenFailure::NoDemuxer);
            }
            let mut context = ffi::avformat_alloc_context();
            if context.is_null() {
                return Err(OpenFailure::Refused(ffmpeg::Error::Other { errno: ffmpeg::error::ENOMEM }));
            }
            (*context).pb = io.as_mut_ptr();
            // The container's own times, with nothing guessed from the coded pictures.
            (*context).flags |=
                ffi::AVFMT_FLAG_CUSTOM_IO | ffi::AVFMT_FLAG_NOPARSE | ffi::AVFMT_FLAG_NOFILLIN;
            let mut raw_options = options.disown();
            let status = ffi::avformat_open_input(
                &raw mut context,
                ptr::null(),
                demuxer as *mut _,
                &raw mut raw_options,
            );
            drop(Dictionary::own(raw_options));
            if status < 0 {
                return Err(OpenFailure::Refused(status.into()));
            }
            format::context::Input::wrap_with_custom_io(context, io)
        };
        Ok(Self { input, trouble })
    }

    /// The system's own error, where reading failed for a reason that is not the clip's.
    pub(super) fn trouble(&self) -> Option<io::Error> {
        self.trouble.lock().ok().and_then(|mut slot| slot.take())
    }

    /// Duration that the container declares, in seconds; not positive where unknown.
    pub(super) fn container_seconds(&self) -> f64 {
        let ticks = self.input.duration();
        if ticks == ffi::AV_NOPTS_VALUE { 0.0 } else { ticks as f64 / f64::from(ffi::AV_TIME_BASE) }
    }

    pub(super) fn streams(&self) -> Vec<StreamHeader> {
        self.input
            .streams()
            .map(|stream| {
                let parameters = stream.parameters();
                // SAFETY: the parameters belong to a stream of the open context, which outlives this closure.
                #[allow(unsafe_code)]
                let (width, height) =
                    unsafe { ((*parameters.as_ptr()).width, (*parameters.as_ptr()).height) };
                let display = stream
                    .side_data()
                    .find(|data| data.kind() == codec::packet::side_data::Type::DisplayMatrix)
                    .and_then(|data| {
                        let (words, _) = data.data().as_chunks::<4>();
                        let mut matrix = [0; 9];
                        for (cell, word) in matrix.iter_mut().zip(words) {
                            *cell = i32::from_ne_bytes(*word);
                        }
                        (words.len() >= 9).then_some(matrix)
                    });
                let duration = stream.duration();
                StreamHeader {
                    index: stream.index(),
                    kind: parameters.medium(),
                    codec: parameters.id(),
                    attached_picture: stream
                        .disposition()
                        .contains(format::stream::Disposition::ATTACHED_PIC),
                    width: width.into(),
                    height: height.into(),
                    time_base: (stream.time_base().numerator(), stream.time_base().denominator()),
                    duration: if duration == ffi::AV_NOPTS_VALUE { 0 } else { duration },
                    frames: stream.frames(),
                    display,
                }
            })
            .collect()
    }

    /// A copy of a stream's codec parameters that outlives this source.
    pub(super) fn parameters(&self, index: usize) -> Option<codec::Parameters> {
        self.input.stream(index).map(|stream| stream.parameters().clone())
    }

    /// Number of packets that the container's index lists for a stream.
    pub(super) fn indexed_packets(&mut self, index: usize) -> usize {
        let Some(stream) = self.input.stream(index) else { return 0 };
        // SAFETY: the stream belongs to the open context; the call only reads a counter.
        #[allow(unsafe_code)]
        let count = unsafe { ffi::avformat_index_get_entries_count(stream.as_ptr()) };
        usize::try_from(count).unwrap_or(0)
    }

    /// Lets the demuxer skip every stream but one.
    pub(super) fn keep_only(&mut self, index: usize) {
        for i in 0..self.input.nb_streams() as usize {
            if let Some(mut stream) = self.input.stream_mut(i)
                && i != index
            {
                // SAFETY: the stream belongs to the open context, which is borrowed mutably here.
                #[allow(unsafe_code)]
                unsafe {
                    (*stream.as_mut_ptr()).discard = ffi::AVDiscard::AVDISCARD_ALL;
                }
            }
        }
    }

    /// The next packet of any stream that was kept; `None` at the end.
    pub(super) fn next_packet(&mut self) -> Result<Option<Packet>, ffmpeg::Error> {
        let mut packet = Packet::empty();
        match packet.read(&mut self.input) {
            Ok(()) => Ok(Some(packet)),
            Err(ffmpeg::Error::Eof) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether a packet is decoded but not shown (an edit list cut it off).
pub(super) fn is_hidden(packet: &Packet) -> bool {
    use codec::packet::Ref as _;
    // SAFETY: reads a field of the packet that `packet` owns.
    #[allow(unsafe_code)]
    let flags = unsafe { (*packet.as_ptr()).flags };
    flags & ffi::AV_PKT_FLAG_DISCARD != 0
}

/// What a stream has of a codec's header outside of its packets.
pub(super) fn header(parameters: &codec::Parameters) -> &[u8] {
    // SAFETY: the parameters own as many bytes as they say, for as long as they live; without any, the pointer may be null.
    #[allow(unsafe_code)]
    unsafe {
        let raw = parameters.as_ptr();
        match usize::try_from((*raw).extradata_size) {
            Ok(size) if size > 0 && !(*raw).extradata.is_null() => {
                std::slice::from_raw_parts((*raw).extradata, size)
            }
            _ => &[],
        }
    }
}

/// Whether a packet brings another header.
pub(super) fn changes_header(packet: &Packet) -> bool {
    packet.side_data().any(|data| data.kind() == codec::packet::side_data::Type::NewExtraData)
}

/// How a decoder is set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct DecoderSettings {
    pub max_pixels: u64,
    /// How many pictures may come before one that is shown earlier.
    pub reorder_depth: usize,
    pub time_base: (i32, i32),
}

/// A device whose own decoder FFmpeg may use.
pub(super) struct Hardware(*mut ffi::AVBufferRef);

// SAFETY: the reference is counted atomically, and FFmpeg's device contexts may be used from any thread.
#[allow(unsafe_code)]
unsafe impl Send for Hardware {}
// SAFETY: as above; only new references are made of it.
#[allow(unsafe_code)]
unsafe impl Sync for Hardware {}

impl Hardware {
    /// The NVIDIA device of this number, in the context that the rest of the process uses there.
    pub(super) fn cuda(index: u32) -> Result<Self, String> {
        /// `AV_CUDA_USE_PRIMARY_CONTEXT` of `hwcontext_cuda.h`.
        const PRIMARY_CONTEXT: i32 = 1;
        prepare(0);
        let name = CString::new(index.to_string()).map_err(|e| e.to_string())?;
        let mut device = ptr::null_mut();
        // SAFETY: the name lives through the call, which gives a reference of ours or an error.
        #[allow(unsafe_code)]
        let status = unsafe {
            ffi::av_hwdevice_ctx_create(
                &raw mut device,
                ffi::AVHWDeviceType::AV_HWDEVICE_TYPE_CUDA,
                name.as_ptr(),
                ptr::null_mut(),
                PRIMARY_CONTEXT,
            )
        };
        if status < 0 || device.is_null() {
            return Err(describe(status.into()));
        }
        Ok(Self(device))
    }
}

impl Drop for Hardware {
    fn drop(&mut self) {
        // SAFETY: a reference of ours, let go of once.
        #[allow(unsafe_code)]
        unsafe {
            ffi::av_buffer_unref(&raw mut self.0);
        }
    }
}

/// FFmpeg's number for pictures in the memory of an NVIDIA device.
const ON_CUDA: i32 = ffi::AVPixelFormat::AV_PIX_FMT_CUDA as i32;

/// The name of a format, by FFmpeg's number, if a device's pictures of it are converted: 4:2:0, in 8 or 10 bits.
fn converted_on_device(software: i32) -> Option<&'static str> {
    use ffi::AVPixelFormat as P;
    match software {
        format if format == P::AV_PIX_FMT_YUV420P as i32 => Some("yuv420p"),
        format if format == P::AV_PIX_FMT_YUVJ420P as i32 => Some("yuvj420p"),
        format if format == P::AV_PIX_FMT_YUV420P10LE as i32 => Some("yuv420p10le"),
        _ => None,
    }
}

/// Takes the device's format where it is offered for a stream whose pictures are converted there. Else it takes none, which
/// ends the decoding: the processor has a decoder of its own. FFmpeg asks again without the device's format where that could
/// not be set up; and with it where the pictures become others in the middle of a stream. Then it is none, too: a second decoder
/// of the device's has none of the pictures that the next may refer to.
#[allow(unsafe_code)]
unsafe extern "C" fn device_or_none(
    context: *mut ffi::AVCodecContext,
    formats: *const ffi::AVPixelFormat,
) -> ffi::AVPixelFormat {
    let mut at = formats;
    // SAFETY: FFmpeg gives its open context and a list that ends with NONE. The C enums are read as the integers that they
    // are, for a Rust enum with an unknown value is not allowed. `opaque` is the user's; here it says whether a format was
    // given, and is not looked behind.
    unsafe {
        let software = (&raw const (*context).sw_pix_fmt).cast::<i32>().read();
        if converted_on_device(software).is_none() || !(*context).opaque.is_null() {
            return ffi::AVPixelFormat::AV_PIX_FMT_NONE;
        }
        while at.cast::<i32>().read() != ffi::AVPixelFormat::AV_PIX_FMT_NONE as i32 {
            if at.cast::<i32>().read() == ON_CUDA {
                (*context).opaque = context.cast();
                return ffi::AVPixelFormat::AV_PIX_FMT_CUDA;
            }
            at = at.add(1);
        }
    }
    ffi::AVPixelFormat::AV_PIX_FMT_NONE
}

/// As `nexis-py/ffmpeg/nvdec-keep.patch` has it: the times of the pictures whose pixels are wanted. Any other FFmpeg gives the
/// pixels of all.
#[repr(C)]
struct Wanted {
    times: *const i64,
    count: i32,
}

/// An open video decoder.
pub(super) struct PictureDecoder {
    /// Closed before what it was told to look at is freed.
    opened: codec::decoder::Opened,
    wanted: Option<(Rc<Wanted>, Vec<i64>)>,
}

/// What a decoder had to say.
pub(super) enum Received {
    /// A picture.
    Picture(Picture),
    /// It wants another packet.
    Hungry,
    /// There are no more pictures.
    End,
}

impl PictureDecoder {
    pub(super) fn open(
        parameters: codec::Parameters,
        settings: DecoderSettings,
        device: Option<&Hardware>,
    ) -> Result<Self, ffmpeg::Error> {
        let id = parameters.id();
        // FFmpeg's decoder of AV1 works on devices alone; without one, another library's comes first.
        let own = if device.is_some() { codec::decoder::find_by_name(id.name()) } else { None };
        let found = own.or_else(|| codec::decoder::find(id)).ok_or(ffmpeg::Error::DecoderNotFound)?;
        let mut context = codec::Context::from_parameters(parameters)?;
        context.set_threading(codec::threading::Config::count(1));
        // Without this, a stream that does not say how deep it reorders loses or swaps its first pictures.
        let depth = i32::try_from(settings.reorder_depth.min(16)).unwrap_or(16);
        // SAFETY: the context is owned here and not open yet.
        #[allow(unsafe_code)]
        unsafe {
            let raw = context.as_mut_ptr();
            (*raw).has_b_frames = (*raw).has_b_frames.max(depth);
            if let Some(device) = device {
                (*raw).hw_device_ctx = ffi::av_buffer_ref(device.0);
                (*raw).get_format = Some(device_or_none);
                // Pictures that are held outside of the decoder: the one before the current, and a converted one.
                (*raw).extra_hw_frames = 4;
            }
        }
        let mut decoder = context.decoder();
        decoder.set_packet_time_base(settings.time_base);
        // A damaged picture is an error, never a guess.
        decoder.check(codec::decoder::Check::EXPLODE);
        let mut options = Dictionary::new();
        // FFmpeg compares its limit with the width rounded up to its alignment; the exact comparison is made with
        // the picture that comes out, and this one keeps it from being allocated.
        let limit = settings.max_pixels.saturating_add(ALIGNMENT_SLACK).min(i32::MAX as u64);
        options.set("max_pixels", &limit.to_string());
        Ok(Self { opened: decoder.open_as_with(found, options)?, wanted: None })
    }

    /// Lets a device leave its pictures of other times without pixels, which saves waiting for them.
    pub(super) fn want_only(&mut self, times: impl Iterator<Item = i64>) {
        let times: Vec<i64> = times.collect();
        let Ok(count) = i32::try_from(times.len()) else { return };
        let wanted = Rc::new(Wanted { times: times.as_ptr(), count });
        // SAFETY: the context is open, and its decoder is not at work meanwhile. What it is told to look at neither moves nor
        // changes, and is freed after the context is closed, or where this is called again, after it looks elsewhere.
        #[allow(unsafe_code)]
        unsafe {
            (*self.opened.as_mut_ptr()).hwaccel_context = Rc::as_ptr(&wanted).cast_mut().cast();
        }
        self.wanted = Some((wanted, times));
    }

    /// Sends a packet; where `skippable`, a picture that no other refers to may be left undecoded.
    pub(super) fn send(&mut self, packet: &Packet, skippable: bool) -> Result<(), ffmpeg::Error> {
        self.opened.skip_frame(if skippable {
            codec::discard::Discard::NonReference
        } else {
            codec::discard::Discard::Default
        });
        self.opened.send_packet(packet)
    }

    pub(super) fn send_end(&mut self) -> Result<(), ffmpeg::Error> {
        self.opened.send_eof()
    }

    pub(super) fn receive(&mut self) -> Result<Received, ffmpeg::Error> {
        let mut picture = frame::Video::empty();
        match self.opened.receive_frame(&mut picture) {
            Ok(()) => {
                // SAFETY: the context is open; the field is a C enum, read as the integer that it is.
                #[allow(unsafe_code)]
                let software =
                    unsafe { (&raw const (*self.opened.as_ptr()).sw_pix_fmt).cast::<i32>().read() };
                Ok(Received::Picture(Picture { raw: picture, software }))
            }
            Err(ffmpeg::Error::Other { errno }) if errno == ffmpeg::error::EAGAIN => Ok(Received::Hungry),
            Err(ffmpeg::Error::Eof) => Ok(Received::End),
            Err(error) => Err(error),
        }
    }
}

/// A decoded picture, still as the decoder wrote it.
pub(super) struct Picture {
    raw: frame::Video,
    /// FFmpeg's number for the format that the processor would have decoded to.
    software: i32,
}

impl Picture {
    pub(super) fn width(&self) -> u32 {
        self.raw.width()
    }

    pub(super) fn height(&self) -> u32 {
        self.raw.height()
    }

    /// That a device's picture has the pixels that the processor's would have; the error says why not.
    pub(super) fn as_the_processor_shows_it(&self) -> Result<(), String> {
        if !self.is_on_device() {
            return Err("a picture was not decoded on the device".to_owned());
        }
        // SAFETY: reads two numbers of the frame that `self` owns.
        #[allow(unsafe_code)]
        let (left, top) = unsafe { ((*self.raw.as_ptr()).crop_left, (*self.raw.as_ptr()).crop_top) };
        if left != 0 || top != 0 {
            // FFmpeg leaves such a border to us in a device's picture. In the processor's it cuts only as far as its own
            // alignment goes, and that is the reference.
            return Err(format!("a border of {left} and {top} pixels is cut off on the processor only"));
        }
        let (width, height) = (self.width(), self.height());
        if !width.is_multiple_of(2) || !height.is_multiple_of(2) {
            // A device's surfaces are even, whatever a stream's last column and row of chroma were made from.
            return Err(format!("{width}x{height} pixels are decoded on the processor only"));
        }
        Ok(())
    }

    /// Whether its pixels are in a device's memory.
    fn is_on_device(&self) -> bool {
        // SAFETY: reads a number of the frame that `self` owns.
        #[allow(unsafe_code)]
        let format = unsafe { (*self.raw.as_ptr()).format };
        format == ON_CUDA
    }

    /// Where its pixels are in a device's memory; the error says what is not supported.
    pub(super) fn on_device(&self) -> Result<DevicePicture, String> {
        let unsupported = || Err(format!("pixel format {} is not supported", self.format_name()));
        // SAFETY: a frame of this format holds a reference to its frames' context, which lives as long as the frame. The
        // C enums are read as the integers that they are.
        #[allow(unsafe_code)]
        let (layout, planes, strides, space, range) = unsafe {
            let raw = self.raw.as_ptr();
            if (*raw).hw_frames_ctx.is_null() {
                return unsupported();
            }
            let frames = (*(*raw).hw_frames_ctx).data.cast::<ffi::AVHWFramesContext>();
            (
                (&raw const (*frames).sw_format).cast::<i32>().read(),
                [(*raw).data[0], (*raw).data[1]],
                [(*raw).linesize[0], (*raw).linesize[1]],
                (&raw const (*raw).colorspace).cast::<i32>().read(),
                (&raw const (*raw).color_range).cast::<i32>().read(),
            )
        };
        let depth = match layout {
            _ if layout == ffi::AVPixelFormat::AV_PIX_FMT_NV12 as i32 => Depth::Eight,
            _ if layout == ffi::AVPixelFormat::AV_PIX_FMT_P010LE as i32 => Depth::TenHigh,
            _ => return unsupported(),
        };
        let Some(matrix) = Matrix::from_code_point(space, self.height()) else {
            return Err(format!("colour matrix {space} is not supported"));
        };
        let [Ok(luma), Ok(chroma)] = strides.map(u32::try_from) else { return unsupported() };
        if planes[0].is_null() {
            // One that FFmpeg made up for a missing one: nothing was decoded.
            return Err("a picture has no pixels on the device".to_owned());
        }
        Ok(DevicePicture {
            width: self.width(),
            height: self.height(),
            depth,
            planes: planes.map(|plane| plane as u64),
            strides: [luma, chroma],
            matrix,
            full_range: range == 2,
        })
    }

    /// Presentation time in ticks, or FFmpeg's best guess at it.
    pub(super) fn pts(&self) -> Option<i64> {
        self.raw.pts().or_else(|| self.raw.timestamp())
    }

    /// The name of its format; of a device's picture, that of the format that the processor decodes to.
    pub(super) fn format_name(&self) -> &'static str {
        if !self.is_on_device() {
            return self.raw.format().descriptor().map_or("none", |d| d.name());
        }
        converted_on_device(self.software).unwrap_or("cuda")
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.raw.is_corrupt() || self.raw.has_decode_errors()
    }

    pub(super) fn is_interlaced(&self) -> bool {
        self.raw.is_interlaced()
    }

    /// The planes and how to read them; the error says what is not supported.
    pub(super) fn yuv(&self) -> Result<Yuv<'_>, String> {
        use format::Pixel as P;
        // Depth, log2 of the chroma subsampling, number of planes, whether the format itself says full range.
        let (depth, log2_x, log2_y, planes, full_by_format) = match self.raw.format() {
            P::YUV420P => (Depth::Eight, 1, 1, 3, false),
            P::YUVJ420P => (Depth::Eight, 1, 1, 3, true),
            P::YUV422P => (Depth::Eight, 1, 0, 3, false),
            P::YUVJ422P => (Depth::Eight, 1, 0, 3, true),
            P::YUV444P => (Depth::Eight, 0, 0, 3, false),
            P::YUVJ444P => (Depth::Eight, 0, 0, 3, true),
            P::YUV420P10LE => (Depth::Ten, 1, 1, 3, false),
            P::YUV422P10LE => (Depth::Ten, 1, 0, 3, false),
            P::YUV444P10LE => (Depth::Ten, 0, 0, 3, false),
            P::NV12 => (Depth::Eight, 1, 1, 2, false),
            P::P010LE => (Depth::TenHigh, 1, 1, 2, false),
            P::GRAY8 => (Depth::Eight, 0, 0, 1, false),
            P::GRAY10LE => (Depth::Ten, 0, 0, 1, false),
            _ => return Err(format!("pixel format {} is not supported", self.format_name())),
        };
        // SAFETY: the frame is owned by `self`. The two fields are C enums whose values come from the stream;
        // they are read as the integers that they are, since a Rust enum with an unknown value is not allowed.
        #[allow(unsafe_code)]
        let (space, range) = unsafe {
            let raw = self.raw.as_ptr();
            (
                (&raw const (*raw).colorspace).cast::<i32>().read(),
                (&raw const (*raw).color_range).cast::<i32>().read(),
            )
        };
        let (width, height) = (self.width(), self.height());
        let matrix = match Matrix::from_code_point(space, height) {
            Some(matrix) => matrix,
            // Without chroma no matrix is needed.
            None if planes == 1 => Matrix::Bt709,
            None => return Err(format!("colour matrix {space} is not supported")),
        };
        let sample = if depth == Depth::Eight { 1 } else { 2 };
        let chroma_width = (width as usize).div_ceil(1 << log2_x);
        let chroma_height = (height as usize).div_ceil(1 << log2_y);
        let luma = self.plane(0, width as usize * sample, height as usize)?;
        let chroma = match planes {
            1 => Chroma::None,
            2 => Chroma::Interleaved(self.plane(1, chroma_width * 2 * sample, chroma_height)?),
            _ => Chroma::Planar {
                u: self.plane(1, chroma_width * sample, chroma_height)?,
                v: self.plane(2, chroma_width * sample, chroma_height)?,
            },
        };
        Ok(Yuv {
            width,
            height,
            depth,
            log2_x,
            log2_y,
            luma,
            chroma,
            matrix,
            // 2 is full range in H.273 terms of FFmpeg's, 1 limited, 0 unspecified.
            full_range: full_by_format || range == 2,
        })
    }

    fn plane(&self, index: usize, row_bytes: usize, rows: usize) -> Result<Plane<'_>, String> {
        // SAFETY: the frame is owned by `self` and has eight of each.
        #[allow(unsafe_code)]
        let (data, stride) = unsafe {
            let raw = self.raw.as_ptr();
            (
                (*raw).data.get(index).copied().unwrap_or(ptr::null_mut()),
                (*raw).linesize.get(index).copied().unwrap_or(0),
            )
        };
        let stride = usize::try_from(stride).unwrap_or(0);
        if data.is_null() || stride < row_bytes || rows == 0 {
            return Err("the decoder gave a picture without pixels".to_owned());
        }
        // The last row ends with its pixels: what lies between them and the stride need not be there.
        let length = stride.saturating_mul(rows - 1).saturating_add(row_bytes);
        // SAFETY: the decoder allocated `rows` rows of at least `row_bytes` bytes, `stride` apart, from
        // `data` on, for this format and size; they live as long as the frame, which `self` owns, and nobody
        // writes to them meanwhile.
        #[allow(unsafe_code)]
        let bytes = unsafe { std::slice::from_raw_parts(data.cast_const(), length) };
        Ok(Plane { bytes, stride })
    }
}
