//! JSON as people read it: tables and records in columns. Pure.

use serde_json::Value;

/// A table with a heading for each field.
#[must_use]
pub fn table(rows: &[Value], fields: &[&str]) -> String {
    if rows.is_empty() {
        return "nothing".to_owned();
    }
    let heading = fields.iter().map(|field| field.replace('_', " ").to_uppercase()).collect();
    let cells = |row: &Value| fields.iter().map(|field| cell(row.get(field))).collect();
    columns(std::iter::once(heading).chain(rows.iter().map(cells)).collect())
}

/// A line for each member of an object, what it is called first.
#[must_use]
pub fn record(object: &Value) -> String {
    const FIRST: [&str; 5] = ["id", "label", "status", "token", "key"];
    let mut members: Vec<(&String, &Value)> = object.as_object().into_iter().flatten().collect();
    members.sort_by_key(|(name, _)| FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len()));
    columns(members.into_iter().map(|(name, value)| vec![name.replace('_', " "), cell(Some(value))]).collect())
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.is_empty() => "-".to_owned(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| cell(Some(item)))
            .collect::<Vec<_>>()
            .join(if is_plain(items) { ", " } else { "; " }),
        Some(Value::Object(members)) if members.contains_key("unit") => budget(value),
        Some(other) => other.to_string(),
    }
}

fn is_plain(items: &[Value]) -> bool {
    !items.iter().any(Value::is_object)
}

/// `12.5 of 600 audio_seconds (1d, rolling)`; a plan's is used by nobody.
fn budget(value: Option<&Value>) -> String {
    let part = |name: &str| cell(value.and_then(|value| value.get(name)));
    let used = if part("used") == "-" { String::new() } else { format!("{} of ", part("used")) };
    let rolling = if part("mode") == "rolling" { ", rolling" } else { "" };
    format!("{used}{} {} ({}{rolling})", part("limit"), part("unit"), part("window"))
}

fn columns(rows: Vec<Vec<String>>) -> String {
    let widths = rows.iter().fold(Vec::new(), |mut widths: Vec<usize>, row| {
        for (index, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(index) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
        widths
    });
    let line = |row: Vec<String>| {
        let cells = row.into_iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [json!({"id": "a", "label": "Tōkyō", "n": 1}), json!({"id": "bcd", "label": null, "n": 2.5})];
        assert_eq!(table(&rows, &["id", "label", "n"]), "ID   LABEL  N\na    Tōkyō  1\nbcd  -      2.5");
        assert_eq!(table(&[], &["id"]), "nothing");
    }

    #[test]
    fn a_record_says_how_far_budgets_are_used() {
        let license = json!({
            "id": "lic_1", "models": [],
            "budgets": [{"unit": "audio_seconds", "used": 1.5, "limit": 600.0, "window": "lifetime"}],
        });
        let lines: Vec<String> = record(&license).lines().map(str::to_owned).collect();
        assert!(lines.contains(&"budgets  1.5 of 600.0 audio_seconds (lifetime)".to_owned()), "{lines:?}");
        assert!(lines.contains(&"models   -".to_owned()), "{lines:?}");
        let of_plan = json!({"unit": "tokens", "limit": 9, "window": "1d", "mode": "rolling"});
        assert_eq!(budget(Some(&of_plan)), "9 tokens (1d, rolling)");
    }
}
