//! How lists are cut into pages and searched: rows in order of their time and id, a page beginning after the last.

use diesel::sql_types::{Nullable, Text};

/// Which rows a page holds.
#[derive(Debug, Clone)]
pub struct Page {
    /// Rows at most.
    pub limit: i64,
    /// The last row of the page before: its time in microseconds and its id.
    pub after: Option<(i64, String)>,
    /// The order.
    pub newest_first: bool,
}

diesel::define_sql_function! {
    /// The text in lower case: ASCII letters at least, on both backends.
    fn lower(text: Nullable<Text>) -> Nullable<Text>;
}

/// The `LIKE` pattern that finds `text` anywhere, with `\` as its escape. Ids have ASCII alone; what people write is
/// to be compared by [`lower()`] on both sides, since backends differ in what they know of other letters.
pub(super) fn pattern(text: &str) -> String {
    let escaped = text.to_ascii_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}
