//! What an H.264 stream says of its chroma (ITU-T H.264, 7.3.2.1.1 and 7.4.2.1.1).
//!
//! A stream without colours has the same pixel format in FFmpeg as one with them: the processor fills the chroma with the even
//! value, and a device leaves there what it likes. Only the parameter sets tell the two apart.

/// Profiles whose parameter sets say what chroma there is; in all others it is 4:2:0.
const SAYING: [u8; 13] = [44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244];

/// Bytes of a parameter set that are looked at: its chroma stands in the first few.
const LOOKED_AT: usize = 24;

/// Whether every parameter set, of the header and of the packets, says that chroma is 4:2:0. One that cannot be read does
/// not say so.
pub(super) fn is_420<'a>(header: &[u8], packets: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let Some((length, sets)) = header_units(header) else { return false };
    // FFmpeg takes some packets with start codes behind a header with lengths, so both are looked for.
    let of_packets =
        packets.into_iter().flat_map(|packet| [units(packet, length), units(packet, None)]).flatten();
    sets.into_iter().chain(of_packets).filter(|unit| is_parameter_set(unit)).all(set_is_420)
}

fn is_parameter_set(unit: &[u8]) -> bool {
    unit.first().is_some_and(|first| first & 0x1f == 7)
}

/// Bytes of the lengths before units, where there are such, and the units of a header: that of an MP4 (`avcC`), else units
/// behind start codes.
fn header_units(header: &[u8]) -> Option<(Option<usize>, Vec<&[u8]>)> {
    let [1, _, _, _, length, count, rest @ ..] = header else {
        return Some((None, units(header, None)));
    };
    let mut rest = rest;
    let mut sets = Vec::new();
    for _ in 0..count & 31 {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (set, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        sets.push(set);
        rest = after;
    }
    Some((Some(usize::from(length & 3) + 1), sets))
}

/// The units of some data, with lengths of so many bytes or start codes before them. Behind a length that is too great
/// there is nothing that a decoder would read.
fn units(data: &[u8], length: Option<usize>) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut rest = data;
    match length {
        Some(bytes) => {
            while let Some((size, after)) = rest.split_at_checked(bytes) {
                let size = size.iter().fold(0, |size, byte| size << 8 | usize::from(*byte));
                let (unit, after) = after.split_at(size.min(after.len()));
                found.push(unit);
                rest = after;
            }
        }
        None => {
            while let Some(start) = rest.windows(3).position(|window| window == [0, 0, 1]) {
                rest = rest.get(start + 3..).unwrap_or_default();
                found.push(rest);
            }
        }
    }
    found
}

fn set_is_420(unit: &[u8]) -> bool {
    // A zero byte that is followed by another and by 3 has the 3 put in.
    let mut bytes: Vec<u8> = Vec::with_capacity(LOOKED_AT);
    for byte in unit.iter().take(LOOKED_AT) {
        if !(*byte == 3 && bytes.ends_with(&[0, 0])) {
            bytes.push(*byte);
        }
    }
    let [_, profile, _, _, rest @ ..] = bytes.as_slice() else { return false };
    if !SAYING.contains(profile) {
        return true;
    }
    let mut bits = rest.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let mut number = || {
        let zeros = bits.by_ref().position(|bit| bit == 1).filter(|zeros| *zeros < 32)?;
        let low = (0..zeros).try_fold(0_u64, |value, _| Some(value << 1 | u64::from(bits.next()?)))?;
        Some((1_u64 << zeros) - 1 + low)
    };
    number().and_then(|_set| number()) == Some(1)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::media::MediaLimits;
    use crate::media::demux::Demuxed;

    fn clip(name: &str) -> Demuxed {
        let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/media");
        Demuxed::read(&media.join(name), &MediaLimits::default()).unwrap()
    }

    #[test]
    fn colours_are_told_from_none() {
        for (name, expected) in [
            ("clips/h264-audio.mp4", true),
            ("clips/h264-main-16refs.mkv", true),
            ("clips/h264-bframes.mp4", true),
            ("colour/yuv420p-bt709-limited.mp4", true),
            ("colour/yuv420p10le-bt709-limited.mp4", true),
            ("colour/gray-bt709-limited.mp4", false),
        ] {
            assert_eq!(clip(name).is_420(), expected, "{name}");
        }
    }

    #[test]
    fn a_set_inside_of_a_packet_counts_and_so_does_one_that_is_cut_off() {
        // High profile, set 0, then chroma_format_idc 1 or 0: in ue(v) 1, 010 and 1, 1.
        let (with, without): (&[u8], &[u8]) =
            (&[0x67, 100, 0, 30, 0b1010_0000], &[0x67, 100, 0, 30, 0b1100_0000]);
        let prefixed = |unit: &[u8]| [&[0, 0, 0, 2, 9, 9], &[0, 0, 0, 5][..], unit].concat();
        let header = |set: &[u8]| [&[1, 100, 0, 30, 0xff, 0xe1, 0, 5][..], set].concat();
        assert!(is_420(&header(with), [&prefixed(with)[..]]));
        assert!(!is_420(&header(with), [&prefixed(without)[..]]));
        assert!(!is_420(&header(without), []));
        let started = [&[0, 0, 0, 1, 9, 9, 0, 0, 1][..], without].concat();
        assert!(!is_420(&[], [&started[..]]));
        assert!(!is_420(&started, []));
        // Baseline says nothing, and has colours.
        assert!(is_420(&header(&[0x67, 66, 0, 30, 0b1100_0000]), []));
        assert!(!is_420(&header(with)[..10], []));
        assert!(!is_420(&header(&[0x67, 100, 0, 30, 0]), []));
    }
}
