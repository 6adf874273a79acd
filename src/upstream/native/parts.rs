//! One part of a message's content: OpenAI's `type` and payload become DashScope's one member that says both.

use crate::error::Error;
use crate::wire::members::{Members, string};

use super::fault;
use super::json::{Object, quoted};

/// A part in its native form.
#[derive(Debug)]
pub struct Part {
    /// The text of a part that is nothing but text.
    pub text: Option<String>,
    /// Only text, and nothing beside it, such as `cache_control`: it may be joined with its neighbours.
    pub plain: bool,
    /// `{"text": …}`, `{"image": …}`, …: what `multimodal-generation` takes.
    pub json: String,
}

/// Reads the part at `path`, e.g. `messages[0].content[1]`.
///
/// # Errors
/// `InvalidRequest` with the member's path.
pub fn read(json: &str, path: &str) -> Result<Part, Error> {
    let members = Members::read(json).ok_or_else(|| fault::wrong(path, "must be an object with a `type`"))?;
    fault::no_repeats(&members, path)?;
    let kind = members.last("type").map(|kind| string(kind).ok_or_else(|| wrong(path, "type", "must be a string")));
    let kind = kind.transpose()?;
    let Some(kind) = kind else { return untyped(&members, path) };
    match kind.as_ref() {
        "text" => text(&members, "text", path),
        "refusal" => text(&members, "refusal", path),
        "image_url" => linked(&members, &Linked { from: "image_url", to: "image", path }),
        "video_url" => linked(&members, &Linked { from: "video_url", to: "video", path }),
        "input_audio" => audio(&members, path),
        native @ ("image" | "video" | "audio") if members.last(native).is_some() => untyped(&members, path),
        _ => Err(wrong(path, "type", "must be text, image_url, input_audio, video_url or video")),
    }
}

fn wrong(path: &str, member: &str, message: &str) -> Error {
    fault::wrong(&format!("{path}.{member}"), message)
}

/// A part that is in DashScope's form already.
fn untyped(members: &Members<'_>, path: &str) -> Result<Part, Error> {
    let known = ["text", "image", "video", "audio"].iter().find(|name| members.last(name).is_some());
    match known {
        None => Err(wrong(path, "type", "is missing; say text, image_url, input_audio, video_url or video")),
        Some(&"text") => text(members, "text", path),
        Some(_) => {
            let mut part = Object::default();
            copy(members, &["type"], &mut part);
            Ok(Part { text: None, plain: false, json: part.finish() })
        }
    }
}

fn text(members: &Members<'_>, name: &str, path: &str) -> Result<Part, Error> {
    let content = members.last(name).and_then(string);
    let content = content.ok_or_else(|| wrong(path, name, "must be a string"))?;
    let mut part = Object::default();
    part.text("text", &content);
    let beside = copy(members, &["type", name], &mut part);
    let media = ["image", "video", "audio"].iter().any(|name| members.last(name).is_some());
    Ok(Part { text: (!media).then(|| content.into_owned()), plain: !media && beside == 0, json: part.finish() })
}

/// A part whose payload is an object with a `url`.
struct Linked<'a> {
    /// OpenAI's name of it.
    from: &'static str,
    /// DashScope's.
    to: &'static str,
    /// Where the part is.
    path: &'a str,
}

fn linked(members: &Members<'_>, linked: &Linked<'_>) -> Result<Part, Error> {
    let Linked { from, to, path } = *linked;
    let payload = members.last(from).unwrap_or("null");
    let inner = Members::read(payload);
    let url = inner.as_ref().map_or(Some(payload), |inner| inner.last("url"));
    let url = url.filter(|url| string(url).is_some());
    let url = url.ok_or_else(|| wrong(path, from, "must be an object with a `url` that is a string"))?;
    let mut part = Object::default();
    part.raw(to, url);
    if let Some(inner) = &inner {
        copy(inner, &["url", "detail"], &mut part);
    }
    copy(members, &["type", from], &mut part);
    Ok(Part { text: None, plain: false, json: part.finish() })
}

fn audio(members: &Members<'_>, path: &str) -> Result<Part, Error> {
    let payload = members.last("input_audio").and_then(Members::read);
    let data = payload.as_ref().and_then(|payload| payload.last("data")).and_then(string);
    let data = data.ok_or_else(|| wrong(path, "input_audio", "must be an object with `data` and `format`"))?;
    let elsewhere = ["data:", "http://", "https://", "oss://"].iter().any(|scheme| data.starts_with(scheme));
    let mut part = Object::default();
    let source = if elsewhere { quoted(&data) } else { quoted(&format!("data:;base64,{data}")) };
    part.raw("audio", &source);
    copy(members, &["type", "input_audio"], &mut part);
    Ok(Part { text: None, plain: false, json: part.finish() })
}

/// Copies all members but those named and those that are `null`; says how many.
fn copy(members: &Members<'_>, but: &[&str], to: &mut Object) -> usize {
    let others = members.entries().filter(|(name, value)| !but.contains(name) && *value != "null");
    others.map(|(name, value)| to.raw(name, value)).count()
}
