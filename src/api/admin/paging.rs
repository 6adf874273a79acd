//! The query of a list: `limit, cursor, q, status, sort`, and how a page is answered.

use actix_web::web::Query;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::store::page::Page;
use crate::wire::admin::PageView;

const DEFAULT_LIMIT: i64 = 50;
const LARGEST_LIMIT: i64 = 500;
const LONGEST_TEXT: usize = 200;

/// What a list may be asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListQuery {
    /// Rows at most; without it 50.
    #[schemars(with = "Option<i64>", range(min = 1, max = 500))]
    pub limit: Option<String>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Newest first (so without it), or oldest first.
    #[schemars(extend("enum" = ["-created_at", "created_at"]))]
    pub sort: Option<String>,
    /// A part of the label or id.
    #[schemars(length(max = 200))]
    pub q: Option<String>,
    /// One status.
    pub status: Option<String>,
    /// One license's things.
    pub license_id: Option<String>,
    /// One thing's entries.
    pub subject: Option<String>,
}

/// The fields of a query string.
///
/// # Errors
/// `InvalidRequest`, naming the field that isn't known.
pub fn read<T: DeserializeOwned>(query: &str) -> Result<T, Error> {
    Query::<T>::from_query(query).map(Query::into_inner).map_err(|error| {
        let message = error.to_string();
        let named = |words: &str| Some(message.split_once(words)?.1.split_once('`')?.0);
        match (named("unknown field `"), named("duplicate field `")) {
            (Some(name), _) => Error::field(name, format!("`{name}` is not a parameter of this list")),
            (None, Some(name)) => Error::field(name, format!("`{name}` is given twice")),
            (None, None) => Error::request(message),
        }
    })
}

impl ListQuery {
    /// Reads a query string.
    ///
    /// # Errors
    /// `InvalidRequest`, naming the parameter at fault.
    pub fn read(query: &str) -> Result<Self, Error> {
        let list: Self = read(query)?;
        if list.q.as_ref().is_some_and(|text| text.len() > LONGEST_TEXT) {
            return Err(Error::field("q", format!("q has at most {LONGEST_TEXT} bytes")));
        }
        Ok(list)
    }

    /// Which rows the page holds.
    ///
    /// # Errors
    /// `InvalidRequest`, naming the parameter at fault.
    pub fn page(&self) -> Result<Page, Error> {
        page(self.limit.as_deref(), self.cursor.as_deref(), self.sort.as_deref())
    }
}

/// Which rows the page holds that `limit`, `cursor` and `sort` name.
///
/// # Errors
/// `InvalidRequest`, naming the parameter at fault.
pub fn page(limit: Option<&str>, cursor: Option<&str>, sort: Option<&str>) -> Result<Page, Error> {
    let limit = match limit.map(str::parse) {
        None => DEFAULT_LIMIT,
        Some(Ok(limit)) if (1..=LARGEST_LIMIT).contains(&limit) => limit,
        Some(_) => return Err(Error::field("limit", format!("limit is a number from 1 to {LARGEST_LIMIT}"))),
    };
    let newest_first = match sort {
        None | Some("-created_at") => true,
        Some("created_at") => false,
        Some(_) => return Err(Error::field("sort", "sort is `created_at` or `-created_at` (newest first)")),
    };
    let after = cursor.map(place).transpose()?;
    Ok(Page { limit, after, newest_first })
}

/// The place that a cursor stands for.
fn place(cursor: &str) -> Result<(i64, String), Error> {
    let wrong = || Error::field("cursor", "cursor is not one that this list has given");
    let text = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(wrong)?;
    let (time_us, id) = text.split_once(' ').filter(|(_, id)| !id.contains('\0')).ok_or_else(wrong)?;
    Ok((time_us.parse().map_err(|_| wrong())?, id.to_owned()))
}

/// Answers with a page of `rows`, which may hold one row more than the page; `place` tells a row's time and id.
pub fn answer<Row, View: Serialize>(
    mut rows: Vec<Row>,
    page: &Page,
    place: impl Fn(&Row) -> (i64, String),
    view: impl FnMut(Row) -> View,
) -> PageView<View> {
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let cursor = |row: &Row| {
        let (time_us, id) = place(row);
        URL_SAFE_NO_PAD.encode(format!("{time_us} {id}"))
    };
    let next_cursor = rows.last().filter(|_| has_more).map(cursor);
    PageView { data: rows.into_iter().map(view).collect(), next_cursor, has_more }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_on() {
        let page = ListQuery::read("limit=2").unwrap().page().unwrap();
        let answer = answer(vec![3, 2, 1], &page, |row| (*row, format!("id {row}")), |row| row);
        assert!(answer.has_more && answer.data == [3, 2]);
        let query = format!("limit=2&cursor={}", answer.next_cursor.unwrap());
        let page = ListQuery::read(&query).unwrap().page().unwrap();
        assert_eq!(page.after, Some((2, "id 2".to_owned())));
        let last = super::answer(vec![1], &page, |row| (*row, String::new()), |row| row);
        assert!(!last.has_more && last.next_cursor.is_none());
    }

    #[test]
    fn wrong_parameters_are_named() {
        for (query, param) in [
            ("limit=0", "limit"),
            ("limit=x", "limit"),
            ("limit=501", "limit"),
            ("sort=label", "sort"),
            ("cursor=!", "cursor"),
            ("cursor=MTIgAA", "cursor"),
            ("limit=1&limit=2", "limit"),
            ("colour=red", "colour"),
        ] {
            let error = ListQuery::read(query).and_then(|list| list.page()).unwrap_err();
            assert_eq!(error.param(), Some(param), "{query}");
        }
    }
}
