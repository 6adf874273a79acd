//! What a change made of a thing, as the audit log keeps it: the fields that differ, before and after. Pure.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// Fields that may hold secrets, or anything at all: that they changed is kept, not what they held.
const UNSPOKEN: [&str; 6] = ["credential", "key", "token", "secret", "sealed_credential", "metadata"];
/// Fields that differ without anybody's doing.
const BESIDE_THE_POINT: [&str; 2] = ["updated_at", "live"];

/// `{"before": {…}, "after": {…}}` with the fields that differ; both are as the admin API shows them.
#[must_use]
pub fn between(before: &impl Serialize, after: &impl Serialize) -> Value {
    let (before, after) = (fields(before), fields(after));
    let differ = |name: &String| before.get(name) != after.get(name);
    let kept = |side: &Map<String, Value>, other: &Map<String, Value>| -> Map<String, Value> {
        let names = side.keys().chain(other.keys().filter(|name| !side.contains_key(*name)));
        let names = names.filter(|name| !BESIDE_THE_POINT.contains(&name.as_str()) && differ(name));
        names.map(|name| (name.clone(), spoken(name, side.get(name)))).collect()
    };
    json!({ "before": kept(&before, &after), "after": kept(&after, &before) })
}

/// `{"before": null, "after": {…}}`: it was made so. What it has not is left out.
#[must_use]
pub fn made(after: &impl Serialize) -> Value {
    json!({ "before": null, "after": whole(after) })
}

/// `{"before": {…}, "after": null}`: it is gone.
#[must_use]
pub fn removed(before: &impl Serialize) -> Value {
    json!({ "before": whole(before), "after": null })
}

fn whole(thing: &impl Serialize) -> Map<String, Value> {
    let fields = fields(thing).into_iter();
    let told = fields.filter(|(name, value)| !value.is_null() && !BESIDE_THE_POINT.contains(&name.as_str()));
    told.map(|(name, value)| (name.clone(), spoken(&name, Some(&value)))).collect()
}

fn fields(thing: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(thing) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn spoken(name: &str, value: Option<&Value>) -> Value {
    match value {
        None | Some(Value::Null) => Value::Null,
        Some(_) if UNSPOKEN.contains(&name) => Value::from("not logged"),
        Some(value) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_kept() {
        let before = json!({"id": "a", "label": "x", "rpm_limit": 5, "updated_at": 1, "gone": [1]});
        let after = json!({"id": "a", "label": "y", "rpm_limit": null, "updated_at": 2, "new": {"b": 1}});
        assert_eq!(
            between(&before, &after),
            json!({
                "before": {"label": "x", "rpm_limit": 5, "gone": [1], "new": null},
                "after": {"label": "y", "rpm_limit": null, "new": {"b": 1}, "gone": null},
            })
        );
        assert_eq!(between(&before, &before), json!({"before": {}, "after": {}}));
    }

    #[test]
    fn secrets_change_unspoken() {
        let account = |credential: &str| json!({"name": "main", "credential": credential});
        assert_eq!(
            between(&account("sk-one"), &account("sk-two")),
            json!({"before": {"credential": "not logged"}, "after": {"credential": "not logged"}})
        );
        for said in [made(&account("sk-one")), removed(&account("sk-one"))] {
            assert!(said.to_string().contains("not logged") && !said.to_string().contains("sk-one"), "{said}");
        }
        let none = json!({"name": "main", "credential": null});
        assert_eq!(between(&none, &account("sk"))["before"]["credential"], Value::Null);
    }

    #[test]
    fn what_it_has_not_is_left_out_of_a_new_thing() {
        let said = made(&json!({"id": "a", "label": null, "updated_at": 1}));
        assert_eq!(said, json!({"before": null, "after": {"id": "a"}}));
    }
}
