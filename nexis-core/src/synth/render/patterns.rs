//! Backgrounds that are no place: patterns, stars, charts.

use super::super::raster::{Rgb, ellipse, mix_rgb, rect, times};
use super::super::rng::SceneRng;
use super::super::vocabulary::Setting;
use super::{LEFT, MID_X, Painter, RIGHT, WIDE};

impl Painter {
    pub(super) fn pattern(&mut self, setting: Setting, rng: &mut SceneRng) {
        use Setting as S;
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
                        &[(x, -0.5), (x + pitch * 0.6, -0.5), (x + pitch * 0.6 + lean, 1.5), (x + lean, 1.5)],
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

    pub(super) fn starfield(&mut self, rng: &mut SceneRng) {
        self.parallax = 0.2;
        let far = mix_rgb([10.0, 10.0, 26.0], [26.0, 12.0, 42.0], rng.f32());
        self.raw(&rect(LEFT, -0.5, RIGHT, 1.5), far, times(far, [0.6; 3]), 1.0);
        for _ in 0..4 {
            let points = ellipse(rng.range(0.0, WIDE), rng.f32(), rng.range(0.2, 0.5), rng.range(0.1, 0.3));
            self.raw(&points, [70.0, 50.0, 120.0], [40.0, 60.0, 130.0], 0.16);
        }
        for i in 0..130 {
            let (x, y, r) = (rng.range(-0.2, WIDE + 0.2), rng.range(-0.1, 1.1), rng.range(0.0016, 0.0055));
            let bright = 0.75 + 0.25 * (self.t * 3.0 + i as f32).sin();
            self.raw(&[(x - r, y), (x, y - r), (x + r, y), (x, y + r)], [255.0; 3], [255.0; 3], bright);
        }
    }

    pub(super) fn chart(&mut self) {
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
            self.raw(&rect(at, -0.5, at + 0.004, 0.91), [214.0, 218.0, 224.0], [214.0, 218.0, 224.0], 1.0);
        }
        self.raw(&rect(0.13, -0.5, 0.145, 0.925), [60.0; 3], [60.0; 3], 1.0);
        self.raw(&rect(0.13, 0.91, RIGHT, 0.925), [60.0; 3], [60.0; 3], 1.0);
        for i in 0..7 {
            let y = 0.12 + i as f32 * 0.12;
            self.raw(&rect(0.06, y, 0.11, y + 0.014), [110.0; 3], [110.0; 3], 1.0);
        }
    }

    pub(super) fn test_card(&mut self) {
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
}
