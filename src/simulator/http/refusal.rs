//! Refusals, in the words and the shape of each API.

use serde_json::{Value, json};

use super::faults::HttpFaults;

/// Who words an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// OpenAI's chat, embeddings and models.
    Compatible,
    /// OpenAI's responses: differs from `Compatible` in the events of a stream.
    Responses,
    /// The provider's own.
    Native,
    /// Anthropic's messages.
    Anthropic,
}

/// What a refusal is about: how each API spells it.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    status: u16,
    native: &'static str,
    compatible: &'static str,
    /// The compatible `type`.
    class: &'static str,
    /// Anthropic's `type`.
    anthropic: &'static str,
    said: &'static str,
    said_compatible: &'static str,
    said_anthropic: &'static str,
}

const fn kind(status: u16, [native, compatible, class, anthropic]: [&'static str; 4], said: [&'static str; 3]) -> Kind {
    let [said, said_compatible, said_anthropic] = said;
    Kind { status, native, compatible, class, anthropic, said, said_compatible, said_anthropic }
}

const INVALID: &str = "invalid_request_error";
/// Sources: recordings of the compatible API and raw HTTP of the native one; the rest from the provider's table of codes
/// and, for Anthropic's texts, from the definitions in its SDKs.
static KINDS: [Kind; 14] = [
    kind(400, ["InvalidParameter", "invalid_parameter_error", INVALID, INVALID], ["Request parameter is invalid."; 3]),
    kind(
        400,
        ["BadRequest.EmptyModel", "invalid_parameter_error", INVALID, INVALID],
        [
            "Required parameter \"model\" missing from request.",
            "Required parameter \"model\" missing from request.",
            "Missing required parameter: model.",
        ],
    ),
    kind(
        400,
        ["Arrearage", "Arrearage", "Arrearage", INVALID],
        [
            "Access denied, please make sure your account is in good standing.",
            "Access denied, please make sure your account is in good standing. For details, see: \
             https://www.alibabacloud.com/help/en/model-studio/error-code#overdue-payment",
            "Access denied, please make sure your account is in good standing.",
        ],
    ),
    kind(
        400,
        ["DataInspectionFailed", "data_inspection_failed", "data_inspection_failed", INVALID],
        ["Input data may contain inappropriate content."; 3],
    ),
    kind(
        401,
        ["InvalidApiKey", "invalid_api_key", INVALID, "authentication_error"],
        [
            "Invalid API-key provided.",
            "Incorrect API key provided. For details, see: \
             https://www.alibabacloud.com/help/en/model-studio/error-code#apikey-error",
            "Incorrect API key provided.",
        ],
    ),
    kind(
        403,
        ["AccessDenied", "access_denied", "access_denied", "permission_error"],
        ["Access denied.", "Access denied.", "You do not have permission to access this resource."],
    ),
    kind(404, ["ModelNotFound", "model_not_found", INVALID, "not_found_error"], ["Model not exist."; 3]),
    kind(
        429,
        ["Throttling.RateQuota", "limit_requests", "limit_requests", "rate_limit_error"],
        [
            "Requests rate limit exceeded, please try again later.",
            "You exceeded your current requests list.",
            "Rate limit exceeded. Please slow down your requests.",
        ],
    ),
    kind(
        429,
        ["Throttling.AllocationQuota", "insufficient_quota", "insufficient_quota", "billing_error"],
        [
            "Allocated quota exceeded, please increase your quota limit.",
            "You exceeded your current quota, please check your plan and billing details.",
            "You exceeded your current quota. Please check your plan and billing details.",
        ],
    ),
    kind(
        429,
        ["Throttling.BurstRate", "limit_burst_rate", "limit_burst_rate", "rate_limit_error"],
        ["Request rate increased too quickly."; 3],
    ),
    kind(500, ["InternalError", "internal_error", "internal_error", "api_error"], ["Internal service error: null"; 3]),
    kind(
        503,
        ["ModelUnavailable", "model_unavailable", "service_unavailable", "overloaded_error"],
        ["Model is unavailable, please try again later."; 3],
    ),
    kind(
        504,
        ["InternalError.Timeout", "internal_error", "internal_error", "timeout_error"],
        ["Request timed out."; 3],
    ),
    kind(529, ["ModelServingError", "overloaded_error", "overloaded_error", "overloaded_error"], ["Overloaded"; 3]),
];

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    kind: &'static Kind,
    code: Option<String>,
    message: Option<String>,
}

impl Refusal {
    /// The usual refusal with a status.
    #[must_use]
    pub fn of(status: u16) -> Self {
        let [.., internal, _, _, _] = &KINDS;
        let kind = KINDS.iter().find(|kind| kind.status == status).unwrap_or(internal);
        Self { status, kind, code: None, message: None }
    }

    /// The refusal with a code, in either spelling.
    #[must_use]
    pub fn coded(code: &str, status: Option<u16>) -> Self {
        let known = KINDS.iter().find(|kind| kind.native == code || kind.compatible == code);
        match known {
            Some(kind) => Self { status: status.unwrap_or(kind.status), kind, code: None, message: None },
            None => Self { code: Some(code.to_owned()), ..Self::of(status.unwrap_or(400)) },
        }
    }

    /// What the faults ask for.
    #[must_use]
    pub fn asked(faults: &HttpFaults) -> Option<Self> {
        match (&faults.code, faults.status) {
            (Some(code), status) => Some(Self::coded(code, status)),
            (None, Some(status)) => Some(Self::of(status)),
            (None, None) => None,
        }
    }

