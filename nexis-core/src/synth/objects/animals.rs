//! Animals.

use super::{DARK, Look, METAL, Shape};
use crate::synth::vocabulary::Colour;

pub(super) fn horse(s: &mut Shape, look: &Look) {
    let &Look { colour, c, shade, wave, .. } = look;
    s.legs(&[-0.34, -0.22, 0.22, 0.34], 0.45, 0.085, wave * 0.05, shade);
    s.poly(&[(-0.42, 0.6), (-0.6, 0.5), (-0.58, 0.2), (-0.5, 0.25), (-0.45, 0.5)], shade);
    s.oval(0.0, 0.53, 0.44, 0.17, c);
    s.poly(&[(0.2, 0.58), (0.4, 0.45), (0.56, 0.85), (0.42, 0.97)], c);
    s.turned(0.56, 0.86, 0.15, 0.075, -0.5, c);
    s.poly(&[(0.42, 0.9), (0.44, 1.03), (0.5, 0.93)], c);
    let mane = if colour == Colour::Black { METAL } else { DARK };
    s.poly(&[(0.18, 0.66), (0.26, 0.62), (0.46, 0.94), (0.38, 0.99)], mane);
    s.oval(0.55, 0.89, 0.018, 0.018, mane);
}

pub(super) fn cow(s: &mut Shape, look: &Look) {
    let &Look { colour, c, shade, wave, .. } = look;
    s.legs(&[-0.4, -0.28, 0.24, 0.36], 0.4, 0.1, wave * 0.03, shade);
    s.add(
        vec![(-0.5, 0.36), (-0.53, 0.72), (-0.46, 0.8), (0.4, 0.8), (0.46, 0.7), (0.42, 0.36), (0.0, 0.3)],
        c,
    );
    s.stroke((-0.51, 0.74), (-0.6, 0.32), 0.04, shade);
    let patch = if matches!(colour, Colour::White) { DARK } else { [244.0, 242.0, 236.0] };
    s.oval(-0.22, 0.62, 0.15, 0.11, patch);
    s.oval(0.16, 0.52, 0.11, 0.09, patch);
    s.oval(-0.12, 0.33, 0.09, 0.06, [242.0, 168.0, 172.0]);
    s.poly(&[(0.38, 0.86), (0.62, 0.86), (0.66, 0.6), (0.56, 0.5), (0.42, 0.56)], c);
    s.oval(0.58, 0.57, 0.1, 0.07, [242.0, 178.0, 178.0]);
    s.stroke((0.42, 0.85), (0.36, 1.0), 0.05, [230.0, 220.0, 190.0]);
    s.stroke((0.58, 0.85), (0.66, 1.0), 0.05, [230.0, 220.0, 190.0]);
    s.eye(0.53, 0.74, 0.03);
}

pub(super) fn sheep(s: &mut Shape, look: &Look) {
    let &Look { colour, c, wave, .. } = look;
    let face = if colour == Colour::Black { METAL } else { DARK };
    s.legs(&[-0.3, -0.18, 0.16, 0.28], 0.35, 0.08, wave * 0.03, face);
    for (x, y, r) in [
        (-0.38, 0.55, 0.18),
        (-0.2, 0.72, 0.2),
        (0.04, 0.76, 0.2),
        (0.26, 0.68, 0.19),
        (0.3, 0.46, 0.17),
        (-0.26, 0.42, 0.18),
        (0.02, 0.4, 0.19),
    ] {
        s.oval(x, y, r, r, c);
    }
    s.oval(0.0, 0.57, 0.3, 0.2, c);
    s.turned(0.47, 0.66, 0.13, 0.17, 0.3, face);
    s.turned(0.36, 0.78, 0.08, 0.04, -0.4, face);
    s.eye(0.5, 0.7, 0.03);
}

pub(super) fn dog(s: &mut Shape, look: &Look) {
    let &Look { c, light, shade, wave, .. } = look;
    s.legs(&[-0.3, -0.2, 0.16, 0.26], 0.4, 0.09, wave * 0.05, c);
    s.turned(-0.46, 0.66, 0.18, 0.045, 2.2 + wave * 0.25, c);
    s.turned(-0.02, 0.46, 0.36, 0.16, 0.06, c);
    s.poly(&[(0.14, 0.5), (0.32, 0.42), (0.44, 0.7), (0.26, 0.78)], c);
    s.oval(0.36, 0.8, 0.16, 0.15, c);
    s.oval(0.5, 0.74, 0.12, 0.08, light);
    s.oval(0.6, 0.77, 0.035, 0.03, DARK);
    s.turned(0.24, 0.74, 0.06, 0.15, 0.15, shade);
    s.eye(0.42, 0.84, 0.03);
    s.stroke((0.2, 0.6), (0.36, 0.54), 0.05, [210.0, 40.0, 40.0]);
}

