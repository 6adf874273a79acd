//! Which protocol generation a model speaks; the model id in the query decides.

/// A dialect of `/api-ws/v1/realtime`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// qwen3-livetranslate: flat session, `text` + `stash`, no source text unless asked for.
    G1Three,
    /// qwen3.5-livetranslate: as before, with source text and usage that adds up over the session.
    G1ThreeFive,
    /// qwen3.8-livetranslate: nested `audio`, true deltas, speaker ids.
    G2,
    /// Qwen-Omni up to 3.5 and siblings: flat session, answers after the turn.
    Omni,
    /// Qwen3.8-Omni: nested `audio`, accepts `session.finish`.
    OmniNested,
}

impl Dialect {
    /// The dialect of a realtime model; `None` for a model that isn't served here.
    #[must_use]
    pub fn of(model: &str) -> Option<Self> {
        let is = |prefix: &str| model.starts_with(prefix);
        if is("qwen3.8-livetranslate-flash-realtime") {
            Some(Self::G2)
        } else if is("qwen3.5-livetranslate-flash-realtime") {
            Some(Self::G1ThreeFive)
        } else if is("qwen3-livetranslate-flash-realtime") {
            Some(Self::G1Three)
        } else if is("qwen3.8-omni-") && model.contains("-realtime") {
            Some(Self::OmniNested)
        } else if is("qwen") && model.contains("-omni-") && model.contains("-realtime") {
            Some(Self::Omni)
        } else {
            None
        }
    }

    /// LiveTranslate: translates by itself and knows `session.finish`.
    #[must_use]
    pub fn translates(self) -> bool {
        matches!(self, Self::G1Three | Self::G1ThreeFive | Self::G2)
    }

    /// LiveTranslate 3 and 3.5: partial text is refreshed, not appended.
    #[must_use]
    pub fn refreshes(self) -> bool {
        matches!(self, Self::G1Three | Self::G1ThreeFive)
    }

    /// Formats and voice are in a nested `audio` object.
    #[must_use]
    pub fn nested(self) -> bool {
        matches!(self, Self::G2 | Self::OmniNested)
    }

    /// Tokens for each second of input audio.
    #[must_use]
    pub fn input_tokens_per_second(self) -> f64 {
        match self {
            Self::G1Three => 12.5,
            Self::G1ThreeFive | Self::G2 | Self::Omni | Self::OmniNested => 7.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_id_decides() {
        let table = [
            ("qwen3-livetranslate-flash-realtime", Some(Dialect::G1Three)),
            ("qwen3-livetranslate-flash-realtime-2025-09-22", Some(Dialect::G1Three)),
            ("qwen3.5-livetranslate-flash-realtime", Some(Dialect::G1ThreeFive)),
            ("qwen3.8-livetranslate-flash-realtime", Some(Dialect::G2)),
            ("qwen3-omni-flash-realtime", Some(Dialect::Omni)),
            ("qwen-omni-turbo-realtime", Some(Dialect::Omni)),
            ("qwen3.5-omni-plus-realtime", Some(Dialect::Omni)),
            ("qwen3.8-omni-flash-realtime", Some(Dialect::OmniNested)),
            ("qwen-plus", None),
            ("", None),
        ];
        for (model, dialect) in table {
            assert_eq!(Dialect::of(model), dialect, "{model}");
        }
    }
}
