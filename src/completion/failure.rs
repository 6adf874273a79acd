//! What an answer that is not a good one means: whose fault it is, and what follows. Pure.

use std::time::Duration;

use crate::error::Error;
use crate::upstream::account::Kind;
use crate::upstream::outcome::Outcome;
use crate::wire::members::Members;

/// Whose fault a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The request's: every account would say so, and the caller is told in the provider's words.
    Request,
    /// This account doesn't have what the request wants, or may not say: another one may. If none does, the caller is
    /// told in the provider's words.
    Elsewhere,
    /// The account's, or the provider's; the caller never hears the provider's words.
    Account(Outcome),
}

/// Codes that speak of the account's money.
const ARREARS: [&str; 6] = [
    "arrearage",
    "commoditynotpurchased",
    "prepaidbilloverdue",
    "postpaidbilloverdue",
    "billing_error",
    "billing_not_active",
];
/// Codes that speak of the account's pace.
const PACE: [&str; 7] = [
    "throttling",
    "limit_requests",
    "limit_burst_rate",
    "limitrequests",
    "insufficient_quota",
    "rate_limit_error",
    "rate_limit_exceeded",
];
/// Codes that speak of the account's credential.
const CREDENTIAL: [&str; 4] = ["invalidapikey", "invalid_api_key", "authentication_error", "notauthorized"];
/// Codes that speak of the provider's state.
const STATE: [&str; 8] = [
    "internalerror",
    "internal_error",
    "systemerror",
    "modelservingerror",
    "modelunavailable",
    "overloaded_error",
    "api_error",
    "server_error",
];
/// Codes and types that speak of the request.
const REQUEST: [&str; 18] = [
    "invalidparameter",
    "invalid_parameter_error",
    "invalid_request_error",
    "invalid_value",
    "invalid_prompt",
    "invalid_image",
    "invalidurl",
    "badrequest",
    "bad_request",
    "datainspectionfailed",
    "data_inspection_failed",
    "content_filter",
    "context_length_exceeded",
    "string_above_max_length",
    "customroleblocked",
    "model_not_found",
    "modelnotfound",
    "request_too_large",
];
/// What Anthropic says in a plain 400 when the account's money is used up.
const NO_CREDIT: &str = "Your credit balance is too low";
/// What DashScope says in a plain 403 when a service is called as a job that can't be, or not as one that must be.
const WAY_OF_CALLING: [&str; 2] = ["does not support synchronous calls", "does not support asynchronous calls"];

/// Judges an answer by its status and body. `names_workspace`: the caller said in whose workspace, and what is said of
/// the account may be said of that.
#[must_use]
pub fn judge(kind: Kind, status: u16, body: &[u8], retry_after: Option<Duration>, names_workspace: bool) -> Verdict {
    let said = Said::read(body);
    let no_credit = kind == Kind::Anthropic && status == 400 && said.message.starts_with(NO_CREDIT);
    let verdict = match status {
        _ if said.is_one_of(&ARREARS) || status == 402 || no_credit => Verdict::Account(Outcome::Arrears),
        401 => Verdict::Account(Outcome::BadKey),
        403 if said.speaks_of_the_way_of_calling() => Verdict::Elsewhere,
        403 => Verdict::Account(Outcome::ModelRefused),
        404 => Verdict::Elsewhere,
        408 | 504 => Verdict::Account(Outcome::TimedOut),
        429 | 529 => Verdict::Account(Outcome::RateLimited(retry_after)),
        503 if retry_after.is_some() => Verdict::Account(Outcome::RateLimited(retry_after)),
        500.. => Verdict::Account(Outcome::Failing),
        _ if said.is_one_of(&CREDENTIAL) || said.speaks_of_a_key() => Verdict::Account(Outcome::CallersFault),
        _ if said.is_one_of(&PACE) => Verdict::Account(Outcome::RateLimited(retry_after)),
        400 | 405 | 406 | 409 | 411 | 413 | 415 | 416 | 422 | 424 => Verdict::Request,
        // What an account may use says nothing about it, and nothing that customers should hear.
        _ => Verdict::Account(Outcome::CallersFault),
    };
    match verdict {
        Verdict::Account(_) if names_workspace => Verdict::Account(Outcome::CallersFault),
        verdict => verdict,
    }
}

/// Judges an error that was answered with 200, in a stream or as a whole, by its code: what is not known to speak of
/// the request is not told.
#[must_use]
pub fn judge_event(data: &[u8]) -> Verdict {
    let said = Said::read(data);
    if said.is_one_of(&ARREARS) {
        Verdict::Account(Outcome::Arrears)
    } else if said.is_one_of(&PACE) {
        Verdict::Account(Outcome::RateLimited(None))
    } else if said.is_one_of(&CREDENTIAL) || said.speaks_of_a_key() {
        // Whoever had answered with that status would have been heard.
        Verdict::Account(Outcome::CallersFault)
    } else if said.is_one_of(&STATE) {
        Verdict::Account(Outcome::Failing)
    } else if said.is_one_of(&REQUEST) {
        Verdict::Request
    } else {
        Verdict::Account(Outcome::CallersFault)
    }
}

/// What a failed attempt is told as, where no other account could serve.
#[must_use]
pub fn error(outcome: Outcome, said: &str) -> Error {
    match outcome {
        Outcome::RateLimited(wait) => Error::upstream_limit(wait),
        Outcome::TimedOut => Error::UpstreamTimeout,
        Outcome::Served
        | Outcome::CallersFault
        | Outcome::ModelRefused
        | Outcome::Failing
        | Outcome::Unreachable
        | Outcome::BadKey
        | Outcome::Arrears
        | Outcome::Abandoned => Error::upstream(said),
    }
}

