//! Why a translation could not begin or go on, in sentences for the person who asked for it.

/// What the customer's client returns when it can't go on.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server's address is not one.
    #[error("`{0}` is not a server address; write it as http://HOST:PORT or https://HOST")]
    Address(String),
    /// The speech can't be read.
    #[error("{0}")]
    Input(String),
    /// Nothing answers at the server's address.
    #[error("{server} can't be reached: {cause}")]
    Unreachable {
        /// The server's address.
        server: String,
        /// What the network said.
        cause: String,
    },
    /// The gateway refused, with the code and sentence of its error body.
    #[error("the gateway refused ({status} {code}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The gateway's stable code, or `unknown`.
        code: String,
        /// The gateway's sentence.
        message: String,
    },
    /// What answered doesn't speak the protocol.
    #[error("{0}")]
    Protocol(String),
}

impl Failure {
    /// Whether it may pass by itself.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { code, .. } if code == "insufficient_quota" => false,
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            Self::Address(_) | Self::Input(_) | Self::Protocol(_) => false,
        }
    }
}
