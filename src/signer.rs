//! Signs and verifies license tokens: EdDSA JWTs whose Ed25519 key is derived from SECRET_KEY.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use ring::{digest, hkdf};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::settings::Secret;
use crate::error::Error;

/// The `iss` of every token.
pub const ISSUER: &str = "livetranslate-central";
/// Binds the derived key to its purpose; changing it invalidates every token.
const INFO: &[u8] = b"livetranslate-central license signing ed25519 v1";
/// Clocks of issuer and verifier may differ by so much.
const LEEWAY_SECONDS: u64 = 60;
/// Anything longer is not one of our tokens and isn't looked into.
const LONGEST_TOKEN: usize = 64 * 1024;

/// What a token says. The store wins wherever it knows better.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// [`ISSUER`].
    pub iss: String,
    /// License id.
    pub sub: String,
    /// Token id.
    pub jti: String,
    /// Issued at, seconds since 1970.
    pub iat: i64,
    /// Not valid before, seconds since 1970.
    pub nbf: i64,
    /// The license's end when the token was signed, seconds since 1970; absent if it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// The plan that the license was made from.
    #[serde(default)]
    pub plan: Option<String>,
    /// Kinds of use.
    pub scopes: Vec<String>,
    /// Models; empty: every model.
    pub models: Vec<String>,
    /// The limits when the token was signed, under the names of the admin API.
    pub limits: serde_json::Map<String, serde_json::Value>,
}

/// Holds the key that signs, and those whose tokens are still accepted.
pub struct Signer {
    current: Pair,
    previous: Option<Pair>,
}

struct Pair {
    key_id: String,
    public: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl Signer {
    /// Derives the keys from SECRET_KEY and, where a new one takes over, SECRET_KEY_PREVIOUS.
    ///
    /// # Errors
    /// `Internal` when no key can be derived: a defect.
    pub fn new(secret_key: &Secret, previous: Option<&Secret>) -> Result<Self, Error> {
        Ok(Self { current: Pair::derive(secret_key)?, previous: previous.map(Pair::derive).transpose()? })
    }

    /// The signed token.
    ///
    /// # Errors
    /// `Internal` when the claims can't be encoded: a defect.
    pub fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.current.key_id.clone());
        jsonwebtoken::encode(&header, claims, &self.current.encoding).map_err(Error::internal)
    }

    /// The claims of a token that we signed: algorithm, signature, issuer and `nbf` are checked.
    ///
    /// `exp` is not: a renewed license keeps its tokens, so the end that counts is the store's.
    ///
    /// # Errors
    /// `InvalidApiKey`, whatever is wrong.
    pub fn verify(&self, token: &str) -> Result<Claims, Error> {
        if token.len() > LONGEST_TOKEN {
            return Err(Error::InvalidApiKey);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Error::InvalidApiKey)?;
        let named = |pair: &&Pair| header.kid.as_ref().is_none_or(|key_id| *key_id == pair.key_id);
        let validation = validation();
        [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .filter(named)
            .find_map(|pair| jsonwebtoken::decode::<Claims>(token, &pair.decoding, &validation).ok())
            .map(|token| token.claims)
            .ok_or(Error::InvalidApiKey)
    }

    /// The public keys as a JWK set, so that anyone can verify a token offline.
    #[must_use]
    pub fn jwks(&self) -> KeySet {
        let pairs = [Some(&self.current), self.previous.as_ref()].into_iter().flatten();
        let key = |pair: &Pair| PublicKey {
            kty: "OKP",
            crv: "Ed25519",
            x: pair.public.clone(),
            kid: pair.key_id.clone(),
            alg: "EdDSA",
            usage: "sig",
        };
        KeySet { keys: pairs.map(key).collect() }
    }
}

/// A JWK set (RFC 7517).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KeySet {
    /// The current key first.
    #[schemars(length(min = 1))]
    pub keys: Vec<PublicKey>,
}

/// A public key (RFC 8037).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PublicKey {
    #[schemars(extend("const" = "OKP"))]
    kty: &'static str,
    #[schemars(extend("const" = "Ed25519"))]
    crv: &'static str,
    x: String,
    kid: String,
    #[schemars(extend("const" = "EdDSA"))]
    alg: &'static str,
    #[serde(rename = "use")]
    #[schemars(extend("const" = "sig"))]
    usage: &'static str,
}

fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["iss", "sub", "nbf"]);
    validation.validate_nbf = true;
    validation.validate_exp = false;
    validation.leeway = LEEWAY_SECONDS;
    validation
}

