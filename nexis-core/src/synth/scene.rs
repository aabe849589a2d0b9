//! Scenes: every attribute follows from one integer seed.

use super::rng::{SceneRng, mix};
use super::vocabulary::{Camera, Colour, Footing, Kind, Light, Setting, Weather};
use crate::protocol::Category;
use serde::{Deserialize, Serialize};

/// A small extra object, such as a distant bird.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secondary {
    /// What the extra object is.
    pub kind: Kind,
    /// Its colour, which captions do not state.
    pub colour: Colour,
}

/// One five-second clip, fully determined by its seed and category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scene {
    /// The integer from which everything else follows.
    pub seed: u64,
    /// What the scene is mainly about.
    pub category: Category,
    /// Where it takes place.
    pub setting: Setting,
    /// The kind of the main objects.
    pub kind: Kind,
    /// The colour of the main objects.
    pub colour: Colour,
    /// How many main objects there are, 1 to 4.
    pub count: u8,
    /// A small extra object, if any.
    pub secondary: Option<Secondary>,
    /// The weather; none where the setting has no sky.
    pub weather: Option<Weather>,
    /// The time of day, or bright (day) and dim (night) where there is no sky.
    pub light: Light,
    /// The camera's motion.
    pub camera: Camera,
}

type Place = (Setting, &'static [Kind]);

/// The settings of a category, each with the kinds that belong there.
fn places(category: Category) -> &'static [Place] {
    use Kind::*;
    use Setting as S;
    match category {
        Category::Nature => &[
            (S::Meadow, &[Tree, Flower, Rock, Mushroom]),
            (S::Mountains, &[Pine, Rock, Flower, Tree]),
            (S::Desert, &[Cactus, Rock, Palm]),
            (S::Beach, &[Palm, Rock]),
            (S::Forest, &[Mushroom, Flower, Rock]),
            (S::Lake, &[Tree, Pine, Rock, Flower]),
            (S::River, &[Tree, Pine, Flower, Rock]),
            (S::Waterfall, &[Rock, Flower, Pine]),
            (S::Hills, &[Tree, Flower, Pine]),
            (S::Canyon, &[Cactus, Rock, Tree]),
            (S::Snowfield, &[Pine, Rock, Tree]),
        ],
        Category::People => &[
            (S::Park, &[Person, Umbrella, Child, Dancer]),
            (S::Stage, &[Dancer, Person]),
            (S::Plaza, &[Person, Umbrella, Child, Dancer]),
            (S::SportsField, &[Person, Child]),
            (S::Beach, &[Person, Umbrella, Child]),
            (S::Street, &[Person, Umbrella]),
            (S::Meadow, &[Dancer, Child, Person]),
            (S::LivingRoom, &[Person, Dancer, Child]),
        ],
        Category::Animal => &[
            (S::Pasture, &[Horse, Cow, Sheep]),
            (S::Pond, &[Duck]),
            (S::Underwater, &[Fish]),
            (S::Farmyard, &[Horse, Cow, Sheep, Dog, Cat]),
            (S::OpenSky, &[Bird]),
            (S::Meadow, &[Butterfly, Rabbit, Horse, Dog]),
            (S::Forest, &[Rabbit, Butterfly, Bird]),
            (S::Beach, &[Dog, Bird]),
            (S::Park, &[Dog, Cat, Butterfly]),
            (S::LivingRoom, &[Cat, Dog]),
        ],
        Category::Vehicle => &[
            (S::Road, &[Car, Bus, Truck, Bicycle]),
            (S::Harbour, &[Sailboat]),
            (S::Railway, &[Train]),
            (S::OpenSky, &[Plane, Balloon, Helicopter]),
            (S::Street, &[Car, Bus, Truck, Bicycle]),
            (S::Lake, &[Sailboat]),
            (S::Hills, &[Balloon, Helicopter]),
            (S::Desert, &[Car, Truck, Balloon]),
            (S::Mountains, &[Plane, Helicopter]),
        ],
        Category::Urban => &[
            (S::Street, &[LampPost, Bench]),
            (S::Skyline, &[Tower, LampPost, Bench]),
            (S::Square, &[Fountain, Bench, LampPost, Stall]),
            (S::Bridge, &[LampPost, Tower, Bench]),
            (S::Village, &[House, Fountain]),
            (S::Plaza, &[Fountain, Tower, Stall]),
            (S::Park, &[Bench, Fountain, LampPost]),
        ],
        Category::Indoor => &[
            (S::Kitchen, &[Table, Chair, Plant]),
            (S::LivingRoom, &[Sofa, FloorLamp, Plant, Bookcase, Chair, Table]),
            (S::Office, &[Chair, Table, Bookcase, Plant, FloorLamp]),
            (S::Bedroom, &[Bed, FloorLamp, Chair, Bookcase]),
        ],
        Category::Other => &[
            (S::Plain, &[Circle, Block, Triangle, Star, Diamond, Heart, Ring, Bar]),
            (S::Stripes, &[Circle, Block, Triangle, Star, Diamond, Heart, Ring]),
            (S::Checkers, &[Circle, Triangle, Star, Heart, Ring]),
            (S::Starfield, &[Planet, Ring, Circle]),
            (S::Chart, &[Bar, Circle, Diamond, Triangle, Star]),
            (S::TestCard, &[Circle, Block, Star, Triangle, Heart]),
            (S::Rings, &[Star, Block, Triangle, Diamond, Heart]),
        ],
    }
}

