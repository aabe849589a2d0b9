//! The objects of a scene: where they stand, and how one is drawn.

use super::super::objects::{aspect, shape};
use super::super::raster::{Point, Rgb, ellipse, grown, times};
use super::super::rng::{SceneRng, mix};
use super::super::scene::{Scene, is_aloft};
use super::super::vocabulary::{Colour, Footing, Kind, Light, Setting};
use super::{MID_X, Painter, Sprite};
use crate::protocol::Category;

impl Painter {
    /// Draws one object with its outline.
    pub(super) fn object(&mut self, sprite: &Sprite) {
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

    pub(super) fn objects(&mut self, scene: &Scene, horizon: f32) {
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
            let id = mix(scene.seed, 100 + i as u64);
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
}
