//! What several backgrounds are put together from.

use super::super::raster::{Point, Rgb, ellipse, line, mix_rgb, rect, times};
use super::super::rng::SceneRng;
use super::super::vocabulary::{Light, Weather};
use super::{LEFT, MID_X, Painter, RIGHT, WIDE};

impl Painter {
    /// Sky, sun or moon, stars and clouds above the horizon.
    pub(super) fn sky(&mut self, horizon: f32, rng: &mut SceneRng) {
        self.parallax = 0.15;
        let (top, bottom): (Rgb, Rgb) = match self.light {
            Light::Day => (
                mix_rgb([64.0, 134.0, 222.0], [96.0, 170.0, 238.0], rng.f32()),
                mix_rgb([176.0, 216.0, 246.0], [206.0, 230.0, 246.0], rng.f32()),
            ),
            Light::Sunset => (
                mix_rgb([120.0, 62.0, 128.0], [74.0, 72.0, 146.0], rng.f32()),
                mix_rgb([255.0, 146.0, 48.0], [250.0, 110.0, 62.0], rng.f32()),
            ),
            Light::Night => ([8.0, 10.0, 30.0], mix_rgb([28.0, 36.0, 78.0], [36.0, 34.0, 84.0], rng.f32())),
            Light::Dawn => (
                mix_rgb([150.0, 170.0, 226.0], [176.0, 164.0, 220.0], rng.f32()),
                mix_rgb([255.0, 206.0, 200.0], [255.0, 226.0, 190.0], rng.f32()),
            ),
        };
        let grey: Rgb = match self.light {
            Light::Day => [150.0, 158.0, 168.0],
            Light::Sunset => [178.0, 122.0, 104.0],
            Light::Night => [34.0, 38.0, 52.0],
            Light::Dawn => [190.0, 172.0, 190.0],
        };
        let cover = match self.weather {
            Some(Weather::Rain) => 0.72,
            Some(Weather::Snow) => 0.6,
            Some(Weather::Fog) => 0.7,
            _ => 0.0,
        };
        let (top, bottom) = (mix_rgb(top, grey, cover), mix_rgb(bottom, grey, cover * 0.8));
        self.raw(&rect(LEFT, -0.5, RIGHT, horizon + 0.08), top, bottom, 1.0);
        let sun_x = rng.range(0.3, WIDE - 0.3);
        let clear = matches!(self.weather, Some(Weather::Clear));
        let open = clear || matches!(self.weather, Some(Weather::Clouds));
        if self.light == Light::Night && open {
            for _ in 0..60 {
                let (x, y) = (rng.range(-0.1, WIDE + 0.1), rng.range(0.0, horizon));
                let r = rng.range(0.0018, 0.004);
                self.raw(&rect(x - r, y - r, x + r, y + r), [235.0; 3], [235.0; 3], 0.9);
            }
            let night = mix_rgb(top, bottom, 0.3);
            self.raw(&ellipse(sun_x, 0.17, 0.065, 0.065), [246.0, 242.0, 214.0], [238.0, 232.0, 200.0], 1.0);
            self.raw(&ellipse(sun_x + 0.032, 0.155, 0.056, 0.056), night, night, 1.0);
        } else if open {
            let (y, r, disc, glow): (f32, f32, Rgb, Rgb) = match self.light {
                Light::Sunset => (horizon - 0.07, 0.1, [255.0, 226.0, 120.0], [255.0, 170.0, 60.0]),
                Light::Dawn => (horizon - 0.03, 0.07, [255.0, 250.0, 226.0], [255.0, 240.0, 210.0]),
                _ => (0.16, 0.065, [255.0, 244.0, 150.0], [255.0, 250.0, 210.0]),
            };
            if clear || self.light != Light::Day {
                for ring in [2.4, 1.9, 1.45] {
                    self.raw(&ellipse(sun_x, y, r * ring, r * ring), glow, glow, 0.18);
                }
                self.raw(&ellipse(sun_x, y, r, r), disc, disc, 1.0);
            }
        }
        let (number, shade): (usize, Rgb) = match self.weather {
            Some(Weather::Clouds) => (6, [255.0; 3]),
            Some(Weather::Rain) => (7, [112.0, 118.0, 130.0]),
            Some(Weather::Snow) => (6, [206.0, 210.0, 216.0]),
            _ => (0, [255.0; 3]),
        };
        let cloud = match self.light {
            Light::Day => shade,
            Light::Sunset => times(shade, [1.0, 0.66, 0.58]),
            Light::Night => times(shade, [0.3, 0.33, 0.42]),
            Light::Dawn => times(shade, [1.0, 0.9, 0.94]),
        };
        for i in 0..number {
            let x = (i as f32 + rng.range(0.1, 0.9)) / number as f32 * (WIDE + 0.3) - 0.15 + self.t * 0.012;
            let y = rng.range(0.07, (horizon - 0.14).max(0.12));
            let size = rng.range(0.1, 0.17);
            for (dx, dy, rx, ry) in [
                (0.0, 0.0, 1.3, 0.42),
                (-0.55, -0.1, 0.6, 0.45),
                (0.1, -0.3, 0.65, 0.6),
                (0.65, -0.08, 0.5, 0.4),
            ] {
                self.raw(
                    &ellipse(x + dx * size, y + dy * size, rx * size, ry * size),
                    cloud,
                    times(cloud, [0.9; 3]),
                    0.9,
                );
            }
        }
    }

