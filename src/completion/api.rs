//! What a caller may speak, and what follows from it.

use crate::upstream::account::Kind;

/// One of the protocols, or one of its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's embeddings.
    Embeddings,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
    /// Anthropic's count of a message's tokens: costs nothing.
    CountTokens,
    /// DashScope's own services.
    Native,
}

/// In whose form the answers and errors of a call are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's.
    Openai,
    /// Anthropic's.
    Anthropic,
    /// DashScope's.
    Dashscope,
}

impl Api {
    /// The label of metrics and usage rows.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Native => "native",
        }
    }

    /// The kind of use that a license must include.
    #[must_use]
    pub fn scope(self) -> &'static str {
        match self {
            Self::Chat | Self::Embeddings | Self::Responses => "chat",
            Self::Messages | Self::CountTokens => "messages",
            Self::Native => "native",
        }
    }

    /// In whose form it is answered.
    #[must_use]
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Chat | Self::Embeddings | Self::Responses => Dialect::Openai,
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
            Self::Native => Dialect::Dashscope,
        }
    }

    /// Accounts that can take it.
    #[must_use]
    pub fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Chat | Self::Embeddings | Self::Responses => &[Kind::Dashscope, Kind::Openai],
            Self::Messages | Self::CountTokens => &[Kind::Anthropic, Kind::Dashscope],
            Self::Native => &[Kind::Dashscope],
        }
    }

    /// Whether its answer is made of tokens that cost something.
    #[must_use]
    pub fn generates(self) -> bool {
        match self {
            Self::Chat | Self::Responses | Self::Messages | Self::Native => true,
            Self::Embeddings | Self::CountTokens => false,
        }
    }

    /// Whether it is booked.
    #[must_use]
    pub fn is_metered(self) -> bool {
        self != Self::CountTokens
    }
}
