//! The closed sets of things a scene can show, and the words for them.

use serde::{Deserialize, Serialize};

use crate::protocol::Category;

macro_rules! vocabulary {
    ($(#[$meta:meta])* $name:ident { $($variant:ident => $word:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $(#[doc = $word] $variant),* }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The plain English word for this value.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }
    };
}

vocabulary! {
    /// The colour of the main objects.
    Colour {
        Red => "red", Orange => "orange", Yellow => "yellow", Green => "green", Blue => "blue",
        Purple => "purple", Pink => "pink", White => "white", Black => "black", Brown => "brown",
    }
}

vocabulary! {
    /// The weather, where a scene has any.
    Weather { Clear => "clear", Clouds => "clouds", Rain => "rain", Snow => "snow", Fog => "fog" }
}

vocabulary! {
    /// The time of day; scenes without a sky use only day (bright) and night (dim).
    Light { Day => "day", Sunset => "sunset", Night => "night", Dawn => "dawn" }
}

vocabulary! {
    /// How the camera moves during the clip.
    Camera {
        Still => "still", PanLeft => "pan left", PanRight => "pan right", ZoomIn => "zoom in",
        ZoomOut => "zoom out", TiltUp => "tilt up", TiltDown => "tilt down",
    }
}

vocabulary! {
    /// Where a scene takes place.
    Setting {
        Meadow => "meadow", Mountains => "mountains", Desert => "desert", Beach => "beach",
        Forest => "forest", Lake => "lake", River => "river", Waterfall => "waterfall",
        Hills => "hills", Canyon => "canyon", Snowfield => "snowfield",
        Park => "park", Stage => "stage", Plaza => "plaza", SportsField => "sports field",
        Pasture => "pasture", Pond => "pond", Underwater => "underwater", Farmyard => "farmyard",
        OpenSky => "open sky", Road => "road", Harbour => "harbour", Railway => "railway",
        Street => "street", Skyline => "skyline", Square => "square", Bridge => "bridge",
        Village => "village",
        Kitchen => "kitchen", LivingRoom => "living room", Office => "office", Bedroom => "bedroom",
        Plain => "plain background", Stripes => "striped background",
        Checkers => "checkered background", Starfield => "starfield",
        Chart => "chart", TestCard => "test card", Rings => "ringed background",
    }
}

vocabulary! {
    /// The kinds of main and secondary objects.
    Kind {
        Tree => "tree", Pine => "pine", Palm => "palm", Flower => "flower", Rock => "rock",
        Cactus => "cactus", Mushroom => "mushroom",
        Person => "person", Dancer => "dancer", Umbrella => "umbrella", Child => "child",
        Horse => "horse", Cow => "cow", Sheep => "sheep", Dog => "dog", Cat => "cat",
        Rabbit => "rabbit", Bird => "bird", Duck => "duck", Fish => "fish",
        Butterfly => "butterfly",
        Car => "car", Bus => "bus", Truck => "truck", Train => "train", Sailboat => "sailboat",
        Plane => "plane", Balloon => "balloon", Helicopter => "helicopter",
        Bicycle => "bicycle",
        House => "house", Tower => "tower", LampPost => "lamp post", Bench => "bench",
        Fountain => "fountain", Stall => "stall",
        Sofa => "sofa", Table => "table", FloorLamp => "floor lamp", Chair => "chair",
        Bed => "bed", Plant => "plant", Bookcase => "bookcase",
        Circle => "circle", Block => "square", Triangle => "triangle", Star => "star",
        Diamond => "diamond", Heart => "heart", Ring => "ring", Bar => "bar",
        Planet => "planet",
    }
}

vocabulary! {
    /// One thing a caption can state and a swapped caption can misstate.
    Attribute {
        Colour => "colour", Object => "object", Count => "count", Weather => "weather",
        Light => "light", Setting => "setting", Negation => "negation", Camera => "camera",
    }
}

/// Where an object rests in the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Footing {
    /// On the ground, the road or the floor.
    Ground,
    /// In the air.
    Air,
    /// On a water surface.
    Water,
    /// Anywhere in the frame.
    Free,
}

