//! What a request asks for, whichever API it came by: its words counted, its last wish, its tools.

use serde_json::Value;

use super::calls::Usage;

/// Tokens of each request besides its words.
pub const OVERHEAD: u64 = 8;
/// Tokens of a picture or a film.
pub const PICTURE: u64 = 100;
/// Tokens of a piece of sound.
pub const SOUND: u64 = 50;

/// A request, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompt {
    /// What reading it costs: a token a word, and the constants of this file.
    pub usage: Usage,
    /// The text of the last message by the user.
    pub wish: String,
    /// Whether that message is the last one of all.
    pub fresh: bool,
    /// The names of the tools that may be called.
    pub tools: Vec<String>,
    /// The most words of thought; `None`: no thoughts.
    pub thought: Option<u64>,
    /// The most words of text; `None`: as many as there are.
    pub most: Option<u64>,
}

impl Prompt {
    /// A request without messages yet.
    #[must_use]
    pub fn new() -> Self {
        Self { usage: Usage { prompt: OVERHEAD, ..Usage::default() }, ..Self::default() }
    }

    /// Reads a list of messages.
    ///
    /// # Errors
    /// What is wrong with them, in the provider's words.
    pub fn messages(&mut self, messages: Option<&Value>) -> Result<(), String> {
        let Some(messages) = messages.filter(|messages| !messages.is_null()) else {
            return Err("Required parameter \"messages\" missing from request.".to_owned());
        };
        let messages = messages.as_array().filter(|messages| !messages.is_empty());
        let Some(messages) = messages else {
            return Err("Input should be a non-empty list: messages".to_owned());
        };
        for message in messages {
            let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
            let known = matches!(role, "system" | "developer" | "user" | "assistant" | "tool" | "function");
            let content = message.get("content").unwrap_or(&Value::Null);
            // A message that calls tools needs no words.
            let spoken = content.is_string()
                || content.is_array()
                || content.is_null() && role == "assistant" && message.get("tool_calls").is_some();
            if !known || !spoken {
                return Err("Role must be user or assistant and Content length must be greater than 0".to_owned());
            }
            self.message(role == "user", content);
        }
        Ok(())
    }

    /// Reads a message's content.
    pub fn message(&mut self, by_user: bool, content: &Value) {
        let mut text = String::new();
        self.content(content, false, &mut text);
        let results = |part: &Value| part.get("type").is_some_and(|kind| kind == "tool_result");
        self.fresh = by_user && !content.as_array().is_some_and(|parts| parts.iter().any(results));
        if self.fresh {
            self.wish = text;
        }
    }

    /// Counts a text that nobody said: instructions, a system's prompt.
    pub fn aside(&mut self, content: &Value) {
        self.content(content, false, &mut String::new());
    }

    /// Reads which tools may be called, in any API's words.
    pub fn tools(&mut self, tools: Option<&Value>, choice: Option<&Value>) {
        let choice = choice.and_then(|choice| choice.get("type").unwrap_or(choice).as_str());
        if choice == Some("none") {
            return;
        }
        let name = |tool: &Value| {
            let name = tool.pointer("/function/name").or_else(|| tool.get("name"))?;
            name.as_str().filter(|name| !name.is_empty()).map(str::to_owned)
        };
        self.tools = tools.and_then(Value::as_array).into_iter().flatten().filter_map(name).collect();
    }

    /// The tools to be called: those that the last message names, when the user said it.
    pub fn called(&self) -> impl Iterator<Item = &str> {
        let named = self.tools.iter().filter(|name| self.fresh && self.wish.contains(name.as_str()));
        named.map(String::as_str)
    }

    fn content(&mut self, content: &Value, cached: bool, text: &mut String) {
        match content {
            Value::String(said) => {
                let words = u64::try_from(said.split_whitespace().count()).unwrap_or(0);
                self.usage.prompt += words;
                self.usage.cached += if cached { words } else { 0 };
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(said);
            }
            Value::Array(parts) => parts.iter().for_each(|part| self.content(part, cached, text)),
            Value::Object(part) => {
                let cached = cached || part.get("cache_control").is_some_and(Value::is_object);
                let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
                let says = |word: &str| kind.contains(word) || kind.is_empty() && part.contains_key(word);
                if says("image") || says("video") {
                    self.usage.prompt += PICTURE;
                    self.usage.image += PICTURE;
                } else if says("audio") {
                    self.usage.prompt += SOUND;
                    self.usage.audio += SOUND;
                }
                // A tool's result is a content in itself.
                for inner in ["text", "content", "output"] {
                    if let Some(inner) = part.get(inner) {
                        self.content(inner, cached, text);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_of_all_messages_count() {
        let mut prompt = Prompt::new();
        let messages = json!([
            {"role": "system", "content": [{"type": "text", "text": "Be a good bot.", "cache_control": {"type": "ephemeral"}}]},
            {"role": "user", "content": "Hello  there,\nworld"},
            {"role": "assistant", "content": null, "tool_calls": []},
            {"role": "user", "content": [{"type": "text", "text": "one two"}, {"type": "image_url", "image_url": {"url": "x"}},
                {"audio": "https://x"}, {"text": "three"}]},
        ]);
        prompt.messages(Some(&messages)).unwrap();
        assert_eq!(prompt.usage.prompt, OVERHEAD + 4 + 3 + 3 + PICTURE + SOUND);
        assert_eq!((prompt.usage.cached, prompt.usage.image, prompt.usage.audio), (4, PICTURE, SOUND));
        assert_eq!((prompt.wish.as_str(), prompt.fresh), ("one two three", true));
    }

    #[test]
    fn messages_are_judged() {
        for wrong in
            [json!(null), json!([]), json!("hi"), json!([{"role": "user"}]), json!([{"role": "cat", "content": ""}])]
        {
            assert!(Prompt::new().messages(Some(&wrong)).is_err(), "{wrong}");
        }
        assert!(Prompt::new().messages(None).is_err());
    }

    #[test]
    fn tools_are_called_by_name_by_the_user() {
        let mut prompt = Prompt::new();
        let tools = json!([{"type": "function", "function": {"name": "weather"}}, {"name": "time"}, {"name": "tides"}]);
        prompt.tools(Some(&tools), Some(&json!("auto")));
        prompt.message(true, &json!("the time and the weather, please"));
        assert_eq!(prompt.called().collect::<Vec<_>>(), ["weather", "time"]);
        prompt.message(true, &json!([{"type": "tool_result", "content": "time"}]));
        assert_eq!((prompt.called().count(), prompt.wish.as_str()), (0, "the time and the weather, please"));
        prompt.message(false, &json!("time"));
        assert_eq!(prompt.called().count(), 0);
        prompt.tools.clear();
        prompt.tools(Some(&tools), Some(&json!({"type": "none"})));
        assert_eq!(prompt.tools, Vec::<String>::new());
    }
}
