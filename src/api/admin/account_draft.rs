//! Makes an upstream account, and changes one, from the fields that an operator sent. Pure.

use jiff::Timestamp;

use super::checks;
use crate::accounts::{ANTHROPIC_BASE_URL, DASHSCOPE_BASE_URL, DEFAULT_WEIGHT, ENVIRONMENT};
use crate::config::address;
use crate::config::settings::Secret;
use crate::error::Error;
use crate::store::accounts::StoredAccount;
use crate::upstream::account::{Account, Kind, Mode, State};
use crate::wire::accounts::AccountFields;
use crate::wire::admin::Field;

const LONGEST_NAME: usize = 100;
const LONGEST_URL: usize = 500;
const LONGEST_CREDENTIAL: usize = 4_096;
const LARGEST_WEIGHT: u32 = 1_000;
const LARGEST_PRIORITY: u32 = 1_000;
const MOST_AT_ONCE: u32 = 1_000_000;

/// A new account, not sealed yet, and its credential.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault.
pub fn account(fields: &AccountFields, id: &str, now: Timestamp) -> Result<(StoredAccount, Secret), Error> {
    let kind = kind(required("kind", &fields.kind)?)?;
    let name = required("name", &fields.name)?;
    let account = StoredAccount {
        id: id.to_owned(),
        name: name.clone(),
        kind: kind.word().to_owned(),
        mode: Mode::default().word().to_owned(),
        base_url: String::new(),
        sealed_credential: None,
        models: Vec::new(),
        weight: DEFAULT_WEIGHT,
        priority: 0,
        max_concurrency: None,
        state: State::default().word().to_owned(),
        created_at: now,
        updated_at: now,
    };
    // Left out is as good as null here.
    let fields = AccountFields { base_url: fields.base_url.clone().or(Some(None)), ..fields.clone() };
    let (account, credential) = changed(&fields, account, now)?;
    let credential = credential.ok_or_else(|| missing("credential"))?;
    Ok((account, credential))
}

/// What a merge patch makes of an account, and its new credential if there is one.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault; `Conflict` for another kind.
pub fn changed(
    fields: &AccountFields,
    account: StoredAccount,
    now: Timestamp,
) -> Result<(StoredAccount, Option<Secret>), Error> {
    let kind = self::kind(&account.kind)?;
    if given("kind", &fields.kind)?.is_some_and(|other| *other != account.kind) {
        return Err(Error::Conflict("an account keeps its kind; add another account".to_owned()));
    }
    let name = given("name", &fields.name)?;
    name.map_or(Ok(()), |name| self::name(name))?;
    let credential = given("credential", &fields.credential)?.map(|text| self::credential(text)).transpose()?;
    let base_url = fields.base_url.as_ref().map(|url| base_url(kind, url.as_deref())).transpose()?;
    let moves = base_url.as_ref().is_some_and(|url| *url != account.base_url && !account.base_url.is_empty());
    if moves && credential.is_none() {
        let message = "a new base_url needs the credential again: the present one is not sent to another server";
        return Err(Error::field("credential", message));
    }
    let mode = fields.mode.as_ref().map(|word| mode(kind, word.as_deref())).transpose()?;
    let state = fields.state.as_ref().map(|word| state(word.as_deref())).transpose()?;
    let models = fields.models.as_ref().map(|models| models.clone().unwrap_or_default());
    checks::models(models.as_deref().unwrap_or_default())?;
    let weight = number("weight", &fields.weight, 1..=LARGEST_WEIGHT)?;
    let priority = number("priority", &fields.priority, 0..=LARGEST_PRIORITY)?;
    let max_concurrency = number("max_concurrency", &fields.max_concurrency, 1..=MOST_AT_ONCE)?;
    let changed = StoredAccount {
        name: name.cloned().unwrap_or(account.name),
        base_url: base_url.unwrap_or(account.base_url),
        mode: mode.map_or(account.mode, |mode| mode.word().to_owned()),
        models: models.unwrap_or(account.models),
        weight: weight.map_or(account.weight, |weight| weight.unwrap_or(DEFAULT_WEIGHT)),
        priority: priority.map_or(account.priority, Option::unwrap_or_default),
        max_concurrency: max_concurrency.unwrap_or(account.max_concurrency),
        state: state.map_or(account.state, |state| state.word().to_owned()),
        updated_at: now,
        ..account
    };
    Ok((changed, credential))
}

