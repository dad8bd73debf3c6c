//! What the plots show, as they are drawn.

use serde::Deserialize;

/// Reads all plots off the page.
pub(crate) const SCRIPT: &str = r#"
[...document.querySelectorAll("svg[data-plot]")].map((svg) => {
  const ticks = [...svg.querySelectorAll("line.grid")].map((line) => line.y1.baseVal.value);
  return {
    id: svg.dataset.plot,
    label: svg.getAttribute("aria-label") ?? "",
    role: svg.getAttribute("role") ?? "",
    size: [svg.viewBox.baseVal.width, svg.viewBox.baseVal.height],
    bottom: Math.max(...ticks),
    top: Math.min(...ticks),
    ticks: [...svg.querySelectorAll("text[text-anchor=end]")].slice(0, ticks.length)
      .map((text) => text.textContent),
    values: [...svg.closest("figure").querySelectorAll("b")].map((value) => value.textContent),
    lines: [...svg.querySelectorAll("path[data-line]")].map((path) => ({
      name: path.dataset.line,
      colour: getComputedStyle(path).stroke,
      points: [...path.getAttribute("d").matchAll(/[ML](-?[\d.]+) (-?[\d.]+)/g)]
        .map(([, x, y]) => [Number(x), Number(y)]),
    })),
  };
})
"#;

#[derive(Debug, Deserialize)]
pub(crate) struct Plot {
    pub(crate) id: String,
    label: String,
    role: String,
    size: [f64; 2],
    /// Where its lowest and its highest line of the grid are.
    bottom: f64,
    top: f64,
    /// What is written beside the lines of the grid, from the bottom up.
    ticks: Vec<String>,
    pub(crate) values: Vec<String>,
    lines: Vec<Line>,
}

#[derive(Debug, Deserialize)]
struct Line {
    name: String,
    colour: String,
    points: Vec<[f64; 2]>,
}

impl Plot {
    /// Asserts that all that is drawn can be seen.
    pub(crate) fn is_within_its_frame(&self) {
        let [width, height] = self.size;
        assert!(width > 150.0 && height > 100.0, "too small: {self:?}");
        assert!(self.ticks.len() >= 3, "too few lines in the grid: {self:?}");
        assert!(0.0 < self.top && self.top < self.bottom && self.bottom < height);
        for line in &self.lines {
            assert!(line.colour.starts_with("rgb("), "not seen: {self:?}");
            for [x, y] in &line.points {
                assert!((0.0..=width).contains(x), "x is {x}: {self:?}");
                let is_within = (self.top - 0.1..=self.bottom + 0.1).contains(y);
                assert!(is_within, "y is {y}: {self:?}");
            }
        }
    }

    /// Asserts that its numbers are there as text as well, for those who see no lines.
    pub(crate) fn says_its_numbers(&self) {
        assert_eq!(self.role, "img", "{self:?}");
        assert_eq!(self.values.len(), self.lines.len(), "{self:?}");
        for value in &self.values {
            assert!(!value.is_empty(), "{self:?}");
            assert!(self.label.contains(value), "{self:?}");
        }
    }

    /// Asserts that the newest point of each line is where the grid has the number that is written
    /// beside it.
    pub(crate) fn is_drawn_at_its_numbers(&self) {
        let (first, last) = (
            number(&self.ticks[0]),
            number(&self.ticks[self.ticks.len() - 1]),
        );
        let (first, last) = (first.unwrap(), last.unwrap());
        for (line, value) in self.lines.iter().zip(&self.values) {
            let Some(value) = number(value) else { continue };
            if value == 0.0 && line.is_failures() {
                continue;
            }
            assert!(value <= last, "{value} is beyond the scale: {self:?}");
            let expected = if self.id.ends_with(".latency") {
                (value.max(first) / first).ln() / (last / first).ln()
            } else {
                (value - first) / (last - first)
            };
            let [_, y] = line.points[line.points.len() - 1];
            let drawn = (self.bottom - y) / (self.bottom - self.top);
            // The number is rounded.
            assert!(
                (drawn - expected).abs() < 0.03,
                "{} is drawn at {drawn:.3}, not at {expected:.3}: {self:?}",
                line.name
            );
        }
    }

    /// Asserts that each line has so many points, but for those of failures, which need not be.
    pub(crate) fn has_lines(&self, points: usize) {
        for line in &self.lines {
            assert!(
                line.is_failures() || line.points.len() >= points,
                "{} has fewer than {points} points: {self:?}",
                line.name
            );
        }
    }

    /// Whether any of its lines goes up and down.
    pub(crate) fn varies(&self) -> bool {
        self.lines.iter().any(|line| {
            let heights = line.points.iter().map(|[_, y]| *y);
            let (low, high) = heights.fold((f64::MAX, f64::MIN), |(low, high), y| {
                (low.min(y), high.max(y))
            });
            high - low > 5.0
        })
    }

    /// Where, from the left, its first line is highest.
    pub(crate) fn highest(&self) -> Option<f64> {
        let points = self.lines.first()?.points.iter();
        let highest = points.min_by(|one, other| one[1].total_cmp(&other[1]));
        highest.map(|[x, _]| *x)
    }

    /// How high the newest point of the first line is, from 0 at the bottom to 1 at the top.
    pub(crate) fn newest(&self) -> Option<f64> {
        let [_, y] = self.lines.first()?.points.last()?;
        Some((self.bottom - y) / (self.bottom - self.top))
    }
}

impl Line {
    /// Whether it is drawn only where there is something.
    fn is_failures(&self) -> bool {
        ["failed", "errors"].contains(&self.name.as_str())
    }
}

/// The number in a text, in milliseconds if it is a duration; none if nothing is known.
fn number(text: &str) -> Option<f64> {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let number: f64 = number.replace(',', "").parse().ok()?;
    Some(if unit == "s" {
        number * 1_000.0
    } else {
        number
    })
}
