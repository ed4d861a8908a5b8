//! Tables: plain text for the terminal, and Markdown.

/// Columns padded to their widest cell; the first is aligned left, the others right.
pub(crate) fn render(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| {
            rows.iter()
                .filter_map(|row| row.get(c))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells =
            row.iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, &width))| match column {
                    0 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The same as a table of Markdown; the first row is its head.
pub(crate) fn markdown(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
        if index == 0 {
            text.push_str(&format!("|{}\n", "---|".repeat(row.len())));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_has_a_line_below_its_head() {
        let rows = [vec!["a".into(), "b".into()], vec!["x|y".into(), "3".into()]];
        let expected = "| a | b |\n|---|---|\n| x\\|y | 3 |\n";
        assert_eq!(markdown(&rows), expected);
    }

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["a".into(), "12".into()],
            vec!["long".into(), "3".into()],
        ];
        assert_eq!(render(&rows), "a     12\nlong   3\n");
    }
}
