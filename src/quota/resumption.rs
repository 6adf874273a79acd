//! A session that another instance, or an earlier process, began, and that goes on here.

use std::sync::Arc;

use actix::Recipient;
use tokio::sync::oneshot;

use super::ask::{Ask, Handover};
use super::batch::{Opening, Restored};
use super::lease::Lease;
use super::tally::{Ack, Tally};
use crate::error::Error;

/// What the store knew of a session, and its account, which is open here now.
pub struct Resumed {
    /// What identifies it; `max_sessions` is `None`, it isn't checked again.
    pub opening: Opening,
    /// Its lease. All that is booked counts as forwarded; there is no room yet.
    pub lease: Lease,
    /// One higher than before.
    pub epoch: u64,
    /// The last ack.
    pub ack: Ack,
    /// What its client had set: JSON, all of it.
    pub settings: Option<String>,
}

/// A way for the keeper to hand a restored account over. Should nobody take it, its lease is dropped, and the
/// session can be resumed again.
pub(super) fn handover(keeper: Recipient<Ask>) -> (Handover, oneshot::Receiver<Result<Resumed, Error>>) {
    let (sender, receiver) = oneshot::channel();
    let hand_over = move |restored: Result<(Restored, Arc<Tally>), Error>| {
        let resumed = restored.map(|(restored, tally)| {
            let Restored { opening, epoch, booked: _, recorded: _, ack, settings } = restored;
            let lease = Lease::new(opening.session_id.clone(), epoch, tally, keeper);
            Resumed { opening: Arc::unwrap_or_clone(opening), lease, epoch, ack, settings }
        });
        let _nobody_waits = sender.send(resumed);
    };
    (Box::new(hand_over), receiver)
}
