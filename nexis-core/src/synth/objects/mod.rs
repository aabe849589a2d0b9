//! The shapes of the object kinds, in a unit frame: base at y = 0, top near
//! y = 1, centred on x = 0.

mod animals;
mod forms;
mod nature;
mod people;
mod room;
mod street;
mod vehicles;

use super::raster::{Point, Rgb, ellipse, line, mix_rgb, rect, tilted};
use super::vocabulary::{Colour, Kind};

/// One coloured polygon of an object.
pub(crate) struct Part {
    pub points: Vec<Point>,
    pub rgb: Rgb,
}

/// An object taking shape.
#[derive(Default)]
pub(crate) struct Shape {
    pub parts: Vec<Part>,
}

const DARK: Rgb = [44.0, 42.0, 48.0];
const WOOD: Rgb = [110.0, 72.0, 40.0];
const SKIN: [Rgb; 4] =
    [[240.0, 200.0, 168.0], [214.0, 160.0, 120.0], [156.0, 104.0, 70.0], [104.0, 68.0, 48.0]];
const GLASS: Rgb = [184.0, 222.0, 240.0];
const STEM: Rgb = [52.0, 132.0, 48.0];
const METAL: Rgb = [150.0, 154.0, 162.0];

impl Shape {
    fn add(&mut self, points: Vec<Point>, rgb: Rgb) {
        self.parts.push(Part { points, rgb });
    }
    fn oval(&mut self, cx: f32, cy: f32, rx: f32, ry: f32, rgb: Rgb) {
        self.add(ellipse(cx, cy, rx, ry), rgb);
    }
    fn turned(&mut self, cx: f32, cy: f32, rx: f32, ry: f32, angle: f32, rgb: Rgb) {
        self.add(tilted(cx, cy, rx, ry, angle), rgb);
    }
    fn block(&mut self, x0: f32, y0: f32, x1: f32, y1: f32, rgb: Rgb) {
        self.add(rect(x0, y0, x1, y1), rgb);
    }
    fn stroke(&mut self, a: Point, b: Point, thickness: f32, rgb: Rgb) {
        self.add(line(a, b, thickness), rgb);
    }
    fn poly(&mut self, points: &[Point], rgb: Rgb) {
        self.add(points.to_vec(), rgb);
    }
    fn wheel(&mut self, x: f32, r: f32) {
        self.oval(x, r, r, r, DARK);
        self.oval(x, r, r * 0.45, r * 0.45, METAL);
    }
    fn eye(&mut self, x: f32, y: f32, r: f32) {
        self.oval(x, y, r, r, [255.0, 255.0, 255.0]);
        self.oval(x, y, r * 0.55, r * 0.55, [10.0, 10.0, 10.0]);
    }
    fn ring(&mut self, cx: f32, cy: f32, outer: f32, inner: f32, rgb: Rgb) {
        self.squashed_ring(cx, cy, (outer, outer), (inner, inner), rgb);
    }
    fn squashed_ring(&mut self, cx: f32, cy: f32, outer: Point, inner: Point, rgb: Rgb) {
        let mut points = ellipse(cx, cy, outer.0, outer.1);
        points.push((cx + outer.0, cy));
        let mut hole = ellipse(cx, cy, inner.0, inner.1);
        hole.push((cx + inner.0, cy));
        hole.reverse();
        points.extend(hole);
        self.add(points, rgb);
    }
    fn legs(&mut self, xs: &[f32], top: f32, width: f32, swing: f32, rgb: Rgb) {
        for (i, &x) in xs.iter().enumerate() {
            let s = if i % 2 == 0 { swing } else { -swing };
            self.stroke((x, top), (x + s, 0.0), width, rgb);
        }
    }
}

