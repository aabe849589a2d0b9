//! Writes captions from templates, and the same captions with one falsehood.

use super::rng::{SceneRng, mix};
use super::scene::Scene;
use super::vocabulary::{Attribute, Camera, Colour, Kind, Light, Setting, Weather};
use crate::protocol::Category;

/// Which sentence frames to use; the two sets share none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateSet {
    /// The frames meant for training.
    Train,
    /// The frames kept back for measuring how well a model generalises.
    HeldOut,
}

/// Slots: obj/Obj, verb, be, place/Place, scene/Scene, light/Light, w/W and
/// wc/Wc (weather as a phrase and as a clause), cam/Cam and camg (camera as a
/// clause and as a gerund), sec (an optional extra object), neg ("no ...").
const TRAIN: &[&str] = &[
    "{Obj} {verb} {place} {light}{sec}. {Wc}, and {cam}.",
    "{Obj} {verb} {place} {w}, {light}, with {neg} in sight, while {cam}.",
    "This clip shows {obj} {place} {light}{sec}; {wc}, and {cam}.",
    "{Place}, {obj} {verb} {w} {light}, and {cam} for the whole clip{sec}.",
    "{Light}, {obj} {verb} {place} {w}{sec}. There are {neg} nearby, and {cam}.",
    "A video of {obj} {place}, filmed {light} {w}, with {neg} anywhere in the frame.",
    "We see {obj} {place}{sec}. {Wc}. The scene is filmed {light}, and {cam}.",
    "There {be} {obj} {place} {light}. {Wc}, {cam}, and {neg} can be seen{sec}.",
    "{Wc} {place}, where {obj} {verb} {light}{sec}, while {cam}.",
    "{Scene} appears {light}, and {obj} {verb} there {w}{sec}, while {cam}.",
    "Filmed {light}, this short video shows {obj} that {verb} {place} {w}{sec}, the camera {camg}.",
    "{Cam} as {obj} {verb} {place} {w} {light}, with {neg} in view{sec}.",
    "{W}, {obj} {verb} {place}{sec}. It is a short scene {light}, and {cam}.",
    "The picture is of {scene} {light}; {obj} {verb} there and {wc}{sec}, while {cam}.",
    "In this footage {obj} {verb} {place}. {Wc}, the clip was taken {light}, and there are {neg}.",
    "{Obj} can be seen {place} {w} {light}{sec}, the camera {camg}, and {neg} are visible.",
    "A short clip {light} of {scene}, with {obj} in the middle of the view{sec}; {wc}.",
    "The main thing in view is {obj}, seen {place} {light} {w}{sec}, with {neg} around.",
    "{Light} {cam} over {scene}, where {obj} {verb} {w} and {neg} can be found.",
    "Here {be} {obj} {place}{sec}. {Wc} {light}, there are {neg}, and {cam}.",
    "Five seconds of video {place} {light}: {obj} {verb} in view{sec}, {wc}, and {cam}.",
    "The view shows {scene} {w} {light}, and in front {be} {obj}{sec}, while {cam}.",
    "{Obj} {verb} quietly {place}, and {neg} are near. {Wc} {light}, and {cam}.",
    "Looking at {scene} {light}, we find {obj} {w}{sec}, and {cam} without any sound.",
    "While {cam}, {obj} {verb} {place} {light}{sec}. {Wc}, and {neg} are in the shot.",
    "The footage was taken {light} {place}, with {obj} as the subject{sec}; {wc} and {cam}.",
    "With {neg} in the picture, {obj} {verb} {place} {w}, {light}, and {cam}{sec}.",
    "A calm scene {place} {light}{sec}. {Obj} {verb} {w}, and {cam} with {neg} around.",
    "{Scene} is shown {light} {w}. {Obj} {verb} there{sec}, and {cam}.",
    "It is a scene {light} somewhere {place}, {wc}, and {obj} {verb} in front of the camera{sec}.",
    "You can see {obj} {place}, where {wc} {light}, and there are {neg}{sec}, the camera {camg}.",
    "A camera {camg} shows {obj} that {verb} {place} {light}; {wc} and {neg} are there.",
    "{Wc}, it is filmed {light}, and {obj} {verb} {place}{sec} while {cam} slowly enough to follow.",
    "The clip begins {place} {light} to show {obj} {w}{sec}, with the camera {camg}.",
    "What we see in one shot {light} {place}: {obj} in clear view{sec}, {neg} at all, and {wc}.",
    "Around {obj} there is {scene} {light}{sec}; {wc}, {cam}, and {neg} are to be seen.",
    "Moving pictures of {obj} {place} {w}, taken {light} with the camera {camg}{sec}.",
    "The camera looks at {obj} {place} {light}, {w}{sec}, with {neg} in the background or in front.",
    "{Obj} {be} the subject of this clip, {place} {light} {w}{sec}, and {cam}.",
    "For some time nothing much happens {place} {light}: {obj} {verb} {w}, there are {neg}, and {cam}{sec}.",
];

