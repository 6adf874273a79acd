//! Callers whom the store has found good: who need not be looked up again for a moment, and who may still come in
//! while it is away.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::license::{self, ApiKey, License};

/// Callers remembered at most; beyond that who came first is forgotten first.
const CALLERS: usize = 10_000;

/// For so long the store is not asked again about a credential. A change made here is heeded at once, one made on
/// another instance after this.
pub const FRESH_FOR: Duration = Duration::from_secs(1);

/// What a credential stood for when it was last used.
pub type Known = Arc<(License, Option<ApiKey>)>;

/// The callers of this instance; cheap to clone, shared by all threads.
#[derive(Clone, Default)]
pub struct Credentials {
    known: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    /// By the credential's hash: the credential itself is not kept.
    callers: HashMap<[u8; 32], (Known, Instant)>,
    order: VecDeque<[u8; 32]>,
}

impl Credentials {
    /// A credential was found good, in the store.
    pub fn remember(&self, credential: &str, license: &License, key: Option<&ApiKey>, now: Instant) {
        let hash = license::digest_of(credential);
        let mut kept = self.kept();
        if kept.callers.insert(hash, (Arc::new((license.clone(), key.cloned())), now)).is_some() {
            return;
        }
        kept.order.push_back(hash);
        while kept.order.len() > CALLERS {
            let first = kept.order.pop_front();
            first.and_then(|hash| kept.callers.remove(&hash));
        }
    }

    /// What the credential stood for, if it was used here before, however long ago.
    #[must_use]
    pub fn recall(&self, credential: &str) -> Option<Known> {
        self.kept().callers.get(&license::digest_of(credential)).map(|(known, _)| known.clone())
    }

    /// What the credential stands for, if the store was asked about it just now.
    #[must_use]
    pub fn fresh(&self, credential: &str, now: Instant) -> Option<Known> {
        let kept = self.kept();
        let (known, since) = kept.callers.get(&license::digest_of(credential))?;
        (now.saturating_duration_since(*since) < FRESH_FOR).then(|| known.clone())
    }

    /// The store says that this credential is not good.
    pub fn forget(&self, credential: &str) {
        let hash = license::digest_of(credential);
        if self.kept().callers.remove(&hash).is_some() {
            self.kept().order.retain(|kept| *kept != hash);
        }
    }

    /// A license was suspended, revoked or changed: its callers must show themselves to the store again.
    pub fn forget_license(&self, license_id: &str) {
        self.retain(|known| known.0.id != license_id);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn retain(&self, keep: impl Fn(&Known) -> bool) {
        let mut kept = self.kept();
        let Kept { callers, order } = &mut *kept;
        let before = callers.len();
        callers.retain(|_, (known, _)| keep(known));
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
        let (callers, now) = (Credentials::default(), Instant::now());
        callers.remember("a", &license("lic_1"), None, now);
        callers.remember("b", &license("lic_2"), None, now);
        callers.remember("c", &license("lic_1"), None, now);
        callers.forget_license("lic_1");
        let known = ["a", "b", "c"].map(|credential| callers.recall(credential).is_some());
        assert_eq!(known, [false, true, false]);
        assert!(callers.fresh("b", now).is_some());
        assert!(callers.fresh("b", now + FRESH_FOR).is_none() && callers.recall("b").is_some());
        callers.forget("b");
        assert!(callers.recall("b").is_none());
    }

    #[test]
    fn a_bounded_number_is_remembered() {
        let (callers, now) = (Credentials::default(), Instant::now());
        for number in 0..=CALLERS {
            callers.remember(&number.to_string(), &license("lic_1"), None, now);
            callers.remember("0", &license("lic_1"), None, now);
        }
        assert!(callers.recall("1").is_none() || callers.recall("0").is_none());
        assert!(callers.recall(&CALLERS.to_string()).is_some());
        let kept = callers.known.lock().unwrap();
        assert!(kept.callers.len() <= CALLERS && kept.order.len() == kept.callers.len());
    }
}
