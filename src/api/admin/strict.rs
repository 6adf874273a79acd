//! JSON as the store can keep it: no member named twice, no NUL in a text. What is refused is named.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::Error;

/// Reads a body.
///
/// # Errors
/// `InvalidRequest`, naming the member at fault where there is one.
pub fn read(body: &[u8]) -> Result<Value, Error> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let invalid = |error: &serde_json::Error| Error::request(format!("the body is not valid JSON: {error}"));
    let Strict(value) = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, inner) = (error.path().to_string(), error.inner());
        match inner.classify() {
            // A name with a NUL is escaped, as it was sent.
            serde_json::error::Category::Data => {
                let path = path.replace('\0', "\\u0000");
                Error::field(&path, format!("{path} {inner}"))
            }
            _ => invalid(inner),
        }
    })?;
    json.end().map_err(|error| invalid(&error))?;
    Ok(value)
}

/// A value in which nothing is doubtful.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        if text.contains('\0') { Err(E::custom(NUL)) } else { Ok(text.into()) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(all.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            // Refused where its value is read, so that the path names it.
            if name.contains('\0') {
                members.next_value_seed(Refused(NUL))?;
            }
            if all.contains_key(&name) {
                members.next_value_seed(Refused("is given twice"))?;
            }
            let Strict(member) = members.next_value()?;
            all.insert(name, member);
        }
        Ok(all.into())
    }
}

const NUL: &str = "holds a NUL character; leave it out";

/// Reads no value: says why instead.
struct Refused(&'static str);

impl<'de> DeserializeSeed<'de> for Refused {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, _: D) -> Result<(), D::Error> {
        Err(D::Error::custom(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_doubtful_is_named() {
        for (body, param) in [
            (r#"{"label":"a\u0000"}"#, "label"),
            (r#"{"models":["a","\u0000"]}"#, "models[1]"),
            (r#"{"metadata":{"deep":[{"x":"\u0000"}]}}"#, "metadata.deep[0].x"),
            (r#"{"metadata":{"a\u0000b":1}}"#, "metadata.a\\u0000b"),
            (r#"{"label":"a","label":"a"}"#, "label"),
            (r#"{"budgets":[{"unit":"tokens","unit":"tokens"}]}"#, "budgets[0].unit"),
        ] {
            assert_eq!(read(body.as_bytes()).unwrap_err().param(), Some(param), "{body}");
        }
        for body in ["", "{", "{} x", "[1,]", "\u{feff}{}", r#"{"a":"\ud800"}"#, r#"{"a":1e999}"#] {
            let error = read(body.as_bytes()).unwrap_err();
            assert!(error.param().is_none() && error.to_string().contains("not valid JSON"), "{body}: {error}");
        }
        assert!(read("[".repeat(100_000).as_bytes()).is_err(), "no depth of the stack");
    }

    #[test]
    fn all_else_is_read_as_it_is() {
        let value =
            json!({"a": [null, true, -1, 18_446_744_073_709_551_615_u64, 0.5, "\\u0000 \"x\""], "b": {"a": {}}});
        assert_eq!(read(value.to_string().as_bytes()).unwrap(), value);
    }
}
