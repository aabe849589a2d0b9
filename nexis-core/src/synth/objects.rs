//! The shapes of the object kinds, in a unit frame: base at y = 0, top near
//! y = 1, centred on x = 0.

use super::raster::{Point, Rgb, ellipse, line, mix_rgb, rect, tilted};
use super::vocabulary::{Colour, Kind};

/// One coloured polygon of an object.
pub(crate) struct Part {
    pub points: Vec<Point>,
    pub rgb: Rgb,
}

/// An object taking shape.
#[derive(Default)]
pub(crate) struct Shape {
    pub parts: Vec<Part>,
}

const DARK: Rgb = [44.0, 42.0, 48.0];
const WOOD: Rgb = [110.0, 72.0, 40.0];
const SKIN: [Rgb; 4] =
    [[240.0, 200.0, 168.0], [214.0, 160.0, 120.0], [156.0, 104.0, 70.0], [104.0, 68.0, 48.0]];
const GLASS: Rgb = [184.0, 222.0, 240.0];
const STEM: Rgb = [52.0, 132.0, 48.0];
const METAL: Rgb = [150.0, 154.0, 162.0];

impl Shape {
    fn add(&mut self, points: Vec<Point>, rgb: Rgb) {
        self.parts.push(Part { points, rgb });
    }
    fn oval(&mut self, cx: f32, cy: f32, rx: f32, ry: f32, rgb: Rgb) {
        self.add(ellipse(cx, cy, rx, ry), rgb);
    }
    fn turned(&mut self, cx: f32, cy: f32, rx: f32, ry: f32, angle: f32, rgb: Rgb) {
        self.add(tilted(cx, cy, rx, ry, angle), rgb);
    }
    fn block(&mut self, x0: f32, y0: f32, x1: f32, y1: f32, rgb: Rgb) {
        self.add(rect(x0, y0, x1, y1), rgb);
    }
    fn stroke(&mut self, a: Point, b: Point, thickness: f32, rgb: Rgb) {
        self.add(line(a, b, thickness), rgb);
    }
    fn poly(&mut self, points: &[Point], rgb: Rgb) {
        self.add(points.to_vec(), rgb);
    }
    fn wheel(&mut self, x: f32, r: f32) {
        self.oval(x, r, r, r, DARK);
        self.oval(x, r, r * 0.45, r * 0.45, METAL);
    }
    fn eye(&mut self, x: f32, y: f32, r: f32) {
        self.oval(x, y, r, r, [255.0, 255.0, 255.0]);
        self.oval(x, y, r * 0.55, r * 0.55, [10.0, 10.0, 10.0]);
    }
    fn ring(&mut self, cx: f32, cy: f32, outer: f32, inner: f32, rgb: Rgb) {
        self.squashed_ring(cx, cy, (outer, outer), (inner, inner), rgb);
    }
    fn squashed_ring(&mut self, cx: f32, cy: f32, outer: Point, inner: Point, rgb: Rgb) {
        let mut points = ellipse(cx, cy, outer.0, outer.1);
        points.push((cx + outer.0, cy));
        let mut hole = ellipse(cx, cy, inner.0, inner.1);
        hole.push((cx + inner.0, cy));
        hole.reverse();
        points.extend(hole);
        self.add(points, rgb);
    }
    fn legs(&mut self, xs: &[f32], top: f32, width: f32, swing: f32, rgb: Rgb) {
        for (i, &x) in xs.iter().enumerate() {
            let s = if i % 2 == 0 { swing } else { -swing };
            self.stroke((x, top), (x + s, 0.0), width, rgb);
        }
    }
}

