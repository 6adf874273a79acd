//! Who pays: a license, and the key that was used, whose own budgets count too. Pure.

/// The key's id where no key was used, or a budget is the license's own.
pub const NO_KEY: &str = "";

/// One name for both: the license's id, or `license/key`. Ids have no `/`.
#[must_use]
pub fn name(license_id: &str, key_id: Option<&str>) -> String {
    match key_id.filter(|key_id| *key_id != NO_KEY) {
        Some(key_id) => format!("{license_id}/{key_id}"),
        None => license_id.to_owned(),
    }
}

/// The license of a [`name`].
#[must_use]
pub fn license(payer: &str) -> &str {
    payer.split_once('/').map_or(payer, |(license_id, _)| license_id)
}

/// The key of a [`name`]; [`NO_KEY`] where there is none.
#[must_use]
pub fn key(payer: &str) -> &str {
    payer.split_once('/').map_or(NO_KEY, |(_, key_id)| key_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_both() {
        let (alone, keyed) = (name("lic_1", None), name("lic_1", Some("K2")));
        assert_eq!((license(&alone), key(&alone)), ("lic_1", NO_KEY));
        assert_eq!((license(&keyed), key(&keyed)), ("lic_1", "K2"));
        assert_eq!(name("lic_1", Some(NO_KEY)), alone);
    }
}
