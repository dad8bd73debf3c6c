//! A look through a value for floats that JSON cannot say.

use std::fmt;

use serde::ser::{self, Serialize, Serializer};

/// Serialises to nothing, and fails at a float that is NaN or infinite.
#[derive(Clone, Copy)]
pub(super) struct Finite;

/// Why a value cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwritable {
    #[error("the value has a number that is infinite, or none at all")]
    NotFinite,
    /// What the value itself says.
    #[error("{0}")]
    Refused(String),
}

impl ser::Error for Unwritable {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::Refused(text.to_string())
    }
}

type Answer<T = ()> = Result<T, Unwritable>;

const fn finite(is_finite: bool) -> Answer {
    if is_finite {
        Ok(())
    } else {
        Err(Unwritable::NotFinite)
    }
}

macro_rules! are_fine {
    ($($method:ident($($argument:ty),*);)*) => {$(
        fn $method(self, $(_: $argument),*) -> Answer {
            Ok(())
        }
    )*};
}

macro_rules! are_looked_through {
    ($($method:ident($($argument:ty),*) -> $compound:ident;)*) => {$(
        type $compound = Self;

        fn $method(self, $(_: $argument),*) -> Answer<Self> {
            Ok(self)
        }
    )*};
}

impl Serializer for Finite {
    type Ok = ();
    type Error = Unwritable;

    fn serialize_f32(self, value: f32) -> Answer {
        finite(value.is_finite())
    }

    fn serialize_f64(self, value: f64) -> Answer {
        finite(value.is_finite())
    }

    are_fine! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Answer {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Answer {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Answer {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Answer {
        value.serialize(self)
    }

    are_looked_through! {
        serialize_seq(Option<usize>) -> SerializeSeq;
        serialize_tuple(usize) -> SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> SerializeTupleVariant;
        serialize_map(Option<usize>) -> SerializeMap;
        serialize_struct(&'static str, usize) -> SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> SerializeStructVariant;
    }
}

macro_rules! compounds {
    ($($compound:ident: $($method:ident($($name:ty)?)),+;)*) => {$(
        impl ser::$compound for Finite {
            type Ok = ();
            type Error = Unwritable;

            $(
                fn $method<T: Serialize + ?Sized>(&mut self, $(_: $name,)? value: &T) -> Answer {
                    value.serialize(*self)
                }
            )+

            fn end(self) -> Answer {
                Ok(())
            }
        }
    )*};
}

compounds! {
    SerializeSeq: serialize_element();
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    SerializeTupleVariant: serialize_field();
    SerializeMap: serialize_key(), serialize_value();
    SerializeStruct: serialize_field(&'static str);
    SerializeStructVariant: serialize_field(&'static str);
}