impl Pair {
    fn derive(secret: &Secret) -> Result<Self, Error> {
        let mut seed = [0_u8; 32];
        hkdf::Salt::new(hkdf::HKDF_SHA256, &[])
            .extract(secret.expose().as_bytes())
            .expand(&[INFO], hkdf::HKDF_SHA256)
            .and_then(|material| material.fill(&mut seed))
            .map_err(Error::internal)?;
        let signing = SigningKey::from_bytes(&seed);
        let public_bytes = signing.verifying_key().to_bytes();
        let public = URL_SAFE_NO_PAD.encode(public_bytes);
        let private = signing.to_pkcs8_der().map_err(Error::internal)?;
        Ok(Self {
            key_id: thumbprint(&public),
            encoding: EncodingKey::from_ed_der(private.as_bytes()),
            decoding: DecodingKey::from_ed_der(&public_bytes),
            public,
        })
    }
}

/// RFC 7638: SHA-256 of the key's required members in alphabetical order.
fn thumbprint(public: &str) -> String {
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{public}"}}"#);
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn signer(secret: &str) -> Signer {
        Signer::new(&Secret::new(secret), None).unwrap()
    }

    fn claims() -> Claims {
        Claims {
            iss: ISSUER.into(),
            sub: "lic_1".into(),
            jti: "jti".into(),
            iat: 1_700_000_000,
            nbf: 1_700_000_000,
            exp: Some(1_700_000_001),
            plan: None,
            scopes: vec!["realtime".into()],
            models: Vec::new(),
            limits: serde_json::Map::new(),
        }
    }

    fn with_header(header: &serde_json::Value, token: &str) -> String {
        let mut parts = token.split('.').skip(1);
        let (payload, signature) = (parts.next().unwrap(), parts.next().unwrap());
        format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(header.to_string()))
    }

    #[test]
    fn a_token_verifies_even_after_its_exp() {
        let signer = signer(SECRET);
        assert_eq!(signer.verify(&signer.sign(&claims()).unwrap()).unwrap(), claims());
    }

    #[test]
    fn the_same_secret_gives_the_same_key() {
        assert_eq!(signer(SECRET).jwks(), signer(SECRET).jwks());
        assert_ne!(signer(SECRET).jwks(), signer("another secret, another key ....").jwks());
    }

    #[test]
    fn every_forgery_is_refused() {
        let signer = signer(SECRET);
        let token = signer.sign(&claims()).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&Claims { sub: "lic_2".into(), ..claims() }).unwrap());
        let header = token.split('.').next().unwrap();
        let as_hmac = Header { kid: None, ..Header::new(Algorithm::HS256) };
        let public = URL_SAFE_NO_PAD.decode(&signer.current.public).unwrap();
        let hmac = jsonwebtoken::encode(&as_hmac, &claims(), &EncodingKey::from_secret(&public)).unwrap();
        let stranger = self::signer("another secret, another key ....").sign(&claims()).unwrap();
        for forged in [
            format!("{header}.{payload}.{signature}"),
            format!("{signed}."),
            format!("{signed}.AAAA"),
            with_header(&json!({"alg": "none", "typ": "JWT"}), &token),
            with_header(&json!({"alg": "HS256", "typ": "JWT"}), &token),
            hmac,
            with_header(&json!({"alg": "EdDSA", "kid": signer.current.key_id}), &stranger),
            stranger,
            String::new(),
            "a.b.c".into(),
            "x".repeat(LONGEST_TOKEN + 1),
        ] {
            assert!(matches!(signer.verify(&forged), Err(Error::InvalidApiKey)), "{forged}");
        }
    }

    #[test]
    fn issuer_and_nbf_are_checked() {
        let signer = signer(SECRET);
        let foreign = signer.sign(&Claims { iss: "another".into(), ..claims() }).unwrap();
        let early = signer.sign(&Claims { nbf: 4_000_000_000, ..claims() }).unwrap();
        assert!(signer.verify(&foreign).is_err() && signer.verify(&early).is_err());
    }

    #[test]
    fn a_previous_key_still_verifies_but_does_not_sign() {
        let old = signer("the previous secret, 32 chars ..");
        let new = Signer::new(&Secret::new(SECRET), Some(&Secret::new("the previous secret, 32 chars .."))).unwrap();
        assert!(new.verify(&old.sign(&claims()).unwrap()).is_ok());
        assert!(old.verify(&new.sign(&claims()).unwrap()).is_err());
        assert_eq!(new.jwks().keys.len(), 2);
    }

    #[test]
    fn the_key_id_is_the_thumbprint_of_rfc_8037() {
        let public = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        assert_eq!(thumbprint(public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
