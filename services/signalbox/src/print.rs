//! Output to the terminal. A reader that closed the pipe is no error.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use signalbox_report::Report;

/// Writes to standard output at once.
pub(crate) fn out(text: &str) {
    let mut stdout = io::stdout().lock();
    let _closed = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Writes a line to standard output.
pub(crate) fn line(text: &str) {
    out(&format!("{text}\n"));
}

/// Writes a line to standard error: what is not the result itself.
pub(crate) fn aside(text: &str) {
    let _closed = writeln!(io::stderr().lock(), "{text}");
}

/// Writes what was measured: as JSON with the notices beside it, or as text that has them.
pub(crate) fn report(report: &Report, json: bool) {
    if json {
        report.notices().for_each(aside);
    }
    out(&if json { report.json() + "\n" } else { report.text() });
}

/// Explains a failure.
pub(crate) fn failure(message: &str) -> ExitCode {
    aside(&format!("signalbox: {message}"));
    ExitCode::FAILURE
}

/// Lays rows out in columns; numbers are right-aligned where `right` says so.
pub(crate) fn table(head: &[&str], right: &[bool], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let render = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (column, cell) in cells.enumerate() {
            let pad = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
            let separator = if column == 0 { "" } else { "  " };
            let (before, after) = if right[column] { (pad.as_str(), "") } else { ("", pad.as_str()) };
            text.push_str(&format!("{separator}{before}{cell}{after}"));
        }
        text.truncate(text.trim_end().len());
        text
    };
    let mut lines = vec![render(&mut head.iter().copied())];
    lines.extend(rows.iter().map(|row| render(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn aligns_columns() {
        let rows = vec![vec!["a".into(), "1".into()], vec!["long".into(), "20".into()]];
        assert_eq!(super::table(&["name", "n"], &[false, true], &rows), "name   n\na      1\nlong  20");
    }
}
