//! Text, JSON and genotype forms, and where their errors point.

use epnas_arch::{Arch, CellArch, MacroSpace, Space, genotype, parse_genotype};

#[test]
fn text_examples() {
    for text in [
        "macro:c3.0/c5.1/d3.1+2",
        "micro:c3.-2+mp.-1/d5.-1+id.0",
        "macro:mp.0/ap.0+1",
        "micro:d7.-1+d7.-1",
    ] {
        let arch: Arch = text.parse().expect(text);
        assert_eq!(arch.to_string(), text);
    }
    // Full names, and sources in any order.
    let arch: Arch = "macro:conv_3x3.0/dw_conv_5x5.1+0"
        .parse()
        .expect("well-formed");
    assert_eq!(arch.to_string(), "macro:c3.0/d5.0+1");
}

#[test]
fn text_errors_point_at_the_character() {
    let cases = [
        ("", 0, "expected macro: or micro:"),
        ("huge:c3.0", 0, "found \"huge\", expected macro: or micro:"),
        ("macro", 5, "found the end, expected ':'"),
        ("macro:", 6, "found the end, expected an operation"),
        (
            "macro:c4.0",
            6,
            "found \"c4\", expected an operation: one of mp, ap, c3, c5, d3, d5, id, d7, or its full name",
        ),
        (
            "micro:c4.-1+c3.-1",
            6,
            "found \"c4\", expected an operation: one of mp, ap, c3, c5, d3, d5, id, d7, or its full name",
        ),
        ("macro:c3", 8, "expected '.' between operation and sources"),
        ("macro:c3.", 9, "expected a number"),
        ("macro:c3.x", 9, "found 'x', expected a number"),
        ("macro:c3.1", 9, "layer 1 cannot read 1, expected 0 to 0"),
        (
            "macro:c3.0/c3.0+2",
            16,
            "layer 2 cannot read 2, expected 0 to 1",
        ),
        ("macro:c3.0/c3.1+1", 16, "source 1 is given twice"),
        ("macro:c3.-1", 9, "layer 1 cannot read -1"),
        ("macro:c3.0/", 11, "found the end, expected an operation"),
        (
            "macro:c3.0,c3.1",
            10,
            "found ',', expected a + and another source",
        ),
        (
            "macro:c3.99999999999999999999",
            9,
            "99999999999999999999 is no number in range",
        ),
        ("macro:é3.0", 6, "found \"é3\", expected an operation"),
        (
            "micro:c3.-2",
            11,
            "expected '+' between the two inputs of a block",
        ),
        (
            "micro:c3.-3+c3.-1",
            9,
            "block 0 cannot read -3, expected -2, -1",
        ),
        (
            "micro:c3.-2+c3.0",
            15,
            "block 0 cannot read 0, expected -2, -1",
        ),
        (
            "micro:c3.-2+c3.-1/c3.1+c3.-1",
            21,
            "block 1 cannot read 1, expected -2, -1 or 0",
        ),
        (
            "micro:c3.-2+c3.-1+c3.-1",
            17,
            "found '+', expected a / and another block",
        ),
        (" macro:c3.0", 0, "expected macro:"),
    ];
    for (text, position, message) in cases {
        let error = text.parse::<Arch>().expect_err(text);
        assert_eq!(error.position, position, "{text}: {error}");
        assert!(error.message.contains(message), "{text}: {error}");
        // The caret stands under the character.
        let lines: Vec<String> = error.to_string().lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 3, "{error}");
        let caret = lines[2].chars().position(|c| c == '^').expect("a caret");
        assert_eq!(
            lines[1].chars().nth(caret),
            text.chars().nth(position),
            "{error}"
        );
    }
    let error = "macro:c4.0".parse::<Arch>().expect_err("no such operation");
    assert!(
        error.to_string().ends_with("\n  macro:c4.0\n        ^"),
        "{error}"
    );
}

#[test]
fn text_errors_of_long_and_odd_texts_stay_readable() {
    let long = format!("macro:{}", vec!["c3.0"; 64].join("/"));
    assert!(long.parse::<Arch>().is_ok());
    let error = format!("{long}/c3.0")
        .parse::<Arch>()
        .expect_err("65 layers");
    assert!(error.message.contains("more than 64 layers"), "{error}");
    let shown = error.to_string();
    assert!(
        shown.lines().all(|line| line.chars().count() < 120),
        "{shown}"
    );
    let (text, caret) = (
        shown.lines().nth(1).expect("text"),
        shown.lines().nth(2).expect("caret"),
    );
    assert_eq!(
        text.chars().nth(caret.chars().count() - 1),
        Some('c'),
        "{shown}"
    );
    let error = "macro:\nc3.0".parse::<Arch>().expect_err("a line break");
    assert_eq!(error.to_string().lines().count(), 3, "{error}");
}

#[test]
fn kinds_are_told_apart() {
    assert!("macro:c3.0".parse::<epnas_arch::MacroArch>().is_ok());
    assert!("micro:c3.-1+c3.-1".parse::<CellArch>().is_ok());
    let error = "macro:c3.0"
        .parse::<CellArch>()
        .expect_err("a macro architecture");
    assert!(error.message.contains("expected micro:"), "{error}");
}

