//! Schemas of the code's own types, as serde reads and writes them.

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Asks for the schema of a type.
pub type Shape = fn(&mut SchemaGenerator) -> Schema;

/// The schema of `T`, to be asked for later.
#[must_use]
pub fn of<T: JsonSchema>() -> Shape {
    |generator| generator.subschema_for::<T>()
}

/// Collects the schemas that routes name: of what is read, and of what is written.
pub struct Shapes {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

impl Default for Shapes {
    fn default() -> Self {
        let settings =
            || SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = "/components/schemas".into());
        Self {
            read: settings().for_deserialize().into_generator(),
            written: settings().for_serialize().into_generator(),
        }
    }
}

impl Shapes {
    /// The schema of something that callers send.
    pub fn read(&mut self, shape: Shape) -> Value {
        tidy(shape(&mut self.read))
    }

    /// The schema of something that is answered.
    pub fn written(&mut self, shape: Shape) -> Value {
        tidy(shape(&mut self.written))
    }

    /// The parameters of a query: those members of a type that are `named`, in that order.
    pub fn query(&mut self, shape: Shape, named: &[&str]) -> Vec<Value> {
        let schema = tidy(shape(&mut self.read));
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
        // A query is no component of its own.
        let schema = match name {
            Some(name) => self.read.definitions_mut().remove(name).unwrap_or_default(),
            None => schema,
        };
        let member = |name: &str| schema.get("properties")?.get(name).cloned();
        named.iter().filter_map(|name| Some(parameter(name, member(name)?))).collect()
    }

    /// Every schema that was named, by its name.
    #[must_use]
    pub fn all(mut self) -> Map<String, Value> {
        let (mut all, read) = (self.written.take_definitions(true), self.read.take_definitions(true));
        all.extend(read);
        all.into_iter().map(|(name, schema)| (name, Schema::try_from(schema).map_or(Value::Null, tidy))).collect()
    }
}

fn parameter(name: &str, schema: Value) -> Value {
    let mut schema = Schema::try_from(schema).map_or(Value::Null, tidy);
    let about = schema.as_object_mut().and_then(|members| members.remove("description"));
    // What is left out is no value of a query.
    if let Some(kinds) = schema.get_mut("type")
        && let Some(kind) = kinds.as_array().and_then(|kinds| kinds.iter().find(|kind| *kind != "null")).cloned()
    {
        *kinds = kind;
    }
    json!({ "name": name, "in": "query", "description": about, "schema": schema })
}

/// Without what says nothing: titles, formats of Rust's integers, and nulls for what is left out.
fn tidy(schema: Schema) -> Value {
    let mut schema = schema;
    RecursiveTransform(|schema: &mut Schema| {
        schema.remove("title");
        if let Some(Value::String(about)) = schema.get_mut("description") {
            *about = about.replace("\n\n", "\r").replace('\n', " ").replace('\r', "\n\n");
        }
        if schema.get("default").is_some_and(Value::is_null) {
            schema.remove("default");
        }
        let number =
            |format: &Value| format.as_str().is_some_and(|format| !["date-time", "uri", "date"].contains(&format));
        if schema.get("format").is_some_and(number) {
            schema.remove("format");
        }
    })
    .transform(&mut schema);
    schema.to_value()
}
