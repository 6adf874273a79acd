//! What an upstream account is: whose API, where, with which credential, for which models.

use crate::config::settings::{Secret, fits};

/// The version of Anthropic's API that is spoken where a caller names none.
pub const ANTHROPIC_VERSION: &str = "2023-06-01";
/// Models that accounts of the Anthropic kind serve where they name none.
const CLAUDE: &str = "claude*";

/// Whose API an account speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Alibaba Model Studio.
    Dashscope,
    /// The Anthropic API, or a mirror of it.
    Anthropic,
    /// Any server that speaks OpenAI's API.
    Openai,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Dashscope, Self::Anthropic, Self::Openai];

    /// The word that the store and the admin API use.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Dashscope => "dashscope",
            Self::Anthropic => "anthropic",
            Self::Openai => "openai",
        }
    }

    /// Reads [`Kind::word`].
    #[must_use]
    pub fn read(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// Whether an account of this kind that names no models is meant for `model`.
    fn serves(self, model: &str) -> bool {
        match self {
            Self::Anthropic => fits(CLAUDE, model),
            Self::Dashscope | Self::Openai => !fits(CLAUDE, model),
        }
    }
}

/// How the chat of a DashScope account is called; other kinds have one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// By the provider's OpenAI-compatible paths.
    #[default]
    Compatible,
    /// By its own text-generation protocol.
    Native,
}

impl Mode {
    /// The word that the store and the admin API use.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Compatible => "compatible",
            Self::Native => "native",
        }
    }

    /// Reads [`Mode::word`].
    #[must_use]
    pub fn read(word: &str) -> Option<Self> {
        [Self::Compatible, Self::Native].into_iter().find(|mode| mode.word() == word)
    }
}

/// What the operator wants of an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// It takes calls.
    #[default]
    Enabled,
    /// It takes no new calls; those under way end by themselves. It is about to be changed or removed.
    Draining,
    /// It takes no calls.
    Disabled,
}

impl State {
    /// The word that the store and the admin API use.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }

    /// Reads [`State::word`].
    #[must_use]
    pub fn read(word: &str) -> Option<Self> {
        [Self::Enabled, Self::Draining, Self::Disabled].into_iter().find(|state| state.word() == word)
    }
}

/// An account with a provider. Its credential prints as `***`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// `acc_…`, or `env-…` for those of the environment.
    pub id: String,
    /// The operator's name for it, unique.
    pub name: String,
    /// Whose API it speaks.
    pub kind: Kind,
    /// `https://host[/prefix]`, without a slash at its end; the API's own paths follow.
    pub base_url: String,
    /// The provider's key.
    pub credential: Secret,
    /// How its chat is called.
    pub mode: Mode,
    /// Model ids, `*` standing for any characters; empty: by kind.
    pub models: Vec<String>,
    /// Its share among accounts of the same priority, 1 to 1,000.
    pub weight: u32,
    /// Lower ones are asked first.
    pub priority: u32,
    /// Calls at once.
    pub max_concurrency: Option<u32>,
    /// What the operator wants of it.
    pub state: State,
}

impl Account {
    /// Whether it is meant for `model`: by its patterns, or by its kind where it has none.
    #[must_use]
    pub fn serves(&self, model: &str) -> bool {
        if self.models.is_empty() {
            return self.kind.serves(model);
        }
        self.models.iter().any(|pattern| fits(pattern, model))
    }

    /// Whether it is asked for what nobody is meant for: mirrors name models as they like.
    #[must_use]
    pub fn serves_anything(&self) -> bool {
        self.models.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        assert!(Kind::ALL.into_iter().all(|kind| Kind::read(kind.word()) == Some(kind)));
        assert!([Mode::Compatible, Mode::Native].into_iter().all(|mode| Mode::read(mode.word()) == Some(mode)));
        let states = [State::Enabled, State::Draining, State::Disabled];
        assert!(states.into_iter().all(|state| State::read(state.word()) == Some(state)));
        assert_eq!((Kind::read("azure"), Mode::read(""), State::read("Enabled")), (None, None, None));
    }
}
