//! How Go spells what `serde_json` spells otherwise.

use std::{fmt, io};

use serde_json::ser::Formatter;

/// From here on, and below [`SMALL`], Go writes a float with an exponent.
const LARGE: f64 = 1e21;
const SMALL: f64 = 1e-6;

pub(super) struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_f32<W: io::Write + ?Sized>(&mut self, out: &mut W, value: f32) -> io::Result<()> {
        // Go compares as `f32`: there the literal is another number than it is as `f64`.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the nearest `f32` is what is meant"
        )]
        let (small, large) = (SMALL as f32, LARGE as f32);
        let size = value.abs();
        let has_exponent = size != 0.0 && (size < small || size >= large);
        write_float(out, value, has_exponent)
    }

    fn write_f64<W: io::Write + ?Sized>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        let size = value.abs();
        let has_exponent = size != 0.0 && !(SMALL..LARGE).contains(&size);
        write_float(out, value, has_exponent)
    }

    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        // The first byte of either, and of little else: the search for it is fast.
        if rest.as_bytes().contains(&0xe2) {
            while let Some((at, separator)) = rest.match_indices(['\u{2028}', '\u{2029}']).next() {
                out.write_all(&rest.as_bytes()[..at])?;
                let escaped = if separator == "\u{2028}" {
                    "\\u2028"
                } else {
                    "\\u2029"
                };
                out.write_all(escaped.as_bytes())?;
                rest = &rest[at + separator.len()..];
            }
        }
        out.write_all(rest.as_bytes())
    }
}

/// Both print the fewest digits that lead back to the number, as Go does.
fn write_float<F: fmt::Display + fmt::LowerExp>(
    out: &mut (impl io::Write + ?Sized),
    value: F,
    has_exponent: bool,
) -> io::Result<()> {
    if !has_exponent {
        return write!(out, "{value}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => {
            write!(out, "{digits}e+{exponent}")
        }
        _ => out.write_all(text.as_bytes()),
    }
}
