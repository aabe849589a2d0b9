//! What stands in streets and squares.

use super::{DARK, GLASS, Look, Shape, WOOD};
use crate::synth::vocabulary::Colour;

pub(super) fn house(s: &mut Shape, look: &Look) {
    let &Look { colour, c, .. } = look;
    let roof = if matches!(colour, Colour::Red | Colour::Brown | Colour::Orange) {
        [70.0, 74.0, 86.0]
    } else {
        [150.0, 64.0, 46.0]
    };
    s.block(0.2, 0.7, 0.34, 1.0, [120.0, 90.0, 80.0]);
    s.block(-0.45, 0.0, 0.45, 0.62, c);
    s.poly(&[(-0.56, 0.6), (0.0, 1.0), (0.56, 0.6)], roof);
    s.block(-0.1, 0.0, 0.1, 0.34, WOOD);
    s.block(-0.36, 0.26, -0.18, 0.46, GLASS);
    s.block(0.18, 0.26, 0.36, 0.46, GLASS);
}

pub(super) fn tower(s: &mut Shape, look: &Look) {
    let &Look { c, shade, .. } = look;
    s.stroke((0.0, 0.88), (0.0, 1.05), 0.025, DARK);
    s.block(-0.2, 0.0, 0.2, 0.86, c);
    s.poly(&[(-0.2, 0.85), (0.0, 0.95), (0.2, 0.85)], shade);
    for row in 0..7 {
        for column in 0..3 {
            let x = -0.15 + column as f32 * 0.11;
            let y = 0.1 + row as f32 * 0.105;
            s.block(x, y, x + 0.07, y + 0.06, GLASS);
        }
    }
}

pub(super) fn lamp_post(s: &mut Shape, look: &Look) {
    let &Look { c, .. } = look;
    s.block(-0.13, 0.0, 0.13, 0.06, c);
    s.block(-0.045, 0.0, 0.045, 0.72, c);
    s.poly(&[(-0.1, 0.7), (0.1, 0.7), (0.15, 0.9), (-0.15, 0.9)], [255.0, 238.0, 170.0]);
    s.poly(&[(-0.2, 0.89), (0.2, 0.89), (0.0, 1.0)], c);
    s.block(-0.14, 0.68, 0.14, 0.72, c);
}

pub(super) fn bench(s: &mut Shape, look: &Look) {
    let &Look { c, .. } = look;
    s.block(-0.7, 0.0, -0.6, 0.5, DARK);
    s.block(0.6, 0.0, 0.7, 0.5, DARK);
    s.block(-0.64, 0.4, -0.56, 1.0, DARK);
    s.block(0.56, 0.4, 0.64, 1.0, DARK);
    s.block(-0.82, 0.4, 0.82, 0.54, c);
    s.block(-0.78, 0.64, 0.78, 0.78, c);
    s.block(-0.78, 0.86, 0.78, 1.0, c);
}

pub(super) fn fountain(s: &mut Shape, look: &Look) {
    let &Look { c, wave, .. } = look;
    let water = [196.0, 226.0, 246.0];
    let lift = 0.03 * wave;
    for (x, y) in [(-0.34, 0.5), (-0.18, 0.8), (0.18, 0.8), (0.34, 0.5)] {
        s.poly(
            &[(-0.02, 0.6), (x * 0.6, y + 0.12 + lift), (x * 1.15, 0.3), (x, 0.3), (x * 0.55, y + lift)],
            water,
        );
    }
    s.oval(0.0, 0.93 + lift, 0.05, 0.09, water);
    s.block(-0.06, 0.2, 0.06, 0.66, c);
    s.poly(&[(-0.24, 0.66), (0.24, 0.66), (0.1, 0.54), (-0.1, 0.54)], c);
    s.poly(&[(-0.6, 0.34), (0.6, 0.34), (0.5, 0.0), (-0.5, 0.0)], c);
    s.oval(0.0, 0.34, 0.58, 0.06, water);
}

pub(super) fn stall(s: &mut Shape, look: &Look) {
    let &Look { c, light, .. } = look;
    s.block(-0.46, 0.0, -0.4, 0.8, WOOD);
    s.block(0.4, 0.0, 0.46, 0.8, WOOD);
    s.block(-0.48, 0.0, 0.48, 0.34, [188.0, 148.0, 100.0]);
    for (i, rgb) in [Colour::Orange, Colour::Green, Colour::Red, Colour::Yellow].iter().enumerate() {
        s.oval(-0.3 + i as f32 * 0.2, 0.38, 0.08, 0.06, rgb.rgb());
    }
    s.poly(&[(-0.56, 0.68), (0.56, 0.68), (0.42, 1.0), (-0.42, 1.0)], c);
    for i in 0..5 {
        s.oval(-0.45 + i as f32 * 0.225, 0.68, 0.11, 0.06, if i % 2 == 0 { light } else { c });
    }
}
