//! Who shows a license, or a key of it: what both together allow. Pure.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;

use crate::config::settings;
use crate::error::Error;
use crate::license::{self, ApiKey, License, Limits, Narrowing};

/// A license, and the key where one was used. A key narrows its license, and never widens it.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'a> {
    /// The license.
    pub license: &'a License,
    /// The key that was shown instead of the license's own token.
    pub key: Option<&'a ApiKey>,
}

impl<'a> Holder<'a> {
    /// The holder of what a credential stands for.
    #[must_use]
    pub fn of((license, key): &'a (License, Option<ApiKey>)) -> Self {
        Self { license, key: key.as_ref() }
    }

    /// Whether both may be used at `now`.
    ///
    /// # Errors
    /// As [`license::admit`].
    pub fn admit(self, now: Timestamp) -> Result<(), Error> {
        license::admit(self.license, self.key, now)
    }

    /// Whether a kind of use is included.
    #[must_use]
    pub fn allows_scope(self, scope: &str) -> bool {
        let narrowed =
            self.narrowing().is_some_and(|key| !key.scopes.is_empty() && !key.scopes.iter().any(|own| own == scope));
        self.license.allows_scope(scope) && !narrowed
    }

    /// Whether a model is included.
    #[must_use]
    pub fn allows_model(self, model: &str) -> bool {
        self.lists().all(|list| list.iter().any(|pattern| settings::fits(pattern, model)))
    }

    /// Whether only some models are included.
    #[must_use]
    pub fn names_models(self) -> bool {
        self.lists().next().is_some()
    }

    /// Lists of models; what is included is in each of them. None: every model.
    #[must_use]
    pub fn model_lists(self) -> Vec<Vec<String>> {
        self.lists().cloned().collect()
    }

    /// Whether it may be used from an address. An IPv4 address in IPv6 clothes counts as IPv4.
    #[must_use]
    pub fn allows_address(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let allows = |key: &Narrowing| {
            key.allowed_ips.is_empty() || key.allowed_ips.iter().any(|network| network.contains(&address))
        };
        self.license.allows_address(address) && self.narrowing().is_none_or(allows)
    }

    /// Whether the next use is the first of the license or of the key, which sets a clock running.
    #[must_use]
    pub fn starts_with_first_use(self) -> bool {
        self.license.starts_with_first_use() || self.key.is_some_and(ApiKey::starts_with_first_use)
    }

    /// The longest that one session may last, seconds.
    #[must_use]
    pub fn max_session_seconds(self) -> Option<u64> {
        lesser(self.license.max_session_seconds, self.narrowing().and_then(|key| key.max_session_seconds))
    }

    /// Realtime sessions at once, as far as this holder is concerned.
    #[must_use]
    pub fn max_sessions(self) -> Option<u64> {
        lesser(self.license.max_sessions, self.narrowing().and_then(|key| key.max_sessions))
    }

    /// The lesser of each limit.
    #[must_use]
    pub fn limits(self) -> Limits {
        let (license, none) = (&self.license.limits, Limits::default());
        let key = self.narrowing().map_or(&none, |key| &key.limits);
        Limits {
            rpm_limit: lesser(license.rpm_limit, key.rpm_limit),
            tpm_limit: lesser(license.tpm_limit, key.tpm_limit),
            max_parallel_requests: lesser(license.max_parallel_requests, key.max_parallel_requests),
            max_machines: lesser(license.max_machines, key.max_machines),
        }
    }

    /// The kinds of use that are included.
    #[must_use]
    pub fn scopes(self) -> Vec<String> {
        self.license.scopes.iter().filter(|scope| self.allows_scope(scope)).cloned().collect()
    }

    /// The models that are included, as people read them; empty: every model. Where key and license have nothing in
    /// common the key's are named, of which none can be used.
    #[must_use]
    pub fn models(self) -> Vec<String> {
        let own = self.narrowing().map_or(&[][..], |key| &key.models);
        common(&self.license.models, own, |outer, inner| settings::fits(outer, inner))
    }

    /// The networks from which it may be used; empty: every address. As [`Holder::models`] where there is none.
    #[must_use]
    pub fn allowed_ips(self) -> Vec<IpNet> {
        let own = self.narrowing().map_or(&[][..], |key| &key.allowed_ips);
        common(&self.license.allowed_ips, own, |outer, inner| outer.contains(inner))
    }

    /// When its time is over.
    #[must_use]
    pub fn expires_at(self) -> Option<Timestamp> {
        [self.key.and_then(|key| key.expires_at), self.license.expires_at].into_iter().flatten().min()
    }

    fn lists(self) -> impl Iterator<Item = &'a Vec<String>> {
        let lists = std::iter::once(&self.license.models).chain(self.narrowing().map(|key| &key.models));
        lists.filter(|list| !list.is_empty())
    }

    fn narrowing(self) -> Option<&'a Narrowing> {
        self.key.map(|key| &key.narrowing)
    }
}

