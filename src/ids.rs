//! Makes every identifier and secret: readable prefix, then time-ordered or random characters.

use std::time::{SystemTime, UNIX_EPOCH};

use rand::RngExt;
use rand::distr::Alphanumeric;
use uuid::{Builder, Uuid};

/// A license's id, `lic_…`: sorts by time of issue.
#[must_use]
pub fn license() -> String {
    ordered("lic_")
}

/// A realtime session's id, `gws_…`: sorts by time of start. Not the provider's `sess_…`.
#[must_use]
pub fn session() -> String {
    ordered("gws_")
}

/// An HTTP call's id in the usage ledger, `call_…`.
#[must_use]
pub fn call() -> String {
    // Many a second: the system is not asked for randomness each time.
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
    format!("call_{}", Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid().simple())
}

/// A budget's id, `bud_…`.
#[must_use]
pub fn budget() -> String {
    ordered("bud_")
}

/// An upstream account's id, `acc_…`.
#[must_use]
pub fn account() -> String {
    ordered("acc_")
}

/// Whether this is shaped like an upstream account's id.
#[must_use]
pub fn is_account(id: &str) -> bool {
    id.strip_prefix("acc_").is_some_and(|rest| Uuid::try_parse(rest).is_ok())
}

/// An audit entry's id, `aud_…`.
#[must_use]
pub fn audit() -> String {
    ordered("aud_")
}

/// A backup's id, `bak_…`: sorts by time.
#[must_use]
pub fn backup() -> String {
    ordered("bak_")
}

/// When a backup with this id was begun, in milliseconds since 1970; `None` for what is no backup's id.
#[must_use]
pub fn backup_begun_ms(id: &str) -> Option<i64> {
    let (seconds, nanos) = Uuid::try_parse(id.strip_prefix("bak_")?).ok()?.get_timestamp()?.to_unix();
    Some(i64::try_from(seconds).ok()? * 1_000 + i64::from(nanos / 1_000_000))
}

/// A token's `jti`.
#[must_use]
pub fn token() -> String {
    Uuid::new_v4().to_string()
}

/// A request's id, sent as `x-request-id`.
#[must_use]
pub fn request() -> String {
    Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}

/// This process's id among the instances on one store.
#[must_use]
pub fn instance() -> String {
    ordered("ins_")
}

/// The id of an event made by the gateway: `event_gw_…`.
#[must_use]
pub fn event() -> String {
    format!("event_gw_{}", random(21))
}

/// A new API key `sk-lt-<public id>-<secret>` and its public id. The secret has 190 bits.
#[must_use]
pub fn api_key() -> (String, String) {
    let public_id = random(12);
    let key = api_key_of(&public_id);
    (public_id, key)
}

/// An API key with a new secret for a public id that is known already.
#[must_use]
pub fn api_key_of(public_id: &str) -> String {
    format!("sk-lt-{public_id}-{}", random(32))
}

/// The public id of something shaped like our API keys.
#[must_use]
pub fn public_id_of(key: &str) -> Option<&str> {
    let (public_id, secret) = key.strip_prefix("sk-lt-")?.split_once('-')?;
    let sane = |part: &str| (8..=64).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (sane(public_id) && sane(secret)).then_some(public_id)
}

/// A browser's one-time ticket.
#[must_use]
pub fn ticket() -> String {
    format!("tkt_{}", random(32))
}

/// What authorizes a client to resume its session, `rsm_…`: 256 bits.
#[must_use]
pub fn resume_token() -> String {
    format!("rsm_{}", random(43))
}

/// `length` random letters and digits from the operating system's generator (seeded ChaCha).
#[must_use]
pub fn random(length: usize) -> String {
    rand::rng().sample_iter(Alphanumeric).take(length).map(char::from).collect()
}

fn ordered(prefix: &str) -> String {
    format!("{prefix}{}", Uuid::now_v7().simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_carries_its_public_id() {
        let (public_id, key) = api_key();
        assert_eq!(public_id_of(&key), Some(public_id.as_str()));
        assert_eq!(public_id_of("sk-0123456789abcdef"), None);
        assert_eq!(public_id_of("sk-lt-short-x"), None);
    }

    #[test]
    fn a_backups_id_tells_its_time() {
        assert_eq!(backup_begun_ms("bak_0193a5d8f4007000800000000000abcd"), Some(1_733_654_279_168));
        for wrong in ["bak_", "bak_../../x", "aud_0193a5d8f4007000800000000000abcd", ""] {
            assert_eq!(backup_begun_ms(wrong), None, "{wrong}");
        }
        assert!(backup_begun_ms(&backup()).is_some());
    }

    #[test]
    fn ids_sort_by_time() {
        let (first, second) = (license(), license());
        assert!(first < second, "{first} {second}");
    }
}
