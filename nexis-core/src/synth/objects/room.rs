//! Furniture and what stands on it.

use super::{DARK, Look, STEM, Shape, WOOD};
use crate::synth::raster::mix_rgb;
use crate::synth::vocabulary::Colour;

pub(super) fn sofa(s: &mut Shape, look: &Look) {
    let &Look { c, shade, .. } = look;
    s.block(-0.85, 0.0, -0.75, 0.14, WOOD);
    s.block(0.75, 0.0, 0.85, 0.14, WOOD);
    s.poly(&[(-0.8, 0.3), (-0.78, 0.96), (-0.7, 1.0), (0.7, 1.0), (0.78, 0.96), (0.8, 0.3)], shade);
    s.block(-0.74, 0.3, -0.02, 0.58, c);
    s.block(0.02, 0.3, 0.74, 0.58, c);
    s.block(-0.9, 0.1, 0.9, 0.34, c);
    s.poly(&[(-1.0, 0.1), (-1.0, 0.6), (-0.92, 0.7), (-0.8, 0.7), (-0.74, 0.6), (-0.74, 0.1)], c);
    s.poly(&[(1.0, 0.1), (1.0, 0.6), (0.92, 0.7), (0.8, 0.7), (0.74, 0.6), (0.74, 0.1)], c);
}

pub(super) fn table(s: &mut Shape, look: &Look) {
    let &Look { c, shade, .. } = look;
    s.block(-0.68, 0.0, -0.54, 0.85, shade);
    s.block(0.54, 0.0, 0.68, 0.85, shade);
    s.block(-0.36, 0.12, -0.28, 0.85, shade);
    s.block(0.28, 0.12, 0.36, 0.85, shade);
    s.block(-0.8, 0.8, 0.8, 1.0, c);
}

pub(super) fn floor_lamp(s: &mut Shape, look: &Look) {
    let &Look { c, .. } = look;
    s.oval(0.0, 0.03, 0.18, 0.035, DARK);
    s.stroke((0.0, 0.03), (0.0, 0.75), 0.04, DARK);
    s.poly(&[(-0.24, 0.66), (0.24, 0.66), (0.14, 1.0), (-0.14, 1.0)], c);
    s.block(-0.23, 0.66, 0.23, 0.69, [255.0, 240.0, 170.0]);
}

pub(super) fn chair(s: &mut Shape, look: &Look) {
    let &Look { c, shade, .. } = look;
    s.block(-0.27, 0.0, -0.19, 1.0, c);
    s.block(0.2, 0.0, 0.28, 0.5, c);
    s.block(-0.1, 0.08, -0.03, 0.45, shade);
    s.block(0.08, 0.08, 0.14, 0.45, shade);
    s.block(-0.28, 0.42, 0.3, 0.54, c);
    s.poly(&[(-0.28, 0.62), (-0.12, 0.62), (-0.12, 1.0), (-0.28, 1.0)], c);
}

pub(super) fn bed(s: &mut Shape, look: &Look) {
    let &Look { c, .. } = look;
    s.block(-0.92, 0.0, -0.84, 1.0, WOOD);
    s.block(0.84, 0.0, 0.92, 0.6, WOOD);
    s.block(-0.86, 0.18, 0.86, 0.42, [236.0, 232.0, 224.0]);
    s.add(vec![(-0.4, 0.18), (-0.42, 0.58), (-0.34, 0.64), (0.78, 0.6), (0.86, 0.5), (0.86, 0.18)], c);
    s.oval(-0.62, 0.56, 0.2, 0.12, [250.0, 250.0, 250.0]);
}

pub(super) fn plant(s: &mut Shape, look: &Look) {
    let &Look { c, wave, .. } = look;
    for (angle, len) in [(1.57f32, 0.3), (0.95, 0.28), (2.2, 0.28), (0.4, 0.24), (2.75, 0.24)] {
        let a = angle + wave * 0.03;
        let (sin, cos) = a.sin_cos();
        s.turned(cos * len * 0.9, 0.45 + sin * len, len, 0.075, a, STEM);
    }
    s.poly(&[(-0.25, 0.44), (0.25, 0.44), (0.17, 0.0), (-0.17, 0.0)], c);
    s.block(-0.28, 0.38, 0.28, 0.48, c);
}

pub(super) fn bookcase(s: &mut Shape, look: &Look) {
    let &Look { c, shade, individual, .. } = look;
    s.block(-0.36, 0.0, 0.36, 1.0, c);
    for row in 0..3 {
        let y = 0.07 + row as f32 * 0.31;
        s.block(-0.3, y, 0.3, y + 0.25, mix_rgb(shade, [30.0, 26.0, 24.0], 0.5));
        for book in 0..6u64 {
            let x = -0.28 + book as f32 * 0.09;
            let hue = Colour::ALL
                .get(((individual / 7 + book * 3 + row as u64 * 5) % 8) as usize)
                .copied()
                .unwrap_or(Colour::White);
            s.block(
                x,
                y,
                x + 0.07,
                y + 0.16 + ((book * 7 + row as u64) % 3) as f32 * 0.025,
                mix_rgb(hue.rgb(), [140.0, 140.0, 140.0], 0.4),
            );
        }
    }
}