    /// A wavy band from its skyline down to the bottom.
    pub(super) fn ridge(&mut self, y: f32, height: f32, waves: f32, colour: Rgb, rng: &mut SceneRng) {
        let (a, b) = (rng.range(0.0, std::f32::consts::TAU), rng.range(0.0, std::f32::consts::TAU));
        let mut points: Vec<Point> = (0..=64)
            .map(|i| {
                let x = LEFT + (RIGHT - LEFT) * i as f32 / 64.0;
                let lift = 0.5 + 0.35 * (x * waves + a).sin() + 0.15 * (x * waves * 2.3 + b).sin();
                (x, y - height * lift)
            })
            .collect();
        points.extend([(RIGHT, 1.4), (LEFT, 1.4)]);
        self.fade(&points, colour, times(colour, [0.8; 3]));
    }

    pub(super) fn peaks(&mut self, y: f32, low: f32, high: f32, colour: Rgb, snow: bool, rng: &mut SceneRng) {
        let mut x = LEFT + rng.range(0.0, 0.2);
        while x < RIGHT {
            let (height, half) = (rng.range(low, high), rng.range(0.26, 0.42));
            let dark = times(colour, [0.72; 3]);
            self.paint(&[(x - half, y), (x, y - height), (x + half, y)], colour);
            self.paint(&[(x + half * 0.1, y), (x, y - height), (x + half, y)], dark);
            if snow {
                let cap = 0.3;
                self.paint(
                    &[
                        (x, y - height),
                        (x + half * cap, y - height * (1.0 - cap)),
                        (x + half * 0.1, y - height * 0.78),
                        (x - half * 0.08, y - height * 0.66),
                        (x - half * cap, y - height * (1.0 - cap)),
                    ],
                    [244.0, 246.0, 250.0],
                );
            }
            x += half * rng.range(0.9, 1.5);
        }
    }

    pub(super) fn treeline(&mut self, y: f32, size: f32, pointed: bool, colour: Rgb, rng: &mut SceneRng) {
        let mut x = LEFT;
        while x < RIGHT {
            let h = size * rng.range(0.7, 1.2);
            let w = size * rng.range(0.28, 0.42);
            if pointed {
                self.paint(&[(x - w * 0.8, y), (x, y - h), (x + w * 0.8, y)], colour);
            } else {
                self.paint(&ellipse(x, y - h * 0.45, w, h * 0.5), colour);
            }
            x += w * rng.range(0.8, 1.5);
        }
    }

