//! Floats as bfloat16, two to a number, as the block kernel multiplies them for [`Precision::Bf16`].
//!
//! [`Precision::Bf16`]: crate::precision::Precision::Bf16

use super::packed::WIDEST_LANES;
use crate::simd::{Kernel, Simd, dispatch};

/// The bits of the nearest bfloat16, of two equally near ones the even one. A NaN stays one.
#[inline(always)]
fn round(value: f32) -> u32 {
    let bits = value.to_bits();
    // The half of the last place that goes, or just less where the last place that stays is even.
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    // What is left of the payload of a NaN can be zero, which would be an infinity.
    let nan = bits | 1 << 22;
    let bits = if value.is_nan() { nan } else { rounded };
    bits >> 16
}

/// Two floats as bfloat16 in a number.
#[inline(always)]
pub(crate) fn pair(lower: f32, upper: f32) -> f32 {
    f32::from_bits(round(lower) | round(upper) << 16)
}

/// Pairs element by element.
fn zip(lower: &[f32], upper: &[f32], to: &mut [f32]) {
    dispatch(Zip { lower, upper, to });
}

struct Zip<'a> {
    lower: &'a [f32],
    upper: &'a [f32],
    to: &'a mut [f32],
}

impl Kernel for Zip<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((to, &lower), &upper) in self.to.iter_mut().zip(self.lower).zip(self.upper) {
            *to = pair(lower, upper);
        }
    }
}

/// Writes pixels of `c` channels, each `lanes` floats wide, as pairs of neighboring channels; the last of an odd number
/// pairs with zero.
pub(crate) fn of_channels(pixels: &[f32], lanes: usize, c: usize, to: &mut [f32]) {
    dispatch(Channels {
        pixels,
        lanes,
        c,
        to,
    });
}

struct Channels<'a> {
    pixels: &'a [f32],
    lanes: usize,
    c: usize,
    to: &'a mut [f32],
}

impl Kernel for Channels<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        // Pixels that follow one another without a gap are one long pixel.
        let (lanes, c) = match self.lanes == self.c && self.c.is_multiple_of(2) {
            true => (self.pixels.len(), self.pixels.len()),
            false => (self.lanes, self.c),
        };
        if c == 0 {
            return;
        }
        let pixels = self.pixels.chunks_exact(lanes);
        for (pixel, to) in pixels.zip(self.to.chunks_exact_mut(c.div_ceil(2))) {
            let (pairs, last) = pixel[..c].as_chunks::<2>();
            for (to, &[lower, upper]) in to.iter_mut().zip(pairs) {
                *to = pair(lower, upper);
            }
            if let (Some(to), &[last]) = (to.last_mut(), last) {
                *to = pair(last, 0.0);
            }
        }
    }
}

/// Writes every element paired with the one `distance` after it, the last ones with zero: pairs of pixels at every
/// place.
pub(crate) fn of_neighbors(from: &[f32], distance: usize, to: &mut [f32]) {
    let inside = from.len().saturating_sub(distance);
    let (head, tail) = to[..from.len()].split_at_mut(inside);
    zip(from, &from[from.len() - inside..], head);
    alone(&from[inside..], tail);
}

/// Pairs with zeros.
fn alone(lower: &[f32], to: &mut [f32]) {
    for (to, &lower) in to.iter_mut().zip(lower) {
        *to = pair(lower, 0.0);
    }
}

/// Writes a row of pixels, `lanes` floats wide, as pairs of an even pixel and the odd one after it, or zeros.
pub(crate) fn of_row(pixels: &[f32], lanes: usize, to: &mut [f32]) {
    for (two, to) in pixels.chunks(2 * lanes).zip(to.chunks_exact_mut(lanes)) {
        let (even, odd) = two.split_at(lanes);
        match odd.is_empty() {
            false => zip(even, odd, to),
            true => alone(even, to),
        }
    }
}

