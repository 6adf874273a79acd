//! Looks after what became of this instance's sessions and HTTP calls on the shared store: once a second, and when
//! something is announced there, whoever was ended, suspended or taken over by another instance is told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::control::Control;
use super::roster::Roster;
use crate::clock;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::license;
use crate::quota::running::RunningCalls;
use crate::store::connection::Store;
use crate::store::continuity::Standing;
use crate::store::{announcements, continuity, rights};

/// Between two looks at whether something was announced.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at every session, announced or not: somebody may have mended the store by hand.
const LOOK_AT_ALL_EVERY: Duration = Duration::from_secs(10);
/// Licenses and keys asked about at once: others come in between.
const AT_ONCE: usize = 2_000;

/// What the rounds know.
pub struct Rounds {
    store: Store,
    roster: Roster,
    calls: RunningCalls,
    credentials: Credentials,
    instance_id: String,
    /// Something was announced just now: whoever was let in meanwhile is compared once more.
    compares: bool,
    /// The version that was looked at, and when.
    looked: Option<(i64, Instant)>,
    /// Sessions' ends as they were told.
    told: HashMap<String, Option<i64>>,
}

impl Rounds {
    /// Rounds over the sessions of a roster, and calls.
    #[must_use]
    pub fn new(
        store: Store,
        roster: Roster,
        (calls, credentials): (RunningCalls, Credentials),
        instance_id: String,
    ) -> Self {
        Self { store, roster, calls, credentials, instance_id, compares: false, looked: None, told: HashMap::new() }
    }

    /// Makes them until it is dropped; `announced` hastens the next, and so does a doubt about a call.
    pub async fn make(mut self, announced: Arc<Notify>) {
        loop {
            if let Err(error) = self.look().await {
                log::debug!("what other instances did is not known: {}", error.cause().unwrap_or_default());
            }
            tokio::select! {
                _either = tokio::time::timeout(LOOK_EVERY, announced.notified()) => {}
                () = self.calls.doubted() => {}
            }
        }
    }

    async fn look(&mut self) -> Result<(), Error> {
        let version = self.store.run(announcements::version).await?;
        let now = Instant::now();
        let fresh = |(seen, at): (i64, Instant)| seen == version && now.duration_since(at) < LOOK_AT_ALL_EVERY;
        let nothing_new = self.looked.is_some_and(fresh);
        self.calls.look(&self.store, !nothing_new).await?;
        if !nothing_new || self.compares {
            self.compares = true;
            self.compare().await?;
            self.compares = !nothing_new;
        }
        if nothing_new {
            return Ok(());
        }
        let ids: Vec<String> = self.roster.sessions().await.into_iter().map(|view| view.id).collect();
        if !ids.is_empty() {
            let standings = self.store.run(move |connection| continuity::standings(connection, &ids)).await?;
            self.tell(&standings);
        }
        // What is announced meanwhile has another version.
        self.looked = Some((version, now));
        Ok(())
    }

    /// Forgets the credentials whose licenses or keys have changed.
    async fn compare(&self) -> Result<(), Error> {
        for ids in self.credentials.doubt_all().chunks(AT_ONCE) {
            let (ids, asked) = (ids.to_vec(), ids);
            let found = self.store.run(move |connection| rights::versions(connection, &ids)).await?;
            self.credentials.forget_changed(asked, &found);
        }
        Ok(())
    }

    fn tell(&mut self, standings: &[Standing]) {
        let mut told = HashMap::with_capacity(standings.len());
        for standing in standings {
            match verdict(standing, &self.instance_id) {
                Err(why) => self.roster.tell_session(&standing.id, Control::End(why)),
                Ok(end_us) => {
                    if self.told.get(&standing.id) != Some(&end_us) {
                        self.roster.tell_session(&standing.id, Control::ExpiresAt(end_us.map(clock::at)));
                    }
                    told.insert(standing.id.clone(), end_us);
                }
            }
        }
        self.told = told;
    }
}

/// When a session ends, if it may go on here.
fn verdict(standing: &Standing, instance_id: &str) -> Result<Option<i64>, Error> {
    if standing.end_wanted.is_some() {
        return Err(Error::SessionEnded);
    }
    if standing.status != "live" || standing.instance_id != instance_id {
        return Err(Error::SessionGone);
    }
    license::may_go_on(&standing.license_status, standing.key_status.as_deref())?;
    Ok(standing.license_expires_at_us.into_iter().chain(standing.key_expires_at_us).min())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing() -> Standing {
        Standing {
            id: "gws_1".into(),
            instance_id: "ins_1".into(),
            status: "live".into(),
            end_wanted: None,
            license_status: "active".into(),
            license_expires_at_us: Some(2),
            key_status: Some("active".into()),
            key_expires_at_us: Some(1),
        }
    }

    #[test]
    fn what_becomes_of_a_session() {
        let code = |standing: Standing| verdict(&standing, "ins_1").map_err(|why| why.row().code);
        assert_eq!(code(standing()), Ok(Some(1)));
        assert_eq!(code(Standing { key_expires_at_us: None, ..standing() }), Ok(Some(2)));
        assert_eq!(code(Standing { instance_id: "ins_2".into(), ..standing() }), Err("session_gone"));
        assert_eq!(code(Standing { status: "ended".into(), ..standing() }), Err("session_gone"));
        assert_eq!(code(Standing { end_wanted: Some("x".into()), ..standing() }), Err("session_ended"));
        assert_eq!(code(Standing { license_status: "revoked".into(), ..standing() }), Err("license_revoked"));
        assert_eq!(code(Standing { key_status: Some("blocked".into()), ..standing() }), Err("license_suspended"));
        assert_eq!(code(Standing { key_status: Some("deleted".into()), ..standing() }), Err("license_revoked"));
    }
}