/// Small extras that suit a setting without changing what the scene is about.
fn extras(setting: Setting) -> &'static [Kind] {
    use Kind::*;
    use Setting as S;
    match setting {
        S::Meadow | S::Hills | S::Mountains | S::River => &[Bird, Balloon, Tree],
        S::Lake | S::Beach | S::Desert => &[Bird, Balloon],
        S::Canyon | S::Waterfall => &[Bird],
        S::Snowfield => &[Bird, Pine],
        S::Park | S::SportsField | S::Farmyard | S::Pasture => &[Tree, Bird, Bench],
        S::Plaza | S::Street | S::Square => &[Tree, Bird, Bicycle],
        S::Road | S::Village | S::Railway => &[Tree, Bird, House],
        S::Harbour => &[Bird, Sailboat],
        S::Kitchen | S::Office | S::Bedroom | S::LivingRoom => &[Plant],
        _ => &[],
    }
}

impl Scene {
    /// The scene of a seed, in a category drawn from the seed.
    pub fn from_seed(seed: u64) -> Self {
        let category = SceneRng::new(seed, 1).choose(&Category::ALL, Category::Nature);
        Self::with_category(seed, category)
    }

    /// The scene of a seed in the given category.
    pub fn with_category(seed: u64, category: Category) -> Self {
        // The category is mixed in, so that one seed gives unrelated scenes in
        // different categories.
        let mut rng = SceneRng::new(mix(seed, category as u64), 2);
        let (setting, kinds) =
            rng.choose(places(category), (Setting::Meadow, &[Kind::Tree] as &'static [Kind]));
        let kind = rng.choose(kinds, Kind::Tree);
        let light = draw_light(&mut rng, setting);
        let weather = draw_weather(&mut rng, setting);
        let colour = draw_colour(&mut rng, kind, setting, light);
        let most = match kind {
            Kind::Train | Kind::Bed => 2,
            Kind::Sofa | Kind::Bus | Kind::Truck => 3,
            _ => 4,
        };
        let count = 1 + rng.below(most) as u8;
        let camera = rng.choose(Camera::ALL, Camera::Still);
        let extra = rng.choose(extras(setting), kind);
        let secondary = (rng.chance(0.35) && extra != kind)
            .then(|| Secondary { kind: extra, colour: rng.choose(extra.colours(), Colour::Green) });
        // A second green thing among trees would make the count ambiguous.
        let tree_like = |k| matches!(k, Kind::Tree | Kind::Pine | Kind::Palm);
        let secondary = secondary.filter(|s| {
            let trees = tree_like(s.kind) && tree_like(kind);
            let flyers = s.kind == Kind::Bird && kind == Kind::Butterfly;
            !trees && !flyers
        });
        Self { seed, category, setting, kind, colour, count, secondary, weather, light, camera }
    }
}

fn draw_light(rng: &mut SceneRng, setting: Setting) -> Light {
    let drawn = rng.choose(&[Light::Day, Light::Day, Light::Sunset, Light::Night, Light::Dawn], Light::Day);
    match setting {
        Setting::Starfield => Light::Night,
        Setting::Chart | Setting::TestCard => Light::Day,
        s if s.is_flat() => {
            if matches!(drawn, Light::Day | Light::Dawn) {
                Light::Day
            } else {
                Light::Night
            }
        }
        _ => drawn,
    }
}

fn draw_weather(rng: &mut SceneRng, setting: Setting) -> Option<Weather> {
    let drawn = rng.choose(
        &[Weather::Clear, Weather::Clear, Weather::Clouds, Weather::Rain, Weather::Snow, Weather::Fog],
        Weather::Clear,
    );
    if setting.is_flat() {
        return None;
    }
    Some(match (setting, drawn) {
        (Setting::Desert | Setting::Beach | Setting::Canyon, Weather::Snow) => Weather::Clouds,
        (Setting::Snowfield, Weather::Rain) => Weather::Snow,
        _ => drawn,
    })
}

fn draw_colour(rng: &mut SceneRng, kind: Kind, setting: Setting, light: Light) -> Colour {
    let mut colour = rng.choose(kind.colours(), Colour::Green);
    for _ in 0..12 {
        let bad = match (setting, colour) {
            (Setting::Snowfield | Setting::Chart, Colour::White) => true,
            (Setting::Starfield, Colour::Black) => true,
            (Setting::Underwater, Colour::Blue) => true,
            (Setting::Canyon, Colour::Red | Colour::Brown | Colour::Orange) => true,
            (Setting::Desert, Colour::Yellow | Colour::Orange) => true,
            (_, Colour::Black) => light == Light::Night,
            (Setting::OpenSky, Colour::White) => light != Light::Night,
            _ => false,
        };
        // Kinds with one colour keep it everywhere; the outline separates them.
        if !bad {
            break;
        }
        colour = rng.choose(kind.colours(), colour);
    }
    colour
}

/// Whether objects of this kind float above the ground in this scene.
pub(crate) fn is_aloft(kind: Kind) -> bool {
    matches!(kind.footing(), Footing::Air | Footing::Free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_pin_scenes() {
        for seed in 0..200 {
            let scene = Scene::from_seed(seed);
            assert_eq!(scene, Scene::with_category(seed, scene.category));
            assert!((1..=4).contains(&scene.count));
            assert_eq!(scene.weather.is_none(), scene.setting.is_flat());
        }
    }

    #[test]
    fn every_place_is_reached() {
        for category in Category::ALL {
            for (setting, kinds) in places(category) {
                for kind in *kinds {
                    let found = (0..6000)
                        .map(|seed| Scene::with_category(seed, category))
                        .any(|scene| scene.setting == *setting && scene.kind == *kind);
                    assert!(found, "{setting:?} {kind:?}");
                }
            }
        }
    }
}
