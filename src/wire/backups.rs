//! Words of `/admin/backups`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `POST /admin/backups`: there is nothing to choose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackupFields {}

/// A backup that the answering instance keeps in its DATA_DIR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Backup")]
pub struct BackupView {
    /// `bak_…`.
    pub id: String,
    /// When it was begun.
    pub created_at: Timestamp,
    /// How large it is.
    pub bytes: u64,
    /// `sqlite` or `postgres`: what it is of. It can be restored into either.
    #[schemars(extend("enum" = ["sqlite", "postgres"]))]
    pub store: String,
}
