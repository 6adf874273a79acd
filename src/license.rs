//! What a license and an API key are, and whether they may be used now. Pure.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use ring::digest;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::config::settings;
use crate::error::Error;

/// Every kind of use; a license that names no scopes includes all.
pub const SCOPES: [&str; 4] = ["realtime", "chat", "messages", "native"];

/// A license as the store has it. The store is the truth: it wins over the claims of any token.
#[derive(Debug, Clone, PartialEq)]
pub struct License {
    /// `lic_…`, the `sub` of its tokens.
    pub id: String,
    /// The `jti` of the tokens that are valid; a rotation changes it.
    pub token_id: String,
    /// The plan that filled in its limits.
    pub plan: Option<String>,
    /// The operator's note whose it is.
    pub label: Option<String>,
    /// Whether it may be used.
    pub status: Status,
    /// Kinds of use, from [`SCOPES`].
    pub scopes: Vec<String>,
    /// Models, `*` standing for any characters; empty: every model.
    pub models: Vec<String>,
    /// Client networks; empty: every address.
    pub allowed_ips: Vec<IpNet>,
    /// The single-valued limits that concern requests and machines.
    pub limits: Limits,
    /// Realtime sessions at once.
    pub max_sessions: Option<u64>,
    /// The longest that one session may last.
    pub max_session_seconds: Option<u64>,
    /// The operator's own data.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// When it was issued.
    pub created_at: Timestamp,
    /// When anything but its usage last changed.
    pub updated_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// How long it lasts from its first use.
    pub expires_after_first_use: Option<SignedDuration>,
    /// When the first use set its clock running; only kept where [`License::expires_after_first_use`] is set.
    pub first_used_at: Option<Timestamp>,
}

/// The single-valued limits that concern requests and machines; an absent one does not exist.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Requests a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpm_limit: Option<u64>,
    /// Tokens a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm_limit: Option<u64>,
    /// Requests at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel_requests: Option<u64>,
    /// Seats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_machines: Option<u64>,
}

/// What the operator decided about a license.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It may be used until it expires.
    Active,
    /// It may be used again once the operator says so.
    Suspended,
    /// It ended for good.
    Revoked,
}

impl Status {
    /// The word that the store and the admin API use.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
        }
    }

    /// Reads [`Status::word`].
    #[must_use]
    pub fn read(word: &str) -> Option<Self> {
        [Self::Active, Self::Suspended, Self::Revoked].into_iter().find(|status| status.word() == word)
    }
}

/// What a key allows within its license; what is empty or absent is the license's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Narrowing {
    /// Kinds of use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Models, `*` standing for any characters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Client networks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_ips: Vec<IpNet>,
    /// Limits of its own, beside its license's.
    #[serde(flatten)]
    pub limits: Limits,
    /// Realtime sessions at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<u64>,
    /// The longest that one session may last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_session_seconds: Option<u64>,
}

/// An API key as the store has it: a second way to use its license.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiKey {
    /// The public part of the key.
    pub id: String,
    /// The license that it uses.
    pub license_id: String,
    /// Whether the license was made for this key and ends with it.
    pub own_license: bool,
    /// [`key_hash`] of the whole key.
    pub secret_hash: String,
    /// The operator's note whose it is.
    pub label: Option<String>,
    /// Whether it may be used.
    pub status: KeyStatus,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it ends, if before its license.
    pub expires_at: Option<Timestamp>,
    /// How long it lasts from its first use.
    pub expires_after_first_use: Option<SignedDuration>,
    /// When the first use set its clock running; only kept where [`ApiKey::expires_after_first_use`] is set.
    pub first_used_at: Option<Timestamp>,
    /// What it allows of what its license allows.
    pub narrowing: Narrowing,
    /// The operator's own data.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// [`key_hash`] of the secret before the last rotation, and until when that one is accepted.
    pub previous: Option<(String, Timestamp)>,
}

/// Which version of a license or key somebody knows: its id, its status, when it last changed and when it ends, in
/// microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub String, pub String, pub i64, pub Option<i64>);

