//! Landscapes, water and sky.

use super::super::raster::{Rgb, ellipse, line, mix_rgb, rect, times};
use super::super::rng::SceneRng;
use super::super::vocabulary::Setting;
use super::background::Tones;
use super::{LEFT, MID_X, Painter, RIGHT, WIDE};

impl Painter {
    pub(super) fn meadow(&mut self, h: f32, tones: &Tones, rng: &mut SceneRng) {
        if rng.chance(0.6) {
            self.ridge(h + 0.03, 0.12, 4.0, [96.0, 146.0, 104.0], rng);
        }
        if rng.chance(0.5) {
            self.treeline(h + 0.03, 0.1, false, [62.0, 112.0, 66.0], rng);
        }
        self.ground(h, tones.grass, tones.dark_grass);
        self.specks(h, 110, 0.012, &tones.tufts, rng);
        let blooms = [[250.0, 244.0, 250.0], [246.0, 220.0, 90.0], [206.0, 140.0, 210.0]];
        self.specks(h, 60, 0.006, &blooms, rng);
    }

    pub(super) fn mountains(&mut self, h: f32, tones: &Tones, rng: &mut SceneRng) {
        self.parallax = 0.3;
        let snow = rng.chance(0.7);
        self.peaks(h + 0.04, 0.26, 0.42, [128.0, 136.0, 156.0], snow, rng);
        self.parallax = 0.5;
        self.peaks(h + 0.05, 0.1, 0.2, [98.0, 110.0, 116.0], false, rng);
        self.ground(h + 0.03, mix_rgb(tones.grass, [150.0, 150.0, 130.0], 0.5), tones.dark_grass);
        self.specks(h + 0.03, 60, 0.012, &[[150.0, 148.0, 144.0], times(tones.grass, [0.7; 3])], rng);
    }

    pub(super) fn desert(&mut self, h: f32, rng: &mut SceneRng) {
        self.ridge(h + 0.03, 0.14, 3.0, [222.0, 178.0, 112.0], rng);
        self.ridge(h + 0.09, 0.1, 2.2, [238.0, 200.0, 134.0], rng);
        self.ground(h + 0.1, [240.0, 206.0, 142.0], [214.0, 170.0, 104.0]);
        for i in 0..9 {
            let y = h + 0.16 + i as f32 * 0.05;
            let points = ellipse(rng.range(0.0, WIDE), y, rng.range(0.2, 0.5), 0.006);
            self.paint(&points, [206.0, 162.0, 98.0]);
        }
    }

    pub(super) fn beach(&mut self, h: f32, tones: &Tones, rng: &mut SceneRng) {
        self.ground(h, tones.sea, mix_rgb(tones.sea, [120.0, 210.0, 210.0], 0.5));
        let shore = h + rng.range(0.12, 0.18);
        self.waves(h, shore, [236.0, 246.0, 250.0], rng);
        let wash = 0.012 * (self.t * 1.3).sin();
        self.ridge(shore + 0.02 + wash, 0.03, 5.0, [246.0, 250.0, 250.0], rng);
        self.ridge(shore + 0.04 + wash, 0.03, 5.0, tones.sand, rng);
        self.specks(shore + 0.03, 50, 0.007, &[times(tones.sand, [0.8; 3]), [250.0, 236.0, 220.0]], rng);
    }

