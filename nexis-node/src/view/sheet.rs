//! A contact sheet: frames side by side with a few lines of text under each.

use std::io::Cursor;

use anyhow::{Context as _, Result};
use image::imageops::FilterType;
use image::{ImageFormat, Rgb, RgbImage};
use nexis_core::media::Frame;

use super::font;
use super::text::printable;

const BACKGROUND: Rgb<u8> = Rgb([24, 26, 30]);
const INK: Rgb<u8> = Rgb([236, 238, 240]);
const MISSING: Rgb<u8> = Rgb([58, 62, 70]);

/// Widest cell and most columns, so that settings cannot ask for an absurd picture.
const MAX_CELL_WIDTH: u32 = 2048;
const MAX_COLUMNS: usize = 16;
/// Most cells on one sheet; the rest is left out.
const MAX_CELLS: usize = 256;

/// How a contact sheet is laid out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SheetOptions {
    /// Cells side by side.
    pub(crate) columns: usize,
    /// Width of a picture in pixels.
    pub(crate) cell_width: u32,
    /// Pixels per dot of the lettering.
    pub(crate) scale: u32,
    /// Lines above the pictures.
    pub(crate) title: Vec<String>,
}

impl Default for SheetOptions {
    fn default() -> Self {
        Self { columns: 3, cell_width: 480, scale: 2, title: Vec::new() }
    }
}

/// Draws frames in reading order, each with its time and, where there are any, its labels below.
///
/// Lines longer than their cell are cut; what is not ASCII shows as `?`. A frame whose bytes do not
/// match its size shows as an empty cell. At most 256 frames are drawn.
pub(crate) fn contact_sheet(frames: &[Frame], labels: &[Vec<String>], options: &SheetOptions) -> RgbImage {
    let cell_width = options.cell_width.clamp(32, MAX_CELL_WIDTH);
    let scale = options.scale.clamp(1, 8);
    let gap = 4 * scale;
    let line_height = (font::HEIGHT as u32 + 3) * scale;
    let columns = options.columns.clamp(1, MAX_COLUMNS).min(frames.len().max(1));

    let cells: Vec<(Option<RgbImage>, Vec<String>)> = frames
        .iter()
        .take(MAX_CELLS)
        .enumerate()
        .map(|(index, frame)| {
            let mut lines = vec![format!("#{} {:.2} s", index + 1, frame.pts_seconds)];
            lines.extend(labels.get(index).into_iter().flatten().take(64).cloned());
            (scaled(frame, cell_width), lines)
        })
        .collect();
    let picture_height = cells.iter().filter_map(|(picture, _)| Some(picture.as_ref()?.height())).max();
    let picture_height = picture_height.unwrap_or(cell_width * 9 / 16);
    let most_lines = cells.iter().map(|(_, lines)| lines.len()).max().unwrap_or(0);
    let cell_height = picture_height + gap + most_lines as u32 * line_height;

    let rows = cells.len().div_ceil(columns);
    let title: Vec<&String> = options.title.iter().take(64).collect();
    let title_height = if title.is_empty() { 0 } else { title.len() as u32 * line_height + gap };
    let width = columns as u32 * (cell_width + gap) + gap;
    let height = (gap + title_height + rows as u32 * (cell_height + gap)).max(gap * 2);
    let mut sheet = RgbImage::from_pixel(width, height, BACKGROUND);

    for (index, line) in title.into_iter().enumerate() {
        draw_text(&mut sheet, line, gap, gap + index as u32 * line_height, width - 2 * gap, scale);
    }
    for (index, (picture, lines)) in cells.iter().enumerate() {
        let x = gap + (index % columns) as u32 * (cell_width + gap);
        let y = gap + title_height + (index / columns) as u32 * (cell_height + gap);
        match picture {
            Some(picture) => {
                let left = x + cell_width.saturating_sub(picture.width()) / 2;
                image::imageops::replace(&mut sheet, picture, left.into(), y.into());
            }
            None => fill(&mut sheet, x, y, cell_width, picture_height, MISSING),
        }
        for (number, line) in lines.iter().enumerate() {
            let top = y + picture_height + gap + number as u32 * line_height;
            draw_text(&mut sheet, line, x, top, cell_width, scale);
        }
    }
    sheet
}

/// Encodes a picture as PNG.
///
/// # Errors
/// Where the encoder fails, which it has no reason to.
pub(crate) fn png(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).context("encoding a PNG")?;
    Ok(bytes.into_inner())
}

/// A frame as a picture; absent where its bytes do not match its size.
fn picture(frame: &Frame) -> Option<RgbImage> {
    if frame.width == 0 || frame.height == 0 {
        return None;
    }
    RgbImage::from_raw(frame.width, frame.height, frame.rgb.to_vec()).filter(|picture| {
        picture.as_raw().len() as u64 == u64::from(frame.width) * u64::from(frame.height) * 3
    })
}