/// Refuses to change what the environment says of an account.
///
/// # Errors
/// `Conflict`, naming the setting to change instead.
pub fn refuse_environments(fields: &AccountFields, account: &Account) -> Result<(), Error> {
    let (key, base_url) = match account.kind {
        Kind::Anthropic => ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
        Kind::Dashscope | Kind::Openai => ("DASHSCOPE_API_KEY", "DASHSCOPE_HTTP_BASE_URL"),
    };
    let fixed = [
        ("credential", fields.credential.is_some(), key),
        ("base_url", fields.base_url.is_some(), base_url),
        ("name", fields.name.is_some(), key),
        ("kind", fields.kind.is_some(), key),
    ];
    match fixed.iter().find(|(_, given, _)| *given) {
        None => Ok(()),
        Some((field, _, setting)) => Err(Error::Conflict(format!(
            "`{field}` of this account comes from the environment: change {setting} there and start again"
        ))),
    }
}

fn missing(name: &str) -> Error {
    Error::field(name, format!("{name} is missing"))
}

fn required<'f, T>(name: &str, field: &'f Field<T>) -> Result<&'f T, Error> {
    field.as_ref().and_then(Option::as_ref).ok_or_else(|| missing(name))
}

/// A field that has no default to go back to.
fn given<'f, T>(name: &str, field: &'f Field<T>) -> Result<Option<&'f T>, Error> {
    match field {
        None => Ok(None),
        Some(Some(value)) => Ok(Some(value)),
        Some(None) => Err(Error::field(name, format!("an account can't do without {name}"))),
    }
}

fn kind(word: &str) -> Result<Kind, Error> {
    Kind::read(word).ok_or_else(|| Error::field("kind", format!("kind is {}", Kind::ALL.map(Kind::word).join(", "))))
}

fn name(name: &str) -> Result<(), Error> {
    checks::text("name", name, LONGEST_NAME)?;
    if name.starts_with(ENVIRONMENT) {
        return Err(Error::field("name", format!("names with `{ENVIRONMENT}` are for accounts of the environment")));
    }
    Ok(())
}

fn credential(text: &str) -> Result<Secret, Error> {
    // It goes into a header; what is wrong with it must not be told by quoting it.
    let sane = (1..=LONGEST_CREDENTIAL).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !sane {
        let message = format!("credential has 1 to {LONGEST_CREDENTIAL} ASCII characters, without spaces and breaks");
        return Err(Error::field("credential", message));
    }
    Ok(Secret::new(text))
}

fn base_url(kind: Kind, url: Option<&str>) -> Result<String, Error> {
    let Some(url) = url else {
        return match kind {
            Kind::Dashscope => Ok(DASHSCOPE_BASE_URL.to_owned()),
            Kind::Anthropic => Ok(ANTHROPIC_BASE_URL.to_owned()),
            Kind::Openai => Err(Error::field("base_url", "base_url is missing: where is this server?")),
        };
    };
    let read = match kind {
        Kind::Dashscope => address::http_base(url),
        Kind::Anthropic => address::anthropic_base(url),
        Kind::Openai => address::openai_base(url),
    };
    let base = read.map_err(|fault| Error::field("base_url", format!("base_url {fault}")))?;
    let sane = base.len() <= LONGEST_URL && !base.contains('?') && base.bytes().all(|byte| byte.is_ascii_graphic());
    if !sane || base.parse::<awc::http::Uri>().is_err() {
        return Err(Error::field("base_url", "base_url is an address such as https://host/prefix, without a query"));
    }
    Ok(base)
}

fn mode(kind: Kind, word: Option<&str>) -> Result<Mode, Error> {
    let Some(word) = word else { return Ok(Mode::default()) };
    match Mode::read(word) {
        Some(Mode::Native) if kind != Kind::Dashscope => {
            Err(Error::field("mode", "mode is `native` for accounts of the kind dashscope alone"))
        }
        Some(mode) => Ok(mode),
        None => Err(Error::field("mode", "mode is compatible or native")),
    }
}

fn state(word: Option<&str>) -> Result<State, Error> {
    let Some(word) = word else { return Ok(State::default()) };
    State::read(word).ok_or_else(|| Error::field("state", "state is enabled, draining or disabled"))
}

