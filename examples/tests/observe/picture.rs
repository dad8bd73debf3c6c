//! A picture of the page, and whether there is anything on it.

use std::{collections::HashMap, fs, io::Cursor};

use crate::{page::Form, program};

/// Its pixels, in red, green and blue.
#[derive(Debug)]
pub(crate) struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 3]>,
    /// Where its first plot is: left, top, width, height.
    plot: [usize; 4],
}

impl Picture {
    /// Saves and reads a picture, which comes in base64.
    pub(crate) fn keep(name: &str, base64: &str, plot: &[f64; 4]) -> Self {
        let file = decode(base64);
        let folder = program::target().join("screenshots");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.png")), &file).unwrap();

        let mut reader = png::Decoder::new(Cursor::new(file)).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        let samples = info.color_type.samples();
        assert_eq!(info.bit_depth, png::BitDepth::Eight);
        assert!(samples >= 3, "{:?}", info.color_type);
        let pixels = bytes[..info.buffer_size()].chunks_exact(samples);
        Self {
            width: usize::try_from(info.width).unwrap(),
            height: usize::try_from(info.height).unwrap(),
            pixels: pixels.map(|it| [it[0], it[1], it[2]]).collect(),
            plot: plot.map(whole),
        }
    }

    /// Asserts that it is no empty sheet, and that its first plot is none.
    pub(crate) fn shows_something(&self, form: Form) {
        assert_eq!(self.pixels.len(), self.width * self.height);
        let colours = count(&self.pixels);
        assert!(colours.len() > 50, "{form:?}: {} colours", colours.len());

        let [left, top, width, height] = self.plot;
        let plot: Vec<_> = (top..top + height)
            .flat_map(|y| self.pixels[y * self.width + left..][..width].to_vec())
            .collect();
        let colours = count(&plot);
        let most = colours.values().max().copied().unwrap_or_default();
        let drawn = plot.len() - most;
        assert!(
            drawn * 20 > plot.len() && colours.len() > 20,
            "{form:?}: {drawn} of {} pixels of a plot in {} colours",
            plot.len(),
            colours.len()
        );
    }
}

fn count(pixels: &[[u8; 3]]) -> HashMap<[u8; 3], usize> {
    let mut counts = HashMap::new();
    for pixel in pixels {
        *counts.entry(*pixel).or_default() += 1;
    }
    counts
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place on a picture"
)]
fn whole(place: f64) -> usize {
    place.max(0.0) as usize
}

fn decode(base64: &str) -> Vec<u8> {
    let digits = base64.bytes().take_while(|byte| *byte != b'=');
    let mut bytes = Vec::with_capacity(base64.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0);
    for digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            other => panic!("{other} is no digit of base64"),
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).unwrap());
        }
    }
    bytes
}

#[test]
fn base64_is_decoded() {
    assert_eq!(decode("TWFu"), b"Man");
    assert_eq!(decode("TWE="), b"Ma");
    assert_eq!(decode("TQ=="), b"M");
    assert_eq!(decode("/+8="), [0xff, 0xef]);
}
