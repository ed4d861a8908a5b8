//! What the table of children is made of: a row for each, and their drawings, packed.

use std::collections::BTreeSet;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::run::{Origin, Row, RunPage};
use crate::diagram;

/// Drawings that are packed together: opening one unpacks these.
const PACK: usize = 64;

/// Every child of every run, in the order of their names.
pub(super) fn rows(pages: &[RunPage]) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for (number, page) in pages.iter().enumerate() {
        for (origin, records) in [
            (Origin::Search, &page.children),
            (Origin::Random, &page.random),
        ] {
            let row = |record| Row::of(number, &page.name, origin, record);
            rows.extend(records.iter().map(row));
        }
    }
    rows
}

/// A value as JSON that may stand in a page's script element: nothing in it can end the element.
pub(super) fn safe_json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    let json = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    // Outside of strings JSON has none of these, and within them the escape says the same.
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

/// The drawings of every distinct architecture of each run, in the order of the first rows that have it, `PACK` together:
/// a JSON array of SVG texts (empty where there is nothing to draw), compressed by gzip, in base 64.
pub(super) fn packed_drawings(pages: &[RunPage]) -> Vec<String> {
    let mut drawings: Vec<String> = Vec::new();
    for page in pages {
        let mut seen: BTreeSet<String> = BTreeSet::new();
        for record in page.children.iter().chain(&page.random) {
            if seen.insert(record.arch.to_string()) {
                let network = page.network.of(&record.arch, &page.space);
                let drawn = network.map(|network| diagram::unstyled(&record.arch, &network));
                drawings.push(drawn.unwrap_or_default());
            }
        }
    }
    drawings.chunks(PACK).map(packed).collect()
}

fn packed(drawings: &[String]) -> String {
    let json = serde_json::to_vec(drawings).unwrap_or_default();
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    // Into memory: it cannot fail.
    let _ = packer.write_all(&json);
    STANDARD.encode(packer.finish().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn json_cannot_end_its_element() {
        let text = "</script><script>alert(1)</script> & <!--";
        let json = safe_json(&[text]);
        assert!(!json.contains(['<', '>', '&']), "{json}");
        let back: Vec<String> = serde_json::from_str(&json).expect("JSON");
        assert_eq!(back, [text]);
    }

    #[test]
    fn packs_hold_the_drawings_in_order() {
        let drawings: Vec<String> = (0..3)
            .map(|number| format!("<svg>{number}</svg>"))
            .collect();
        let bytes = STANDARD.decode(packed(&drawings)).expect("base 64");
        let mut json = String::new();
        GzDecoder::new(&bytes[..])
            .read_to_string(&mut json)
            .expect("gzip");
        let back: Vec<String> = serde_json::from_str(&json).expect("JSON");
        assert_eq!(back, drawings);
    }
}
