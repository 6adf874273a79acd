//! P14: frames of every size and shape, right and wrong ones, while neighbours speak.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use actix_http::ws::{Item, Message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use crate::Plan;
use crate::client::MODEL;
use crate::crowd::{Crowd, Guests};
use crate::launch::Launch;
use crate::program;
use crate::resident::resident_kib;
use crate::socket::{Incoming, Socket};
use crate::stage::{Scene, Stage};
use crate::table::Table;

const WAIT: Duration = Duration::from_secs(10);
const BORDER: usize = 64 * 1024;
const LARGEST: usize = 4 << 20;

/// Throws frames at the gateway and looks whether it stands.
pub(crate) async fn measure(plan: &Plan, launch: &Launch, table: &mut Table) -> io::Result<()> {
    let stage = Stage::set(launch, Scene::default()).await?;
    let admin = stage.gateway.address();
    let crowd = Crowd::invite(admin, admin, &Guests::new(20, if plan.short { 4 } else { 10 }, plan.seed)).await?;
    let license = program::issue(admin, &json!({"label": "frames"})).await?.1;
    let process = stage.gateway.process()?;
    let (mut answers, mut peak, mut settled) = (Vec::new(), 0.0_f64, 0.0);
    let trouble = async {
        crowd.speaking(crowd.customers.len()).await;
        settled = resident_kib(process, "VmRSS")?;
        for case in cases() {
            let (name, expected) = (case.name, case.expected);
            let answer = throw(admin, &license, case).await;
            peak = resident_kib(process, "VmHWM")?;
            answers.push((name, answer == expected, answer));
        }
        Ok(())
    };
    crowd.speak(trouble).await?;
    let alive = stage.gateway.check();
    table.must(
        "P14",
        "the gateway stands",
        alive.is_ok(),
        alive.err().map(|error| error.to_string()).unwrap_or_default(),
    );
    let wrong: Vec<String> =
        answers.iter().filter(|(_, right, _)| !right).map(|(name, _, answer)| format!("{name}: {answer}")).collect();
    table.must(
        "P14",
        &format!("{} kinds of frames answered as the contract says", answers.len()),
        wrong.is_empty(),
        wrong.join(", "),
    );
    let grown = (peak - settled) / 1_024.0;
    // Two connections' frames of 4 MiB on both legs, decoded and not, and what the allocator keeps.
    table.never_beyond("P14", "memory beyond the neighbours', peak", grown, (64.0, "MiB"));
    let outcome = crowd.outcome(&stage, admin).await?;
    table.clean("P14", "20 neighbours", &outcome.verdict);
    stage.clear().await;
    Ok(())
}

/// What a session says after it was configured, and what it expects.
struct Case {
    name: &'static str,
    frames: Vec<Thrown>,
    expected: &'static str,
}

enum Thrown {
    Message(Message),
    Raw(Vec<u8>),
}

