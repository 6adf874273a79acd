//! The chaos bench's judge finds what was lost, doubled or made up, its customer keeps the contract, and its proxy
//! breaks lines as it says.
#![allow(dead_code, reason = "the bench uses the rest")]

#[path = "../../benches/chaos/judge.rs"]
mod judge;
#[path = "../../benches/chaos/proxy.rs"]
mod proxy;
#[path = "../../benches/chaos/story.rs"]
mod story;

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use livetranslate::simulator::ledger::{Sent, SessionRecord as Leg};
use livetranslate::simulator::numbered::{self, Run};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use judge::{Verdict, assign, judge};
use proxy::{Mode, Proxy};
use story::{Step, Story};

const STREAM: u32 = 2;

/// A connection that heard these numbers and said the captions of all sentences among them.
fn leg(name: &str, heard: Range<u64>, finished: bool) -> (Leg, Vec<Value>) {
    let mut leg = Leg::default();
    (leg.finished, leg.closed_by_client) = (finished, finished);
    leg.numbers.stream = Some(STREAM);
    leg.numbers.runs.push(Run { position: 0, numbers: heard.clone() });
    let whole = numbered::sentences(STREAM, u64::MAX).take(4);
    let whole: Vec<_> = whole.filter(|part| heard.start <= part.start && part.end <= heard.end).collect();
    let mut events = vec![json!({"type": "session.created"}), json!({"type": "session.updated"})];
    for (number, sentence) in whole.iter().enumerate() {
        let (text, response) = (story::name(sentence), json!({"id": format!("resp_{name}{number}")}));
        events.push(json!({"type": "response.created", "response": response}));
        events.push(json!({"type": "response.text.done", "text": text}));
        events.push(json!({"type": "conversation.item.input_audio_transcription.completed", "transcript": text}));
        events.push(json!({"type": "response.done", "response": response}));
    }
    if finished {
        events.push(json!({"type": "session.finished"}));
    }
    for (number, event) in events.iter_mut().enumerate() {
        event["event_id"] = format!("event_{name}{number}").into();
        leg.sent.push(Sent {
            name: static_name(event["type"].as_str().unwrap()),
            id: event["event_id"].as_str().unwrap().into(),
            at: Instant::now(),
        });
    }
    (leg, events)
}

fn static_name(name: &str) -> &'static str {
    ["session.created", "session.updated", "session.finished"]
        .into_iter()
        .find(|known| *known == name)
        .unwrap_or("other")
}

fn judged(legs: &[Leg], events: &[&Value]) -> Verdict {
    judged_struck(legs, events, Vec::new())
}

fn judged_struck(legs: &[Leg], events: &[&Value], struck: Vec<SocketAddr>) -> Verdict {
    let mut story = Story::new(STREAM, 3);
    story.struck = struck;
    story.sent = story.total;
    for event in events {
        story.on(&event.to_string(), Instant::now());
    }
    let assigned = assign(&[&story], legs);
    judge(&story, &assigned[0])
}

/// Two connections, the second of which took over in a pause, and what a customer is told of them.
fn taken_over() -> ([Leg; 2], Vec<Value>) {
    let total = Story::new(STREAM, 3).total;
    let pause = numbered::shift(STREAM) + numbered::CYCLE;
    let ((first, mut told), (second, more)) = (leg("a", 0..pause + 5, false), leg("b", pause - 3..total, true));
    told.extend(more.into_iter().skip(2));
    ([first, second], told)
}

#[test]
fn what_is_whole_is_clean() {
    let (legs, told) = taken_over();
    let verdict = judged(&legs, &told.iter().collect::<Vec<_>>());
    assert!(verdict.is_clean(), "{}", verdict.describe());
    assert_eq!((verdict.accepted, verdict.replayed, verdict.legs), (Story::new(STREAM, 3).total, 8, 2));
}