/// The width of a kind, as a multiple of its height.
pub(crate) fn aspect(kind: Kind) -> f32 {
    match kind {
        Kind::Tree => 0.8,
        Kind::Pine => 0.62,
        Kind::Palm => 0.95,
        Kind::Flower => 0.6,
        Kind::Rock => 1.6,
        Kind::Cactus => 0.7,
        Kind::Mushroom => 0.95,
        Kind::Person => 0.5,
        Kind::Dancer => 0.75,
        Kind::Umbrella => 0.72,
        Kind::Child => 0.62,
        Kind::Horse => 1.25,
        Kind::Cow => 1.4,
        Kind::Sheep => 1.25,
        Kind::Dog => 1.25,
        Kind::Cat => 0.8,
        Kind::Rabbit => 0.7,
        Kind::Bird => 1.35,
        Kind::Duck => 1.25,
        Kind::Fish => 1.7,
        Kind::Butterfly => 1.15,
        Kind::Car => 2.2,
        Kind::Bus => 2.0,
        Kind::Truck => 2.0,
        Kind::Train => 3.0,
        Kind::Sailboat => 0.95,
        Kind::Plane => 2.2,
        Kind::Balloon => 0.72,
        Kind::Helicopter => 1.9,
        Kind::Bicycle => 1.6,
        Kind::House => 1.1,
        Kind::Tower => 0.42,
        Kind::LampPost => 0.42,
        Kind::Bench => 1.7,
        Kind::Fountain => 1.25,
        Kind::Stall => 1.1,
        Kind::Sofa => 2.0,
        Kind::Table => 1.6,
        Kind::FloorLamp => 0.5,
        Kind::Chair => 0.6,
        Kind::Bed => 1.9,
        Kind::Plant => 0.75,
        Kind::Bookcase => 0.75,
        Kind::Planet => 1.5,
        Kind::Bar => 0.34,
        Kind::Circle
        | Kind::Block
        | Kind::Triangle
        | Kind::Star
        | Kind::Diamond
        | Kind::Heart
        | Kind::Ring => 1.0,
    }
}

