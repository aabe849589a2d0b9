//! What people travel in.

use super::{DARK, GLASS, Look, METAL, Shape, WOOD};
use crate::synth::raster::ellipse;

pub(super) fn car(s: &mut Shape, look: &Look) {
    let &Look { c, .. } = look;
    s.poly(&[(-0.6, 0.5), (-0.4, 0.98), (0.32, 0.98), (0.6, 0.5)], c);
    s.poly(&[(-0.48, 0.54), (-0.34, 0.88), (-0.06, 0.88), (-0.06, 0.54)], GLASS);
    s.poly(&[(0.02, 0.54), (0.02, 0.88), (0.27, 0.88), (0.46, 0.54)], GLASS);
    s.poly(&[(-1.06, 0.2), (-1.08, 0.45), (-0.98, 0.56), (0.86, 0.56), (1.06, 0.42), (1.08, 0.2)], c);
    s.block(0.96, 0.34, 1.07, 0.44, [255.0, 240.0, 150.0]);
    s.wheel(-0.62, 0.22);
    s.wheel(0.62, 0.22);
}

pub(super) fn bus(s: &mut Shape, look: &Look) {
    let &Look { c, light, .. } = look;
    s.block(-1.0, 0.13, 1.0, 1.0, c);
    for i in 0..5 {
        let x = -0.92 + i as f32 * 0.34;
        s.block(x, 0.55, x + 0.26, 0.86, GLASS);
    }
    s.block(0.78, 0.25, 0.94, 0.86, GLASS);
    s.block(-1.0, 0.36, 0.7, 0.42, light);
    s.wheel(-0.58, 0.17);
    s.wheel(0.5, 0.17);
}

pub(super) fn truck(s: &mut Shape, look: &Look) {
    let &Look { c, shade, .. } = look;
    s.block(-1.0, 0.26, 0.42, 1.0, c);
    s.block(-1.0, 0.18, 0.9, 0.28, DARK);
    for i in 0..4 {
        let x = -0.85 + i as f32 * 0.36;
        s.stroke((x, 0.3), (x, 0.97), 0.03, shade);
    }
    s.poly(&[(0.47, 0.2), (0.47, 0.8), (0.78, 0.8), (0.98, 0.48), (0.98, 0.2)], [226.0, 226.0, 228.0]);
    s.poly(&[(0.55, 0.5), (0.55, 0.72), (0.75, 0.72), (0.88, 0.5)], [90.0, 140.0, 170.0]);
    s.wheel(-0.7, 0.17);
    s.wheel(-0.3, 0.17);
    s.wheel(0.7, 0.17);
}

pub(super) fn train(s: &mut Shape, look: &Look) {
    let &Look { c, .. } = look;
    s.block(-1.5, 0.16, -0.08, 0.92, c);
    s.block(-1.5, 0.88, -0.08, 0.98, DARK);
    s.block(-0.1, 0.2, 0.06, 0.28, DARK);
    for i in 0..3 {
        let x = -1.4 + i as f32 * 0.44;
        s.block(x, 0.48, x + 0.32, 0.78, GLASS);
    }
    s.block(0.05, 0.16, 0.6, 1.0, c);
    s.block(0.14, 0.55, 0.46, 0.86, GLASS);
    s.block(0.55, 0.16, 1.42, 0.66, c);
    s.block(1.12, 0.6, 1.28, 0.98, DARK);
    s.block(0.0, 0.94, 0.66, 1.04, DARK);
    s.poly(&[(1.42, 0.3), (1.42, 0.08), (1.58, 0.08)], DARK);
    s.oval(1.42, 0.48, 0.08, 0.1, [255.0, 240.0, 150.0]);
    for x in [-1.25, -0.95, -0.55, -0.28, 0.25, 0.66, 1.06] {
        s.wheel(x, 0.15);
    }
}

pub(super) fn sailboat(s: &mut Shape, look: &Look) {
    let &Look { c, light, wave, .. } = look;
    let tilt = wave * 0.02;
    s.stroke((0.0, 0.15), (tilt, 1.0), 0.035, WOOD);
    s.poly(&[(0.04, 0.28), (0.04 + tilt, 0.98), (0.44, 0.28)], c);
    s.poly(&[(-0.04, 0.28), (-0.04 + tilt, 0.88), (-0.36, 0.28)], light);
    s.poly(&[(-0.46, 0.22), (0.5, 0.22), (0.34, 0.0), (-0.32, 0.0)], c);
    s.block(-0.45, 0.2, 0.48, 0.24, WOOD);
}

