//! Rows of steps to come.

use epnas_ops::StepRows;

use crate::harness::{Case, floats, tensor};

#[test]
fn every_step_takes_the_next_row() {
    let mut case = Case::new();
    // Also more numbers than a block has threads.
    for width in [1, 3, 128, 301] {
        let rows = StepRows::new(5, width, &crate::device()).unwrap();
        let current = tensor(&vec![-7.0; width], &[width]);
        // No rows yet.
        rows.next(&current).unwrap();
        assert_eq!(floats(&current), vec![-7.0; width]);
        // As many as there is room for, then fewer: those from before are gone.
        for steps in [5, 2, 0, 3] {
            let numbers = case.numbers(steps * width);
            rows.start(&numbers).unwrap();
            for expected in numbers.chunks(width) {
                rows.next(&current).unwrap();
                assert_eq!(floats(&current), expected, "seed {}", case.seed);
            }
            let last = floats(&current);
            for _ in 0..2 {
                rows.next(&current).unwrap();
                assert_eq!(floats(&current), last, "seed {}", case.seed);
            }
        }
    }
}

/// The numbers of a step are views of its row, and the row may itself be one.
#[test]
fn the_row_of_a_step_may_be_a_view() {
    let rows = StepRows::new(1, 2, &crate::device()).unwrap();
    let all = tensor(&[0.0; 4], &[4]);
    rows.start(&[1.0, 2.0]).unwrap();
    rows.next(&all.narrow(0, 1, 2).unwrap()).unwrap();
    assert_eq!(floats(&all), [0.0, 1.0, 2.0, 0.0]);
}