    /// What the faults ask for in the middle of a stream; an internal error when they don't say.
    #[must_use]
    pub fn midway(faults: &HttpFaults) -> Self {
        let mut refusal = Self::asked(faults).unwrap_or_else(|| Self::of(500));
        if refusal.kind.native == "DataInspectionFailed" {
            refusal.message = Some("Output data may contain inappropriate content.".to_owned());
        }
        refusal
    }

    /// A request that is wrong.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::worded(400, message)
    }

    /// The usual refusal with a status, in other words.
    #[must_use]
    pub fn worded(status: u16, message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..Self::of(status) }
    }

    /// Judges a model's name: 400 when missing, 404 for one that begins with `bad` or `unknown`.
    ///
    /// # Errors
    /// The refusal.
    pub fn of_model(api: Api, model: &str) -> Result<(), Self> {
        if model.is_empty() {
            return Err(Self::coded("BadRequest.EmptyModel", None));
        }
        if !model.starts_with("bad") && !model.starts_with("unknown") {
            return Ok(());
        }
        let named = || format!("The model `{model}` does not exist or you do not have access to it.");
        Err(Self { message: (api != Api::Native).then(named), ..Self::of(404) })
    }

    /// Whether the model itself, not the door before it, refuses.
    #[must_use]
    pub fn from_model(&self) -> bool {
        !matches!(self.status, 401 | 403 | 404)
    }

    /// The body of an answer.
    #[must_use]
    pub fn body(&self, api: Api, id: &str) -> Value {
        match api {
            Api::Compatible | Api::Responses => {
                let mut body = json!({"error": self.compatible(), "request_id": id});
                if self.from_model()
                    && api == Api::Compatible
                    && let Some(body) = body.as_object_mut()
                {
                    body.insert("id".to_owned(), format!("chatcmpl-{id}").into());
                }
                body
            }
            Api::Native => {
                let (code, message) = (self.code.as_deref().unwrap_or(self.kind.native), self.said(self.kind.said));
                json!({"code": code, "message": message, "request_id": id})
            }
            Api::Anthropic => {
                let error = json!({"type": self.kind.anthropic, "message": self.said(self.kind.said_anthropic)});
                json!({"type": "error", "error": error, "request_id": id})
            }
        }
    }

    /// The event that ends a stream, as its `number`th.
    #[must_use]
    pub fn event(&self, api: Api, id: &str, number: u64) -> String {
        match api {
            Api::Compatible => {
                let event = json!({"error": self.compatible(), "id": format!("chatcmpl-{id}")});
                format!("data: {event}\n\n")
            }
            Api::Responses => {
                let (code, message) = (self.compatible_code(), self.said(self.kind.said_compatible));
                let event = json!({"type": "error", "code": code, "message": message, "param": null,
                    "sequence_number": number.saturating_sub(1)});
                format!("event: error\ndata: {event}\n\n")
            }
            Api::Native => {
                let (status, event) = (self.status, self.body(api, id));
                format!("id:{number}\nevent:error\n:HTTP_STATUS/{status}\ndata:{event}\n\n")
            }
            Api::Anthropic => format!("event: error\ndata: {}\n\n", self.body(api, id)),
        }
    }

    fn compatible(&self) -> Value {
        let message = self.said(self.kind.said_compatible);
        // The gateway before the model says whose words they are.
        let message = match self.kind.compatible {
            "invalid_parameter_error" => format!("<400> InternalError.Algo.InvalidParameter: {message}"),
            _ => message.to_owned(),
        };
        json!({"message": message, "type": self.kind.class, "param": null, "code": self.compatible_code()})
    }

    fn compatible_code(&self) -> &str {
        self.code.as_deref().unwrap_or(self.kind.compatible)
    }

    fn said<'said>(&'said self, usual: &'said str) -> &'said str {
        self.message.as_deref().unwrap_or(usual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_api_has_its_shape() {
        let refused = Refusal::of(401);
        assert_eq!(
            refused.body(Api::Native, "r"),
            json!({"code": "InvalidApiKey", "message": "Invalid API-key provided.", "request_id": "r"})
        );
        let compatible = refused.body(Api::Compatible, "r");
        assert_eq!(
            (&compatible["error"]["code"], &compatible["error"]["type"]),
            (&json!("invalid_api_key"), &json!(INVALID))
        );
        assert_eq!((&compatible["request_id"], compatible.get("id")), (&json!("r"), None));
        let anthropic = refused.body(Api::Anthropic, "r");
        assert_eq!(
            anthropic["error"],
            json!({"type": "authentication_error", "message": "Incorrect API key provided."})
        );
        let invalid = Refusal::invalid("no").body(Api::Compatible, "r");
        assert_eq!(invalid["error"]["message"], "<400> InternalError.Algo.InvalidParameter: no");
        assert_eq!(invalid["id"], "chatcmpl-r");
    }

    #[test]
    fn codes_are_known_in_either_spelling() {
        assert_eq!(Refusal::coded("Throttling.RateQuota", None), Refusal::coded("limit_requests", None));
        assert_eq!(Refusal::coded("insufficient_quota", None).status, 429);
        let made_up = Refusal::coded("Tired", Some(503)).body(Api::Native, "r");
        assert_eq!((&made_up["code"], Refusal::coded("Tired", None).status), (&json!("Tired"), 400));
        assert_eq!(Refusal::of(418).body(Api::Native, "r")["code"], "InternalError");
    }

    #[test]
    fn models_are_judged_by_name() {
        assert_eq!(Refusal::of_model(Api::Compatible, "qwen-plus"), Ok(()));
        assert_eq!(Refusal::of_model(Api::Compatible, "").unwrap_err().status, 400);
        let body = Refusal::of_model(Api::Compatible, "bad model").unwrap_err().body(Api::Compatible, "r");
        assert_eq!(body["error"]["message"], "The model `bad model` does not exist or you do not have access to it.");
    }
}
