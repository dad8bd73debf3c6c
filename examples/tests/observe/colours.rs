//! The colours of all texts, and whether they can be read.

use serde::Deserialize;

use crate::page::Form;

/// Reads the colours off the page: each text's and the one behind it.
pub(crate) const SCRIPT: &str = r#"
(() => {
  const parse = (colour) => {
    const [red, green, blue, alpha = 1] = colour.match(/[\d.]+/g).map(Number);
    return [red, green, blue, alpha];
  };
  // What is seen through something that is not opaque is mixed into it.
  const behind = (element) => {
    const [red, green, blue, alpha] = parse(getComputedStyle(element).backgroundColor);
    if (alpha === 1 || !element.parentElement) return [red, green, blue];
    const below = behind(element.parentElement);
    return [red, green, blue].map((part, place) => part * alpha + below[place] * (1 - alpha));
  };
  const texts = [...document.querySelectorAll("body *")].filter((element) =>
    element.getClientRects().length && getComputedStyle(element).visibility === "visible"
      && [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()));
  return {
    page: behind(document.body),
    ink: parse(getComputedStyle(document.body).color).slice(0, 3),
    texts: texts.map((element) => {
      const style = getComputedStyle(element);
      return {
        text: element.textContent.trim().slice(0, 30),
        ink: parse(element instanceof SVGElement ? style.fill : style.color).slice(0, 3),
        behind: behind(element),
        size: parseFloat(style.fontSize),
      };
    }),
  };
})()
"#;

#[derive(Debug, Deserialize)]
pub(crate) struct Colours {
    pub(crate) page: [f64; 3],
    pub(crate) ink: [f64; 3],
    texts: Vec<Text>,
}

#[derive(Debug, Deserialize)]
struct Text {
    text: String,
    ink: [f64; 3],
    behind: [f64; 3],
    size: f64,
}

impl Colours {
    /// Asserts that each text stands out as WCAG 2 asks for (AA), and is no smaller than 13 px.
    pub(crate) fn are_legible(&self, form: Form) {
        assert!(self.texts.len() > 50, "{} texts", self.texts.len());
        for text in &self.texts {
            let Text {
                text,
                ink,
                behind,
                size,
            } = text;
            let contrast = contrast(*ink, *behind);
            assert!(
                contrast >= 4.5,
                "{form:?}: {text:?} is {ink:?} on {behind:?}, a contrast of {contrast:.2}"
            );
            assert!(*size >= 13.0, "{form:?}: {text:?} has {size} px");
        }
    }
}

/// From 1, for the same, to 21, for black on white.
fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

fn luminance(colour: [f64; 3]) -> f64 {
    let [red, green, blue] = colour.map(|part| {
        let part = part / 255.0;
        if part <= 0.04045 {
            part / 12.92
        } else {
            ((part + 0.055) / 1.055).powf(2.4)
        }
    });
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

#[test]
fn contrasts_are_those_of_the_standard() {
    let (black, white) = ([0.0; 3], [255.0; 3]);
    assert!((contrast(black, white) - 21.0).abs() < 0.01);
    assert!((contrast(white, white) - 1.0).abs() < 0.01);
    // The grey that is just dark enough on white.
    assert!((contrast([118.0; 3], white) - 4.54).abs() < 0.01);
}
