//! A native error as OpenAI clients expect it, with the code that the provider's compatible API gives it.

use crate::wire::members::{Members, string};

use super::json::Object;

/// Said where the provider says nothing that could be read.
const SILENT: &str = "the provider refused the request and gave no reason";

/// Native codes, the compatible API's, and their status. A native code also stands for all that begin with it and a dot.
#[rustfmt::skip]
const CODES: &[(&str, &str, u16)] = &[
    ("InvalidParameter", "invalid_parameter_error", 400),
    ("DataInspectionFailed", "data_inspection_failed", 400),
    ("BadRequest", "invalid_parameter_error", 400),
    ("InvalidApiKey", "invalid_api_key", 401),
    ("AccessDenied", "access_denied", 403),
    ("ModelNotFound", "model_not_found", 404),
    ("Throttling.BurstRate", "limit_burst_rate", 429),
    ("Throttling.AllocationQuota", "insufficient_quota", 429),
    ("Throttling", "limit_requests", 429),
    ("LimitRequests", "limit_requests", 429),
    ("InternalError", "internal_error", 500),
];

/// Codes that the compatible API spells alike, where their status isn't 500.
const ALIKE: &[(&str, u16)] = &[
    ("Arrearage", 400),
    ("ClientDisconnect", 400),
    ("CustomRoleBlocked", 400),
    ("NOT AUTHORIZED", 401),
    ("Model.AccessDenied", 403),
    ("App.AccessDenied", 403),
    ("Workspace.AccessDenied", 403),
    ("AllocationQuota.FreeTierOnly", 403),
    ("model_not_supported", 404),
    ("WorkSpaceNotFound", 404),
    ("NotFound", 404),
    ("CommodityNotPurchased", 429),
    ("PrepaidBillOverdue", 429),
    ("PostpaidBillOverdue", 429),
    ("ModelUnavailable", 503),
];

/// The OpenAI answer to a native error: its status, and its body. An error that came under a status of success gets
/// its code's status; a body in OpenAI's form stays as it is.
#[must_use]
pub fn translate(status: u16, body: &[u8]) -> (u16, Vec<u8>) {
    let text = std::str::from_utf8(body).unwrap_or_default().trim_start_matches('\u{feff}').trim();
    let members = Members::read(text);
    let code = members.as_ref().and_then(code);
    let status = if status < 400 { status_of(code.as_deref().unwrap_or_default()) } else { status };
    (status, translated(text, members.as_ref(), status).into_bytes())
}

/// The body of the error event that ends a stream. The code decides on the `type`: no status comes with it.
#[must_use]
pub fn event(data: &[u8]) -> Vec<u8> {
    translate(200, data).1
}

/// The native code of an error body, or the one inside an OpenAI error.
#[must_use]
pub fn code(body: &Members<'_>) -> Option<String> {
    let inner = body.last("error").and_then(Members::read);
    let code = inner.as_ref().unwrap_or(body).last("code").and_then(string);
    code.filter(|code| !code.is_empty()).map(String::from)
}

/// Whether an error has OpenAI's form already.
fn is_openai(body: &Members<'_>) -> bool {
    body.last("error").is_some_and(|error| error.starts_with('{'))
}

/// Whether a body or frame is an error, whatever it came under.
#[must_use]
pub fn is_failure(body: &Members<'_>) -> bool {
    body.last("output").is_none() && (code(body).is_some() || is_openai(body))
}

fn translated(text: &str, members: Option<&Members<'_>>, status: u16) -> String {
    if members.is_some_and(is_openai) {
        return text.to_owned();
    }
    let code = members.and_then(code);
    let code = code.as_deref().map_or_else(|| code_of(status), spelled);
    let message = members.and_then(|members| members.last("message")).and_then(string);
    let mut error = Object::default();
    error.text("message", message.as_deref().filter(|message| !message.is_empty()).unwrap_or(SILENT));
    error.text("type", kind(status, code));
    error.raw("param", "null");
    error.text("code", code);
    let mut body = Object::default();
    body.raw("error", &error.finish());
    if let Some(request_id) = members.and_then(|members| members.last("request_id")) {
        body.raw("request_id", request_id);
    }
    body.finish()
}

