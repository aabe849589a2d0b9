//! Draws one frame of a scene.
//!
//! Layout is in scene units: the frame is 16/9 wide and 1 high, y points
//! down. The background is drawn first, then a smooth noise, then the
//! objects, and precipitation and fog last.

use super::objects::{aspect, shape};
use super::raster::{Canvas, Paint, Point, Rgb, ellipse, grown, line, mix_rgb, rect, times};
use super::rng::SceneRng;
use super::scene::{Scene, is_aloft};
use super::vocabulary::{Camera, Colour, Footing, Kind, Light, Setting, Weather};
use crate::protocol::Category;

/// One rendered frame, three bytes a pixel, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbFrame {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `width * height * 3` bytes.
    pub data: Vec<u8>,
}

/// The length of a clip in seconds.
pub const CLIP_SECONDS: f64 = 5.0;

const WIDE: f32 = 16.0 / 9.0;
const MID_X: f32 = WIDE / 2.0;
const MID_Y: f32 = 0.55;
const LEFT: f32 = -0.7;
const RIGHT: f32 = 2.5;

struct Painter {
    canvas: Canvas,
    scale: f32,
    shift: Point,
    zoom: f32,
    centre: Point,
    parallax: f32,
    light: Light,
    weather: Option<Weather>,
    flat: bool,
    /// Whether a street is seen from the road, rather than the pavement.
    traffic: bool,
    t: f32,
    seed: u64,
}

/// One object to draw; `at` is the middle of its base.
struct Sprite {
    kind: Kind,
    colour: Colour,
    at: Point,
    height: f32,
    flip: bool,
    beat: f32,
    id: u64,
}

impl Scene {
    /// The frame at `t_seconds` after the clip's start.
    pub fn render(&self, width: u32, height: u32, t_seconds: f64) -> RgbFrame {
        let t = t_seconds as f32;
        let (w, h) = (width as f32, height as f32);
        let scale = (w / WIDE).max(h);
        let progress = t / CLIP_SECONDS as f32;
        let glide = progress - 0.5;
        let (zoom, centre) = match self.camera {
            Camera::Still => (1.0, (0.0, 0.0)),
            Camera::PanLeft => (1.06, (-glide * 0.22, 0.0)),
            Camera::PanRight => (1.06, (glide * 0.22, 0.0)),
            Camera::ZoomIn => (1.0 + 0.22 * progress, (0.0, 0.0)),
            Camera::ZoomOut => (1.22 - 0.22 * progress, (0.0, 0.0)),
            Camera::TiltUp => (1.04, (0.0, -glide * 0.1)),
            Camera::TiltDown => (1.04, (0.0, glide * 0.1)),
        };
        let mut painter = Painter {
            canvas: Canvas::new(width as usize, height as usize),
            scale,
            shift: (w / 2.0, h / 2.0 + (MID_Y - 0.5) * scale),
            zoom,
            centre,
            parallax: 1.0,
            light: self.light,
            weather: self.weather,
            flat: self.setting.is_flat(),
            traffic: self.category == Category::Vehicle,
            t,
            seed: self.seed,
        };
        let mut rng = SceneRng::new(self.seed, 3);
        let horizon = rng.range(0.46, 0.58);
        painter.background(self.setting, horizon, &mut rng);
        painter.grain();
        if self.weather == Some(Weather::Fog) && !self.setting.is_indoor() {
            let haze = painter.haze();
            let cover = if self.light == Light::Night { 0.38 } else { 0.5 };
            painter.canvas.veil(haze, cover);
        }
        painter.objects(self, horizon);
        painter.precipitation(self.setting);
        RgbFrame { width, height, data: painter.canvas.data }
    }
}

impl Painter {
    fn place(&self, (x, y): Point) -> Point {
        let zoom = (1.0 + (self.zoom - 1.0) * self.parallax) * self.scale;
        (
            (x - MID_X - self.centre.0 * self.parallax) * zoom + self.shift.0,
            (y - MID_Y - self.centre.1 * self.parallax) * zoom + self.shift.1,
        )
    }

    fn raw(&mut self, points: &[Point], top: Rgb, bottom: Rgb, alpha: f32) {
        let placed: Vec<Point> = points.iter().map(|&p| self.place(p)).collect();
        let y_top = placed.iter().map(|p| p.1).fold(f32::MAX, f32::min);
        let y_bottom = placed.iter().map(|p| p.1).fold(f32::MIN, f32::max);
        self.canvas.fill(&placed, &Paint { top, bottom, y_top, y_bottom, alpha });
    }

    /// A background colour under the scene's light.
    fn lit(&self, colour: Rgb) -> Rgb {
        let tinted = if self.flat {
            match self.light {
                Light::Night | Light::Sunset => times(colour, [0.42, 0.42, 0.48]),
                _ => colour,
            }
        } else {
            match self.light {
                Light::Day => colour,
                Light::Sunset => times(colour, [0.88, 0.62, 0.48]),
                Light::Night => times(colour, [0.28, 0.33, 0.5]),
                Light::Dawn => mix_rgb(times(colour, [0.9, 0.78, 0.86]), [226.0, 190.0, 214.0], 0.18),
            }
        };
        match self.weather {
            Some(Weather::Rain) => times(tinted, [0.8, 0.83, 0.88]),
            Some(Weather::Snow) => mix_rgb(tinted, self.haze(), 0.22),
            _ => tinted,
        }
    }

    fn haze(&self) -> Rgb {
        match self.light {
            Light::Day => [222.0, 226.0, 230.0],
            Light::Sunset => [226.0, 176.0, 144.0],
            Light::Night => [92.0, 100.0, 124.0],
            Light::Dawn => [226.0, 208.0, 224.0],
        }
    }

    fn paint(&mut self, points: &[Point], colour: Rgb) {
        let colour = self.lit(colour);
        self.raw(points, colour, colour, 1.0);
    }

    fn fade(&mut self, points: &[Point], top: Rgb, bottom: Rgb) {
        let (top, bottom) = (self.lit(top), self.lit(bottom));
        self.raw(points, top, bottom, 1.0);
    }

    fn ground(&mut self, y: f32, far: Rgb, near: Rgb) {
        self.parallax = 1.0;
        self.fade(&rect(LEFT, y, RIGHT, 1.4), far, near);
    }