fn cases() -> Vec<Case> {
    let text = |size: usize| Thrown::Message(Message::Text(append(size).into()));
    let one = |name, thrown, expected| Case { name, frames: vec![thrown], expected };
    let in_parts = |size: usize, part: usize| {
        let bytes = Bytes::from(append(size));
        let parts: Vec<Bytes> = bytes.chunks(part).map(Bytes::copy_from_slice).collect();
        let last = parts.len() - 1;
        let item = |(place, part)| match place {
            0 => Item::FirstText(part),
            place if place == last => Item::Last(part),
            _ => Item::Continue(part),
        };
        parts.into_iter().enumerate().map(item).map(|item| Thrown::Message(Message::Continuation(item))).collect()
    };
    vec![
        one("1 byte", Thrown::Message(Message::Text("1".into())), "alive"),
        one("no bytes", Thrown::Message(Message::Text("".into())), "alive"),
        one("64 KiB - 1", text(BORDER - 1), "alive"),
        one("64 KiB", text(BORDER), "alive"),
        one("64 KiB + 1", text(BORDER + 1), "alive"),
        one("1 MiB", text(1 << 20), "alive"),
        one("4 MiB", text(LARGEST), "alive"),
        one("over 4 MiB", text(LARGEST + 1), "closed 1009"),
        Case { name: "fragments of 7 bytes", frames: in_parts(9_000, 7), expected: "alive" },
        Case { name: "4 MiB in fragments", frames: in_parts(LARGEST, 60_000), expected: "alive" },
        Case { name: "over 4 MiB in fragments", frames: in_parts(LARGEST + 10, 60_000), expected: "closed 1009" },
        one("bad UTF-8", Thrown::Raw(masked(0x81, &[0xff, 0xfe, 0x80])), "closed 1007"),
        one("binary", Thrown::Message(Message::Binary(Bytes::from_static(b"audio?"))), "closed 1003"),
        one("reserved bits", Thrown::Raw(masked(0xf1, b"{}")), "closed"),
        one("no mask", Thrown::Raw(b"\x81\x02{}".to_vec()), "closed"),
        one("2^62 bytes announced", Thrown::Raw(announced(1 << 62, 0)), "closed 1009"),
        one("1 GiB announced, 96 MiB sent", Thrown::Raw(announced(1 << 30, 96 << 20)), "closed 1009"),
        Case { name: "100,000 pings", frames: pings(100_000), expected: "alive" },
    ]
}

/// An append event of exactly so many bytes: silence, and blanks to fill.
fn append(size: usize) -> String {
    const FRAME: [&str; 2] = [r#"{"type":"input_audio_buffer.append","audio":""#, r#"""#];
    let room = size.saturating_sub(FRAME.iter().map(|part| part.len()).sum::<usize>() + 1);
    let audio = STANDARD.encode(vec![0; (room / 4 * 3).min(6_000) / 2 * 2]);
    let mut event = [FRAME[0], &audio, FRAME[1]].concat();
    let blanks = size.saturating_sub(event.len() + 1);
    event.extend(std::iter::repeat_n(' ', blanks));
    event.push('}');
    event
}

/// A short client's frame; its mask is zero.
fn masked(first: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap_or(0);
    [&[first, 0x80 | length, 0, 0, 0, 0], content].concat()
}

/// The head of a text frame of so many bytes, and some of them.
fn announced(length: u64, sent: usize) -> Vec<u8> {
    let mut frame = [&[0x81, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat();
    frame.resize(frame.len() + sent, b' ');
    frame
}

fn pings(count: usize) -> Vec<Thrown> {
    let ping = masked(0x89, &[b'?'; 125]);
    vec![Thrown::Raw(ping.repeat(count))]
}

/// Opens a session, throws, and tells what came of it.
async fn throw(door: SocketAddr, license: &str, case: Case) -> String {
    let path = format!("/v1/realtime?model={MODEL}");
    let Ok(mut socket) = Socket::dial(door, &path, license, false).await else { return "refused".to_owned() };
    for thrown in case.frames {
        match thrown {
            Thrown::Message(message) => socket.send(message),
            Thrown::Raw(bytes) => socket.raw(&bytes),
        }
    }
    // Behind all frames: it is answered by whoever lives.
    socket.say(r#"{"type":"session.finish"}"#.to_owned());
    let until = Instant::now() + WAIT;
    loop {
        match socket.next(until).await {
            Some(Incoming::Text(text)) if text.contains("\"session.finished\"") => return "alive".to_owned(),
            Some(Incoming::Text(_) | Incoming::Alive) => {}
            Some(Incoming::Closed(Some(code))) if case.expected == "closed" && code != 1000 => {
                return "closed".to_owned();
            }
            Some(Incoming::Closed(code)) => return format!("closed {}", code.unwrap_or(1005)),
            Some(Incoming::Lost) if case.expected == "closed" => return "closed".to_owned(),
            Some(Incoming::Lost) => return "lost".to_owned(),
            None => return "no answer".to_owned(),
        }
    }
}
