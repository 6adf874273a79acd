//! Places, words said before the link is there, who gives way.

use super::*;
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
fn every_word_said_before_the_link_is_there_arrives() {
    actix::System::new().block_on(async {
        let roster = roster();
        let seat = roster.admit(view(), None).await.unwrap();
        roster.end_license("lic_1", Error::LicenseSuspended);
        roster.license_changed("lic_1", None);
        let (words, mut heard) = tokio::sync::mpsc::unbounded_channel();
        seat.attach(Listener(words).start().recipient());
        assert!(matches!(heard.recv().await, Some(Control::End(Error::LicenseSuspended))));
        assert!(matches!(heard.recv().await, Some(Control::ExpiresAt(None))));
    });
}
