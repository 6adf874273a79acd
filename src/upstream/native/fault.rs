//! What is wrong with a caller's body, with the member's path in the sentence.

use crate::error::Error;
use crate::wire::members::Members;

/// How much of a name of the caller's is said back, in characters.
const LONGEST_NAME: usize = 64;

/// A refusal: `path` as in `messages[0].content`, and what is to be said of it, as in `must be a string`.
#[must_use]
pub fn wrong(path: &str, message: &str) -> Error {
    Error::field(path, format!("{path} {message}"))
}

/// Refuses an object with two members of one name: readers disagree about which of them counts. `path`: where the
/// object is, empty for the body itself.
///
/// # Errors
/// `InvalidRequest` with the member's path.
pub fn no_repeats(members: &Members<'_>, path: &str) -> Result<(), Error> {
    let Some(name) = members.repeated() else { return Ok(()) };
    let name: String = name.chars().take(LONGEST_NAME).collect();
    let path = if path.is_empty() { name } else { format!("{path}.{name}") };
    Err(wrong(&path, "is there twice; send it once"))
}