const HELD_OUT: &[&str] = &[
    "Taken {light}, the shot is of {scene} where {wc}; {obj} {verb} in front{sec}, and {cam}.",
    "{Obj}, seen {light}, {verb} {place}{sec}; there are {neg}, {wc}, and {cam}.",
    "In the middle of {scene} there {be} {obj} {light} {w}, and {neg} in view{sec}.",
    "The subject {place} is {obj}{sec}, shown {light} while {wc} and {cam}.",
    "Filmed with the camera {camg}, {obj} {verb} {w} {place} {light}{sec}.",
    "{Scene} is in view, {light}, and {obj} {verb} {w}, with {neg} near{sec}.",
    "A view {w} {light}: {place}, {obj} {verb} as {cam}{sec}.",
    "What the camera shows, {camg}, is {obj} {place} {light} {w}{sec}.",
    "{Wc} while {obj} {verb} {place} {light}, {neg} can be seen, and {cam}{sec}.",
    "For five seconds {cam}, and we see {obj} {place} {w} {light}{sec}.",
    "Seen {light}: {obj} {place}, {wc}, {neg} anywhere{sec}, and {cam}.",
    "Somewhere {place}, {light} and {w}, {obj} {verb} in a short video{sec}, and {cam}.",
    "{Light}, with {neg} visible, this is footage of {obj} {place} {w}{sec}.",
    "As {wc}, the clip looks at {obj} {place} {light}{sec}, the camera {camg}.",
    "{Cam} to show {scene} {light}, {obj} in front{sec}, and {wc} all the time.",
];

const FLAT_TRAIN: &[&str] = &[
    "{Obj} {verb} {place} {light}, with {neg} in sight, while {cam}{sec}.",
    "This clip shows {obj} {place} {light}. There are {neg} in the frame, and {cam}.",
    "{Place}, {obj} {verb} {light}, and {cam} for the whole of the short clip.",
    "A short video of {obj} {place}, shown {light} with the camera {camg} and {neg} around.",
    "There {be} {obj} {place}. The picture is {light}, {cam}, and {neg} can be seen.",
    "{Cam} while {obj} {verb} {place} {light}, and there are {neg} anywhere in view.",
    "We see {obj} {place} {light} in this short video, in which {cam}.",
    "{Scene} is shown {light}, and {obj} {verb} in front of it while {cam}.",
    "{Light}, {obj} {verb} {place}, and for five seconds {cam} with {neg} in the shot.",
    "The main thing in view is {obj}, seen {place} {light}, with {neg} around, while {cam}.",
    "Five seconds of video {light}: {obj} {place}, with {neg} in the frame, and {cam}.",
    "The picture shows {scene} {light} and, in clear view, {obj} as {cam} for five seconds.",
];

const FLAT_HELD_OUT: &[&str] = &[
    "Seen {light}, {obj} {verb} in view {place}, with {neg} near, and {cam}.",
    "In the middle there {be} {obj}, shown {place} {light}, {neg} anywhere, and {cam}.",
    "What we see in this footage is {obj} {place} {light}, with the camera {camg}.",
    "For five seconds {cam}; {obj} {verb} {light} {place}, and {neg} are visible in the shot.",
    "The subject of this video is {obj} {place}, filmed {light} with {neg} in it, and {cam}.",
];

