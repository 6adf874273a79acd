//! What of a caller's request goes along to the provider, and how much of it may.

use actix_web::HttpRequest;

use crate::completion::outgoing::Passed;
use crate::error::Error;

/// The longest query string, bytes.
const LONGEST_QUERY: usize = 4 << 10;
/// The longest header that is passed, bytes.
const LONGEST_HEADER: usize = 1 << 10;

/// The headers of these names: all values of a repeated one, joined by commas.
#[must_use]
pub fn headers(request: &HttpRequest, names: &[&'static str]) -> Vec<(&'static str, String)> {
    let joined = |name: &str| {
        let values: Vec<&str> = request.headers().get_all(name).filter_map(|value| value.to_str().ok()).collect();
        (!values.is_empty()).then(|| values.join(","))
    };
    names.iter().filter_map(|name| Some((*name, joined(name)?))).collect()
}

/// Refuses what providers, or the way to them, would not take: no account is tried with it.
///
/// # Errors
/// `InvalidRequest`, naming what is too long.
pub fn check(request: &HttpRequest, passed: &Passed) -> Result<(), Error> {
    if request.query_string().len() > LONGEST_QUERY {
        return Err(Error::field("query", format!("the query string may have {LONGEST_QUERY} bytes at most")));
    }
    match passed.headers.iter().find(|(_, value)| value.len() > LONGEST_HEADER) {
        Some((name, _)) => {
            Err(Error::field(name, format!("the header `{name}` may have {LONGEST_HEADER} bytes at most")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn every_value_of_a_header_is_passed() {
        let request = TestRequest::default()
            .append_header(("anthropic-beta", "one,two"))
            .append_header(("anthropic-beta", "three"))
            .to_http_request();
        let passed = headers(&request, &["anthropic-beta", "anthropic-version"]);
        assert_eq!(passed, [("anthropic-beta", "one,two,three".to_owned())]);
    }

    #[test]
    fn what_is_too_long_is_named() {
        let fault = |query: usize, header: usize| {
            let request = TestRequest::with_uri(&format!("/?{}", "q".repeat(query))).to_http_request();
            let headers = vec![("accept", "h".repeat(header))];
            let error = check(&request, &Passed { headers, ..Passed::default() }).err()?;
            error.param().map(str::to_owned)
        };
        assert_eq!(fault(LONGEST_QUERY, LONGEST_HEADER), None);
        assert_eq!(fault(LONGEST_QUERY + 1, 0).as_deref(), Some("query"));
        assert_eq!(fault(0, LONGEST_HEADER + 1).as_deref(), Some("accept"));
    }
}
