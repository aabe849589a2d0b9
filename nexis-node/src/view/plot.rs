//! Line and bar plots as inline SVG, coloured by the page's style.

use std::fmt::{self, Display, Write as _};

use super::html::Shown;

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 42.0;

/// Colours and dashes that the style knows; further lines begin anew.
const LOOKS: usize = 6;

/// Something drawn by coordinates.
enum Mark {
    Line { look: String, points: Vec<(f64, f64)> },
    Dot { look: String, at: (f64, f64), radius: f64 },
    Bar { look: String, from: (f64, f64), to: (f64, f64) },
}

/// A plot with two axes.
pub(super) struct Plot {
    title: String,
    axes: (String, String),
    x: (f64, f64),
    y: (f64, f64),
    marks: Vec<Mark>,
}

/// The style's class of the nth model.
pub(super) fn look(n: usize) -> String {
    format!("m{}", n % LOOKS)
}

impl Plot {
    /// An empty plot; `title` is for those who cannot see it.
    pub(super) fn new(title: &str, x_axis: &str, y_axis: &str, x: (f64, f64), y: (f64, f64)) -> Self {
        Self {
            title: title.to_owned(),
            axes: (x_axis.to_owned(), y_axis.to_owned()),
            x,
            y,
            marks: Vec::new(),
        }
    }

    /// A line through points.
    pub(super) fn line(&mut self, look: &str, points: Vec<(f64, f64)>) {
        self.marks.push(Mark::Line { look: look.to_owned(), points });
    }

    /// A dot.
    pub(super) fn dot(&mut self, look: &str, at: (f64, f64), radius: f64) {
        self.marks.push(Mark::Dot { look: look.to_owned(), at, radius });
    }

    /// A bar by two of its corners.
    pub(super) fn bar(&mut self, look: &str, from: (f64, f64), to: (f64, f64)) {
        self.marks.push(Mark::Bar { look: look.to_owned(), from, to });
    }

    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let along = |v: f64, (from, to): (f64, f64)| {
            let share = if to > from { (v - from) / (to - from) } else { 0.0 };
            if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
        };
        let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        (LEFT + along(x, self.x) * width, HEIGHT - BOTTOM - along(y, self.y) * height)
    }
}

/// A number on an axis, as short as it can be.
fn tick(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 10_000.0 {
        format!("{:.0}k", value / 1000.0)
    } else if magnitude >= 100.0 || value == 0.0 {
        format!("{value:.0}")
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

impl Display for Plot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const TICKS: u32 = 4;
        write!(
            f,
            "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            Shown(&self.title)
        )?;
        for k in 0..=TICKS {
            let share = f64::from(k) / f64::from(TICKS);
            let value = |(from, to): (f64, f64)| from + share * (to - from);
            let (x, y) = (value(self.x), value(self.y));
            let ((left, bottom), (across, up)) = (self.place((self.x.0, self.y.0)), self.place((x, y)));
            let (right, top) = self.place((self.x.1, self.y.1));
            write!(
                f,
                "<path class=\"grid\" d=\"M{left:.1} {up:.1}H{right:.1}M{across:.1} {bottom:.1}V{top:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
                 <text x=\"{across:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                left - 6.0,
                up + 4.0,
                tick(y),
                bottom + 16.0,
                tick(x)
            )?;
        }
        for mark in &self.marks {
            match mark {
                Mark::Line { look, points } => {
                    let mut path = String::new();
                    for (i, point) in points.iter().enumerate() {
                        let (x, y) = self.place(*point);
                        write!(path, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' })?;
                    }
                    write!(f, "<path class=\"line {look}\" d=\"{path}\"/>")?;
                }
                Mark::Dot { look, at, radius } => {
                    let (x, y) = self.place(*at);
                    write!(
                        f,
                        "<circle class=\"dot {look}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"/>"
                    )?;
                }
                Mark::Bar { look, from, to } => {
                    let ((x0, y0), (x1, y1)) = (self.place(*from), self.place(*to));
                    write!(
                        f,
                        "<rect class=\"bars {look}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                        x0.min(x1),
                        y0.min(y1),
                        (x1 - x0).abs(),
                        (y1 - y0).abs()
                    )?;
                }
            }
        }
        let (middle, centre) = (LEFT + (WIDTH - LEFT - RIGHT) / 2.0, TOP + (HEIGHT - TOP - BOTTOM) / 2.0);
        write!(
            f,
            "<text class=\"axis\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text class=\"axis\" transform=\"translate(11 {centre:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text></svg>",
            HEIGHT - 6.0,
            Shown(&self.axes.0),
            Shown(&self.axes.1)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_what_is_not_finite_stays_inside() {
        let mut plot = Plot::new("<b>\"x\"", "a & b", "y", (0.0, 1.0), (0.0, 1.0));
        plot.line(&look(7), vec![(0.0, f64::NAN), (2.0, -1.0), (f64::INFINITY, 0.5)]);
        plot.dot("d", (0.5, 0.5), 3.0);
        plot.bar("p", (0.0, 0.0), (0.5, 1.0));
        let svg = plot.to_string();
        assert!(svg.contains("&lt;b&gt;&quot;x&quot;") && svg.contains("a &amp; b") && !svg.contains("<b>"));
        assert!(svg.contains("class=\"line m1\""));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let empty = Plot::new("t", "x", "y", (1.0, 1.0), (0.0, 0.0)).to_string();
        assert!(!empty.contains("NaN"), "{empty}");
    }

    #[test]
    fn ticks_are_short() {
        let got: Vec<String> =
            [0.0, 0.25, 1.0, -0.5, 12.0, 500.0, 25_000.0].iter().map(|v| tick(*v)).collect();
        assert_eq!(got, ["0", "0.25", "1", "-0.5", "12.0", "500", "25k"]);
    }
}
