//! Tokens: the native count, and the same as OpenAI's `usage`.

use crate::wire::members::Members;

use super::json::Object;

/// Members that OpenAI's form says in its own words.
const RENAMED: [&str; 10] = [
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "image_tokens",
    "audio_tokens",
    "video_tokens",
    "input_tokens_details",
    "prompt_tokens_details",
    "output_tokens_details",
    "completion_tokens_details",
];

/// What a call used so far, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NativeUsage {
    /// All that went in, cached ones too.
    pub input: u64,
    /// Of these, the ones that the provider had cached.
    pub cached: u64,
    /// All that came out, thoughts too.
    pub output: u64,
    /// Of these, the thoughts.
    pub reasoning: u64,
}

impl NativeUsage {
    /// Reads the value of a native `usage`; `None` where nothing is counted.
    #[must_use]
    pub fn read(json: &str) -> Option<Self> {
        let usage = Members::read(json)?;
        let detail = |objects: [&str; 2], name: &str| {
            let numbers = objects.into_iter().filter_map(|object| Members::read(usage.last(object)?)?.number(name));
            numbers.max().unwrap_or(0)
        };
        let (input, output) = (usage.number("input_tokens"), usage.number("output_tokens"));
        if input.is_none() && output.is_none() {
            return None;
        }
        Some(Self {
            input: input.unwrap_or(0),
            cached: detail(["prompt_tokens_details", "input_tokens_details"], "cached_tokens"),
            output: output.unwrap_or(0),
            reasoning: detail(["output_tokens_details", "completion_tokens_details"], "reasoning_tokens"),
        })
    }
}

/// A native `usage` as OpenAI's, as JSON text; `None` where nothing is counted.
#[must_use]
pub fn translate(json: &str) -> Option<String> {
    let counted = NativeUsage::read(json)?;
    let native = Members::read(json)?;
    let total = native.number("total_tokens").unwrap_or_else(|| counted.input.saturating_add(counted.output));
    let mut usage = Object::default();
    usage.raw("prompt_tokens", &counted.input.to_string());
    usage.raw("completion_tokens", &counted.output.to_string());
    usage.raw("total_tokens", &total.to_string());
    let mut heard = Object::default();
    heard.raw("cached_tokens", &counted.cached.to_string());
    let mut said = vec!["cached_tokens".to_owned()];
    details(&native, ["prompt_tokens_details", "input_tokens_details"], &mut heard, &mut said);
    for name in ["image_tokens", "audio_tokens", "video_tokens"] {
        let count = native.last(name).filter(|_| !said.iter().any(|known| known == name));
        if let Some(count) = count {
            heard.raw(name, count);
        }
    }
    usage.raw("prompt_tokens_details", &heard.finish());
    let mut spoken = Object::default();
    spoken.raw("reasoning_tokens", &counted.reasoning.to_string());
    let mut said = vec!["reasoning_tokens".to_owned()];
    details(&native, ["output_tokens_details", "completion_tokens_details"], &mut spoken, &mut said);
    usage.raw("completion_tokens_details", &spoken.finish());
    let mut kept = vec!["prompt_tokens".to_owned(), "completion_tokens".to_owned()];
    kept.extend(RENAMED.map(String::from));
    copy(&native, &mut usage, &mut kept);
    Some(usage.finish())
}

/// Copies the members of both objects, one of each name.
fn details(native: &Members<'_>, objects: [&str; 2], to: &mut Object, said: &mut Vec<String>) {
    for members in objects.into_iter().filter_map(|name| native.last(name).and_then(Members::read)) {
        copy(&members, to, said);
    }
}

/// Copies the members whose names weren't said yet.
fn copy(members: &Members<'_>, to: &mut Object, said: &mut Vec<String>) {
    for (name, value) in members.entries().filter(|(_, value)| *value != "null") {
        if !said.iter().any(|known| known == name) {
            said.push(name.to_owned());
            to.raw(name, value);
        }
    }
}
