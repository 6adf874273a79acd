//! One route and method, as the document describes it.

use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::shapes::{self, Shape, Shapes};

/// Who may come in.
#[derive(Clone, Copy)]
enum Access {
    Anyone,
    /// With a license or an API key.
    Customer,
    /// So, or with a provider's key of their own.
    Caller,
    /// So, or with a ticket, or as browsers' WebSockets say it.
    Socket,
    /// So, or with the token of a session to be resumed.
    Resumer,
    Operator,
}

impl Access {
    fn schemes(self) -> Value {
        match self {
            Self::Anyone => json!([]),
            Self::Customer => json!([{ "license": [] }, { "apiKey": [] }]),
            Self::Caller => json!([{ "license": [] }, { "apiKey": [] }, { "providerKey": [] }]),
            Self::Socket => json!([{ "license": [] }, { "apiKey": [] }, { "ticket": [] }, { "subprotocol": [] }]),
            Self::Resumer => {
                json!([{ "license": [] }, { "apiKey": [] }, { "ticket": [] }, { "subprotocol": [] }, {}])
            }
            Self::Operator => json!([{ "admin": [] }]),
        }
    }
}

/// One route and method.
pub struct Operation {
    method: &'static str,
    path: String,
    access: Access,
    members: Map<String, Value>,
    parameters: Vec<Value>,
    query: Option<(Shape, &'static [&'static str])>,
    body: Option<Body>,
    answers: Map<String, Value>,
    typed: Vec<Typed>,
}

struct Body {
    schema: Described,
    required: bool,
    example: Value,
    /// What a type can't say: these members must be there.
    members: &'static [&'static str],
}

/// A type of ours, or a schema of `parts.json`: what providers say.
enum Described {
    Ours(Vec<Shape>),
    Theirs(&'static str),
}

/// An answer whose body is a type of ours.
struct Typed {
    status: u16,
    shape: Shape,
    /// What a type can't say: this member is there now.
    shown: Option<&'static str>,
}

/// `GET`
pub fn get(path: &str, id: &str, summary: &str) -> Operation {
    Operation::new("get", path, id, summary)
}

/// `HEAD`
pub fn head(path: &str, id: &str, summary: &str) -> Operation {
    Operation::new("head", path, id, summary)
}

/// `POST`
pub fn post(path: &str, id: &str, summary: &str) -> Operation {
    Operation::new("post", path, id, summary)
}

/// `PATCH`
pub fn patch(path: &str, id: &str, summary: &str) -> Operation {
    Operation::new("patch", path, id, summary)
}

/// `DELETE`
pub fn delete(path: &str, id: &str, summary: &str) -> Operation {
    Operation::new("delete", path, id, summary)
}

impl Operation {
    fn new(method: &'static str, path: &str, id: &str, summary: &str) -> Self {
        let members = [("operationId", id), ("summary", summary)].map(|(name, text)| (name.to_owned(), text.into()));
        Self {
            method,
            path: path.to_owned(),
            access: Access::Anyone,
            members: members.into_iter().collect(),
            parameters: Vec::new(),
            query: None,
            body: None,
            answers: Map::new(),
            typed: Vec::new(),
        }
    }

    /// Anyone may come in.
    #[must_use]
    pub fn open(mut self, tag: &str) -> Self {
        self.members.insert("tags".to_owned(), json!([tag]));
        self
    }

    /// Licenses and keys may come in.
    #[must_use]
    pub fn customers(mut self, tag: &str) -> Self {
        self.access = Access::Customer;
        self.open(tag).refuses(&["Unauthorized", "Forbidden", "Unavailable"])
    }

    /// Licenses, keys and providers' keys may come in.
    #[must_use]
    pub fn callers(mut self, tag: &str) -> Self {
        self.access = Access::Caller;
        self.open(tag)
    }

