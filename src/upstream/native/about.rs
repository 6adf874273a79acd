//! What an OpenAI answer says of itself, which the native one doesn't know.

/// Who answers; made by the caller, who has the clock and the ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// `chatcmpl-…`
    pub id: String,
    /// Unix time in seconds.
    pub created: i64,
    /// The model's id, as the caller asked for it.
    pub model: String,
}

impl About {
    /// The id of a tool call that came without one: the same whenever it is asked for.
    #[must_use]
    pub fn call_id(&self, choice: u64, call: usize) -> String {
        let answer = self.id.strip_prefix("chatcmpl-").unwrap_or(&self.id);
        format!("call_{answer}_{choice}_{call}")
    }
}
