//! The provider's jobs: begun by any service in the background, fetched by polling.

use std::collections::VecDeque;
use std::sync::Mutex;

use actix_web::web::{Bytes, Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::call::{Call, Reply, serve};
use super::calls::Usage;
use super::desk::Desk;
use super::refusal::{Api, Refusal};
use crate::ids;
use crate::simulator::ledger::locked;

/// Jobs remembered; older ones are forgotten first.
const LONGEST: usize = 10_000;

/// All jobs: their ids, and how often each was asked for.
#[derive(Debug, Default)]
pub struct Tasks(Mutex<VecDeque<(String, u64)>>);

impl Tasks {
    fn begin(&self) -> String {
        let id = ids::request();
        let mut tasks = locked(&self.0);
        if tasks.len() == LONGEST {
            tasks.pop_front();
        }
        tasks.push_back((id.clone(), 0));
        id
    }

    /// It runs when asked for the first time, and is done the second time.
    fn poll(&self, id: &str) -> &'static str {
        let mut tasks = locked(&self.0);
        let Some((_, polls)) = tasks.iter_mut().rev().find(|(known, _)| known == id) else { return "UNKNOWN" };
        *polls += 1;
        if *polls == 1 { "RUNNING" } else { "SUCCEEDED" }
    }
}

/// `POST /api/v1/services/…` with `X-DashScope-Async: enable`. Without it, it is refused.
pub async fn begin(desk: Data<Desk>, tasks: Data<Tasks>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let waits = request.headers().get("x-dashscope-async").is_some_and(|value| value == "enable");
    let begin = |call: &Call| {
        call.read(&body)?;
        if !waits {
            return Err(Refusal::worded(403, "current user api does not support synchronous calls."));
        }
        let output = json!({"task_id": tasks.begin(), "task_status": "PENDING"});
        Ok(Reply::Whole(json!({"output": output, "request_id": call.id}), Usage::default()))
    };
    serve(&desk, &request, Api::Native, begin).await
}

/// `GET /api/v1/tasks/{id}`.
pub async fn poll(desk: Data<Desk>, tasks: Data<Tasks>, request: HttpRequest, id: Path<String>) -> HttpResponse {
    let poll = |call: &Call| {
        let status = tasks.poll(&id);
        let (task, call) = (id.as_str(), &call.id);
        let body = if status == "SUCCEEDED" {
            let output = json!({"task_id": task, "task_status": status,
                "results": [{"url": format!("https://dashscope-result.example/{task}.png")}],
                "task_metrics": {"TOTAL": 1, "SUCCEEDED": 1, "FAILED": 0}});
            json!({"output": output, "usage": {"image_count": 1}, "request_id": call})
        } else {
            json!({"output": {"task_id": task, "task_status": status}, "request_id": call})
        };
        Ok(Reply::Whole(body, Usage::default()))
    };
    serve(&desk, &request, Api::Native, poll).await
}

#[cfg(test)]
mod tests {
    use crate::simulator::http::caller::{Answer, Caller};

    use super::*;

    #[actix_web::test]
    async fn a_job_is_done_at_the_second_look() {
        let caller = Caller::start(json!({})).await;
        let asked = json!({"model": "wanx-v1", "input": {"prompt": "a cat"}});
        let path = "/api/v1/services/aigc/text2image/image-synthesis";
        let request = caller.request("POST", path).insert_header(("x-dashscope-async", "enable"));
        let begun = Answer::of(request.send_json(&asked).await.unwrap()).await.json();
        assert_eq!(begun["output"]["task_status"], "PENDING");
        let id = begun["output"]["task_id"].as_str().unwrap();
        let look = async |id: &str| caller.fetch(&format!("/api/v1/tasks/{id}")).await.json();
        assert_eq!(look(id).await["output"]["task_status"], "RUNNING");
        let done = look(id).await;
        assert_eq!((&done["output"]["task_status"], &done["usage"]), (&json!("SUCCEEDED"), &json!({"image_count": 1})));
        assert_eq!(look("other").await["output"]["task_status"], "UNKNOWN");
        let refused = caller.post(path, &asked).await;
        assert_eq!((refused.status, &refused.json()["code"]), (403, &json!("AccessDenied")));
    }
}
