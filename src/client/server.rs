//! A gateway's address, as people write it, and the addresses below it.

use awc::http::Uri;

use super::failure::Failure;

/// Where a gateway listens: scheme, host, port and, behind a proxy, a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    secure: bool,
    rest: String,
}

impl Server {
    /// Reads `http`, `https`, `ws` and `wss` addresses; `HOST:PORT` alone means `http`.
    ///
    /// # Errors
    /// [`Failure::Address`].
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || Failure::Address(text.to_owned());
        let (scheme, rest) = text.trim().split_once("://").unwrap_or(("http", text.trim()));
        let rest = rest.trim_end_matches('/');
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return Err(wrong()),
        };
        let address: Uri = format!("http://{rest}").parse().map_err(|_| wrong())?;
        let authority = address.authority().map_or("", |authority| authority.as_str());
        let named_port = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
        let wrong_port = named_port.is_some() && address.port_u16().is_none();
        if address.host().is_none_or(str::is_empty) || wrong_port || rest.contains(['?', '#', '@']) {
            return Err(wrong());
        }
        Ok(Self { secure, rest: rest.to_owned() })
    }

    /// The address of an HTTP route.
    #[must_use]
    pub fn http(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.secure { "https" } else { "http" }, self.rest)
    }

    /// The address of a realtime session with `model`, which can be resumed or not.
    #[must_use]
    pub fn realtime(&self, model: &str, resumable: bool) -> String {
        let extension = if resumable { "&resumable=1" } else { "" };
        self.socket(&format!("model={}{extension}", encoded(model)))
    }

    /// The address to resume a session at. It holds a credential: never show it.
    #[must_use]
    pub fn resume(&self, token: &str, last_seq: u64) -> String {
        self.socket(&format!("resume={}&last_seq={last_seq}", encoded(token)))
    }

    fn socket(&self, query: &str) -> String {
        format!("{}://{}/v1/realtime?{query}", if self.secure { "wss" } else { "ws" }, self.rest)
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.http(""))
    }
}

/// A text as the value of a query parameter.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut query, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            query.push(char::from(byte));
        } else {
            query.push_str(&format!("%{byte:02X}"));
        }
        query
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_people_write_them() {
        let cases = [
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000/x", "ws://127.0.0.1:8000/v1/realtime?model=m"),
            ("ws://localhost:8000/", "http://localhost:8000/x", "ws://localhost:8000/v1/realtime?model=m"),
            ("HTTPS://a.example", "https://a.example/x", "wss://a.example/v1/realtime?model=m"),
            ("wss://a.example/lt/", "https://a.example/lt/x", "wss://a.example/lt/v1/realtime?model=m"),
            ("gateway:9000", "http://gateway:9000/x", "ws://gateway:9000/v1/realtime?model=m"),
            ("http://[::1]:8000", "http://[::1]:8000/x", "ws://[::1]:8000/v1/realtime?model=m"),
        ];
        for (text, http, realtime) in cases {
            let server = Server::parse(text).unwrap();
            assert_eq!(
                (server.http("/x"), server.realtime("m", false)),
                (http.to_owned(), realtime.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in
            ["", "http://", "ftp://host", "http://host:port", "http://a b", "http://me:secret@host", "http://h?q"]
        {
            assert!(matches!(Server::parse(text), Err(Failure::Address(_))), "{text}");
        }
    }

    #[test]
    fn neither_a_model_nor_a_token_can_add_parameters() {
        let server = Server::parse("http://h").unwrap();
        assert_eq!(server.realtime("a&legs=1 ü", true), "ws://h/v1/realtime?model=a%26legs%3D1%20%C3%BC&resumable=1");
        assert_eq!(server.resume("a/b", 7), "ws://h/v1/realtime?resume=a%2Fb&last_seq=7");
    }
}
