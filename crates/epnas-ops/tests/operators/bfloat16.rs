//! Products in bfloat16: how factors are rounded, and how far results are from those of factors that were not. That
//! the products of rounded factors are right is tested with all other products.

use epnas_ops::{Conv2d, Precision};

use crate::bilinear::{self, Images};
use crate::harness::{Bounded, Case, UNIT, assert_within, bf16, blank, floats, tensor, wide};

/// Unit roundoff of bfloat16, which has 8 bits of precision.
const UNIT_BF16: f64 = 1.0 / (1u64 << 8) as f64;

/// What each number is multiplied as: its product with 1 alone.
fn factors(values: &[f32]) -> Vec<f32> {
    let op = Conv2d {
        precision: Precision::Bf16,
        ..Conv2d::new(1, 1)
    };
    let shape = [1, 1, values.len(), 1];
    let (x, y) = (tensor(values, &shape), blank(&shape));
    let one = tensor(&[1.0], &[1, 1, 1, 1]);
    op.forward(&[(&x, &one)], &y).unwrap();
    floats(&y)
}

#[test]
fn factors_are_rounded_to_the_nearest_and_of_two_to_the_even() {
    let mut values = vec![
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN,
    ];
    // Around ties, above and below odd and even neighbors, at several exponents; signs, and all-ones significands that
    // carry into the exponent.
    for upper in [0x0080u32, 0x3f80, 0x3f81, 0x3fff, 0x4100, 0x7f7e, 0x7f7f] {
        for lower in [0x0000, 0x0001, 0x7fff, 0x8000, 0x8001, 0xffff] {
            let bits = upper << 16 | lower;
            values.extend([bits, 1 << 31 | bits].map(f32::from_bits));
        }
    }
    if !Precision::Bf16.is_native() {
        // The instruction takes them as zeros.
        values.extend([0x0000_0001, 0x0000_8000, 0x0001_8000, 0x007f_ffff].map(f32::from_bits));
    }
    let mut case = Case::new();
    values.extend(case.numbers(1000));
    let found = factors(&values);
    for ((value, found), expected) in values.iter().zip(found).zip(bf16(&values)) {
        assert_eq!(found, expected, "{value:e} ({:08x})", value.to_bits());
    }
}

#[test]
fn a_factor_that_is_no_number_stays_none() {
    // With payloads of which nothing is left in the upper half, and such that adding would carry.
    let bits = [
        0x7f80_0001,
        0x7fc0_0000,
        0x7fff_ffff,
        0xff80_0001,
        0xffff_ffff,
    ];
    let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
    assert!(factors(&values).iter().all(|value| value.is_nan()));
}

#[test]
fn results_are_as_far_off_as_rounded_factors_make_them() {
    let mut case = Case::new();
    for (kernel, stride, ci, co) in [(1, 1, 24, 24), (3, 1, 24, 24), (3, 2, 13, 9), (5, 1, 3, 8)] {
        let images = Images {
            n: 2,
            h: 7,
            w: 6,
            c: ci,
        };
        let reference = bilinear::conv(images, co, kernel, stride);
        let op = Conv2d {
            precision: Precision::Bf16,
            ..Conv2d::new(kernel, stride)
        };
        let outputs = images.strided(stride, co).shape();
        let weights = [kernel, kernel, ci, co];
        let x = case.numbers(reference.x);
        let w = case.numbers(reference.w);
        let dy = case.numbers(reference.y);
        let (x64, w64, dy64) = (wide(&x), wide(&w), wide(&dy));
        let (x, w) = (tensor(&x, &images.shape()), tensor(&w, &weights));
        let dy = tensor(&dy, &outputs);
        let (y, dx, dw) = (blank(&outputs), blank(x.dims()), blank(&weights));
        op.forward(&[(&x, &w)], &y).unwrap();
        op.backward_input(&dy, &w, &dx, epnas_ops::Accumulate::Overwrite)
            .unwrap();
        op.backward_weight(&x, &dy, &dw).unwrap();
        for (part, found, expected) in [
            ("y", &y, reference.forward(&x64, &w64)),
            ("dx", &dx, reference.backward_x(&dy64, &w64)),
            ("dw", &dw, reference.backward_w(&x64, &dy64)),
        ] {
            let what = format!("{op:?}: {part}");
            // Bounds are so many units of f32 times the sum of magnitudes, at least three: (1 + u)^2 - 1 for the two
            // factors of a product is less than 3 u.
            let loose = |b: &Bounded| Bounded {
                bound: b.bound * (1.0 + UNIT_BF16 / UNIT),
                ..*b
            };
            let bounds: Vec<Bounded> = expected.iter().map(loose).collect();
            assert_within(&what, &case, &floats(found), &bounds);
            let is_off =
                |(found, e): (&f32, &Bounded)| (f64::from(*found) - e.value).abs() > e.bound;
            let off = floats(found)
                .iter()
                .zip(&expected)
                .filter(|&p| is_off(p))
                .count();
            assert!(
                2 * off > expected.len(),
                "{what}: hardly any factor was rounded"
            );
        }
    }
}
