//! The bounds of a license's fields; each refusal names the field and says what fits.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::Error;
use crate::license::SCOPES;
use crate::wire::admin::{BudgetFields, Field, LicenseFields, Mode, Unit, Window};

const LONGEST_LABEL: usize = 200;
const LONGEST_LIST: usize = 100;
const LONGEST_MODEL: usize = 200;
/// Each `*` in a pattern multiplies the work of a match.
const MOST_STARS: usize = 4;
const MOST_BUDGETS: usize = 16;
const LARGEST_METADATA: usize = 16 * 1024;
const LARGEST_RATE: u64 = 1_000_000_000;
const MOST_AT_ONCE: u64 = 1_000_000;
const LONGEST_SESSION_SECONDS: u64 = 30 * 86_400;
const LONGEST_SPAN_SECONDS: u64 = 100 * 366 * 86_400;
/// About 3,000 years of audio: its samples stay far below 2⁶³.
const MOST_AUDIO_SECONDS: f64 = 1e11;
/// JSON numbers are exact up to 2⁵³.
const MOST_UNITS: f64 = 9_007_199_254_740_992.0;
const SAMPLES_A_SECOND: f64 = 16_000.0;

/// Whether every field that is given is within its bounds.
///
/// # Errors
/// `InvalidRequest`, naming the first field that isn't.
pub fn license(fields: &LicenseFields, now: Timestamp) -> Result<(), Error> {
    let numbers = [
        ("rpm_limit", &fields.rpm_limit, LARGEST_RATE),
        ("tpm_limit", &fields.tpm_limit, LARGEST_RATE),
        ("max_parallel_requests", &fields.max_parallel_requests, MOST_AT_ONCE),
        ("max_sessions", &fields.max_sessions, MOST_AT_ONCE),
        ("max_session_seconds", &fields.max_session_seconds, LONGEST_SESSION_SECONDS),
        ("max_machines", &fields.max_machines, MOST_AT_ONCE),
        ("expires_after_first_use", &fields.expires_after_first_use, LONGEST_SPAN_SECONDS),
    ];
    for (name, number, largest) in numbers {
        if given(number).is_some_and(|number| !(1..=largest).contains(number)) {
            return Err(Error::field(name, format!("{name} is a whole number from 1 to {largest}, or null for none")));
        }
    }
    if let Some(label) = given(&fields.label) {
        text("label", label, LONGEST_LABEL)?;
    }
    if given(&fields.expires_at).is_some_and(|end| *end <= now) {
        return Err(Error::field("expires_at", "expires_at is in the past; suspend or revoke the license instead"));
    }
    lists(fields)?;
    if let Some(metadata) = given(&fields.metadata) {
        metadata_size(metadata)?;
    }
    if let Some(list) = given(&fields.budgets) {
        budgets(list)?;
    }
    Ok(())
}

/// Whether metadata is small enough to keep.
///
/// # Errors
/// `InvalidRequest` when it isn't.
pub fn metadata_size(metadata: &serde_json::Map<String, serde_json::Value>) -> Result<(), Error> {
    let size = serde_json::to_string(metadata).map_err(Error::internal)?.len();
    if size > LARGEST_METADATA {
        return Err(Error::field("metadata", format!("metadata has {LARGEST_METADATA} bytes of JSON at most")));
    }
    Ok(())
}

/// Reads addresses and CIDR networks, each in its plainest form: `10.1.2.3/8` is `10.0.0.0/8`.
///
/// # Errors
/// `InvalidRequest`, naming the element that is neither.
pub fn networks(texts: &[String]) -> Result<Vec<IpNet>, Error> {
    let read = |(index, text): (usize, &String)| {
        text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map(plain).map_err(|_| {
            let param = format!("allowed_ips[{index}]");
            Error::field(&param, format!("{param} is not an address or CIDR network such as `203.0.113.0/24`"))
        })
    };
    texts.iter().enumerate().map(read).collect()
}

