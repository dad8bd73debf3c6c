//! The command line of the programs.

use std::{path::PathBuf, str::FromStr, time::Duration};

use crate::Row;

/// What a run is to do.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// How often everything is measured.
    pub rounds: usize,
    /// How long each row is measured in each round.
    pub round: Duration,
    /// How many callers there are, one number after the other.
    pub callers: Vec<usize>,
    /// How many bytes a value has, one number after the other.
    pub sizes: Vec<usize>,
    /// The rows that are wanted; all if there is none.
    pub only: Vec<Row>,
    /// Where to write each round.
    pub csv: Option<PathBuf>,
    /// The folder in which to keep profiles.
    pub profiles: Option<PathBuf>,
}

impl Options {
    /// Reads a command line, without the program's name. Options that are not in `known` are
    /// refused. Where one is not given, `self` holds.
    ///
    /// # Errors
    ///
    /// What is wrong, and what could be said instead.
    pub fn parse(
        mut self,
        known: &[&str],
        words: impl IntoIterator<Item = String>,
    ) -> Result<Self, String> {
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if !known.contains(&word.as_str()) {
                let known = known.join(", ");
                return Err(format!("there is no option `{word}`: there are {known}"));
            }
            let value = words.next();
            let value = value.ok_or_else(|| format!("`{word}` needs a value"))?;
            match word.as_str() {
                "--rounds" => self.rounds = positive(&word, &value)?,
                "--round-ms" => {
                    let millis: usize = positive(&word, &value)?;
                    self.round = Duration::from_millis(millis as u64);
                }
                "--callers" => self.callers = list(&value, |part| positive(&word, part))?,
                "--size" => self.sizes = list(&value, |part| at_least(&word, part, 2))?,
                "--only" => self.only = list(&value, Row::from_str)?,
                "--csv" => self.csv = Some(value.into()),
                "--profiles" => self.profiles = Some(value.into()),
                _ => return Err(format!("`{word}` is not for this program")),
            }
        }
        Ok(self)
    }

    /// Those of `rows` that are wanted, with the base, which comes first; none if no other is, and
    /// the base is not asked for either.
    #[must_use]
    pub fn rows(&self, rows: &[Row]) -> Vec<Row> {
        let is_wanted = |row: &Row| self.only.is_empty() || self.only.contains(row);
        if !rows.iter().any(is_wanted) {
            return Vec::new();
        }
        let base = rows.first().copied();
        let is_measured = |row: &Row| Some(*row) == base || is_wanted(row);
        rows.iter().copied().filter(is_measured).collect()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rounds: 7,
            round: Duration::from_millis(300),
            callers: vec![1, 16, 256, 1024],
            sizes: vec![100, 4096],
            only: Vec::new(),
            csv: None,
            profiles: None,
        }
    }
}

fn list<T>(value: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    value.split(',').map(read).collect()
}

fn positive(word: &str, value: &str) -> Result<usize, String> {
    at_least(word, value, 1)
}

fn at_least(word: &str, value: &str, least: usize) -> Result<usize, String> {
    let number = value.parse().ok().filter(|&number| number >= least);
    number.ok_or_else(|| format!("`{word}` takes numbers from {least} on, not `{value}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &[
        "--rounds",
        "--round-ms",
        "--callers",
        "--size",
        "--only",
        "--csv",
    ];

    fn parse(line: &str) -> Result<Options, String> {
        let words = line.split_whitespace().map(ToOwned::to_owned);
        Options::default().parse(KNOWN, words)
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        assert_eq!(parse(""), Ok(Options::default()));
        let line = "--rounds 3 --round-ms 50 --callers 1,256 --size 100 --only bytes,miss --csv f";
        let expected = Options {
            rounds: 3,
            round: Duration::from_millis(50),
            callers: vec![1, 256],
            sizes: vec![100],
            only: vec![Row::Bytes, Row::Miss],
            csv: Some("f".into()),
            profiles: None,
        };
        assert_eq!(parse(line), Ok(expected));
    }

    #[test]
    fn what_cannot_be_is_told() {
        for (line, part) in [
            ("--fast", "there is no option `--fast`: there are --rounds"),
            ("--profiles d", "there is no option `--profiles`"),
            ("--rounds", "`--rounds` needs a value"),
            ("--rounds 0", "from 1 on, not `0`"),
            ("--size 1", "from 2 on, not `1`"),
            ("--callers 1,x", "not `x`"),
            ("--only all", "there is no row `all`"),
        ] {
            let text = parse(line).unwrap_err();
            assert!(text.contains(part), "{line}: {text}");
        }
    }

    #[test]
    fn the_base_is_always_measured() {
        let options = parse("--only bytes,miss").unwrap();
        assert_eq!(options.rows(&Row::HITS), [Row::Raw, Row::Bytes]);
        assert_eq!(options.rows(&Row::MISSES), [Row::Raw, Row::Miss]);
        assert_eq!(options.rows(&Row::MANY), []);
        assert_eq!(parse("").unwrap().rows(&Row::HITS), Row::HITS);
        assert_eq!(
            parse("--only raw").unwrap().rows(&Row::HITS),
            [Row::Raw],
            "the base alone"
        );
    }
}
