//! An antialiased polygon rasteriser: everything a scene shows is a polygon.

/// A point, in pixels here and in scene units elsewhere.
pub(crate) type Point = (f32, f32);

/// A linear colour triple in 0..255.
pub(crate) type Rgb = [f32; 3];

/// Mixes two colours.
pub(crate) fn mix_rgb(a: Rgb, b: Rgb, t: f32) -> Rgb {
    let [ar, ag, ab] = a;
    let [br, bg, bb] = b;
    [ar + (br - ar) * t, ag + (bg - ag) * t, ab + (bb - ab) * t]
}

/// Multiplies two colours, channel by channel.
pub(crate) fn times(a: Rgb, factor: Rgb) -> Rgb {
    let [r, g, b] = a;
    let [fr, fg, fb] = factor;
    [r * fr, g * fg, b * fb]
}

/// How a polygon is coloured: a vertical gradient with one opacity.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    pub top: Rgb,
    pub bottom: Rgb,
    pub y_top: f32,
    pub y_bottom: f32,
    pub alpha: f32,
}

struct Edge {
    y0: f32,
    y1: f32,
    x0: f32,
    slope: f32,
    direction: i32,
}

/// The sub-scanlines per pixel row; horizontal coverage is exact.
const SUBROWS: usize = 4;

