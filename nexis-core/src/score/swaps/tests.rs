use super::*;

const MANY: SwapBudget = SwapBudget { per_attribute: 40, total: 400 };

fn texts(caption: &str, attribute: Attribute) -> Vec<String> {
    swaps(caption, MANY).into_iter().filter(|s| s.attribute == attribute).map(|s| s.text).collect()
}

fn has(caption: &str, attribute: Attribute, wanted: &str) {
    let texts = texts(caption, attribute);
    assert!(texts.iter().any(|text| text == wanted), "{wanted:?} is not among {texts:#?}");
}

#[test]
fn colours() {
    has("A RED car by red cars", Attribute::Colour, "A BLUE car by red cars");
    has("A RED car by red cars", Attribute::Colour, "A RED car by blue cars");
    has("A red car", Attribute::Colour, "A blue car");
    assert!(
        texts("A red car", Attribute::Colour).iter().all(|t| !t.contains("orange") && !t.contains("brown"))
    );
    has("a blue coat", Attribute::Colour, "an orange coat");
    assert!(texts("a reddish bored blackbird", Attribute::Colour).is_empty());
}

#[test]
fn numbers_keep_noun_and_verb_in_agreement() {
    let caption = "Two leafy green trees stand by a lake.";
    has(caption, Attribute::Number, "One leafy green tree stands by a lake.");
    has(caption, Attribute::Number, "Three leafy green trees stand by a lake.");
    has("There are 2 dogs here", Attribute::Number, "There is 1 dog here");
    has("There are 2 dogs here", Attribute::Number, "There are 4 dogs here");
    has("One person in a red coat waits", Attribute::Number, "Three people in a red coat waits");
    has("A single green pine tree grows there", Attribute::Number, "Two green pine trees grow there");
    has("a pair of hot air balloons", Attribute::Number, "three hot air balloons");
    has("a yellow bus is parked", Attribute::Number, "two yellow buses are parked");
    assert!(texts("it lasts 3.5 hours until 10:30, one of many", Attribute::Number).is_empty());
    assert!(texts("in a wide meadow", Attribute::Number).is_empty());
}

#[test]
fn objects_stay_in_their_class_and_number() {
    let dogs = texts("three dogs", Attribute::Object);
    assert!(dogs.contains(&"three horses".to_owned()) && !dogs.contains(&"three cars".to_owned()));
    has("an elephant", Attribute::Object, "a dog");
    has("green pine trees", Attribute::Object, "green flowers");
    assert!(
        texts("green pine trees", Attribute::Object)
            .iter()
            .all(|t| !t.contains("pine") && !t.contains("leafy trees trees"))
    );
    has("a hot air balloon", Attribute::Object, "a helicopter");
}

#[test]
fn weather_light_and_setting() {
    has("under a sunny sky", Attribute::Weather, "under a foggy sky");
    has("Snow falls on the barn", Attribute::Weather, "Rain falls on the barn");
    assert!(texts("clear water", Attribute::Weather).is_empty());
    has("a clear sky", Attribute::Weather, "a rainy sky");
    has("the sky is clear", Attribute::Weather, "the sky is foggy");
    has("it is raining", Attribute::Weather, "it is snowing");
    has("a plain background", Attribute::Setting, "a test card");
    has("a car at night", Attribute::Light, "a car at sunset");
    assert!(texts("a bright red car", Attribute::Light).is_empty());
    has("in a sandy desert", Attribute::Setting, "in a sandy kitchen");
    has("in a living room", Attribute::Setting, "in an office");
}

#[test]
fn negation_goes_both_ways() {
    has("a street with no cars", Attribute::Negation, "a street with cars");
    has("a street without cars", Attribute::Negation, "a street with cars");
    has("a street with cars", Attribute::Negation, "a street without cars");
    has("There are no dogs", Attribute::Negation, "There are some dogs");
    has("There is no dog", Attribute::Negation, "There is a dog");
    has("it is not raining", Attribute::Negation, "it is raining");
    assert!(texts("There are no white dogs", Attribute::Object).is_empty());
    assert!(texts("There are no white dogs", Attribute::Colour).is_empty());
    has("no dogs, two cats", Attribute::Object, "no dogs, two horses");
}

#[test]
fn the_budget_holds_and_the_result_follows_from_the_caption() {
    let caption = "Two brown horses and three white sheep graze in a fenced pasture while snow falls at night, \
                   with no people near the red barn and with a blue car on the road.";
    let some = swaps(caption, SwapBudget::default());
    assert_eq!(some, swaps(caption, SwapBudget::default()));
    assert_eq!(some.len(), 24);
    for attribute in Attribute::ALL {
        let count = some.iter().filter(|s| s.attribute == attribute).count();
        assert!((1..=4).contains(&count), "{attribute:?} {count}");
    }
    assert!(some.iter().all(|s| s.text != caption));
    assert!(swaps(caption, SwapBudget { per_attribute: 0, total: 24 }).is_empty());
    assert!(swaps(caption, SwapBudget { per_attribute: 4, total: 3 }).len() == 3);
    assert!(swaps("", MANY).is_empty());
}

#[test]
fn captions_choose_different_alternatives() {
    let budget = SwapBudget { per_attribute: 1, total: 24 };
    let first = |n: usize| {
        let caption = format!("a red thing {}", "x".repeat(n));
        swaps(&caption, budget)[0].text.split(' ').nth(1).unwrap().to_owned()
    };
    let distinct: std::collections::BTreeSet<String> = (0..40).map(first).collect();
    assert!(distinct.len() >= 4, "{distinct:?}");
}

#[test]
fn a_swap_applies_to_a_part_that_holds_its_changes() {
    let caption = "A dog sits. A red car waits.";
    let swap = swaps(caption, MANY).into_iter().find(|s| s.text == "A dog sits. A blue car waits.").unwrap();
    assert_eq!(swap.apply_within(caption, 12, 28).as_deref(), Some("A blue car waits."));
    assert_eq!(swap.apply_within(caption, 0, 11), None);
    assert_eq!(swap.apply_within(caption, 16, 28), None);
}

#[test]
fn any_text_is_survived() {
    for caption in [
        "\u{130}\u{130} red",
        "' '' \u{2019}",
        "\u{1f600}\u{200d}two\u{301} dogs",
        "a a a an an 1 1 no with not",
    ] {
        for swap in swaps(caption, MANY) {
            assert_ne!(swap.text, caption);
        }
    }
    let long = "red dog ".repeat(100_000);
    assert!(swaps(&long, SwapBudget::default()).len() <= 24);
}
