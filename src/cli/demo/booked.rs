//! Reads back what was booked, and holds it against the speech that was sent.

use std::time::Duration;

use serde_json::Value;

use crate::cli::fault::Fault;
use crate::client::dialect::INPUT_RATE;
use crate::client::http::Http;

/// Usage is written every second; a session's end waits for nothing longer.
const LOOKS: u32 = 50;
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// What two routes say about a license's audio, in samples at 16 kHz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Booked {
    /// `GET /v1/license`: used of the budget.
    used: u64,
    /// The same: still held for live sessions.
    reserved: u64,
    /// `GET /admin/usage`: the ledger's sum.
    ledger: u64,
}

/// The sentence for the screen when the budget and the ledger both hold exactly `samples`.
pub(super) async fn compare(customer: &Http, admin: &Http, license: &str, samples: u64) -> Result<String, Fault> {
    let right = Booked { used: samples, reserved: 0, ledger: samples };
    let mut booked = read(customer, admin, license).await?;
    for _ in 0..LOOKS {
        if booked == right {
            break;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        booked = read(customer, admin, license).await?;
    }
    let sentence = format!(
        "Spoken    {} s ({samples} samples)\nBooked    {} s of the license's budget, {} s in the usage ledger",
        seconds(samples),
        seconds(booked.used),
        seconds(booked.ledger)
    );
    if booked == right {
        return Ok(format!("{sentence}: equal."));
    }
    Err(Fault::Failed(format!("what was booked is not what was spoken ({booked:?}):\n{sentence}")))
}

async fn read(customer: &Http, admin: &Http, license: &str) -> Result<Booked, Fault> {
    let unclear = |route: &str| Fault::Failed(format!("{route} does not tell the audio of license {license}"));
    let own = customer.get("/v1/license").await?;
    let budget = audio_budget(&own).ok_or_else(|| unclear("GET /v1/license"))?;
    let amount = |name: &str| samples_of(budget.get(name)).ok_or_else(|| unclear("GET /v1/license"));
    let usage = admin.get("/admin/usage?group_by=license").await?;
    let ledger = ledger_of(&usage, license).ok_or_else(|| unclear("GET /admin/usage"))?;
    Ok(Booked { used: amount("used")?, reserved: amount("reserved")?, ledger })
}

fn audio_budget(license: &Value) -> Option<&Value> {
    let is_audio = |budget: &&Value| budget.get("unit").and_then(Value::as_str) == Some("audio_seconds");
    license.get("budgets")?.as_array()?.iter().find(is_audio)
}

/// A license's audio in all rows; none is 0.
fn ledger_of(usage: &Value, license: &str) -> Option<u64> {
    let is_ours = |row: &&Value| row.get("license_id").and_then(Value::as_str) == Some(license);
    let rows = usage.get("data")?.as_array()?.iter().filter(is_ours);
    rows.map(|row| samples_of(row.get("audio_seconds"))).sum()
}

/// Samples of an amount in seconds.
fn samples_of(seconds: Option<&Value>) -> Option<u64> {
    let seconds = seconds?.as_f64().filter(|seconds| (0.0..1e12).contains(seconds))?;
    Some((seconds * f64::from(INPUT_RATE)).round() as u64)
}

fn seconds(samples: u64) -> f64 {
    samples as f64 / f64::from(INPUT_RATE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn audio_is_read_to_the_sample() {
        let own = json!({"budgets": [
            {"unit": "tokens", "used": 9, "reserved": 0},
            {"unit": "audio_seconds", "used": 7.983_062_5, "reserved": 0.1}]});
        let budget = audio_budget(&own).unwrap();
        assert_eq!((samples_of(budget.get("used")), samples_of(budget.get("reserved"))), (Some(127_729), Some(1_600)));
        assert_eq!(samples_of(budget.get("limit")), None);
        assert_eq!(samples_of(Some(&json!(-1.0))), None);
    }

    #[test]
    fn only_the_license_s_own_rows_count() {
        let usage = json!({"data": [
            {"license_id": "lic_1", "audio_seconds": 1.5},
            {"license_id": "lic_2", "audio_seconds": 8.0},
            {"license_id": "lic_1", "audio_seconds": 0.5}]});
        assert_eq!(ledger_of(&usage, "lic_1"), Some(32_000));
        assert_eq!(ledger_of(&usage, "lic_3"), Some(0));
        assert_eq!(ledger_of(&json!({"data": [{"license_id": "lic_1"}]}), "lic_1"), None);
        assert_eq!(ledger_of(&json!({}), "lic_1"), None);
    }
}
