//! What lies behind the objects, setting by setting.

use super::super::raster::{Rgb, mix_rgb, times};
use super::super::rng::SceneRng;
use super::super::vocabulary::Setting;
use super::Painter;

/// The colours of the ground, the water and the walls in one scene.
pub(super) struct Tones {
    pub(super) grass: Rgb,
    pub(super) dark_grass: Rgb,
    pub(super) tufts: [Rgb; 2],
    pub(super) sand: Rgb,
    pub(super) sea: Rgb,
    pub(super) paving: Rgb,
    pub(super) walls: [Rgb; 5],
}

impl Tones {
    fn draw(rng: &mut SceneRng) -> Self {
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
        Self { grass, dark_grass, tufts, sand, sea, paving, walls }
    }
}

impl Painter {
    pub(super) fn background(&mut self, setting: Setting, h: f32, rng: &mut SceneRng) {
        use Setting as S;
        let tones = Tones::draw(rng);
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
            S::Meadow => self.meadow(h, &tones, rng),
            S::Mountains => self.mountains(h, &tones, rng),
            S::Desert => self.desert(h, rng),
            S::Beach => self.beach(h, &tones, rng),
            S::Forest => self.forest(h, rng),
            S::Lake | S::Pond => self.still_water(setting, h, &tones, rng),
            S::River => self.river(h, &tones, rng),
            S::Waterfall => self.waterfall(h, &tones, rng),
            S::Hills => self.hills(h, &tones, rng),
            S::Canyon => self.canyon(h, rng),
            S::Snowfield => self.snowfield(h, rng),
            S::Park | S::SportsField | S::Pasture | S::Farmyard => self.field(setting, h, &tones, rng),
            S::OpenSky => self.open_sky(rng),
            S::Road => self.road(h, &tones, rng),
            S::Harbour => self.harbour(h, &tones, rng),
            S::Railway => self.railway(h, &tones, rng),
            S::Street => self.street(&tones, rng),
            S::Skyline => self.skyline(h, &tones, rng),
            S::Square | S::Plaza => self.square(setting, &tones, rng),
            S::Bridge => self.bridge(h, &tones, rng),
            S::Village => self.village(h, &tones, rng),
            S::Stage => self.stage(rng),
            S::Underwater => self.underwater(rng),
            S::Plain | S::Stripes | S::Checkers | S::Rings => self.pattern(setting, rng),
            S::Starfield => self.starfield(rng),
            S::Chart => self.chart(),
            S::TestCard => self.test_card(),
            S::Kitchen | S::LivingRoom | S::Office | S::Bedroom => {}
        }
        self.parallax = 1.0;
    }
}
