//! A client that is cut off again and again, against a gateway of a few lines.

use proptest::prelude::*;

use super::*;

const REPLAYED: Pace = Pace { fast: false, live: false };

/// What a gateway knows of a session.
#[derive(Default)]
struct Gateway {
    accepted: Vec<i16>,
    acked: usize,
    finished: bool,
    epoch: u64,
    seq: u64,
}

impl Gateway {
    fn take(&mut self, sending: Sending) {
        match sending {
            Sending::Audio(samples) => self.accepted.extend(samples),
            Sending::Finish => self.finished = true,
            Sending::Received(seq) => assert!(seq <= self.seq),
            Sending::Event(_) => {}
        }
    }

    /// Loses what is not durable.
    fn crash(&mut self) {
        self.accepted.truncate(self.acked);
        (self.finished, self.epoch, self.seq) = (false, self.epoch + 1, 0);
    }
}

/// What happens to a session.
#[derive(Debug, Clone)]
enum Fate {
    Speech(usize),
    /// So many frames are sent; so many of them arrive before the connection may be cut.
    Send(usize),
    Ack,
    Event,
    /// So many of the frames that are sent are lost on the way.
    Cut(usize),
    CutAndCrash(usize),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => (1_usize..=FRAME_SAMPLES).prop_map(Fate::Speech),
        4 => (1_usize..6).prop_map(Fate::Send),
        2 => Just(Fate::Ack),
        2 => Just(Fate::Event),
        1 => (0_usize..4).prop_map(Fate::Cut),
        1 => (0_usize..4).prop_map(Fate::CutAndCrash),
    ]
}

fn open(pace: Pace) -> (Continuity, Instant) {
    let now = Instant::now();
    let mut client = Continuity::new(true, pace, now);
    client.granted(Secret::new("token"), 120_000, 0);
    client.opened(now);
    (client, now)
}

fn come_back(client: &mut Continuity, gateway: &mut Gateway, lost_frames: usize, now: Instant) {
    // What is under way goes down with the connection.
    for _ in 0..lost_frames {
        client.next_sending();
    }
    let (way, window) = client.lost().unwrap();
    assert!(matches!(way, Way::Resume { last_seq, .. } if last_seq <= gateway.seq) || gateway.seq == 0);
    assert_eq!((window, client.next_sending()), (Duration::from_secs(120), None));
    client.connected();
    assert_eq!(client.next_sending(), None);
    let found = client.resumed((gateway.epoch, gateway.accepted.len() as u64, gateway.seq), true, now);
    assert_eq!(found.missing, 0);
}

