//! A history that another process writes, followed as it grows.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{HistoryError, Record, parse};
use epnas_disk::{DiskError, FileError};

/// What has come since a history was last looked at.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// Nothing.
    None,
    /// These children, after those before.
    More(Vec<Record>),
    /// The file is no continuation of what was read: a run that went back to its checkpoint, or another run. These are all
    /// of its children.
    Anew(Vec<Record>),
}

/// Follows `history.jsonl`. Only what is new is read; of what was read, the last line is compared with the file, since a run
/// that was killed and resumed may have replaced it.
#[derive(Debug)]
pub struct HistoryTail {
    path: PathBuf,
    /// Bytes read, all of them whole lines.
    read: u64,
    /// The last of them.
    last: Vec<u8>,
    /// How many they are.
    lines: usize,
    seen: Option<(u64, SystemTime)>,
}

impl HistoryTail {
    /// Begins before the first child. The file need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            read: 0,
            last: Vec::new(),
            lines: 0,
            seen: None,
        }
    }

    /// What has come since the last call. A line that is still being written is left for the next.
    ///
    /// # Errors
    /// [`HistoryError`] when the file cannot be read or a line is no record; the next call tries again.
    pub fn poll(&mut self) -> Result<News, HistoryError> {
        let failed = |path: &Path, source| {
            HistoryError::from(FileError::from(DiskError::new("read", path, source)))
        };
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.seen = None;
                return Ok(self.begin_anew(Vec::new(), &[]));
            }
            Err(error) => return Err(failed(&self.path, error)),
        };
        let meta = file.metadata().map_err(|e| failed(&self.path, e))?;
        let seen = meta.modified().ok().map(|time| (meta.len(), time));
        if seen.is_some() && seen == self.seen {
            return Ok(News::None);
        }
        let from = self.read - self.last.len() as u64;
        let bytes = read_from(&mut file, from).map_err(|e| failed(&self.path, e))?;
        let news = match bytes.strip_prefix(self.last.as_slice()) {
            Some(new) => {
                let whole = whole_lines(new);
                let records = records(&self.path, whole, self.lines)?;
                self.note(whole);
                match records.is_empty() {
                    true => News::None,
                    false => News::More(records),
                }
            }
            None => {
                let bytes = read_from(&mut file, 0).map_err(|e| failed(&self.path, e))?;
                let whole = whole_lines(&bytes);
                let records = records(&self.path, whole, 0)?;
                self.begin_anew(records, whole)
            }
        };
        self.seen = seen;
        Ok(news)
    }

    fn begin_anew(&mut self, records: Vec<Record>, whole: &[u8]) -> News {
        let was_empty = self.read == 0;
        (self.read, self.last, self.lines) = (0, Vec::new(), 0);
        self.note(whole);
        match (was_empty, records.is_empty()) {
            (true, true) => News::None,
            _ => News::Anew(records),
        }
    }

    fn note(&mut self, whole: &[u8]) {
        self.read += whole.len() as u64;
        self.lines += whole.iter().filter(|&&byte| byte == b'\n').count();
        if let Some(last) = whole.split_inclusive(|&byte| byte == b'\n').next_back() {
            self.last = last.to_vec();
        }
    }
}

fn read_from(file: &mut File, from: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn whole_lines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|&byte| byte == b'\n');
    &bytes[..end.map_or(0, |end| end + 1)]
}

/// The records of lines that stand after `before` others.
fn records(path: &Path, lines: &[u8], before: usize) -> Result<Vec<Record>, HistoryError> {
    let lines = parse(path, lines, before)?;
    Ok(lines.into_iter().map(|line| line.value).collect())
}

#[cfg(test)]
mod tests {
    use std::fs::{OpenOptions, write};
    use std::io::Write;

    use super::*;
    use crate::history::Status;

    fn record(index: u64, estimate: f64) -> Record {
        Record {
            index,
            iteration: 0,
            step: 1,
            arch: "macro:c3.0".parse().expect("an architecture"),
            estimate: Some(estimate),
            status: Status::Ok,
            reason: None,
            seconds: 1.5,
            params: None,
            macs: None,
            images: 0,
            predicted: None,
            probability: None,
            temperature: None,
            epochs: Vec::new(),
        }
    }

    fn line(record: &Record) -> String {
        let line = epnas_disk::seal::json_line(record).expect("JSON");
        line.content + "\n"
    }

    fn append(path: &Path, text: &str) {
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.expect("a file")
            .write_all(text.as_bytes())
            .expect("written");
    }

    #[test]
    fn children_come_once_and_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("history.jsonl");
        let mut tail = HistoryTail::new(&path);
        assert_eq!(tail.poll().expect("no file"), News::None);
        let [a, b, c] = [record(0, 0.1), record(1, 0.2), record(2, 0.3)];
        append(&path, &line(&a));
        assert_eq!(tail.poll().expect("a"), News::More(vec![a]));
        assert_eq!(tail.poll().expect("nothing"), News::None);
        let text = line(&b);
        append(&path, &text[..20]);
        assert_eq!(tail.poll().expect("half"), News::None);
        append(&path, &text[20..]);
        append(&path, &line(&c));
        assert_eq!(tail.poll().expect("b, c"), News::More(vec![b, c]));
    }

    #[test]
    fn a_run_that_went_back_begins_anew() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("history.jsonl");
        let mut tail = HistoryTail::new(&path);
        let [a, b, other] = [record(0, 0.1), record(1, 0.2), record(1, 0.7)];
        write(&path, line(&a) + &line(&b)).expect("written");
        assert_eq!(
            tail.poll().expect("both"),
            News::More(vec![a.clone(), b.clone()])
        );
        // As long as before, but another child.
        write(&path, line(&a) + &line(&other)).expect("written");
        tail.seen = None;
        assert_eq!(
            tail.poll().expect("other"),
            News::Anew(vec![a.clone(), other.clone()])
        );
        // Shorter.
        write(&path, line(&a)).expect("written");
        tail.seen = None;
        assert_eq!(tail.poll().expect("a"), News::Anew(vec![a.clone()]));
        append(&path, &line(&b));
        tail.seen = None;
        assert_eq!(tail.poll().expect("b"), News::More(vec![b]));
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(tail.poll().expect("gone"), News::Anew(Vec::new()));
        assert_eq!(tail.poll().expect("still gone"), News::None);
    }

    #[test]
    fn what_is_no_record_is_an_error_until_it_is_mended() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("history.jsonl");
        let mut tail = HistoryTail::new(&path);
        let [a, b] = [record(0, 0.1), record(1, 0.2)];
        write(&path, line(&a)).expect("written");
        assert_eq!(tail.poll().expect("a"), News::More(vec![a.clone()]));
        append(&path, "{\"index\":1}\n");
        for _ in 0..2 {
            let error = tail.poll().expect_err("no record").to_string();
            assert!(error.contains(", line 2: "), "{error}");
        }
        write(&path, line(&a) + &line(&b)).expect("written");
        assert_eq!(tail.poll().expect("mended"), News::More(vec![b]));
    }
}
