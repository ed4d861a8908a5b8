//! Event files for TensorBoard: searches and trainings beside each other and beside those of other programs.
//!
//! Values in, bytes out: the caller writes them to a file named by [`file_name`], all at once or piece by piece while
//! something runs, for TensorBoard follows files that grow. It shows each folder as a run, so that everything of one run
//! belongs into one folder. [`SearchEvents`] follows a search; [`Events`] takes any scalars, histograms and images. Equal
//! calls give equal bytes.

mod histogram;
mod proto;
mod records;
mod search;

use prost::Message;

use self::proto::{Event, Image, Kind, SessionLog, SessionStatus, Summary, Value, What};

pub use self::search::{SearchEvents, of_history};

/// The version of the format, as every file says it first. From 2 on, a session's start tells TensorBoard what to drop.
const VERSION: &str = "brain.Event:2";

/// What a file of events that begins at `wall_time`, in seconds since the beginning of 1970, should be called:
/// `events.out.tfevents.1700000000.epnas`. TensorBoard looks for `tfevents` in names, and reads the files of a folder in
/// the order of their names, so that a later file's events follow.
///
/// ```
/// use epnas_report::tensorboard::file_name;
///
/// assert_eq!(file_name(1_700_000_000.9), "events.out.tfevents.1700000000.epnas");
/// assert_eq!(file_name(12.0), "events.out.tfevents.0000000012.epnas");
/// ```
#[must_use]
pub fn file_name(wall_time: f64) -> String {
    format!("events.out.tfevents.{:010}.epnas", wall_time as u64)
}

/// Bytes that are no PNG were given as a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a PNG, expected its signature and a header with the size")]
pub struct NotPng;

/// An event file in the making. Events are added; [`take`](Self::take) gives the bytes of those that are new.
///
/// A tag such as `train/loss` names a chart, and what stands before its first slash the group of charts. A step is a place
/// on the horizontal axis, and should not fall within a tag. Wall times are finite seconds since the beginning of 1970.
///
/// ```
/// use epnas_report::tensorboard::Events;
///
/// let mut events = Events::new(1_700_000_000.0);
/// events.scalar("train/loss", 1, 1_700_000_060.0, 1.25);
/// let mut file = events.take();
/// events.scalar("train/loss", 2, 1_700_000_120.0, 0.75);
/// file.extend(events.take());
/// assert!(events.take().is_empty());
/// ```
#[derive(Debug, Clone)]
pub struct Events {
    bytes: Vec<u8>,
}

impl Events {
    /// A file that begins at `wall_time`, with a run that begins in it: TensorBoard drops the folder's earlier events.
    #[must_use]
    pub fn new(wall_time: f64) -> Self {
        Self::resumed(0, wall_time)
    }

    /// A file, or a part of one, in which a run goes on: TensorBoard drops what stands at `step` and beyond in the folder's
    /// earlier events, of every tag.
    #[must_use]
    pub fn resumed(step: u64, wall_time: f64) -> Self {
        let mut events = Self { bytes: Vec::new() };
        events.push(0, wall_time, What::FileVersion(VERSION.to_owned()));
        // The first start in a folder drops nothing, whatever its step: so a run's first file has to have one too.
        let status = SessionStatus::Start.into();
        events.push(step, wall_time, What::SessionLog(SessionLog { status }));
        events
    }

    /// Adds a number, which TensorBoard keeps in single precision. One that is not finite there is left out.
    pub fn scalar(&mut self, tag: &str, step: u64, wall_time: f64, value: f64) {
        if let Some(value) = plottable(value) {
            self.summary(tag, step, wall_time, Kind::Scalar(value));
        }
    }

    /// Adds how some values are distributed: 30 buckets of equal width from the smallest to the largest, one when all are the
    /// same. Values that are not finite in single precision are left out, and with no other, the histogram.
    pub fn histogram(&mut self, tag: &str, step: u64, wall_time: f64, values: &[f64]) {
        if let Some(histogram) = histogram::histogram(values) {
            self.summary(tag, step, wall_time, Kind::Histogram(histogram));
        }
    }

    /// Adds a picture, such as [`raster::png`](crate::raster::png) makes.
    ///
    /// # Errors
    /// [`NotPng`] when the bytes do not begin as those of a PNG do.
    pub fn image(
        &mut self,
        tag: &str,
        step: u64,
        wall_time: f64,
        png: &[u8],
    ) -> Result<(), NotPng> {
        let image = image(png).ok_or(NotPng)?;
        self.summary(tag, step, wall_time, Kind::Image(image));
        Ok(())
    }

    /// The bytes to append to the file: those of all events since the last call, the beginning of the file among the first.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    fn summary(&mut self, tag: &str, step: u64, wall_time: f64, kind: Kind) {
        let value = vec![Value {
            tag: tag.to_owned(),
            kind: Some(kind),
        }];
        self.push(step, wall_time, What::Summary(Summary { value }));
    }

    fn push(&mut self, step: u64, wall_time: f64, what: What) {
        let event = Event {
            wall_time,
            step: i64::try_from(step).unwrap_or(i64::MAX),
            what: Some(what),
        };
        records::push(&mut self.bytes, &event.encode_to_vec());
    }
}