#[test]
fn json_form() {
    let json = r#"{"space":"macro","layers":[{"op":"conv_3x3","sources":[0]},{"op":"dw_conv_5x5","sources":[0,1]}]}"#;
    let arch: Arch = serde_json::from_str(json).expect("valid");
    assert_eq!(arch.to_string(), "macro:c3.0/d5.0+1");
    assert_eq!(serde_json::to_string(&arch).expect("plain"), json);
    let json = r#"{"space":"micro","blocks":[{"inputs":[{"op":"conv_3x3","source":-2},{"op":"identity","source":-1}]}]}"#;
    let arch: Arch = serde_json::from_str(json).expect("valid");
    assert_eq!(arch.to_string(), "micro:c3.-2+id.-1");
    assert_eq!(serde_json::to_string(&arch).expect("plain"), json);
}

#[test]
fn json_errors_name_the_value() {
    let cases = [
        (
            r#"{"space":"macro","layers":[]}"#,
            "needs at least one layer",
        ),
        (
            r#"{"space":"macro","layers":[{"op":"conv_3x3","sources":[]}]}"#,
            "layer 1 has no source",
        ),
        (
            r#"{"space":"macro","layers":[{"op":"conv_3x3","sources":[1]}]}"#,
            "layer 1 reads H_1",
        ),
        (
            r#"{"space":"macro","layers":[{"op":"conv_3x3","sources":[64]}]}"#,
            "source 64 is out of range",
        ),
        (
            r#"{"space":"macro","layers":[{"op":"conv_3x3","sources":[0,0]}]}"#,
            "source 0 is given twice",
        ),
        (
            r#"{"space":"macro","layers":[{"op":"conv_9x9","sources":[0]}]}"#,
            "unknown variant `conv_9x9`",
        ),
        (
            r#"{"space":"macro","layers":[{"op":"conv_3x3","source":[0]}]}"#,
            "unknown field `source`",
        ),
        (r#"{"space":"macro","blocks":[]}"#, "unknown field `blocks`"),
        (
            r#"{"space":"micro","blocks":[{"inputs":[{"op":"identity","source":-3},{"op":"identity","source":-1}]}]}"#,
            "source -3 is out of range",
        ),
        (
            r#"{"space":"micro","blocks":[{"inputs":[{"op":"identity","source":0},{"op":"identity","source":-1}]}]}"#,
            "block 0 reads 0",
        ),
    ];
    for (json, expected) in cases {
        let error = serde_json::from_str::<Arch>(json)
            .expect_err(json)
            .to_string();
        assert!(error.contains(expected), "{json}: {error}");
    }
}

#[test]
fn genotype_example() {
    let cell: CellArch = "micro:c3.-2+mp.-1/d5.-1+id.0/ap.-2+c5.-2"
        .parse()
        .expect("well-formed");
    let pairs = "[('conv_3x3', 0), ('max_pool_3x3', 1), ('dw_conv_5x5', 1), ('identity', 2), ('avg_pool_3x3', 0), \
                 ('conv_5x5', 0)]";
    // Block 0 (state 2) is read by block 1; blocks 1 and 2 (states 3 and 4) make the output.
    let expected = format!(
        "Genotype(normal={pairs}, normal_concat=[3, 4], reduce={pairs}, reduce_concat=[3, 4])"
    );
    assert_eq!(genotype(&cell), expected);
    assert_eq!(parse_genotype(&expected), Ok(cell.clone()));
    // As others write it: other spaces and quotes, ranges, trailing commas.
    let other = expected
        .replace("[3, 4]", "range( 3,5 )")
        .replace('\'', "\"")
        .replace("0)]", "0) , ]")
        .replace("=", " = ");
    assert_eq!(parse_genotype(&format!("\n {other} ")), Ok(cell));
}

#[test]
fn genotype_errors_point_at_the_character() {
    let good = "Genotype(normal=[('conv_3x3', 0), ('identity', 1)], normal_concat=[2], \
                reduce=[('conv_3x3', 0), ('identity', 1)], reduce_concat=[2])";
    assert!(parse_genotype(good).is_ok());
    let position = |part: &str| good.find(part).expect("present");
    let cases = [
        (
            good.replacen("Genotype", "Genome", 1),
            0,
            "expected Genotype",
        ),
        (
            good.replacen("conv_3x3", "sep_conv_3x3", 1),
            position("conv_3x3"),
            "found \"sep_conv_3x3\"",
        ),
        (
            good.replacen("', 0", "', 2", 1),
            position("0)"),
            "block 0 cannot read 2, expected 0 to 1",
        ),
        (
            good.replacen("[2]", "[3]", 1),
            position("[2]"),
            "normal_concat is [3], expected [2]",
        ),
        (
            good.replacen("[2]", "range(2, 99)", 1),
            position("[2]") + 9,
            "out of range",
        ),
        (
            good.replacen("reduce=[('conv_3x3'", "reduce=[('conv_5x5'", 1),
            position("reduce=[") + 7,
            "reduce differs from normal",
        ),
        (
            good.replacen(", ('identity', 1)", "", 1),
            position(", ('identity'"),
            "expected ','",
        ),
        (
            format!("{good};"),
            good.len(),
            "found ';', expected the end",
        ),
    ];
    for (text, position, message) in cases {
        let error = parse_genotype(&text).expect_err(&text);
        assert!(error.message.contains(message), "{error}");
        assert_eq!(error.position, position, "{error}");
    }
}

#[test]
fn the_text_form_is_wider_than_the_spaces() {
    let arch: Arch = "macro:id.0".parse().unwrap();
    let space = Space::Macro(MacroSpace {
        layers: 1,
        ..MacroSpace::default()
    });
    assert!(space.check(&arch).is_err(), "membership is the space's");
}