/// What a caption says; a false caption is written from altered statements.
#[derive(Debug, Clone, Copy)]
struct Statements {
    setting: Setting,
    kind: Kind,
    colour: Colour,
    count: u8,
    secondary: Option<Kind>,
    weather: Option<Weather>,
    light: Light,
    camera: Camera,
    absent: &'static str,
}

/// The fewest and the most words of a caption.
const WORDS: std::ops::RangeInclusive<usize> = 20..=45;

impl Scene {
    /// A true caption of 20 to 45 words; `variant` picks the wording.
    pub fn caption(&self, set: TemplateSet, variant: u64) -> String {
        let (template, wording) = self.plan(set, variant);
        write(template, &self.statements(wording), wording)
    }

    /// The caption of the same `set` and `variant` with one attribute made
    /// false; none where that caption does not state the attribute.
    pub fn swapped_caption(
        &self,
        set: TemplateSet,
        variant: u64,
        attribute: Attribute,
        swap_seed: u64,
    ) -> Option<String> {
        let (template, wording) = self.plan(set, variant);
        if !states(template, attribute) {
            return None;
        }
        let honest = self.statements(wording);
        let mut rng = SceneRng::new(mix(self.seed, swap_seed), 40 + attribute as u64);
        for _ in 0..12 {
            let mut said = honest;
            self.falsify(&mut said, attribute, &mut rng)?;
            let text = write(template, &said, wording);
            if WORDS.contains(&text.split_whitespace().count()) {
                return Some(text);
            }
        }
        None
    }

    /// The template and the seed of its synonyms.
    fn plan(&self, set: TemplateSet, variant: u64) -> (&'static str, u64) {
        let templates = match (set, self.setting.is_flat()) {
            (TemplateSet::Train, false) => TRAIN,
            (TemplateSet::Train, true) => FLAT_TRAIN,
            (TemplateSet::HeldOut, false) => HELD_OUT,
            (TemplateSet::HeldOut, true) => FLAT_HELD_OUT,
        };
        let mut rng = SceneRng::new(mix(self.seed, variant), 30);
        let fallback = templates.first().copied().unwrap_or_default();
        let mut best = (fallback, 0);
        for _ in 0..64 {
            let template = rng.choose(templates, fallback);
            best = (template, rng.next_u64());
            let text = write(template, &self.statements(best.1), best.1);
            let words = text.split_whitespace().count();
            if WORDS.contains(&words) {
                break;
            }
        }
        best
    }

    fn statements(&self, wording: u64) -> Statements {
        let absent = self.absences();
        let mut rng = SceneRng::new(wording, 31);
        Statements {
            setting: self.setting,
            kind: self.kind,
            colour: self.colour,
            count: self.count,
            secondary: self.secondary.map(|s| s.kind),
            weather: self.weather,
            light: self.light,
            camera: self.camera,
            absent: rng.choose(&absent, "elephants"),
        }
    }

