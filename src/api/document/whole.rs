//! The whole document: what is said once in `parts.json`, every operation, and the schemas of our own types.

use serde_json::{Map, Value, json};

use super::shapes::Shapes;
use super::{accounts, calls, codes, keys, licenses, plans, records, service, sockets, upkeep};
use crate::error::Error;

/// What concerns no type of ours: title, tags, credentials, headers, and the providers' protocols.
const PARTS: &str = include_str!("parts.json");

/// `/openapi.json` as it is served; made once, when the gateway starts.
#[derive(Clone)]
pub struct Document(pub bytes::Bytes);

impl Document {
    /// Puts it together.
    ///
    /// # Errors
    /// `Internal`: a defect.
    pub fn new() -> Result<Self, Error> {
        let mut text = serde_json::to_string_pretty(&whole()?).map_err(Error::internal)?;
        text.push('\n');
        Ok(Self(text.into()))
    }
}

fn whole() -> Result<Value, Error> {
    let mut document: Value = serde_json::from_str(PARTS).map_err(Error::internal)?;
    let groups = [
        service::operations(),
        sockets::operations(),
        calls::operations(),
        licenses::operations(),
        keys::operations(),
        plans::operations(),
        accounts::operations(),
        records::operations(),
        upkeep::operations(),
    ];
    let (mut shapes, mut paths) = (Shapes::default(), Map::new());
    for operation in groups.into_iter().flatten() {
        let (method, path, described) = operation.write(&mut shapes);
        let item = paths.entry(path).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(method.to_owned(), described);
        }
    }
    put(&mut document, "/info", "version", env!("CARGO_PKG_VERSION").into())?;
    put(&mut document, "", "paths", paths.into())?;
    for (name, schema) in shapes.all() {
        put(&mut document, "/components/schemas", &name, schema)?;
    }
    put(&mut document, "/components/schemas", "ErrorCode", codes::code())?;
    put(&mut document, "/components/schemas/ErrorDetail/properties", "type", codes::kind())?;
    let anthropic = "/components/schemas/AnthropicError/properties/error/properties";
    put(&mut document, anthropic, "type", codes::kind_for_anthropic())?;
    Ok(document)
}

fn put(document: &mut Value, place: &str, name: &str, part: Value) -> Result<(), Error> {
    let place = document.pointer_mut(place).and_then(Value::as_object_mut);
    let place = place.ok_or_else(|| Error::internal(format!("parts.json has no place for {name}")))?;
    place.insert(name.to_owned(), part);
    Ok(())
}
