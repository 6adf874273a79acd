//! Callers whom the store has found good: who may still come in while it is away. Asked only then.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::license::{self, ApiKey, License};

/// Callers remembered at most; beyond that who came first is forgotten first.
const CALLERS: usize = 10_000;

/// What a credential stood for when it was last used.
pub type Known = (License, Option<ApiKey>);

/// The callers of this instance; cheap to clone, shared by all threads.
#[derive(Clone, Default)]
pub struct Credentials {
    known: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    /// By the credential's hash: the credential itself is not kept.
    callers: HashMap<String, Known>,
    order: VecDeque<String>,
}

impl Credentials {
    /// A credential was found good, in the store.
    pub fn remember(&self, credential: &str, license: &License, key: Option<&ApiKey>) {
        let hash = license::key_hash(credential);
        let mut kept = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.callers.insert(hash.clone(), (license.clone(), key.cloned())).is_some() {
            return;
        }
        kept.order.push_back(hash);
        while kept.order.len() > CALLERS {
            let first = kept.order.pop_front();
            first.and_then(|hash| kept.callers.remove(&hash));
        }
    }

    /// What the credential stood for, if it was used here before.
    #[must_use]
    pub fn recall(&self, credential: &str) -> Option<Known> {
        let kept = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        kept.callers.get(&license::key_hash(credential)).cloned()
    }

    /// The store says that this credential is not good.
    pub fn forget(&self, credential: &str) {
        let hash = license::key_hash(credential);
        self.retain(|known_as, _| *known_as != hash);
    }

    /// A license was suspended, revoked or changed: its callers must show themselves to the store again.
    pub fn forget_license(&self, license_id: &str) {
        self.retain(|_, (license, _)| license.id != license_id);
    }

    /// Likewise for an API key.
    pub fn forget_key(&self, key_id: &str) {
        self.retain(|_, (_, key)| key.as_ref().is_none_or(|key| key.id != key_id));
    }

    fn retain(&self, keep: impl Fn(&String, &Known) -> bool) {
        let mut kept = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { callers, order } = &mut *kept;
        let before = callers.len();
        callers.retain(|hash, known| keep(hash, known));
        if callers.len() < before {
            order.retain(|hash| callers.contains_key(hash));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::license::{Limits, Status};

    fn license(id: &str) -> License {
        let then = jiff::Timestamp::UNIX_EPOCH;
        License {
            id: id.to_owned(),
            token_id: "t".to_owned(),
            plan: None,
            label: None,
            status: Status::Active,
            scopes: Vec::new(),
            models: Vec::new(),
            allowed_ips: Vec::new(),
            limits: Limits::default(),
            max_sessions: None,
            max_session_seconds: None,
            metadata: serde_json::Map::new(),
            created_at: then,
            updated_at: then,
            expires_at: None,
            expires_after_first_use: None,
            first_used_at: None,
        }
    }

    #[test]
    fn who_was_suspended_is_forgotten() {
        let callers = Credentials::default();
        callers.remember("a", &license("lic_1"), None);
        callers.remember("b", &license("lic_2"), None);
        callers.remember("c", &license("lic_1"), None);
        callers.forget_license("lic_1");
        let known = ["a", "b", "c"].map(|credential| callers.recall(credential).is_some());
        assert_eq!(known, [false, true, false]);
        callers.forget("b");
        assert!(callers.recall("b").is_none());
    }

    #[test]
    fn a_bounded_number_is_remembered() {
        let callers = Credentials::default();
        for number in 0..=CALLERS {
            callers.remember(&number.to_string(), &license("lic_1"), None);
            callers.remember("0", &license("lic_1"), None);
        }
        assert!(callers.recall("1").is_none() || callers.recall("0").is_none());
        assert!(callers.recall(&CALLERS.to_string()).is_some());
        let kept = callers.known.lock().unwrap();
        assert!(kept.callers.len() <= CALLERS && kept.order.len() == kept.callers.len());
    }
}
