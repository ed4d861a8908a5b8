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

/// The range that a key's documentation states as `range A to B` or `at least A`, in words that follow "a number".
pub(super) fn documented_range(doc: &str) -> Option<String> {
    let number = |word: Option<&str>| {
        let word = word?.trim_end_matches(['.', ';', ',', ')']);
        word.starts_with(|c: char| c.is_ascii_digit() || c == '-')
            .then(|| word.to_owned())
    };
    let both = doc.split("range ").skip(1).find_map(|rest| {
        let mut words = rest.split_whitespace();
        let low = number(words.next())?;
        words.next().filter(|word| *word == "to")?;
        Some(format!("from {low} to {}", number(words.next())?))
    });
    both.or_else(|| {
        let (_, rest) = doc.split_once("at least ")?;
        Some(format!(
            "of at least {}",
            number(rest.split_whitespace().next())?
        ))
    })
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
            ("Default 3; range 1 to 1000.", Some("from 1 to 1000")),
            ("Default 0, range 0 to 2^63-1.", Some("from 0 to 2^63-1")),
            ("range 1 to 100,000; default 25", Some("from 1 to 100,000")),
            (
                "Default 128; at least 1. More words.",
                Some("of at least 1"),
            ),
            ("in the range of the paper", None),
            ("at least that of the paper", None),
        ] {
            assert_eq!(documented_range(doc).as_deref(), expected, "{doc}");
        }
    }
}
