//! What a word that does not exist may have meant.

/// The candidate closest to `word`, when it is close enough to be a slip of the keyboard.
pub(super) fn slip<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The candidate that `word` abbreviates: by its initials (`lr`), or because one contains the other (`decay`,
/// `batch_size`); of several the one whose length is nearest.
pub(super) fn short_form<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    let initials = |candidate: &str| -> String {
        let words = candidate.split('_');
        words.filter_map(|part| part.chars().next()).collect()
    };
    let mut by_initials = candidates
        .clone()
        .filter(|c| word.len() > 1 && initials(c) == word);
    by_initials.next().or_else(|| {
        candidates
            .filter(|candidate| {
                let shorter = word.len().min(candidate.len());
                shorter >= 4 && (candidate.contains(word) || word.contains(candidate))
            })
            .min_by_key(|candidate| candidate.len().abs_diff(word.len()))
    })
}

/// The range that a key's documentation states as `range A to B`.
pub(super) fn documented_range(doc: &str) -> Option<(&str, &str)> {
    let (_, rest) = doc.split_once("range ")?;
    let mut words = rest.split_whitespace();
    let (low, to, high) = (words.next()?, words.next()?, words.next()?);
    let number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    let high = high.trim_end_matches(['.', ';', ',', ')']);
    (to == "to" && number(low) && number(high)).then_some((low, high))
}

#[cfg(test)]
mod tests {
    use super::{documented_range, short_form, slip};

    #[test]
    fn abbreviations_are_found() {
        let keys = [
            "learning_rate",
            "weight_decay",
            "batch",
            "eval_batch",
            "momentum",
        ];
        for (word, expected) in [
            ("lr", Some("learning_rate")),
            ("wd", Some("weight_decay")),
            ("decay", Some("weight_decay")),
            ("batch_size", Some("batch")),
            ("xyzzy", None),
            ("r", None),
        ] {
            assert_eq!(short_form(word, keys.iter().copied()), expected, "{word}");
        }
        assert_eq!(slip("momentun", keys.iter().copied()), Some("momentum"));
    }

    #[test]
    fn ranges_are_read_from_the_documentation() {
        for (doc, expected) in [
            ("Default 3; range 1 to 1000.", Some(("1", "1000"))),
            ("Default 0, range 0 to 2^63-1.", Some(("0", "2^63-1"))),
            ("Range 1 to 100,000, default 25", None),
            ("range 1 to 100,000; default 25", Some(("1", "100,000"))),
            ("in the range of the paper", None),
        ] {
            assert_eq!(documented_range(doc), expected, "{doc}");
        }
    }
}
