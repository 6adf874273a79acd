//! Which models there are, in both APIs.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::call::{Reply, serve};
use super::calls::Usage;
use super::desk::Desk;
use super::refusal::{Api, Refusal};

/// Some of the provider's. Others answer, too: all but those whose names begin with `bad` or `unknown`.
const MODELS: [&str; 12] = [
    "qwen3.8-max",
    "qwen-plus",
    "qwen-turbo",
    "qwen-mt-plus",
    "qwen-mt-turbo",
    "qwen-vl-plus",
    "qwen3-omni-flash",
    "text-embedding-v4",
    "text-embedding-v3",
    "qwen3-livetranslate-flash-realtime",
    "qwen3.5-livetranslate-flash-realtime",
    "qwen3.8-livetranslate-flash-realtime",
];
const CREATED: i64 = 1_786_098_182;

/// `GET …/models`.
pub async fn list(desk: Data<Desk>, request: HttpRequest) -> HttpResponse {
    let data: Value = MODELS.iter().map(|name| model(name)).collect();
    let reply = Reply::Whole(json!({"object": "list", "data": data}), Usage::default());
    serve(&desk, &request, Api::Compatible, |_| Ok(reply)).await
}

/// `GET …/models/{id}`.
pub async fn one(desk: Data<Desk>, request: HttpRequest, name: Path<String>) -> HttpResponse {
    let find = |_: &_| Refusal::of_model(Api::Compatible, &name).map(|()| Reply::Whole(model(&name), Usage::default()));
    serve(&desk, &request, Api::Compatible, find).await
}

/// `GET /api/v1/models`, page by page.
pub async fn native(desk: Data<Desk>, request: HttpRequest) -> HttpResponse {
    let number = |name: &str, usual: usize| {
        let pairs = request.query_string().split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse().ok());
        value.filter(|number| *number > 0).unwrap_or(usual)
    };
    let (page, size) = (number("page_no", 1), number("page_size", 10));
    let found = MODELS.iter().skip((page - 1).saturating_mul(size)).take(size);
    let found: Value = found.map(|name| json!({"model": name, "name": name})).collect();
    let output = json!({"models": found, "total": MODELS.len(), "page_no": page, "page_size": size});
    serve(&desk, &request, Api::Native, |call| {
        Ok(Reply::Whole(json!({"output": output, "request_id": call.id}), Usage::default()))
    })
    .await
}

fn model(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": CREATED, "owned_by": "system"})
}

#[cfg(test)]
mod tests {
    use crate::simulator::http::caller::Caller;

    use super::*;

    #[actix_web::test]
    async fn models_are_listed_and_found() {
        let caller = Caller::start(json!({})).await;
        let listed = caller.fetch("/compatible-mode/v1/models").await.json();
        assert_eq!((&listed["data"][1], listed["data"].as_array().unwrap().len()), (&model("qwen-plus"), MODELS.len()));
        assert_eq!(caller.fetch("/v1/models/qwen-plus").await.json(), model("qwen-plus"));
        let unknown = caller.fetch("/v1/models/unknown").await;
        assert_eq!((unknown.status, &unknown.json()["error"]["code"]), (404, &json!("model_not_found")));
        let page = caller.fetch("/api/v1/models?page_no=2&page_size=5").await.json();
        assert_eq!((&page["output"]["models"][0]["model"], &page["output"]["total"]), (&json!(MODELS[5]), &json!(12)));
        assert_eq!(caller.last().query, "page_no=2&page_size=5");
        assert_eq!(caller.fetch("/api/v1/nothing").await.status, 404);
    }
}
