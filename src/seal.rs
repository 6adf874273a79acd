//! Upstream credentials at rest: sealed with ENCRYPTION_KEY, so that a copy of the store opens no account.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::config::settings::Secret;
use crate::error::Error;

const KEY_LENGTH: usize = 32;
/// What a sealed text begins with; another way of sealing gets another.
const VERSION: &str = "v1";
/// Bind what is derived from a key to its purpose.
const KEY_INFO: &[u8] = b"livetranslate-central seal key v1";
const FINGERPRINT_INFO: &[u8] = b"livetranslate-central seal fingerprint v1";
const FINGERPRINT_LENGTH: usize = 6;

/// Seals with the present key; opens what the previous one has sealed as well.
pub struct Seal {
    current: Key,
    previous: Option<Key>,
    random: SystemRandom,
}

struct Key {
    /// Tells keys apart without telling anything of them.
    fingerprint: String,
    aead: LessSafeKey,
}

/// Why a sealed text doesn't open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// It was sealed with a key that is neither ENCRYPTION_KEY nor ENCRYPTION_KEY_PREVIOUS.
    #[error("was sealed with another ENCRYPTION_KEY")]
    AnotherKey,
    /// It is not what was sealed, or was sealed for something else.
    #[error("is damaged")]
    Damaged,
}

impl Seal {
    /// Takes ENCRYPTION_KEY and, where a new one takes over, ENCRYPTION_KEY_PREVIOUS. A key of 32 bytes is taken as
    /// it is; one of 32 characters that are more bytes is made into 32 bytes by HKDF-SHA256.
    ///
    /// # Errors
    /// `Internal` when no key can be made: a defect.
    pub fn new(key: &Secret, previous: Option<&Secret>) -> Result<Self, Error> {
        Ok(Self { current: Key::new(key)?, previous: previous.map(Key::new).transpose()?, random: SystemRandom::new() })
    }

    /// `v1.<fingerprint of the key>.<nonce and sealed bytes>`: opens for `id` alone.
    ///
    /// # Errors
    /// `Internal` when the system gives no random bytes.
    pub fn seal(&self, id: &str, plain: &Secret) -> Result<String, Error> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(Error::internal)?;
        let mut sealed = plain.expose().as_bytes().to_vec();
        let (unique, aead) = (Nonce::assume_unique_for_key(nonce), &self.current.aead);
        aead.seal_in_place_append_tag(unique, Aad::from(id), &mut sealed).map_err(Error::internal)?;
        let text = URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat());
        Ok(format!("{VERSION}.{}.{text}", self.current.fingerprint))
    }

    /// What was sealed for `id`.
    ///
    /// # Errors
    /// Whether the key is another or the text is damaged.
    pub fn open(&self, id: &str, sealed: &str) -> Result<Secret, Unopened> {
        let mut parts = sealed.split('.');
        let (Some(VERSION), Some(fingerprint), Some(text), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Unopened::Damaged);
        };
        let keys = [Some(&self.current), self.previous.as_ref()].into_iter().flatten();
        let mut named = keys.filter(|key| key.fingerprint == fingerprint);
        let key = named.next().ok_or(Unopened::AnotherKey)?;
        key.open(id, text).ok_or(Unopened::Damaged)
    }

    /// Whether a text was sealed with the present key; what wasn't should be sealed anew.
    #[must_use]
    pub fn is_current(&self, sealed: &str) -> bool {
        sealed.split('.').nth(1) == Some(self.current.fingerprint.as_str())
    }
}

impl Key {
    fn new(secret: &Secret) -> Result<Self, Error> {
        let given = secret.expose().as_bytes();
        let bytes: [u8; KEY_LENGTH] = match given.try_into() {
            Ok(bytes) => bytes,
            Err(_) => derived(given, KEY_INFO)?,
        };
        let fingerprint: [u8; FINGERPRINT_LENGTH] = derived(&bytes, FINGERPRINT_INFO)?;
        let aead = UnboundKey::new(&AES_256_GCM, &bytes).map_err(Error::internal)?;
        Ok(Self { fingerprint: URL_SAFE_NO_PAD.encode(fingerprint), aead: LessSafeKey::new(aead) })
    }

