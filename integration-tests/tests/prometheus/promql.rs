//! As much of PromQL as it takes to say what a query asks for.

use std::{collections::BTreeSet, iter::Peekable, str::Chars};

use super::catalogue::Catalogue;

#[derive(Clone, Debug, Eq, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    /// Numbers and durations are here too: nothing is asked of them.
    Sign(char),
}

/// What a query asks for.
#[derive(Debug, Default)]
pub(crate) struct Query {
    selectors: Vec<Selector>,
    groupings: Vec<Grouping>,
}

#[derive(Debug)]
struct Selector {
    series: String,
    matchers: Vec<(String, String)>,
}

/// `by (labels)` or `without (labels)` of an operand.
#[derive(Debug)]
struct Grouping {
    labels: Vec<String>,
    series: Vec<String>,
}

impl Query {
    /// Reads a query that Prometheus accepts.
    pub(crate) fn read(text: &str) -> Self {
        let mut query = Self::default();
        query.take(&tokens(text));
        query
    }

    /// The families that it asks for, or all that is wrong with it.
    pub(crate) fn check(
        &self,
        catalogue: &Catalogue,
    ) -> Result<BTreeSet<&'static str>, Vec<String>> {
        let mut families = BTreeSet::new();
        let mut wrong = Vec::new();
        for Selector { series, matchers } in &self.selectors {
            let Some((family, labels)) = catalogue.find(series) else {
                wrong.push(format!("there is no series {series}"));
                continue;
            };
            families.insert(family);
            for (label, value) in matchers {
                match labels.get(label.as_str()) {
                    None => wrong.push(format!("{series} has no label {label}")),
                    Some(None) => {}
                    // A regular expression is taken for alternatives.
                    Some(Some(known)) => wrong.extend(
                        value
                            .split('|')
                            .filter(|value| !known.contains(*value))
                            .map(|value| format!("{label} of {series} is never {value}")),
                    ),
                }
            }
        }
        for Grouping { labels, series } in &self.groupings {
            for name in series {
                let known = catalogue.find(name).map(|(_, known)| known);
                let known = known.unwrap_or_default();
                let unknown = labels
                    .iter()
                    .filter(|label| !known.contains_key(label.as_str()));
                wrong.extend(unknown.map(|label| format!("{name} is grouped by {label}")));
            }
        }
        if wrong.is_empty() {
            Ok(families)
        } else {
            Err(wrong)
        }
    }

    /// Whether the answer has this label, as far as a grouping says so.
    pub(crate) fn groups_by(&self, label: &str) -> bool {
        self.groupings
            .iter()
            .any(|grouping| grouping.labels.iter().any(|other| other == label))
    }

    fn take(&mut self, mut tokens: &[Token]) {
        while let Some((token, rest)) = tokens.split_first() {
            tokens = rest;
            let Token::Word(word) = token else { continue };
            match (word.as_str(), rest.first()) {
                ("and" | "or" | "unless", _) => {}
                ("by" | "without", _) => {
                    let (labels, rest) = enclosed(rest, '(', ')');
                    let (operand, _) = enclosed(rest, '(', ')');
                    let mut inner = Self::default();
                    inner.take(operand);
                    self.groupings.push(Grouping {
                        labels: words(labels),
                        series: inner.selectors.into_iter().map(|it| it.series).collect(),
                    });
                    // The operand is read once more, as a part of the whole.
                    tokens = rest;
                }
                ("on" | "ignoring" | "group_left" | "group_right" | "offset" | "bool", _) => {
                    panic!("this reader does not know `{word}` yet")
                }
                // A function, or an aggregation.
                (_, Some(Token::Sign('('))) => {}
                (_, Some(Token::Word(next))) if ["by", "without"].contains(&next.as_str()) => {}
                (_, Some(Token::Sign('{'))) => {
                    let (matchers, rest) = enclosed(rest, '{', '}');
                    self.selectors.push(Selector {
                        series: word.clone(),
                        matchers: pairs(matchers),
                    });
                    tokens = rest;
                }
                _ => self.selectors.push(Selector {
                    series: word.clone(),
                    matchers: Vec::new(),
                }),
            }
        }
    }
}

