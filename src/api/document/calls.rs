//! Calls to models, in the protocols of OpenAI, Anthropic and DashScope, under each of their paths.

use serde_json::{Value, json};

use super::operation::{Operation, get, post};
use super::service::answer;

/// What a protocol's calls have in common.
#[derive(Clone, Copy)]
struct Protocol {
    tag: &'static str,
    parameters: &'static [&'static str],
    /// Names of its refusals, at a limit, not now, and for any other reason.
    refusals: [&'static str; 3],
}

const OPENAI: Protocol = Protocol {
    tag: "openai",
    parameters: &["OwnProviderKey", "DataInspection", "Workspace", "SessionCache"],
    refusals: ["OpenaiLimitReached", "OpenaiUnavailable", "OpenaiRefusal"],
};
const ANTHROPIC: Protocol = Protocol {
    tag: "anthropic",
    parameters: &["AnthropicVersion", "AnthropicBeta", "AnthropicBetaQuery", "OwnProviderKey"],
    refusals: ["AnthropicLimitReached", "AnthropicUnavailable", "AnthropicRefusal"],
};
const DASHSCOPE: Protocol = Protocol {
    tag: "dashscope",
    parameters: &["OwnProviderKey", "Workspace"],
    refusals: ["DashscopeLimitReached", "DashscopeUnavailable", "DashscopeRefusal"],
};

impl Protocol {
    fn call(self, operation: Operation, success: &str) -> Operation {
        let [limit, unavailable, other] = self.refusals.map(answer);
        operation
            .callers(self.tag)
            .with(self.parameters)
            .gives("200", answer(success))
            .gives("4XX", other.clone())
            .gives("429", limit)
            .gives("5XX", other)
            .gives("503", unavailable)
    }
}

/// A call that has several paths.
struct Call {
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    about: &'static str,
    takes: &'static str,
    gives: &'static str,
    example: Value,
}

/// Their operations.
#[must_use]
pub fn operations() -> Vec<Operation> {
    let mut all = Vec::new();
    let compatible = ("/compatible-mode", "Compatible", "where DashScope's compatible mode has it");
    for call in openai() {
        all.push(described(OPENAI, &call, ("", "", "")));
        all.push(described(OPENAI, &call, compatible));
    }
    let apps = ("/apps/anthropic", "Apps", "where DashScope has it");
    let api = ("/api", "Api", "where some of DashScope's clients look for it");
    for call in anthropic() {
        all.push(described(ANTHROPIC, &call, ("", "", "")));
        all.push(described(ANTHROPIC, &call, apps));
        all.push(described(ANTHROPIC, &call, api));
    }
    all.extend(models());
    all.extend(services());
    all
}

fn described(protocol: Protocol, call: &Call, (base, suffix, place): (&str, &str, &str)) -> Operation {
    let (path, id) = (format!("{base}{}", call.path), format!("{}{suffix}", call.id));
    let again = format!("The same as {}, {place}", call.path);
    let summary = if base.is_empty() { call.summary } else { &again };
    let operation = protocol.call(post(&path, &id, summary), call.gives).relays(call.takes, call.example.clone());
    if call.about.is_empty() || !base.is_empty() { operation } else { operation.about(call.about) }
}

fn openai() -> [Call; 3] {
    [
        Call {
            path: "/v1/chat/completions",
            id: "chat",
            summary: "OpenAI's chat completions",
            about: "Counts as `chat` among the license's scopes. Usage is booked from every answer; a stream tells it \
                    to the caller only where `stream_options.include_usage` asks for it.",
            takes: "ChatRequest",
            gives: "ChatCompletion",
            example: json!({"model": "qwen-plus",
                "messages": [{"role": "user", "content": "Translate into English: 今天天气很好"}]}),
        },
        Call {
            path: "/v1/embeddings",
            id: "embeddings",
            summary: "OpenAI's embeddings",
            about: "",
            takes: "EmbeddingsRequest",
            gives: "Embeddings",
            example: json!({"model": "text-embedding-v4", "input": ["one", "two"]}),
        },
        Call {
            path: "/v1/responses",
            id: "responses",
            summary: "OpenAI's responses",
            about: "",
            takes: "ResponsesRequest",
            gives: "Response",
            example: json!({"model": "qwen-plus", "input": "Good morning"}),
        },
    ]
}