    /// Whoever may open a WebSocket; with a token to resume by, where that is offered.
    #[must_use]
    pub fn sockets(mut self, resumable: bool) -> Self {
        self.access = if resumable { Access::Resumer } else { Access::Socket };
        let refusals = ["InvalidRequest", "Unauthorized", "Forbidden", "NotFound", "LimitReached"];
        let ours = ["UpstreamUnavailable", "Unavailable", "UpstreamTimeout"];
        self.open("realtime").refuses(&refusals).refuses(&ours)
    }

    /// The operator may come in.
    #[must_use]
    pub fn operators(mut self) -> Self {
        self.access = Access::Operator;
        let one = self.path.contains('{');
        let this = self.open("admin").refuses(&["Unauthorized", "ShutOut", "Unavailable"]);
        if one { this.refuses(&["NotFound"]) } else { this }
    }

    /// More about it than the summary says.
    #[must_use]
    pub fn about(mut self, text: &str) -> Self {
        self.members.insert("description".to_owned(), text.into());
        self
    }

    /// Parameters of `parts.json`.
    #[must_use]
    pub fn with(mut self, names: &[&str]) -> Self {
        self.parameters.extend(names.iter().map(|name| reference("parameters", name)));
        self
    }

    /// Members of a type that are parameters of the query.
    #[must_use]
    pub fn asks<T: JsonSchema>(mut self, names: &'static [&'static str]) -> Self {
        self.query = Some((shapes::of::<T>(), names));
        self.refuses(&["InvalidRequest"])
    }

    /// The words that `status` may be in a list's query.
    #[must_use]
    pub fn status(mut self, words: &[&str]) -> Self {
        let schema = json!({ "enum": words });
        let about = "Only those of this status.";
        self.parameters.push(json!({ "name": "status", "in": "query", "description": about, "schema": schema }));
        self
    }

    /// A body that is a type of ours.
    #[must_use]
    pub fn takes<T: JsonSchema>(mut self, example: Value) -> Self {
        let schema = Described::Ours(vec![shapes::of::<T>()]);
        self.body = Some(Body { schema, required: true, example, members: &[] });
        self.refuses(&["InvalidRequest", "TooLarge"])
    }

    /// The body may be another type as well.
    #[must_use]
    pub fn or_takes<T: JsonSchema>(mut self) -> Self {
        if let Some(Body { schema: Described::Ours(shapes), .. }) = &mut self.body {
            shapes.push(shapes::of::<T>());
        }
        self
    }

