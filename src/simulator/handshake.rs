//! Judges an upgrade: the bearer, the model, and how the provider words a refusal.

use actix_http::StatusCode;
use actix_web::HttpRequest;
use actix_web::HttpResponse;
use actix_web::http::header::AUTHORIZATION;
use serde_json::json;

use crate::ids;

/// The bearer that came with a request, if it is right. `expected: None` takes any.
#[must_use]
pub fn bearer(request: &HttpRequest, expected: Option<&str>) -> Option<String> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = header.split_once(' ')?;
    let key = key.trim();
    let right = scheme.eq_ignore_ascii_case("bearer") && !key.is_empty() && expected.is_none_or(|known| known == key);
    right.then(|| key.to_owned())
}

/// The value of `model` in a query.
#[must_use]
pub fn model(query: &str) -> Option<&str> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("model="));
    value.filter(|value| !value.is_empty())
}

/// A refusal with the provider's body for this status.
#[must_use]
pub fn refusal(status: u16) -> HttpResponse {
    let (code, message) = match status {
        400 => ("BadRequest.EmptyModel", "Required parameter \"model\" missing from request."),
        401 => ("InvalidApiKey", "Invalid API-key provided."),
        403 => ("AccessDenied", "Access denied, please make sure your account is in good standing."),
        404 => ("ModelNotFound", "Model not exist."),
        429 => ("Throttling.RateQuota", "Requests rate limit exceeded, please try again later."),
        503 => ("ModelUnavailable", "Model is unavailable, please try again later."),
        _ => ("InternalError", "Internal service error: null"),
    };
    let request_id = ids::request();
    HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        .insert_header(("x-request-id", request_id.as_str()))
        .insert_header(("x-envoy-upstream-service-time", "3"))
        .json(json!({"code": code, "message": message, "request_id": request_id}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearers_are_compared_when_one_is_expected() {
        let request = |value: &str| {
            actix_web::test::TestRequest::default().insert_header((AUTHORIZATION, value)).to_http_request()
        };
        assert_eq!(bearer(&request("Bearer sk-1"), None).as_deref(), Some("sk-1"));
        assert_eq!(bearer(&request("bearer sk-1"), Some("sk-1")).as_deref(), Some("sk-1"));
        assert_eq!(bearer(&request("Bearer sk-2"), Some("sk-1")), None);
        assert_eq!(bearer(&request("Bearer "), None), None);
        assert_eq!(bearer(&request("Basic abc"), None), None);
    }

    #[test]
    fn the_model_is_in_the_query() {
        assert_eq!(model("a=b&model=qwen3"), Some("qwen3"));
        assert_eq!(model("model="), None);
    }
}
