//! People.

use super::{DARK, Look, Shape};
use crate::synth::raster::Point;

pub(super) fn person(s: &mut Shape, look: &Look) {
    let &Look { c, shade, skin, hair, wave, individual, .. } = look;
    let step = wave * 0.03;
    s.legs(&[-0.07, 0.07], 0.42, 0.09, step, [58.0, 62.0, 84.0]);
    s.stroke((-0.13, 0.72), (-0.21, 0.42), 0.075, c);
    s.stroke((0.13, 0.72), (0.2 + 0.02 * wave, if individual & 8 == 0 { 0.44 } else { 0.9 }), 0.075, c);
    s.poly(&[(-0.13, 0.78), (0.13, 0.78), (0.17, 0.32), (-0.17, 0.32)], c);
    s.stroke((0.0, 0.34), (0.0, 0.76), 0.015, shade);
    s.oval(0.0, 0.89, 0.09, 0.105, skin);
    s.poly(&[(-0.095, 0.89), (-0.08, 0.99), (0.0, 1.02), (0.08, 0.99), (0.095, 0.89), (0.0, 0.95)], hair);
}

pub(super) fn dancer(s: &mut Shape, look: &Look) {
    let &Look { c, skin, hair, wave, .. } = look;
    let tilt = wave * 0.04;
    s.stroke((-0.04, 0.3), (-0.05, 0.0), 0.06, skin);
    s.stroke((0.05, 0.3), (0.22, 0.08 + tilt), 0.06, skin);
    s.stroke((-0.08, 0.72), (-0.3, 0.9 + tilt), 0.055, skin);
    s.stroke((0.08, 0.72), (0.3, 0.9 - tilt), 0.055, skin);
    s.poly(&[(-0.06, 0.52), (0.06, 0.52), (0.36, 0.24 + tilt), (0.0, 0.2), (-0.36, 0.24 - tilt)], c);
    s.poly(&[(-0.1, 0.77), (0.1, 0.77), (0.07, 0.48), (-0.07, 0.48)], c);
    s.oval(0.0, 0.87, 0.08, 0.09, skin);
    s.oval(0.0, 0.96, 0.085, 0.05, hair);
    s.oval(0.0, 1.02, 0.045, 0.04, hair);
}

pub(super) fn umbrella(s: &mut Shape, look: &Look) {
    let &Look { c, skin, wave, .. } = look;
    s.legs(&[-0.06, 0.06], 0.32, 0.08, wave * 0.02, DARK);
    s.poly(&[(-0.11, 0.55), (0.11, 0.55), (0.13, 0.24), (-0.13, 0.24)], [120.0, 124.0, 136.0]);
    s.stroke((0.09, 0.5), (0.16, 0.62), 0.06, [120.0, 124.0, 136.0]);
    s.oval(0.0, 0.64, 0.075, 0.085, skin);
    s.stroke((0.14, 0.56), (0.06, 1.0), 0.022, DARK);
    let mut dome: Vec<Point> = (0..=14)
        .map(|i| {
            let (sin, cos) = (i as f32 / 14.0 * std::f32::consts::PI).sin_cos();
            (0.04 + cos * 0.35, 0.73 + sin * 0.25)
        })
        .collect();
    dome.extend([(-0.2, 0.7), (-0.08, 0.75), (0.04, 0.7), (0.16, 0.75), (0.28, 0.7)]);
    s.add(dome, c);
}

pub(super) fn child(s: &mut Shape, look: &Look) {
    let &Look { c, light, skin, hair, wave, .. } = look;
    let drift = wave * 0.02;
    s.legs(&[-0.13, -0.03], 0.2, 0.07, wave * 0.02, [70.0, 74.0, 90.0]);
    s.poly(&[(-0.19, 0.4), (0.03, 0.4), (0.05, 0.16), (-0.21, 0.16)], [204.0, 206.0, 200.0]);
    s.stroke((0.0, 0.36), (0.13, 0.46), 0.05, skin);
    s.oval(-0.08, 0.5, 0.1, 0.105, skin);
    s.oval(-0.08, 0.575, 0.1, 0.05, hair);
    s.stroke((0.13, 0.44), (0.14 + drift, 0.66), 0.018, DARK);
    s.oval(0.14 + drift, 0.82, 0.16, 0.19, c);
    s.oval(0.09 + drift, 0.88, 0.04, 0.05, light);
}