fn anthropic() -> [Call; 2] {
    let messages = json!([{"role": "user", "content": "Translate into English: 今天天气很好"}]);
    [
        Call {
            path: "/v1/messages",
            id: "messages",
            summary: "Anthropic's messages",
            about: "Counts as `messages` among the license's scopes.",
            takes: "MessagesRequest",
            gives: "Message",
            example: json!({"model": "qwen-plus", "max_tokens": 200, "messages": messages}),
        },
        Call {
            path: "/v1/messages/count_tokens",
            id: "countTokens",
            summary: "Anthropic's count of a message's tokens",
            about: "Neither booked nor taken from a budget; it counts as a request of the minute.",
            takes: "MessagesRequest",
            gives: "TokenCount",
            example: json!({"model": "qwen-plus", "messages": messages}),
        },
    ]
}

fn models() -> Vec<Operation> {
    let listed = |path: &str, id: &str, summary: &str| {
        let [unavailable, other] = ["ModelsUnavailable", "ModelsRefusal"].map(answer);
        get(path, id, summary)
            .callers("openai")
            .with(&["AnthropicVersion"])
            .gives("4XX", other.clone())
            .gives("5XX", other)
            .gives("503", unavailable)
    };
    let list = listed("/v1/models", "models", "List the models that the license includes").about(
        "What the upstream accounts' providers list, asked every five minutes at most; with nothing but the caller's \
         own provider key, what that provider lists for it. With `anthropic-version` the list is in Anthropic's form, \
         refusals too.",
    );
    let compatible = "where DashScope's compatible mode has it";
    let list_again = format!("The same as /v1/models, {compatible}");
    let one_again = format!("The same as /v1/models/{{id}}, {compatible}");
    vec![
        list.gives("200", answer("Models")),
        listed("/v1/models/{id}", "model", "Show a model").with(&["ModelId"]).gives("200", answer("Model")),
        listed("/compatible-mode/v1/models", "modelsCompatible", &list_again).gives("200", answer("Models")),
        listed("/compatible-mode/v1/models/{id}", "modelCompatible", &one_again)
            .with(&["ModelId"])
            .gives("200", answer("Model")),
    ]
}

fn services() -> [Operation; 3] {
    let service = post("/api/v1/services/{path}", "service", "Any of DashScope's own services")
        .about(
            "Text and multimodal generation, embeddings, images, speech: relayed as they are, metered, with \
             DashScope's own errors. Counts as `native` among the license's scopes. With `X-DashScope-SSE: enable`, or \
             where `Accept` has `text/event-stream`, the answer is a stream whose lines keep their bytes; with \
             `X-DashScope-Async: enable` it is a job, to be asked for at `/api/v1/tasks/{id}`.",
        )
        .with(&["ServicePath", "Sse", "Async", "DataInspection", "OssResolve"])
        .relays(
            "ServiceRequest",
            json!({"model": "qwen-plus",
                "input": {"messages": [{"role": "user", "content": "Translate into English: 今天天气很好"}]},
                "parameters": {"result_format": "message"}}),
        );
    let task = get("/api/v1/tasks/{id}", "task", "Ask for the state of a job").with(&["TaskId"]).about(
        "A job is known for 48 hours to the license that began it; to others it is 404 `not_found`. Not booked.",
    );
    let cancel = post("/api/v1/tasks/{id}/cancel", "cancelTask", "End a job that still waits")
        .with(&["TaskId"])
        .about("For the license that began it. Takes no body.");
    [DASHSCOPE.call(service, "Service"), DASHSCOPE.call(task, "Task"), DASHSCOPE.call(cancel, "Task")]
}
