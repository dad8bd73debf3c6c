//! How a typed key, or a borrowed form of it, writes its text.

use std::sync::Arc;

use super::KeyBuf;

/// A key of type `K`, or a borrowed form of one, that can write its text.
///
/// A cache with keys of type `K` is asked with anything that implements `KeyFor<K>`: `&42` for
/// `u64`, `"bob"` for `String`, `&(1, "a")` for `(u64, String)`. Forms of equal keys must write
/// equal texts, and different keys different ones. A key type of your own takes one line,
/// [`cache_key!`](crate::cache_key).
pub trait KeyFor<K: ?Sized>: Sync {
    /// Writes the text of this key.
    fn write_key(&self, buf: &mut KeyBuf);
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl KeyFor<$integer> for $integer {
            #[inline]
            fn write_key(&self, buf: &mut KeyBuf) {
                buf.push_integer(*self);
            }
        }
    )*};
}

integers!(
    u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize
);

impl KeyFor<Self> for str {
    fn write_key(&self, buf: &mut KeyBuf) {
        buf.push_str(self);
    }
}

impl KeyFor<String> for str {
    fn write_key(&self, buf: &mut KeyBuf) {
        buf.push_str(self);
    }
}

impl KeyFor<Self> for String {
    fn write_key(&self, buf: &mut KeyBuf) {
        buf.push_str(self);
    }
}

#[cfg(feature = "uuid")]
impl KeyFor<Self> for uuid::Uuid {
    fn write_key(&self, buf: &mut KeyBuf) {
        let mut text = Self::encode_buffer();
        buf.push_str(self.hyphenated().encode_lower(&mut text));
    }
}

impl<K: ?Sized, Q: KeyFor<K> + ?Sized> KeyFor<K> for &Q {
    fn write_key(&self, buf: &mut KeyBuf) {
        (**self).write_key(buf);
    }
}

impl<K: ?Sized, Q: KeyFor<K> + Send + ?Sized> KeyFor<K> for Arc<Q> {
    fn write_key(&self, buf: &mut KeyBuf) {
        (**self).write_key(buf);
    }
}

macro_rules! tuples {
    ($(($($key:ident $form:ident $index:tt),+))*) => {$(
        impl<$($key, $form: KeyFor<$key>),+> KeyFor<($($key,)+)> for ($($form,)+) {
            fn write_key(&self, buf: &mut KeyBuf) {
                $(
                    if $index > 0 {
                        buf.push_str(":");
                    }
                    buf.push_part(|buf| self.$index.write_key(buf));
                )+
            }
        }
    )*};
}

tuples! {
    (K0 Q0 0, K1 Q1 1)
    (K0 Q0 0, K1 Q1 1, K2 Q2 2)
    (K0 Q0 0, K1 Q1 1, K2 Q2 2, K3 Q3 3)
}

/// Makes a type of your own usable as a key, written as its [`Display`](std::fmt::Display)
/// text.
///
/// # Examples
///
/// ```
/// # #![allow(missing_docs)]
/// use cache_core::cache_key;
///
/// struct UserId(u64);
///
/// impl std::fmt::Display for UserId {
///     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
///         self.0.fmt(f)
///     }
/// }
///
/// cache_key!(UserId);
///
/// let mut buf = cache_core::KeyBuf::new("user:", 512);
/// cache_core::KeyFor::<UserId>::write_key(&UserId(42), &mut buf);
/// assert_eq!(buf.text(), Some(b"user:42".as_slice()));
/// ```
#[macro_export]
macro_rules! cache_key {
    ($($key:ty),+ $(,)?) => {$(
        impl $crate::KeyFor<$key> for $key {
            fn write_key(&self, buf: &mut $crate::KeyBuf) {
                buf.push_display(self);
            }
        }
    )+};
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text<K: ?Sized>(key: &(impl KeyFor<K> + ?Sized)) -> String {
        let mut buf = KeyBuf::new("", 1 << 16);
        key.write_key(&mut buf);
        String::from_utf8(buf.text().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn one_integer_or_string_is_written_plainly() {
        assert_eq!(text::<u64>(&42_u64), "42");
        assert_eq!(text::<i128>(&i128::MIN), i128::MIN.to_string());
        assert_eq!(text::<String>("a:b%"), "a:b%");
        assert_eq!(text::<String>(&Arc::<str>::from("bob")), "bob");
        assert_eq!(text::<(u64, String)>(&(1_u64, "a")), "1:a");
    }

    #[test]
    fn parts_of_a_tuple_can_be_told_apart() {
        assert_ne!(
            text::<(String, String)>(&("a:b", "c")),
            text::<(String, String)>(&("a", "b:c"))
        );
        assert_ne!(
            text::<((String, String), String)>(&(("a", "b:c"), "d")),
            text::<((String, String), String)>(&(("a:b", "c"), "d"))
        );
    }

    proptest! {
        #[test]
        fn key_texts_are_injective(
            left in ("[a:%3A25]{0,4}", "[a:%3A25]{0,4}", "[a:%3A25]{0,4}"),
            right in ("[a:%3A25]{0,4}", "[a:%3A25]{0,4}", "[a:%3A25]{0,4}"),
        ) {
            let flat = |k: &(String, String, String)| text::<(String, String, String)>(k);
            prop_assert_eq!(left == right, flat(&left) == flat(&right));

            let nested = |(a, b, c): &(String, String, String)| {
                text::<(String, (String, String))>(&(a, (b, c)))
            };
            prop_assert_eq!(left == right, nested(&left) == nested(&right));
        }

        #[test]
        fn borrowed_forms_write_the_same_text(a: u64, b in ".{0,12}") {
            prop_assert_eq!(
                text::<(u64, String)>(&(a, b.as_str())),
                text::<(u64, String)>(&(&a, b))
            );
        }
    }

    #[cfg(feature = "uuid")]
    #[test]
    fn a_uuid_is_written_hyphenated() {
        assert_eq!(
            text::<uuid::Uuid>(&uuid::Uuid::from_u128(1)),
            "00000000-0000-0000-0000-000000000001"
        );
    }
}