/// A picture being drawn.
pub(crate) struct Canvas {
    pub width: usize,
    pub height: usize,
    pub data: Vec<u8>,
    clip: (f32, f32, f32, f32),
    accumulated: Vec<f32>,
    crossings: Vec<(f32, i32)>,
    touched: Vec<usize>,
    edges: Vec<Edge>,
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            data: vec![0; width * height * 3],
            clip: (0.0, 0.0, width as f32, height as f32),
            accumulated: Vec::new(),
            crossings: Vec::new(),
            touched: Vec::new(),
            edges: Vec::new(),
        }
    }

    /// Restricts drawing to a rectangle (left, top, right, bottom) in pixels.
    pub(super) fn set_clip(&mut self, left: f32, top: f32, right: f32, bottom: f32) {
        let (w, h) = (self.width as f32, self.height as f32);
        self.clip = (
            left.clamp(0.0, w).round(),
            top.clamp(0.0, h).round(),
            right.clamp(0.0, w).round(),
            bottom.clamp(0.0, h).round(),
        );
    }

    /// Lifts the restriction.
    pub(super) fn clear_clip(&mut self) {
        self.clip = (0.0, 0.0, self.width as f32, self.height as f32);
    }

    /// Fills a polygon by the nonzero rule.
    pub(super) fn fill(&mut self, points: &[Point], paint: &Paint) {
        let (mut left, mut top) = (f32::MAX, f32::MAX);
        let (mut right, mut bottom) = (f32::MIN, f32::MIN);
        for &(x, y) in points {
            left = left.min(x);
            right = right.max(x);
            top = top.min(y);
            bottom = bottom.max(y);
        }
        let (clip_left, clip_top, clip_right, clip_bottom) = self.clip;
        let x_from = left.floor().max(clip_left);
        let x_to = right.ceil().min(clip_right);
        let y_from = top.floor().max(clip_top);
        let y_to = bottom.ceil().min(clip_bottom);
        if points.len() < 3 || x_from >= x_to || y_from >= y_to {
            return;
        }
        self.edges.clear();
        for (&(ax, ay), &(bx, by)) in points.iter().zip(points.iter().cycle().skip(1)) {
            if ay == by {
                continue;
            }
            let slope = (bx - ax) / (by - ay);
            let (y0, y1, x0, direction) = if ay < by { (ay, by, ax, 1) } else { (by, ay, bx, -1) };
            self.edges.push(Edge { y0, y1, x0, slope, direction });
        }
        let span = (x_to - x_from) as usize;
        self.accumulated.clear();
        self.accumulated.resize(span + 2, 0.0);
        let share = 1.0 / SUBROWS as f32;
        for row in y_from as usize..y_to as usize {
            self.touched.clear();
            for sub in 0..SUBROWS {
                let y = row as f32 + (sub as f32 + 0.5) * share;
                self.crossings.clear();
                for edge in &self.edges {
                    if edge.y0 <= y && y < edge.y1 {
                        let x = edge.x0 + (y - edge.y0) * edge.slope - x_from;
                        self.crossings.push((x.clamp(0.0, span as f32), edge.direction));
                    }
                }
                self.crossings.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
                let mut winding = 0;
                for &(x, direction) in &self.crossings {
                    let before = winding;
                    winding += direction;
                    let weight = if before == 0 {
                        share
                    } else if winding == 0 {
                        -share
                    } else {
                        continue;
                    };
                    let index = x as usize;
                    let part = x - index as f32;
                    if let Some([first, second]) = self.accumulated.get_mut(index..index + 2) {
                        *first += weight * (1.0 - part);
                        *second += weight * part;
                        self.touched.push(index);
                        self.touched.push(index + 1);
                    }
                }
            }
            let t =
                ((row as f32 + 0.5 - paint.y_top) / (paint.y_bottom - paint.y_top).max(1e-3)).clamp(0.0, 1.0);
            let colour = mix_rgb(paint.top, paint.bottom, t);
            let solid = colour.map(|c| c.clamp(0.0, 255.0) as u8);
            let start = (row * self.width + x_from as usize) * 3;
            let Some(pixels) = self.data.get_mut(start..start + span * 3) else {
                continue;
            };
            // Between two touched columns the coverage is constant, so whole
            // runs are filled or blended at once.
            self.touched.sort_unstable();
            self.touched.dedup();
            let mut cover = 0.0f32;
            let ends = self.touched.iter().skip(1).copied();
            for (&from, to) in self.touched.iter().zip(ends.chain([span])) {
                if let Some(step) = self.accumulated.get_mut(from) {
                    cover += *step;
                    *step = 0.0;
                }
                if let Some(run) = pixels.get_mut(from * 3..to.min(span).max(from) * 3) {
                    blend(run, colour, solid, cover * paint.alpha);
                }
            }
        }
    }

    /// Lays one colour over the whole picture.
    pub(super) fn veil(&mut self, colour: Rgb, alpha: f32) {
        let solid = colour.map(|c| c.clamp(0.0, 255.0) as u8);
        blend(&mut self.data, colour, solid, alpha);
    }

    /// Lightens and darkens the picture by a smooth noise; `origin` and `cell`
    /// place the noise lattice in pixels.
    pub(super) fn texture(&mut self, origin: Point, cell: f32, strength: f32, seed: u64) {
        let columns = (self.width as f32 / cell) as i64 + 3;
        let first = (-origin.0 / cell).floor() as i64;
        let lattice = |row: i64| -> Vec<f32> {
            (first..first + columns)
                .map(|column| {
                    let h = super::rng::mix(seed ^ (row as u64), column as u64);
                    (h >> 40) as f32 / 8_388_608.0 - 1.0
                })
                .collect()
        };
        let mut row_index = i64::MIN;
        let (mut above, mut below) = (Vec::new(), Vec::new());
        let inverse = 1.0 / cell;
        let mut blended: Vec<f32> = Vec::new();
        for (y, row) in self.data.chunks_exact_mut(self.width.max(1) * 3).enumerate() {
            let v = (y as f32 - origin.1) * inverse;
            let index = v.floor() as i64;
            if index != row_index {
                above = lattice(index);
                below = lattice(index + 1);
                row_index = index;
            }
            let t = v - index as f32;
            blended.clear();
            blended.extend(above.iter().zip(&below).map(|(a, b)| (a + (b - a) * t) * strength));
            let mut u = -origin.0 * inverse - first as f32;
            let mut pixels = row.chunks_exact_mut(3);
            let mut column = 0usize;
            let (mut a, mut b) = (0.0, 0.0);
            let mut loaded = usize::MAX;
            for pixel in &mut pixels {
                if u as usize != loaded {
                    column = u as usize;
                    loaded = column;
                    a = blended.get(column).copied().unwrap_or(0.0);
                    b = blended.get(column + 1).copied().unwrap_or(0.0);
                }
                let shift = (a + (b - a) * (u - column as f32)) as i32;
                for value in pixel {
                    *value = (i32::from(*value) + shift).clamp(0, 255) as u8;
                }
                u += inverse;
            }
        }
    }
}

