//! Plants, rocks and mushrooms.

use super::{Look, STEM, Shape, WOOD};
use crate::synth::raster::Point;
use crate::synth::vocabulary::Colour;

pub(super) fn tree(s: &mut Shape, look: &Look) {
    let &Look { c, light, shade, wave, .. } = look;
    let sway = wave * 0.012;
    s.poly(&[(-0.09, 0.0), (0.09, 0.0), (0.05, 0.5), (-0.05, 0.5)], WOOD);
    s.oval(-0.2 + sway, 0.52, 0.2, 0.17, shade);
    s.oval(0.2 + sway, 0.52, 0.2, 0.17, shade);
    s.oval(sway, 0.7, 0.31, 0.29, c);
    s.oval(-0.08 + sway, 0.78, 0.12, 0.1, light);
}

pub(super) fn pine(s: &mut Shape, look: &Look) {
    let &Look { c, shade, wave, .. } = look;
    s.block(-0.06, 0.0, 0.06, 0.2, WOOD);
    let sway = wave * 0.01;
    for (y, w, h) in [(0.14, 0.31, 0.4), (0.37, 0.25, 0.36), (0.6, 0.18, 0.4)] {
        s.poly(&[(-w, y), (w, y), (sway, y + h)], if y < 0.2 { shade } else { c });
    }
}

pub(super) fn palm(s: &mut Shape, look: &Look) {
    let &Look { c, wave, .. } = look;
    s.poly(&[(-0.12, 0.0), (0.02, 0.0), (0.06, 0.4), (0.04, 0.75), (-0.03, 0.75), (-0.03, 0.4)], WOOD);
    let sway = wave * 0.05;
    for (angle, dx, dy) in [
        (2.7, -0.22, 0.02),
        (0.45, 0.22, 0.02),
        (2.2, -0.15, 0.15),
        (0.95, 0.15, 0.15),
        (3.6, -0.2, -0.12),
        (-0.45, 0.2, -0.12),
    ] {
        s.turned(dx, 0.76 + dy, 0.26, 0.06, angle + sway, c);
    }
    s.oval(0.0, 0.75, 0.06, 0.05, WOOD);
}

pub(super) fn flower(s: &mut Shape, look: &Look) {
    let &Look { colour, c, wave, .. } = look;
    let sway = wave * 0.02;
    s.stroke((0.0, 0.0), (sway, 0.66), 0.06, STEM);
    s.turned(-0.13, 0.24, 0.15, 0.06, 2.6, STEM);
    s.turned(0.13, 0.3, 0.15, 0.06, 0.5, STEM);
    for i in 0..6 {
        let (sin, cos) = (i as f32 * std::f32::consts::FRAC_PI_3 + 0.3).sin_cos();
        s.oval(sway + cos * 0.16, 0.72 + sin * 0.16, 0.125, 0.125, c);
    }
    let heart = if matches!(colour, Colour::Yellow | Colour::Orange | Colour::White) {
        WOOD
    } else {
        Colour::Yellow.rgb()
    };
    s.oval(sway, 0.72, 0.1, 0.1, heart);
}

pub(super) fn rock(s: &mut Shape, look: &Look) {
    let &Look { c, light, shade, individual, .. } = look;
    let k = (individual % 5) as f32 * 0.05;
    s.poly(
        &[
            (-0.8, 0.0),
            (-0.72, 0.42),
            (-0.4, 0.75 + k),
            (-0.05, 1.0),
            (0.35, 0.85 - k),
            (0.68, 0.5),
            (0.8, 0.0),
        ],
        c,
    );
    s.poly(&[(-0.4, 0.75 + k), (-0.05, 1.0), (0.35, 0.85 - k), (0.05, 0.62)], light);
    s.poly(&[(0.05, 0.62), (0.35, 0.85 - k), (0.68, 0.5), (0.8, 0.0), (0.2, 0.0)], shade);
}

pub(super) fn cactus(s: &mut Shape, look: &Look) {
    let &Look { c, light, shade, .. } = look;
    s.stroke((0.0, 0.0), (0.0, 0.9), 0.22, c);
    s.oval(0.0, 0.89, 0.11, 0.11, c);
    s.stroke((-0.28, 0.42), (0.0, 0.42), 0.13, c);
    s.stroke((-0.27, 0.37), (-0.27, 0.7), 0.13, c);
    s.oval(-0.27, 0.7, 0.065, 0.065, c);
    s.stroke((0.28, 0.3), (0.0, 0.3), 0.13, c);
    s.stroke((0.27, 0.25), (0.27, 0.56), 0.13, c);
    s.oval(0.27, 0.56, 0.065, 0.065, c);
    s.stroke((-0.03, 0.05), (-0.03, 0.88), 0.02, light);
    s.stroke((0.04, 0.05), (0.04, 0.88), 0.02, shade);
}

pub(super) fn mushroom(s: &mut Shape, look: &Look) {
    let &Look { colour, c, shade, .. } = look;
    s.poly(&[(-0.14, 0.0), (0.14, 0.0), (0.1, 0.55), (-0.1, 0.55)], [240.0, 228.0, 204.0]);
    let mut cap: Vec<Point> = (0..=16)
        .map(|i| {
            let (sin, cos) = (i as f32 / 16.0 * std::f32::consts::PI).sin_cos();
            (cos * 0.46, 0.45 + sin * 0.52)
        })
        .collect();
    cap.push((0.0, 0.4));
    s.add(cap, c);
    let dot = if colour == Colour::White { shade } else { [250.0, 246.0, 238.0] };
    s.oval(-0.2, 0.68, 0.07, 0.06, dot);
    s.oval(0.06, 0.82, 0.08, 0.06, dot);
    s.oval(0.24, 0.6, 0.06, 0.06, dot);
}