fn number(name: &str, field: &Field<u32>, range: std::ops::RangeInclusive<u32>) -> Result<Field<u32>, Error> {
    if field.flatten().is_some_and(|number| !range.contains(&number)) {
        let (least, most) = (range.start(), range.end());
        return Err(Error::field(name, format!("{name} is a whole number from {least} to {most}")));
    }
    Ok(*field)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::admin::body;

    fn now() -> Timestamp {
        "2026-11-21T00:00:00Z".parse().unwrap()
    }

    fn drafted(fields: Value) -> Result<(StoredAccount, Secret), Error> {
        account(&body::fields(fields)?, "acc_1", now())
    }

    fn patched(account: &StoredAccount, patch: Value) -> Result<(StoredAccount, Option<Secret>), Error> {
        changed(&body::fields(patch)?, account.clone(), now())
    }

    #[test]
    fn three_fields_are_enough() {
        let (account, credential) =
            drafted(json!({"name": "main", "kind": "anthropic", "credential": "sk-ant"})).unwrap();
        assert_eq!((account.base_url.as_str(), credential.expose()), (ANTHROPIC_BASE_URL, "sk-ant"));
        assert_eq!((account.weight, account.priority, account.state.as_str()), (1, 0, "enabled"));
        assert!(account.models.is_empty() && account.max_concurrency.is_none() && account.mode == "compatible");
    }

    #[test]
    fn wrong_fields_are_named() {
        let sound = json!({"name": "main", "kind": "openai", "credential": "sk-x", "base_url": "https://h.example/v1"});
        assert_eq!(drafted(sound.clone()).unwrap().0.base_url, "https://h.example");
        for (field, value) in [
            ("name", json!(null)),
            ("name", json!("")),
            ("name", json!("env-mine")),
            ("name", json!("n".repeat(101))),
            ("kind", json!("azure")),
            ("credential", json!(null)),
            ("credential", json!("sk x")),
            ("credential", json!("sk-x\n")),
            ("base_url", json!(null)),
            ("base_url", json!("h.example")),
            ("base_url", json!("ftp://h.example")),
            ("base_url", json!("https://user:pw@h.example")),
            ("base_url", json!("https://h.example/?key=1")),
            ("base_url", json!("https://h.example/#x")),
            ("mode", json!("native")),
            ("mode", json!("other")),
            ("models", json!("gpt-5")),
            ("weight", json!(0)),
            ("weight", json!(1_001)),
            ("priority", json!(-1)),
            ("max_concurrency", json!(0)),
            ("state", json!("asleep")),
            ("colour", json!("red")),
        ] {
            let mut fields = sound.clone();
            fields[field] = value.clone();
            let error = drafted(fields).unwrap_err();
            assert_eq!(error.param(), Some(field), "{field}: {value}: {error}");
        }
        let mut fields = sound;
        fields["models"] = json!(["a", "b\n"]);
        assert_eq!(drafted(fields).unwrap_err().param(), Some("models[1]"));
    }

    #[test]
    fn a_patch_touches_what_it_names_and_null_clears() {
        let fields = json!({"name": "main", "kind": "dashscope", "credential": "sk-x", "mode": "native",
            "base_url": "https://h.example/api/v1/", "models": ["qwen*"], "weight": 5, "priority": 2,
            "max_concurrency": 9, "state": "disabled"});
        let (account, _) = drafted(fields).unwrap();
        assert_eq!((account.base_url.as_str(), account.mode.as_str()), ("https://h.example", "native"));
        let (same, credential) = patched(&account, json!({"kind": "dashscope"})).unwrap();
        assert!(same == account && credential.is_none());
        let all = json!({"mode": null, "base_url": null, "models": null, "weight": null, "priority": null,
            "max_concurrency": null, "state": null});
        // What moves an account to another server needs the credential again.
        assert_eq!(patched(&account, all.clone()).unwrap_err().param(), Some("credential"));
        let mut all = all;
        all["credential"] = json!("sk-x");
        let (cleared, _) = patched(&account, all).unwrap();
        let plain = drafted(json!({"name": "main", "kind": "dashscope", "credential": "sk-x"})).unwrap().0;
        assert_eq!(cleared, plain);
        assert_eq!(patched(&account, json!({"credential": "sk-y"})).unwrap().1, Some(Secret::new("sk-y")));
        for required in ["name", "kind", "credential"] {
            let mut patch = json!({});
            patch[required] = Value::Null;
            assert_eq!(patched(&account, patch).unwrap_err().param(), Some(required));
        }
        assert!(matches!(patched(&account, json!({"kind": "openai"})), Err(Error::Conflict(_))));
    }
}
