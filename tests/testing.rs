//! Which images a network is tested on: never those that it was trained on.

use serde_json::Value;

use crate::command::{Folder, line, run};

/// A folder of images without a test part, `name` in `folder`: `count` of them, drawn by `seed`.
fn images(folder: &Folder, name: &str, count: usize, seed: u32) -> String {
    let written = folder.arg(&format!("{name}-written"));
    line(&format!(
        "data synthetic {written} --train {count} --test 10 --image-size 16 --seed {seed}"
    ))
    .ok();
    let moved = folder.path(name);
    std::fs::rename(folder.path(&format!("{name}-written/train")), moved).expect("renamed");
    folder.arg(name)
}

/// Trains a small network on the folder `images` into the folder `out`.
fn train(folder: &Folder, images: &str, out: &str) {
    let config = folder.arg("tiny.toml");
    line(&format!(
        "train --arch macro:c3.0/d3.1/mp.1+2 --config {config} --out {out} --data {images} \
         --set data.validation=20"
    ))
    .ok();
}

#[test]
fn a_folder_that_has_changed_since_the_training_is_no_test() {
    let folder = Folder::new();
    let (photos, out) = (images(&folder, "photos", 100, 1), folder.arg("mine"));
    train(&folder, &photos, &out);
    let model = folder.arg("mine/model");
    let evaluated = || {
        let mut report = run(&["eval", &out, "--json"]).ok().json();
        // Time is never the same.
        report["latency"] = Value::Null;
        report
    };
    let first = evaluated();
    assert_eq!(
        (&first["images"], &first["part"]),
        (&20.into(), &"test".into())
    );

    // Two images more.
    let class = folder.path("photos").join("striped_disc");
    let image = std::fs::read_dir(&class)
        .expect("images")
        .next()
        .expect("an image")
        .expect("an entry")
        .path();
    let added = [class.join("zz-1.png"), class.join("zz-2.png")];
    for path in &added {
        std::fs::copy(&image, path).expect("copied");
    }
    let count = "number of training images (stored 80, given 82)";
    run(&["eval", &out]).fails(2, &["photos", count, "--data"]);
    run(&["eval", &model]).fails(2, &[count]);
    run(&["eval", &model, "--data", &photos]).fails(2, &[count]);

    // As many, but not the same.
    for path in &added {
        std::fs::remove_file(path).expect("removed");
    }
    assert_eq!(evaluated(), first);
    let bytes = std::fs::read(&image).expect("an image");
    let other = folder.path("photos").join("checkered_disc");
    let other = std::fs::read_dir(other).expect("images").next();
    std::fs::copy(other.expect("an image").expect("an entry").path(), &image).expect("copied");
    run(&["eval", &out]).fails(2, &["content of the t", "CRC-32"]);
    std::fs::write(&image, bytes).expect("written");
    assert_eq!(evaluated(), first);
    // A draw of one's own would hold images trained on, too.
    run(&["eval", &out, "--set", "data.test_seed=7"]).fails(2, &["images"]);

    // Of a model without the record, the test goes on, with a note.
    std::fs::remove_file(folder.path("mine/model/data.json")).expect("removed");
    let old = run(&["eval", &out]).ok();
    assert!(old.stderr.contains("note: "), "{}", old.stderr);
}

#[test]
fn all_images_of_another_folder_are_measured() {
    let folder = Folder::new();
    let (photos, out) = (images(&folder, "photos", 100, 1), folder.arg("mine"));
    train(&folder, &photos, &out);
    let others = images(&folder, "others", 60, 2);
    let report = run(&["eval", &out, "--data", &others, "--json"])
        .ok()
        .json();
    assert_eq!(
        (&report["images"], &report["part"]),
        (&60.into(), &"all".into())
    );
    let text = run(&["eval", &out, "--data", &others]).ok().stdout;
    assert!(text.contains("all 60 images of others"), "{text}");

    // The same images elsewhere are not others.
    std::fs::rename(&photos, folder.path("moved")).expect("renamed");
    let moved = folder.arg("moved");
    let report = run(&["eval", &out, "--data", &moved, "--json"]).ok().json();
    assert_eq!(
        (&report["images"], &report["part"]),
        (&20.into(), &"test".into())
    );

    // A test part is a test part wherever it is.
    let whole = folder.arg("whole");
    line(&format!(
        "data synthetic {whole} --train 40 --test 30 --image-size 16 --seed 3"
    ))
    .ok();
    let report = run(&["eval", &out, "--data", &whole, "--json"]).ok().json();
    assert_eq!(
        (&report["images"], &report["part"]),
        (&30.into(), &"test".into())
    );
}
