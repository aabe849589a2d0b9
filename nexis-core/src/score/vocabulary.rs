//! English words by what they state, for [`swaps`](super::swaps).
//!
//! A class is a list of groups; a group is a list of words that mean much the same in a picture. A word
//! is exchanged for the first word of another group of its class.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::swaps::Attribute;

/// Singular and plural; the same word twice where there is no plural.
type Forms = (&'static str, &'static str);

/// Words of one kind that can stand for each other in a sentence.
pub(crate) struct Class {
    /// What the words state.
    pub(crate) attribute: Attribute,
    /// Whether "a" before the singular counts one of them.
    pub(crate) countable: bool,
    /// Groups of words alike in meaning; each has at least one.
    pub(crate) groups: &'static [&'static [Forms]],
    /// Pairs of groups too close in meaning for a fair false caption, by their first words.
    pub(crate) near: &'static [(&'static str, &'static str)],
}

/// Where a word or phrase stands in [`CLASSES`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) class: usize,
    pub(crate) group: usize,
    pub(crate) plural: bool,
    /// Singular and plural of this very word.
    pub(crate) forms: Forms,
}

/// Most words in a phrase of the vocabulary.
pub(crate) const LONGEST_PHRASE: usize = 3;

macro_rules! groups {
    ($([$(($one:literal, $many:literal)),+ $(,)?]),+ $(,)?) => { &[$(&[$(($one, $many)),+]),+] };
}

/// Groups of words without a plural.
macro_rules! words {
    ($([$($word:literal),+ $(,)?]),+ $(,)?) => { &[$(&[$(($word, $word)),+]),+] };
}

/// Nouns whose plural is the singular with `s`.
macro_rules! regular {
    ($([$($word:literal),+ $(,)?]),+ $(,)?) => { &[$(&[$(($word, concat!($word, "s"))),+]),+] };
}

const fn objects(groups: &'static [&'static [Forms]]) -> Class {
    Class { attribute: Attribute::Object, countable: true, groups, near: &[] }
}

const fn stated(attribute: Attribute, groups: &'static [&'static [Forms]]) -> Class {
    Class { attribute, countable: false, groups, near: &[] }
}