/// What the operator decided about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    /// It may be used.
    Active,
    /// It may be used again once the operator says so.
    Blocked,
    /// It is gone; its row stays for the usage that names it.
    Deleted,
}

impl KeyStatus {
    /// The word that the store and the admin API use.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Blocked => "blocked",
            Self::Deleted => "deleted",
        }
    }

    /// Reads [`KeyStatus::word`].
    #[must_use]
    pub fn read(word: &str) -> Option<Self> {
        [Self::Active, Self::Blocked, Self::Deleted].into_iter().find(|status| status.word() == word)
    }
}

impl License {
    /// Whether the license includes a kind of use.
    #[must_use]
    pub fn allows_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|allowed| allowed == scope)
    }

    /// Whether the license includes a model.
    #[must_use]
    pub fn allows_model(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|pattern| settings::fits(pattern, model))
    }

    /// Whether the license may be used from an address. An IPv4 address in IPv6 clothes counts as IPv4.
    #[must_use]
    pub fn allows_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed_ips.is_empty() || self.allowed_ips.iter().any(|network| network.contains(&address))
    }

    /// Whether the next use is the first, which sets the license's clock running.
    #[must_use]
    pub fn starts_with_first_use(&self) -> bool {
        self.expires_after_first_use.is_some() && self.first_used_at.is_none()
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

impl ApiKey {
    /// Whether the next use is the first, which sets the key's clock running.
    #[must_use]
    pub fn starts_with_first_use(&self) -> bool {
        self.expires_after_first_use.is_some() && self.first_used_at.is_none()
    }

    /// Whether a secret is the key's own at `now`, or the one before it while that one is accepted. It takes as long
    /// whether it is or not.
    #[must_use]
    pub fn opens(&self, secret: &str, now: Timestamp) -> bool {
        let hash = key_hash(secret);
        let (previous, lasts) = match &self.previous {
            Some((previous, until)) => (previous.as_str(), now < *until),
            None => ("", false),
        };
        let (own, earlier) = (same_secret(&hash, &self.secret_hash), same_secret(&hash, previous));
        own | (earlier & lasts)
    }
}

/// Whether the license, and the key where one was used, may be used at `now`.
///
/// # Errors
/// `LicenseRevoked`, `LicenseSuspended` (a blocked key too), `LicenseExpired`, and for a deleted key `InvalidApiKey`.
pub fn admit(license: &License, key: Option<&ApiKey>, now: Timestamp) -> Result<(), Error> {
    if let Some(key) = key {
        match key.status {
            KeyStatus::Active => {}
            KeyStatus::Blocked => return Err(Error::LicenseSuspended),
            KeyStatus::Deleted => return Err(Error::InvalidApiKey),
        }
    }
    match license.status {
        Status::Active => {}
        Status::Suspended => return Err(Error::LicenseSuspended),
        Status::Revoked => return Err(Error::LicenseRevoked),
    }
    let key_expired = key.and_then(|key| key.expires_at).is_some_and(|end| end <= now);
    if key_expired || license.is_expired(now) {
        return Err(Error::LicenseExpired);
    }
    Ok(())
}

/// Whether what runs already may go on, by the words that the store has for its license and its key.
///
/// # Errors
/// `LicenseRevoked` (a deleted key too), `LicenseSuspended` (a blocked key too).
pub fn may_go_on(license: &str, key: Option<&str>) -> Result<(), Error> {
    match (Status::read(license), key.and_then(KeyStatus::read)) {
        (Some(Status::Revoked), _) | (_, Some(KeyStatus::Deleted)) => Err(Error::LicenseRevoked),
        (Some(Status::Suspended), _) | (_, Some(KeyStatus::Blocked)) => Err(Error::LicenseSuspended),
        (Some(Status::Active) | None, Some(KeyStatus::Active) | None) => Ok(()),
    }
}

/// What the store keeps of an API key or ticket: SHA-256, hex. They carry 190 random bits, so no salt is needed.
#[must_use]
pub fn key_hash(secret: &str) -> String {
    use std::fmt::Write as _;
    digest_of(secret).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _infallible = write!(hex, "{byte:02x}");
        hex
    })
}

