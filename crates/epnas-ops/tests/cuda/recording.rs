//! Steps that are recorded once and repeated: the learning rate, the sums and the decision to go on lie on the device.

use candle_core::Tensor;
use epnas_ops::{
    Accumulate, Adam, Course, CourseFailure, CourseNumber, Error, LossSums, Rates, Recording,
    Result, Sgd, Slot, SoftmaxCrossEntropy, StepRows, Targets, accumulate_scaled, average,
    mix_with_reverse,
};

use crate::harness::{Case, blank, floats, tensor};

/// Two slots, of which one takes several chunks.
fn slots(case: &mut Case, states: usize) -> Vec<Slot> {
    let mut slot = |len: usize| {
        let [value, grad] = [(); 2].map(|()| tensor(&case.numbers(len), &[len]));
        Slot::new(value, grad, states).unwrap()
    };
    vec![slot(5), slot(9000)]
}

fn copy(slots: &[Slot]) -> Vec<Slot> {
    let copy = |slot: &Slot| Slot {
        value: slot.value.copy().unwrap(),
        grad: slot.grad.copy().unwrap(),
        state: slot.state.iter().map(|s| s.copy().unwrap()).collect(),
    };
    slots.iter().map(copy).collect()
}

fn numbers(slots: &[Slot]) -> Vec<u32> {
    let tensors = slots
        .iter()
        .flat_map(|slot| slot.state.iter().chain([&slot.value]));
    tensors.flat_map(floats).map(f32::to_bits).collect()
}

fn course(rates: &[Rates]) -> (Course, LossSums) {
    let device = &crate::device();
    let course = Course::new(rates.len(), device).unwrap();
    course.start(rates).unwrap();
    (course, LossSums::new(device).unwrap())
}

/// Calls `step` once, records it and repeats the recording.
fn repeat(times: usize, mut step: impl FnMut() -> Result<()>) {
    step().unwrap();
    let recording = Recording::of(&crate::device(), step).unwrap();
    (1..times).for_each(|_| recording.replay().unwrap());
}

const RATES: [f64; 4] = [0.1, 0.03, 0.5, 0.002];

#[test]
fn a_recorded_step_of_sgd_is_the_step_that_is_told_its_rate() {
    let mut case = Case::new();
    let sgd = Sgd::default();
    let expected = slots(&mut case, Sgd::STATES);
    let found = copy(&expected);
    for rate in RATES {
        sgd.step(&expected, rate, Some(3.0)).unwrap();
    }
    let (course, sums) = course(&RATES.map(|rate| sgd.rates(rate)));
    repeat(RATES.len(), || {
        sgd.next_step(&found, Some(3.0), &course, &sums)
    });
    assert_eq!(numbers(&found), numbers(&expected), "seed {}", case.seed);
    let report = course.read().unwrap();
    assert_eq!((report.steps, report.failure), (RATES.len(), None));
}

#[test]
fn a_recorded_step_of_adam_is_the_step_that_is_told_its_number() {
    let mut case = Case::new();
    let adam = Adam::default();
    let expected = slots(&mut case, Adam::STATES);
    let found = copy(&expected);
    let numbered = (1..).zip(RATES);
    for (step, rate) in numbered.clone() {
        adam.step(&expected, step, rate, None).unwrap();
    }
    let rates: Vec<Rates> = numbered
        .map(|(step, rate)| adam.rates(step, rate))
        .collect();
    let (course, sums) = course(&rates);
    repeat(RATES.len(), || adam.next_step(&found, None, &course, &sums));
    assert_eq!(numbers(&found), numbers(&expected), "seed {}", case.seed);
}

#[test]
fn steps_beyond_the_rates_change_nothing() {
    let mut case = Case::new();
    let sgd = Sgd::default();
    let slots = slots(&mut case, Sgd::STATES);
    let (course, sums) = course(&[sgd.rates(0.1)]);
    sgd.next_step(&slots, None, &course, &sums).unwrap();
    let after_one = numbers(&slots);
    sgd.next_step(&slots, None, &course, &sums).unwrap();
    assert_eq!(numbers(&slots), after_one);
    // Begun anew it goes on.
    course.start(&[sgd.rates(0.1)]).unwrap();
    sgd.next_step(&slots, None, &course, &sums).unwrap();
    assert_ne!(numbers(&slots), after_one);
}

