//! Rain, snow and fog in front of everything.

use super::super::raster::{ellipse, line, rect, times};
use super::super::rng::SceneRng;
use super::super::vocabulary::{Light, Setting, Weather};
use super::{LEFT, Painter, RIGHT, WIDE};

impl Painter {
    pub(super) fn precipitation(&mut self, setting: Setting) {
        if setting.is_indoor() || setting.is_flat() {
            return;
        }
        self.precipitation_now(1.0);
    }

    /// Rain, snow or fog over everything inside the clip rectangle.
    pub(super) fn precipitation_now(&mut self, size: f32) {
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