/// [`key_hash`], before it is written as hex.
#[must_use]
pub fn digest_of(secret: &str) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, secret.as_bytes());
    let mut bytes = [0; 32];
    for (byte, found) in bytes.iter_mut().zip(digest.as_ref()) {
        *byte = *found;
    }
    bytes
}

/// Whether two secrets, or two hashes, are the same; takes as long whether they are or not.
#[must_use]
pub fn same_secret(left: &str, right: &str) -> bool {
    let digest = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
    digest(left).as_ref().ct_eq(digest(right).as_ref()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn license() -> License {
        License {
            id: "lic_1".into(),
            token_id: "jti".into(),
            plan: None,
            label: None,
            status: Status::Active,
            scopes: vec!["realtime".into()],
            models: vec!["qwen3*-livetranslate-*".into()],
            allowed_ips: vec!["10.0.0.0/8".parse().unwrap()],
            limits: Limits::default(),
            max_sessions: None,
            max_session_seconds: None,
            metadata: serde_json::Map::new(),
            created_at: at("2026-01-01T00:00:00Z"),
            updated_at: at("2026-01-01T00:00:00Z"),
            expires_at: Some(at("2026-02-01T00:00:00Z")),
            expires_after_first_use: None,
            first_used_at: None,
        }
    }

    #[test]
    fn admits_while_it_lasts() {
        let mut license = license();
        assert!(admit(&license, None, at("2026-01-31T23:59:59Z")).is_ok());
        assert!(matches!(admit(&license, None, at("2026-02-01T00:00:00Z")), Err(Error::LicenseExpired)));
        license.status = Status::Suspended;
        assert!(matches!(admit(&license, None, at("2026-01-02T00:00:00Z")), Err(Error::LicenseSuspended)));
        license.status = Status::Revoked;
        assert!(matches!(admit(&license, None, at("2026-03-01T00:00:00Z")), Err(Error::LicenseRevoked)));
    }

    #[test]
    fn a_key_narrows_its_license() {
        let now = at("2026-01-02T00:00:00Z");
        let mut key = ApiKey {
            id: "public".into(),
            license_id: "lic_1".into(),
            own_license: false,
            secret_hash: key_hash("sk"),
            label: None,
            status: KeyStatus::Active,
            created_at: now,
            updated_at: now,
            expires_at: Some(at("2026-01-03T00:00:00Z")),
            expires_after_first_use: None,
            first_used_at: None,
            narrowing: Narrowing::default(),
            metadata: serde_json::Map::new(),
            previous: None,
        };
        assert!(admit(&license(), Some(&key), now).is_ok());
        assert!(matches!(admit(&license(), Some(&key), at("2026-01-03T00:00:00Z")), Err(Error::LicenseExpired)));
        key.previous = Some((key_hash("old"), at("2026-01-05T00:00:00Z")));
        assert!(key.opens("sk", now) && key.opens("old", now) && !key.opens("other", now) && !key.opens("", now));
        assert!(key.opens("sk", at("2026-01-05T00:00:00Z")) && !key.opens("old", at("2026-01-05T00:00:00Z")));
        key.status = KeyStatus::Blocked;
        assert!(matches!(admit(&license(), Some(&key), now), Err(Error::LicenseSuspended)));
        key.status = KeyStatus::Deleted;
        assert!(matches!(admit(&license(), Some(&key), now), Err(Error::InvalidApiKey)));
    }

    #[test]
    fn scopes_models_and_addresses() {
        let license = license();
        assert!(license.allows_scope("realtime") && !license.allows_scope("chat"));
        assert!(license.allows_model("qwen3.5-livetranslate-flash-realtime") && !license.allows_model("gummy-chat-v1"));
        assert!(license.allows_address("10.1.2.3".parse().unwrap()));
        assert!(license.allows_address("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!license.allows_address("11.0.0.1".parse().unwrap()));
    }

    #[test]
    fn hashes() {
        assert_eq!(key_hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(same_secret("abc", "abc") && !same_secret("abc", "abcd"));
    }
}
