//! Requests, cut out of what a client sends.

/// One request of a client: an array of bulk strings, in RESP2 and RESP3 alike.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    bytes: Vec<u8>,
    words: Vec<Vec<u8>>,
}

impl Request {
    /// Returns whether this is the command of that name, such as `EVALSHA`, in whatever case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.words
            .first()
            .is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// Returns whether `part` occurs within one of the words, the name included.
    #[must_use]
    pub fn mentions(&self, part: impl AsRef<[u8]>) -> bool {
        let part = part.as_ref();
        let within = |word: &Vec<u8>| word.windows(part.len()).any(|window| window == part);
        part.is_empty() || self.words.iter().any(within)
    }

    /// Returns the name and the arguments.
    #[must_use]
    pub fn words(&self) -> &[Vec<u8>] {
        &self.words
    }

    /// Returns the request as it was sent.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What comes out of a [`Splitter`].
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Piece {
    Request(Request),
    /// Something else, such as TLS. The rest of the connection is passed on as it comes.
    Opaque(Vec<u8>),
}

/// Collects what a client sends, and gives it out in requests.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    buffer: Vec<u8>,
    opaque: bool,
}

impl Splitter {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next piece that is whole.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        if !self.opaque {
            match request(&self.buffer) {
                Scan::Whole(words, length) => {
                    let bytes = self.buffer.drain(..length).collect();
                    return Some(Piece::Request(Request { bytes, words }));
                }
                Scan::Part => return None,
                Scan::Alien => self.opaque = true,
            }
        }
        if self.buffer.is_empty() {
            return None;
        }
        Some(Piece::Opaque(std::mem::take(&mut self.buffer)))
    }
}

enum Scan {
    Whole(Vec<Vec<u8>>, usize),
    Part,
    Alien,
}

/// Reads one request at the beginning of `buffer`.
fn request(buffer: &[u8]) -> Scan {
    let (count, mut at) = match number(buffer, 0, b'*') {
        Line::Number(count, at) => (count, at),
        Line::Part => return Scan::Part,
        Line::Alien => return Scan::Alien,
    };
    let mut words = Vec::new();
    for _ in 0..count {
        let (length, begin) = match number(buffer, at, b'$') {
            Line::Number(length, begin) => (length, begin),
            Line::Part => return Scan::Part,
            Line::Alien => return Scan::Alien,
        };
        let end = begin.saturating_add(length);
        let Some(word) = buffer.get(begin..end) else {
            return Scan::Part;
        };
        at = end.saturating_add(2);
        if buffer.len() < at {
            return Scan::Part;
        }
        words.push(word.to_vec());
    }
    Scan::Whole(words, at)
}

enum Line {
    Number(usize, usize),
    Part,
    Alien,
}

/// Reads a line such as `*3\r\n` at `at`: the number, and where the next line begins.
fn number(buffer: &[u8], at: usize, sign: u8) -> Line {
    let Some(rest) = buffer.get(at..).filter(|rest| !rest.is_empty()) else {
        return Line::Part;
    };
    if rest[0] != sign {
        return Line::Alien;
    }
    let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
        // No number is as long as this.
        return if rest.len() > 24 {
            Line::Alien
        } else {
            Line::Part
        };
    };
    match std::str::from_utf8(&rest[1..end]).map(str::parse) {
        Ok(Ok(number)) => Line::Number(number, at + end + 2),
        Ok(Err(_)) | Err(_) => Line::Alien,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$5\r\nk\r\n:1\r\n";

    fn all(splitter: &mut Splitter) -> Vec<Piece> {
        std::iter::from_fn(|| splitter.next()).collect()
    }

    #[test]
    fn requests_come_out_whole_wherever_the_bytes_are_cut() {
        let stream = [GET, b"*0\r\n", GET].concat();
        for cut in 0..=stream.len() {
            let mut splitter = Splitter::default();
            splitter.push(&stream[..cut]);
            let mut pieces = all(&mut splitter);
            splitter.push(&stream[cut..]);
            pieces.extend(all(&mut splitter));
            let lengths: Vec<_> = pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Request(request) => request.bytes().len(),
                    Piece::Opaque(_) => 0,
                })
                .collect();
            assert_eq!(lengths, [GET.len(), 4, GET.len()], "cut at {cut}");
        }
    }

    #[test]
    fn a_request_tells_its_name_and_what_it_mentions() {
        let mut splitter = Splitter::default();
        splitter.push(GET);
        let Some(Piece::Request(request)) = splitter.next() else {
            panic!("no request");
        };
        assert!(request.is("get") && !request.is("GE"));
        assert_eq!(request.words(), [b"GET".to_vec(), b"k\r\n:1".to_vec()]);
        assert!(request.mentions("\n:") && request.mentions("GET") && request.mentions(""));
        assert!(!request.mentions("GETk") && !request.mentions("x"));
        assert_eq!(request.bytes(), GET);
    }

    #[test]
    fn what_is_no_request_is_passed_on_from_there_on() {
        for alien in [
            &b"PING\r\n"[..],
            b"\x16\x03\x01",
            b"*x\r\n",
            b"*1\r\nPING",
            b"*-1\r\n",
            b"*1111111111111111111111111",
        ] {
            let mut splitter = Splitter::default();
            splitter.push(alien);
            assert_eq!(all(&mut splitter), [Piece::Opaque(alien.to_vec())]);
            splitter.push(GET);
            assert_eq!(all(&mut splitter), [Piece::Opaque(GET.to_vec())]);
        }
    }
}
