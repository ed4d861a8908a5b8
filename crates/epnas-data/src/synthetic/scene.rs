//! One picture of the built-in set: ground, clutter, a textured figure, light and noise.

use crate::counter::Sequence;

type Color = [f32; 3];

#[derive(Clone, Copy)]
enum Shape {
    Disc,
    Ring,
    Square,
    Triangle,
    Cross,
}

const SHAPES: [Shape; 5] = [
    Shape::Disc,
    Shape::Ring,
    Shape::Square,
    Shape::Triangle,
    Shape::Cross,
];

#[derive(Clone, Copy)]
enum Texture {
    Plain,
    Striped,
    Checkered,
}

/// A texture in two colors; lengths are in units of the image's side.
#[derive(Clone, Copy)]
struct Paint {
    texture: Texture,
    colors: [Color; 2],
    /// Waves per side, times 2 pi.
    frequency: f32,
    sin: f32,
    cos: f32,
    phase: [f32; 2],
}

/// A painted shape.
#[derive(Clone, Copy)]
struct Figure {
    shape: Shape,
    paint: Paint,
    x: f32,
    y: f32,
    radius: f32,
    sin: f32,
    cos: f32,
}

/// Everything of an image but its noise.
pub(super) struct Scene {
    ground: Paint,
    ground_strength: f32,
    clutter: [Figure; MAX_CLUTTER],
    clutter_count: usize,
    figure: Figure,
    light: [f32; 2],
    noise: f32,
}

const MAX_CLUTTER: usize = 3;
const TAU: f32 = std::f32::consts::TAU;

impl Scene {
    /// A scene of class `label`, an index into [`super::CLASSES`].
    pub(super) fn random(random: &mut Sequence, label: usize) -> Scene {
        let shape = SHAPES[label % SHAPES.len()];
        let texture = if label < SHAPES.len() {
            Texture::Striped
        } else {
            Texture::Checkered
        };
        let texture_of_ground = match random.below(4) {
            0 => Texture::Striped,
            1 => Texture::Checkered,
            _ => Texture::Plain,
        };
        let ground = Paint::random(random, texture_of_ground, 0.5);
        let ground_strength = random.range(0.1, 0.25);
        let clutter_count = random.below(MAX_CLUTTER as u32 + 1) as usize;
        let clutter = std::array::from_fn(|_| {
            let shape = SHAPES[random.below(5) as usize];
            let texture = match random.below(3) {
                0 => Texture::Plain,
                1 => Texture::Striped,
                _ => Texture::Checkered,
            };
            let radius = random.range(0.06, 0.13);
            Figure::random(random, shape, texture, radius, 0.0)
        });
        let radius = random.range(0.32, 0.45);
        let mut figure = Figure::random(random, shape, texture, radius, 0.95);
        // A figure in the colors of its ground cannot be seen: the ground's color keeps away from both.
        for _ in 0..8 {
            let ground = blend(ground.colors[0], ground.colors[1], 0.5);
            if figure
                .paint
                .colors
                .iter()
                .all(|&c| distance(c, ground) > 0.35)
            {
                break;
            }
            figure.paint = Paint::random(random, texture, 0.7);
        }
        Scene {
            ground,
            ground_strength,
            clutter,
            clutter_count,
            figure,
            light: [random.range(-0.2, 0.2), random.range(-0.2, 0.2)],
            noise: random.range(0.01, 0.05),
        }
    }

    /// Draws the scene with fresh noise into `out`, `[size, size, 3]`.
    pub(super) fn render(&self, random: &mut Sequence, size: usize, out: &mut [u8]) {
        let pixel = 1.0 / size as f32;
        for row in 0..size {
            let y = (row as f32 + 0.5) * pixel;
            for column in 0..size {
                let x = (column as f32 + 0.5) * pixel;
                let [a, b] = self.ground.colors;
                let t = 0.5 + (self.ground.mix(x, y, pixel) - 0.5) * self.ground_strength;
                let mut color = blend(a, b, t);
                for figure in &self.clutter[..self.clutter_count] {
                    figure.cover(x, y, pixel, &mut color);
                }
                self.figure.cover(x, y, pixel, &mut color);
                let light = 1.0 + self.light[0] * (x - 0.5) + self.light[1] * (y - 0.5);
                let out = &mut out[(row * size + column) * 3..][..3];
                for (out, value) in out.iter_mut().zip(color) {
                    let noise = self.noise * bell(random.bits());
                    *out = ((value * light + noise) * 255.0 + 0.5).clamp(0.0, 255.0) as u8;
                }
            }
        }
    }
}

