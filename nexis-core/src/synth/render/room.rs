//! Rooms and what furnishes them.

use super::super::raster::{Rgb, ellipse, mix_rgb, rect, times};
use super::super::rng::SceneRng;
use super::super::vocabulary::{Light, Setting};
use super::{LEFT, MID_X, Painter, RIGHT};

impl Painter {
    pub(super) fn room(&mut self, setting: Setting, rng: &mut SceneRng) {
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

    pub(super) fn picture(&mut self, x: f32, frame: Rgb, inner: Rgb) {
        self.raw(&rect(x, 0.14, x + 0.26, 0.36), frame, frame, 1.0);
        self.raw(&rect(x + 0.02, 0.16, x + 0.24, 0.34), inner, times(inner, [0.75; 3]), 1.0);
        let blot = times(inner, [0.6; 3]);
        self.raw(&[(x + 0.04, 0.33), (x + 0.12, 0.22), (x + 0.2, 0.33)], blot, blot, 1.0);
    }
}