/// What an error body says, in any dialect.
#[derive(Debug, Default)]
struct Said {
    /// Lower case, without spaces: DashScope doesn't spell its codes alike everywhere.
    codes: Vec<String>,
    message: String,
}

impl Said {
    fn read(body: &[u8]) -> Self {
        let members = std::str::from_utf8(body).ok().and_then(Members::read);
        let Some(members) = members else { return Self::default() };
        let inner = members.objects("error").next();
        let response = members.objects("response").next();
        let failed = response.as_ref().and_then(|response| response.objects("error").next());
        let mut said = Self::default();
        said.message.extend(members.strings("error"));
        for place in [Some(&members), inner.as_ref(), failed.as_ref()].into_iter().flatten() {
            let codes = place.strings("code").chain(place.strings("type"));
            said.codes.extend(codes.map(|code| code.to_lowercase().replace(' ', "")));
            said.message.extend(place.strings("message"));
        }
        said
    }

    /// Whether it is about an API key, by its words.
    fn speaks_of_a_key(&self) -> bool {
        let message = self.message.to_lowercase();
        ["api key", "api-key", "apikey", "api_key"].iter().any(|word| message.contains(word))
    }

    fn speaks_of_the_way_of_calling(&self) -> bool {
        WAY_OF_CALLING.iter().any(|words| self.message.contains(words))
    }

    /// Whether a code is one of these, or begins with one and a dot.
    fn is_one_of(&self, known: &[&str]) -> bool {
        let is = |code: &str, known: &str| {
            code.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.codes.iter().any(|code| known.iter().any(|known| is(code, known)))
    }
}

/// The code of an error body, for the log: a short word, or nothing.
#[must_use]
pub fn code(body: &[u8]) -> String {
    let sane = |code: &&String| {
        code.len() <= 60 && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    Said::read(body).codes.iter().find(sane).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_at_fault() {
        let account = Verdict::Account;
        let wait = Some(Duration::from_secs(7));
        for (status, body, verdict) in [
            (400, r#"{"error":{"code":"invalid_parameter_error","message":"x"}}"#, Verdict::Request),
            (400, r#"{"error":{"code":"Arrearage","message":"x"}}"#, account(Outcome::Arrears)),
            (400, r#"{"code":"Arrearage","message":"x","request_id":"r"}"#, account(Outcome::Arrears)),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to"}}"#,
                account(Outcome::Arrears),
            ),
            (400, "not JSON", Verdict::Request),
            (401, r#"{"code":"InvalidApiKey"}"#, account(Outcome::BadKey)),
            (403, r#"{"code":"AccessDenied.Unpurchased"}"#, account(Outcome::ModelRefused)),
            (
                403,
                r#"{"code":"AccessDenied","message":"current user api does not support synchronous calls."}"#,
                Verdict::Elsewhere,
            ),
            (403, r#"{"code":"AllocationQuota.FreeTierOnly"}"#, account(Outcome::ModelRefused)),
            (400, r#"{"error":{"message":"API key not valid"}}"#, account(Outcome::CallersFault)),
            (
                404,
                r#"{"error":{"message":"The model `Your credit balance is too low` does not exist"}}"#,
                Verdict::Elsewhere,
            ),
            (407, "", account(Outcome::CallersFault)),
            (404, r#"{"error":{"code":"model_not_found"}}"#, Verdict::Elsewhere),
            (422, "{}", Verdict::Request),
            (429, r#"{"code":"Throttling.RateQuota"}"#, account(Outcome::RateLimited(wait))),
            (429, r#"{"code":"PostpaidBillOverdue"}"#, account(Outcome::Arrears)),
            (500, "", account(Outcome::Failing)),
            (503, "", account(Outcome::RateLimited(wait))),
            (504, "", account(Outcome::TimedOut)),
            (529, "", account(Outcome::RateLimited(wait))),
        ] {
            assert_eq!(judge(Kind::Anthropic, status, body.as_bytes(), wait, false), verdict, "{status} {body}");
        }
        for status in [401, 429, 500] {
            assert_eq!(judge(Kind::Dashscope, status, b"", None, true), account(Outcome::CallersFault), "{status}");
        }
    }

    #[test]
    fn errors_in_streams() {
        let event = |code: &str| judge_event(format!(r#"{{"code":"{code}","message":"m"}}"#).as_bytes());
        assert_eq!(event("InvalidParameter"), Verdict::Request);
        assert_eq!(event("DataInspectionFailed"), Verdict::Request);
        assert_eq!(event("Throttling.AllocationQuota"), Verdict::Account(Outcome::RateLimited(None)));
        assert_eq!(event("InternalError.Algo"), Verdict::Account(Outcome::Failing));
        assert_eq!(event("NOT AUTHORIZED"), Verdict::Account(Outcome::CallersFault));
        assert_eq!(event("access_denied"), Verdict::Account(Outcome::CallersFault), "unknown: not told");
        let failed = br#"{"type":"response.failed","response":{"error":{"code":"Arrearage","message":"m"}}}"#;
        assert_eq!(judge_event(failed), Verdict::Account(Outcome::Arrears));
        let openai = br#"{"error":{"code":"Arrearage","message":"m"},"id":"x"}"#;
        assert_eq!(judge_event(openai), Verdict::Account(Outcome::Arrears));
    }
}
