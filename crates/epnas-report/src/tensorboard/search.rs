//! What a search shows in TensorBoard, child by child.

use epnas_search::{Record, Status};

use super::{Events, plottable};

/// The events of a search, whose children may be known at once or come one by one.
///
/// The horizontal axis counts children: a child's values stand at its place in the history
/// ([`Record::index`](epnas_search::Record::index)), the histograms of a step at that of its first child. What a record
/// does not know is left out, and so are numbers that are not finite.
///
/// | tag | what |
/// |---|---|
/// | `search/estimate` | validation accuracy with shared weights, or the value of a table |
/// | `search/best` | the best estimate so far, of architectures of any length or, after [`of_levels`](Self::of_levels), of that one |
/// | `search/predicted` | what the surrogate predicted |
/// | `search/probability` | probability in a single draw |
/// | `search/temperature` | temperature of the draw |
/// | `search/levels` | length of the architecture: where it falls back, the next iteration began |
/// | `search/loss` | training loss of the last epoch, in nats |
/// | `search/seconds` | wall time |
/// | `search/params` | trainable parameters |
/// | `search/macs` | multiply-accumulates per image |
/// | `search/failed` | how many children have failed so far; the only tag of a failed child |
/// | `search/predictions`, `search/estimates` | histograms of a step's children, those that did not fail |
///
/// ```
/// use epnas_report::tensorboard::{SearchEvents, file_name};
///
/// # let history: Vec<epnas_search::Record> = Vec::new();
/// let began = 1_700_000_000.0;
/// let mut search = SearchEvents::new(began);
/// let mut bytes = Vec::new(); // or a file named `file_name(began)`
/// for (seconds, record) in (1..).zip(&history) {
///     bytes.extend(search.child(record, began + f64::from(seconds)));
/// }
/// bytes.extend(search.finish());
/// ```
#[derive(Debug, Clone)]
pub struct SearchEvents {
    events: Events,
    best: Option<Record>,
    failed: u64,
    step: Option<Step>,
    /// What the best must have; any number when it is not said.
    levels: Option<usize>,
}

/// The step of the search whose children are still coming.
#[derive(Debug, Clone)]
struct Step {
    first: Record,
    /// That of its last child.
    wall_time: f64,
    predictions: Vec<f64>,
    estimates: Vec<f64>,
}

impl SearchEvents {
    /// A search from its first child. `wall_time` is in seconds since the beginning of 1970.
    #[must_use]
    pub fn new(wall_time: f64) -> Self {
        Self {
            events: Events::new(wall_time),
            best: None,
            failed: 0,
            step: None,
            levels: None,
        }
    }

    /// A search that goes on after the children `before`, whose events are in earlier files of the folder; so this file needs
    /// a later name. (Behind a record that was cut off, TensorBoard reads no further.) It goes on where the last step of
    /// `before` began, whose children are written again, and TensorBoard drops what stands there and beyond in those files:
    /// half a step's histograms, children that are not among `before`, and whatever else was added there.
    #[must_use]
    pub fn resumed(before: &[Record], wall_time: f64) -> Self {
        let is_over = |record: &Record| before.last().is_some_and(|last| !same_step(record, last));
        let over = before.iter().rposition(is_over).map_or(0, |last| last + 1);
        let (over, under_way) = before.split_at(over);
        let mut search = Self::new(wall_time);
        for record in over {
            search.add(record, wall_time);
        }
        let begins = under_way.first().map_or(0, |record| record.index);
        search.step = None;
        search.events = Events::resumed(begins, wall_time);
        for record in under_way {
            search.add(record, wall_time);
        }
        search
    }

    /// A child that came at `wall_time`, in seconds since the beginning of 1970: the bytes to append.
    pub fn child(&mut self, record: &Record, wall_time: f64) -> Vec<u8> {
        self.add(record, wall_time);
        self.events.take()
    }

    /// The best child so far, the first of equals: after [`child`](Self::child), it may be that one.
    #[must_use]
    pub fn best(&self) -> Option<&Record> {
        self.best.as_ref()
    }