    pub(super) fn specks(&mut self, y: f32, number: usize, size: f32, palette: &[Rgb], rng: &mut SceneRng) {
        for _ in 0..number {
            let depth = rng.f32();
            let (x, at) = (rng.range(-0.4, WIDE + 0.4), y + 0.02 + depth * (1.02 - y));
            let s = size * (0.4 + depth);
            let colour = rng.choose(palette, [200.0; 3]);
            self.paint(&[(x - s, at), (x + s * 0.2, at - s * 1.6), (x + s, at)], colour);
        }
    }

    pub(super) fn waves(&mut self, top: f32, bottom: f32, colour: Rgb, rng: &mut SceneRng) {
        for _ in 0..34 {
            let depth = rng.f32();
            let y = top + 0.015 + depth * (bottom - top - 0.02);
            let x = rng.range(-0.4, WIDE + 0.4) + (self.t * 1.1 + depth * 9.0).sin() * 0.03;
            let length = 0.03 + 0.09 * depth;
            let thick = 0.003 + 0.006 * depth;
            let colour = self.lit(colour);
            self.raw(&ellipse(x, y, length, thick), colour, colour, 0.6);
        }
    }

    pub(super) fn buildings(&mut self, y: f32, low: f32, high: f32, palette: &[Rgb], rng: &mut SceneRng) {
        let mut x = LEFT + rng.range(0.0, 0.1);
        while x < RIGHT {
            let (w, h) = (rng.range(0.12, 0.24), rng.range(low, high));
            let wall = times(rng.choose(palette, [150.0; 3]), [rng.range(0.85, 1.1); 3]);
            self.fade(&rect(x, y - h, x + w, y), wall, times(wall, [0.85; 3]));
            let columns = (w / 0.05) as usize;
            let rows = (h / 0.07) as usize;
            for row in 0..rows {
                for column in 0..columns {
                    let at = (x + 0.018 + column as f32 * 0.05, y - h + 0.025 + row as f32 * 0.07);
                    let glow = rng.chance(0.55) && self.light == Light::Night;
                    let pane = rect(at.0, at.1, at.0 + 0.022, at.1 + 0.034);
                    if glow {
                        self.raw(&pane, [250.0, 214.0, 120.0], [250.0, 214.0, 120.0], 1.0);
                    } else {
                        self.paint(&pane, [84.0, 98.0, 116.0]);
                    }
                }
            }
            x += w + rng.range(0.0, 0.012);
        }
    }

    pub(super) fn fence(&mut self, y: f32) {
        for i in 0..32 {
            let x = LEFT + i as f32 * 0.1;
            self.paint(&rect(x, y - 0.085, x + 0.014, y), [168.0, 124.0, 82.0]);
        }
        self.paint(&rect(LEFT, y - 0.07, RIGHT, y - 0.056), [184.0, 138.0, 92.0]);
        self.paint(&rect(LEFT, y - 0.035, RIGHT, y - 0.021), [184.0, 138.0, 92.0]);
    }

    pub(super) fn dashes(&mut self, y: f32) {
        for i in 0..12 {
            let x = LEFT + i as f32 * 0.28;
            self.paint(&rect(x, y, x + 0.15, y + 0.014), [240.0, 232.0, 196.0]);
        }
    }

    pub(super) fn slabs(&mut self, y: f32) {
        let seam: Rgb = [140.0, 136.0, 132.0];
        for i in 0..7 {
            let k = i as f32;
            let at = y + 0.01 + k * k * 0.012;
            self.paint(&rect(LEFT, at, RIGHT, at + 0.004), seam);
        }
        for i in 0..22 {
            let k = i as f32 - 10.5;
            self.paint(&line((MID_X + k * 0.11, y), (MID_X + k * 0.26, 1.3), 0.004), seam);
        }
    }

    pub(super) fn grain(&mut self) {
        let origin = self.place((0.0, 0.0));
        let zoom = (1.0 + (self.zoom - 1.0) * self.parallax) * self.scale;
        self.canvas.texture(origin, 0.023 * zoom, 9.0, self.seed);
    }
}
