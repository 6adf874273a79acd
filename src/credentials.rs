//! Callers whom the store has found good: who need not be looked up again for a moment, and who may still come in
//! while it is away.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::license::{self, ApiKey, License, Version};

/// Callers remembered at most; beyond that who came first is forgotten first.
const CALLERS: usize = 10_000;

/// For so long the store is not asked again about a credential. A change made here is heeded at once, one made on
/// another instance after this, or when its announcement is heard.
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
    /// By the credential's hash: the credential itself is not kept. With when the store was asked, unless something
    /// may have changed since.
    callers: HashMap<[u8; 32], (Known, Option<Instant>)>,
    order: VecDeque<[u8; 32]>,
}

impl Credentials {
    /// A credential was found good, in the store.
    pub fn remember(&self, credential: &str, license: &License, key: Option<&ApiKey>, now: Instant) {
        let hash = license::digest_of(credential);
        let mut kept = self.kept();
        if kept.callers.insert(hash, (Arc::new((license.clone(), key.cloned())), Some(now))).is_some() {
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
        since.is_some_and(|since| now.saturating_duration_since(since) < FRESH_FOR).then(|| known.clone())
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

    /// Any license or key may have changed: the store is asked before the next use of each. Returns the ids of all
    /// that are remembered.
    #[must_use]
    pub fn doubt_all(&self) -> Vec<String> {
        let mut kept = self.kept();
        let mut ids = BTreeSet::new();
        for (known, since) in kept.callers.values_mut() {
            *since = None;
            ids.insert(known.0.id.clone());
            ids.extend(known.1.as_ref().map(|key| key.id.clone()));
        }
        ids.into_iter().collect()
    }

    /// The store was asked how the licenses and keys `asked` stand: whoever has changed, or is gone, is forgotten.
    pub fn forget_changed(&self, asked: &[String], found: &[Version]) {
        let asked: HashSet<&str> = asked.iter().map(String::as_str).collect();
        let found: HashMap<&str, &Version> = found.iter().map(|version| (version.0.as_str(), version)).collect();
        let same = |known: &Version| {
            !asked.contains(known.0.as_str()) || found.get(known.0.as_str()).is_some_and(|found| *found == known)
        };
        self.retain(|known| {
            let (license, key) = &**known;
            same(&license_version(license)) && key.as_ref().is_none_or(|key| same(&key_version(key)))
        });
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

fn license_version(license: &License) -> Version {
    Version(
        license.id.clone(),
        license.status.word().to_owned(),
        license.updated_at.as_microsecond(),
        license.expires_at.map(Timestamp::as_microsecond),
    )
}

fn key_version(key: &ApiKey) -> Version {
    Version(
        key.id.clone(),
        key.status.word().to_owned(),
        key.updated_at.as_microsecond(),
        key.expires_at.map(Timestamp::as_microsecond),
    )
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
    fn who_changed_elsewhere_is_forgotten() {
        let (callers, now) = (Credentials::default(), Instant::now());
        for number in 1..=4 {
            callers.remember(&number.to_string(), &license(&format!("lic_{number}")), None, now);
        }
        let asked = callers.doubt_all();
        assert_eq!(asked, ["lic_1", "lic_2", "lic_3", "lic_4"]);
        assert!(callers.fresh("1", now).is_none() && callers.recall("1").is_some());
        callers.remember("5", &license("lic_5"), None, now);
        let same = |id: &str| license_version(&license(id));
        let suspended = Version("lic_2".to_owned(), "suspended".to_owned(), 0, None);
        let narrowed = Version("lic_3".to_owned(), "active".to_owned(), 1, None);
        callers.forget_changed(&asked, &[same("lic_1"), suspended, narrowed]);
        let known = ["1", "2", "3", "4", "5"].map(|credential| callers.recall(credential).is_some());
        assert_eq!(known, [true, false, false, false, true]);
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
