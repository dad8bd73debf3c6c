//! How long a value would be, without keeping its bytes.

use std::io;

use super::Codec;
use crate::BoxError;

/// The length of `value` as `codec` would write it.
pub(crate) fn encoded_len<V>(codec: &impl Codec<V>, value: &V) -> Result<usize, BoxError> {
    let mut counter = Counter(0);
    codec.encode(value, &mut counter)?;
    Ok(counter.0)
}

struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