    fn open(&self, id: &str, text: &str) -> Option<Secret> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let plain = self.aead.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(id), &mut sealed).ok()?;
        Some(Secret::new(std::str::from_utf8(plain).ok()?))
    }
}

/// So many bytes of HKDF-SHA256.
fn derived<const LENGTH: usize>(from: &[u8], info: &[u8]) -> Result<[u8; LENGTH], Error> {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut bytes = [0; LENGTH];
    hkdf::Salt::new(hkdf::HKDF_SHA256, &[])
        .extract(from)
        .expand(&[info], Length(LENGTH))
        .and_then(|material| material.fill(&mut bytes))
        .map_err(Error::internal)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: &str = "0123456789abcdef0123456789abcdef";
    const NEW: &str = "fedcba9876543210fedcba9876543210";

    fn seal(key: &str, previous: Option<&str>) -> Seal {
        Seal::new(&Secret::new(key), previous.map(Secret::new).as_ref()).unwrap()
    }

    #[test]
    fn a_wrong_key_is_told_from_damage() {
        let sealed = seal(OLD, None).seal("acc_1", &Secret::new("sk-upstream")).unwrap();
        assert!(sealed.starts_with("v1.") && !sealed.contains("sk-upstream"));
        let opened = |seal: &Seal, id, sealed: &str| seal.open(id, sealed).map(|plain| plain.expose().to_owned());
        assert_eq!(opened(&seal(OLD, None), "acc_1", &sealed).as_deref(), Ok("sk-upstream"));
        assert_eq!(opened(&seal(NEW, None), "acc_1", &sealed), Err(Unopened::AnotherKey));
        assert_eq!(opened(&seal(OLD, None), "acc_2", &sealed), Err(Unopened::Damaged), "it is not this account's");
        let (head, text) = sealed.rsplit_once('.').unwrap();
        let turned = format!("{head}.{}{}", if text.starts_with('A') { 'B' } else { 'A' }, &text[1..]);
        for damaged in ["", "v1", "sk-upstream", "v2.a.b", &format!("{head}."), &format!("{sealed}.x"), &turned] {
            assert_eq!(opened(&seal(OLD, None), "acc_1", damaged), Err(Unopened::Damaged), "{damaged}");
        }
    }

    #[test]
    fn a_previous_key_opens_and_does_not_seal() {
        let sealed = seal(OLD, None).seal("acc_1", &Secret::new("sk-upstream")).unwrap();
        let both = seal(NEW, Some(OLD));
        assert_eq!(both.open("acc_1", &sealed).unwrap().expose(), "sk-upstream");
        assert!(!both.is_current(&sealed));
        let anew = both.seal("acc_1", &Secret::new("sk-upstream")).unwrap();
        assert!(both.is_current(&anew) && seal(NEW, None).open("acc_1", &anew).is_ok());
    }

    #[test]
    fn characters_may_be_more_than_bytes() {
        let key = "ключ-из-тридцати-двух-знаков-два";
        assert_eq!((key.chars().count(), key.len() > KEY_LENGTH), (32, true));
        let sealed = seal(key, None).seal("acc_1", &Secret::new("sk-ü")).unwrap();
        assert_eq!(seal(key, None).open("acc_1", &sealed).unwrap().expose(), "sk-ü");
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_never_looks_the_same(id in ".*", plain in ".*") {
            let seal = seal(OLD, None);
            let secret = Secret::new(plain.as_str());
            let (one, other) = (seal.seal(&id, &secret).unwrap(), seal.seal(&id, &secret).unwrap());
            prop_assert_ne!(&one, &other);
            let opened = seal.open(&id, &one).unwrap();
            prop_assert_eq!(opened.expose(), plain);
        }

        #[test]
        fn no_text_makes_it_stumble(text in ".*") {
            prop_assert!(seal(OLD, None).open("acc_1", &text).is_err());
        }
    }
}