/// All classes. The order is part of the result of the swaps.
pub(crate) static CLASSES: [Class; 21] = [
    Class {
        attribute: Attribute::Colour,
        countable: false,
        groups: words![
            ["red", "crimson", "scarlet", "maroon", "ruby"],
            ["blue", "navy", "azure", "cobalt"],
            ["yellow", "golden", "gold"],
            ["green", "emerald", "olive"],
            ["purple", "violet", "lavender", "lilac"],
            ["white", "ivory", "snow-white"],
            ["black", "jet-black"],
            ["orange", "amber"],
            ["pink", "magenta", "rose-coloured"],
            ["brown", "tan", "beige"],
            ["grey", "gray", "silver"],
        ],
        near: &[
            ("red", "orange"),
            ("red", "pink"),
            ("red", "brown"),
            ("orange", "yellow"),
            ("orange", "brown"),
            ("purple", "pink"),
            ("purple", "blue"),
            ("brown", "black"),
            ("grey", "white"),
            ("grey", "black"),
        ],
    },
    // Animals on land, in the air, in water
    objects(groups![
        [("dog", "dogs"), ("puppy", "puppies")],
        [("horse", "horses"), ("pony", "ponies")],
        [("cat", "cats"), ("kitten", "kittens")],
        [("cow", "cows"), ("bull", "bulls")],
        [("sheep", "sheep"), ("lamb", "lambs")],
        [("rabbit", "rabbits"), ("hare", "hares")],
        [("elephant", "elephants")],
        [("bear", "bears")],
        [("deer", "deer")],
        [("goat", "goats")],
        [("lion", "lions")],
        [("fox", "foxes")],
        [("monkey", "monkeys")],
        [("pig", "pigs")],
        [("giraffe", "giraffes")],
        [("zebra", "zebras")],
        [("wolf", "wolves")],
        [("squirrel", "squirrels")],
    ]),
    objects(groups![
        [("bird", "birds"), ("sparrow", "sparrows"), ("gull", "gulls"), ("seagull", "seagulls")],
        [("butterfly", "butterflies")],
        [("duck", "ducks")],
        [("eagle", "eagles"), ("hawk", "hawks")],
        [("bee", "bees")],
        [("swan", "swans")],
        [("owl", "owls")],
        [("chicken", "chickens"), ("hen", "hens")],
        [("goose", "geese")],
    ]),
    objects(groups![
        [("fish", "fish")],
        [("turtle", "turtles")],
        [("dolphin", "dolphins")],
        [("shark", "sharks")],
        [("whale", "whales")],
        [("crab", "crabs")],
    ]),
    // Vehicles on land, in the air, on water
    objects(groups![
        [("car", "cars"), ("automobile", "automobiles"), ("sedan", "sedans"), ("taxi", "taxis")],
        [("bus", "buses"), ("coach", "coaches")],
        [("truck", "trucks"), ("lorry", "lorries")],
        [("bicycle", "bicycles"), ("bike", "bikes")],
        [("train", "trains"), ("tram", "trams")],
        [("motorcycle", "motorcycles"), ("motorbike", "motorbikes")],
        [("van", "vans")],
        [("tractor", "tractors")],
    ]),
    objects(groups![
        [
            ("plane", "planes"),
            ("airplane", "airplanes"),
            ("aeroplane", "aeroplanes"),
            ("aircraft", "aircraft")
        ],
        [("hot air balloon", "hot air balloons")],
        [("helicopter", "helicopters")],
        [("drone", "drones")],
        [("kite", "kites")],
    ]),
    objects(groups![
        [("sailboat", "sailboats"), ("sailing boat", "sailing boats"), ("yacht", "yachts")],
        [("ship", "ships"), ("cargo ship", "cargo ships")],
        [("canoe", "canoes"), ("kayak", "kayaks")],
        [("ferry", "ferries")],
        [("rowing boat", "rowing boats"), ("rowboat", "rowboats"), ("boat", "boats")],
    ]),
    objects(groups![
        [("person", "people"), ("pedestrian", "pedestrians")],
        [("dancer", "dancers"), ("ballerina", "ballerinas")],
        [("child", "children"), ("kid", "kids"), ("toddler", "toddlers")],
        [("man", "men"), ("boy", "boys")],
        [("woman", "women"), ("girl", "girls")],
        [("runner", "runners")],
        [("cyclist", "cyclists")],
        [("hiker", "hikers")],
        [("musician", "musicians")],
    ]),
    objects(groups![
        [("coat", "coats"), ("jacket", "jackets")],
        [("dress", "dresses"), ("skirt", "skirts")],
        [("shirt", "shirts"), ("sweater", "sweaters")],
        [("hat", "hats"), ("cap", "caps"), ("helmet", "helmets")],
        [("scarf", "scarves")],
    ]),
    objects(groups![
        [("umbrella", "umbrellas"), ("parasol", "parasols")],
        [("party balloon", "party balloons"), ("balloon", "balloons")],
        [("ball", "balls")],
        [("backpack", "backpacks")],
        [("suitcase", "suitcases")],
        [("flag", "flags")],
    ]),
    objects(groups![
        [("leafy tree", "leafy trees"), ("tree", "trees"), ("oak", "oaks"), ("oak tree", "oak trees")],
        [("flower", "flowers"), ("tulip", "tulips"), ("poppy", "poppies"), ("wildflower", "wildflowers")],
        [("rock", "rocks"), ("boulder", "boulders"), ("stone", "stones")],
        [("pine tree", "pine trees"), ("pine", "pines"), ("fir tree", "fir trees"), ("fir", "firs")],
        [("mushroom", "mushrooms")],
        [("cactus", "cactuses"), ("cactus", "cacti")],
        [("palm tree", "palm trees"), ("palm", "palms")],
        [("bush", "bushes"), ("shrub", "shrubs")],
    ]),
    objects(groups![
        [("house", "houses"), ("cottage", "cottages"), ("cabin", "cabins")],
        [("tower", "towers"), ("skyscraper", "skyscrapers")],
        [("lamp post", "lamp posts"), ("street lamp", "street lamps"), ("streetlight", "streetlights")],
        [("bench", "benches")],
        [("fountain", "fountains")],
        [("market stall", "market stalls"), ("stall", "stalls")],
        [("statue", "statues")],
        [("barn", "barns")],
        [("church", "churches")],
        [("windmill", "windmills")],
    ]),
    objects(groups![
        [("chair", "chairs"), ("armchair", "armchairs"), ("stool", "stools")],
        [("table", "tables"), ("desk", "desks")],
        [("sofa", "sofas"), ("couch", "couches")],
        [("bed", "beds")],
        [("bookcase", "bookcases"), ("bookshelf", "bookshelves")],
        [("floor lamp", "floor lamps"), ("lamp", "lamps")],
        [("potted plant", "potted plants"), ("plant", "plants"), ("houseplant", "houseplants")],
        [("mirror", "mirrors")],
        [("television", "televisions")],
    ]),
    objects(groups![
        [("circle", "circles"), ("disc", "discs"), ("dot", "dots")],
        [("triangle", "triangles")],
        [("star", "stars")],
        [("square", "squares"), ("rectangle", "rectangles")],
        [("heart", "hearts")],
        [("diamond", "diamonds")],
        [("ring", "rings")],
        [("bar", "bars")],
        [("planet", "planets")],
    ]),
    stated(
        Attribute::Setting,
        groups![
            [("meadow", "meadows"), ("grassland", "grasslands")],
            [("desert", "deserts"), ("dune", "dunes"), ("desert dune", "desert dunes")],
            [("beach", "beaches"), ("shore", "shores"), ("coast", "coasts")],
            [("forest", "forests"), ("wood", "woods"), ("jungle", "jungles")],
            [
                ("city street", "city streets"),
                ("street", "streets"),
                ("avenue", "avenues"),
                ("alley", "alleys")
            ],
            [("kitchen", "kitchens")],
            [("lake", "lakes"), ("pond", "ponds")],
            [("mountain", "mountains"), ("mountain range", "mountain ranges"), ("peak", "peaks")],
            [("river", "rivers"), ("stream", "streams"), ("creek", "creeks")],
            [("bedroom", "bedrooms")],
            [("town square", "town squares"), ("plaza", "plazas")],
            [("waterfall", "waterfalls")],
            [("harbour", "harbours"), ("harbor", "harbors"), ("marina", "marinas")],
            [("office", "offices")],
            [("canyon", "canyons"), ("gorge", "gorges")],
            [("living room", "living rooms")],
            [("village", "villages")],
            [("snowfield", "snowfields"), ("snowy field", "snowy fields"), ("glacier", "glaciers")],
            [("park", "parks"), ("garden", "gardens")],
            [("hill", "hills")],
            [("bridge", "bridges")],
            [("stage", "stages"), ("theatre stage", "theatre stages")],
            [("road", "roads"), ("highway", "highways"), ("country road", "country roads")],
            [("sports field", "sports fields"), ("stadium", "stadiums")],
            [("pasture", "pastures"), ("farmyard", "farmyards"), ("farm", "farms")],
            [("skyline", "skylines"), ("city skyline", "city skylines")],
            [("railway", "railways"), ("railway line", "railway lines")],
            [("ocean", "oceans"), ("sea", "seas")],
        ],
    ),
    // What graphics stand on
    stated(
        Attribute::Setting,
        groups![
            [("plain background", "plain backgrounds"), ("plain backdrop", "plain backdrops")],
            [("striped background", "striped backgrounds"), ("slanted stripe", "slanted stripes")],
            [("checkered background", "checkered backgrounds"), ("checkered board", "checkered boards")],
            [("starfield", "starfields"), ("outer space", "outer space")],
            [("chart", "charts"), ("grid", "grids")],
            [("test card", "test cards"), ("test screen", "test screens")],
            [("ringed background", "ringed backgrounds")],
        ],
    ),
    // Weather as an adjective, as a noun, as a verb
    Class {
        attribute: Attribute::Weather,
        countable: false,
        groups: words![
            ["sunny", "cloudless", "clear"],
            ["rainy", "drizzly", "wet"],
            ["snowy"],
            ["foggy", "misty", "hazy"],
            ["cloudy", "overcast"],
            ["stormy"],
        ],
        near: &[("rainy", "stormy"), ("cloudy", "stormy")],
    },
    Class {
        attribute: Attribute::Weather,
        countable: false,
        groups: groups![
            [("rain", "raindrops"), ("drizzle", "showers"), ("rainfall", "rainfall")],
            [("snow", "snowflakes"), ("snowfall", "snowfall")],
            [("fog", "fog"), ("mist", "mist"), ("haze", "haze")],
            [("sunshine", "sunshine"), ("sunlight", "sunlight")],
            [("cloud", "clouds")],
        ],
        near: &[],
    },
    stated(Attribute::Weather, words![["raining", "drizzling"], ["snowing"], ["storming"]]),
    Class {
        attribute: Attribute::Light,
        countable: false,
        groups: regular![
            ["day", "daylight", "midday", "noon", "afternoon"],
            ["night", "midnight"],
            ["sunset", "dusk", "twilight", "evening"],
            ["dawn", "sunrise", "morning", "daybreak"],
        ],
        near: &[("sunset", "dawn")],
    },
    Class {
        attribute: Attribute::Light,
        countable: false,
        groups: words![
            ["bright", "brightly", "sunlit", "brilliant"],
            ["dim", "dimly", "dark", "moonlit", "gloomy"]
        ],
        near: &[],
    },
];

