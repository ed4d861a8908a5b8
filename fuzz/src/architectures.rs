//! Architectures: as text, as JSON, and cells as genotypes.

use std::str::from_utf8;

use epnas_arch::{Arch, CellArch, Design, ParseArchError, genotype as printed, parse_genotype};

use super::shown;

/// Text of an architecture, or of a network made by hand.
pub fn architecture(data: &[u8]) -> bool {
    let Ok(text) = from_utf8(data) else {
        return false;
    };
    match text.parse::<Design>() {
        Ok(design) => assert_eq!(design.to_string().parse::<Design>(), Ok(design)),
        Err(error) => shown(&error),
    }
    match text.parse::<Arch>() {
        Ok(arch) => comes_back(&arch),
        Err(error) => points(&error, text),
    }
    text.parse::<Design>().is_ok()
}

/// JSON of an architecture.
pub fn architecture_json(data: &[u8]) -> bool {
    match serde_json::from_slice::<Arch>(data) {
        Ok(arch) => comes_back(&arch),
        Err(error) => shown(&error),
    }
    serde_json::from_slice::<Arch>(data).is_ok()
}

/// Genotype text of a cell.
pub fn genotype(data: &[u8]) -> bool {
    let Ok(text) = from_utf8(data) else {
        return false;
    };
    match parse_genotype(text) {
        Ok(cell) => comes_back(&Arch::Micro(cell)),
        Err(error) => points(&error, text),
    }
    parse_genotype(text).is_ok()
}

/// The same architecture comes out of each of its forms.
fn comes_back(arch: &Arch) {
    arch.check().expect("what was read is well-formed");
    assert_eq!(arch.to_string().parse().as_ref(), Ok(arch));
    let json = serde_json::to_string(arch).expect("JSON");
    let read: Arch = serde_json::from_str(&json).expect("its own JSON");
    assert_eq!(read, *arch);
    if let Arch::Micro(cell) = arch {
        assert_eq!(parse_genotype(&printed(cell)).as_ref(), Ok(cell));
        assert_eq!(arch.to_string().parse::<CellArch>().as_ref(), Ok(cell));
    }
}

/// The error points into the text, or right behind it.
fn points(error: &ParseArchError, text: &str) {
    assert_eq!(error.input, text);
    assert!(error.position <= text.chars().count(), "{error:?}");
    shown(error);
}