impl Colour {
    /// The base colour, before any lighting.
    pub fn rgb(self) -> [f32; 3] {
        match self {
            Self::Red => [218.0, 30.0, 34.0],
            Self::Orange => [248.0, 134.0, 18.0],
            Self::Yellow => [250.0, 222.0, 40.0],
            Self::Green => [36.0, 158.0, 56.0],
            Self::Blue => [32.0, 86.0, 222.0],
            Self::Purple => [126.0, 48.0, 172.0],
            Self::Pink => [250.0, 134.0, 188.0],
            Self::White => [248.0, 248.0, 246.0],
            Self::Black => [26.0, 26.0, 30.0],
            Self::Brown => [122.0, 74.0, 36.0],
        }
    }

    /// Whether two colours are too alike for a fair false caption.
    pub fn is_near(self, other: Self) -> bool {
        use Colour::*;
        let near = |a, b| {
            matches!(
                (a, b),
                (Red, Orange)
                    | (Red, Pink)
                    | (Orange, Yellow)
                    | (Orange, Brown)
                    | (Purple, Pink)
                    | (Purple, Blue)
                    | (Brown, Black)
                    | (Brown, Red)
            )
        };
        self == other || near(self, other) || near(other, self)
    }
}

impl Setting {
    /// Whether the setting is a room with a window.
    pub fn is_indoor(self) -> bool {
        matches!(self, Self::Kitchen | Self::LivingRoom | Self::Office | Self::Bedroom)
    }

    /// Whether the setting shows neither sky nor weather.
    pub fn is_flat(self) -> bool {
        matches!(
            self,
            Self::Stage
                | Self::Underwater
                | Self::Plain
                | Self::Stripes
                | Self::Checkers
                | Self::Starfield
                | Self::Chart
                | Self::TestCard
                | Self::Rings
        )
    }

    /// Preposition and noun phrases for the setting; each starts with "a", "an" or "the".
    pub fn phrases(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Meadow => ("in", &["a grassy meadow", "a wide green meadow"]),
            Self::Mountains => ("below", &["a chain of tall mountains", "a range of rocky mountains"]),
            Self::Desert => ("in", &["a sandy desert", "the dry sand of a desert"]),
            Self::Beach => ("on", &["a sandy beach by the sea", "the beach beside the waves"]),
            Self::Forest => ("in", &["a dense forest", "a deep green wood"]),
            Self::Lake => ("by", &["a quiet lake", "the shore of a calm lake"]),
            Self::River => ("beside", &["a winding river", "the bend of a river"]),
            Self::Waterfall => ("near", &["a tall waterfall", "a rushing waterfall on a cliff"]),
            Self::Hills => ("in", &["a land of rolling green hills", "a valley between gentle round hills"]),
            Self::Canyon => ("in", &["a red rock canyon", "a canyon with steep red walls"]),
            Self::Snowfield => ("in", &["a snowy white field", "a winter landscape covered in snow"]),
            Self::Park => ("in", &["a park with a path", "a tidy city park with a winding path"]),
            Self::Stage => ("on", &["a theatre stage with curtains", "the stage of a theatre"]),
            Self::Plaza => ("in", &["a paved plaza", "an open plaza with paving stones"]),
            Self::SportsField => ("on", &["a sports field with white lines", "the grass of a sports field"]),
            Self::Pasture => ("in", &["a fenced pasture", "a pasture behind a wooden fence"]),
            Self::Pond => ("at", &["a small pond with reeds", "a round pond in the grass"]),
            Self::Underwater => ("under", &["the blue sea", "the water near the sea floor"]),
            Self::Farmyard => ("in", &["a farmyard with a red barn", "the yard in front of a barn"]),
            Self::OpenSky => ("in", &["the open sky", "the wide sky high above the land"]),
            Self::Road => ("on", &["a country road", "a paved road through the fields"]),
            Self::Harbour => ("in", &["a harbour with a pier", "the water of a harbour"]),
            Self::Railway => ("on", &["a railway line", "the track of a railway"]),
            Self::Street => ("on", &["a city street", "a street lined with city buildings"]),
            Self::Skyline => ("before", &["a city skyline", "the skyline of a large city"]),
            Self::Square => ("in", &["a town square", "an old town square with arches"]),
            Self::Bridge => ("near", &["a long arched bridge", "a city bridge over the water"]),
            Self::Village => ("in", &["a small village", "a village with a narrow lane"]),
            Self::Kitchen => ("in", &["a kitchen with cupboards", "a tidy kitchen with a counter"]),
            Self::LivingRoom => ("in", &["a living room with a rug", "a cosy living room"]),
            Self::Office => ("in", &["an office with desks", "an office with a whiteboard"]),
            Self::Bedroom => ("in", &["a bedroom with curtains", "a quiet bedroom"]),
            Self::Plain => ("on", &["a plain background", "a flat plain backdrop"]),
            Self::Stripes => ("on", &["a striped background", "a backdrop of slanted stripes"]),
            Self::Checkers => ("on", &["a checkered background", "a checkered board pattern"]),
            Self::Starfield => ("in", &["a dark starfield", "outer space among tiny stars"]),
            Self::Chart => ("on", &["a chart with grid lines", "a white chart with a grid"]),
            Self::TestCard => ("on", &["a test card with colour bars", "a test screen with vertical bars"]),
            Self::Rings => ("on", &["a background of round rings", "a backdrop of circles within circles"]),
        }
    }
}

