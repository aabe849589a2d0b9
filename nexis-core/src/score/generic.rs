//! Captions that say nothing, and prompts for the seven labels: what a card starts from.

/// Captions that would fit almost any clip and so should convince nobody.
pub const GENERIC_CAPTIONS: &[&str] = &[
    "A short video clip that shows some things in a place, with light and colours, filmed by a camera for a while.",
    "This is a video in which something can be seen, and it goes on for a few seconds before it comes to an end.",
    "Several things are visible in the frame, some of them closer and some farther away, as the short recording goes on.",
    "The clip shows a scene with a background and a foreground, and there are some shapes and colours to look at.",
    "A few seconds of footage in which the picture changes a little or stays as it is, depending on the moment.",
    "There is something in the middle of the picture and something else around it, all filmed in an ordinary way.",
    "An ordinary video of ordinary things, filmed at some time of the day in some kind of place with some light.",
    "The camera records what is in front of it, and the viewer can look at the picture for as long as it lasts.",
    "Here is a moving picture with different parts, different colours and different shapes, much as can be seen in so many other moving pictures.",
    "Some footage of a place at a certain time, in which one or more things may or may not move around.",
    "A nice and interesting video clip with good picture quality that many people would probably enjoy watching for several seconds.",
    "In this recording one can see a view of something, with areas that are brighter and areas that are darker.",
    "The video contains a number of frames that follow one another and that together make up a short moving scene.",
    "Something is happening here, or perhaps nothing is happening at all, but in any case it was recorded on video.",
    "A general view of a general subject, seen from a certain distance and from a certain angle, for a short time.",
    "This footage could have been taken anywhere and at any time, and it shows whatever happened to be there then.",
    "A beautiful high quality video with wonderful details, amazing colours and a great mood, the best clip you will ever see.",
    "The picture has an upper part, a lower part, a left side and a right side, each with something in it.",
    "A small piece of video of about five seconds, showing one scene from beginning to end without any spoken words.",
    "Various objects of various sizes and colours are located at various positions in this brief and quite simple moving picture.",
];

/// Prompts of the seven labels in the order of the wire, for a model that brings none of its own.
pub const LABEL_PROMPTS: [&[&str]; 7] = [
    &[
        "a natural landscape",
        "a photo of nature without people or buildings",
        "trees, plants and rocks",
        "mountains, a lake or a river",
        "the sea and a beach",
        "a forest or a meadow",
    ],
    &[
        "a photo of a person",
        "people in front of the camera",
        "a portrait of somebody",
        "a group of people",
        "somebody at work",
    ],
    &["a photo of an animal", "a wild animal", "a dog or a cat", "birds or fish", "animals on a farm"],
    &[
        "a photo of a vehicle",
        "a car on a road",
        "a train, a bus or a truck",
        "a ship or a boat",
        "an aeroplane",
    ],
    &[
        "a city street with buildings",
        "a photo of a city",
        "the skyline of a city",
        "a square between houses",
        "a bridge in a town",
    ],
    &[
        "the inside of a room",
        "a photo taken indoors",
        "a kitchen or a living room",
        "an office",
        "a shop or a hall from inside",
    ],
    &[
        "an abstract picture",
        "a drawing or a diagram",
        "a plain background",
        "text on a screen",
        "patterns and shapes",
    ],
];
