//! What is wrong with the settings: every fault found, one sentence a line.

/// Settings that can't be used; the program ends with [`ConfigFault::EXIT_CODE`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault {
    sentences: Vec<String>,
}

impl ConfigFault {
    /// sysexits' `EX_CONFIG`.
    pub const EXIT_CODE: u8 = 78;

    /// A fault from one sentence or several; each says what to do.
    #[must_use]
    pub fn new(sentences: Vec<String>) -> Self {
        Self { sentences }
    }
}

impl From<String> for ConfigFault {
    fn from(sentence: String) -> Self {
        Self { sentences: vec![sentence] }
    }
}

impl std::fmt::Display for ConfigFault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.sentences.join("\n"))
    }
}

impl std::error::Error for ConfigFault {}