/// The number in single precision, if it is one there.
fn plottable(value: f64) -> Option<f32> {
    let single = value as f32;
    single.is_finite().then_some(single)
}

/// A PNG with what its header says: behind the signature and the header's length and name stand width and height as
/// big-endian `u32`, the depth of a channel, and what the channels are.
fn image(png: &[u8]) -> Option<Image> {
    let header = png.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR")?;
    let side = |at: usize| {
        let bytes = header.get(at..at + 4)?.try_into().ok()?;
        i32::try_from(u32::from_be_bytes(bytes)).ok()
    };
    let colorspace = match header.get(9)? {
        0 => 1,
        4 => 2,
        // RGB, or a palette of it.
        2 | 3 => 3,
        6 => 4,
        _ => return None,
    };
    Some(Image {
        width: side(0)?,
        height: side(4)?,
        colorspace,
        encoded: png.to_vec(),
    })
}

/// The events in a file, for tests of what was written.
#[cfg(test)]
fn decoded(bytes: &[u8]) -> Vec<Event> {
    let messages = records::messages(bytes);
    let event = |message: &Vec<u8>| Event::decode(message.as_slice()).expect("an event");
    messages.iter().map(event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the one value of an event is, with its tag.
    fn value(event: &Event) -> (&str, &Kind) {
        let Some(What::Summary(summary)) = &event.what else {
            panic!("a summary, not {event:?}");
        };
        assert_eq!(summary.value.len(), 1);
        let value = &summary.value[0];
        (&value.tag, value.kind.as_ref().expect("a value"))
    }

    #[test]
    fn events_come_back_as_they_were_added() {
        let mut events = Events::new(10.5);
        events.scalar("a/zero", 0, 11.0, 0.0);
        let mut bytes = events.take();
        events.scalar("a", 7, 12.0, -0.1);
        events.histogram("h", 8, 13.0, &[1.0, 2.0]);
        bytes.extend(events.take());
        assert_eq!(events.take(), b"");
        let found = decoded(&bytes);
        let places: Vec<_> = found.iter().map(|e| (e.step, e.wall_time)).collect();
        assert_eq!(
            places,
            [(0, 10.5), (0, 10.5), (0, 11.0), (7, 12.0), (8, 13.0)]
        );
        // 0 is a value, not the lack of one.
        assert_eq!(value(&found[2]), ("a/zero", &Kind::Scalar(0.0)));
        assert_eq!(value(&found[3]), ("a", &Kind::Scalar(-0.1)));
        let ("h", Kind::Histogram(histogram)) = value(&found[4]) else {
            panic!("a histogram, not {:?}", found[4]);
        };
        assert_eq!((histogram.num, histogram.sum), (2.0, 3.0));
        assert_eq!((histogram.sum_squares, histogram.bucket.len()), (5.0, 30));
    }

    #[test]
    fn files_begin_with_a_session() {
        for (mut events, step) in [(Events::new(9.0), 0), (Events::resumed(40, 9.0), 40)] {
            let found = decoded(&events.take());
            let version = What::FileVersion("brain.Event:2".into());
            let start = What::SessionLog(SessionLog { status: 1 });
            let whats: Vec<_> = found.iter().map(|e| (e.step, e.what.clone())).collect();
            assert_eq!(whats, [(0, Some(version)), (step, Some(start))]);
        }
    }

    #[test]
    fn numbers_that_are_not_finite_are_left_out() {
        let mut events = Events::new(0.0);
        let _ = events.take();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e39] {
            events.scalar("a", 1, 1.0, value);
            events.histogram("h", 1, 1.0, &[value]);
        }
        assert_eq!(events.take(), b"");
    }

    #[test]
    fn pictures_say_how_large_they_are() {
        let header = |color: u8| {
            let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x01\x02\0\0\0\x03\x08".to_vec();
            png.extend([color, 0, 0, 0]);
            png
        };
        let mut events = Events::new(0.0);
        let _ = events.take();
        for (color, channels) in [(0, 1), (2, 3), (3, 3), (4, 2), (6, 4)] {
            let png = header(color);
            events.image("i", 3, 4.0, &png).expect("a picture");
            let found = decoded(&events.take());
            let ("i", Kind::Image(image)) = value(&found[0]) else {
                panic!("a picture, not {found:?}");
            };
            // 0x102 is 258.
            assert_eq!((image.width, image.height), (258, 3));
            assert_eq!((image.colorspace, &image.encoded), (channels, &png));
        }
        for bytes in [&b""[..], b"GIF89a", &header(6)[..24], &header(1)] {
            assert_eq!(events.image("i", 3, 4.0, bytes), Err(NotPng));
        }
        assert_eq!(events.take(), b"");
    }

    #[test]
    fn names_are_in_order_and_never_too_short() {
        for (time, digits) in [
            (0.0, "0000000000"),
            (-5.0, "0000000000"),
            (2e9, "2000000000"),
        ] {
            assert_eq!(
                file_name(time),
                format!("events.out.tfevents.{digits}.epnas")
            );
        }
    }
}
