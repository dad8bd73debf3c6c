//! Numbers in columns.

use std::time::Duration;

/// Prints rows under their headers: the first column to the left if it has no header, all others
/// to the right.
pub(crate) fn print<const N: usize>(
    headers: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) {
    let rows: Vec<_> = rows.into_iter().collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.fold(headers[column].chars().count(), usize::max)
    });
    let print_row = |cells: [&str; N]| {
        let mut line = String::from(" ");
        for (column, (cell, width)) in cells.into_iter().zip(widths).enumerate() {
            line.push_str(&if column == 0 && headers[0].is_empty() {
                format!(" {cell:<width$}")
            } else {
                format!(" {cell:>width$}")
            });
            line.push(' ');
        }
        println!("{}", line.trim_end());
    };
    print_row(headers);
    let rules = widths.map(|width| "─".repeat(width));
    print_row(rules.each_ref().map(String::as_str));
    for row in &rows {
        print_row(row.each_ref().map(String::as_str));
    }
}

/// Writes `number` with a comma between thousands.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes `time` in a unit that suits it.
pub(crate) fn time(time: Duration) -> String {
    let nanos = time.as_nanos();
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{}.{} µs", nanos / 1_000, nanos / 100 % 10),
        _ => format!("{}.{} ms", nanos / 1_000_000, nanos / 100_000 % 10),
    }
}