    /// Things that this scene certainly does not show.
    fn absences(&self) -> Vec<&'static str> {
        use Setting as S;
        let extra = self.secondary.map(|s| s.kind);
        let shows = |category: Category| {
            self.kind.category() == category || extra.is_some_and(|k| k.category() == category)
        };
        let tree = |k: Kind| matches!(k, Kind::Tree | Kind::Pine | Kind::Palm);
        let mut absent = Vec::new();
        for (category, word) in
            [(Category::People, "people"), (Category::Animal, "animals"), (Category::Vehicle, "vehicles")]
        {
            if !shows(category) {
                absent.push(word);
            }
        }
        let built = is_built(self.setting);
        if !built && !shows(Category::Urban) && !self.setting.is_indoor() {
            absent.push("buildings");
        }
        let treeless = matches!(
            self.setting,
            S::Beach | S::Desert | S::Harbour | S::Street | S::OpenSky | S::Skyline | S::Bridge
        ) || self.setting.is_flat();
        if treeless && !tree(self.kind) && !extra.is_some_and(tree) {
            absent.push("trees");
        }
        if let Some(weather) = self.weather {
            if weather != Weather::Rain {
                absent.push("raindrops");
            }
            if weather != Weather::Snow && !matches!(self.setting, S::Snowfield | S::Mountains) {
                absent.push("snowflakes");
            }
        }
        absent
    }

    fn falsify(&self, said: &mut Statements, attribute: Attribute, rng: &mut SceneRng) -> Option<()> {
        match attribute {
            Attribute::Colour => {
                let others: Vec<Colour> =
                    Colour::ALL.iter().copied().filter(|c| !c.is_near(self.colour)).collect();
                said.colour = rng.choose(&others, Colour::Blue);
            }
            Attribute::Object => {
                let near = rng.chance(0.4);
                let others: Vec<Kind> = Kind::ALL
                    .iter()
                    .copied()
                    .filter(|&k| {
                        (!near || k.category() == self.kind.category())
                            && !alike(k, self.kind)
                            && self.secondary.is_none_or(|s| !alike(s.kind, k))
                            && k.plural() != said.absent
                            && kinds_word(k) != said.absent
                            && !(said.absent == "trees" && alike(k, Kind::Tree))
                            && !(said.absent == "buildings" && alike(k, Kind::House))
                    })
                    .collect();

                said.kind = rng.choose(&others, self.kind);
                if said.kind == self.kind {
                    return None;
                }
            }
            Attribute::Count => {
                let others: Vec<u8> = (1..=4).filter(|&n| n != self.count).collect();
                said.count = rng.choose(&others, 1);
            }
            Attribute::Weather => {
                let actual = self.weather?;
                let others: &[Weather] = match actual {
                    Weather::Clear => &[Weather::Rain, Weather::Snow, Weather::Fog, Weather::Clouds],
                    Weather::Clouds => &[Weather::Rain, Weather::Snow, Weather::Clear],
                    Weather::Rain => &[Weather::Clear, Weather::Snow],
                    Weather::Snow => &[Weather::Clear, Weather::Rain],
                    Weather::Fog => &[Weather::Clear, Weather::Rain, Weather::Snow],
                };
                let drawn = rng.choose(others, Weather::Clear);
                // A caption must not contradict itself: one falsehood only.
                said.weather = Some(match (drawn, said.absent) {
                    (Weather::Rain, "raindrops") | (Weather::Snow, "snowflakes") => {
                        if actual == Weather::Clear { Weather::Fog } else { Weather::Clear }
                    }
                    _ => drawn,
                });
            }
            Attribute::Light => {
                let others: &[Light] = match (self.setting.is_flat(), self.light) {
                    (true, Light::Night) => &[Light::Day],
                    (true, _) => &[Light::Night],
                    (_, Light::Day) => &[Light::Night, Light::Sunset],
                    (_, Light::Sunset) => &[Light::Night, Light::Day],
                    (_, Light::Night) => &[Light::Day, Light::Sunset, Light::Dawn],
                    (_, Light::Dawn) => &[Light::Night],
                };
                said.light = rng.choose(others, Light::Night);
            }
            Attribute::Setting => {
                let same_sort = |s: Setting| {
                    s.is_flat() == self.setting.is_flat() && s.is_indoor() == self.setting.is_indoor()
                };
                let others: Vec<Setting> = Setting::ALL
                    .iter()
                    .copied()
                    .filter(|&s| {
                        let denied = said.absent == "buildings" && is_built(s)
                            || said.absent == "trees" && s == Setting::Forest;
                        same_sort(s) && !resembles(self.setting, s) && !denied
                    })
                    .collect();
                said.setting = rng.choose(&others, Setting::Desert);
            }
            Attribute::Negation => said.absent = self.kind.plural(),
            Attribute::Camera => {
                let others: Vec<Camera> = Camera::ALL.iter().copied().filter(|&c| c != self.camera).collect();
                said.camera = rng.choose(&others, Camera::Still);
            }
        }
        Some(())
    }
}

/// Whether two kinds are too alike for a fair false caption.
fn alike(a: Kind, b: Kind) -> bool {
    let family = |k: Kind| match k {
        Kind::Tree | Kind::Pine | Kind::Palm => 1,
        Kind::Person | Kind::Umbrella | Kind::Child | Kind::Dancer => 2,
        Kind::LampPost | Kind::FloorLamp => 3,
        Kind::Flower | Kind::Plant => 4,
        Kind::Circle | Kind::Ring | Kind::Planet => 5,
        Kind::Block | Kind::Bar | Kind::Diamond => 6,
        Kind::Bird | Kind::Duck => 7,
        Kind::Truck | Kind::Bus => 8,
        Kind::Cow | Kind::Horse => 9,
        Kind::Tower | Kind::House => 10,
        other => 100 + other as usize,
    };
    family(a) == family(b)
}

