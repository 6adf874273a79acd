//! JSON written by the member: what isn't ours to change keeps its text, `0.10` and long integers too.

use serde_json::Value;
use serde_json::value::RawValue;

/// An object being written; members keep their order.
#[derive(Debug, Default)]
pub struct Object(String);

impl Object {
    /// Adds a member whose value is JSON text already.
    pub fn raw(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&quoted(name));
        self.0.push(':');
        self.0.push_str(value);
    }

    /// Adds a string.
    pub fn text(&mut self, name: &str, value: &str) {
        self.raw(name, &quoted(value));
    }

    /// The object as JSON text.
    #[must_use]
    pub fn finish(mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0.push('}');
        self.0
    }
}

/// A string as JSON text.
#[must_use]
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A list of JSON texts as JSON text.
#[must_use]
pub fn array(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

/// The items of a list as JSON texts; `None` for anything else.
#[must_use]
pub fn list(json: &str) -> Option<Vec<&str>> {
    let items: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    Some(items.into_iter().map(RawValue::get).collect())
}
