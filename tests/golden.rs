//! Published and hand-derived facts, through the command line.

use serde_json::Value;

use crate::command::run;

fn space(settings: &[&str]) -> Value {
    let mut arguments = vec!["space", "--json"];
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    run(&arguments).ok().json()
}

fn params(arch: &str, more: &[&str]) -> u64 {
    let mut arguments = vec!["show", arch, "--json"];
    arguments.extend(more);
    run(&arguments).ok().json()["params"]
        .as_u64()
        .expect("a count")
}

#[test]
fn cardinalities() {
    // Macro: the product over l of 6 * 2^(l-1), 6^12 * 2^66 for 12 layers.
    assert_eq!(
        space(&["space.kind=macro"])["cardinality"],
        "160618186625454535808756219904"
    );
    assert_eq!(
        space(&["space.kind=macro", "space.layers=4"])["cardinality"],
        "82944"
    );
    // Micro, ordered inputs: the product over b of (ops * (b+1))^2.
    let ordered = ["space.kind=micro", "space.canonicalize=false"];
    assert_eq!(space(&ordered)["cardinality"], "146435169081600");
    assert_eq!(
        space(&[ordered[0], ordered[1], "space.ops=eight"])["cardinality"],
        "556627761561600"
    );
    // Unordered: 105 * 231 after two blocks.
    let canonical = space(&["space.kind=micro"]);
    assert_eq!(canonical["levels"][1]["architectures"], "24255");
    let elements: Vec<_> = (0..5)
        .map(|level| canonical["levels"][level]["elements"].clone())
        .collect();
    assert_eq!(elements, [105, 231, 406, 630, 903].map(Value::from));
}

#[test]
fn macro_parameters() {
    // C = 24, batch-norm affine counted. Stem 3*3*3*24 + 48 = 696, the 1x1 into the layer 24*24 + 48 = 624, head
    // 24*10 + 10 = 250: 1,570 with a pool; a 3x3 adds 9*576 + 48 = 5,232.
    assert_eq!(params("macro:mp.0", &[]), 1_570);
    assert_eq!(params("macro:c3.0", &[]), 6_802);
    assert_eq!(params("macro:c5.0", &[]), 16_018);
    assert_eq!(params("macro:d3.0", &[]), 2_410);
    assert_eq!(params("macro:d5.0", &[]), 2_794);
    assert_eq!(params("macro:c3.0/c5.1/d3.1+2", &[]), 23_914);
    assert_eq!(
        params("macro:c3.0/c5.1/d3.1+2", &["--channels", "200"]),
        1_572_010
    );
    // Layer 2 feeds nothing: built, trained and counted without it.
    assert_eq!(params("macro:c3.0/mp.0/c5.1", &[]), 21_874);
}

#[test]
fn micro_parameters() {
    assert_eq!(params("micro:mp.-2+mp.-1", &[]), 7_186);
    assert_eq!(params("micro:c3.-2+c3.-1", &[]), 90_898);
    let cell = "micro:c3.-2+mp.-1/d5.-1+id.0";
    assert_eq!(params(cell, &[]), 58_834);
    assert_eq!(
        params(cell, &["--cells", "3", "--channels", "96"]),
        1_170_442
    );
    assert_eq!(
        params(cell, &["--cells", "3", "--channels", "128"]),
        2_064_394
    );
}

#[test]
fn macro_shapes() {
    // Pools after layers 4 and 8 of 12, at absolute positions.
    let arch = "macro:c3.0/c3.1/c3.2/c3.3/c3.4/c3.5/c3.6/c3.7/c3.8/c3.9/c3.10/c3.11";
    let shown = run(&["show", arch, "--json"]).ok().json();
    let sides: Vec<u64> = shown["parts"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|part| {
            part["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("layer "))
        })
        .map(|layer| layer["shape"]["height"].as_u64().expect("a height"))
        .collect();
    assert_eq!(sides, [32, 32, 32, 32, 16, 16, 16, 16, 8, 8, 8, 8]);
}