/// Builds an object; `beat` is its phase of motion in radians and `individual`
/// a number that varies small features between objects.
pub(crate) fn shape(kind: Kind, colour: Colour, beat: f32, individual: u64) -> Shape {
    let c = colour.rgb();
    let light = mix_rgb(c, [255.0, 255.0, 255.0], 0.35);
    let shade = mix_rgb(c, [0.0, 0.0, 0.0], 0.25);
    let wave = beat.sin();
    let skin = SKIN.get((individual % 4) as usize).copied().unwrap_or(DARK);
    let hair = if individual & 16 == 0 { DARK } else { WOOD };
    let mut s = Shape::default();
    match kind {
        Kind::Tree => {
            let sway = wave * 0.012;
            s.poly(&[(-0.09, 0.0), (0.09, 0.0), (0.05, 0.5), (-0.05, 0.5)], WOOD);
            s.oval(-0.2 + sway, 0.52, 0.2, 0.17, shade);
            s.oval(0.2 + sway, 0.52, 0.2, 0.17, shade);
            s.oval(sway, 0.7, 0.31, 0.29, c);
            s.oval(-0.08 + sway, 0.78, 0.12, 0.1, light);
        }
        Kind::Pine => {
            s.block(-0.06, 0.0, 0.06, 0.2, WOOD);
            let sway = wave * 0.01;
            for (y, w, h) in [(0.14, 0.31, 0.4), (0.37, 0.25, 0.36), (0.6, 0.18, 0.4)] {
                s.poly(&[(-w, y), (w, y), (sway, y + h)], if y < 0.2 { shade } else { c });
            }
        }
        Kind::Palm => {
            s.poly(
                &[(-0.12, 0.0), (0.02, 0.0), (0.06, 0.4), (0.04, 0.75), (-0.03, 0.75), (-0.03, 0.4)],
                WOOD,
            );
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
        Kind::Flower => {
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
        Kind::Rock => {
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
        Kind::Cactus => {
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
        Kind::Mushroom => {
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
        Kind::Person => {
            let step = wave * 0.03;
            s.legs(&[-0.07, 0.07], 0.42, 0.09, step, [58.0, 62.0, 84.0]);
            s.stroke((-0.13, 0.72), (-0.21, 0.42), 0.075, c);
            s.stroke(
                (0.13, 0.72),
                (0.2 + 0.02 * wave, if individual & 8 == 0 { 0.44 } else { 0.9 }),
                0.075,
                c,
            );
            s.poly(&[(-0.13, 0.78), (0.13, 0.78), (0.17, 0.32), (-0.17, 0.32)], c);
            s.stroke((0.0, 0.34), (0.0, 0.76), 0.015, shade);
            s.oval(0.0, 0.89, 0.09, 0.105, skin);
            s.poly(
                &[(-0.095, 0.89), (-0.08, 0.99), (0.0, 1.02), (0.08, 0.99), (0.095, 0.89), (0.0, 0.95)],
                hair,
            );
        }
        Kind::Dancer => {
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
        Kind::Umbrella => {
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
        Kind::Child => {
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
        Kind::Horse => {
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
        Kind::Cow => {
            s.legs(&[-0.4, -0.28, 0.24, 0.36], 0.4, 0.1, wave * 0.03, shade);
            s.add(
                vec![
                    (-0.5, 0.36),
                    (-0.53, 0.72),
                    (-0.46, 0.8),
                    (0.4, 0.8),
                    (0.46, 0.7),
                    (0.42, 0.36),
                    (0.0, 0.3),
                ],
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
        Kind::Sheep => {
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
        Kind::Dog => {
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
        Kind::Cat => {
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
        Kind::Rabbit => {
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
        Kind::Bird => {
            s.poly(&[(-0.3, 0.42), (-0.66, 0.54), (-0.62, 0.4), (-0.66, 0.28)], shade);
            s.turned(0.0, 0.42, 0.38, 0.17, 0.1, c);
            s.oval(0.36, 0.54, 0.15, 0.14, c);
            s.poly(&[(0.48, 0.6), (0.66, 0.52), (0.48, 0.48)], [246.0, 160.0, 30.0]);
            s.poly(
                &[(0.16, 0.48), (-0.2, 0.48), (-0.3, 0.55 + 0.45 * wave), (-0.12, 0.6 + 0.42 * wave)],
                shade,
            );
            s.eye(0.4, 0.58, 0.035);
        }
        Kind::Duck => {
            s.poly(&[(-0.4, 0.3), (-0.6, 0.52), (-0.3, 0.48)], c);
            s.oval(-0.04, 0.27, 0.46, 0.27, c);
            s.turned(-0.08, 0.3, 0.24, 0.13, 0.15, shade);
            s.poly(&[(0.12, 0.36), (0.4, 0.32), (0.42, 0.75), (0.2, 0.75)], c);
            s.oval(0.32, 0.78, 0.18, 0.18, c);
            let beak = if colour == Colour::Yellow { [232.0, 96.0, 20.0] } else { [248.0, 170.0, 30.0] };
            s.poly(&[(0.46, 0.82), (0.68, 0.74), (0.46, 0.68)], beak);
            s.eye(0.38, 0.84, 0.035);
        }
        Kind::Fish => {
            let flick = wave * 0.1;
            s.poly(&[(-0.4, 0.5), (-0.82, 0.82 + flick), (-0.7, 0.5 + flick), (-0.82, 0.18 + flick)], shade);
            s.poly(&[(-0.2, 0.76), (0.1, 1.0), (0.26, 0.74)], shade);
            s.oval(0.08, 0.5, 0.58, 0.34, c);
            s.poly(&[(-0.02, 0.45), (-0.22, 0.25 + flick), (0.14, 0.34)], shade);
            s.stroke((0.3, 0.3), (0.3, 0.7), 0.03, light);
            s.stroke((0.0, 0.2), (0.0, 0.8), 0.05, light);
            s.eye(0.46, 0.57, 0.06);
        }
        Kind::Butterfly => {
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
        Kind::Car => {
            s.poly(&[(-0.6, 0.5), (-0.4, 0.98), (0.32, 0.98), (0.6, 0.5)], c);
            s.poly(&[(-0.48, 0.54), (-0.34, 0.88), (-0.06, 0.88), (-0.06, 0.54)], GLASS);
            s.poly(&[(0.02, 0.54), (0.02, 0.88), (0.27, 0.88), (0.46, 0.54)], GLASS);
            s.poly(&[(-1.06, 0.2), (-1.08, 0.45), (-0.98, 0.56), (0.86, 0.56), (1.06, 0.42), (1.08, 0.2)], c);
            s.block(0.96, 0.34, 1.07, 0.44, [255.0, 240.0, 150.0]);
            s.wheel(-0.62, 0.22);
            s.wheel(0.62, 0.22);
        }
        Kind::Bus => {
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
        Kind::Truck => {
            s.block(-1.0, 0.26, 0.42, 1.0, c);
            s.block(-1.0, 0.18, 0.9, 0.28, DARK);
            for i in 0..4 {
                let x = -0.85 + i as f32 * 0.36;
                s.stroke((x, 0.3), (x, 0.97), 0.03, shade);
            }
            s.poly(
                &[(0.47, 0.2), (0.47, 0.8), (0.78, 0.8), (0.98, 0.48), (0.98, 0.2)],
                [226.0, 226.0, 228.0],
            );
            s.poly(&[(0.55, 0.5), (0.55, 0.72), (0.75, 0.72), (0.88, 0.5)], [90.0, 140.0, 170.0]);
            s.wheel(-0.7, 0.17);
            s.wheel(-0.3, 0.17);
            s.wheel(0.7, 0.17);
        }
        Kind::Train => {
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
        Kind::Sailboat => {
            let tilt = wave * 0.02;
            s.stroke((0.0, 0.15), (tilt, 1.0), 0.035, WOOD);
            s.poly(&[(0.04, 0.28), (0.04 + tilt, 0.98), (0.44, 0.28)], c);
            s.poly(&[(-0.04, 0.28), (-0.04 + tilt, 0.88), (-0.36, 0.28)], light);
            s.poly(&[(-0.46, 0.22), (0.5, 0.22), (0.34, 0.0), (-0.32, 0.0)], c);
            s.block(-0.45, 0.2, 0.48, 0.24, WOOD);
        }
        Kind::Plane => {
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
        Kind::Balloon => {
            s.stroke((-0.14, 0.36), (-0.08, 0.16), 0.016, DARK);
            s.stroke((0.14, 0.36), (0.08, 0.16), 0.016, DARK);
            s.poly(&[(-0.33, 0.58), (0.33, 0.58), (0.12, 0.3), (-0.12, 0.3)], c);
            s.oval(0.0, 0.66, 0.355, 0.34, c);
            s.add(ellipse(0.0, 0.65, 0.13, 0.335), light);
            s.block(-0.1, 0.0, 0.1, 0.16, WOOD);
        }
        Kind::Helicopter => {
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
        Kind::Bicycle => {
            for x in [-0.46, 0.46] {
                s.ring(x, 0.32, 0.32, 0.25, DARK);
                for k in 0..3 {
                    let (sin, cos) = (-beat + k as f32 * 1.047).sin_cos();
                    s.stroke(
                        (x - cos * 0.25, 0.32 - sin * 0.25),
                        (x + cos * 0.25, 0.32 + sin * 0.25),
                        0.016,
                        METAL,
                    );
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
        Kind::House => {
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
        Kind::Tower => {
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
        Kind::LampPost => {
            s.block(-0.13, 0.0, 0.13, 0.06, c);
            s.block(-0.045, 0.0, 0.045, 0.72, c);
            s.poly(&[(-0.1, 0.7), (0.1, 0.7), (0.15, 0.9), (-0.15, 0.9)], [255.0, 238.0, 170.0]);
            s.poly(&[(-0.2, 0.89), (0.2, 0.89), (0.0, 1.0)], c);
            s.block(-0.14, 0.68, 0.14, 0.72, c);
        }
        Kind::Bench => {
            s.block(-0.7, 0.0, -0.6, 0.5, DARK);
            s.block(0.6, 0.0, 0.7, 0.5, DARK);
            s.block(-0.64, 0.4, -0.56, 1.0, DARK);
            s.block(0.56, 0.4, 0.64, 1.0, DARK);
            s.block(-0.82, 0.4, 0.82, 0.54, c);
            s.block(-0.78, 0.64, 0.78, 0.78, c);
            s.block(-0.78, 0.86, 0.78, 1.0, c);
        }
        Kind::Fountain => {
            let water = [196.0, 226.0, 246.0];
            let lift = 0.03 * wave;
            for (x, y) in [(-0.34, 0.5), (-0.18, 0.8), (0.18, 0.8), (0.34, 0.5)] {
                s.poly(
                    &[
                        (-0.02, 0.6),
                        (x * 0.6, y + 0.12 + lift),
                        (x * 1.15, 0.3),
                        (x, 0.3),
                        (x * 0.55, y + lift),
                    ],
                    water,
                );
            }
            s.oval(0.0, 0.93 + lift, 0.05, 0.09, water);
            s.block(-0.06, 0.2, 0.06, 0.66, c);
            s.poly(&[(-0.24, 0.66), (0.24, 0.66), (0.1, 0.54), (-0.1, 0.54)], c);
            s.poly(&[(-0.6, 0.34), (0.6, 0.34), (0.5, 0.0), (-0.5, 0.0)], c);
            s.oval(0.0, 0.34, 0.58, 0.06, water);
        }
        Kind::Stall => {
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
        Kind::Sofa => {
            s.block(-0.85, 0.0, -0.75, 0.14, WOOD);
            s.block(0.75, 0.0, 0.85, 0.14, WOOD);
            s.poly(&[(-0.8, 0.3), (-0.78, 0.96), (-0.7, 1.0), (0.7, 1.0), (0.78, 0.96), (0.8, 0.3)], shade);
            s.block(-0.74, 0.3, -0.02, 0.58, c);
            s.block(0.02, 0.3, 0.74, 0.58, c);
            s.block(-0.9, 0.1, 0.9, 0.34, c);
            s.poly(&[(-1.0, 0.1), (-1.0, 0.6), (-0.92, 0.7), (-0.8, 0.7), (-0.74, 0.6), (-0.74, 0.1)], c);
            s.poly(&[(1.0, 0.1), (1.0, 0.6), (0.92, 0.7), (0.8, 0.7), (0.74, 0.6), (0.74, 0.1)], c);
        }
        Kind::Table => {
            s.block(-0.68, 0.0, -0.54, 0.85, shade);
            s.block(0.54, 0.0, 0.68, 0.85, shade);
            s.block(-0.36, 0.12, -0.28, 0.85, shade);
            s.block(0.28, 0.12, 0.36, 0.85, shade);
            s.block(-0.8, 0.8, 0.8, 1.0, c);
        }
        Kind::FloorLamp => {
            s.oval(0.0, 0.03, 0.18, 0.035, DARK);
            s.stroke((0.0, 0.03), (0.0, 0.75), 0.04, DARK);
            s.poly(&[(-0.24, 0.66), (0.24, 0.66), (0.14, 1.0), (-0.14, 1.0)], c);
            s.block(-0.23, 0.66, 0.23, 0.69, [255.0, 240.0, 170.0]);
        }
        Kind::Chair => {
            s.block(-0.27, 0.0, -0.19, 1.0, c);
            s.block(0.2, 0.0, 0.28, 0.5, c);
            s.block(-0.1, 0.08, -0.03, 0.45, shade);
            s.block(0.08, 0.08, 0.14, 0.45, shade);
            s.block(-0.28, 0.42, 0.3, 0.54, c);
            s.poly(&[(-0.28, 0.62), (-0.12, 0.62), (-0.12, 1.0), (-0.28, 1.0)], c);
        }
        Kind::Bed => {
            s.block(-0.92, 0.0, -0.84, 1.0, WOOD);
            s.block(0.84, 0.0, 0.92, 0.6, WOOD);
            s.block(-0.86, 0.18, 0.86, 0.42, [236.0, 232.0, 224.0]);
            s.add(
                vec![(-0.4, 0.18), (-0.42, 0.58), (-0.34, 0.64), (0.78, 0.6), (0.86, 0.5), (0.86, 0.18)],
                c,
            );
            s.oval(-0.62, 0.56, 0.2, 0.12, [250.0, 250.0, 250.0]);
        }
        Kind::Plant => {
            for (angle, len) in [(1.57f32, 0.3), (0.95, 0.28), (2.2, 0.28), (0.4, 0.24), (2.75, 0.24)] {
                let a = angle + wave * 0.03;
                let (sin, cos) = a.sin_cos();
                s.turned(cos * len * 0.9, 0.45 + sin * len, len, 0.075, a, STEM);
            }
            s.poly(&[(-0.25, 0.44), (0.25, 0.44), (0.17, 0.0), (-0.17, 0.0)], c);
            s.block(-0.28, 0.38, 0.28, 0.48, c);
        }
        Kind::Bookcase => {
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
        Kind::Circle => s.oval(0.0, 0.5, 0.48, 0.48, c),
        Kind::Block => s.block(-0.46, 0.04, 0.46, 0.96, c),
        Kind::Triangle => s.poly(&[(-0.52, 0.06), (0.52, 0.06), (0.0, 0.98)], c),
        Kind::Star => s.add(
            (0..10)
                .map(|i| {
                    let r = if i % 2 == 0 { 0.52 } else { 0.22 };
                    let (sin, cos) =
                        (i as f32 * std::f32::consts::PI / 5.0 + std::f32::consts::FRAC_PI_2).sin_cos();
                    (cos * r, 0.48 + sin * r)
                })
                .collect(),
            c,
        ),
        Kind::Diamond => s.poly(&[(0.0, 0.0), (0.38, 0.5), (0.0, 1.0), (-0.38, 0.5)], c),
        Kind::Heart => s.add(
            (0..32)
                .map(|i| {
                    let t = i as f32 / 32.0 * std::f32::consts::TAU;
                    let x = 16.0 * t.sin().powi(3);
                    let y = 13.0 * t.cos() - 5.0 * (2.0 * t).cos() - 2.0 * (3.0 * t).cos() - (4.0 * t).cos();
                    (x / 34.0, 0.55 + y / 31.0)
                })
                .collect(),
            c,
        ),
        Kind::Ring => s.ring(0.0, 0.5, 0.48, 0.28, c),
        Kind::Bar => s.block(-0.15, 0.0, 0.15, 1.0, c),
        Kind::Planet => {
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
    }
    s
}
