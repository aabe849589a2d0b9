//! Plain forms.

use super::{Look, Shape};
use crate::synth::raster::{Point, mix_rgb};

pub(super) fn circle(s: &mut Shape, look: &Look) {
    let &Look { c, .. } = look;
    s.oval(0.0, 0.5, 0.48, 0.48, c);
}

pub(super) fn block(s: &mut Shape, look: &Look) {
    let &Look { c, .. } = look;
    s.block(-0.46, 0.04, 0.46, 0.96, c);
}

pub(super) fn triangle(s: &mut Shape, look: &Look) {
    let &Look { c, .. } = look;
    s.poly(&[(-0.52, 0.06), (0.52, 0.06), (0.0, 0.98)], c);
}

pub(super) fn star(s: &mut Shape, look: &Look) {
    let &Look { c, .. } = look;
    s.add(
        (0..10)
            .map(|i| {
                let r = if i % 2 == 0 { 0.52 } else { 0.22 };
                let (sin, cos) =
                    (i as f32 * std::f32::consts::PI / 5.0 + std::f32::consts::FRAC_PI_2).sin_cos();
                (cos * r, 0.48 + sin * r)
            })
            .collect(),
        c,
    );
}

pub(super) fn diamond(s: &mut Shape, look: &Look) {
    let &Look { c, .. } = look;
    s.poly(&[(0.0, 0.0), (0.38, 0.5), (0.0, 1.0), (-0.38, 0.5)], c);
}

pub(super) fn heart(s: &mut Shape, look: &Look) {
    let &Look { c, .. } = look;
    s.add(
        (0..32)
            .map(|i| {
                let t = i as f32 / 32.0 * std::f32::consts::TAU;
                let x = 16.0 * t.sin().powi(3);
                let y = 13.0 * t.cos() - 5.0 * (2.0 * t).cos() - 2.0 * (3.0 * t).cos() - (4.0 * t).cos();
                (x / 34.0, 0.55 + y / 31.0)
            })
            .collect(),
        c,
    );
}

pub(super) fn ring(s: &mut Shape, look: &Look) {
    let &Look { c, .. } = look;
    s.ring(0.0, 0.5, 0.48, 0.28, c);
}

pub(super) fn bar(s: &mut Shape, look: &Look) {
    let &Look { c, .. } = look;
    s.block(-0.15, 0.0, 0.15, 1.0, c);
}

pub(super) fn planet(s: &mut Shape, look: &Look) {
    let &Look { c, light, shade, .. } = look;
    s.oval(0.0, 0.5, 0.42, 0.42, c);
    s.turned(0.0, 0.62, 0.38, 0.06, 0.12, light);
    s.turned(0.0, 0.36, 0.36, 0.05, 0.12, shade);
    let ring = mix_rgb(light, [235.0, 220.0, 190.0], 0.6);
    s.turned(0.0, 0.48, 0.75, 0.07, 0.12, ring);
    let top: Vec<Point> = (0..=14)
        .map(|i| {
            let (sin, cos) = (i as f32 / 14.0 * std::f32::consts::PI).sin_cos();
            (cos * 0.42, 0.5 + sin * 0.42)
        })
        .collect();
    s.add(top, c);
}