    /// The same file, to add other events; [`Events::take`] gives their bytes.
    pub fn events(&mut self) -> &mut Events {
        &mut self.events
    }

    /// The search has ended, or stops for now: the bytes to append.
    #[must_use]
    pub fn finish(&mut self) -> Vec<u8> {
        self.end_step();
        self.events.take()
    }

    /// The same, but only architectures of so many levels can be the best.
    #[must_use]
    pub fn of_levels(mut self, levels: usize) -> Self {
        self.levels = Some(levels);
        self
    }

    fn add(&mut self, record: &Record, wall_time: f64) {
        if (self.step.as_ref()).is_some_and(|step| !same_step(&step.first, record)) {
            self.end_step();
        }
        self.learn(record, wall_time);
        let mut values = Vec::new();
        if record.status == Status::Ok {
            let best = self.best.as_ref().and_then(|best| best.estimate);
            values.extend([
                ("search/estimate", record.estimate),
                ("search/best", best),
                ("search/predicted", record.predicted),
                ("search/probability", record.probability),
                ("search/temperature", record.temperature),
                ("search/levels", Some(record.arch.len() as f64)),
                ("search/loss", record.epochs.last().map(|epoch| epoch.loss)),
                ("search/seconds", Some(record.seconds)),
                ("search/params", record.params.map(|params| params as f64)),
                ("search/macs", record.macs.map(|macs| macs as f64)),
            ]);
        }
        values.push(("search/failed", Some(self.failed as f64)));
        for (tag, value) in values {
            if let Some(value) = value {
                self.events.scalar(tag, record.index, wall_time, value);
            }
        }
    }

    fn end_step(&mut self) {
        if let Some(step) = self.step.take() {
            let (at, time) = (step.first.index, step.wall_time);
            let events = &mut self.events;
            events.histogram("search/predictions", at, time, &step.predictions);
            events.histogram("search/estimates", at, time, &step.estimates);
        }
    }

    fn learn(&mut self, record: &Record, wall_time: f64) {
        let step = self.step.get_or_insert_with(|| Step {
            first: record.clone(),
            wall_time,
            predictions: Vec::new(),
            estimates: Vec::new(),
        });
        step.wall_time = wall_time;
        if record.status == Status::Failed {
            self.failed += 1;
            return;
        }
        step.predictions.extend(record.predicted);
        step.estimates.extend(record.estimate);
        if self
            .levels
            .is_some_and(|levels| levels != record.arch.len())
        {
            return;
        }
        let Some(estimate) = record.estimate.filter(|value| plottable(*value).is_some()) else {
            return;
        };
        let best = self.best.as_ref().and_then(|best| best.estimate);
        if best.is_none_or(|best| estimate > best) {
            self.best = Some(record.clone());
        }
    }
}

fn same_step(a: &Record, b: &Record) -> bool {
    (a.iteration, a.step) == (b.iteration, b.step)
}

