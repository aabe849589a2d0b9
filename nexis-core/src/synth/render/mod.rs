//! Draws one frame of a scene.
//!
//! Layout is in scene units: the frame is 16/9 wide and 1 high, y points
//! down. The background is drawn first, then a smooth noise, then the
//! objects, and precipitation and fog last.

mod background;
mod elements;
mod nature;
mod patterns;
mod places;
mod precipitation;
mod room;
mod subjects;

use super::raster::{Canvas, Paint, Point, Rgb, mix_rgb, rect, times};
use super::rng::SceneRng;
use super::scene::Scene;
use super::vocabulary::{Camera, Colour, Kind, Light, Weather};
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
}

#[cfg(test)]
mod tests {
    use super::super::vocabulary::Setting;
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