impl Kind {
    /// The kind's category.
    pub fn category(self) -> Category {
        use Kind::*;
        match self {
            Tree | Pine | Palm | Flower | Rock | Cactus | Mushroom => Category::Nature,
            Person | Dancer | Umbrella | Child => Category::People,
            Horse | Cow | Sheep | Dog | Cat | Rabbit | Bird | Duck | Fish | Butterfly => Category::Animal,
            Car | Bus | Truck | Train | Sailboat | Plane | Balloon | Helicopter | Bicycle => {
                Category::Vehicle
            }
            House | Tower | LampPost | Bench | Fountain | Stall => Category::Urban,
            Sofa | Table | FloorLamp | Chair | Bed | Plant | Bookcase => Category::Indoor,
            Circle | Block | Triangle | Star | Diamond | Heart | Ring | Bar | Planet => Category::Other,
        }
    }

    /// Where objects of this kind rest.
    pub fn footing(self) -> Footing {
        match self {
            Self::Bird | Self::Butterfly | Self::Plane | Self::Balloon | Self::Helicopter => Footing::Air,
            Self::Sailboat | Self::Duck => Footing::Water,
            Self::Fish => Footing::Free,
            kind if kind.category() == Category::Other => Footing::Free,
            _ => Footing::Ground,
        }
    }

