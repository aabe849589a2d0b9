//! Places that people made, under the open sky; and the stage.

use super::super::raster::{Rgb, ellipse, line, mix_rgb, rect, times};
use super::super::rng::SceneRng;
use super::super::vocabulary::Setting;
use super::background::Tones;
use super::{LEFT, MID_X, Painter, RIGHT, WIDE};

impl Painter {
    pub(super) fn field(&mut self, setting: Setting, h: f32, tones: &Tones, rng: &mut SceneRng) {
        use Setting as S;
        match setting {
            S::Park => {
                self.buildings(h + 0.02, 0.08, 0.2, &[[188.0, 186.0, 190.0], [206.0, 198.0, 190.0]], rng);
                self.treeline(h + 0.03, 0.15, false, [74.0, 134.0, 70.0], rng);
            }
            S::SportsField => self.treeline(h + 0.02, 0.08, false, [74.0, 124.0, 76.0], rng),
            _ => self.ridge(h + 0.02, 0.14, 3.6, [120.0, 164.0, 98.0], rng),
        }
        self.ground(h, tones.grass, tones.dark_grass);
        match setting {
            S::Park => {
                self.specks(h, 50, 0.01, &tones.tufts, rng);
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
                        self.paint(&rect(LEFT, y, RIGHT, y + 0.02 + k * 0.02), times(tones.grass, [1.12; 3]));
                    }
                }
                let white = [250.0; 3];
                self.paint(&rect(LEFT, h + 0.06, RIGHT, h + 0.07), white);
                self.paint(&rect(LEFT, 0.93, RIGHT, 0.95), white);
                let x = rng.range(0.5, 1.2);
                self.paint(
                    &[(x, h + 0.06), (x + 0.012, h + 0.06), (x * 1.2 - 0.1, 1.3), (x * 1.2 - 0.14, 1.3)],
                    white,
                );
                for side in [0.14, WIDE - 0.4] {
                    self.paint(&rect(side, h - 0.1, side + 0.26, h - 0.09), white);
                    self.paint(&rect(side, h - 0.1, side + 0.01, h + 0.05), white);
                    self.paint(&rect(side + 0.25, h - 0.1, side + 0.26, h + 0.05), white);
                }
            }
            S::Pasture => {
                self.specks(h, 100, 0.012, &tones.tufts, rng);
                self.fence(h + 0.1);
            }
            _ => {
                self.paint(&ellipse(MID_X, 0.86, 1.1, 0.24), [196.0, 166.0, 116.0]);
                let x = if rng.chance(0.5) { rng.range(0.1, 0.3) } else { rng.range(1.0, 1.2) };
                let red: Rgb = [158.0, 52.0, 44.0];
                self.paint(&rect(x, h - 0.16, x + 0.46, h + 0.1), red);
                self.paint(
                    &[(x - 0.03, h - 0.15), (x + 0.06, h - 0.3), (x + 0.4, h - 0.3), (x + 0.49, h - 0.15)],
                    [96.0, 84.0, 82.0],
                );
                self.paint(&rect(x + 0.15, h - 0.06, x + 0.31, h + 0.1), [244.0, 236.0, 224.0]);
                self.paint(&rect(x + 0.165, h - 0.045, x + 0.295, h + 0.1), [130.0, 42.0, 36.0]);
                self.fence(h + 0.1);
                self.paint(&rect(x + 0.12, h + 0.02, x + 0.34, h + 0.1), [120.0, 40.0, 36.0]);
            }
        }
    }

    pub(super) fn road(&mut self, h: f32, tones: &Tones, rng: &mut SceneRng) {
        self.ridge(h + 0.02, 0.14, 3.2, [120.0, 160.0, 104.0], rng);
        self.ground(h, mix_rgb(tones.grass, [210.0, 190.0, 100.0], 0.4), tones.grass);
        self.specks(h, 50, 0.01, &tones.tufts, rng);
        self.paint(&rect(LEFT, 0.585, RIGHT, 0.96), [96.0, 98.0, 104.0]);
        self.dashes(0.74);
        self.paint(&rect(LEFT, 0.592, RIGHT, 0.602), [236.0; 3]);
        self.paint(&rect(LEFT, 0.94, RIGHT, 0.95), [236.0; 3]);
    }

    pub(super) fn harbour(&mut self, h: f32, tones: &Tones, rng: &mut SceneRng) {
        self.buildings(
            h + 0.04,
            0.07,
            0.14,
            &[[206.0, 170.0, 140.0], [190.0, 190.0, 196.0], [210.0, 200.0, 170.0]],
            rng,
        );
        self.ground(h, mix_rgb(tones.sea, [180.0, 214.0, 226.0], 0.3), times(tones.sea, [0.8; 3]));
        self.waves(h, 0.98, [190.0, 222.0, 238.0], rng);
        let side = if rng.chance(0.5) { LEFT } else { WIDE - 0.32 };
        self.paint(&rect(side, h + 0.1, side + 1.02, h + 0.14), [140.0, 104.0, 70.0]);
        for i in 0..10 {
            let x = side + 0.03 + i as f32 * 0.105;
            self.paint(&rect(x, h + 0.14, x + 0.022, h + 0.22), [104.0, 76.0, 52.0]);
        }
    }

    pub(super) fn railway(&mut self, h: f32, tones: &Tones, rng: &mut SceneRng) {
        self.ridge(h + 0.02, 0.14, 3.0, [116.0, 152.0, 108.0], rng);
        self.treeline(h + 0.03, 0.07, true, [70.0, 112.0, 78.0], rng);
        self.ground(h, tones.grass, tones.dark_grass);
        self.paint(&rect(LEFT, 0.76, RIGHT, 0.93), [150.0, 140.0, 130.0]);
        for i in 0..36 {
            let x = LEFT + i as f32 * 0.09;
            self.paint(&[(x, 0.79), (x + 0.03, 0.79), (x + 0.02, 0.9), (x - 0.014, 0.9)], [98.0, 72.0, 52.0]);
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

    pub(super) fn street(&mut self, tones: &Tones, rng: &mut SceneRng) {
        self.parallax = 0.8;
        let (kerb, road_end) = if self.traffic { (0.56, 1.4) } else { (0.65, 0.74) };
        self.buildings(kerb - 0.04, 0.3, 0.58, &tones.walls, rng);
        self.parallax = 1.0;
        self.ground(kerb - 0.05, tones.paving, times(tones.paving, [0.9; 3]));
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

    pub(super) fn skyline(&mut self, h: f32, tones: &Tones, rng: &mut SceneRng) {
        self.parallax = 0.3;
        self.buildings(
            h + 0.07,
            0.2,
            0.48,
            &[[108.0, 120.0, 142.0], [128.0, 136.0, 152.0], [94.0, 104.0, 126.0]],
            rng,
        );
        self.ground(h + 0.03, mix_rgb(tones.sea, [150.0, 170.0, 190.0], 0.4), times(tones.sea, [0.8; 3]));
        self.waves(h + 0.03, 0.72, [190.0, 210.0, 226.0], rng);
        self.paint(&rect(LEFT, 0.74, RIGHT, 1.4), tones.paving);
        self.paint(&rect(LEFT, 0.73, RIGHT, 0.75), times(tones.paving, [0.7; 3]));
        self.slabs(0.78);
    }

    pub(super) fn square(&mut self, setting: Setting, tones: &Tones, rng: &mut SceneRng) {
        use Setting as S;
        self.parallax = 0.8;
        if setting == S::Square {
            let wall: Rgb = rng
                .choose(&[[214.0, 186.0, 150.0], [196.0, 164.0, 150.0], [206.0, 200.0, 186.0]], [200.0; 3]);
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
        self.ground(0.6, tones.paving, times(tones.paving, [0.85; 3]));
        self.slabs(0.6);
    }

    pub(super) fn bridge(&mut self, h: f32, tones: &Tones, rng: &mut SceneRng) {
        self.parallax = 0.4;
        self.buildings(h + 0.07, 0.1, 0.26, &tones.walls, rng);
        self.ground(h + 0.02, tones.sea, times(tones.sea, [0.75; 3]));
        self.waves(h + 0.02, 0.74, [180.0, 206.0, 226.0], rng);
        self.parallax = 0.6;
        let deck = h - 0.04;
        let steel: Rgb =
            rng.choose(&[[150.0, 88.0, 74.0], [120.0, 128.0, 140.0], [92.0, 116.0, 104.0]], [130.0; 3]);
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
                    self.paint(&line((x + c0 * 0.3, deck - s0 * 0.22), (x + c0 * 0.3, deck), 0.007), steel);
                }
            }
            self.paint(&rect(x + 0.29, deck, x + 0.35, h + 0.12), [140.0, 136.0, 130.0]);
        }
        self.paint(&rect(LEFT, deck - 0.012, RIGHT, deck + 0.03), times(steel, [0.8; 3]));
        self.parallax = 1.0;
        self.paint(&rect(LEFT, 0.75, RIGHT, 1.4), tones.paving);
        self.paint(&rect(LEFT, 0.74, RIGHT, 0.76), times(tones.paving, [0.7; 3]));
        self.slabs(0.78);
    }

    pub(super) fn village(&mut self, h: f32, tones: &Tones, rng: &mut SceneRng) {
        self.ridge(h + 0.02, 0.18, 3.0, [112.0, 156.0, 104.0], rng);
        self.ground(h, tones.grass, tones.dark_grass);
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
        self.specks(h + 0.04, 50, 0.01, &tones.tufts, rng);
    }

    pub(super) fn stage(&mut self, rng: &mut SceneRng) {
        self.parallax = 1.0;
        let cloth: Rgb =
            rng.choose(&[[150.0, 30.0, 44.0], [44.0, 60.0, 130.0], [86.0, 40.0, 110.0]], [140.0, 30.0, 40.0]);
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
            self.paint(&ellipse(x, 0.06, 0.14, 0.08), times(cloth, [if i % 2 == 0 { 0.9 } else { 0.72 }; 3]));
        }
        self.paint(&rect(LEFT, -0.4, RIGHT, 0.05), times(cloth, [0.85; 3]));
    }
}