/// Whether a setting shows buildings.
fn is_built(setting: Setting) -> bool {
    use Setting::*;
    matches!(setting, Street | Skyline | Square | Plaza | Bridge | Village | Farmyard | Park | Harbour)
}

/// The word by which a caption denies a whole category.
fn kinds_word(kind: Kind) -> &'static str {
    match kind.category() {
        Category::People => "people",
        Category::Animal => "animals",
        Category::Vehicle => "vehicles",
        _ => "",
    }
}

/// Whether a false setting could pass for the actual one.
fn resembles(actual: Setting, said: Setting) -> bool {
    use Setting::*;
    let grassy =
        look(said) == 1 && matches!(actual, River | Lake | Pond | Road | Railway | Waterfall | Mountains);
    let water = |s| matches!(s, Bridge | Skyline | Waterfall | Beach) || look(s) == 2;
    look(said) == look(actual) || grassy || (water(actual) && water(said))
}

/// Settings with the same number look alike.
fn look(setting: Setting) -> u8 {
    use Setting::*;
    match setting {
        Meadow | Hills | Park | Pasture | SportsField | Farmyard | Village => 1,
        Lake | River | Pond | Harbour => 2,
        Road => 3,
        Street | Skyline | Bridge | Plaza => 4,
        Square => 5,
        Canyon | Desert => 6,
        Waterfall => 7,
        Mountains | Snowfield => 8,
        Beach => 9,
        Forest => 10,
        OpenSky => 11,
        Railway => 12,
        Plain => 20,
        Rings => 21,
        Starfield => 22,
        Stage => 23,
        Underwater => 24,
        Chart => 25,
        TestCard => 26,
        Stripes => 27,
        Checkers => 28,
        Kitchen => 30,
        LivingRoom => 31,
        Office => 32,
        Bedroom => 33,
    }
}

/// Whether a template states an attribute.
fn states(template: &str, attribute: Attribute) -> bool {
    let any = |slots: &[&str]| slots.iter().any(|slot| template.contains(slot));
    match attribute {
        Attribute::Colour | Attribute::Object | Attribute::Count => any(&["{obj}", "{Obj}"]),
        Attribute::Weather => any(&["{w}", "{W}", "{wc}", "{Wc}"]),
        Attribute::Light => any(&["{light}", "{Light}"]),
        Attribute::Setting => any(&["{place}", "{Place}", "{scene}", "{Scene}"]),
        Attribute::Negation => any(&["{neg}"]),
        Attribute::Camera => any(&["{cam}", "{Cam}", "{camg}"]),
    }
}