/// Blends one colour into a run of pixels.
fn blend(run: &mut [u8], colour: Rgb, solid: [u8; 3], alpha: f32) {
    if alpha > 0.996 {
        for pixel in run.chunks_exact_mut(3) {
            pixel.copy_from_slice(&solid);
        }
    } else if alpha > 0.003 {
        let weight = (alpha * 256.0) as i32;
        let [r, g, b] = colour.map(|c| (c.clamp(0.0, 255.0) * weight as f32) as i32 + 128);
        let keep = 256 - weight;
        for pixel in run.chunks_exact_mut(3) {
            if let [x, y, z] = pixel {
                *x = ((i32::from(*x) * keep + r) >> 8) as u8;
                *y = ((i32::from(*y) * keep + g) >> 8) as u8;
                *z = ((i32::from(*z) * keep + b) >> 8) as u8;
            }
        }
    }
}

/// The outline of an ellipse.
pub(crate) fn ellipse(cx: f32, cy: f32, rx: f32, ry: f32) -> Vec<Point> {
    tilted(cx, cy, rx, ry, 0.0)
}

/// The outline of an ellipse turned by an angle.
pub(crate) fn tilted(cx: f32, cy: f32, rx: f32, ry: f32, angle: f32) -> Vec<Point> {
    let sides = 28;
    let (sin, cos) = angle.sin_cos();
    (0..sides)
        .map(|i| {
            let (s, c) = (i as f32 / sides as f32 * std::f32::consts::TAU).sin_cos();
            (cx + c * rx * cos - s * ry * sin, cy + c * rx * sin + s * ry * cos)
        })
        .collect()
}

/// The outline of an axis-parallel rectangle from corner to corner.
pub(crate) fn rect(x0: f32, y0: f32, x1: f32, y1: f32) -> Vec<Point> {
    vec![(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
}

/// The outline of a thick line.
pub(crate) fn line(a: Point, b: Point, thickness: f32) -> Vec<Point> {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let length = (dx * dx + dy * dy).sqrt().max(1e-6);
    let (nx, ny) = (-dy / length * thickness / 2.0, dx / length * thickness / 2.0);
    vec![(a.0 + nx, a.1 + ny), (b.0 + nx, b.1 + ny), (b.0 - nx, b.1 - ny), (a.0 - nx, a.1 - ny)]
}

/// Moves every side of a polygon outwards by `width`.
pub(crate) fn grown(points: &[Point], width: f32) -> Vec<Point> {
    let pairs = || points.iter().zip(points.iter().cycle().skip(1));
    let area: f32 = pairs().map(|(a, b)| a.0 * b.1 - b.0 * a.1).sum();
    let sign = if area > 0.0 { 1.0 } else { -1.0 };
    let normals: Vec<Point> = pairs()
        .map(|(a, b)| {
            let (dx, dy) = (b.0 - a.0, b.1 - a.1);
            let length = (dx * dx + dy * dy).sqrt().max(1e-6);
            (sign * dy / length, -sign * dx / length)
        })
        .collect();
    let last = normals.last().copied().unwrap_or((0.0, 0.0));
    let before = std::iter::once(last).chain(normals.iter().copied());
    points
        .iter()
        .zip(before.zip(normals.iter().copied()))
        .map(|(p, (n, m))| {
            let dot = (1.0 + n.0 * m.0 + n.1 * m.1).max(0.35);
            (p.0 + (n.0 + m.0) / dot * width, p.1 + (n.1 + m.1) / dot * width)
        })
        .collect()
}