/// A network without the bits beyond its length; one of IPv4 in IPv6 clothes is IPv4.
fn plain(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(network) => network.addr().to_ipv4_mapped().zip(network.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    let undressed = mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    undressed.map_or(network, IpNet::V4).trunc()
}

/// An amount of a budget in the units that the store counts.
#[must_use]
pub fn units(unit: Unit, amount: f64) -> i64 {
    let units = match unit {
        Unit::AudioSeconds => (amount * SAMPLES_A_SECOND).round(),
        Unit::Tokens | Unit::Requests => amount.ceil(),
    };
    #[expect(clippy::cast_possible_truncation, reason = "`budgets` has checked that it is far below 2⁶³")]
    let units = units as i64;
    units
}

/// Whether patterns of models are few and cheap enough to match.
///
/// # Errors
/// `InvalidRequest`, naming the element that isn't.
pub fn models(models: &[String]) -> Result<(), Error> {
    list("models", models)?;
    for (index, model) in models.iter().enumerate() {
        let param = format!("models[{index}]");
        text(&param, model, LONGEST_MODEL)?;
        if model.matches('*').count() > MOST_STARS {
            return Err(Error::field(&param, format!("{param} has more than {MOST_STARS} `*`")));
        }
    }
    Ok(())
}

fn lists(fields: &LicenseFields) -> Result<(), Error> {
    if let Some(scopes) = given(&fields.scopes) {
        if scopes.is_empty() {
            return Err(Error::field("scopes", "scopes is empty; leave it out to include every scope"));
        }
        for (index, scope) in scopes.iter().enumerate() {
            if !SCOPES.contains(&scope.as_str()) || scopes.iter().take(index).any(|earlier| earlier == scope) {
                let param = format!("scopes[{index}]");
                return Err(Error::field(&param, format!("{param} is none of {}, or named twice", SCOPES.join(", "))));
            }
        }
    }
    if let Some(models) = given(&fields.models) {
        self::models(models)?;
    }
    if let Some(addresses) = given(&fields.allowed_ips) {
        list("allowed_ips", addresses)?;
        networks(addresses)?;
    }
    Ok(())
}

fn budgets(budgets: &[BudgetFields]) -> Result<(), Error> {
    if budgets.len() > MOST_BUDGETS {
        return Err(Error::field("budgets", format!("a license has {MOST_BUDGETS} budgets at most")));
    }
    for (index, budget) in budgets.iter().enumerate() {
        let refuse = |field: &str, message: &str| {
            let param = format!("budgets[{index}].{field}");
            Err(Error::field(&param, format!("{param} {message}")))
        };
        if budget.mode == Mode::Rolling && budget.window == Window::Lifetime {
            return refuse("mode", "is `rolling`, but a lifetime does not roll; name another window");
        }
        if budget.mode == Mode::Rolling && budget.tz.is_some() {
            return refuse("tz", "is for fixed windows; one that rolls begins at no midnight");
        }
        let largest = if budget.unit == Unit::AudioSeconds { MOST_AUDIO_SECONDS } else { MOST_UNITS };
        // Not a number is refused too.
        if !(budget.limit > 0.0 && budget.limit <= largest) {
            return refuse("limit", &format!("is a positive number up to {largest}"));
        }
        if budget.soft_limit.is_some_and(|soft| !(soft > 0.0 && soft <= budget.limit)) {
            return refuse("soft_limit", "is a positive number up to the limit");
        }
        if budget.unit == Unit::AudioSeconds && units(budget.unit, budget.limit) < 1 {
            return refuse("limit", "is less than one sample of audio (1/16000 s)");
        }
        if budget.unit != Unit::AudioSeconds && budget.limit.fract() != 0.0 {
            return refuse("limit", "is a whole number for this unit");
        }
        if budget.tz.as_ref().is_some_and(|name| TimeZone::get(name).is_err()) {
            return refuse("tz", "is not an IANA time zone such as `UTC` or `Asia/Tokyo`");
        }
        let same = |other: &BudgetFields| {
            (other.unit, other.window, other.mode) == (budget.unit, budget.window, budget.mode) && other.tz == budget.tz
        };
        if budgets.iter().take(index).any(same) {
            let param = format!("budgets[{index}]");
            return Err(Error::field(&param, format!("{param} has the same unit, window and tz as an earlier one")));
        }
    }
    Ok(())
}

fn given<T>(field: &Field<T>) -> Option<&T> {
    field.as_ref().and_then(Option::as_ref)
}

fn list(name: &str, items: &[String]) -> Result<(), Error> {
    if items.len() > LONGEST_LIST {
        return Err(Error::field(name, format!("{name} has {LONGEST_LIST} items at most")));
    }
    Ok(())
}

/// Whether a text has a length and characters that fit a line.
///
/// # Errors
/// `InvalidRequest` under this name.
pub fn text(name: &str, text: &str, longest: usize) -> Result<(), Error> {
    let length = text.chars().count();
    if length == 0 || length > longest || text.chars().any(char::is_control) {
        return Err(Error::field(
            name,
            format!("{name} has 1 to {longest} characters, none of them control characters"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::admin::body;
    use serde_json::json;

    #[test]
    fn networks_are_kept_in_their_plainest_form() {
        let given = ["10.1.2.3/8", "10.1.2.3", "::ffff:10.1.2.3", "::ffff:10.1.2.3/112", "2001:DB8::1/32"];
        let plain: Vec<String> = networks(&given.map(str::to_owned)).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(plain, ["10.0.0.0/8", "10.1.2.3/32", "10.1.2.3/32", "10.1.0.0/16", "2001:db8::/32"]);
    }

    #[test]
    fn every_bound_is_named() {
        let now: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
        let budget = |field: &str, value: serde_json::Value| {
            let mut budget = json!({"unit": "tokens", "limit": 5});
            budget[field] = value;
            json!({"budgets": [{"unit": "audio_seconds", "limit": 0.5, "window": "1d"}, budget]})
        };
        for (fields, param) in [
            (json!({"rpm_limit": 0}), "rpm_limit"),
            (json!({"max_sessions": 1_000_001}), "max_sessions"),
            (json!({"label": ""}), "label"),
            (json!({"label": "x".repeat(201)}), "label"),
            (json!({"label": "a\nb"}), "label"),
            (json!({"expires_at": "2026-11-21T00:00:00Z"}), "expires_at"),
            (json!({"scopes": []}), "scopes"),
            (json!({"scopes": ["realtime", "fly"]}), "scopes[1]"),
            (json!({"models": ["a****b", "a*****b"]}), "models[1]"),
            (json!({"allowed_ips": ["10.0.0.1", "10.0.0.0/33"]}), "allowed_ips[1]"),
            (json!({"metadata": {"x": "y".repeat(16 * 1024)}}), "metadata"),
            (budget("limit", json!(0)), "budgets[1].limit"),
            (budget("limit", json!(1.5)), "budgets[1].limit"),
            (budget("limit", json!(1e300)), "budgets[1].limit"),
            (budget("mode", json!("rolling")), "budgets[1].mode"),
            (budget("soft_limit", json!(6)), "budgets[1].soft_limit"),
            (budget("tz", json!("Nowhere/Land")), "budgets[1].tz"),
            (json!({"budgets": [{"unit": "audio_seconds", "limit": 0.00001}]}), "budgets[0].limit"),
            (json!({"budgets": [{"unit": "tokens", "limit": 1}, {"unit": "tokens", "limit": 2}]}), "budgets[1]"),
        ] {
            let error = license(&body::fields(fields.clone()).unwrap(), now).unwrap_err();
            assert_eq!(error.param(), Some(param), "{fields}");
        }
        let good = json!({"label": "Tōkyō", "models": ["qwen*"], "allowed_ips": ["::1", "10.0.0.0/8"], "rpm_limit": 1,
            "budgets": [{"unit": "audio_seconds", "limit": 0.5}, {"unit": "audio_seconds", "limit": 60, "window": "1d"}]});
        license(&body::fields(good).unwrap(), now).unwrap();
    }
}
