//! Settings that are one of several words: where public sources differ, each word is one of their answers.

use serde::{Deserialize, Serialize};

/// How a failed graph words the nodes that were not at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GraphErrorStyle {
    /// Every node repeats the root error, as recorded on release 228.
    RepeatRoot,
    /// Only the culprit carries it; the others say `PROCESSING_HALTED`.
    ProcessingHalted,
}

/// How a reference that leads nowhere is worded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferenceMessage {
    /// `Invalid reference specified. No value for a.id found in a`.
    Short,
    /// With the rule for reference ids behind it, as the guide prints it for null and unselected fields.
    Long,
}

/// The key under which a duplicate result travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DuplicateKey {
    /// The spelling of every public recording.
    #[serde(rename = "duplicateResut")]
    Misspelt,
    /// The spelling some clients also read.
    #[serde(rename = "duplicateResult")]
    Spelt,
}

impl DuplicateKey {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Misspelt => "duplicateResut",
            Self::Spelt => "duplicateResult",
        }
    }
}

/// Whether a duplicate inside a graph carries its matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GraphDuplicateBody {
    /// The same body as a single call.
    Full,
    /// Code and message only.
    Short,
}

/// What a duplicate result says of a match that sharing hides from the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnseenRecord {
    /// `"record": null`.
    Null,
    /// No `record` key.
    Absent,
    /// Type, URL and id, as of a record that is seen.
    Id,
}

/// When a platform event reaches the bus (Platform Events Developer Guide, "Publish Behavior").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublishBehavior {
    /// With the commit of the surrounding transaction, or never.
    AfterCommit,
    /// At the call, also when the transaction then rolls back.
    Immediately,
    /// As the event's own definition says.
    AsDefined,
}

/// The language of the integration user, which words the messages of refusals.
///
/// Codes and field names stay as they are; callers must not read the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Language {
    /// English, as the guides print the messages.
    #[serde(rename = "en_US")]
    English,
    /// Brazilian Portuguese.
    #[serde(rename = "pt_BR")]
    Portuguese,
}

/// What the integration user may do with the rows of one object, or with a platform event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectPermission {
    /// See that the object exists, describe it, query it and read its rows; subscribe to the event.
    pub read: bool,
    /// Create rows; publish the event.
    pub create: bool,
    /// Change rows.
    pub edit: bool,
    /// Delete rows.
    pub delete: bool,
}

impl ObjectPermission {
    /// Everything.
    pub const ALL: Self = Self { read: true, create: true, edit: true, delete: true };
    /// Reading only.
    pub const READ: Self = Self { read: true, create: false, edit: false, delete: false };
    /// Nothing: the object does not exist for the user.
    pub const NONE: Self = Self { read: false, create: false, edit: false, delete: false };
}

impl Default for ObjectPermission {
    fn default() -> Self {
        Self::ALL
    }
}

/// How a create without the Create permission is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingCreate {
    /// `INSUFFICIENT_ACCESS_OR_READONLY`.
    InsufficientAccess,
    /// `CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY`, "entity type cannot be inserted".
    CannotInsert,
}

/// What a write to the hidden Contact of a person account comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonContactWrites {
    /// `INSUFFICIENT_ACCESS_OR_READONLY`.
    Refused,
    /// The account follows.
    Through,
}

/// What becomes of fields that only business accounts use, when they are written on a person account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BusinessFields {
    /// `INVALID_FIELD_FOR_INSERT_UPDATE`.
    Refused,
    /// They are dropped in silence.
    Ignored,
    /// They are stored.
    Kept,
}

/// How moving a row to another master is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reparenting {
    /// `INVALID_FIELD_FOR_INSERT_UPDATE`: the field is not updateable.
    NotUpdateable,
    /// `CANNOT_REPARENT_RECORD`.
    CannotReparent,
}

/// How long a refresh token is good (Help, "Manage OAuth Access Policies").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshPolicy {
    /// "Refresh token is valid until revoked".
    UntilRevoked,
    /// "Immediately expire refresh token": it is handed out and never good.
    Immediately,
    /// "Expire refresh token after": so long after it was first given.
    ExpireAfter,
    /// "Expire refresh token if not used for": so long after its last use.
    ExpireUnused,
}
