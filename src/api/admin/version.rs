//! `ETag` and `If-Match`: a change is made to what its sender has read, or not at all.

use actix_web::http::header::{self, HeaderName};

use crate::error::Error;
use crate::license::{ApiKey, License};
use crate::store::accounts::StoredAccount;

/// The header that names a version.
#[must_use]
pub fn etag(tag: &str) -> (HeaderName, String) {
    (header::ETAG, tag.to_owned())
}

/// The version of a license.
#[must_use]
pub fn of_license(license: &License) -> String {
    of_time(license.updated_at.as_microsecond())
}

/// The version of a key; where a license was made for it, what changes that changes the key.
#[must_use]
pub fn of_key(key: &ApiKey, license: &License) -> String {
    let (own, of_license) = (key.updated_at.as_microsecond(), license.updated_at.as_microsecond());
    if key.own_license { format!("\"{own}-{of_license}\"") } else { of_time(own) }
}

/// The version of an upstream account.
#[must_use]
pub fn of_account(account: &StoredAccount) -> String {
    of_time(account.updated_at.as_microsecond())
}

/// The version of what last changed then.
#[must_use]
pub fn of_time(time_us: i64) -> String {
    format!("\"{time_us}\"")
}

/// Whether the version is the one that `If-Match` wants, where there is that header.
///
/// # Errors
/// `PreconditionFailed`.
pub fn require(if_match: Option<&str>, tag: &str) -> Result<(), Error> {
    let matches = |list: &str| list.split(',').map(str::trim).any(|given| given == "*" || given == tag);
    if if_match.is_none_or(matches) { Ok(()) } else { Err(Error::PreconditionFailed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_versions_must_match() {
        let tag = of_time(5);
        for good in [None, Some("*"), Some("\"5\""), Some("\"4\", \"5\"")] {
            assert!(require(good, &tag).is_ok(), "{good:?}");
        }
        for bad in ["", "5", "\"4\"", "W/\"5\""] {
            assert!(matches!(require(Some(bad), &tag), Err(Error::PreconditionFailed)), "{bad}");
        }
    }
}
