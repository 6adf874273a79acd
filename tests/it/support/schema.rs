//! As much of JSON Schema as `/openapi.json` needs; stricter in one thing: members must be
//! documented, unless `additionalProperties` says otherwise.

use serde_json::Value;

/// What in `value` is not as the schema says, a sentence each.
pub(crate) fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(document, schema, value, "", &mut faults);
    let (open, names) = members(document, schema);
    if let (false, Some(object)) = (open, value.as_object()) {
        faults.extend(object.keys().filter(|name| !names.contains(name)).map(|name| format!("/{name}: undocumented")));
    }
    faults
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let schema = resolved(document, schema);
    let mut fault = |text: String| faults.push(format!("{at}: {text}"));
    if let Some(wanted) = schema.get("const").filter(|wanted| *wanted != value) {
        fault(format!("{value} instead of {wanted}"));
    }
    if let Some(words) = schema.get("enum").filter(|words| !words.as_array().unwrap().contains(value)) {
        fault(format!("{value} is none of {words}"));
    }
    if let Some(kinds) = schema.get("type") {
        let kinds = kinds.as_array().map_or_else(|| vec![kinds], |kinds| kinds.iter().collect());
        if !kinds.iter().any(|kind| is(value, kind.as_str().unwrap())) {
            fault(format!("{value} is none of {kinds:?}"));
        }
    }
    if schema["format"] == "date-time" && value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_err()) {
        fault(format!("{value} is no time"));
    }
    if let (Some(least), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
        && number < least
    {
        fault(format!("{number} is less than {least}"));
    }
    if let (Some(prefix), Some(text)) = (schema["pattern"].as_str(), value.as_str())
        && !text.starts_with(prefix.trim_start_matches('^'))
    {
        fault(format!("{text} does not begin as {prefix}"));
    }
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if value.is_object() {
        faults.extend(required.filter(|name| value.get(name).is_none()).map(|name| format!("{at}/{name}: missing")));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(member) = value.get(name) {
            nested(document, property, member, &format!("{at}/{name}"), faults);
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        nested(document, &schema["items"], item, &format!("{at}/{index}"), faults);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        check(document, part, value, at, faults);
    }
    for (name, most) in [("oneOf", 1), ("anyOf", usize::MAX)] {
        let Some(choices) = schema[name].as_array() else { continue };
        let fitting = choices.iter().filter(|choice| self::faults(document, choice, value).is_empty()).count();
        if !(1..=most).contains(&fitting) {
            faults.push(format!("{at}: fits {fitting} of the choices"));
        }
    }
}

fn nested(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    found.extend(faults(document, schema, value).into_iter().map(|fault| format!("{at}{fault}")));
}

/// What a `$ref` stands for, or the part itself.
pub(crate) fn resolved<'a>(document: &'a Value, part: &'a Value) -> &'a Value {
    match part.get("$ref").and_then(Value::as_str) {
        Some(path) => document.pointer(path.trim_start_matches('#')).unwrap_or_else(|| panic!("no {path}")),
        None => part,
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other} is no type"),
    }
}

/// Whether an object may have members of any name, and those that are named.
fn members<'a>(document: &'a Value, schema: &'a Value) -> (bool, Vec<&'a String>) {
    let schema = resolved(document, schema);
    let mut names: Vec<&String> = schema["properties"].as_object().into_iter().flat_map(|all| all.keys()).collect();
    let parts = schema["allOf"].as_array();
    let others = &schema["additionalProperties"];
    let mut open =
        (schema.get("properties").is_none() && parts.is_none()) || others.is_object() || *others == Value::Bool(true);
    for part in parts.into_iter().flatten() {
        let (part_open, part_names) = members(document, part);
        open |= part_open;
        names.extend(part_names);
    }
    (open, names)
}
