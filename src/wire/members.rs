//! A JSON object as its sender wrote it: every member in order, repeated ones too.
//!
//! Parsers disagree about which of two equal names counts, so whoever bills must see both.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of one object; values unread.
pub struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Reads the outermost object; `None` for anything else.
    #[must_use]
    pub fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Every member in order: its name, and its value as JSON text.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.get()))
    }

    /// The value that counts where the last of equal names does, as JSON text; `None` for `null` too.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&'a str> {
        self.all(name).last().filter(|value| *value != "null")
    }

    /// A name that is there more than once.
    #[must_use]
    pub fn repeated(&self) -> Option<&str> {
        let mut seen = HashSet::with_capacity(self.0.len());
        self.entries().map(|(name, _)| name).find(|name| !seen.insert(*name))
    }

    /// Every value under `name`, as JSON text.
    pub fn all<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'a str> + 'b {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.get())
    }

    /// The object with `json` as its only value under `name`, and all others as they were written.
    #[must_use]
    pub fn with(&self, name: &str, json: &str) -> String {
        let mut written = String::from("{");
        let mut add = |key: &str, value: &str| {
            if written.len() > 1 {
                written.push(',');
            }
            // A string is always valid JSON.
            written.push_str(&serde_json::Value::from(key).to_string());
            written.push(':');
            written.push_str(value);
        };
        let mut done = false;
        for (key, value) in &self.0 {
            if key == name {
                if !std::mem::replace(&mut done, true) {
                    add(key, json);
                }
            } else {
                add(key, value.get());
            }
        }
        if !done {
            add(name, json);
        }
        written.push('}');
        written
    }

    /// Every value under `name` that is a string.
    pub fn strings<'b>(&'b self, name: &'b str) -> impl Iterator<Item = Cow<'a, str>> + 'b {
        self.all(name).filter_map(string)
    }

    /// Every value under `name` that is an object.
    pub fn objects<'b>(&'b self, name: &'b str) -> impl Iterator<Item = Members<'a>> + 'b {
        self.all(name).filter_map(Members::read)
    }

    /// The last number under `name`.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.numbers(name).last()
    }

    /// Every value under `name` that is a number, `8e3` and `8000.0` too; a fraction is rounded up.
    pub fn numbers<'b>(&'b self, name: &'b str) -> impl Iterator<Item = u64> + 'b {
        let rounded =
            |value: &str| value.parse().ok().filter(|number| *number >= 0.0).map(|number: f64| number.ceil() as u64);
        self.all(name).filter_map(move |value| value.parse().ok().or_else(|| rounded(value)))
    }
}

/// A JSON string's content; `None` for anything else.
#[must_use]
pub fn string(json: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(json).ok().map(|text| text.0)
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                #[derive(Deserialize)]
                struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
                let mut members = Vec::new();
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    members.push((key, value));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Reader).map(Members)
    }
}
