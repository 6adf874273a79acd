//! The sentences about licenses and keys in use: may what runs go on?

use diesel::prelude::*;

use super::backend::AnyConnection;
use super::schema::{api_keys, licenses};
use crate::error::Error;
use crate::license::Version;

/// Licenses and keys asked about in one statement.
const AT_ONCE: usize = 5_000;

/// What the store says of a license, and of one of its keys.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct Right {
    /// License.
    pub license_id: String,
    /// Its status.
    pub license_status: String,
    /// When it ends.
    pub license_expires_at_us: Option<i64>,
    /// One of the keys that were asked about, if it has one of them.
    pub key_id: Option<String>,
    /// The key's status.
    pub key_status: Option<String>,
    /// When the key ends.
    pub key_expires_at_us: Option<i64>,
}

/// How these licenses stand, each with each of these keys that is its own, or alone.
///
/// # Errors
/// The store's.
pub fn of(connection: &mut AnyConnection, license_ids: &[String], key_ids: &[String]) -> Result<Vec<Right>, Error> {
    let mut rights = Vec::new();
    for license_ids in license_ids.chunks(AT_ONCE) {
        // One turn at least: for licenses that are used without a key.
        for turn in 0..key_ids.len().div_ceil(AT_ONCE).max(1) {
            let keys = key_ids.chunks(AT_ONCE).nth(turn).unwrap_or_default();
            let of_license = api_keys::license_id.eq(licenses::id).and(api_keys::id.eq_any(keys));
            let found: Vec<Right> = licenses::table
                .left_join(api_keys::table.on(of_license))
                .filter(licenses::id.eq_any(license_ids))
                .select((
                    licenses::id,
                    licenses::status,
                    licenses::expires_at_us,
                    api_keys::id.nullable(),
                    api_keys::status.nullable(),
                    api_keys::expires_at_us.nullable(),
                ))
                .load(connection)?;
            rights.extend(found);
        }
    }
    Ok(rights)
}

/// How those of these licenses and keys stand that there are.
///
/// # Errors
/// The store's.
pub fn versions(connection: &mut AnyConnection, ids: &[String]) -> Result<Vec<Version>, Error> {
    type Row = (String, String, i64, Option<i64>);
    use {api_keys as keys, licenses as all};
    let mut found = Vec::new();
    for ids in ids.chunks(AT_ONCE) {
        let fields = (all::id, all::status, all::updated_at_us, all::expires_at_us);
        let licenses: Vec<Row> = all::table.filter(all::id.eq_any(ids)).select(fields).load(connection)?;
        let fields = (keys::id, keys::status, keys::updated_at_us, keys::expires_at_us);
        let keys: Vec<Row> = keys::table.filter(keys::id.eq_any(ids)).select(fields).load(connection)?;
        let version = |(id, status, updated_at_us, ends_us)| Version(id, status, updated_at_us, ends_us);
        found.extend(licenses.into_iter().chain(keys).map(version));
    }
    Ok(found)
}