/// What stands between the brackets that `tokens` begin with, and what follows.
fn enclosed(tokens: &[Token], open: char, close: char) -> (&[Token], &[Token]) {
    assert_eq!(tokens.first(), Some(&Token::Sign(open)), "{tokens:?}");
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate() {
        if *token == Token::Sign(open) {
            depth += 1;
        } else if *token == Token::Sign(close) {
            depth -= 1;
        }
        if depth == 0 {
            return (&tokens[1..place], &tokens[place + 1..]);
        }
    }
    panic!("no {close} in {tokens:?}");
}

fn words(tokens: &[Token]) -> Vec<String> {
    let word = |token: &Token| match token {
        Token::Word(word) => Some(word.clone()),
        Token::Text(_) | Token::Sign(_) => None,
    };
    tokens.iter().filter_map(word).collect()
}

/// Labels with the values that they are compared to.
fn pairs(tokens: &[Token]) -> Vec<(String, String)> {
    let texts = tokens.iter().filter_map(|token| match token {
        Token::Text(text) => Some(text.clone()),
        Token::Word(_) | Token::Sign(_) => None,
    });
    words(tokens).into_iter().zip(texts).collect()
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(first) = chars.next() {
        match first {
            '#' => drop(while_is(&mut chars, |it| it != '\n')),
            '"' => {
                let content = while_is(&mut chars, |it| it != '"');
                assert!(!content.contains('\\'), "escapes are not known yet: {text}");
                tokens.push(Token::Text(content));
                chars.next();
            }
            '\'' | '`' | '\\' => panic!("this reader does not know {first} yet: {text}"),
            '0'..='9' => {
                while_is(&mut chars, |it| it.is_ascii_alphanumeric() || it == '.');
                tokens.push(Token::Sign(first));
            }
            _ if is_of_word(first) => {
                let word = format!("{first}{}", while_is(&mut chars, is_of_word));
                tokens.push(Token::Word(word));
            }
            _ if first.is_whitespace() => {}
            _ => tokens.push(Token::Sign(first)),
        }
    }
    tokens
}

fn while_is(chars: &mut Peekable<Chars<'_>>, is: impl Fn(char) -> bool) -> String {
    std::iter::from_fn(|| chars.next_if(|it| is(*it))).collect()
}

fn is_of_word(it: char) -> bool {
    it.is_ascii_alphanumeric() || it == '_' || it == ':'
}

#[test]
fn a_query_for_what_is_not_exported_is_found_out() {
    let catalogue = Catalogue::new();
    let check = |text| Query::read(text).check(&catalogue);
    let good = r#"
        sum by (cache) (rate(cache_requests_total{result="hit", cache=~".*"}[5m]))  # and nonsense{a="b"}
        / sum by (cache) (rate(cache_calls_total[5m])) > 0.5
        and histogram_quantile(0.99, sum by (le, cache) (rate(cache_load_duration_seconds_bucket[5m]))) > 1
        or max without (state) (cache_breaker_state{state=~"open|half_open"})
    "#;
    let families = [
        "cache_breaker_state",
        "cache_calls_total",
        "cache_load_duration_seconds",
        "cache_requests_total",
    ];
    assert_eq!(check(good), Ok(families.into()));
    for (text, wrong) in [
        ("cache_hits_total", "there is no series cache_hits_total"),
        (
            "sum(rate(cache_load_duration_seconds[5m]))",
            "there is no series cache_load_duration_seconds",
        ),
        (
            "cache_calls_total_count",
            "there is no series cache_calls_total_count",
        ),
        (
            r#"cache_calls_total{result="hit"}"#,
            "cache_calls_total has no label result",
        ),
        (
            r#"cache_requests_total{result="hits"}"#,
            "result of cache_requests_total is never hits",
        ),
        (
            r#"cache_breaker_state{state=~"open|ajar"}"#,
            "state of cache_breaker_state is never ajar",
        ),
        (
            "sum by (answer) (cache_calls_total)",
            "cache_calls_total is grouped by answer",
        ),
        (
            "sum by (le) (cache_load_duration_seconds_count)",
            "cache_load_duration_seconds_count is grouped by le",
        ),
    ] {
        assert_eq!(check(text), Err(vec![wrong.to_owned()]), "{text}");
    }
}