#[test]
fn a_norm_that_is_no_number_stops_the_course() {
    let mut case = Case::new();
    let sgd = Sgd::default();
    let slots = slots(&mut case, Sgd::STATES);
    let (course, sums) = course(&RATES.map(|rate| sgd.rates(rate)));
    let step = || sgd.next_step(&slots, None, &course, &sums).unwrap();
    step();
    // The first step that fails is told, not the last.
    let (good, bad) = (slots[0].grad.copy().unwrap(), blank(&[5]));
    let before = numbers(&slots);
    slots[0].grad.slice_set(&bad, 0, 0).unwrap();
    step();
    step();
    // Also after the gradients are numbers again.
    slots[0].grad.slice_set(&good, 0, 0).unwrap();
    step();
    assert_eq!(numbers(&slots), before);
    let failure = course.read().unwrap().failure.unwrap();
    assert_eq!((failure.step, failure.what), (1, CourseNumber::Norm));
    assert!(failure.value.is_nan());
}

/// Logits and labels of three rows, of which the first is a hit.
fn rows(case: &mut Case, classes: usize) -> (Tensor, Tensor) {
    let mut numbers = case.numbers(3 * classes);
    let mut labels: Vec<u32> = (0..3).map(|_| case.below(classes) as u32).collect();
    (numbers[1], labels[0]) = (2.0, 1);
    let logits = tensor(&numbers, &[3, classes]);
    let labels = Tensor::new(labels, &crate::device()).unwrap();
    (logits, labels)
}

#[test]
fn sums_of_losses_are_those_of_single_batches() {
    let mut case = Case::new();
    let loss = SoftmaxCrossEntropy {
        label_smoothing: 0.1,
        ..SoftmaxCrossEntropy::default()
    };
    let (logits, labels) = rows(&mut case, 7);
    let [one, other] = [(); 2].map(|()| blank(&[3, 7]));
    let single = loss.forward_backward(&logits, &labels, &one).unwrap();
    let sums = LossSums::new(&crate::device()).unwrap();
    repeat(3, || loss.add_to(&logits, &labels, Some(&other), &sums));
    let report = sums.read().unwrap();
    assert!(single.correct > 0);
    assert_eq!(report.correct, 3 * single.correct);
    assert!((report.loss_sum - 3.0 * single.loss_sum).abs() < 1e-12 * single.loss_sum);
    assert_eq!(floats(&one), floats(&other));
    sums.clear().unwrap();
    assert_eq!(sums.read().unwrap().loss_sum, 0.0);
}

#[test]
fn a_label_that_is_no_class_shows_when_sums_are_read() {
    let mut case = Case::new();
    let (logits, _) = rows(&mut case, 4);
    let labels = Tensor::new(&[0u32, 4, 1], &crate::device()).unwrap();
    let sums = LossSums::new(&crate::device()).unwrap();
    let loss = SoftmaxCrossEntropy::default();
    loss.add_to(&logits, &labels, None, &sums).unwrap();
    // Also after batches that are in order.
    let known = Tensor::new(&[0u32, 3, 1], &crate::device()).unwrap();
    loss.add_to(&logits, &known, None, &sums).unwrap();
    let error = sums.read().unwrap_err().to_string();
    assert!(error.contains("position 1"), "{error}");
}

#[test]
fn a_loss_that_is_no_number_stops_the_course() {
    let mut case = Case::new();
    let sgd = Sgd::default();
    let slots = slots(&mut case, Sgd::STATES);
    let before = numbers(&slots);
    let (course, sums) = course(&[sgd.rates(0.1)]);
    let (_, labels) = rows(&mut case, 4);
    let loss = SoftmaxCrossEntropy::default();
    loss.add_to(&blank(&[3, 4]), &labels, None, &sums).unwrap();
    sgd.next_step(&slots, None, &course, &sums).unwrap();
    assert_eq!(numbers(&slots), before);
    let CourseFailure { step, what, .. } = course.read().unwrap().failure.unwrap();
    assert_eq!((step, what), (0, CourseNumber::Loss));
}

#[test]
fn what_reads_back_cannot_be_recorded_and_leaves_the_device_as_it_was() {
    let mut case = Case::new();
    let (logits, labels) = rows(&mut case, 4);
    let loss = SoftmaxCrossEntropy::default();
    loss.forward(&logits, &labels).unwrap();
    let device = crate::device();
    let recorded = Recording::of(&device, || loss.forward(&logits, &labels).map(drop));
    let error = recorded.unwrap_err().to_string();
    assert!(error.contains("cannot be recorded"), "{error}");
    // Nothing is left recording: the next call runs.
    loss.forward(&logits, &labels).unwrap();
    let made = Recording::of(&device, || {
        epnas_ops::zeros(3, candle_core::DType::F32, &device).map(drop)
    });
    // A GPU makes it part of the graph, which is then no error until it is repeated.
    if device.is_cpu() {
        let error = made.unwrap_err().to_string();
        assert!(error.contains("while recording"), "{error}");
    }
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = Recording::of::<Error>(&device, || panic!("within a recording"));
    }));
    assert!(panicked.is_err());
    loss.forward(&logits, &labels).unwrap();
    let within = Recording::of(&device, || {
        Recording::of(&device, || Ok::<_, Error>(())).map(drop)
    });
    assert!(within.is_err());
    loss.forward(&logits, &labels).unwrap();
}

