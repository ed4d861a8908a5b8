//! What a folder may hold besides images: pipes and devices, bombs, files that may not be read. Nothing of it hangs or
//! takes memory without bound: seen from outside, in a process that reads it.

use std::fs::{self, File, Permissions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use epnas_data::{DataConfig, check, detect, image_files, load};
use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;

use crate::cifar::write_cifar10;
use crate::folders::png;
use crate::image_kinds::{packed, png_file};
use crate::{assert_mentions, idx, message};

/// What a process of its own says of a folder, and the most memory it took, in MB (0 where the system does not tell).
struct Attempt {
    check: String,
    load: String,
    peak: u64,
}

/// Checks and loads `dir` in a process of its own, which a minute ends. `None` when it cannot be started.
fn attempt(dir: &Path, command: &mut Command) -> Option<Attempt> {
    // Not a pipe, which would be full before anybody reads it.
    let mut said = tempfile::tempfile().unwrap();
    let child = command
        .args(["--exact", "hostile::child", "--ignored", "--nocapture"])
        .env("EPNAS_TEST_DIR", dir)
        .env("RAYON_NUM_THREADS", "4")
        .stdout(said.try_clone().unwrap())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child
        .map_err(|error| println!("skipped: cannot start a process: {error}"))
        .ok()?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{} hangs", dir.display());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut text = String::new();
    said.rewind().unwrap();
    said.read_to_string(&mut text).unwrap();
    let said = |what: &str| {
        let line = text.lines().find_map(|line| line.split_once(what));
        let line = line.unwrap_or_else(|| panic!("{status}, no {what} in {text:?}"));
        line.1.to_owned()
    };
    Some(Attempt {
        check: said("check: "),
        load: said("load: "),
        peak: said("peak: ").parse().unwrap(),
    })
}

fn this_test() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

#[test]
#[ignore = "run by the other tests of this module"]
fn child() {
    let dir = std::env::var_os("EPNAS_TEST_DIR").unwrap();
    let dir = Path::new(&dir);
    let mut config = DataConfig::default();
    println!();
    match check(dir, &config) {
        Ok(report) => println!("check: {}", serde_json::to_string(&report).unwrap()),
        error => println!("check: {}", message(error)),
    }
    // Detected as the command does it.
    let loaded = detect(dir).and_then(|source| {
        config.source = source;
        config.dir = Some(dir.to_owned());
        if let Ok(size) = std::env::var("EPNAS_TEST_SIZE") {
            config.image_size = size.parse().unwrap();
        }
        load(&config)
    });
    match loaded {
        Ok(dataset) => println!("load: {:?}", dataset.classes),
        error => println!("load: {}", message(error)),
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.map_or("0", |peak| peak.trim().trim_end_matches(" kB"));
    println!("peak: {}", kilobytes.parse::<u64>().unwrap() / 1024);
}

/// Two classes of four images.
pub(crate) fn two_classes(dir: &Path) {
    for (class, base) in [("cat", 0), ("dog", 100)] {
        for i in 0..4 {
            png(&dir.join(format!("{class}/{i}.png")), 8, base + i);
        }
    }
}

fn cifar(dir: &Path) {
    write_cifar10(dir, 10);
}

fn digits(dir: &Path) {
    idx::write(dir);
}

fn replace(dir: &Path, file: &str, bytes: &[u8]) {
    let _ = fs::remove_file(dir.join(file));
    fs::write(dir.join(file), bytes).unwrap();
}

#[test]
fn pipes_and_devices_are_refused_unopened() {
    type Set = fn(&Path);
    let table: [(Set, &str); 5] = [
        (two_classes, "cat/9.png"),
        (cifar, "data_batch_3.bin"),
        (cifar, "batches.meta.txt"),
        (digits, "train-images-idx3-ubyte"),
        (digits, "t10k-labels-idx1-ubyte"),
    ];
    for (make, file) in table {
        for device in [None, Some("/dev/zero")] {
            let dir = TempDir::new().unwrap();
            make(dir.path());
            let path = dir.path().join(file);
            let _ = fs::remove_file(&path);
            match device {
                Some(device) => symlink(device, &path).unwrap(),
                None => {
                    let made = Command::new("mkfifo").arg(&path).status();
                    if !made.is_ok_and(|status| status.success()) {
                        println!("skipped: no mkfifo");
                        continue;
                    }
                }
            }
            let got = attempt(dir.path(), &mut this_test()).unwrap();
            let words = [file, "a pipe, a socket or a device"];
            assert_mentions(&got.load, &words);
            assert_mentions(&got.check, &words);
            assert!(got.peak < 100, "{file}: {} MB", got.peak);
            // Where a folder is named, its pipes are left out.
            assert!(
                image_files(dir.path())
                    .unwrap()
                    .iter()
                    .all(|found| *found != path)
            );
        }
    }
}

fn gzipped(dir: &Path, file: &str, header: &[u32], megabytes: usize) {
    fs::remove_file(dir.join(file)).unwrap();
    let file = File::create(dir.join(format!("{file}.gz"))).unwrap();
    let mut encoder = GzEncoder::new(file, Compression::fast());
    for word in header {
        encoder.write_all(&word.to_be_bytes()).unwrap();
    }
    for _ in 0..megabytes {
        encoder.write_all(&[0; 1 << 20]).unwrap();
    }
    encoder.finish().unwrap();
}

/// Files that are small and claim or unpack to much, and large ones; 4 threads. A process that reads a small set takes
/// 7 MB, each bomb unpacks to 256.
#[test]
fn memory_is_bounded() {
    const BOMB: usize = 256;
    let zeros = || packed(&[0; 1 << 20], BOMB);
    let picture = |dir: &Path, name: &str, bytes: Vec<u8>| {
        two_classes(dir);
        replace(dir, name, &bytes);
    };
    let small = |kind: &'static [u8; 4]| {
        let rows = packed(&[0; 16 * 17], 1);
        let bomb = [&b"k\0\0"[..], &zeros()].concat();
        png_file(16, 16, 8, 0, &[(kind, bomb), (b"IDAT", rows)])
    };
    type Make<'a> = &'a dyn Fn(&Path);
    let table: [(&str, Make<'_>, &[&str], u64); 9] = [
        (
            "a CIFAR file of 8 GB",
            &|dir| {
                cifar(dir);
                let file = File::create(dir.join("data_batch_2.bin")).unwrap();
                file.set_len(8 << 30).unwrap();
            },
            &["data_batch_2.bin: 8589934592 bytes", "at most"],
            60,
        ),
        (
            "an IDX file of 2^30 images of a pixel",
            &|dir| {
                digits(dir);
                gzipped(dir, "train-images-idx3-ubyte", &[2051, 1 << 30, 1, 1], BOMB);
            },
            &[
                "train-images-idx3-ubyte.gz",
                "claims [1073741824, 1, 1]",
                "at most 4194304 images",
            ],
            60,
        ),
        (
            "an IDX file that goes on",
            &|dir| {
                digits(dir);
                gzipped(dir, "train-images-idx3-ubyte", &[2051, 40, 28, 28], BOMB);
            },
            &["train-images-idx3-ubyte.gz: more values", "31360"],
            60,
        ),
        (
            "as many labels as its header says",
            &|dir| {
                digits(dir);
                gzipped(
                    dir,
                    "train-labels-idx1-ubyte",
                    &[2049, (BOMB as u32) << 20],
                    BOMB,
                );
            },
            &["train-labels-idx1-ubyte.gz", "claims [268435456]"],
            60,
        ),
        (
            "a PNG whose pixels go on",
            &|dir| {
                picture(
                    dir,
                    "cat/0.png",
                    png_file(16, 16, 8, 0, &[(b"IDAT", zeros())]),
                )
            },
            &["[\"cat\", \"dog\"]"],
            60,
        ),
        (
            "a PNG with a text that is a bomb",
            &|dir| picture(dir, "cat/0.png", small(b"zTXt")),
            &["[\"cat\", \"dog\"]"],
            60,
        ),
        (
            "a PNG with a color profile that is a bomb",
            &|dir| picture(dir, "cat/0.png", small(b"iCCP")),
            &["[\"cat\", \"dog\"]"],
            80,
        ),
        (
            "a picture of 10,000 x 10,000",
            &|dir| {
                let rows = packed(&[0; 10_001], 10_000);
                picture(
                    dir,
                    "cat/0.png",
                    png_file(10_000, 10_000, 8, 0, &[(b"IDAT", rows)]),
                );
            },
            &["cat/0.png: 10000 x 10000 pixels", "at most 67108864 in all"],
            60,
        ),
        (
            // 6,000 x 6,000 in gray and in color take 144 MB, two at a time 288.
            "two large pictures",
            &|dir| {
                let rows = packed(&[0; 6_001], 6_000);
                let file = png_file(6_000, 6_000, 8, 0, &[(b"IDAT", rows)]);
                two_classes(dir);
                for i in 0..2 {
                    replace(dir, &format!("cat/{i}.png"), &file);
                }
            },
            &["[\"cat\", \"dog\"]"],
            220,
        ),
    ];
    for (what, make, words, most) in table {
        let dir = TempDir::new().unwrap();
        make(dir.path());
        let got = attempt(dir.path(), &mut this_test()).unwrap();
        println!("{what}: {} MB", got.peak);
        assert_mentions(&got.load, words);
        assert!(
            got.peak < most,
            "{what}: {} MB, expected less than {most}",
            got.peak
        );
    }
}

/// An image size that the machine has no memory for: here, because the process may have 1 GB.
#[test]
fn images_that_do_not_fit_into_memory_are_an_error() {
    let dir = TempDir::new().unwrap();
    idx::write_images(dir.path(), 2000);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -v 1000000 && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .env("EPNAS_TEST_SIZE", "1024");
    let Some(got) = attempt(dir.path(), &mut shell) else {
        return;
    };
    // 2000 x 1024 x 1024 bytes.
    assert_mentions(
        &got.load,
        &[
            "data.image_size = 1024",
            "2000 of 1024 x 1024 x 1 take 2.1 GB",
        ],
    );
}

#[test]
fn what_may_not_be_read_is_named() {
    type Set = fn(&Path);
    let table: [(Set, &str, u32, &str); 4] = [
        (two_classes, "cat", 0, "cat"),
        (two_classes, "cat/1.png", 0, "cat/1.png"),
        // Its entries are told, and nothing of what they are.
        (two_classes, "", 0o444, "cat"),
        (cifar, "data_batch_4.bin", 0, "data_batch_4.bin"),
    ];
    for (make, closed, mode, named) in table {
        let home = TempDir::new().unwrap();
        let dir = home.path().join("images");
        fs::create_dir(&dir).unwrap();
        make(&dir);
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(dir.join(closed), Permissions::from_mode(mode)).unwrap();
        let mut command = this_test();
        if fs::metadata(home.path()).unwrap().uid() == 0 {
            // Permissions do not bind root.
            command.uid(65_534).gid(65_534).current_dir("/");
        }
        let got = attempt(&dir, &mut command);
        fs::set_permissions(dir.join(closed), Permissions::from_mode(0o755)).unwrap();
        let Some(got) = got else { return };
        for said in [got.load, got.check] {
            assert_mentions(&said, &[named, "Permission denied"]);
        }
    }
}