/// The whole event file of a search that began at `wall_time`, in seconds since the beginning of 1970, and spent on each
/// child what its record says.
#[must_use]
pub fn of_history(records: &[Record], wall_time: f64) -> Vec<u8> {
    let mut search = SearchEvents::new(wall_time);
    let mut now = wall_time;
    let mut bytes = Vec::new();
    for record in records {
        now += record.seconds;
        bytes.extend(search.child(record, now));
    }
    bytes.extend(search.finish());
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use epnas_arch::EpochReport;

    use super::super::decoded;
    use super::super::proto::{Histogram, Kind, What};
    use super::*;

    /// A child of a step, of which everything is known.
    fn record(index: u64, step: usize, estimate: f64) -> Record {
        let layers = vec!["c3.0"; step].join("/");
        let epoch = |loss: f64| EpochReport {
            epoch: 1,
            loss,
            accuracy: 0.5,
            seconds: 1.0,
        };
        Record {
            index,
            iteration: 0,
            step,
            arch: format!("macro:{layers}").parse().expect("an architecture"),
            estimate: Some(estimate),
            status: Status::Ok,
            reason: None,
            seconds: 2.5,
            params: Some(1000 + index),
            macs: Some(64_000),
            images: 10,
            predicted: Some(estimate - 0.25),
            probability: Some(0.125),
            temperature: Some(0.75),
            epochs: vec![epoch(2.0), epoch(1.5)],
        }
    }

    fn failed(index: u64, step: usize) -> Record {
        Record {
            estimate: None,
            status: Status::Failed,
            reason: Some("out of memory".into()),
            params: None,
            macs: None,
            epochs: Vec::new(),
            ..record(index, step, 0.0)
        }
    }

    /// By tag, the places and values of scalars, and the places of histograms with them.
    #[derive(Debug, Default, PartialEq)]
    struct Shown {
        scalars: BTreeMap<String, Vec<(i64, f32)>>,
        histograms: BTreeMap<String, Vec<(i64, Histogram)>>,
    }

    fn shown(bytes: &[u8]) -> Shown {
        let mut shown = Shown::default();
        for event in decoded(bytes) {
            let Some(What::Summary(summary)) = event.what else {
                continue;
            };
            for value in summary.value {
                match value.kind.expect("a value") {
                    Kind::Scalar(scalar) => {
                        let values = shown.scalars.entry(value.tag).or_default();
                        values.push((event.step, scalar));
                    }
                    Kind::Histogram(histogram) => {
                        let values = shown.histograms.entry(value.tag).or_default();
                        values.push((event.step, histogram));
                    }
                    Kind::Image(_) => panic!("a picture"),
                }
            }
        }
        shown
    }

    fn scalars(shown: &Shown, tag: &str) -> Vec<(i64, f32)> {
        shown.scalars.get(tag).cloned().unwrap_or_default()
    }

    /// Where histograms stand, how many values they have, and their sums.
    fn sums(shown: &Shown, tag: &str) -> Vec<(i64, f64, f64)> {
        let values = shown.histograms.get(tag).into_iter().flatten();
        values
            .map(|(place, histogram)| (*place, histogram.num, histogram.sum))
            .collect()
    }

    #[test]
    fn a_child_shows_what_is_known_of_it() {
        let mut search = SearchEvents::new(0.0);
        let found = shown(&search.child(&record(0, 2, 0.5), 1.0));
        let expected = [
            ("search/best", 0.5),
            ("search/estimate", 0.5),
            ("search/failed", 0.0),
            ("search/levels", 2.0),
            ("search/loss", 1.5),
            ("search/macs", 64_000.0),
            ("search/params", 1000.0),
            ("search/predicted", 0.25),
            ("search/probability", 0.125),
            ("search/seconds", 2.5),
            ("search/temperature", 0.75),
        ];
        let expected = expected.map(|(tag, value)| (tag.to_owned(), vec![(0, value)]));
        assert_eq!(found.scalars, expected.into());
        // Absent values are absent.
        let bare = Record {
            predicted: None,
            probability: None,
            temperature: None,
            params: None,
            macs: None,
            epochs: Vec::new(),
            estimate: Some(f64::NAN),
            ..record(1, 2, 0.0)
        };
        let found = shown(&search.child(&bare, 2.0));
        let tags: Vec<_> = found.scalars.keys().map(String::as_str).collect();
        let rest = [
            "search/best",
            "search/failed",
            "search/levels",
            "search/seconds",
        ];
        assert_eq!(tags, rest);
        // Not a number is no best.
        assert_eq!(scalars(&found, "search/best"), [(1, 0.5)]);
    }

    #[test]
    fn the_best_is_that_so_far_and_failures_add_up() {
        let children = [
            failed(0, 1),
            record(1, 1, 0.25),
            record(2, 1, 0.5),
            failed(3, 1),
            record(4, 1, 0.125),
            record(5, 1, 0.5),
        ];
        let mut search = SearchEvents::new(0.0);
        let mut bytes = Vec::new();
        let mut best = Vec::new();
        for record in &children {
            bytes.extend(search.child(record, 1.0));
            best.push(search.best().map(|best| best.index));
        }
        let found = shown(&bytes);
        let expected = [(1, 0.25), (2, 0.5), (4, 0.5), (5, 0.5)];
        assert_eq!(scalars(&found, "search/best"), expected);
        assert_eq!(best, [None, Some(1), Some(2), Some(2), Some(2), Some(2)]);
        let expected = [(0, 1.0), (1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0)];
        assert_eq!(scalars(&found, "search/failed"), expected);
        let expected = [(1, 0.25), (2, 0.5), (4, 0.125), (5, 0.5)];
        assert_eq!(scalars(&found, "search/estimate"), expected);
        assert_eq!(scalars(&found, "search/seconds").len(), 4);
    }

    /// Two steps of the first iteration, then the same step of the second.
    fn steps() -> Vec<Record> {
        let mut children = vec![
            record(0, 1, 0.25),
            record(1, 1, 0.5),
            failed(2, 1),
            record(3, 2, 0.75),
            record(4, 2, 0.5),
            record(5, 2, 0.5),
        ];
        children[0].predicted = None;
        children[5].iteration = 1;
        children
    }

    #[test]
    fn steps_have_histograms_where_they_began() {
        let found = shown(&of_history(&steps(), 0.0));
        let expected = [(0, 2.0, 0.75), (3, 2.0, 1.25), (5, 1.0, 0.5)];
        assert_eq!(sums(&found, "search/estimates"), expected);
        // Each 0.25 less; the first child has none.
        let expected = [(0, 1.0, 0.25), (3, 2.0, 0.75), (5, 1.0, 0.25)];
        assert_eq!(sums(&found, "search/predictions"), expected);
        // Not before the step is over.
        let mut search = SearchEvents::new(0.0);
        let early: Vec<bool> = steps()
            .iter()
            .map(|record| !shown(&search.child(record, 1.0)).histograms.is_empty())
            .collect();
        assert_eq!(early, [false, false, false, true, false, true]);
    }

    #[test]
    fn a_history_takes_the_time_of_its_children() {
        let events = decoded(&of_history(&steps()[..3], 100.0));
        let mut times: Vec<_> = events.iter().map(|event| event.wall_time).collect();
        times.dedup();
        assert_eq!(times, [100.0, 102.5, 105.0, 107.5]);
    }

    #[test]
    fn a_resumed_search_goes_on_where_it_was() {
        let children = steps();
        let whole = shown(&of_history(&children, 0.0));
        for cut in 0..=children.len() {
            let (before, after) = children.split_at(cut);
            let mut first = SearchEvents::new(0.0);
            let mut bytes = Vec::new();
            for record in before {
                bytes.extend(first.child(record, 1.0));
            }
            bytes.extend(first.finish());
            let mut second = SearchEvents::resumed(before, 2.0);
            let mut rest = second.events().take();
            let start = decoded(&rest).swap_remove(1);
            assert!(matches!(start.what, Some(What::SessionLog(_))), "{start:?}");
            // Where the step of the last child began.
            assert_eq!(start.step, [0, 0, 0, 0, 3, 3, 5][cut]);
            for record in after {
                rest.extend(second.child(record, 3.0));
            }
            rest.extend(second.finish());
            // As TensorBoard drops them: what stands at the start and beyond.
            let mut both = shown(&bytes);
            for values in both.scalars.values_mut() {
                values.retain(|(place, _)| *place < start.step);
            }
            for values in both.histograms.values_mut() {
                values.retain(|(place, _)| *place < start.step);
            }
            let rest = shown(&rest);
            for (tag, values) in rest.scalars {
                both.scalars.entry(tag).or_default().extend(values);
            }
            for (tag, values) in rest.histograms {
                both.histograms.entry(tag).or_default().extend(values);
            }
            assert_eq!(both, whole, "cut at {cut}");
        }
    }

    #[test]
    fn other_events_join_those_of_the_search() {
        let mut search = SearchEvents::new(0.0);
        search.child(&record(0, 1, 0.5), 1.0);
        search.events().scalar("selection/accuracy", 0, 2.0, 0.5);
        let found = shown(&search.events().take());
        assert_eq!(scalars(&found, "selection/accuracy"), [(0, 0.5)]);
        assert_eq!(found.scalars.len(), 1);
    }
}