pub(super) fn cat(s: &mut Shape, look: &Look) {
    let &Look { colour, c, light, wave, .. } = look;
    s.turned(-0.3, 0.2, 0.06, 0.22, 0.6 + wave * 0.12, c);
    s.oval(0.0, 0.27, 0.25, 0.28, c);
    s.oval(-0.09, 0.04, 0.09, 0.05, light);
    s.oval(0.09, 0.04, 0.09, 0.05, light);
    s.poly(&[(-0.23, 0.72), (-0.24, 1.0), (-0.04, 0.86)], c);
    s.poly(&[(0.23, 0.72), (0.24, 1.0), (0.04, 0.86)], c);
    s.oval(0.0, 0.69, 0.25, 0.21, c);
    s.oval(-0.1, 0.72, 0.045, 0.05, [180.0, 220.0, 90.0]);
    s.oval(0.1, 0.72, 0.045, 0.05, [180.0, 220.0, 90.0]);
    s.oval(-0.1, 0.72, 0.018, 0.045, DARK);
    s.oval(0.1, 0.72, 0.018, 0.045, DARK);
    s.oval(0.0, 0.62, 0.03, 0.02, [240.0, 150.0, 160.0]);
    for side in [-1.0, 1.0] {
        let w = if colour == Colour::White { METAL } else { [250.0, 250.0, 250.0] };
        s.stroke((side * 0.08, 0.61), (side * 0.34, 0.64), 0.014, w);
    }
}

pub(super) fn rabbit(s: &mut Shape, look: &Look) {
    let &Look { c, light, wave, .. } = look;
    s.oval(-0.26, 0.16, 0.09, 0.09, [250.0, 250.0, 250.0]);
    s.oval(0.0, 0.24, 0.26, 0.24, c);
    s.turned(-0.07, 0.82, 0.065, 0.21, 0.15 + wave * 0.05, c);
    s.turned(0.13, 0.82, 0.065, 0.21, -0.15 + wave * 0.05, c);
    s.turned(-0.07, 0.82, 0.03, 0.15, 0.15 + wave * 0.05, [246.0, 178.0, 184.0]);
    s.turned(0.13, 0.82, 0.03, 0.15, -0.15 + wave * 0.05, [246.0, 178.0, 184.0]);
    s.oval(0.04, 0.55, 0.19, 0.17, c);
    s.eye(0.1, 0.59, 0.035);
    s.oval(0.2, 0.52, 0.03, 0.025, [240.0, 130.0, 150.0]);
    s.oval(0.12, 0.04, 0.12, 0.05, light);
}

pub(super) fn bird(s: &mut Shape, look: &Look) {
    let &Look { c, shade, wave, .. } = look;
    s.poly(&[(-0.3, 0.42), (-0.66, 0.54), (-0.62, 0.4), (-0.66, 0.28)], shade);
    s.turned(0.0, 0.42, 0.38, 0.17, 0.1, c);
    s.oval(0.36, 0.54, 0.15, 0.14, c);
    s.poly(&[(0.48, 0.6), (0.66, 0.52), (0.48, 0.48)], [246.0, 160.0, 30.0]);
    s.poly(&[(0.16, 0.48), (-0.2, 0.48), (-0.3, 0.55 + 0.45 * wave), (-0.12, 0.6 + 0.42 * wave)], shade);
    s.eye(0.4, 0.58, 0.035);
}

pub(super) fn duck(s: &mut Shape, look: &Look) {
    let &Look { colour, c, shade, .. } = look;
    s.poly(&[(-0.4, 0.3), (-0.6, 0.52), (-0.3, 0.48)], c);
    s.oval(-0.04, 0.27, 0.46, 0.27, c);
    s.turned(-0.08, 0.3, 0.24, 0.13, 0.15, shade);
    s.poly(&[(0.12, 0.36), (0.4, 0.32), (0.42, 0.75), (0.2, 0.75)], c);
    s.oval(0.32, 0.78, 0.18, 0.18, c);
    let beak = if colour == Colour::Yellow { [232.0, 96.0, 20.0] } else { [248.0, 170.0, 30.0] };
    s.poly(&[(0.46, 0.82), (0.68, 0.74), (0.46, 0.68)], beak);
    s.eye(0.38, 0.84, 0.035);
}

pub(super) fn fish(s: &mut Shape, look: &Look) {
    let &Look { c, light, shade, wave, .. } = look;
    let flick = wave * 0.1;
    s.poly(&[(-0.4, 0.5), (-0.82, 0.82 + flick), (-0.7, 0.5 + flick), (-0.82, 0.18 + flick)], shade);
    s.poly(&[(-0.2, 0.76), (0.1, 1.0), (0.26, 0.74)], shade);
    s.oval(0.08, 0.5, 0.58, 0.34, c);
    s.poly(&[(-0.02, 0.45), (-0.22, 0.25 + flick), (0.14, 0.34)], shade);
    s.stroke((0.3, 0.3), (0.3, 0.7), 0.03, light);
    s.stroke((0.0, 0.2), (0.0, 0.8), 0.05, light);
    s.eye(0.46, 0.57, 0.06);
}

pub(super) fn butterfly(s: &mut Shape, look: &Look) {
    let &Look { c, light, shade, wave, .. } = look;
    let open = 0.72 + 0.28 * wave;
    for side in [-1.0f32, 1.0] {
        s.turned(side * 0.3 * open, 0.68, 0.3 * open, 0.25, side * 0.5, c);
        s.turned(side * 0.23 * open, 0.26, 0.22 * open, 0.2, side * -0.5, c);
        s.oval(side * 0.34 * open, 0.7, 0.1 * open, 0.09, light);
        s.oval(side * 0.24 * open, 0.26, 0.07 * open, 0.07, shade);
        s.stroke((0.0, 0.78), (side * 0.14, 1.0), 0.025, DARK);
    }
    s.oval(0.0, 0.5, 0.055, 0.33, DARK);
}
