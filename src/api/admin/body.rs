//! A request's body as the admin API reads it: JSON whatever its content type, wrong fields refused by name.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::web::{Bytes, BytesMut};
use actix_web::{FromRequest, HttpRequest};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::strict;
use crate::api::refusal::Refusal;
use crate::error::Error;

/// No license is longer; anything longer is refused unread.
const LONGEST: usize = 256 * 1024;

/// A body of bounded length.
pub struct Body(Bytes);

impl FromRequest for Body {
    type Error = Refusal;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Refusal>>>>;

    fn from_request(_: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let mut payload = payload.take();
        Box::pin(async move {
            let mut body = BytesMut::new();
            while let Some(part) = payload.next().await {
                let part = part.map_err(|error| Error::request(format!("the body could not be read: {error}")))?;
                if body.len() + part.len() > LONGEST {
                    return Err(Refusal(Error::TooLarge { limit: LONGEST }));
                }
                body.extend_from_slice(&part);
            }
            Ok(Self(body.freeze()))
        })
    }
}

impl Body {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The JSON object in it.
    ///
    /// # Errors
    /// `InvalidRequest` when it isn't one.
    pub fn object(&self) -> Result<Value, Error> {
        let value = strict::read(&self.0)?;
        if value.is_object() { Ok(value) } else { Err(Error::request("the body must be a JSON object")) }
    }

    /// The fields in it.
    ///
    /// # Errors
    /// `InvalidRequest`, naming the field at fault.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        fields(self.object()?)
    }

    /// The fields in it, or their defaults when there is no body.
    ///
    /// # Errors
    /// As [`Body::read`].
    pub fn read_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Error> {
        if self.0.is_empty() { Ok(T::default()) } else { self.read() }
    }
}

/// The body of an action that takes no fields: none at all, `null`, or an empty object.
pub struct NoFields;

impl FromRequest for NoFields {
    type Error = Refusal;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Refusal>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        #[derive(Default, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        let body = Body::from_request(request, payload);
        Box::pin(async move {
            let body = body.await?;
            if body.bytes().trim_ascii() != b"null" {
                let Nothing {} = body.read_or_default()?;
            }
            Ok(Self)
        })
    }
}

/// The fields of a JSON object.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault.
pub fn fields<T: DeserializeOwned>(object: Value) -> Result<T, Error> {
    serde_path_to_error::deserialize(object).map_err(|error| {
        let path = error.path().to_string();
        let message = error.inner().to_string();
        let param = match (path.as_str(), missing(&message)) {
            (".", None) => return Error::request(message),
            (".", Some(field)) => field.to_owned(),
            (path, Some(field)) => format!("{path}.{field}"),
            (path, None) => path.to_owned(),
        };
        Error::field(&param, format!("{param}: {message}"))
    })
}

/// The field that serde says is missing.
fn missing(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.strip_suffix('`')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::admin::{LicenseFields, Renewal};
    use serde_json::json;

    #[test]
    fn wrong_fields_are_named() {
        for (body, param) in [
            (json!({"colour": "red"}), "colour"),
            (json!({"label": 5}), "label"),
            (json!({"rpm_limit": -1}), "rpm_limit"),
            (json!({"rpm_limit": 1.5}), "rpm_limit"),
            (json!({"expires_at": "tomorrow"}), "expires_at"),
            (json!({"models": ["a", 5]}), "models[1]"),
            (json!({"budgets": [{"unit": "miles", "limit": 1}]}), "budgets[0].unit"),
            (json!({"budgets": [{"unit": "tokens", "limit": 1, "size": 2}]}), "budgets[0].size"),
            (json!({"budgets": [{"unit": "tokens", "limit": "1"}]}), "budgets[0].limit"),
            (json!({"metadata": []}), "metadata"),
        ] {
            let error = fields::<LicenseFields>(body.clone()).unwrap_err();
            assert_eq!(error.param(), Some(param), "{body}: {error}");
        }
    }

    #[test]
    fn null_is_told_from_absent() {
        let read: LicenseFields = fields(json!({"label": null, "rpm_limit": 5})).unwrap();
        assert_eq!(read, LicenseFields { label: Some(None), rpm_limit: Some(Some(5)), ..LicenseFields::default() });
    }

    #[test]
    fn bodies() {
        let body = |text: &'static str| Body(Bytes::from_static(text.as_bytes()));
        assert!(body("").read::<Renewal>().is_err());
        assert!(body("[]").read::<Renewal>().is_err());
        assert!(body("{").read::<Renewal>().is_err());
        assert_eq!(body("").read_or_default::<Renewal>().unwrap(), Renewal::default());
        assert!(body("\n").read_or_default::<Renewal>().is_err());
        assert_eq!(body(r#"{"days":3}"#).read::<Renewal>().unwrap().days, Some(3));
    }
}