fn lesser(license: Option<u64>, key: Option<u64>) -> Option<u64> {
    [license, key].into_iter().flatten().min()
}

/// What two lists have in common, each empty for everything; `holds`: whether the first of two includes the second.
fn common<T: Clone + PartialEq>(license: &[T], key: &[T], holds: impl Fn(&T, &T) -> bool) -> Vec<T> {
    if license.is_empty() || key.is_empty() {
        return if key.is_empty() { license.to_vec() } else { key.to_vec() };
    }
    let within = |list: &[T], item: &T| list.iter().any(|other| holds(other, item));
    let of_key = key.iter().filter(|item| within(license, item));
    let of_license = license.iter().filter(|item| within(key, item) && !key.contains(item));
    let common: Vec<T> = of_key.chain(of_license).cloned().collect();
    if common.is_empty() { key.to_vec() } else { common }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::license::{KeyStatus, SCOPES, Status};

    fn license(models: &[&str], networks: &[&str]) -> License {
        let now = Timestamp::UNIX_EPOCH;
        License {
            id: "lic_1".into(),
            token_id: "jti".into(),
            plan: None,
            label: None,
            status: Status::Active,
            scopes: vec!["chat".into(), "realtime".into()],
            models: models.iter().map(|&model| model.to_owned()).collect(),
            allowed_ips: networks.iter().map(|network| network.parse().unwrap()).collect(),
            limits: Limits { rpm_limit: Some(10), tpm_limit: Some(5), ..Limits::default() },
            max_sessions: None,
            max_session_seconds: Some(60),
            metadata: serde_json::Map::new(),
            created_at: now,
            updated_at: now,
            expires_at: None,
            expires_after_first_use: None,
            first_used_at: None,
        }
    }

    fn key(models: &[&str], networks: &[&str]) -> ApiKey {
        let now = Timestamp::UNIX_EPOCH;
        ApiKey {
            id: "public".into(),
            license_id: "lic_1".into(),
            own_license: false,
            secret_hash: String::new(),
            label: None,
            status: KeyStatus::Active,
            created_at: now,
            updated_at: now,
            expires_at: None,
            expires_after_first_use: None,
            first_used_at: None,
            narrowing: Narrowing {
                scopes: vec!["chat".into(), "native".into()],
                models: models.iter().map(|&model| model.to_owned()).collect(),
                allowed_ips: networks.iter().map(|network| network.parse().unwrap()).collect(),
                limits: Limits { rpm_limit: Some(20), tpm_limit: Some(1), ..Limits::default() },
                max_sessions: Some(3),
                max_session_seconds: Some(90),
            },
            metadata: serde_json::Map::new(),
            previous: None,
        }
    }

    #[test]
    fn a_key_never_widens_its_license() {
        let (license, key) =
            (license(&["qwen*"], &["10.0.0.0/8"]), key(&["*-plus", "gpt-5"], &["10.1.0.0/16", "0.0.0.0/0"]));
        let holder = Holder { license: &license, key: Some(&key) };
        let scopes = SCOPES.map(|scope| holder.allows_scope(scope));
        assert_eq!((scopes, holder.scopes()), ([false, true, false, false], vec!["chat".to_owned()]));
        let models = ["qwen-plus", "qwen-max", "gpt-5", "x-plus"].map(|model| holder.allows_model(model));
        assert_eq!(models, [true, false, false, false]);
        let addresses = ["10.1.2.3", "10.2.3.4", "11.0.0.1", "::ffff:10.1.0.1"];
        assert_eq!(addresses.map(|address| holder.allows_address(address.parse().unwrap())), [true, true, false, true]);
        let limits = holder.limits();
        assert_eq!((limits.rpm_limit, limits.tpm_limit, limits.max_machines), (Some(10), Some(1), None));
        assert_eq!((holder.max_session_seconds(), holder.max_sessions()), (Some(60), Some(3)));
        let alone = Holder { license: &license, key: None };
        assert!(alone.allows_model("qwen-max") && !alone.allows_model("gpt-5") && alone.allows_scope("realtime"));
    }

    #[test]
    fn what_both_allow_is_named() {
        let models = |outer: &[&str], inner: &[&str]| {
            let (license, key) = (license(outer, &[]), key(inner, &[]));
            Holder { license: &license, key: Some(&key) }.models()
        };
        assert_eq!(models(&[], &["a"]), ["a"]);
        assert_eq!(models(&["a*"], &[]), ["a*"]);
        assert_eq!(models(&["a*", "b"], &["ab*", "*", "c"]), ["ab*", "a*", "b"]);
        assert_eq!(models(&["a"], &["b"]), ["b"], "nothing in common is not everything");
        let (license, key) = (license(&[], &["10.0.0.0/8"]), key(&[], &["10.1.0.0/16", "11.0.0.0/8"]));
        let networks = Holder { license: &license, key: Some(&key) }.allowed_ips();
        assert_eq!(networks, ["10.1.0.0/16".parse::<IpNet>().unwrap()]);
    }
}
