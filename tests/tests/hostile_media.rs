//! Broken, oversized and disguised clips: each is refused as the clip's fault, within its limits, and nothing
//! panics or hangs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nexis_core::media::{
    ClipProbe, DecodedClip, FfmpegDecoder, FrameRequest, MediaDecoder, MediaFailure, MediaLimits,
};

const SIX: FrameRequest = FrameRequest::Spread { count: 6, first: true };

fn fixture(name: &str) -> PathBuf {
    nexis_tests::fixture("media").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

fn both(path: &Path, limits: &MediaLimits) -> [Result<ClipProbe, MediaFailure>; 2] {
    let decoder = FfmpegDecoder::default();
    [decoder.probe(path, limits), decoder.decode(path, &SIX, limits).map(|clip| clip.probe)]
}

/// Both ways in refuse the file as the clip's fault; returns the reason.
fn refused(path: &Path, limits: &MediaLimits) -> String {
    let [probed, decoded] = both(path, limits);
    assert!(matches!(probed, Err(MediaFailure::Clip(_))), "{}: {probed:?}", path.display());
    match decoded {
        Err(MediaFailure::Clip(why)) => why,
        other => panic!("{}: {other:?}", path.display()),
    }
}

fn written(bytes: &[u8], name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn refused_bytes(bytes: &[u8], name: &str) -> String {
    let (_folder, path) = written(bytes, name);
    refused(&path, &MediaLimits::default())
}

/// Offset of the first box of this kind.
fn find(file: &[u8], kind: &[u8; 4]) -> usize {
    file.windows(4).position(|w| w == kind).unwrap()
}

#[test]
fn what_is_no_video_file_is_refused() {
    refused_bytes(b"", "empty.mp4");
    refused_bytes(b"\0", "one.mp4");
    refused_bytes(b"\0\0\0\x08ftyp", "bare.mp4");
    refused_bytes(b"\x1a\x45\xdf\xa3", "bare.webm");
    refused_bytes(&[0xff; 4096], "ones.mp4");
    refused_bytes(b"just text, nothing else at all", "text.mp4");
}

#[test]
fn a_playlist_never_opens_what_it_names() {
    let target = fixture("clips/h264-bframes.mp4");
    let target = target.display();
    for text in [
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{target}\n#EXT-X-ENDLIST\n"),
        format!("ffconcat version 1.0\nfile '{target}'\n"),
        format!("<?xml version=\"1.0\"?><MPD><Period><BaseURL>file://{target}</BaseURL></Period></MPD>"),
        format!("concat:{target}|{target}"),
    ] {
        for name in ["list.mp4", "list.m3u8", "list.ffconcat", "list.webm"] {
            assert_eq!(refused_bytes(text.as_bytes(), name), "neither MP4 nor Matroska");
        }
    }
}

/// A clip whose samples are said to be in another file: the `url ` entry of `dref`, "in this file", becomes an alias with
/// this path, as QuickTime writes one.
fn with_samples_elsewhere(mut file: Vec<u8>, path: &str) -> Vec<u8> {
    let mut alias = b"alis\0\0\0\0".to_vec();
    // Volume and name of the file, then how many folders up and down it is from here.
    alias.extend([0; 10 + 28 + 12 + 64 + 16]);
    alias.extend([0, 1, 0, 1]);
    alias.extend([0; 16]);
    let padded = format!("{path}{}", if path.len().is_multiple_of(2) { "" } else { "\0" });
    alias.extend(2_u16.to_be_bytes());
    alias.extend(u16::try_from(path.len()).unwrap().to_be_bytes());
    alias.extend(padded.bytes());
    alias.extend([0xff, 0xff, 0, 0]);
    let at = find(&file, b"url ");
    let grown = u32::try_from(alias.len() - 8).unwrap();
    file.splice(at..at + 8, alias);
    let add = |file: &mut [u8], at: usize| {
        let size = u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) + grown;
        file[at..at + 4].copy_from_slice(&size.to_be_bytes());
    };
    add(&mut file, at - 4);
    for kind in [b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"] {
        let at = find(&file, kind) - 4;
        add(&mut file, at);
    }
    // Where the samples are: behind all this.
    let at = find(&file, b"stco") + 12;
    add(&mut file, at);
    file
}

#[test]
fn an_external_data_reference_is_not_followed() {
    let whole = bytes("hostile/small-faststart.mp4");
    let folder = tempfile::tempdir().unwrap();
    let samples = folder.path().join("samples.mp4");
    for path in [samples.display().to_string(), "/samples.mp4".to_owned(), "samples.mp4".to_owned()] {
        let file = with_samples_elsewhere(whole.clone(), &path);
        // What it names has the samples at the same places, so that whoever follows it gets a clip.
        std::fs::write(&samples, &file).unwrap();
        let clip = folder.path().join("elsewhere.mp4");
        std::fs::write(&clip, &file).unwrap();
        refused(&clip, &MediaLimits::default());
    }
}

#[test]
fn a_name_is_never_a_protocol() {
    let (_folder, path) = written(&bytes("hostile/small-faststart.mp4"), "concat:http:a|b.mp4");
    assert!(both(&path, &MediaLimits::default()).iter().all(Result::is_ok));
}

#[test]
fn a_cut_off_file_is_refused() {
    for name in ["hostile/small-faststart.mp4", "clips/h264-bframes.mp4", "clips/h264-edit-list.mp4"] {
        let file = bytes(name);
        for part in 1..20 {
            refused_bytes(&file[..file.len() * part / 20], "cut.mp4");
        }
    }
    // The index at the start is whole and one byte of the last frame is missing.
    let file = bytes("hostile/small-faststart.mp4");
    let mdat = find(&file, b"mdat");
    let length = u32::from_be_bytes(file[mdat - 4..mdat].try_into().unwrap()) as usize;
    let end = mdat - 4 + length;
    refused_bytes(&file[..end - 1], "one-short.mp4");
    let (_folder, whole) = written(&file[..end], "whole.mp4");
    assert!(both(&whole, &MediaLimits::default()).iter().all(Result::is_ok));
}

#[test]
fn a_file_without_an_index_is_refused() {
    let mut file = bytes("clips/h264-bframes.mp4");
    let at = find(&file, b"moov");
    file[at..at + 4].copy_from_slice(b"junk");
    refused_bytes(&file, "no-index.mp4");
}

#[test]
fn too_many_pixels_are_refused_by_header_and_by_stream() {
    let why = refused(&fixture("hostile/huge.mp4"), &MediaLimits::default());
    assert!(why.contains("10000x10000"), "{why}");
    // The container lies, the stream does not: the size is 24 bytes into the sample entry.
    let mut file = bytes("hostile/huge.mp4");
    let sample_entry = find(&file, b"stsd");
    let at = sample_entry + find(&file[sample_entry..], b"avc1") + 4;
    assert_eq!(file[at + 24..at + 28], [0x27, 0x10, 0x27, 0x10]);
    file[at + 24..at + 28].copy_from_slice(&[0, 64, 0, 64]);
    refused_bytes(&file, "liar.mp4");
}

#[test]
fn too_long_a_stream_is_refused_by_header_and_by_packets() {
    let why = refused(&fixture("hostile/two-hours.mp4"), &MediaLimits::default());
    assert!(why.contains("7200.0 s"), "{why}");
    // With every declared duration set to one tick, the packets still say it.
    let mut file = bytes("hostile/two-hours.mp4");
    for (kind, offset) in [(b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)] {
        let at = find(&file, kind);
        file[at + offset..at + offset + 4].copy_from_slice(&1_u32.to_be_bytes());
    }
    let why = refused_bytes(&file, "short-by-header.mp4");
    assert!(why.contains("7200.0 s of video"), "{why}");
}

#[test]
fn streams_that_leave_a_choice_or_none_are_refused() {
    let limits = MediaLimits::default();
    assert!(refused(&fixture("hostile/audio-only.mp4"), &limits).contains("no video stream"));
    assert!(refused(&fixture("hostile/two-videos.mp4"), &limits).contains("more than one"));
    assert!(refused(&fixture("hostile/mpeg4.mp4"), &limits).contains("codec mpeg4"));
}

#[test]
fn an_attached_picture_is_not_a_second_video() {
    for result in both(&fixture("hostile/with-cover.mp4"), &MediaLimits::default()) {
        let probe = result.unwrap();
        assert_eq!((probe.width, probe.height, probe.codec.as_str()), (32, 32, "h264"));
    }
}

#[test]
fn a_picture_that_changes_its_size_is_refused() {
    let decoder = FfmpegDecoder::default();
    let path = fixture("hostile/changing-size.mp4");
    for decoder in [decoder, decoder.without_skipping()] {
        match decoder.decode(&path, &SIX, &MediaLimits::default()) {
            Err(MediaFailure::Clip(why)) => assert!(why.contains("64x48"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_mirrored_display_matrix_is_refused() {
    let mut file = bytes("clips/turned-180.mp4");
    let at = find(&file, b"tkhd") + 4 + 40;
    assert_eq!(file[at..at + 4], (-65536_i32).to_be_bytes());
    file[at..at + 4].copy_from_slice(&65536_i32.to_be_bytes());
    assert!(refused_bytes(&file, "mirrored.mp4").contains("display matrix"));
}

#[test]
fn limits_are_honoured() {
    let path = fixture("clips/h264-bframes.mp4");
    let limits = MediaLimits::default();
    assert!(both(&path, &limits).iter().all(Result::is_ok));
    let size = std::fs::metadata(&path).unwrap().len();
    for (tight, reason) in [
        (MediaLimits { max_frames: 124, ..limits.clone() }, "more than 124 frames"),
        (MediaLimits { max_bytes: size - 1, ..limits.clone() }, "above the limit"),
        (MediaLimits { max_pixels: 96 * 64 - 1, ..limits.clone() }, "above the limit"),
        (MediaLimits { max_duration_seconds: 4.9, ..limits.clone() }, "longer than the limit"),
        (MediaLimits { max_wall: Duration::ZERO, ..limits.clone() }, "not done within"),
        (MediaLimits { codecs: vec!["hevc".to_owned()], ..limits.clone() }, "codec h264"),
    ] {
        let why = refused(&path, &tight);
        assert!(why.contains(reason), "{why}");
    }
    let enough = MediaLimits { max_frames: 125, max_bytes: size, max_pixels: 96 * 64, ..limits };
    assert!(both(&path, &enough).iter().all(Result::is_ok));
}

#[test]
fn what_is_not_there_is_ours_and_what_is_no_file_is_the_clips() {
    let folder = tempfile::tempdir().unwrap();
    for result in both(&folder.path().join("absent.mp4"), &MediaLimits::default()) {
        assert!(matches!(result, Err(MediaFailure::Ours(_))), "{result:?}");
    }
    refused(folder.path(), &MediaLimits::default());
}

/// The file is judged in some way that does not break anything.
fn survives(file: &[u8], what: &str) -> bool {
    let (_folder, path) = written(file, "flipped.mp4");
    let answer = FfmpegDecoder::default().decode(&path, &SIX, &MediaLimits::default());
    match answer {
        Ok(DecodedClip { probe, frames, .. }) => {
            assert_eq!(frames.len(), 6, "{what}");
            for frame in frames {
                assert_eq!((frame.width, frame.height), (probe.width, probe.height), "{what}");
                assert_eq!(frame.rgb.len() as u64, u64::from(frame.width) * u64::from(frame.height) * 3);
                assert!(
                    u64::from(frame.width) * u64::from(frame.height) <= MediaLimits::default().max_pixels
                );
            }
            assert!(probe.duration_seconds <= MediaLimits::default().max_duration_seconds, "{what}");
            true
        }
        Err(MediaFailure::Clip(_)) => false,
        Err(MediaFailure::Ours(error)) => panic!("{what} is taken for our fault: {error}"),
    }
}

#[test]
fn flipped_bytes_never_break_anything() {
    let mut state = 2026_u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize
    };
    let (mut fine, mut refused) = (0, 0);
    for (name, rounds) in [
        ("hostile/small-faststart.mp4", 500),
        ("colour/yuv420p10le-bt709-limited.mp4", 100),
        ("clips/h264-main-16refs.mkv", 60),
        ("clips/hevc-10bit.mkv", 60),
        ("clips/vp9.webm", 60),
        ("clips/av1.mp4", 60),
    ] {
        let file = bytes(name);
        for round in 0..rounds {
            let mut flipped = file.clone();
            // Half of them in the first kilobyte and a half, where headers are.
            let within = if round % 2 == 0 { file.len().min(1500) } else { file.len() };
            for _ in 0..=random() % 8 {
                let at = random() % within;
                flipped[at] = random() as u8;
            }
            if survives(&flipped, &format!("{name}, round {round}")) { fine += 1 } else { refused += 1 }
        }
    }
    // Both happen, or the flips would not reach what they are meant to reach.
    assert!(fine > 20 && refused > 200, "{fine} fine, {refused} refused");
}

#[test]
fn a_sample_table_cannot_claim_gigabytes() {
    // The number of samples is set to 2^28 with a constant size, which FFmpeg would take four gigabytes for.
    let mut file = bytes("hostile/small-faststart.mp4");
    let at = find(&file, b"stsz") + 4;
    file[at + 4..at + 8].copy_from_slice(&1_u32.to_be_bytes());
    file[at + 8..at + 12].copy_from_slice(&(1_u32 << 28).to_be_bytes());
    let at = find(&file, b"stsc") + 4;
    file[at + 12..at + 16].copy_from_slice(&(1_u32 << 28).to_be_bytes());
    refused_bytes(&file, "claims.mp4");
}