/// One of several wordings, fixed by the wording seed and the slot.
fn pick(options: &[&'static str], wording: u64, slot: u64) -> &'static str {
    SceneRng::new(wording, slot).choose(options, options.first().copied().unwrap_or_default())
}

fn write(template: &str, said: &Statements, wording: u64) -> String {
    let mut text = String::with_capacity(256);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let Some((slot, tail)) = after.split_once('}') else {
            rest = after;
            break;
        };
        let lower = slot.to_ascii_lowercase();
        let phrase = slot_text(&lower, said, wording);
        if slot.starts_with(char::is_uppercase) {
            let mut letters = phrase.chars();
            if let Some(first) = letters.next() {
                text.extend(first.to_uppercase());
                text.push_str(letters.as_str());
            }
        } else {
            text.push_str(&phrase);
        }
        rest = tail;
    }
    text.push_str(rest);
    with_articles(&text)
}

fn slot_text(slot: &str, said: &Statements, wording: u64) -> String {
    let one = said.count == 1;
    match slot {
        "obj" => {
            let (singular, plural) = said.kind.phrases();
            let number = match said.count {
                1 => pick(&["a", "a", "one", "a single"], wording, 1),
                2 => "two",
                3 => "three",
                _ => "four",
            };
            let phrase = if one { singular } else { plural };
            format!("{number} {}", phrase.replace("{c}", said.colour.word()))
        }
        "verb" => {
            let verbs = said.kind.verbs();
            let index = SceneRng::new(wording, 2).below(verbs.len());
            let (singular, plural) = verbs.get(index).copied().unwrap_or(("is", "are"));
            (if one { singular } else { plural }).to_owned()
        }
        "be" => (if one { "is" } else { "are" }).to_owned(),
        "place" => {
            let (preposition, _) = said.setting.phrases();
            format!("{preposition} {}", scene_text(said, wording))
        }
        "scene" => scene_text(said, wording).to_owned(),
        "light" => light_text(said, wording).to_owned(),
        "w" => weather_phrase(said, wording).to_owned(),
        "wc" => weather_clause(said, wording).to_owned(),
        "cam" => pick(camera_clauses(said.camera), wording, 6).to_owned(),
        "camg" => pick(camera_gerunds(said.camera), wording, 6).to_owned(),
        "sec" => match said.secondary {
            Some(kind) => {
                let (singular, _) = kind.phrases();
                let name = singular.replace("{c} ", "");
                let tail = if said.setting.is_indoor() {
                    pick(&["in the corner", "to one side"], wording, 7)
                } else {
                    pick(&["in the distance", "far away"], wording, 7)
                };
                format!(", and a small {name} {tail}")
            }
            None => String::new(),
        },
        "neg" => format!("no {}", said.absent),
        _ => String::new(),
    }
}

fn scene_text(said: &Statements, wording: u64) -> &'static str {
    let (_, names) = said.setting.phrases();
    pick(names, wording, 3)
}

fn light_text(said: &Statements, wording: u64) -> &'static str {
    let options: &[&str] = if said.setting.is_flat() {
        match said.light {
            Light::Night | Light::Sunset => &["in dim light", "in low and dim light"],
            _ => &["in bright light", "in bright and even light"],
        }
    } else {
        match said.light {
            Light::Day => &["in broad daylight", "during the day", "in bright daylight"],
            Light::Sunset => &["at sunset", "in the evening light at sunset", "as the sun sets"],
            Light::Night => &["at night", "in the dark of night", "late at night"],
            Light::Dawn => &["at dawn", "in the early morning", "in the pale light of dawn"],
        }
    };
    pick(options, wording, 4)
}

fn weather_phrase(said: &Statements, wording: u64) -> &'static str {
    let Some(weather) = said.weather else {
        return "";
    };
    let options: &[&str] = if said.setting.is_indoor() {
        match weather {
            Weather::Clear => &["with a clear sky outside the window"],
            Weather::Clouds => &["with clouds outside the window"],
            Weather::Rain => &["with rain outside the window"],
            Weather::Snow => &["with snow falling outside the window"],
            Weather::Fog => &["with fog outside the window"],
        }
    } else {
        match weather {
            Weather::Clear => &["under a clear sky", "under a cloudless sky", "in clear weather"],
            Weather::Clouds => &["under drifting clouds", "under a cloudy sky", "in cloudy weather"],
            Weather::Rain => &["in the rain", "in the falling rain", "in rainy weather"],
            Weather::Snow => &["in falling snow", "in a snowfall", "in snowy weather"],
            Weather::Fog => &["in thick fog", "in the pale fog", "in foggy weather"],
        }
    };
    pick(options, wording, 5)
}

fn weather_clause(said: &Statements, wording: u64) -> &'static str {
    let Some(weather) = said.weather else {
        return "";
    };
    let options: &[&str] = if said.setting.is_indoor() {
        match weather {
            Weather::Clear => &["the sky outside the window is clear"],
            Weather::Clouds => &["clouds drift by outside the window"],
            Weather::Rain => &["rain is falling outside the window"],
            Weather::Snow => &["snow is falling outside the window"],
            Weather::Fog => &["fog hangs outside the window"],
        }
    } else {
        match weather {
            Weather::Clear => &["the sky is clear", "the weather is clear", "the sky is cloudless"],
            Weather::Clouds => &["clouds drift across the sky", "the sky is cloudy"],
            Weather::Rain => &["rain is falling", "it is raining", "the rain comes down"],
            Weather::Snow => &["snow is falling", "it is snowing", "the snow comes down"],
            Weather::Fog => &["fog hangs in the air", "the air is foggy", "thick fog covers the view"],
        }
    };
    pick(options, wording, 5)
}

