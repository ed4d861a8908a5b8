//! A run that goes on, as its page needs it: read bit by bit, and shared by everyone who looks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;

use epnas_report::page::{self, Mode, Origin, RunPage};
use epnas_search::{CURVE_FILE, HistoryTail, News, RESULT_FILE, RunFolder};
use tokio::sync::Mutex;
use tokio::sync::watch::{Receiver, Sender, channel};

use crate::event_files::EventFiles;
use crate::run_page;

/// How often the run folder is looked at.
const POLL: Duration = Duration::from_millis(200);
/// A page younger than this is given again rather than made anew.
const FRESH: Duration = Duration::from_secs(1);

/// How far a run is known. What a server calls its first beginning is a number of its own, so that a page which another served
/// is told from its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct State {
    /// How often the run began anew.
    pub(super) beginnings: u64,
    /// Children since.
    pub(super) rows: usize,
    /// How often anything changed.
    pub(super) changes: u64,
}

/// What is known of the run.
#[derive(Debug)]
struct Known {
    page: RunPage,
    /// The children as the page's script takes them, in the order in which they came.
    rows: Vec<Arc<str>>,
    state: State,
    /// When the run last wrote something.
    written: SystemTime,
}

/// A text made for a state, and when.
type Made = Option<(State, Instant, Bytes)>;

/// The run, followed.
#[derive(Debug)]
pub(super) struct Live {
    known: RwLock<Known>,
    state: Sender<State>,
    whole: Mutex<Made>,
    sections: Mutex<Made>,
}

impl Live {
    /// Reads the run in `dir` and follows it on a thread of its own.
    pub(super) fn open(dir: &Path) -> anyhow::Result<Arc<Self>> {
        let (follower, page) = Follower::begin(dir)?;
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let state = State {
            beginnings: since_1970.as_nanos() as u64 >> 10,
            ..State::default()
        };
        let known = Known {
            page,
            rows: Vec::new(),
            state,
            written: last_written(dir),
        };
        let live = Arc::new(Self {
            known: RwLock::new(known),
            state: channel(state).0,
            whole: Mutex::default(),
            sections: Mutex::default(),
        });
        live.follow(follower);
        Ok(live)
    }

    fn follow(self: &Arc<Self>, mut follower: Follower) {
        follower.look(self);
        // It ends with the process.
        let live = Arc::clone(self);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(POLL);
                follower.look(&live);
            }
        });
    }

    /// Writes event files under `root` of what is known and, on a thread of its own, of all that comes.
    pub(super) fn log(self: &Arc<Self>, root: &Path, dir: &Path) -> anyhow::Result<()> {
        let live = Arc::clone(self);
        let name = self.known().page.name.clone();
        let mut files = EventFiles::new(root, &name, dir);
        let mut written = self.write_events(&mut files, self.known().state)?;
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(FRESH);
                if live.known().state == written {
                    continue;
                }
                match live.write_events(&mut files, written) {
                    Ok(state) => written = state,
                    // What was written may be half of it: all of it once more.
                    Err(error) => {
                        tracing::warn!("{error:#}; trying again");
                        files.begin_anew();
                    }
                }
            }
        });
        Ok(())
    }

    fn write_events(&self, files: &mut EventFiles, before: State) -> anyhow::Result<State> {
        let known = self.known();
        if known.state.beginnings != before.beginnings {
            files.begin_anew();
        }
        files.update(&known.page)?;
        Ok(known.state)
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of every change from now on.
    pub(super) fn changes(&self) -> Receiver<State> {
        self.state.subscribe()
    }

    /// What is known, and at most `most` rows from number `from` on.
    pub(super) fn rows(&self, from: usize, most: usize) -> (State, Vec<Arc<str>>) {
        let known = self.known();
        let rows = known.rows.iter().skip(from).take(most);
        (known.state, rows.cloned().collect())
    }

    /// The page.
    pub(super) async fn whole(self: &Arc<Self>) -> Option<Bytes> {
        self.made(&self.whole, |known| {
            let state = &known.state;
            let mode = Mode::Live {
                state: format!("{}.{}", state.beginnings, state.rows),
                quiet: known.written.elapsed().unwrap_or_default().as_secs(),
            };
            page::html(&known.page.name, std::slice::from_ref(&known.page), &mode)
        })
        .await
    }

    /// What stands above its table.
    pub(super) async fn sections(self: &Arc<Self>) -> Option<Bytes> {
        let make = |known: &Known| page::sections(std::slice::from_ref(&known.page));
        self.made(&self.sections, make).await
    }

    /// A text of what is known now. However many ask, it is made once a second at most: who comes too early waits, and who
    /// waited takes what was made meanwhile. `None` when it could not be made.
    async fn made(
        self: &Arc<Self>,
        kept: &Mutex<Made>,
        make: impl FnOnce(&Known) -> String + Send + 'static,
    ) -> Option<Bytes> {
        let asked = Instant::now();
        let mut kept = kept.lock().await;
        if let Some((state, since, text)) = &*kept {
            if *since >= asked || *state == self.known().state {
                return Some(text.clone());
            }
            tokio::time::sleep(FRESH.saturating_sub(since.elapsed())).await;
        }
        let since = Instant::now();
        let live = Arc::clone(self);
        // It takes a while: beside the threads that answer.
        let made = tokio::task::spawn_blocking(move || {
            let known = live.known();
            (known.state, Bytes::from(make(&known)))
        });
        let (state, text) = made.await.ok()?;
        *kept = Some((state, since, text.clone()));
        Some(text)
    }

    /// The drawing of a child, called as the page calls it; `None` when there is no such child, or nothing to draw.
    pub(super) fn drawing(&self, child: &str) -> Option<String> {
        let known = self.known();
        let page = &known.page;
        let (records, index) = match child.strip_prefix("0s") {
            Some(index) => (&page.children, index),
            None => (&page.random, child.strip_prefix("0r")?),
        };
        let index: u64 = index.parse().ok()?;
        let record = records.iter().find(|record| record.index == index)?;
        page::drawing(page, &record.arch)
    }
}

