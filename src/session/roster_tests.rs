//! Who has a place, and who hears what.

use super::*;
use actix::{Context, Handler};
use futures_util::FutureExt;

struct Listener(tokio::sync::mpsc::UnboundedSender<Control>);

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<Control> for Listener {
    type Result = ();

    fn handle(&mut self, control: Control, _: &mut Context<Self>) {
        self.0.send(control).unwrap();
    }
}

fn view() -> SessionView {
    SessionView {
        id: crate::ids::session(),
        license_id: "lic_1".into(),
        key_id: None,
        model: "m".into(),
        started_at: crate::clock::now(),
    }
}

fn roster() -> Roster {
    Roster::start(10, usize::MAX, Metrics::new("test").unwrap())
}

#[test]
fn who_leaves_while_being_admitted_leaves_no_place_behind() {
    actix::System::new().block_on(async {
        let roster = roster();
        let mut leaving = Box::pin(roster.admit(view(), Some(1)));
        assert!((&mut leaving).now_or_never().is_none(), "the answer takes a turn of the actor");
        assert_eq!(roster.sessions().await.len(), 1);
        drop(leaving);
        assert_eq!(roster.sessions().await, []);
        let seat = roster.admit(view(), Some(1)).await;
        assert!(seat.is_ok());
        assert!(matches!(roster.admit(view(), Some(1)).await, Err(Error::SessionLimit { limit: 1 })));
        assert_eq!(roster.sessions().await.len(), 1, "a refused session takes nobody's place away");
    });
}

#[test]
fn who_comes_back_has_another_seat() {
    actix::System::new().block_on(async {
        let (roster, view) = (roster(), view());
        let (words, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let first = roster.admit(view.clone(), Some(1)).await.unwrap();
        first.attach(Listener(words).start().recipient());
        let second = roster.admit(view.clone(), Some(1)).await.unwrap();
        assert!(matches!(heard.recv().await, Some(Control::End(Error::SessionGone))));
        drop(first);
        assert_eq!(roster.sessions().await, [view]);
        drop(second);
        assert_eq!(roster.sessions().await, []);
    });
}

#[test]
fn who_is_away_gives_way() {
    actix::System::new().block_on(async {
        let roster = roster();
        let first = roster.admit(view(), Some(1)).await.unwrap();
        first.set_away(true);
        first.set_away(true);
        let second = roster.admit(view(), Some(1)).await.unwrap();
        assert!(roster.admit(view(), Some(1)).await.is_err());
        first.set_away(false);
        drop(second);
        assert!(roster.admit(view(), Some(1)).await.is_err());
        first.set_away(true);
        drop(first);
        assert!(roster.admit(view(), Some(1)).await.is_ok());
    });
}

#[test]
fn every_word_said_before_the_link_is_there_arrives() {
    actix::System::new().block_on(async {
        let roster = roster();
        let seat = roster.admit(view(), None).await.unwrap();
        roster.end_license("lic_1", Error::LicenseSuspended);
        roster.tell_session(seat.session_id(), Control::ExpiresAt(None));
        let (words, mut heard) = tokio::sync::mpsc::unbounded_channel();
        seat.attach(Listener(words).start().recipient());
        assert!(matches!(heard.recv().await, Some(Control::End(Error::LicenseSuspended))));
        assert!(matches!(heard.recv().await, Some(Control::ExpiresAt(None))));
    });
}
