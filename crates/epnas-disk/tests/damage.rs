//! What was written is read back; what was changed is never taken for it.

use std::fs;

use epnas_disk::{FileError, Lines, read_json, read_lines, seal, write_json, write_keeping};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Child {
    index: u64,
    estimate: Option<f64>,
    reason: Option<String>,
}

fn child() -> impl Strategy<Value = Child> {
    let estimate = proptest::option::of(0.0..1.0f64);
    // Texts that look like the checksum itself are among them.
    let reason = proptest::option::of(prop_oneof![
        ".*",
        Just("\"crc32\":\"00000000\"}".to_owned()),
        Just("\n# crc32 = \"00000000\"\n".to_owned()),
    ]);
    (any::<u64>(), estimate, reason).prop_map(|(index, estimate, reason)| Child {
        index,
        estimate,
        reason,
    })
}

proptest! {
    #[test]
    fn what_was_written_is_read(children in proptest::collection::vec(child(), 1..5)) {
        let dir = tempfile::tempdir().expect("a folder");
        let (object, lines) = (dir.path().join("object.json"), dir.path().join("lines.jsonl"));
        write_json(&object, &children[0]).expect("written");
        prop_assert_eq!(read_json(&object).expect("read"), Some(children[0].clone()));
        let (mut file, before) = Lines::open::<Child>(&lines).expect("opened");
        prop_assert!(before.is_empty());
        for child in &children {
            file.push(child).expect("appended");
        }
        prop_assert_eq!(&read_lines::<Child>(&lines).expect("read"), &children);
        let (_, again) = Lines::open::<Child>(&lines).expect("opened");
        prop_assert_eq!(again, children);
    }

    /// One flipped bit anywhere: the file is refused, or it says the same (white space at its end).
    #[test]
    fn a_flipped_bit_is_never_a_value(child in child(), bit in any::<prop::sample::Index>()) {
        let flip = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        };
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("object.json");
        write_json(&path, &child).expect("written");
        fs::write(&path, flip(&fs::read(&path).expect("bytes"))).expect("written");
        match read_json::<Child>(&path) {
            Ok(found) => prop_assert_eq!(found, Some(child.clone())),
            Err(error) => prop_assert!(error.to_string().contains("object.json"), "{}", error),
        }
        let line = seal::json_line(&child).expect("JSON").content + "\n";
        fs::write(&path, flip(line.as_bytes())).expect("written");
        if let Ok(found) = read_lines::<Child>(&path) {
            // Without its end the line was cut off; with one more in it there would be two.
            prop_assert!(found.is_empty() || found == [child], "{:?}", found);
        }
        let text = seal::text("seed = 3\n");
        prop_assert!(seal::open_text(&flip(&text)).is_err());
    }

    #[test]
    fn any_bytes_have_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let sealed = seal::text(bytes.clone());
        prop_assert_eq!(seal::open_text(&sealed), Ok(bytes.as_slice()));
        // Nothing that is not sealed opens.
        prop_assert!(seal::open_text(&bytes).is_err());
        prop_assert!(seal::open_json(&bytes).is_err());
    }
}

#[test]
fn errors_name_file_and_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("history.jsonl");
    let child = |index| Child {
        index,
        estimate: Some(0.5),
        reason: None,
    };
    let (mut file, _) = Lines::open::<Child>(&path).expect("opened");
    for index in 0..3 {
        file.push(&child(index)).expect("appended");
    }
    let text = fs::read_to_string(&path).expect("text");
    for (wrong, right, words) in [
        ("0.5", "0.6", "has changed since it was written (CRC-32 "),
        (
            "crc32",
            "crc23",
            "there is no checksum (`crc32`) at its end",
        ),
        (
            "\"crc32\":",
            "\"crc32\";",
            "its checksum (`crc32`) is damaged",
        ),
    ] {
        let second = text.lines().nth(1).expect("a line");
        let changed = text.replace(second, &second.replace(wrong, right));
        fs::write(&path, changed).expect("written");
        let error = read_lines::<Child>(&path).expect_err("a changed line");
        assert!(matches!(error, FileError::Damaged { line: Some(2), .. }));
        let error = error.to_string();
        assert!(
            error.contains("history.jsonl, line 2: ") && error.contains(words),
            "{error}"
        );
    }
    // As another version would: whole, and not what is read here.
    let other = seal::json_line(&serde_json::json!({"index": 1, "more": true}));
    fs::write(&path, other.expect("JSON").content + "\n").expect("written");
    let error = read_lines::<Child>(&path)
        .expect_err("another version")
        .to_string();
    assert!(
        error.contains("not what this version of epnas writes: unknown field `more`"),
        "{error}"
    );
}

#[test]
fn a_torn_last_line_is_removed() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("lines.jsonl");
    let child = |index| Child {
        index,
        estimate: None,
        reason: None,
    };
    let (mut file, _) = Lines::open::<Child>(&path).expect("opened");
    file.push(&child(0)).expect("appended");
    file.push(&child(1)).expect("appended");
    let whole = fs::read(&path).expect("bytes");
    for cut in (whole.len() / 2 + 1)..whole.len() {
        fs::write(&path, &whole[..cut]).expect("cut");
        assert_eq!(read_lines::<Child>(&path).expect("read"), [child(0)]);
        let (mut file, before) = Lines::open::<Child>(&path).expect("opened");
        assert_eq!(before, [child(0)]);
        file.push(&child(1)).expect("appended");
        assert_eq!(fs::read(&path).expect("bytes"), whole);
    }
}

#[test]
fn what_was_there_is_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, previous) = (dir.path().join("state"), dir.path().join("previous"));
    write_keeping(&path, &previous, b"one").expect("written");
    assert!(!previous.exists());
    write_keeping(&path, &previous, b"two").expect("written");
    write_keeping(&path, &previous, b"three").expect("written");
    assert_eq!(fs::read(&path).expect("bytes"), b"three");
    assert_eq!(fs::read(&previous).expect("bytes"), b"two");
}

/// Killed at every step, a file holds the old content or the new, or what it held is kept beside it.
#[cfg(debug_assertions)]
#[test]
fn a_kill_at_any_step_loses_nothing() {
    use epnas_disk::fault::{die_at, points_passed};
    use epnas_disk::write_atomic;
    let dir = tempfile::tempdir().expect("a folder");
    let (path, previous) = (dir.path().join("state"), dir.path().join("previous"));
    let write = |keeping: bool, bytes: &[u8]| match keeping {
        true => write_keeping(&path, &previous, bytes),
        false => write_atomic(&path, bytes),
    };
    for keeping in [false, true] {
        die_at(None);
        write(keeping, b"old").expect("written");
        write(keeping, b"old").expect("written");
        let points = points_passed() / 2;
        assert!(points >= 5, "{points}");
        for point in 0..points {
            die_at(None);
            write(keeping, b"old").expect("written");
            die_at(Some(point));
            write(keeping, b"the new content").expect_err("it dies");
            match fs::read(&path) {
                Ok(bytes) => assert!(bytes == b"old" || bytes == b"the new content"),
                Err(_) => assert!(keeping && fs::read(&previous).expect("kept") == b"old"),
            }
        }
    }
}