    /// Sky, sun or moon, stars and clouds above the horizon.
    fn sky(&mut self, horizon: f32, rng: &mut SceneRng) {
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
    fn ridge(&mut self, y: f32, height: f32, waves: f32, colour: Rgb, rng: &mut SceneRng) {
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

    fn peaks(&mut self, y: f32, low: f32, high: f32, colour: Rgb, snow: bool, rng: &mut SceneRng) {
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

    fn treeline(&mut self, y: f32, size: f32, pointed: bool, colour: Rgb, rng: &mut SceneRng) {
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

    fn specks(&mut self, y: f32, number: usize, size: f32, palette: &[Rgb], rng: &mut SceneRng) {
        for _ in 0..number {
            let depth = rng.f32();
            let (x, at) = (rng.range(-0.4, WIDE + 0.4), y + 0.02 + depth * (1.02 - y));
            let s = size * (0.4 + depth);
            let colour = rng.choose(palette, [200.0; 3]);
            self.paint(&[(x - s, at), (x + s * 0.2, at - s * 1.6), (x + s, at)], colour);
        }
    }

    fn waves(&mut self, top: f32, bottom: f32, colour: Rgb, rng: &mut SceneRng) {
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

    fn buildings(&mut self, y: f32, low: f32, high: f32, palette: &[Rgb], rng: &mut SceneRng) {
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

    fn fence(&mut self, y: f32) {
        for i in 0..32 {
            let x = LEFT + i as f32 * 0.1;
            self.paint(&rect(x, y - 0.085, x + 0.014, y), [168.0, 124.0, 82.0]);
        }
        self.paint(&rect(LEFT, y - 0.07, RIGHT, y - 0.056), [184.0, 138.0, 92.0]);
        self.paint(&rect(LEFT, y - 0.035, RIGHT, y - 0.021), [184.0, 138.0, 92.0]);
    }

    fn room(&mut self, setting: Setting, rng: &mut SceneRng) {
        let floor = rng.range(0.6, 0.68);
        let wall = rng.choose(
            &[
                [232.0, 220.0, 196.0],
                [206.0, 216.0, 208.0],
                [220.0, 206.0, 210.0],
                [200.0, 210.0, 224.0],
                [236.0, 230.0, 222.0],
            ],
            [230.0; 3],
        );
        // Lamplight keeps a room readable at night; only the window is dark.
        let inside: Rgb = match self.light {
            Light::Day => [1.0, 1.0, 1.0],
            Light::Sunset => [1.0, 0.84, 0.7],
            Light::Night => [0.5, 0.47, 0.46],
            Light::Dawn => [0.97, 0.9, 0.94],
        };
        let boards = times(
            rng.choose(&[[168.0, 120.0, 78.0], [142.0, 102.0, 70.0], [186.0, 150.0, 110.0]], [150.0; 3]),
            inside,
        );
        let tone = |c: Rgb| times(c, inside);
        self.parallax = 1.0;
        self.raw(&rect(LEFT, -0.4, RIGHT, floor), tone(wall), tone(times(wall, [0.92; 3])), 1.0);
        let left_side = rng.chance(0.5);
        let wx = if left_side { rng.range(0.3, 0.5) } else { rng.range(0.95, 1.1) };
        let (ww, wy, wh) = (rng.range(0.36, 0.46), 0.1, rng.range(0.28, 0.34));
        self.raw(
            &rect(wx - 0.025, wy - 0.025, wx + ww + 0.025, wy + wh + 0.03),
            tone([250.0; 3]),
            tone([225.0; 3]),
            1.0,
        );
        let a = self.place((wx, wy));
        let b = self.place((wx + ww, wy + wh));
        self.canvas.set_clip(a.0, a.1, b.0, b.1);
        self.sky(wy + wh, rng);
        self.parallax = 0.3;
        self.ridge(wy + wh, 0.09, 7.0, [86.0, 142.0, 84.0], rng);
        self.precipitation_now(0.55);
        self.canvas.clear_clip();
        self.parallax = 1.0;
        let bar = tone([246.0; 3]);
        self.raw(&rect(wx + ww / 2.0 - 0.008, wy, wx + ww / 2.0 + 0.008, wy + wh), bar, bar, 1.0);
        self.raw(&rect(LEFT, floor, RIGHT, 1.4), times(boards, [0.86; 3]), boards, 1.0);
        for i in 0..9 {
            let y = floor + 0.02 + (i as f32).powf(1.4) * 0.022;
            let dark = times(boards, [0.8; 3]);
            self.raw(&rect(LEFT, y, RIGHT, y + 0.005), dark, dark, 1.0);
        }
        let skirting = tone([244.0, 240.0, 232.0]);
        self.raw(&rect(LEFT, floor - 0.02, RIGHT, floor), skirting, skirting, 1.0);
        let ox = if left_side { rng.range(1.05, 1.2) } else { rng.range(0.15, 0.3) };
        match setting {
            Setting::Kitchen => {
                let front = tone(rng.choose(
                    &[[150.0, 176.0, 168.0], [196.0, 172.0, 140.0], [128.0, 146.0, 172.0]],
                    [170.0; 3],
                ));
                let edge = times(front, [0.72; 3]);
                self.raw(&rect(LEFT, floor - 0.17, RIGHT, floor + 0.01), edge, edge, 1.0);
                for i in 0..10 {
                    let x = LEFT + i as f32 * 0.32;
                    self.raw(&rect(x, floor - 0.17, x + 0.31, floor + 0.01), front, front, 1.0);
                    self.raw(&rect(x + 0.13, floor - 0.14, x + 0.18, floor - 0.125), edge, edge, 1.0);
                }
                let top = tone([88.0, 84.0, 84.0]);
                self.raw(&rect(LEFT, floor - 0.2, RIGHT, floor - 0.165), top, top, 1.0);
                for i in 0..2 {
                    let x = ox + i as f32 * 0.24 - 0.05;
                    self.raw(&rect(x, 0.08, x + 0.23, 0.3), front, times(front, [0.9; 3]), 1.0);
                    self.raw(&rect(x + 0.1, 0.26, x + 0.14, 0.275), edge, edge, 1.0);
                }
                let pot = tone([190.0, 192.0, 198.0]);
                self.raw(&rect(ox, floor - 0.27, ox + 0.14, floor - 0.2), pot, times(pot, [0.7; 3]), 1.0);
                self.raw(
                    &rect(ox - 0.04, floor - 0.255, ox + 0.18, floor - 0.24),
                    times(pot, [0.6; 3]),
                    times(pot, [0.6; 3]),
                    1.0,
                );
            }
            Setting::LivingRoom => {
                let rug = tone(rng.choose(
                    &[[176.0, 96.0, 96.0], [104.0, 126.0, 164.0], [150.0, 158.0, 120.0]],
                    [140.0; 3],
                ));
                self.raw(&ellipse(MID_X, 0.87, 0.78, 0.11), rug, rug, 1.0);
                self.raw(&ellipse(MID_X, 0.87, 0.68, 0.088), mix_rgb(rug, [255.0; 3], 0.3), rug, 1.0);
                self.picture(ox, tone([120.0, 88.0, 54.0]), tone([188.0, 206.0, 190.0]));
            }
            Setting::Office => {
                let board = tone([252.0; 3]);
                let frame = tone([120.0, 124.0, 130.0]);
                self.raw(&rect(ox - 0.02, 0.1, ox + 0.46, 0.38), frame, frame, 1.0);
                self.raw(&rect(ox, 0.12, ox + 0.44, 0.36), board, board, 1.0);
                for i in 0..4 {
                    let ink = tone([70.0, 100.0, 160.0]);
                    let y = 0.16 + i as f32 * 0.045;
                    self.raw(&rect(ox + 0.04, y, ox + 0.2 + rng.range(0.0, 0.18), y + 0.012), ink, ink, 1.0);
                }
                for i in 0..4 {
                    let x = LEFT + 0.5 + i as f32 * 0.62;
                    let desk = tone([198.0, 190.0, 178.0]);
                    let dark = tone([54.0, 58.0, 66.0]);
                    self.raw(&rect(x, floor - 0.1, x + 0.4, floor - 0.075), desk, desk, 1.0);
                    self.raw(&rect(x + 0.02, floor - 0.08, x + 0.04, floor + 0.05), dark, dark, 1.0);
                    self.raw(&rect(x + 0.36, floor - 0.08, x + 0.38, floor + 0.05), dark, dark, 1.0);
                    self.raw(&rect(x + 0.12, floor - 0.23, x + 0.28, floor - 0.12), dark, dark, 1.0);
                    self.raw(&rect(x + 0.19, floor - 0.13, x + 0.21, floor - 0.1), dark, dark, 1.0);
                    let glow = [150.0, 200.0, 230.0];
                    self.raw(&rect(x + 0.13, floor - 0.22, x + 0.27, floor - 0.13), glow, glow, 1.0);
                }
            }
            _ => {
                let cloth = tone(rng.choose(
                    &[[166.0, 108.0, 128.0], [106.0, 128.0, 150.0], [188.0, 164.0, 110.0]],
                    [150.0; 3],
                ));
                for x in [wx - 0.14, wx + ww + 0.02] {
                    self.raw(&rect(x, 0.05, x + 0.12, 0.52), cloth, times(cloth, [0.8; 3]), 1.0);
                    let fold = times(cloth, [0.75; 3]);
                    self.raw(&rect(x + 0.05, 0.05, x + 0.06, 0.52), fold, fold, 1.0);
                }
                let rail = tone([90.0, 70.0, 50.0]);
                self.raw(&rect(wx - 0.17, 0.035, wx + ww + 0.17, 0.055), rail, rail, 1.0);
                self.picture(ox, tone([90.0, 74.0, 60.0]), tone([222.0, 190.0, 170.0]));
            }
        }
    }

    fn picture(&mut self, x: f32, frame: Rgb, inner: Rgb) {
        self.raw(&rect(x, 0.14, x + 0.26, 0.36), frame, frame, 1.0);
        self.raw(&rect(x + 0.02, 0.16, x + 0.24, 0.34), inner, times(inner, [0.75; 3]), 1.0);
        let blot = times(inner, [0.6; 3]);
        self.raw(&[(x + 0.04, 0.33), (x + 0.12, 0.22), (x + 0.2, 0.33)], blot, blot, 1.0);
    }

    fn background(&mut self, setting: Setting, h: f32, rng: &mut SceneRng) {
        use Setting as S;
        let vary = rng.range(0.85, 1.12);
        let grass: Rgb = times(mix_rgb([104.0, 170.0, 72.0], [150.0, 184.0, 84.0], rng.f32()), [vary; 3]);
        let dark_grass = times(grass, [0.78; 3]);
        let tufts = [times(grass, [0.7; 3]), times(grass, [1.15; 3])];
        let sand: Rgb = times([232.0, 204.0, 146.0], [vary; 3]);
        let sea: Rgb = mix_rgb([40.0, 120.0, 180.0], [50.0, 150.0, 170.0], rng.f32());
        let paving: Rgb = times([178.0, 174.0, 168.0], [vary; 3]);
        let walls: [Rgb; 5] = [
            [170.0, 140.0, 120.0],
            [150.0, 152.0, 160.0],
            [190.0, 176.0, 150.0],
            [128.0, 132.0, 146.0],
            [178.0, 150.0, 140.0],
        ];
        if setting.is_indoor() {
            self.room(setting, rng);
            return;
        }
        // A road needs room for two rows of vehicles.
        let h = match setting {
            S::Road => h.min(0.53),
            S::Pond => h.min(0.47),
            _ => h,
        };
        if !self.flat {
            self.sky(if setting == S::OpenSky { 0.9 } else { h }, rng);
        }
        self.parallax = 0.5;
        match setting {
            S::Meadow => {
                if rng.chance(0.6) {
                    self.ridge(h + 0.03, 0.12, 4.0, [96.0, 146.0, 104.0], rng);
                }
                if rng.chance(0.5) {
                    self.treeline(h + 0.03, 0.1, false, [62.0, 112.0, 66.0], rng);
                }
                self.ground(h, grass, dark_grass);
                self.specks(h, 110, 0.012, &tufts, rng);
                let blooms = [[250.0, 244.0, 250.0], [246.0, 220.0, 90.0], [206.0, 140.0, 210.0]];
                self.specks(h, 60, 0.006, &blooms, rng);
            }
            S::Mountains => {
                self.parallax = 0.3;
                let snow = rng.chance(0.7);
                self.peaks(h + 0.04, 0.26, 0.42, [128.0, 136.0, 156.0], snow, rng);
                self.parallax = 0.5;
                self.peaks(h + 0.05, 0.1, 0.2, [98.0, 110.0, 116.0], false, rng);
                self.ground(h + 0.03, mix_rgb(grass, [150.0, 150.0, 130.0], 0.5), dark_grass);
                self.specks(h + 0.03, 60, 0.012, &[[150.0, 148.0, 144.0], times(grass, [0.7; 3])], rng);
            }
            S::Desert => {
                self.ridge(h + 0.03, 0.14, 3.0, [222.0, 178.0, 112.0], rng);
                self.ridge(h + 0.09, 0.1, 2.2, [238.0, 200.0, 134.0], rng);
                self.ground(h + 0.1, [240.0, 206.0, 142.0], [214.0, 170.0, 104.0]);
                for i in 0..9 {
                    let y = h + 0.16 + i as f32 * 0.05;
                    let points = ellipse(rng.range(0.0, WIDE), y, rng.range(0.2, 0.5), 0.006);
                    self.paint(&points, [206.0, 162.0, 98.0]);
                }
            }
            S::Beach => {
                self.ground(h, sea, mix_rgb(sea, [120.0, 210.0, 210.0], 0.5));
                let shore = h + rng.range(0.12, 0.18);
                self.waves(h, shore, [236.0, 246.0, 250.0], rng);
                let wash = 0.012 * (self.t * 1.3).sin();
                self.ridge(shore + 0.02 + wash, 0.03, 5.0, [246.0, 250.0, 250.0], rng);
                self.ridge(shore + 0.04 + wash, 0.03, 5.0, sand, rng);
                self.specks(shore + 0.03, 50, 0.007, &[times(sand, [0.8; 3]), [250.0, 236.0, 220.0]], rng);
            }
            S::Forest => {
                self.treeline(h + 0.02, 0.34, true, [48.0, 92.0, 62.0], rng);
                self.treeline(h + 0.04, 0.26, false, [40.0, 104.0, 52.0], rng);
                self.ground(h + 0.02, [84.0, 112.0, 56.0], [74.0, 84.0, 46.0]);
                for i in 0..9 {
                    let x = LEFT + i as f32 * 0.36 + rng.range(0.0, 0.2);
                    let w = rng.range(0.022, 0.045);
                    let base = h + rng.range(0.02, 0.1);
                    self.fade(&rect(x - w, -0.4, x + w, base), [80.0, 60.0, 42.0], [98.0, 72.0, 48.0]);
                }
                for i in 0..12 {
                    let x = LEFT + i as f32 * 0.27 + rng.range(0.0, 0.1);
                    let size = rng.range(0.12, 0.2);
                    self.paint(&ellipse(x, rng.range(-0.04, 0.06), size, size * 0.8), [44.0, 116.0, 54.0]);
                }
                self.specks(
                    h + 0.06,
                    110,
                    0.012,
                    &[[56.0, 96.0, 44.0], [120.0, 90.0, 50.0], [104.0, 140.0, 66.0]],
                    rng,
                );
            }
            S::Lake | S::Pond => {
                self.ridge(h + 0.02, 0.16, 4.5, [92.0, 136.0, 110.0], rng);
                self.treeline(h + 0.02, 0.08, rng.chance(0.5), [58.0, 106.0, 70.0], rng);
                if setting == S::Lake {
                    self.ground(h, mix_rgb(sea, [200.0, 226.0, 236.0], 0.4), sea);
                    self.waves(h, 0.98, [214.0, 234.0, 244.0], rng);
                } else {
                    self.ground(h, grass, dark_grass);
                    self.specks(h, 90, 0.012, &tufts, rng);
                    self.paint(&ellipse(MID_X, 0.77, 1.06, 0.28), [150.0, 136.0, 96.0]);
                    self.paint(&ellipse(MID_X, 0.775, 1.03, 0.265), [86.0, 158.0, 184.0]);
                    for i in 0..14 {
                        let x = rng.range(0.1, WIDE - 0.1) + 0.02 * (self.t + i as f32).sin();
                        let points = ellipse(x, rng.range(0.63, 0.94), 0.07, 0.006);
                        self.paint(&points, [150.0, 204.0, 220.0]);
                    }
                }
                for i in 0..22 {
                    let side =
                        if i % 2 == 0 { rng.range(-0.2, 0.2) } else { rng.range(WIDE - 0.2, WIDE + 0.2) };
                    let (height, base) = (rng.range(0.12, 0.24), rng.range(0.82, 1.0));
                    let sway = 0.01 * (self.t * 1.7 + i as f32).sin();
                    self.paint(&line((side, base), (side + sway, base - height), 0.009), [84.0, 128.0, 60.0]);
                    self.paint(&ellipse(side + sway, base - height, 0.009, 0.026), [116.0, 78.0, 44.0]);
                }
                if setting == S::Lake {
                    // Things on foot need a shore to stand on.
                    let shore = if self.traffic { 0.95 } else { 0.77 };
                    self.ridge(shore, 0.05, 3.0, dark_grass, rng);
                }
            }
            S::River => {
                self.ridge(h + 0.03, 0.14, 4.0, [104.0, 150.0, 96.0], rng);
                self.treeline(h + 0.03, 0.09, true, [58.0, 104.0, 66.0], rng);
                self.ground(h, grass, dark_grass);
                self.specks(h, 90, 0.012, &tufts, rng);
                let bend = rng.range(-0.25, 0.25);
                let mut left_bank = Vec::new();
                let mut right_bank = Vec::new();
                for i in 0..=16 {
                    let k = i as f32 / 16.0;
                    let y = h + 0.01 + k * (1.15 - h);
                    let middle = MID_X + bend + (k * 5.2).sin() * 0.3 * (0.3 + k);
                    let half = 0.025 + 0.2 * k;
                    left_bank.push((middle - half, y));
                    right_bank.push((middle + half, y));
                }
                right_bank.reverse();
                left_bank.extend(right_bank);
                self.fade(&left_bank, mix_rgb(sea, [220.0, 236.0, 244.0], 0.5), sea);
                for i in 0..14 {
                    let k = ((i as f32 + rng.f32()) / 14.0 + self.t * 0.03).fract();
                    let x = MID_X
                        + bend
                        + (k * 5.2).sin() * 0.3 * (0.3 + k)
                        + rng.range(-0.5, 0.5) * (0.03 + 0.25 * k);
                    let y = h + 0.01 + k * (1.15 - h);
                    self.paint(&ellipse(x, y, 0.02 + 0.05 * k, 0.003 + 0.004 * k), [206.0, 230.0, 242.0]);
                }
            }
            S::Waterfall => {
                let rock: Rgb = [112.0, 106.0, 104.0];
                self.fade(&rect(LEFT, 0.13, RIGHT, h + 0.2), rock, times(rock, [0.75; 3]));
                for _ in 0..26 {
                    let (x, y) = (rng.range(-0.2, WIDE + 0.2), rng.range(0.18, h));
                    let (w, g) = (rng.range(0.04, 0.12), rng.range(0.04, 0.1));
                    self.paint(
                        &[(x - w, y), (x - w * 0.3, y - g), (x + w, y - g * 0.3), (x + w * 0.5, y + g * 0.4)],
                        times(rock, [rng.range(0.75, 1.2); 3]),
                    );
                }
                self.treeline(0.16, 0.1, true, [50.0, 110.0, 62.0], rng);
                let x = rng.range(0.55, WIDE - 0.55);
                let half = rng.range(0.14, 0.2);
                self.paint(
                    &[
                        (x - half, 0.12),
                        (x + half, 0.12),
                        (x + half * 1.2, h + 0.14),
                        (x - half * 1.2, h + 0.14),
                    ],
                    [222.0, 238.0, 248.0],
                );
                for i in 0..24 {
                    let dx = (i as f32 / 24.0 - 0.48) * 2.2 * half;
                    let y = 0.12 + ((rng.f32() + self.t * 0.45).fract()) * (h - 0.1);
                    self.paint(&rect(x + dx - 0.006, y, x + dx + 0.006, y + 0.11), [160.0, 200.0, 228.0]);
                }
                self.ground(h + 0.11, [120.0, 186.0, 206.0], sea);
                self.waves(h + 0.13, 0.9, [226.0, 242.0, 248.0], rng);
                for i in 0..9 {
                    let dx = (i as f32 / 8.0 - 0.5) * 3.0 * half;
                    let r = 0.045 + 0.012 * (self.t * 3.0 + i as f32 * 1.7).sin();
                    self.paint(&ellipse(x + dx, h + 0.13, r * 1.5, r), [240.0, 248.0, 252.0]);
                }
                self.ridge(0.8, 0.06, 3.0, [96.0, 138.0, 76.0], rng);
            }
            S::Hills => {
                self.parallax = 0.3;
                self.ridge(h + 0.02, 0.22, 3.4, [122.0, 172.0, 128.0], rng);
                self.parallax = 0.6;
                self.ridge(h + 0.1, 0.18, 2.6, times(grass, [0.92; 3]), rng);
                self.parallax = 1.0;
                self.ridge(h + 0.2, 0.14, 2.0, grass, rng);
                self.specks(h + 0.2, 60, 0.01, &tufts, rng);
            }
            S::Canyon => {
                let red: Rgb = [192.0, 98.0, 58.0];
                self.ridge(h + 0.02, 0.12, 3.0, [206.0, 130.0, 84.0], rng);
                self.ground(h, [214.0, 140.0, 92.0], [176.0, 100.0, 62.0]);
                let reach = rng.range(0.36, 0.5);
                for (edge, sign) in [(LEFT, 1.0), (RIGHT, -1.0)] {
                    let inner = if sign > 0.0 { reach } else { WIDE - reach };
                    let slant = 0.16 * sign;
                    for band in 0..7 {
                        let k = band as f32;
                        let (y0, y1) = (0.04 + k * 0.085, 0.04 + (k + 1.0) * 0.085);
                        let ease = slant * (k / 7.0 - 0.5);
                        let colour =
                            mix_rgb(red, [236.0, 166.0, 110.0], if band % 2 == 0 { 0.0 } else { 0.5 });
                        self.paint(
                            &[(edge, y0), (inner + ease, y0), (inner + ease + slant * 0.14, y1), (edge, y1)],
                            colour,
                        );
                    }
                }
                self.specks(h + 0.04, 50, 0.014, &[[160.0, 84.0, 50.0], [226.0, 158.0, 112.0]], rng);
            }
            S::Snowfield => {
                self.parallax = 0.3;
                self.peaks(h + 0.04, 0.12, 0.28, [168.0, 182.0, 204.0], true, rng);
                self.parallax = 0.6;
                self.treeline(h + 0.04, 0.09, true, [92.0, 118.0, 124.0], rng);
                self.ground(h + 0.02, [236.0, 242.0, 250.0], [220.0, 230.0, 244.0]);
                self.ridge(h + 0.16, 0.07, 3.2, [246.0, 249.0, 253.0], rng);
                self.specks(h + 0.1, 30, 0.008, &[[200.0, 212.0, 230.0]], rng);
            }
            S::Park | S::SportsField | S::Pasture | S::Farmyard => {
                match setting {
                    S::Park => {
                        self.buildings(
                            h + 0.02,
                            0.08,
                            0.2,
                            &[[188.0, 186.0, 190.0], [206.0, 198.0, 190.0]],
                            rng,
                        );
                        self.treeline(h + 0.03, 0.15, false, [74.0, 134.0, 70.0], rng);
                    }
                    S::SportsField => self.treeline(h + 0.02, 0.08, false, [74.0, 124.0, 76.0], rng),
                    _ => self.ridge(h + 0.02, 0.14, 3.6, [120.0, 164.0, 98.0], rng),
                }
                self.ground(h, grass, dark_grass);
                match setting {
                    S::Park => {
                        self.specks(h, 50, 0.01, &tufts, rng);
                        let lean = rng.range(-0.5, 0.5);
                        self.paint(
                            &[
                                (MID_X + lean - 0.04, h),
                                (MID_X + lean + 0.04, h),
                                (MID_X + lean * 0.4 + 0.2, h + 0.16),
                                (MID_X + 0.5, 1.3),
                                (MID_X - 0.4, 1.3),
                                (MID_X + lean * 0.4 - 0.06, h + 0.16),
                            ],
                            [216.0, 198.0, 164.0],
                        );
                    }
                    S::SportsField => {
                        for i in 0..6 {
                            let k = i as f32;
                            let y = h + 0.02 + k * k * 0.02;
                            if i % 2 == 0 {
                                self.paint(
                                    &rect(LEFT, y, RIGHT, y + 0.02 + k * 0.02),
                                    times(grass, [1.12; 3]),
                                );
                            }
                        }
                        let white = [250.0; 3];
                        self.paint(&rect(LEFT, h + 0.06, RIGHT, h + 0.07), white);
                        self.paint(&rect(LEFT, 0.93, RIGHT, 0.95), white);
                        let x = rng.range(0.5, 1.2);
                        self.paint(
                            &[
                                (x, h + 0.06),
                                (x + 0.012, h + 0.06),
                                (x * 1.2 - 0.1, 1.3),
                                (x * 1.2 - 0.14, 1.3),
                            ],
                            white,
                        );
                        for side in [0.14, WIDE - 0.4] {
                            self.paint(&rect(side, h - 0.1, side + 0.26, h - 0.09), white);
                            self.paint(&rect(side, h - 0.1, side + 0.01, h + 0.05), white);
                            self.paint(&rect(side + 0.25, h - 0.1, side + 0.26, h + 0.05), white);
                        }
                    }
                    S::Pasture => {
                        self.specks(h, 100, 0.012, &tufts, rng);
                        self.fence(h + 0.1);
                    }
                    _ => {
                        self.paint(&ellipse(MID_X, 0.86, 1.1, 0.24), [196.0, 166.0, 116.0]);
                        let x = if rng.chance(0.5) { rng.range(0.1, 0.3) } else { rng.range(1.0, 1.2) };
                        let red: Rgb = [158.0, 52.0, 44.0];
                        self.paint(&rect(x, h - 0.16, x + 0.46, h + 0.1), red);
                        self.paint(
                            &[
                                (x - 0.03, h - 0.15),
                                (x + 0.06, h - 0.3),
                                (x + 0.4, h - 0.3),
                                (x + 0.49, h - 0.15),
                            ],
                            [96.0, 84.0, 82.0],
                        );
                        self.paint(&rect(x + 0.15, h - 0.06, x + 0.31, h + 0.1), [244.0, 236.0, 224.0]);
                        self.paint(&rect(x + 0.165, h - 0.045, x + 0.295, h + 0.1), [130.0, 42.0, 36.0]);
                        self.fence(h + 0.1);
                        self.paint(&rect(x + 0.12, h + 0.02, x + 0.34, h + 0.1), [120.0, 40.0, 36.0]);
                    }
                }
            }
            S::OpenSky => {
                let low = 0.93;
                self.parallax = 0.3;
                self.ridge(low, 0.1, 4.0, [110.0, 150.0, 120.0], rng);
            }
            S::Road => {
                self.ridge(h + 0.02, 0.14, 3.2, [120.0, 160.0, 104.0], rng);
                self.ground(h, mix_rgb(grass, [210.0, 190.0, 100.0], 0.4), grass);
                self.specks(h, 50, 0.01, &tufts, rng);
                self.paint(&rect(LEFT, 0.585, RIGHT, 0.96), [96.0, 98.0, 104.0]);
                self.dashes(0.74);
                self.paint(&rect(LEFT, 0.592, RIGHT, 0.602), [236.0; 3]);
                self.paint(&rect(LEFT, 0.94, RIGHT, 0.95), [236.0; 3]);
            }
            S::Harbour => {
                self.buildings(
                    h + 0.04,
                    0.07,
                    0.14,
                    &[[206.0, 170.0, 140.0], [190.0, 190.0, 196.0], [210.0, 200.0, 170.0]],
                    rng,
                );
                self.ground(h, mix_rgb(sea, [180.0, 214.0, 226.0], 0.3), times(sea, [0.8; 3]));
                self.waves(h, 0.98, [190.0, 222.0, 238.0], rng);
                let side = if rng.chance(0.5) { LEFT } else { WIDE - 0.32 };
                self.paint(&rect(side, h + 0.1, side + 1.02, h + 0.14), [140.0, 104.0, 70.0]);
                for i in 0..10 {
                    let x = side + 0.03 + i as f32 * 0.105;
                    self.paint(&rect(x, h + 0.14, x + 0.022, h + 0.22), [104.0, 76.0, 52.0]);
                }
            }
            S::Railway => {
                self.ridge(h + 0.02, 0.14, 3.0, [116.0, 152.0, 108.0], rng);
                self.treeline(h + 0.03, 0.07, true, [70.0, 112.0, 78.0], rng);
                self.ground(h, grass, dark_grass);
                self.paint(&rect(LEFT, 0.76, RIGHT, 0.93), [150.0, 140.0, 130.0]);
                for i in 0..36 {
                    let x = LEFT + i as f32 * 0.09;
                    self.paint(
                        &[(x, 0.79), (x + 0.03, 0.79), (x + 0.02, 0.9), (x - 0.014, 0.9)],
                        [98.0, 72.0, 52.0],
                    );
                }
                self.paint(&rect(LEFT, 0.805, RIGHT, 0.817), [80.0, 82.0, 88.0]);
                self.paint(&rect(LEFT, 0.868, RIGHT, 0.882), [80.0, 82.0, 88.0]);
                for i in 0..5 {
                    let x = LEFT + 0.3 + i as f32 * 0.62;
                    self.paint(&rect(x, 0.2, x + 0.014, 0.77), [104.0, 96.0, 90.0]);
                    self.paint(&rect(x - 0.03, 0.24, x + 0.05, 0.25), [104.0, 96.0, 90.0]);
                }
                self.paint(&rect(LEFT, 0.245, RIGHT, 0.249), [70.0; 3]);
            }
            S::Street => {
                self.parallax = 0.8;
                let (kerb, road_end) = if self.traffic { (0.56, 1.4) } else { (0.65, 0.74) };
                self.buildings(kerb - 0.04, 0.3, 0.58, &walls, rng);
                self.parallax = 1.0;
                self.ground(kerb - 0.05, paving, times(paving, [0.9; 3]));
                self.paint(&rect(LEFT, kerb, RIGHT, road_end), [88.0, 90.0, 98.0]);
                self.paint(&rect(LEFT, kerb - 0.006, RIGHT, kerb + 0.006), [206.0; 3]);
                if self.traffic {
                    self.dashes(0.73);
                } else {
                    self.dashes(0.69);
                    self.paint(&rect(LEFT, 0.735, RIGHT, 0.748), [206.0; 3]);
                    self.slabs(0.76);
                }
            }
            S::Skyline => {
                self.parallax = 0.3;
                self.buildings(
                    h + 0.07,
                    0.2,
                    0.48,
                    &[[108.0, 120.0, 142.0], [128.0, 136.0, 152.0], [94.0, 104.0, 126.0]],
                    rng,
                );
                self.ground(h + 0.03, mix_rgb(sea, [150.0, 170.0, 190.0], 0.4), times(sea, [0.8; 3]));
                self.waves(h + 0.03, 0.72, [190.0, 210.0, 226.0], rng);
                self.paint(&rect(LEFT, 0.74, RIGHT, 1.4), paving);
                self.paint(&rect(LEFT, 0.73, RIGHT, 0.75), times(paving, [0.7; 3]));
                self.slabs(0.78);
            }
            S::Square | S::Plaza => {
                self.parallax = 0.8;
                if setting == S::Square {
                    let wall: Rgb = rng.choose(
                        &[[214.0, 186.0, 150.0], [196.0, 164.0, 150.0], [206.0, 200.0, 186.0]],
                        [200.0; 3],
                    );
                    self.paint(&rect(LEFT, 0.22, RIGHT, 0.62), wall);
                    self.paint(&rect(LEFT, 0.2, RIGHT, 0.235), times(wall, [0.75; 3]));
                    for i in 0..17 {
                        let x = LEFT + i as f32 * 0.19;
                        let dark = times(wall, [0.5; 3]);
                        self.paint(&rect(x, 0.49, x + 0.11, 0.62), dark);
                        self.paint(&ellipse(x + 0.055, 0.49, 0.055, 0.055), dark);
                        self.paint(&rect(x + 0.03, 0.29, x + 0.08, 0.37), [92.0, 104.0, 120.0]);
                    }
                } else {
                    self.buildings(
                        0.6,
                        0.14,
                        0.34,
                        &[[190.0, 200.0, 208.0], [170.0, 182.0, 196.0], [204.0, 196.0, 190.0]],
                        rng,
                    );
                    self.treeline(0.61, 0.08, false, [86.0, 136.0, 84.0], rng);
                }
                self.ground(0.6, paving, times(paving, [0.85; 3]));
                self.slabs(0.6);
            }
            S::Bridge => {
                self.parallax = 0.4;
                self.buildings(h + 0.07, 0.1, 0.26, &walls, rng);
                self.ground(h + 0.02, sea, times(sea, [0.75; 3]));
                self.waves(h + 0.02, 0.74, [180.0, 206.0, 226.0], rng);
                self.parallax = 0.6;
                let deck = h - 0.04;
                let steel: Rgb = rng
                    .choose(&[[150.0, 88.0, 74.0], [120.0, 128.0, 140.0], [92.0, 116.0, 104.0]], [130.0; 3]);
                for i in 0..5 {
                    let x = LEFT + 0.2 + i as f32 * 0.64;
                    for k in 0..20 {
                        let (s0, c0) = (k as f32 / 20.0 * std::f32::consts::PI).sin_cos();
                        let (s1, c1) = ((k + 1) as f32 / 20.0 * std::f32::consts::PI).sin_cos();
                        self.paint(
                            &line((x + c0 * 0.3, deck - s0 * 0.22), (x + c1 * 0.3, deck - s1 * 0.22), 0.026),
                            steel,
                        );
                        if k % 3 == 0 {
                            self.paint(
                                &line((x + c0 * 0.3, deck - s0 * 0.22), (x + c0 * 0.3, deck), 0.007),
                                steel,
                            );
                        }
                    }
                    self.paint(&rect(x + 0.29, deck, x + 0.35, h + 0.12), [140.0, 136.0, 130.0]);
                }
                self.paint(&rect(LEFT, deck - 0.012, RIGHT, deck + 0.03), times(steel, [0.8; 3]));
                self.parallax = 1.0;
                self.paint(&rect(LEFT, 0.75, RIGHT, 1.4), paving);
                self.paint(&rect(LEFT, 0.74, RIGHT, 0.76), times(paving, [0.7; 3]));
                self.slabs(0.78);
            }
            S::Village => {
                self.ridge(h + 0.02, 0.18, 3.0, [112.0, 156.0, 104.0], rng);
                self.ground(h, grass, dark_grass);
                for i in 0..9 {
                    let x = LEFT + i as f32 * 0.36 + rng.range(0.0, 0.12);
                    let y = h + 0.02;
                    self.paint(&rect(x, y - 0.07, x + 0.11, y), [226.0, 216.0, 200.0]);
                    self.paint(
                        &[(x - 0.015, y - 0.068), (x + 0.055, y - 0.12), (x + 0.125, y - 0.068)],
                        [150.0, 90.0, 74.0],
                    );
                }
                self.paint(&[(LEFT, 0.84), (RIGHT, 0.8), (RIGHT, 0.97), (LEFT, 0.99)], [206.0, 188.0, 156.0]);
                self.specks(h + 0.04, 50, 0.01, &tufts, rng);
            }
            S::Stage => {
                self.parallax = 1.0;
                let cloth: Rgb = rng.choose(
                    &[[150.0, 30.0, 44.0], [44.0, 60.0, 130.0], [86.0, 40.0, 110.0]],
                    [140.0, 30.0, 40.0],
                );
                self.paint(&rect(LEFT, -0.4, RIGHT, 0.7), [206.0, 196.0, 186.0]);
                let beam = self.lit([255.0, 250.0, 226.0]);
                for x in [0.5, MID_X, WIDE - 0.5] {
                    self.raw(
                        &[(x - 0.03, -0.1), (x + 0.03, -0.1), (x + 0.26, 0.8), (x - 0.26, 0.8)],
                        beam,
                        beam,
                        0.45,
                    );
                }
                self.fade(&rect(LEFT, 0.68, RIGHT, 1.4), [150.0, 104.0, 66.0], [186.0, 134.0, 88.0]);
                for i in 0..7 {
                    let y = 0.7 + i as f32 * 0.05;
                    self.paint(&rect(LEFT, y, RIGHT, y + 0.004), [120.0, 80.0, 50.0]);
                }
                for i in 0..7 {
                    for x in [-0.18 + i as f32 * 0.07, WIDE + 0.14 - i as f32 * 0.07] {
                        let shade = if i % 2 == 0 { 1.0 } else { 0.72 };
                        self.paint(&rect(x - 0.035, -0.4, x + 0.035, 0.78), times(cloth, [shade; 3]));
                    }
                }
                for i in 0..13 {
                    let x = LEFT + 0.1 + i as f32 * 0.26;
                    self.paint(
                        &ellipse(x, 0.06, 0.14, 0.08),
                        times(cloth, [if i % 2 == 0 { 0.9 } else { 0.72 }; 3]),
                    );
                }
                self.paint(&rect(LEFT, -0.4, RIGHT, 0.05), times(cloth, [0.85; 3]));
            }
            S::Underwater => {
                self.parallax = 0.4;
                let hue = rng.f32();
                self.fade(
                    &rect(LEFT, -0.5, RIGHT, 1.4),
                    mix_rgb([120.0, 206.0, 236.0], [110.0, 210.0, 214.0], hue),
                    mix_rgb([14.0, 62.0, 136.0], [10.0, 90.0, 120.0], hue),
                );
                let ray = self.lit([220.0, 246.0, 255.0]);
                for i in 0..5 {
                    let x = i as f32 * 0.4 + rng.range(-0.1, 0.2) + 0.03 * (self.t * 0.8 + i as f32).sin();
                    self.raw(&[(x, -0.2), (x + 0.09, -0.2), (x - 0.1, 0.8), (x - 0.3, 0.8)], ray, ray, 0.16);
                }
                self.parallax = 1.0;
                self.ridge(0.93, 0.07, 3.0, [214.0, 196.0, 146.0], rng);
                for i in 0..16 {
                    let (x, height) = (rng.range(-0.3, WIDE + 0.3), rng.range(0.12, 0.3));
                    let mut base = (x, 0.97);
                    for k in 1..=5 {
                        let sway = 0.022 * (self.t * 1.4 + i as f32 + k as f32 * 1.3).sin();
                        let next = (x + sway, 0.97 - height * k as f32 / 5.0);
                        self.paint(&line(base, next, 0.016), [46.0, 134.0, 86.0]);
                        base = next;
                    }
                }
                for i in 0..14 {
                    let x = rng.range(0.0, WIDE) + 0.01 * (self.t * 2.0 + i as f32).sin();
                    let y = 1.1 - (rng.f32() * 1.3 + self.t * 0.09).rem_euclid(1.3);
                    let r = rng.range(0.006, 0.013);
                    let pale = self.lit([220.0, 244.0, 255.0]);
                    self.raw(&ellipse(x, y, r, r), pale, pale, 0.7);
                }
            }
            S::Plain | S::Stripes | S::Checkers | S::Rings => {
                self.parallax = 0.3;
                let pale = [
                    [232.0, 226.0, 212.0],
                    [204.0, 222.0, 236.0],
                    [214.0, 232.0, 212.0],
                    [238.0, 214.0, 222.0],
                    [222.0, 216.0, 238.0],
                    [206.0, 206.0, 210.0],
                ];
                let base: Rgb = rng.choose(&pale, [220.0; 3]);
                let second = times(base, [rng.range(0.74, 0.84); 3]);
                self.fade(&rect(LEFT, -0.5, RIGHT, 1.5), base, times(base, [0.9; 3]));
                let pitch = rng.range(0.13, 0.24);
                match setting {
                    S::Stripes => {
                        let lean = rng.choose(&[-0.6, -0.3, 0.3, 0.6], 0.3);
                        for i in 0..24 {
                            let x = LEFT - 0.6 + i as f32 * pitch * 1.2;
                            self.paint(
                                &[
                                    (x, -0.5),
                                    (x + pitch * 0.6, -0.5),
                                    (x + pitch * 0.6 + lean, 1.5),
                                    (x + lean, 1.5),
                                ],
                                second,
                            );
                        }
                    }
                    S::Checkers => {
                        for row in 0..12 {
                            for column in 0..14 {
                                if (row + column) % 2 == 0 {
                                    let (x, y) = (-0.5 + column as f32 * pitch, -0.3 + row as f32 * pitch);
                                    self.paint(&rect(x, y, x + pitch, y + pitch), second);
                                }
                            }
                        }
                    }
                    S::Rings => {
                        for i in 0..8 {
                            let r = (8 - i) as f32 * pitch * 0.75;
                            self.paint(&ellipse(MID_X, 0.5, r, r), if i % 2 == 0 { second } else { base });
                        }
                    }
                    _ => {}
                }
            }
            S::Starfield => {
                self.parallax = 0.2;
                let far = mix_rgb([10.0, 10.0, 26.0], [26.0, 12.0, 42.0], rng.f32());
                self.raw(&rect(LEFT, -0.5, RIGHT, 1.5), far, times(far, [0.6; 3]), 1.0);
                for _ in 0..4 {
                    let points =
                        ellipse(rng.range(0.0, WIDE), rng.f32(), rng.range(0.2, 0.5), rng.range(0.1, 0.3));
                    self.raw(&points, [70.0, 50.0, 120.0], [40.0, 60.0, 130.0], 0.16);
                }
                for i in 0..130 {
                    let (x, y, r) =
                        (rng.range(-0.2, WIDE + 0.2), rng.range(-0.1, 1.1), rng.range(0.0016, 0.0055));
                    let bright = 0.75 + 0.25 * (self.t * 3.0 + i as f32).sin();
                    self.raw(
                        &[(x - r, y), (x, y - r), (x + r, y), (x, y + r)],
                        [255.0; 3],
                        [255.0; 3],
                        bright,
                    );
                }
            }
            S::Chart => {
                self.parallax = 1.0;
                self.raw(&rect(LEFT, -0.5, RIGHT, 1.5), [250.0, 250.0, 248.0], [244.0; 3], 1.0);
                for i in 0..12 {
                    let at = i as f32 * 0.1;
                    self.raw(
                        &rect(0.14, 0.02 + at, RIGHT, 0.025 + at),
                        [200.0, 204.0, 210.0],
                        [200.0, 204.0, 210.0],
                        1.0,
                    );
                }
                for i in 0..18 {
                    let at = 0.24 + i as f32 * 0.1;
                    self.raw(
                        &rect(at, -0.5, at + 0.004, 0.91),
                        [214.0, 218.0, 224.0],
                        [214.0, 218.0, 224.0],
                        1.0,
                    );
                }
                self.raw(&rect(0.13, -0.5, 0.145, 0.925), [60.0; 3], [60.0; 3], 1.0);
                self.raw(&rect(0.13, 0.91, RIGHT, 0.925), [60.0; 3], [60.0; 3], 1.0);
                for i in 0..7 {
                    let y = 0.12 + i as f32 * 0.12;
                    self.raw(&rect(0.06, y, 0.11, y + 0.014), [110.0; 3], [110.0; 3], 1.0);
                }
            }
            S::TestCard => {
                self.parallax = 0.2;
                let bars: [Rgb; 7] = [
                    [205.0; 3],
                    [205.0, 205.0, 90.0],
                    [90.0, 200.0, 205.0],
                    [96.0, 196.0, 100.0],
                    [200.0, 110.0, 196.0],
                    [204.0, 96.0, 90.0],
                    [96.0, 104.0, 200.0],
                ];
                for (i, bar) in bars.iter().enumerate() {
                    let x = -0.05 + i as f32 * 0.27;
                    self.raw(&rect(x, -0.5, x + 0.275, 0.8), *bar, *bar, 1.0);
                }
                for i in 0..10 {
                    let x = -0.1 + i as f32 * 0.2;
                    let g = i as f32 * 26.0;
                    self.raw(&rect(x, 0.8, x + 0.2, 1.5), [g; 3], [g; 3], 1.0);
                }
            }
            S::Kitchen | S::LivingRoom | S::Office | S::Bedroom => {}
        }
        self.parallax = 1.0;
    }

    fn dashes(&mut self, y: f32) {
        for i in 0..12 {
            let x = LEFT + i as f32 * 0.28;
            self.paint(&rect(x, y, x + 0.15, y + 0.014), [240.0, 232.0, 196.0]);
        }
    }

    fn slabs(&mut self, y: f32) {
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

    fn grain(&mut self) {
        let origin = self.place((0.0, 0.0));
        let zoom = (1.0 + (self.zoom - 1.0) * self.parallax) * self.scale;
        self.canvas.texture(origin, 0.023 * zoom, 9.0, self.seed);
    }

    /// Draws one object with its outline.
    fn object(&mut self, sprite: &Sprite) {
        let &Sprite { kind, colour, at, height, flip, beat, id } = sprite;
        let shape = shape(kind, colour, beat, id);
        let side = if flip { -1.0 } else { 1.0 };
        let tint: Rgb = if self.flat {
            if self.light == Light::Night { [0.93; 3] } else { [1.0; 3] }
        } else {
            match self.light {
                Light::Day => [1.0; 3],
                Light::Sunset => [1.0, 0.95, 0.9],
                Light::Night => [0.92, 0.92, 0.96],
                Light::Dawn => [0.98, 0.95, 0.98],
            }
        };
        // Pale outlines keep dark objects apart from dark backgrounds.
        let dim = matches!(self.light, Light::Night);
        let dark_object = matches!(colour, Colour::Black)
            || (dim && kind == Kind::Bicycle)
            || (dim && matches!(colour, Colour::Brown | Colour::Blue | Colour::Purple | Colour::Green));
        let edge: Rgb = if dark_object { [216.0, 214.0, 206.0] } else { [24.0, 22.0, 28.0] };
        let width = (0.0055 + height * 0.006).min(0.0105);
        let placed: Vec<(Vec<Point>, Rgb)> = shape
            .parts
            .into_iter()
            .map(|part| {
                let points = part
                    .points
                    .into_iter()
                    .map(|(x, y)| (at.0 + side * x * height, at.1 - y * height))
                    .collect();
                (points, times(part.rgb, tint))
            })
            .collect();
        for (points, _) in &placed {
            self.raw(&grown(points, width), edge, edge, 1.0);
        }
        for (points, rgb) in &placed {
            self.raw(points, times(*rgb, [1.06; 3]), times(*rgb, [0.9; 3]), 1.0);
        }
    }

    fn objects(&mut self, scene: &Scene, horizon: f32) {
        let mut rng = SceneRng::new(scene.seed, 4);
        let count = usize::from(scene.count.max(1));
        let t = self.t;
        let left = rng.chance(0.5);
        if let Some(extra) = scene.secondary {
            let reach = rng.range(0.56, 0.64);
            let x = if left { MID_X - reach } else { MID_X + reach };
            let flip = rng.chance(0.5);
            let indoor = scene.setting.is_indoor();
            let (y, size) = match extra.kind {
                Kind::Bird => (rng.range(0.2, 0.28), 0.07),
                Kind::Balloon => (rng.range(0.34, 0.42), 0.15),
                Kind::Plant => (0.74, 0.22),
                Kind::Sailboat => (horizon + 0.06, 0.15),
                Kind::Bicycle => (0.71, 0.12),
                Kind::Bench => (horizon + 0.14, 0.08),
                Kind::House => (horizon + 0.09, 0.17),
                _ => (
                    horizon.max(
                        if scene.setting == Setting::Plaza
                            || scene.setting == Setting::Square
                            || scene.setting == Setting::Street
                        {
                            0.6
                        } else {
                            0.0
                        },
                    ) + 0.09,
                    0.21,
                ),
            };
            let bob = if indoor { 0.0 } else { 0.008 * (t * 1.1).sin() };
            let drift = if is_aloft(extra.kind) {
                (bob + t * 0.008 * if flip { -1.0 } else { 1.0 }, bob)
            } else {
                (0.0, 0.0)
            };
            self.object(&Sprite {
                kind: extra.kind,
                colour: extra.colour,
                at: (x + drift.0, y + drift.1),
                height: size,
                flip,
                beat: t * 3.0,
                id: scene.seed ^ 77,
            });
        }
        let wide = aspect(scene.kind);
        let footing = scene.kind.footing();
        let aloft = matches!(footing, Footing::Air | Footing::Free);
        let limit: f32 = match scene.kind {
            Kind::Tower => 0.62,
            Kind::Tree
            | Kind::Pine
            | Kind::Palm
            | Kind::LampPost
            | Kind::House
            | Kind::Balloon
            | Kind::Umbrella
            | Kind::Dancer
            | Kind::Person
            | Kind::Child
            | Kind::Sailboat
            | Kind::Bar => 0.52,
            Kind::Flower | Kind::Cactus | Kind::FloorLamp | Kind::Bookcase => 0.48,
            Kind::Bird
            | Kind::Butterfly
            | Kind::Rabbit
            | Kind::Cat
            | Kind::Duck
            | Kind::Mushroom
            | Kind::Rock => 0.36,
            Kind::Bench | Kind::Table | Kind::Sofa | Kind::Bed => 0.36,
            _ => 0.42,
        };
        // Wide things and flying things stand two by two rather than in a row.
        let narrow = matches!(scene.setting, Setting::Skyline | Setting::Bridge) && !aloft;
        let grid = !narrow && (count == 4 && (aloft || wide > 1.1) || count == 3 && wide > 1.4);
        let row_gap = if scene.setting.is_indoor() { 0.18 } else { 0.25 };
        let columns = if grid { 2 } else { count };
        let slot = match columns {
            1 => 0.66,
            2 => 0.48,
            3 => 0.36,
            _ => 0.285,
        };
        let tall = if grid { if aloft { 0.3 } else { row_gap * 0.82 } } else { limit };
        let group = slot * columns as f32;
        let free = (0.66 - group / 2.0).clamp(0.0, 0.22);
        // The group makes room for the extra object.
        let drawn = rng.range(-free, free);
        let middle = match (scene.secondary, left) {
            (None, _) => MID_X + drawn,
            (Some(_), true) => MID_X + drawn.abs(),
            (Some(_), false) => MID_X - drawn.abs(),
        };
        let common = rng.range(0.74, 1.0);
        let facing = rng.chance(0.5);
        let heading = if facing { -1.0 } else { 1.0 };
        let speed = match scene.kind.category() {
            Category::Vehicle => 0.028,
            Category::Animal => 0.018,
            _ => 0.0,
        };
        // The group crosses its own middle half way through the clip.
        let travel = heading * speed * (t - 2.5);
        let base_y = match scene.setting {
            Setting::Railway => 0.89,
            Setting::Street if scene.category == Category::Vehicle => rng.range(0.85, 0.88),
            Setting::Road => rng.range(0.85, 0.88),
            Setting::Harbour | Setting::Lake | Setting::Pond => rng.range(0.82, 0.86),
            s if s.is_indoor() => rng.range(0.84, 0.89),
            _ => rng.range(0.82, 0.89),
        };
        let mut order: Vec<(usize, Point, f32, f32)> = Vec::new();
        for i in 0..count {
            let (column, row) = (i % columns, i / columns);
            let in_row = if grid && row == 1 { count - columns } else { columns };
            let offset = (column as f32 - (in_row as f32 - 1.0) / 2.0) * slot;
            let fit = (slot * 0.86 / wide).min(tall);
            let height = fit * common * rng.range(0.88, 1.0);
            let jitter_x = rng.range(-0.055, 0.055) * slot;
            let phase = rng.range(0.0, std::f32::consts::TAU);
            let y = if aloft {
                let centre = if grid {
                    match (row, footing) {
                        (0, Footing::Air) => 0.26,
                        (_, Footing::Air) => 0.58,
                        (0, _) => 0.3,
                        _ => 0.66,
                    }
                } else if footing == Footing::Air {
                    0.42 + rng.range(-0.1, 0.06)
                } else {
                    0.52 + rng.range(-0.07, 0.07)
                };
                centre + height / 2.0
            } else if grid {
                base_y - if row == 0 { row_gap } else { 0.0 } + 0.01
            } else {
                base_y - rng.range(0.0, 0.05)
            };
            let bob = match footing {
                Footing::Air | Footing::Free => 0.012 * (t * 1.3 + phase).sin(),
                Footing::Water => 0.007 * (t * 1.6 + phase).sin(),
                Footing::Ground => 0.0,
            };
            order.push((i, (middle + offset + jitter_x + travel, y + bob), height, phase));
        }
        // Nearer things cover farther ones.
        order.sort_by(|a, b| a.1.1.total_cmp(&b.1.1));
        for (i, at, height, phase) in order {
            let pace = match scene.kind {
                Kind::Bird | Kind::Butterfly => 6.0,
                Kind::Tree | Kind::Pine | Kind::Palm | Kind::Flower | Kind::Plant => 1.4,
                _ => 3.0,
            };
            let flip = match scene.kind.category() {
                Category::Vehicle | Category::Animal => facing,
                _ => rng.chance(0.5) && scene.category != Category::Other,
            };
            if !aloft && footing == Footing::Ground {
                let (w, y) = (height * wide * 0.46, at.1);
                self.raw(&ellipse(at.0, y, w, 0.014 + height * 0.025), [20.0; 3], [20.0; 3], 0.28);
            }
            let id = super::rng::mix(scene.seed, 100 + i as u64);
            self.object(&Sprite {
                kind: scene.kind,
                colour: scene.colour,
                at,
                height,
                flip,
                beat: t * pace + phase,
                id,
            });
        }
    }

    fn precipitation(&mut self, setting: Setting) {
        if setting.is_indoor() || setting.is_flat() {
            return;
        }
        self.precipitation_now(1.0);
    }

    /// Rain, snow or fog over everything inside the clip rectangle.
    fn precipitation_now(&mut self, size: f32) {
        let parallax = self.parallax;
        self.parallax = 0.0;
        let mut rng = SceneRng::new(self.seed, 5);
        let dim = if self.light == Light::Night { 0.8 } else { 1.0 };
        match self.weather {
            Some(Weather::Rain) => {
                let slant = rng.range(-0.03, 0.03);
                let number = if size < 1.0 { 150 } else { 190 };
                let drop = times([226.0, 236.0, 250.0], [dim; 3]);
                for _ in 0..number {
                    let (x, y0, near) = (rng.range(-0.1, WIDE + 0.1), rng.range(0.0, 1.3), rng.f32());
                    let y = (y0 + self.t * (1.1 + 0.5 * near)).rem_euclid(1.3) - 0.15;
                    let length = (0.05 + 0.05 * near) * size;
                    self.raw(
                        &line(
                            (x, y),
                            (x + slant * size, y + length),
                            (0.003 + 0.0025 * near) * size.max(0.8),
                        ),
                        drop,
                        drop,
                        0.62,
                    );
                }
            }
            Some(Weather::Snow) => {
                let flake = times([252.0, 252.0, 255.0], [dim.max(0.92); 3]);
                let number = if size < 1.0 { 170 } else { 150 };
                for i in 0..number {
                    let (x0, y0, near) = (rng.range(-0.1, WIDE + 0.1), rng.range(0.0, 1.2), rng.f32());
                    let y = (y0 + self.t * (0.1 + 0.09 * near)).rem_euclid(1.2) - 0.1;
                    let x = x0 + 0.025 * (self.t * 1.2 + i as f32).sin();
                    let r = (0.0055 + 0.0065 * near) * size;
                    self.raw(&ellipse(x, y, r, r), flake, flake, 0.92);
                }
            }
            Some(Weather::Fog) => {
                let haze = self.haze();
                if size < 1.0 {
                    self.raw(&rect(LEFT, -0.4, RIGHT, 1.4), haze, haze, 0.5);
                } else {
                    self.canvas.veil(haze, 0.14);
                }
                for i in 0..5 {
                    let x = rng.range(0.0, WIDE) + 0.05 * (self.t * 0.4 + i as f32).sin();
                    let y = rng.range(0.3, 0.8);
                    let points = ellipse(x, y, rng.range(0.4, 0.8), rng.range(0.04, 0.08));
                    self.raw(&points, haze, haze, 0.15);
                }
            }
            _ => {}
        }
        self.parallax = parallax;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_deterministic_and_sized() {
        for seed in 0..21 {
            let scene = Scene::from_seed(seed);
            let frame = scene.render(199, 112, 1.5);
            assert_eq!(frame.data.len(), 199 * 112 * 3);
            assert_eq!(frame, scene.render(199, 112, 1.5));
        }
    }

    #[test]
    fn motion_is_continuous() {
        let distance = |a: &RgbFrame, b: &RgbFrame| {
            let pairs = a.data.iter().zip(&b.data);
            pairs.map(|(x, y)| f64::from(x.abs_diff(*y))).sum::<f64>() / a.data.len() as f64
        };
        for seed in 0..42 {
            let scene = Scene::from_seed(seed);
            let frame = scene.render(199, 112, 2.0);
            assert!(distance(&frame, &scene.render(199, 112, 2.001)) < 1.0, "{seed}");
            if scene.camera != Camera::Still && scene.setting != Setting::Plain {
                assert!(distance(&frame, &scene.render(199, 112, 4.5)) > 0.0, "{seed}");
            }
        }
    }

    #[test]
    fn the_main_colour_is_on_screen() {
        for seed in 0..300 {
            let scene = Scene::from_seed(seed);
            if scene.weather == Some(Weather::Fog) {
                continue;
            }
            let frame = scene.render(398, 224, 2.5);
            let [r, g, b] = scene.colour.rgb();
            let near = |value: &u8, target: f32| (f32::from(*value) - target).abs() < 48.0;
            let pixels = frame
                .data
                .chunks_exact(3)
                .filter(|p| matches!(p, [x, y, z] if near(x, r) && near(y, g) && near(z, b)))
                .count();
            assert!(pixels > 60, "{seed}: {pixels} {scene:?}");
        }
    }

    #[test]
    fn odd_sizes_do_no_harm() {
        let scene = Scene::from_seed(3);
        assert_eq!(scene.render(1, 1, 0.0).data.len(), 3);
        assert!(scene.render(0, 10, 0.0).data.is_empty());
        assert_eq!(scene.render(100, 300, 7.0).data.len(), 90_000);
    }
}