fn known(code: &str) -> Option<&'static (&'static str, &'static str, u16)> {
    let family = |name: &str| code.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    CODES.iter().find(|(native, ..)| family(native))
}

/// A native code as the compatible API spells it.
fn spelled(code: &str) -> &str {
    known(code).map_or(code, |(_, compatible, _)| compatible)
}

fn status_of(code: &str) -> u16 {
    let alike = || ALIKE.iter().find(|(native, _)| *native == code).map(|(_, status)| *status);
    known(code).map(|(.., status)| *status).or_else(alike).unwrap_or(500)
}

/// For an error without a code.
fn code_of(status: u16) -> &'static str {
    match status {
        401 => "invalid_api_key",
        403 => "access_denied",
        404 => "model_not_found",
        429 => "limit_requests",
        500.. => "internal_error",
        _ => "invalid_parameter_error",
    }
}

/// The compatible API calls every 4xx that was recorded an `invalid_request_error`.
fn kind(status: u16, code: &str) -> &'static str {
    match (status, code) {
        (429, "insufficient_quota") => "insufficient_quota",
        (429, _) => "rate_limit_error",
        (500.., _) => "upstream_error",
        _ => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, body: &str) -> (u16, String) {
        let (status, body) = translate(status, body.as_bytes());
        (status, String::from_utf8(body).unwrap())
    }

    #[test]
    fn recorded_errors_read_like_the_compatible_api() {
        let refused = r#"{"code":"InvalidApiKey","message":"Invalid API-key provided.","request_id":"a1c0561c"}"#;
        let expected = r#"{"error":{"message":"Invalid API-key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"},"request_id":"a1c0561c"}"#;
        assert_eq!(told(401, refused), (401, expected.to_owned()));
    }

    #[test]
    fn codes_are_spelled_as_the_compatible_api_does() {
        for (native, compatible, status) in [
            ("InvalidParameter", "invalid_parameter_error", 400),
            ("InvalidParameter.Task", "invalid_parameter_error", 400),
            ("InvalidParameterX", "InvalidParameterX", 500),
            ("DataInspectionFailed", "data_inspection_failed", 400),
            ("Arrearage", "Arrearage", 400),
            ("InvalidApiKey", "invalid_api_key", 401),
            ("AccessDenied.Unpurchased", "access_denied", 403),
            ("Model.AccessDenied", "Model.AccessDenied", 403),
            ("ModelNotFound", "model_not_found", 404),
            ("Throttling", "limit_requests", 429),
            ("Throttling.RateQuota", "limit_requests", 429),
            ("Throttling.BurstRate", "limit_burst_rate", 429),
            ("Throttling.AllocationQuota", "insufficient_quota", 429),
            ("InternalError.Algo", "internal_error", 500),
            ("ModelServingError", "ModelServingError", 500),
        ] {
            let (told, body) = told(200, &format!(r#"{{"code":"{native}","message":"m"}}"#));
            assert!(body.contains(&format!(r#""code":"{compatible}""#)), "{native}: {body}");
            assert_eq!(told, status, "{native}");
        }
    }

    #[test]
    fn what_is_no_native_error_still_answers() {
        let (status, body) = told(502, "<html>Bad gateway</html>");
        assert_eq!(status, 502);
        assert!(body.contains(SILENT) && body.contains("internal_error") && !body.contains("html"), "{body}");
        let compatible = r#"{"error":{"message":"m","code":"x"}}"#;
        assert_eq!(told(400, compatible), (400, compatible.to_owned()));
        assert_eq!(translate(400, &[0xff, 0xfe]).0, 400);
    }
}