pub(super) fn plane(s: &mut Shape, look: &Look) {
    let &Look { c, shade, .. } = look;
    s.poly(&[(-0.78, 0.5), (-1.05, 0.98), (-0.82, 0.98), (-0.5, 0.58)], c);
    s.poly(&[(0.1, 0.55), (-0.2, 0.86), (-0.04, 0.86), (0.36, 0.58)], shade);
    s.add(
        vec![
            (-1.0, 0.52),
            (-0.8, 0.62),
            (0.7, 0.66),
            (0.98, 0.56),
            (1.08, 0.45),
            (0.9, 0.36),
            (0.6, 0.32),
            (-0.6, 0.36),
        ],
        c,
    );
    for i in 0..6 {
        s.oval(-0.5 + i as f32 * 0.2, 0.53, 0.045, 0.05, GLASS);
    }
    s.poly(&[(0.74, 0.52), (0.8, 0.62), (0.98, 0.52)], GLASS);
    s.poly(&[(0.2, 0.42), (-0.42, 0.02), (-0.2, 0.02), (0.44, 0.42)], shade);
}

pub(super) fn balloon(s: &mut Shape, look: &Look) {
    let &Look { c, light, .. } = look;
    s.stroke((-0.14, 0.36), (-0.08, 0.16), 0.016, DARK);
    s.stroke((0.14, 0.36), (0.08, 0.16), 0.016, DARK);
    s.poly(&[(-0.33, 0.58), (0.33, 0.58), (0.12, 0.3), (-0.12, 0.3)], c);
    s.oval(0.0, 0.66, 0.355, 0.34, c);
    s.add(ellipse(0.0, 0.65, 0.13, 0.335), light);
    s.block(-0.1, 0.0, 0.1, 0.16, WOOD);
}

pub(super) fn helicopter(s: &mut Shape, look: &Look) {
    let &Look { c, shade, beat, .. } = look;
    s.poly(&[(-0.2, 0.62), (-0.95, 0.66), (-0.95, 0.56), (-0.2, 0.4)], c);
    s.poly(&[(-0.86, 0.56), (-0.96, 0.86), (-1.0, 0.86), (-0.98, 0.56)], shade);
    s.stroke((-0.3, 0.05), (0.55, 0.05), 0.05, DARK);
    s.stroke((-0.1, 0.05), (-0.05, 0.3), 0.04, DARK);
    s.stroke((0.35, 0.05), (0.3, 0.3), 0.04, DARK);
    s.oval(0.15, 0.48, 0.46, 0.29, c);
    s.poly(&[(0.22, 0.5), (0.24, 0.7), (0.44, 0.68), (0.57, 0.5)], GLASS);
    s.stroke((0.1, 0.72), (0.1, 0.9), 0.05, DARK);
    let reach = 0.45 + 0.4 * (beat * 4.0).sin().abs();
    s.stroke((0.1 - reach, 0.91), (0.1 + reach, 0.91), 0.045, DARK);
}

pub(super) fn bicycle(s: &mut Shape, look: &Look) {
    let &Look { c, beat, .. } = look;
    for x in [-0.46, 0.46] {
        s.ring(x, 0.32, 0.32, 0.25, DARK);
        for k in 0..3 {
            let (sin, cos) = (-beat + k as f32 * 1.047).sin_cos();
            s.stroke((x - cos * 0.25, 0.32 - sin * 0.25), (x + cos * 0.25, 0.32 + sin * 0.25), 0.016, METAL);
        }
    }
    for (a, b) in [
        ((-0.46, 0.32), (-0.2, 0.74)),
        ((-0.46, 0.32), (0.0, 0.32)),
        ((0.0, 0.32), (-0.22, 0.8)),
        ((0.0, 0.32), (0.32, 0.74)),
        ((-0.2, 0.72), (0.32, 0.74)),
        ((0.46, 0.32), (0.3, 0.9)),
    ] {
        s.stroke(a, b, 0.1, c);
    }
    s.block(-0.36, 0.8, -0.08, 0.88, DARK);
    s.stroke((0.18, 0.95), (0.38, 0.9), 0.06, DARK);
}