#[test]
fn planted_losses_and_doubles_of_events_are_found() {
    let (legs, told) = taken_over();
    for index in 0..told.len() {
        let mut without: Vec<_> = told.iter().collect();
        without.remove(index);
        let verdict = judged(&legs, &without);
        assert!(verdict.lost_events == 1 || told[index]["event_id"] == "event_a5", "{index}: {verdict:?}");
        assert!(!verdict.is_clean(), "{index}");
        let mut twice: Vec<_> = told.iter().collect();
        twice.insert(index, &told[index]);
        assert_eq!(judged(&legs, &twice).doubled_events, 1, "{index}");
        if index > 0 {
            let mut swapped: Vec<_> = told.iter().collect();
            swapped.swap(index - 1, index);
            assert_eq!(judged(&legs, &swapped).disordered_events, 1, "{index}");
        }
    }
    let made_up = json!({"type": "response.text.delta", "event_id": "event_x"});
    assert_eq!(judged(&legs, &told.iter().chain([&made_up]).collect::<Vec<_>>()).strange_events, 1);
    let own = json!({"type": "response.text.delta", "event_id": "event_gw_x"});
    assert!(judged(&legs, &told.iter().chain([&own]).collect::<Vec<_>>()).is_clean());
}

#[test]
fn planted_losses_and_doubles_of_samples_are_found() {
    let (legs, told) = taken_over();
    let told: Vec<_> = told.iter().collect();
    let with = |runs: &[(u64, u64)]| {
        let mut legs = legs.clone();
        legs[0].numbers.runs = runs.iter().map(|(start, end)| Run { position: 0, numbers: *start..*end }).collect();
        judged(&legs, &told)
    };
    let end = legs[0].numbers.runs[0].numbers.end;
    let verdict = with(&[(0, 1_000), (1_001, end)]);
    assert_eq!((verdict.lost_samples, verdict.jumps), (1, 1));
    let verdict = with(&[(0, 1_000), (900, end)]);
    assert_eq!((verdict.lost_samples, verdict.doubled_samples, verdict.replayed), (0, 100, 8));
    let verdict = with(&[(0, end - 20)]);
    assert_eq!((verdict.lost_samples, verdict.jumps), (12, 1));
    let mut foreign = legs.clone();
    foreign[1].numbers.strange = 7;
    assert_eq!(judged(&foreign, &told).strange_samples, 7);
}

#[test]
fn a_connection_that_was_followed_in_good_form_has_told_all() {
    let (mut legs, told) = taken_over();
    let peer = SocketAddr::from(([127, 0, 0, 1], 4_000));
    (legs[0].finished, legs[0].closed_by_client, legs[0].peer) = (true, true, Some(peer));
    let sent = legs[0].sent.len();
    legs[0].sent.push(Sent { name: "session.finished", id: "event_withheld".to_owned(), at: Instant::now() });
    assert!(judged(&legs, &told.iter().collect::<Vec<_>>()).is_clean());
    let without: Vec<_> =
        told.iter().enumerate().filter(|(index, _)| *index != sent - 1).map(|(_, event)| event).collect();
    assert_eq!(judged(&legs, &without).lost_events, 1);
    assert_eq!(judged_struck(&legs, &without, vec![peer]).lost_events, 0);
}

#[test]
fn captions_count_at_their_ends() {
    let (legs, told) = taken_over();
    let is = |event: &&Value| event["type"] == "response.text.done";
    let without: Vec<_> = told.iter().filter(|event| !is(event)).collect();
    assert_eq!(judged(&legs, &without).lost_captions, 3);
    let mut again = told.iter().find(is).unwrap().clone();
    again["event_id"] = "event_gw_1".into();
    assert_eq!(judged(&legs, &told.iter().chain([&again]).collect::<Vec<_>>()).doubled_captions, 1);
    again["text"] = "s1-2".into();
    assert_eq!(judged(&legs, &told.iter().chain([&again]).collect::<Vec<_>>()).strange_captions, 1);
}

