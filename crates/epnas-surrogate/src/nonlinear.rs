//! Sigmoid and hyperbolic tangent as plain f32 arithmetic, so that loops over them vectorize.
//!
//! Both stay within a relative error of 1e-6 of the exact value wherever that is a normal number,
//! and are the same bits on every CPU.

/// Beyond this the sigmoid of `-x` is no normal number; it is held there.
const SIGMOID_LIMIT: f32 = 87.0;

/// Beyond this the hyperbolic tangent is 1 in f32.
const TANH_LIMIT: f32 = 9.1;

/// Below this the hyperbolic tangent is taken from its series.
const TANH_SMALL: f32 = 0.55;

/// `exp(x)` for `|x| <= 87`: `2^n exp(r)` with `n = round(x / ln 2)`, `|r| <= ln(2) / 2`.
///
/// The polynomial is the one of Cephes' `expf` (Moshier, 1992), with ln 2 in two parts.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Adding 1.5 * 2^23 rounds to an integer, which then is in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = 1.987_569_1e-4_f32;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5e-1;
    let mantissa = p * r * r + r + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    mantissa * power
}

/// `x`, held between `-limit` and `limit`. Unlike `f32::clamp` two plain vector instructions.
#[inline(always)]
fn hold(x: f32, limit: f32) -> f32 {
    let x = if x < limit { x } else { limit };
    if x > -limit { x } else { -limit }
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-hold(x, SIGMOID_LIMIT)))
}

/// `tanh(x)`: `1 - 2 / (exp(2x) + 1)`, and near 0, where that cancels, an odd polynomial (the one of
/// Cephes' `tanhf`).
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let held = hold(x, TANH_LIMIT);
    let far = 1.0 - 2.0 / (exp(2.0 * held) + 1.0);
    let square = held * held;
    let mut p = -5.704_988_7e-3_f32;
    p = p * square + 2.063_909e-2;
    p = p * square - 5.373_972e-2;
    p = p * square + 1.333_144_2e-1;
    p = p * square - 3.333_328e-1;
    let near = p * square * held + held;
    if held.abs() < TANH_SMALL { near } else { far }
}

/// [`sigmoid`] of every number, in place.
#[inline(always)]
pub(crate) fn sigmoid_all(values: &mut [f32]) {
    for value in values {
        *value = sigmoid(*value);
    }
}

/// [`tanh`] of every number, in place.
#[inline(always)]
pub(crate) fn tanh_all(values: &mut [f32]) {
    for value in values {
        *value = tanh(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest error of `f` relative to `exact` over `[-limit, limit]`, and where.
    fn worst(f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, limit: f32) -> (f64, f32) {
        let steps = 2_000_000;
        let grid = (0..=steps).map(|i| limit * (2.0 * i as f32 / steps as f32 - 1.0));
        // And small magnitudes, down to 1e-30.
        let small = (0..3000).flat_map(|i| {
            let x = 10f32.powf(-i as f32 / 100.0);
            [x, -x]
        });
        grid.chain(small)
            .map(|x| {
                let exact = exact(f64::from(x));
                let error = (f64::from(f(x)) - exact).abs();
                (
                    if exact == 0.0 {
                        error
                    } else {
                        error / exact.abs()
                    },
                    x,
                )
            })
            .fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a })
    }

    #[test]
    fn sigmoid_is_accurate() {
        let (error, x) = worst(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 87.0);
        assert!(error < 1e-6, "{error:e} at {x}");
        println!("sigmoid: relative error {error:e} at {x}");
    }

    #[test]
    fn tanh_is_accurate() {
        let (error, x) = worst(tanh, f64::tanh, 20.0);
        assert!(error < 1e-6, "{error:e} at {x}");
        println!("tanh: relative error {error:e} at {x}");
    }

    #[test]
    fn the_ends_are_quiet() {
        for x in [f32::MAX, f32::INFINITY, 1e3] {
            assert_eq!(sigmoid(x), 1.0);
            assert!(sigmoid(-x) > 0.0 && sigmoid(-x) < 1e-37);
            assert!((tanh(x) - 1.0).abs() < 1e-6 && tanh(x) <= 1.0);
            assert_eq!(tanh(-x), -tanh(x));
        }
        assert_eq!(sigmoid(0.0), 0.5);
        assert_eq!(tanh(0.0), 0.0);
    }
}