    /// Singular and plural noun phrases, with `{c}` where the colour goes.
    pub fn phrases(self) -> (&'static str, &'static str) {
        match self {
            Self::Tree => ("leafy {c} tree", "leafy {c} trees"),
            Self::Pine => ("{c} pine tree", "{c} pine trees"),
            Self::Palm => ("{c} palm tree", "{c} palm trees"),
            Self::Flower => ("{c} flower", "{c} flowers"),
            Self::Rock => ("{c} rock", "{c} rocks"),
            Self::Cactus => ("{c} cactus", "{c} cactuses"),
            Self::Mushroom => ("{c} mushroom", "{c} mushrooms"),
            Self::Person => ("person in a {c} coat", "people in {c} coats"),
            Self::Dancer => ("dancer in a {c} dress", "dancers in {c} dresses"),
            Self::Umbrella => ("person with a {c} umbrella", "people with {c} umbrellas"),
            Self::Child => ("child with a {c} party balloon", "children with {c} party balloons"),
            Self::Horse => ("{c} horse", "{c} horses"),
            Self::Cow => ("{c} cow", "{c} cows"),
            Self::Sheep => ("{c} sheep", "{c} sheep"),
            Self::Dog => ("{c} dog", "{c} dogs"),
            Self::Cat => ("{c} cat", "{c} cats"),
            Self::Rabbit => ("{c} rabbit", "{c} rabbits"),
            Self::Bird => ("{c} bird", "{c} birds"),
            Self::Duck => ("{c} duck", "{c} ducks"),
            Self::Fish => ("{c} fish", "{c} fish"),
            Self::Butterfly => ("{c} butterfly", "{c} butterflies"),
            Self::Car => ("{c} car", "{c} cars"),
            Self::Bus => ("{c} bus", "{c} buses"),
            Self::Truck => ("{c} truck", "{c} trucks"),
            Self::Train => ("{c} train", "{c} trains"),
            Self::Sailboat => ("{c} sailboat", "{c} sailboats"),
            Self::Plane => ("{c} plane", "{c} planes"),
            Self::Balloon => ("{c} hot air balloon", "{c} hot air balloons"),
            Self::Helicopter => ("{c} helicopter", "{c} helicopters"),
            Self::Bicycle => ("{c} bicycle", "{c} bicycles"),
            Self::House => ("{c} house", "{c} houses"),
            Self::Tower => ("tall {c} tower", "tall {c} towers"),
            Self::LampPost => ("{c} lamp post", "{c} lamp posts"),
            Self::Bench => ("{c} bench", "{c} benches"),
            Self::Fountain => ("{c} fountain", "{c} fountains"),
            Self::Stall => ("market stall with a {c} roof", "market stalls with {c} roofs"),
            Self::Sofa => ("{c} sofa", "{c} sofas"),
            Self::Table => ("{c} table", "{c} tables"),
            Self::FloorLamp => ("{c} floor lamp", "{c} floor lamps"),
            Self::Chair => ("{c} chair", "{c} chairs"),
            Self::Bed => ("{c} bed", "{c} beds"),
            Self::Plant => ("plant in a {c} pot", "plants in {c} pots"),
            Self::Bookcase => ("{c} bookcase", "{c} bookcases"),
            Self::Circle => ("{c} circle", "{c} circles"),
            Self::Block => ("{c} square", "{c} squares"),
            Self::Triangle => ("{c} triangle", "{c} triangles"),
            Self::Star => ("{c} star", "{c} stars"),
            Self::Diamond => ("{c} diamond", "{c} diamonds"),
            Self::Heart => ("{c} heart", "{c} hearts"),
            Self::Ring => ("{c} ring", "{c} rings"),
            Self::Bar => ("upright {c} bar", "upright {c} bars"),
            Self::Planet => ("{c} planet with a ring", "{c} planets with rings"),
        }
    }