#[test]
fn a_recording_keeps_its_tensors_and_runs_only_when_it_is_repeated() {
    let mut case = Case::new();
    let x = tensor(&case.numbers(100), &[1, 2, 5, 10]);
    let y = tensor(&[0.0; 100], &[1, 2, 5, 10]);
    let (expected, device) = (floats(&x), crate::device());
    let operand = epnas_ops::Operand::from(&x);
    let recording = Recording::of(&device, || epnas_ops::sum(&[(&operand).into()], &y)).unwrap();
    assert_eq!(floats(&y), [0.0; 100]);
    drop((x, operand));
    recording.replay().unwrap();
    assert_eq!(floats(&y), expected);
}

/// A step whose share of a mixture and whose factors change from step to step, and an average of what it writes.
#[test]
fn a_recorded_step_takes_the_next_row_by_itself() {
    const STEPS: usize = 4;
    let mut case = Case::new();
    let (images, classes) = ([3, 2, 3, 5], 4);
    let [x, dx] = [(); 2].map(|()| case.numbers(90));
    let (logits, labels) = rows(&mut case, classes);
    let loss = SoftmaxCrossEntropy {
        weight: 0.4,
        ..SoftmaxCrossEntropy::default()
    };
    // A share, then a factor for each of three images.
    let table: Vec<f32> = case.numbers(4 * STEPS).iter().map(|v| v.abs()).collect();
    let run = |repeated: bool| {
        let step_rows = StepRows::new(STEPS, 4, &crate::device()).unwrap();
        step_rows.start(&table).unwrap();
        let (x, dx, current) = (tensor(&x, &images), tensor(&dx, &images), blank(&[4]));
        let [share, factors] = [(0, 1), (1, 3)].map(|(at, n)| current.narrow(0, at, n).unwrap());
        let (dlogits, mean) = (blank(&[3, classes]), tensor(&[0.0; 90], &images));
        let pairs = [(dx.clone(), mean)];
        let sums = LossSums::new(&crate::device()).unwrap();
        let step = || {
            step_rows.next(&current)?;
            mix_with_reverse(&x, &share)?;
            accumulate_scaled(&x, &factors, &dx, Accumulate::Add)?;
            let targets = Targets {
                labels: &labels,
                share: Some(&share),
            };
            loss.add_to(&logits, targets, Some(&dlogits), &sums)?;
            average(&pairs, 0.9)
        };
        match repeated {
            true => repeat(STEPS, step),
            false => (0..STEPS).for_each(|_| step().unwrap()),
        }
        let all = [&x, &dx, &dlogits, &pairs[0].1, &current].map(floats);
        (all.concat(), sums.read().unwrap())
    };
    let (found, expected) = (run(true), run(false));
    assert_eq!(found, expected, "seed {}", case.seed);
    // Not the first row again and again.
    assert_eq!(found.0[found.0.len() - 4..], table[4 * (STEPS - 1)..]);
}

#[test]
fn sums_of_mixed_losses_are_those_of_single_batches() {
    let mut case = Case::new();
    let loss = SoftmaxCrossEntropy {
        label_smoothing: 0.1,
        weight: 0.4,
    };
    let (logits, labels) = rows(&mut case, 7);
    let share = tensor(&[0.3], &[1]);
    let targets = Targets {
        labels: &labels,
        share: Some(&share),
    };
    let [one, other] = [(); 2].map(|()| blank(&[3, 7]));
    let single = loss.forward_backward(&logits, targets, &one).unwrap();
    let sums = LossSums::new(&crate::device()).unwrap();
    loss.add_to(&logits, targets, Some(&other), &sums).unwrap();
    assert_eq!(sums.read().unwrap(), single, "seed {}", case.seed);
    assert_eq!(floats(&one), floats(&other), "seed {}", case.seed);
}

/// The label of a partner that is no class is read of no logits.
#[test]
fn a_partner_that_is_no_class_shows_when_sums_are_read() {
    let mut case = Case::new();
    let (logits, _) = rows(&mut case, 4);
    let labels = Tensor::new(&[0u32, 3, u32::MAX], &crate::device()).unwrap();
    let share = tensor(&[0.3], &[1]);
    let targets = Targets {
        labels: &labels,
        share: Some(&share),
    };
    let sums = LossSums::new(&crate::device()).unwrap();
    let loss = SoftmaxCrossEntropy::default();
    loss.add_to(&logits, targets, None, &sums).unwrap();
    let error = sums.read().unwrap_err().to_string();
    assert!(error.contains("position 2"), "{error}");
}
