//! The tool calls of one choice in a stream: said whole once, then by their arguments alone.

use crate::wire::members::{Members, string};

use super::about::About;
use super::json::Object;

/// The calls so far, in the order in which they came up; their places are OpenAI's indexes.
#[derive(Debug, Default)]
pub struct Calls(Vec<Call>);

#[derive(Debug, Default)]
struct Call {
    /// The provider's index, where it says one.
    index: Option<u64>,
    id: Option<String>,
    kind: Option<String>,
    name: Option<String>,
    /// All arguments so far.
    arguments: String,
    /// How many bytes of them were passed on; `None` until the call was opened.
    passed: Option<usize>,
}

impl Calls {
    /// Takes a frame's `tool_calls`, as JSON texts, and gives the deltas that they make.
    pub fn add(&mut self, frame: &[&str], choice: u64, about: &About) -> Vec<String> {
        let mut deltas = Vec::new();
        for (beside, members) in frame.iter().filter_map(|json| Members::read(json)).enumerate() {
            let at = self.place(&members, if frame.len() > 1 { Some(beside) } else { None });
            let Some(call) = self.0.get_mut(at) else { continue };
            call.hear(&members);
            if call.name.is_some() {
                deltas.extend(call.delta(at, choice, about));
            }
        }
        deltas
    }

    /// The deltas of calls that were held back for a name that never came.
    pub fn finish(&mut self, choice: u64, about: &About) -> Vec<String> {
        let calls = self.0.iter_mut().enumerate();
        calls.filter(|(_, call)| call.passed.is_none()).filter_map(|(at, call)| call.delta(at, choice, about)).collect()
    }

    /// Where a frame's call belongs: by its index, else by its id, else by its place `beside` others in the frame; one
    /// with none of these goes on with the last.
    fn place(&mut self, members: &Members<'_>, beside: Option<usize>) -> usize {
        let (index, id) = (members.number("index"), text(members, "id"));
        let known = match (index, &id) {
            (Some(_), _) => self.0.iter().position(|call| call.index == index),
            (None, Some(_)) => self.0.iter().position(|call| call.id == id),
            (None, None) => beside.or(self.0.len().checked_sub(1)).filter(|at| *at < self.0.len()),
        };
        known.unwrap_or_else(|| {
            self.0.push(Call { index, ..Call::default() });
            self.0.len() - 1
        })
    }
}

impl Call {
    /// Recorded frames name a call once, and go on with `"id":""` and without a name; one that names it again brings
    /// all its arguments again, if it begins with them.
    fn hear(&mut self, members: &Members<'_>) {
        let function = members.last("function").and_then(Members::read);
        let name = function.as_ref().and_then(|function| text(function, "name"));
        let arguments = function.as_ref().and_then(|function| function.last("arguments")).unwrap_or(r#""""#);
        let arguments = string(arguments).unwrap_or(arguments.into());
        let again = name.is_some() && self.name.is_some();
        match arguments.strip_prefix(self.arguments.as_str()).filter(|_| again) {
            Some(rest) => self.arguments.push_str(rest),
            None => self.arguments.push_str(&arguments),
        }
        self.name = self.name.take().or(name);
        self.id = self.id.take().or_else(|| text(members, "id"));
        self.kind = self.kind.take().or_else(|| text(members, "type"));
    }

    /// What wasn't passed on yet.
    fn delta(&mut self, at: usize, choice: u64, about: &About) -> Option<String> {
        let new = self.arguments.get(self.passed.unwrap_or(0)..).unwrap_or_default();
        if self.passed.is_some() && new.is_empty() {
            return None;
        }
        let (mut delta, mut function) = (Object::default(), Object::default());
        delta.raw("index", &at.to_string());
        if self.passed.is_none() {
            let id = self.id.get_or_insert_with(|| about.call_id(choice, at));
            delta.text("id", id);
            delta.text("type", self.kind.as_deref().unwrap_or("function"));
            function.text("name", self.name.as_deref().unwrap_or_default());
        }
        function.text("arguments", new);
        delta.raw("function", &function.finish());
        self.passed = Some(self.arguments.len());
        Some(delta.finish())
    }
}

/// A member that is a string and not empty.
fn text(members: &Members<'_>, name: &str) -> Option<String> {
    members.last(name).and_then(string).filter(|text| !text.is_empty()).map(String::from)
}
