//! Tables as CSV (RFC 4180), for callers who accept it.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

/// Whether the caller asks for CSV.
#[must_use]
pub fn is_wanted(request: &HttpRequest) -> bool {
    let accepted = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accepted.is_some_and(|accept| accept.contains("text/csv"))
}

/// The answer's beginning.
#[must_use]
pub fn answer() -> HttpResponseBuilder {
    let mut answer = HttpResponse::Ok();
    answer.content_type("text/csv; charset=utf-8");
    answer
}

/// A table of a head and rows.
#[must_use]
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = line(head.iter().map(|cell| quoted(cell)));
    for row in rows {
        text.push_str(&line(row.iter().map(|cell| quoted(cell))));
    }
    text
}

fn line(cells: impl Iterator<Item = String>) -> String {
    cells.collect::<Vec<_>>().join(",") + "\r\n"
}

fn quoted(cell: &str) -> String {
    // A caller chose some of these words: a program that shows tables must not take them for formulas.
    if cell.starts_with(['=', '+', '-', '@', '\t']) && cell.parse::<f64>().is_err() {
        return format!("\"'{}\"", cell.replace('"', "\"\""));
    }
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_need_be() {
        let rows = [vec!["a,b".to_owned(), "say \"x\"".to_owned()], vec!["plain".to_owned(), String::new()]];
        assert_eq!(table(&["one", "two"], rows), "one,two\r\n\"a,b\",\"say \"\"x\"\"\"\r\nplain,\r\n");
    }
}
