//! The limits that licenses, keys and plans have in common, as options of a command.

use clap::Args;
use serde_json::{Map, Value, json};

use super::fault::Fault;

/// Limits; what isn't here can be said with --fields.
#[derive(Debug, Args)]
pub struct Limits {
    /// Whose it is
    #[arg(long)]
    label: Option<String>,
    /// A budget of so many seconds of audio
    #[arg(long, value_name = "SECONDS")]
    audio_seconds: Option<f64>,
    /// A budget of so many tokens
    #[arg(long, value_name = "NUMBER")]
    tokens: Option<u64>,
    /// A budget of so many requests
    #[arg(long, value_name = "NUMBER")]
    requests: Option<u64>,
    /// After which time these budgets start anew: 5h, 1d, 1w, 1mo or lifetime
    #[arg(long, value_name = "SPAN")]
    window: Option<String>,
    /// Count back from now, instead of from one fixed time to the next
    #[arg(long, requires = "window")]
    rolling: bool,
    /// The time zone whose midnight begins a day, e.g. Asia/Tokyo
    #[arg(long, value_name = "ZONE", requires = "window")]
    tz: Option<String>,
    /// Requests a minute
    #[arg(long, value_name = "NUMBER")]
    rpm_limit: Option<u64>,
    /// Tokens a minute
    #[arg(long, value_name = "NUMBER")]
    tpm_limit: Option<u64>,
    /// Requests at once
    #[arg(long, value_name = "NUMBER")]
    max_parallel_requests: Option<u64>,
    /// Realtime sessions at once
    #[arg(long, value_name = "NUMBER")]
    max_sessions: Option<u64>,
    /// The longest that one session may last
    #[arg(long, value_name = "SECONDS")]
    max_session_seconds: Option<u64>,
    /// Machines that it may be activated on
    #[arg(long, value_name = "NUMBER")]
    max_machines: Option<u64>,
    /// How long it lasts from its first use
    #[arg(long, value_name = "SECONDS")]
    expires_after_first_use: Option<u64>,
    /// A kind of use that it includes; may be said several times
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// A model that it may use; may be said several times
    #[arg(long, value_name = "MODEL")]
    model: Vec<String>,
    /// An address or network that it may be used from; may be said several times
    #[arg(long, value_name = "CIDR")]
    allowed_ip: Vec<String>,
    /// A field to empty, by its name in the admin API; may be said several times
    #[arg(long, value_name = "FIELD")]
    clear: Vec<String>,
    /// More fields of the admin API, as a JSON object
    #[arg(long, value_name = "JSON")]
    fields: Option<String>,
}

impl Limits {
    /// The fields that say the same.
    ///
    /// # Errors
    /// Wrong usage: --fields is no JSON object, --window without a budget.
    pub fn body(&self) -> Result<Map<String, Value>, Fault> {
        let mut body = match &self.fields {
            None => Map::new(),
            Some(text) => serde_json::from_str(text)
                .map_err(|error| Fault::Usage(format!("--fields must be a JSON object: {error}")))?,
        };
        body.extend(self.clear.iter().map(|name| (name.clone(), Value::Null)));
        body.extend(self.label.iter().map(|label| ("label".to_owned(), json!(label))));
        let numbers = [
            ("rpm_limit", self.rpm_limit),
            ("tpm_limit", self.tpm_limit),
            ("max_parallel_requests", self.max_parallel_requests),
            ("max_sessions", self.max_sessions),
            ("max_session_seconds", self.max_session_seconds),
            ("max_machines", self.max_machines),
            ("expires_after_first_use", self.expires_after_first_use),
        ];
        body.extend(numbers.into_iter().filter_map(|(name, number)| Some((name.to_owned(), json!(number?)))));
        let lists = [("scopes", &self.scope), ("models", &self.model), ("allowed_ips", &self.allowed_ip)];
        let given = lists.into_iter().filter(|(_, list)| !list.is_empty());
        body.extend(given.map(|(name, list)| (name.to_owned(), json!(list))));
        let budgets = self.budgets();
        if budgets.is_empty() && self.window.is_some() {
            let message = "--window says when --audio-seconds, --tokens or --requests start anew; name one of them";
            return Err(Fault::Usage(message.to_owned()));
        }
        body.extend((!budgets.is_empty()).then(|| ("budgets".to_owned(), Value::Array(budgets))));
        Ok(body)
    }

    fn budgets(&self) -> Vec<Value> {
        let amounts = [
            ("audio_seconds", self.audio_seconds.map(Value::from)),
            ("tokens", self.tokens.map(Value::from)),
            ("requests", self.requests.map(Value::from)),
        ];
        let window = self.window.as_deref().unwrap_or("lifetime");
        let budget = |(unit, limit): (&str, Option<Value>)| {
            let mut budget = json!({ "unit": unit, "limit": limit?, "window": window });
            let rolling = self.rolling.then(|| ("mode".to_owned(), json!("rolling")));
            let zone = self.tz.iter().map(|zone| ("tz".to_owned(), json!(zone)));
            budget
                .as_object_mut()
                .into_iter()
                .for_each(|budget| budget.extend(rolling.clone().into_iter().chain(zone.clone())));
            Some(budget)
        };
        amounts.into_iter().filter_map(budget).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        limits: Limits,
    }

    fn said(arguments: &[&str]) -> Result<Map<String, Value>, Fault> {
        Line::try_parse_from(["x"].iter().chain(arguments)).unwrap().limits.body()
    }

    #[test]
    fn options_are_fields() {
        let line = ["--label", "a", "--audio-seconds", "1.5", "--requests", "9", "--window", "1d", "--rolling"];
        let budget =
            |unit: &str, limit: Value| json!({"unit": unit, "limit": limit, "window": "1d", "mode": "rolling"});
        let budgets = json!([budget("audio_seconds", json!(1.5)), budget("requests", json!(9))]);
        assert_eq!(Value::from(said(&line).unwrap()), json!({"label": "a", "budgets": budgets}));
        let line = ["--scope", "chat", "--model", "a", "--model", "b", "--clear", "rpm_limit", "--max-machines", "3"];
        let fields = json!({"scopes": ["chat"], "models": ["a", "b"], "rpm_limit": null, "max_machines": 3});
        assert_eq!(Value::from(said(&line).unwrap()), fields);
        assert!(matches!(said(&["--window", "1d"]), Err(Fault::Usage(_))));
        assert!(matches!(said(&["--fields", "[]"]), Err(Fault::Usage(_))));
    }
}