/// The width of a kind, as a multiple of its height.
pub(crate) fn aspect(kind: Kind) -> f32 {
    match kind {
        Kind::Tree => 0.8,
        Kind::Pine => 0.62,
        Kind::Palm => 0.95,
        Kind::Flower => 0.6,
        Kind::Rock => 1.6,
        Kind::Cactus => 0.7,
        Kind::Mushroom => 0.95,
        Kind::Person => 0.5,
        Kind::Dancer => 0.75,
        Kind::Umbrella => 0.72,
        Kind::Child => 0.62,
        Kind::Horse => 1.25,
        Kind::Cow => 1.4,
        Kind::Sheep => 1.25,
        Kind::Dog => 1.25,
        Kind::Cat => 0.8,
        Kind::Rabbit => 0.7,
        Kind::Bird => 1.35,
        Kind::Duck => 1.25,
        Kind::Fish => 1.7,
        Kind::Butterfly => 1.15,
        Kind::Car => 2.2,
        Kind::Bus => 2.0,
        Kind::Truck => 2.0,
        Kind::Train => 3.0,
        Kind::Sailboat => 0.95,
        Kind::Plane => 2.2,
        Kind::Balloon => 0.72,
        Kind::Helicopter => 1.9,
        Kind::Bicycle => 1.6,
        Kind::House => 1.1,
        Kind::Tower => 0.42,
        Kind::LampPost => 0.42,
        Kind::Bench => 1.7,
        Kind::Fountain => 1.25,
        Kind::Stall => 1.1,
        Kind::Sofa => 2.0,
        Kind::Table => 1.6,
        Kind::FloorLamp => 0.5,
        Kind::Chair => 0.6,
        Kind::Bed => 1.9,
        Kind::Plant => 0.75,
        Kind::Bookcase => 0.75,
        Kind::Planet => 1.5,
        Kind::Bar => 0.34,
        Kind::Circle
        | Kind::Block
        | Kind::Triangle
        | Kind::Star
        | Kind::Diamond
        | Kind::Heart
        | Kind::Ring => 1.0,
    }
}

/// How one object looks, and where it is in its motion.
struct Look {
    colour: Colour,
    /// The colour before any lighting, a lighter one and a darker one.
    c: Rgb,
    light: Rgb,
    shade: Rgb,
    skin: Rgb,
    hair: Rgb,
    /// The phase of motion in radians, and its sine.
    beat: f32,
    wave: f32,
    /// Varies small features between objects.
    individual: u64,
}

/// Builds an object; `beat` is its phase of motion in radians and `individual`
/// a number that varies small features between objects.
pub(crate) fn shape(kind: Kind, colour: Colour, beat: f32, individual: u64) -> Shape {
    let c = colour.rgb();
    let look = Look {
        colour,
        c,
        light: mix_rgb(c, [255.0, 255.0, 255.0], 0.35),
        shade: mix_rgb(c, [0.0, 0.0, 0.0], 0.25),
        skin: SKIN.get((individual % 4) as usize).copied().unwrap_or(DARK),
        hair: if individual & 16 == 0 { DARK } else { WOOD },
        beat,
        wave: beat.sin(),
        individual,
    };
    let draw: fn(&mut Shape, &Look) = match kind {
        Kind::Tree => nature::tree,
        Kind::Pine => nature::pine,
        Kind::Palm => nature::palm,
        Kind::Flower => nature::flower,
        Kind::Rock => nature::rock,
        Kind::Cactus => nature::cactus,
        Kind::Mushroom => nature::mushroom,
        Kind::Person => people::person,
        Kind::Dancer => people::dancer,
        Kind::Umbrella => people::umbrella,
        Kind::Child => people::child,
        Kind::Horse => animals::horse,
        Kind::Cow => animals::cow,
        Kind::Sheep => animals::sheep,
        Kind::Dog => animals::dog,
        Kind::Cat => animals::cat,
        Kind::Rabbit => animals::rabbit,
        Kind::Bird => animals::bird,
        Kind::Duck => animals::duck,
        Kind::Fish => animals::fish,
        Kind::Butterfly => animals::butterfly,
        Kind::Car => vehicles::car,
        Kind::Bus => vehicles::bus,
        Kind::Truck => vehicles::truck,
        Kind::Train => vehicles::train,
        Kind::Sailboat => vehicles::sailboat,
        Kind::Plane => vehicles::plane,
        Kind::Balloon => vehicles::balloon,
        Kind::Helicopter => vehicles::helicopter,
        Kind::Bicycle => vehicles::bicycle,
        Kind::House => street::house,
        Kind::Tower => street::tower,
        Kind::LampPost => street::lamp_post,
        Kind::Bench => street::bench,
        Kind::Fountain => street::fountain,
        Kind::Stall => street::stall,
        Kind::Sofa => room::sofa,
        Kind::Table => room::table,
        Kind::FloorLamp => room::floor_lamp,
        Kind::Chair => room::chair,
        Kind::Bed => room::bed,
        Kind::Plant => room::plant,
        Kind::Bookcase => room::bookcase,
        Kind::Circle => forms::circle,
        Kind::Block => forms::block,
        Kind::Triangle => forms::triangle,
        Kind::Star => forms::star,
        Kind::Diamond => forms::diamond,
        Kind::Heart => forms::heart,
        Kind::Ring => forms::ring,
        Kind::Bar => forms::bar,
        Kind::Planet => forms::planet,
    };
    let mut s = Shape::default();
    draw(&mut s, &look);
    s
}
