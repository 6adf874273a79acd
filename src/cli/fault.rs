//! Why a command failed, and the exit code that says so.

use std::process::ExitCode;

use crate::client::failure::Failure;
use crate::config::fault::ConfigFault;
use crate::error::Error;

/// What a command ends with when it did not do its work; each holds the sentence for the person at the terminal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It failed: exit code 1.
    #[error("{0}")]
    Failed(String),
    /// It was asked for in a way that can't work: exit code 2, as for arguments that can't be read.
    #[error("{0}")]
    Usage(String),
    /// The settings are wrong: exit code 78.
    #[error("{0}")]
    Config(String),
}

impl Fault {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Config(_) => ConfigFault::EXIT_CODE,
        })
    }

    /// A failure with what was being done.
    pub fn of(doing: &str) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::Failed(format!("{doing}: {error}"))
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.to_string())
    }
}

impl From<ConfigFault> for Fault {
    fn from(fault: ConfigFault) -> Self {
        Self::Config(fault.to_string())
    }
}

/// A gateway that does not start: a wrong setting is told as such, and causes that no customer may see are told here.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let cause = error.cause().map(|cause| format!(" ({cause})")).unwrap_or_default();
        match error {
            Error::InvalidRequest { message, .. } => Self::Config(message),
            other => Self::Failed(format!("{other}{cause}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_setting_is_told_apart_from_a_failure() {
        let setting = Fault::from(Error::field("SERVER_PORT", "can't listen"));
        assert_eq!(setting, Fault::Config("can't listen".to_owned()));
        let store = Fault::from(Error::storage("disk full"));
        assert_eq!(store.to_string(), "the store is unavailable; try again shortly (disk full)");
        assert!(matches!(store, Fault::Failed(_)));
    }
}