/// Looks at the run folder.
#[derive(Debug)]
struct Follower {
    dir: PathBuf,
    name: String,
    tails: [(Origin, HistoryTail); 2],
    /// Length and time of the files that are read whole.
    stamps: BTreeMap<PathBuf, (u64, SystemTime)>,
    /// The last thing that went wrong, so that it is said once.
    trouble: String,
}

impl Follower {
    fn begin(dir: &Path) -> anyhow::Result<(Self, RunPage)> {
        let folder = RunFolder::new(dir);
        let name = run_page::names(&[dir.to_owned()])?.remove(0);
        let page = run_page::without_children(dir, name.clone())?;
        let follower = Self {
            dir: dir.to_owned(),
            name,
            tails: [
                (Origin::Search, HistoryTail::new(folder.history())),
                (
                    Origin::Random,
                    HistoryTail::new(run_page::random_history(&folder)),
                ),
            ],
            stamps: stamps(dir),
            trouble: String::new(),
        };
        Ok((follower, page))
    }

    /// Reads what is new and tells those who wait. What cannot be read now is tried again.
    fn look(&mut self, live: &Live) {
        let stamps = stamps(&self.dir);
        let mut trouble = String::new();
        let mut new_page = None;
        if stamps != self.stamps {
            match run_page::without_children(&self.dir, self.name.clone()) {
                Ok(page) => {
                    new_page = Some(page);
                    self.stamps = stamps;
                }
                Err(error) => trouble = format!("{error:#}"),
            }
        }
        let mut news = Vec::new();
        for (origin, tail) in &mut self.tails {
            match tail.poll() {
                Ok(News::None) => {}
                Ok(some) => news.push((*origin, some)),
                Err(error) => trouble = error.to_string(),
            }
        }
        if trouble != self.trouble && !trouble.is_empty() {
            tracing::warn!("{trouble}; trying again");
        }
        self.trouble = trouble;
        if new_page.is_none() && news.is_empty() {
            return;
        }
        let mut known = live.known.write().unwrap_or_else(PoisonError::into_inner);
        known.take(new_page, news);
        known.written = last_written(&self.dir);
        let state = known.state;
        drop(known);
        live.state.send_replace(state);
    }
}

impl Known {
    fn take(&mut self, page: Option<RunPage>, news: Vec<(Origin, News)>) {
        if let Some(mut page) = page {
            page.children = std::mem::take(&mut self.page.children);
            page.random = std::mem::take(&mut self.page.random);
            self.page = page;
        }
        let mut is_anew = false;
        for (origin, news) in news {
            let (records, comes_anew) = match news {
                News::None => continue,
                News::More(records) => (records, false),
                News::Anew(records) => (records, true),
            };
            let rows = records
                .iter()
                .map(|record| page::row(0, &self.page.name, origin, record).into());
            self.rows.extend(rows);
            let children = match origin {
                Origin::Search => &mut self.page.children,
                Origin::Random => &mut self.page.random,
            };
            if comes_anew {
                children.clear();
                is_anew = true;
            }
            children.extend(records);
        }
        if is_anew {
            let all = [
                (Origin::Search, &self.page.children),
                (Origin::Random, &self.page.random),
            ];
            let rows = all.iter().flat_map(|(origin, records)| {
                let row = |record| page::row(0, &self.page.name, *origin, record).into();
                records.iter().map(row)
            });
            self.rows = rows.collect();
            self.state.beginnings += 1;
        }
        self.state.rows = self.rows.len();
        self.state.changes += 1;
    }
}

/// The time of the youngest file that a page is made of.
fn last_written(dir: &Path) -> SystemTime {
    let folder = RunFolder::new(dir);
    let histories = [folder.history(), run_page::random_history(&folder)];
    let times = histories
        .iter()
        .filter_map(|path| path.metadata().ok()?.modified().ok());
    let others = stamps(dir).into_values().map(|(_, time)| time);
    times.chain(others).max().unwrap_or(UNIX_EPOCH)
}

/// Length and time of what a page is made of, beside the children.
fn stamps(dir: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut places = vec![dir.to_owned()];
    // Of the folders in it, those of the trainings.
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    places.extend(entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("train") && path.is_dir()
    }));
    for place in places {
        for name in [
            "config.toml",
            "data.json",
            "best.json",
            "selection.jsonl",
            CURVE_FILE,
            RESULT_FILE,
        ] {
            let path = place.join(name);
            let stamp = path
                .metadata()
                .and_then(|meta| Ok((meta.len(), meta.modified()?)));
            if let Ok(stamp) = stamp {
                found.insert(path, stamp);
            }
        }
    }
    found
}