    /// These members must be in the body.
    #[must_use]
    pub fn requires(mut self, members: &'static [&'static str]) -> Self {
        if let Some(body) = &mut self.body {
            body.members = members;
        }
        self
    }

    /// The body may be left out.
    #[must_use]
    pub fn optional(mut self) -> Self {
        if let Some(body) = &mut self.body {
            body.required = false;
        }
        self
    }

    /// A body of a provider's protocol.
    #[must_use]
    pub fn relays(mut self, schema: &'static str, example: Value) -> Self {
        self.body = Some(Body { schema: Described::Theirs(schema), required: true, example, members: &[] });
        self
    }

    /// An answer that is a type of ours, with these headers of `parts.json` besides the request's id.
    #[must_use]
    pub fn answers<T: JsonSchema>(mut self, status: u16, about: &str, headers: &[(&str, &str)]) -> Self {
        self.typed.push(Typed { status, shape: shapes::of::<T>(), shown: None });
        let headers = headers.iter().chain(&[("x-request-id", "RequestId")]);
        let headers: Map<String, Value> =
            headers.map(|(name, part)| ((*name).to_owned(), reference("headers", part))).collect();
        self.answers.insert(status.to_string(), json!({ "description": about, "headers": headers }));
        self
    }

    /// That answer has this member, which others of its type need not have.
    #[must_use]
    pub fn showing(mut self, member: &'static str) -> Self {
        if let Some(answer) = self.typed.last_mut() {
            answer.shown = Some(member);
        }
        self
    }

    /// An answer that is no JSON, or not alone.
    #[must_use]
    pub fn also(mut self, status: u16, media: &str) -> Self {
        let answer = self.answers.entry(status.to_string()).or_insert_with(|| json!({}));
        if let Some(answer) = answer.as_object_mut() {
            let content = answer.entry("content").or_insert_with(|| json!({}));
            if let Some(content) = content.as_object_mut() {
                content.insert(media.to_owned(), json!({ "schema": { "type": "string" } }));
            }
        }
        self
    }

    /// An answer as it is.
    #[must_use]
    pub fn gives(mut self, status: &str, answer: Value) -> Self {
        self.answers.insert(status.to_owned(), answer);
        self
    }

    /// Refusals of `parts.json`.
    #[must_use]
    pub fn refuses(mut self, names: &[&str]) -> Self {
        for name in names {
            let status = match *name {
                "InvalidRequest" => "400",
                "Unauthorized" => "401",
                "Forbidden" => "403",
                "NotFound" => "404",
                "Conflict" => "409",
                "SessionGone" => "410",
                "PreconditionFailed" => "412",
                "TooLarge" => "413",
                "LimitReached" | "ShutOut" => "429",
                "UpstreamUnavailable" => "502",
                "Unavailable" | "NotReady" => "503",
                "UpstreamTimeout" => "504",
                _ => "default",
            };
            self.answers.insert(status.to_owned(), reference("responses", name));
        }
        self
    }

    /// Its method, its path, and all that is said about it.
    pub fn write(self, shapes: &mut Shapes) -> (&'static str, String, Value) {
        let Self { method, path, access, mut members, mut parameters, query, body, mut answers, typed } = self;
        members.insert("security".to_owned(), access.schemes());
        if let Some((shape, names)) = query {
            parameters.extend(shapes.query(shape, names));
        }
        if !parameters.is_empty() {
            members.insert("parameters".to_owned(), parameters.into());
        }
        if let Some(body) = body {
            members.insert("requestBody".to_owned(), body.write(shapes));
        }
        for Typed { status, shape, shown } in typed {
            let schema = shapes.written(shape);
            let schema = match shown {
                Some(member) => {
                    let shown = json!({ "required": [member], "properties": { member: { "type": "string" } } });
                    json!({ "allOf": [schema, shown] })
                }
                None => schema,
            };
            if let Some(answer) = answers.get_mut(&status.to_string()).and_then(Value::as_object_mut) {
                let content = answer.entry("content").or_insert_with(|| json!({}));
                if let Some(content) = content.as_object_mut() {
                    content.insert("application/json".to_owned(), json!({ "schema": schema }));
                }
            }
        }
        if !["default", "4XX"].iter().any(|status| answers.contains_key(*status)) {
            answers.insert("default".to_owned(), reference("responses", "Error"));
        }
        members.insert("responses".to_owned(), answers.into());
        (method, path, members.into())
    }
}

impl Body {
    fn write(self, shapes: &mut Shapes) -> Value {
        let schema = match self.schema {
            Described::Theirs(name) => reference("schemas", name),
            Described::Ours(all) => {
                let mut all: Vec<Value> = all.into_iter().map(|shape| shapes.read(shape)).collect();
                match (all.len(), all.pop()) {
                    (1, Some(only)) => only,
                    (_, last) => {
                        all.extend(last);
                        json!({ "anyOf": all })
                    }
                }
            }
        };
        let schema =
            if self.members.is_empty() { schema } else { json!({ "allOf": [schema, { "required": self.members }] }) };
        let mut media = json!({ "schema": schema });
        if let (false, Some(media)) = (self.example.is_null(), media.as_object_mut()) {
            media.insert("example".to_owned(), self.example);
        }
        json!({ "required": self.required, "content": { "application/json": media } })
    }
}

/// A part of the document that is said elsewhere in it.
#[must_use]
pub fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}