/// A frame resized to a width, its shape kept but no higher than twice the width.
pub(crate) fn scaled(frame: &Frame, width: u32) -> Option<RgbImage> {
    let picture = picture(frame)?;
    let height_at = |width: u32| u64::from(width) * u64::from(frame.height) / u64::from(frame.width);
    let limit = u64::from(width) * 2;
    let (width, height) = if height_at(width) <= limit {
        (width, height_at(width))
    } else {
        ((limit * u64::from(frame.width) / u64::from(frame.height)) as u32, limit)
    };
    Some(image::imageops::resize(&picture, width.max(1), (height as u32).max(1), FilterType::Lanczos3))
}

fn fill(sheet: &mut RgbImage, left: u32, top: u32, width: u32, height: u32, colour: Rgb<u8>) {
    for y in top..top.saturating_add(height).min(sheet.height()) {
        for x in left..left.saturating_add(width).min(sheet.width()) {
            sheet.put_pixel(x, y, colour);
        }
    }
}

/// Draws one line of text, cut with three dots where it is longer than `width` pixels.
fn draw_text(sheet: &mut RgbImage, text: &str, left: u32, top: u32, width: u32, scale: u32) {
    let advance = font::ADVANCE as u32 * scale;
    let room = (width / advance) as usize;
    let text = printable(text);
    let long = text.chars().count() > room;
    let shown: String = if long {
        text.chars().take(room.saturating_sub(3)).chain("...".chars()).take(room).collect()
    } else {
        text
    };
    for (index, character) in shown.chars().enumerate() {
        for y in 0..font::HEIGHT {
            for x in (0..font::ADVANCE).filter(|&x| font::dot(character, x, y)) {
                let x = left + index as u32 * advance + x as u32 * scale;
                fill(sheet, x, top + y as u32 * scale, scale, scale, INK);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(width: u32, height: u32, colour: [u8; 3]) -> Frame {
        let rgb = colour.repeat((width * height) as usize);
        Frame { width, height, pts_seconds: 1.25, rgb: rgb.into() }
    }

    fn options() -> SheetOptions {
        SheetOptions { columns: 2, cell_width: 160, scale: 1, title: vec!["a title".into()] }
    }

    fn ink(sheet: &RgbImage) -> usize {
        sheet.pixels().filter(|&&pixel| pixel == INK).count()
    }

    #[test]
    fn every_frame_is_on_the_sheet_in_reading_order() {
        let colours = [[200, 0, 0], [0, 200, 0], [0, 0, 200]];
        let frames = colours.map(|colour| plain(64, 36, colour));
        let sheet = contact_sheet(&frames, &[], &options());
        let centre = |colour: [u8; 3]| {
            let found: Vec<_> = sheet.enumerate_pixels().filter(|(_, _, p)| p.0 == colour).collect();
            assert_eq!(found.len(), 160 * 90);
            (found[0].0, found[0].1)
        };
        let [red, green, blue] = colours.map(centre);
        assert!(red.0 < green.0 && red.1 == green.1);
        assert!(blue.0 == red.0 && blue.1 > red.1);
    }

    #[test]
    fn labels_are_drawn_and_never_run_into_the_next_cell() {
        let frames = [plain(64, 36, [9, 9, 9]), plain(64, 36, [9, 9, 9])];
        let without = contact_sheet(&frames, &[], &options());
        let labels = [vec!["0.91 nature".to_owned()], vec![]];
        let with = contact_sheet(&frames, &labels, &options());
        assert!(ink(&with) > ink(&without));
        let long = [vec!["W".repeat(500), "\u{202e}\u{1b}[31m".into()], vec![]];
        let sheet = contact_sheet(&frames, &long, &options());
        let in_gap =
            sheet.enumerate_pixels().filter(|&(x, y, p)| (164..168).contains(&x) && y > 30 && *p == INK);
        assert_eq!(in_gap.count(), 0);
    }

    #[test]
    fn a_broken_frame_and_an_empty_list_are_drawn_as_such() {
        let broken = Frame { width: 64, height: 36, pts_seconds: 0.0, rgb: vec![1, 2, 3].into() };
        let sheet = contact_sheet(&[broken], &[], &options());
        assert_eq!(sheet.pixels().filter(|&&p| p == MISSING).count(), 160 * 90);
        assert!(ink(&contact_sheet(&[], &[], &options())) > 0, "the title stands");
        let tall = contact_sheet(&[plain(1, 4000, [5, 5, 5])], &[], &options());
        assert!(tall.height() < 160 * 2 + 100);
    }

    #[test]
    fn the_png_holds_the_same_pixels() {
        let sheet = contact_sheet(&[plain(64, 36, [1, 2, 3])], &[], &options());
        let read = image::load_from_memory(&png(&sheet).unwrap()).unwrap().to_rgb8();
        assert_eq!(read, sheet);
    }
}