    pub(super) fn forest(&mut self, h: f32, rng: &mut SceneRng) {
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

    pub(super) fn still_water(&mut self, setting: Setting, h: f32, tones: &Tones, rng: &mut SceneRng) {
        use Setting as S;
        self.ridge(h + 0.02, 0.16, 4.5, [92.0, 136.0, 110.0], rng);
        self.treeline(h + 0.02, 0.08, rng.chance(0.5), [58.0, 106.0, 70.0], rng);
        if setting == S::Lake {
            self.ground(h, mix_rgb(tones.sea, [200.0, 226.0, 236.0], 0.4), tones.sea);
            self.waves(h, 0.98, [214.0, 234.0, 244.0], rng);
        } else {
            self.ground(h, tones.grass, tones.dark_grass);
            self.specks(h, 90, 0.012, &tones.tufts, rng);
            self.paint(&ellipse(MID_X, 0.77, 1.06, 0.28), [150.0, 136.0, 96.0]);
            self.paint(&ellipse(MID_X, 0.775, 1.03, 0.265), [86.0, 158.0, 184.0]);
            for i in 0..14 {
                let x = rng.range(0.1, WIDE - 0.1) + 0.02 * (self.t + i as f32).sin();
                let points = ellipse(x, rng.range(0.63, 0.94), 0.07, 0.006);
                self.paint(&points, [150.0, 204.0, 220.0]);
            }
        }
        for i in 0..22 {
            let side = if i % 2 == 0 { rng.range(-0.2, 0.2) } else { rng.range(WIDE - 0.2, WIDE + 0.2) };
            let (height, base) = (rng.range(0.12, 0.24), rng.range(0.82, 1.0));
            let sway = 0.01 * (self.t * 1.7 + i as f32).sin();
            self.paint(&line((side, base), (side + sway, base - height), 0.009), [84.0, 128.0, 60.0]);
            self.paint(&ellipse(side + sway, base - height, 0.009, 0.026), [116.0, 78.0, 44.0]);
        }
        if setting == S::Lake {
            // Things on foot need a shore to stand on.
            let shore = if self.traffic { 0.95 } else { 0.77 };
            self.ridge(shore, 0.05, 3.0, tones.dark_grass, rng);
        }
    }

    pub(super) fn river(&mut self, h: f32, tones: &Tones, rng: &mut SceneRng) {
        self.ridge(h + 0.03, 0.14, 4.0, [104.0, 150.0, 96.0], rng);
        self.treeline(h + 0.03, 0.09, true, [58.0, 104.0, 66.0], rng);
        self.ground(h, tones.grass, tones.dark_grass);
        self.specks(h, 90, 0.012, &tones.tufts, rng);
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
        self.fade(&left_bank, mix_rgb(tones.sea, [220.0, 236.0, 244.0], 0.5), tones.sea);
        for i in 0..14 {
            let k = ((i as f32 + rng.f32()) / 14.0 + self.t * 0.03).fract();
            let x =
                MID_X + bend + (k * 5.2).sin() * 0.3 * (0.3 + k) + rng.range(-0.5, 0.5) * (0.03 + 0.25 * k);
            let y = h + 0.01 + k * (1.15 - h);
            self.paint(&ellipse(x, y, 0.02 + 0.05 * k, 0.003 + 0.004 * k), [206.0, 230.0, 242.0]);
        }
    }

    pub(super) fn waterfall(&mut self, h: f32, tones: &Tones, rng: &mut SceneRng) {
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
            &[(x - half, 0.12), (x + half, 0.12), (x + half * 1.2, h + 0.14), (x - half * 1.2, h + 0.14)],
            [222.0, 238.0, 248.0],
        );
        for i in 0..24 {
            let dx = (i as f32 / 24.0 - 0.48) * 2.2 * half;
            let y = 0.12 + ((rng.f32() + self.t * 0.45).fract()) * (h - 0.1);
            self.paint(&rect(x + dx - 0.006, y, x + dx + 0.006, y + 0.11), [160.0, 200.0, 228.0]);
        }
        self.ground(h + 0.11, [120.0, 186.0, 206.0], tones.sea);
        self.waves(h + 0.13, 0.9, [226.0, 242.0, 248.0], rng);
        for i in 0..9 {
            let dx = (i as f32 / 8.0 - 0.5) * 3.0 * half;
            let r = 0.045 + 0.012 * (self.t * 3.0 + i as f32 * 1.7).sin();
            self.paint(&ellipse(x + dx, h + 0.13, r * 1.5, r), [240.0, 248.0, 252.0]);
        }
        self.ridge(0.8, 0.06, 3.0, [96.0, 138.0, 76.0], rng);
    }

    pub(super) fn hills(&mut self, h: f32, tones: &Tones, rng: &mut SceneRng) {
        self.parallax = 0.3;
        self.ridge(h + 0.02, 0.22, 3.4, [122.0, 172.0, 128.0], rng);
        self.parallax = 0.6;
        self.ridge(h + 0.1, 0.18, 2.6, times(tones.grass, [0.92; 3]), rng);
        self.parallax = 1.0;
        self.ridge(h + 0.2, 0.14, 2.0, tones.grass, rng);
        self.specks(h + 0.2, 60, 0.01, &tones.tufts, rng);
    }

    pub(super) fn canyon(&mut self, h: f32, rng: &mut SceneRng) {
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
                let colour = mix_rgb(red, [236.0, 166.0, 110.0], if band % 2 == 0 { 0.0 } else { 0.5 });
                self.paint(
                    &[(edge, y0), (inner + ease, y0), (inner + ease + slant * 0.14, y1), (edge, y1)],
                    colour,
                );
            }
        }
        self.specks(h + 0.04, 50, 0.014, &[[160.0, 84.0, 50.0], [226.0, 158.0, 112.0]], rng);
    }

    pub(super) fn snowfield(&mut self, h: f32, rng: &mut SceneRng) {
        self.parallax = 0.3;
        self.peaks(h + 0.04, 0.12, 0.28, [168.0, 182.0, 204.0], true, rng);
        self.parallax = 0.6;
        self.treeline(h + 0.04, 0.09, true, [92.0, 118.0, 124.0], rng);
        self.ground(h + 0.02, [236.0, 242.0, 250.0], [220.0, 230.0, 244.0]);
        self.ridge(h + 0.16, 0.07, 3.2, [246.0, 249.0, 253.0], rng);
        self.specks(h + 0.1, 30, 0.008, &[[200.0, 212.0, 230.0]], rng);
    }

    pub(super) fn underwater(&mut self, rng: &mut SceneRng) {
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

    pub(super) fn open_sky(&mut self, rng: &mut SceneRng) {
        let low = 0.93;
        self.parallax = 0.3;
        self.ridge(low, 0.1, 4.0, [110.0, 150.0, 120.0], rng);
    }
}