/// Writes a row of at most a block's channels as pairs: `fill` writes the lower halves of the pairs for 0, the upper ones
/// for 1.
pub(crate) fn of_halves(to: &mut [f32], fill: impl Fn(usize, &mut [f32])) {
    let mut halves = [[0.0; WIDEST_LANES]; 2];
    let [lower, upper] = &mut halves;
    fill(0, &mut lower[..to.len()]);
    fill(1, &mut upper[..to.len()]);
    zip(lower, upper, to);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The halves of a number.
    fn halves(number: f32) -> [f32; 2] {
        let bits = number.to_bits();
        [bits << 16, bits & 0xffff_0000].map(f32::from_bits)
    }

    /// The nearest of the bfloat16 around a finite value, found by comparing distances.
    fn nearest(value: f32) -> f32 {
        let below = f32::from_bits(value.to_bits() & 0xffff_0000);
        let above = f32::from_bits(below.to_bits().wrapping_add(1 << 16));
        // Half of the last distance above the largest finite number, infinity is as far as the next would be.
        let place = |v: f32| match v.is_finite() {
            true => f64::from(v),
            false => 2f64.powi(128).copysign(f64::from(v)),
        };
        let distance = |v: f32| (place(v) - f64::from(value)).abs();
        let is_even = below.to_bits() >> 16 & 1 == 0;
        match distance(below).total_cmp(&distance(above)) {
            std::cmp::Ordering::Less => below,
            std::cmp::Ordering::Equal if is_even => below,
            _ => above,
        }
    }

    #[test]
    fn rounding_is_to_the_nearest() {
        // All signs, exponents and upper halves of significands, each with the lower halves that matter.
        for upper in (0..=u32::from(u16::MAX)).filter(|upper| upper & 0x7f80 != 0x7f80) {
            for lower in [0, 1, 0x1234, 0x7fff, 0x8000, 0x8001, 0xfedc, 0xffff] {
                let value = f32::from_bits(upper << 16 | lower);
                let found = halves(pair(value, 1.0));
                assert_eq!(
                    found.map(f32::to_bits),
                    [nearest(value), 1.0].map(f32::to_bits)
                );
            }
        }
    }

    #[test]
    fn infinities_and_nan_stay() {
        let found = halves(pair(f32::INFINITY, f32::NEG_INFINITY));
        assert_eq!(found, [f32::INFINITY, f32::NEG_INFINITY]);
        for bits in [0x7f80_0001, 0x7fff_ffff, 0xff80_0001, 0xffff_ffff] {
            let found = halves(pair(f32::from_bits(bits), f32::from_bits(bits)));
            assert!(found.iter().all(|value| value.is_nan()), "{bits:08x}");
        }
    }

    #[test]
    fn an_odd_channel_pairs_with_zero() {
        let pixels = [1.0, 2.0, 3.0, f32::NAN, 4.0, 5.0, 6.0, f32::NAN];
        let mut found = [f32::NAN; 4];
        of_channels(&pixels, 4, 3, &mut found);
        let expected = [[1.0, 2.0], [3.0, 0.0], [4.0, 5.0], [6.0, 0.0]];
        assert_eq!(found.map(halves), expected);
    }

    #[test]
    fn pixels_pair_with_those_to_the_right() {
        let pixels = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut found = [f32::NAN; 4];
        of_row(&pixels, 2, &mut found);
        let expected = [[1.0, 3.0], [2.0, 4.0], [5.0, 0.0], [6.0, 0.0]];
        assert_eq!(found.map(halves), expected);
        let mut found = [f32::NAN; 6];
        of_neighbors(&pixels, 4, &mut found);
        let expected = [
            [1.0, 5.0],
            [2.0, 6.0],
            [3.0, 0.0],
            [4.0, 0.0],
            [5.0, 0.0],
            [6.0, 0.0],
        ];
        assert_eq!(found.map(halves), expected);
    }
}