#[test]
fn the_customer_notes_breaches_of_the_contract() {
    let session = r#"{"type":"gateway.session","session_id":"gws_1","resume_token":"t","window_ms":120000,"epoch":1}"#;
    let told = |texts: &[&str]| {
        let mut story = Story::new(STREAM, 3);
        story.sent = 30_000;
        let steps: Vec<Step> = texts.iter().map(|text| story.on(text, Instant::now())).collect();
        (story, steps)
    };
    let (story, steps) = told(&[
        session,
        r#"{"type":"session.created","event_id":"event_1"}"#,
        r#"{"type":"error","event_id":"event_gw_1","error":{"code":"overloaded"}}"#,
        r#"{"type":"gateway.gap","from_seq":2,"to_seq":4}"#,
        r#"{"type":"gateway.ack","samples":800}"#,
        r#"{"type":"gateway.going_away","deadline_ms":1}"#,
        r#"{"type":"gateway.resumed","session_id":"gws_1","epoch":1,"samples":800,"seq":4}"#,
    ]);
    assert_eq!((story.seq, story.next, story.left_out, story.breaches.len()), (4, 800, 3, 0), "{:?}", story.breaches);
    assert_eq!((steps[1], steps[5]), (Step::Configure, Step::Move));
    for wrong in [
        r#"{"type":"gateway.ack","samples":30001}"#,
        r#"{"type":"gateway.gap","from_seq":2,"to_seq":4}"#,
        r#"{"type":"gateway.resumed","epoch":1,"samples":0,"seq":1}"#,
        r#"{"type":"gateway.resumed","epoch":2,"samples":40000,"seq":0}"#,
        r#"{"type":"response.done","event_id":"event_1","response":{"id":"resp_1"}}"#,
    ] {
        assert_eq!(told(&[session, wrong]).0.breaches.len(), 1, "{wrong}");
    }
    let end = story.sentences().next().unwrap().end;
    let early = format!(r#"{{"type":"gateway.ack","samples":{end}}}"#);
    assert_eq!(told(&[session, &early]).0.breaches.len(), if end > 30_000 { 2 } else { 1 });
}

/// A proxy before a listener of ours.
async fn door() -> (Proxy, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (Proxy::start(listener.local_addr().unwrap()).await.unwrap(), listener)
}

/// Both ends of a line through a proxy, with a word each way already passed.
async fn line(proxy: &Proxy, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let mut near = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut far, peer) = listener.accept().await.unwrap();
    pass(&mut near, &mut far).await;
    pass(&mut far, &mut near).await;
    assert_eq!(proxy.line_from(near.local_addr().unwrap()).unwrap().far, peer);
    assert_eq!(proxy.line_seen_as(peer).unwrap().near, near.local_addr().unwrap());
    (near, far)
}

async fn pass(from: &mut TcpStream, to: &mut TcpStream) {
    let mut word = [0; 4];
    from.write_all(b"word").await.unwrap();
    to.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"word");
}

#[actix_web::test]
async fn a_line_is_cut_or_reset_on_both_sides() {
    for (mode, ends) in [(Mode::Cut, Ok(0)), (Mode::Reset, Err(io::ErrorKind::ConnectionReset))] {
        let (proxy, listener) = door().await;
        let (mut near, mut far) = line(&proxy, &listener).await;
        proxy.lines()[0].set(mode);
        for end in [&mut near, &mut far] {
            assert_eq!(end.read(&mut [0; 4]).await.map_err(|error| error.kind()), ends);
        }
    }
}

#[actix_web::test]
async fn what_a_stall_held_passes_later_and_what_a_half_open_line_took_never_does() {
    let (proxy, listener) = door().await;
    let (mut near, mut far) = line(&proxy, &listener).await;
    let here = proxy.line_from(near.local_addr().unwrap()).unwrap();
    let mut word = [0; 4];
    here.set(Mode::Stalled);
    near.write_all(b"held").await.unwrap();
    others_pass(&proxy, &listener).await;
    assert_eq!(far.try_read(&mut word).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    here.set(Mode::Open);
    far.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"held");
    here.set(Mode::HalfOpen);
    near.write_all(b"gone").await.unwrap();
    near.shutdown().await.unwrap();
    others_pass(&proxy, &listener).await;
    assert_eq!(far.try_read(&mut word).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    here.set(Mode::Cut);
    assert_eq!(far.read(&mut word).await.unwrap(), 0);
}

/// Gives the proxy's tasks time: others' words pass.
async fn others_pass(proxy: &Proxy, listener: &TcpListener) {
    for _ in 0..20 {
        line(proxy, listener).await;
    }
}

#[actix_web::test]
async fn a_door_that_is_shut_resets_newcomers_and_one_may_lead_elsewhere() {
    let (proxy, listener) = door().await;
    let (mut near, mut far) = line(&proxy, &listener).await;
    proxy.set_door(Mode::Reset);
    let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(refused.read(&mut [0; 4]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    proxy.set_door(Mode::Open);
    proxy.lead_to(elsewhere.local_addr().unwrap());
    line(&proxy, &elsewhere).await;
    pass(&mut near, &mut far).await;
}