fn camera_clauses(camera: Camera) -> &'static [&'static str] {
    match camera {
        Camera::Still => &["the camera stays still", "the camera does not move"],
        Camera::PanLeft => &["the camera pans to the left", "the camera moves slowly to the left"],
        Camera::PanRight => &["the camera pans to the right", "the camera moves slowly to the right"],
        Camera::ZoomIn => &["the camera zooms in", "the camera slowly comes closer"],
        Camera::ZoomOut => &["the camera zooms out", "the camera slowly draws back"],
        Camera::TiltUp => &["the camera tilts up", "the camera slowly tilts upward"],
        Camera::TiltDown => &["the camera tilts down", "the camera slowly tilts downward"],
    }
}

fn camera_gerunds(camera: Camera) -> &'static [&'static str] {
    match camera {
        Camera::Still => &["staying still", "not moving"],
        Camera::PanLeft => &["panning to the left", "moving slowly to the left"],
        Camera::PanRight => &["panning to the right", "moving slowly to the right"],
        Camera::ZoomIn => &["zooming in", "slowly coming closer"],
        Camera::ZoomOut => &["zooming out", "slowly drawing back"],
        Camera::TiltUp => &["tilting up", "slowly tilting upward"],
        Camera::TiltDown => &["tilting down", "slowly tilting downward"],
    }
}

/// Turns "a" into "an" before a vowel.
fn with_articles(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        if let Some(last) = words.last_mut() {
            let vowel = word.starts_with(['a', 'e', 'i', 'o', 'u']);
            if vowel && (last == "a" || last == "A") {
                last.push('n');
            }
        }
        words.push(word.to_owned());
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BANNED: &[&str] = &[
        "http",
        "match",
        "true",
        "false",
        "json",
        "ignore",
        "instruction",
        "system",
        "prompt",
        "score",
        "yes",
        "label",
        "output",
        "{",
        "}",
        "  ",
        " ,",
        " .",
        "..",
    ];

    #[test]
    fn captions_keep_their_form() {
        for seed in 0..1500u64 {
            let scene = Scene::from_seed(seed);
            for set in [TemplateSet::Train, TemplateSet::HeldOut] {
                let text = scene.caption(set, seed % 7);
                let words = text.split_whitespace().count();
                assert!(WORDS.contains(&words), "{words}: {text}");
                let lower = text.to_lowercase();
                for banned in BANNED {
                    assert!(!lower.contains(banned), "{banned}: {text}");
                }
                assert!(lower.contains(scene.colour.word()), "{text}");
                assert_eq!(text, scene.caption(set, seed % 7));
            }
        }
    }

    #[test]
    fn swaps_change_the_caption_and_nothing_else() {
        let mut made = 0;
        for seed in 0..400u64 {
            let scene = Scene::from_seed(seed);
            for &attribute in Attribute::ALL {
                let honest = scene.caption(TemplateSet::Train, 3);
                if let Some(swapped) = scene.swapped_caption(TemplateSet::Train, 3, attribute, 9) {
                    assert_ne!(honest, swapped, "{attribute:?}");
                    assert!(WORDS.contains(&swapped.split_whitespace().count()));
                    made += 1;
                }
            }
        }
        assert!(made > 2000, "{made}");
    }

    #[test]
    fn articles_agree() {
        assert_eq!(with_articles("A orange cat in a red hat"), "An orange cat in a red hat");
    }

    #[test]
    fn the_template_sets_are_disjoint_and_large() {
        assert!(TRAIN.len() >= 40 && HELD_OUT.len() >= 15);
        for held in HELD_OUT.iter().chain(FLAT_HELD_OUT) {
            assert!(!TRAIN.contains(held) && !FLAT_TRAIN.contains(held));
        }
    }

    #[test]
    fn generic_captions_are_long_enough() {
        for text in crate::score::generic::GENERIC_CAPTIONS {
            assert!(text.split_whitespace().count() >= 20, "{text}");
        }
    }
}