impl Figure {
    /// A figure at a random place with at least `inside` of its radius within the image.
    fn random(
        random: &mut Sequence,
        shape: Shape,
        texture: Texture,
        radius: f32,
        inside: f32,
    ) -> Figure {
        let margin = radius * inside;
        let angle = random.range(0.0, TAU);
        Figure {
            shape,
            paint: Paint::random(random, texture, 0.7),
            x: random.range(margin, 1.0 - margin),
            y: random.range(margin, 1.0 - margin),
            radius,
            sin: angle.sin(),
            cos: angle.cos(),
        }
    }

    /// Paints the figure over `color` at the point (x, y).
    fn cover(&self, x: f32, y: f32, pixel: f32, color: &mut Color) {
        let (dx, dy) = (x - self.x, y - self.y);
        if dx * dx + dy * dy > (self.radius * 1.5) * (self.radius * 1.5) {
            return;
        }
        let u = (self.cos * dx + self.sin * dy) / self.radius;
        let v = (self.cos * dy - self.sin * dx) / self.radius;
        let coverage = (0.5 - self.shape.distance(u, v) * self.radius / pixel).clamp(0.0, 1.0);
        if coverage > 0.0 {
            let [a, b] = self.paint.colors;
            let paint = blend(a, b, self.paint.mix(x, y, pixel));
            *color = blend(*color, paint, coverage);
        }
    }
}

impl Shape {
    /// Signed distance (a bound of it, outside) to the shape of radius 1, negative inside.
    fn distance(self, u: f32, v: f32) -> f32 {
        let (au, av) = (u.abs(), v.abs());
        match self {
            Shape::Disc => (u * u + v * v).sqrt() - 0.85,
            Shape::Ring => ((u * u + v * v).sqrt() - 0.72).abs() - 0.23,
            Shape::Square => au.max(av) - 0.75,
            // Equilateral, corners on a circle of radius 1.1: three half planes at distance 0.55.
            Shape::Triangle => (0.866_025_4 * au + 0.5 * v).max(-v) - 0.55,
            Shape::Cross => {
                let arm = 0.3;
                let length = 0.98;
                (au.max(av) - length).max(au.min(av) - arm)
            }
        }
    }
}

impl Paint {
    /// Random colors at least `contrast` apart, random orientation, scale and phase.
    fn random(random: &mut Sequence, texture: Texture, contrast: f32) -> Paint {
        let a: Color = std::array::from_fn(|_| random.unit());
        let mut b: Color = std::array::from_fn(|_| random.unit());
        // At most 8 tries; then the last one, pushed to the far corner, always contrasts.
        let mut tries = 0;
        while distance(a, b) < contrast {
            tries += 1;
            b = std::array::from_fn(|channel| match tries {
                8 => {
                    if a[channel] < 0.5 {
                        1.0
                    } else {
                        0.0
                    }
                }
                _ => random.unit(),
            });
        }
        let angle = random.range(0.0, TAU);
        let period = match texture {
            Texture::Plain | Texture::Striped => random.range(0.13, 0.2),
            Texture::Checkered => random.range(0.2, 0.28),
        };
        Paint {
            texture,
            colors: [a, b],
            frequency: TAU / period,
            sin: angle.sin(),
            cos: angle.cos(),
            phase: [random.range(0.0, TAU), random.range(0.0, TAU)],
        }
    }

    /// The share of the second color at the point (x, y).
    fn mix(&self, x: f32, y: f32, pixel: f32) -> f32 {
        // Waves are cut to steps as steep as one pixel allows.
        let steep = 0.8 / (self.frequency * pixel);
        let u = || (self.frequency * (self.cos * x + self.sin * y) + self.phase[0]).sin();
        let v = || (self.frequency * (self.cos * y - self.sin * x) + self.phase[1]).sin();
        match self.texture {
            Texture::Plain => 0.0,
            Texture::Striped => (0.5 + u() * steep).clamp(0.0, 1.0),
            Texture::Checkered => (0.5 + u() * v() * steep * 2.0).clamp(0.0, 1.0),
        }
    }
}

fn blend(a: Color, b: Color, t: f32) -> Color {
    std::array::from_fn(|channel| a[channel] + (b[channel] - a[channel]) * t)
}

fn distance(a: Color, b: Color) -> f32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b) * (a - b))
        .sum::<f32>()
        .sqrt()
}

/// Nearly normal, mean 0 and deviation 1: the sum of four 16-bit uniforms.
fn bell(bits: u64) -> f32 {
    let sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
    // Each uniform has variance 1/12, the sum of four 1/3.
    (sum as f32 / 65_535.0 - 2.0) * 1.732_050_8
}