proptest! {
    #[test]
    fn every_sample_arrives_once_and_in_order(fates in prop::collection::vec(fate(), 1..200)) {
        let ((mut client, now), mut gateway, mut spoken) = (open(REPLAYED), Gateway::default(), Vec::<i16>::new());
        for fate in fates {
            match fate {
                Fate::Speech(samples) => {
                    let begin = spoken.len();
                    spoken.extend((begin..begin + samples).map(|sample| sample as i16));
                    prop_assert!(!client.speech(Some(&spoken[begin..])));
                }
                Fate::Send(frames) => {
                    (0..frames).filter_map(|_| client.next_sending()).for_each(|sending| gateway.take(sending));
                }
                Fate::Ack => {
                    gateway.acked = gateway.accepted.len();
                    client.acknowledged(gateway.acked as u64, now);
                }
                Fate::Event => {
                    gateway.seq += 1;
                    let expected = [r#"{"type":"response.done"}"#, r#"{"type":"gateway.ack"}"#].map(|text| client.count(text));
                    prop_assert_eq!(expected, [Arrival::New, Arrival::New]);
                    client.tick();
                }
                Fate::Cut(lost) => come_back(&mut client, &mut gateway, lost, now),
                Fate::CutAndCrash(lost) => {
                    gateway.crash();
                    come_back(&mut client, &mut gateway, lost, now);
                }
            }
        }
        client.speech(None);
        while let Some(sending) = client.next_sending() {
            gateway.take(sending);
        }
        prop_assert!(gateway.finished && client.all_sent());
        prop_assert_eq!((client.sent(), client.missing()), (spoken.len() as u64, 0));
        prop_assert_eq!(gateway.accepted, spoken);
    }
}

fn fill(client: &mut Continuity, frames: usize) {
    for _ in 0..frames {
        client.speech(Some(&[0; FRAME_SAMPLES]));
    }
}

#[test]
fn live_speech_goes_on_during_an_outage_and_what_goes_is_told() {
    let (mut client, now) = open(Pace { fast: false, live: true });
    fill(&mut client, 600);
    client.lost();
    assert!(client.takes_speech(now));
    assert!(client.speech(Some(&[0; FRAME_SAMPLES])), "the oldest goes");
    assert!(!client.speech(Some(&[0; FRAME_SAMPLES])), "it is told once");
    client.connected();
    let found = client.resumed((0, 0, 0), true, now);
    assert_eq!((found.missing, client.missing()), (2 * FRAME_SAMPLES as u64, 2 * FRAME_SAMPLES as u64));
    // The gateway never heard the first 200 ms.
    assert_eq!(client.place_ms(1_000), 1_200);
}

#[test]
fn a_file_waits() {
    let (mut client, now) = open(REPLAYED);
    fill(&mut client, 600);
    assert!(!client.takes_speech(now), "nothing of it was sent");
    (0..600).for_each(|_| drop(client.next_sending()));
    assert!(client.takes_speech(now), "what was sent and is not acknowledged gives way in real time");
    client.lost();
    assert!(!client.takes_speech(now));
    let (mut fast, now) = open(Pace { fast: true, live: false });
    fill(&mut fast, 600);
    (0..600).for_each(|_| drop(fast.next_sending()));
    assert!(!fast.takes_speech(now) && fast.takes_speech(now + PATIENCE));
    fast.acknowledged(FRAME_SAMPLES as u64, now);
    assert!(fast.takes_speech(now));
}

#[test]
fn without_a_grant_nothing_is_kept_and_only_a_beginning_is_begun_again() {
    let now = Instant::now();
    let mut client = Continuity::new(true, REPLAYED, now);
    assert!(matches!(client.lost(), Some((Way::Anew, _))));
    client.connected();
    assert!(!client.takes_speech(now));
    client.count(r#"{"type":"session.created"}"#);
    client.opened(now);
    fill(&mut client, 4);
    assert!(!client.takes_speech(now));
    client.next_sending();
    assert!(client.takes_speech(now));
    assert!(client.lost().is_none());
    assert!(Continuity::new(false, REPLAYED, now).lost().is_none());
}

#[test]
fn receipts_are_due_while_something_is_new() {
    let (mut client, now) = open(REPLAYED);
    client.tick();
    assert_eq!(client.next_sending(), None);
    client.count("{}");
    client.skip_to(9);
    client.tick();
    assert_eq!((client.next_sending(), client.next_sending()), (Some(Sending::Received(9)), None));
    client.tick();
    assert_eq!(client.next_sending(), None);
    client.lost();
    client.connected();
    assert_eq!(client.count("{}"), Arrival::TooEarly);
    assert_eq!(client.resumed((1, 0, 0), false, now), Resumption { forgotten: true, missing: 0 });
    client.queue(serde_json::json!({"type": "session.update"}));
    fill(&mut client, 1);
    assert!(matches!(client.next_sending(), Some(Sending::Event(_))));
    assert_eq!(client.next_sending(), None, "speech waits for the configuration");
}

#[test]
fn events_that_come_again_are_known() {
    let (mut client, now) = open(REPLAYED);
    (0..3).for_each(|_| assert_eq!(client.count("{}"), Arrival::New));
    client.lost();
    client.connected();
    // The gateway can't be sure that the client counts as it does.
    assert!(!client.resumed((0, 0, 0), true, now).forgotten);
    assert_eq!((client.count("{}"), client.count("{}")), (Arrival::Known, Arrival::Known));
    assert!(matches!(client.lost(), Some((Way::Resume { last_seq: 3, .. }, _))));
    client.connected();
    client.resumed((0, 0, 2), true, now);
    assert_eq!((client.count("{}"), client.count("{}")), (Arrival::Known, Arrival::New));
    client.lost();
    client.connected();
    assert!(client.resumed((1, 0, 0), true, now).forgotten);
    assert_eq!(client.count("{}"), Arrival::New);
}