/// Lower-case words and phrases (words joined by one space) with their places. The first class that
/// names a word has it.
pub(crate) static INDEX: LazyLock<HashMap<&'static str, Entry>> = LazyLock::new(|| {
    let mut index = HashMap::new();
    for (class, content) in CLASSES.iter().enumerate() {
        for (group, members) in content.groups.iter().enumerate() {
            for &forms in *members {
                index.entry(forms.0).or_insert(Entry { class, group, plural: false, forms });
                let plural = forms.1 != forms.0;
                index.entry(forms.1).or_insert(Entry { class, group, plural, forms });
            }
        }
    }
    index
});

/// Numbers in words, from one.
pub(crate) const NUMBERS: [&str; 12] =
    ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];

/// Phrases that count, with their number.
pub(crate) const COUNTING_PHRASES: [(&str, u32); 6] = [
    ("a single", 1),
    ("a lone", 1),
    ("a solitary", 1),
    ("a pair of", 2),
    ("a couple of", 2),
    ("a trio of", 3),
];

/// Verbs that follow a counted noun, without and with the `s` of the third person.
pub(crate) const VERBS: [(&str, &str); 50] = [
    ("are", "is"),
    ("were", "was"),
    ("have", "has"),
    ("do", "does"),
    ("stand", "stands"),
    ("sit", "sits"),
    ("lie", "lies"),
    ("rest", "rests"),
    ("grow", "grows"),
    ("wait", "waits"),
    ("dance", "dances"),
    ("move", "moves"),
    ("graze", "grazes"),
    ("fly", "flies"),
    ("hover", "hovers"),
    ("swim", "swims"),
    ("glide", "glides"),
    ("roll", "rolls"),
    ("sail", "sails"),
    ("float", "floats"),
    ("drift", "drifts"),
    ("walk", "walks"),
    ("run", "runs"),
    ("jump", "jumps"),
    ("play", "plays"),
    ("drive", "drives"),
    ("ride", "rides"),
    ("travel", "travels"),
    ("pass", "passes"),
    ("cross", "crosses"),
    ("turn", "turns"),
    ("eat", "eats"),
    ("drink", "drinks"),
    ("sleep", "sleeps"),
    ("look", "looks"),
    ("watch", "watches"),
    ("hold", "holds"),
    ("carry", "carries"),
    ("climb", "climbs"),
    ("follow", "follows"),
    ("rise", "rises"),
    ("bloom", "blooms"),
    ("sway", "sways"),
    ("appear", "appears"),
    ("remain", "remains"),
    ("gather", "gathers"),
    ("circle", "circles"),
    ("soar", "soars"),
    ("shine", "shines"),
    ("hang", "hangs"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_lower_case_and_short_enough_to_be_found() {
        for word in INDEX.keys() {
            assert_eq!(*word, word.to_lowercase());
            assert!(word.split([' ', '-']).count() <= LONGEST_PHRASE, "{word}");
        }
    }

    #[test]
    fn near_pairs_name_first_words_of_their_class() {
        for class in &CLASSES {
            for (a, b) in class.near {
                for word in [a, b] {
                    assert!(class.groups.iter().any(|g| g[0].0 == *word), "{word}");
                }
            }
            assert!(class.groups.len() >= 2);
        }
    }
}