    /// The bare plural, as in "no horses".
    pub fn plural(self) -> &'static str {
        match self {
            Self::Person | Self::Umbrella => "people",
            Self::Dancer => "dancers",
            Self::Child => "children",
            Self::Stall => "market stalls",
            Self::Plant => "plants",
            Self::Planet => "planets",
            Self::Tree => "leafy trees",
            Self::Pine => "pine trees",
            Self::Palm => "palm trees",
            Self::Balloon => "hot air balloons",
            Self::Tower => "towers",
            Self::Bar => "upright bars",
            Self::Flower => "flowers",
            Self::Rock => "rocks",
            Self::Cactus => "cactuses",
            Self::Mushroom => "mushrooms",
            Self::Horse => "horses",
            Self::Cow => "cows",
            Self::Sheep => "sheep",
            Self::Dog => "dogs",
            Self::Cat => "cats",
            Self::Rabbit => "rabbits",
            Self::Bird => "birds",
            Self::Duck => "ducks",
            Self::Fish => "fish",
            Self::Butterfly => "butterflies",
            Self::Car => "cars",
            Self::Bus => "buses",
            Self::Truck => "trucks",
            Self::Train => "trains",
            Self::Sailboat => "sailboats",
            Self::Plane => "planes",
            Self::Helicopter => "helicopters",
            Self::Bicycle => "bicycles",
            Self::House => "houses",
            Self::LampPost => "lamp posts",
            Self::Bench => "benches",
            Self::Fountain => "fountains",
            Self::Sofa => "sofas",
            Self::Table => "tables",
            Self::FloorLamp => "floor lamps",
            Self::Chair => "chairs",
            Self::Bed => "beds",
            Self::Bookcase => "bookcases",
            Self::Circle => "circles",
            Self::Block => "squares",
            Self::Triangle => "triangles",
            Self::Star => "stars",
            Self::Diamond => "diamonds",
            Self::Heart => "hearts",
            Self::Ring => "rings",
        }
    }

    /// Singular and plural verbs for what the objects do.
    pub fn verbs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Tree | Self::Pine | Self::Palm | Self::Flower | Self::Cactus | Self::Mushroom => {
                &[("grows", "grow"), ("stands", "stand")]
            }
            Self::Rock => &[("lies", "lie"), ("rests", "rest")],
            Self::Person | Self::Umbrella | Self::Child => &[("stands", "stand"), ("waits", "wait")],
            Self::Dancer => &[("dances", "dance"), ("moves", "move")],
            Self::Horse | Self::Cow | Self::Sheep => &[("grazes", "graze"), ("stands", "stand")],
            Self::Dog | Self::Duck => &[("waits", "wait"), ("rests", "rest")],
            Self::Cat | Self::Rabbit => &[("sits", "sit"), ("rests", "rest")],
            Self::Bird | Self::Butterfly | Self::Plane | Self::Helicopter => {
                &[("flies", "fly"), ("hovers", "hover")]
            }
            Self::Fish => &[("swims", "swim"), ("glides", "glide")],
            Self::Car | Self::Bus | Self::Truck | Self::Train | Self::Bicycle => {
                &[("rolls along", "roll along"), ("moves", "move")]
            }
            Self::Sailboat => &[("sails", "sail"), ("floats", "float")],
            Self::Balloon => &[("floats", "float"), ("drifts", "drift")],
            kind if kind.category() == Category::Other => &[("floats", "float"), ("sits", "sit")],
            _ => &[("stands", "stand"), ("is placed", "are placed")],
        }
    }

    /// The colours this kind is drawn in.
    pub fn colours(self) -> &'static [Colour] {
        use Colour::*;
        match self {
            Self::Tree => &[Green, Orange, Red, Yellow, Green],
            Self::Pine | Self::Palm | Self::Cactus => &[Green],
            Self::Flower => &[Red, Yellow, Purple, Pink, White, Orange, Blue],
            Self::Rock => &[Brown, Black, White, Red],
            Self::Mushroom => &[Red, Brown, White, Orange],
            Self::Horse | Self::Cow => &[Brown, Black, White],
            Self::Sheep => &[White, Black, Brown],
            Self::Dog | Self::Cat | Self::Rabbit => &[Brown, Black, White, Orange],
            Self::Bird => &[Red, Blue, Yellow, Black, White, Pink, Green],
            Self::Duck => &[Yellow, White, Brown, Black],
            Self::Fish => &[Orange, Yellow, Red, Purple, Pink, Green, White],
            Self::Butterfly => &[Orange, Yellow, Blue, Purple, Pink, White, Red],
            Self::Sofa | Self::Table | Self::Chair | Self::Bookcase => {
                &[Red, Orange, Yellow, Green, Blue, Purple, Pink, White, Black, Brown, Brown]
            }
            _ => Colour::ALL,
        }
    }
}
