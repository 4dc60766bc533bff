//! What has to be written for one order, in Salesforce's terms but without its protocol.

use std::borrow::Cow;

use serde_json::Value;

use crate::order::id::RecordId;

/// What is already known about the customer of an order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownIdentity {
    /// The Account (`001…`), from the order's `tracking`, the identity's `crm_id`, the ledger or a duplicate match.
    pub crm_id: Option<RecordId>,
    /// The Contact (`003…`), where known.
    pub contact_id: Option<RecordId>,
    /// Records of the order's subscription that belong to another Account and move to `crm_id`; each record once.
    pub transfers: Vec<Transfer>,
}

/// A record that moves to another Account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Its object's API name.
    pub object: String,
    /// The record.
    pub id: RecordId,
    /// Its lookup to Account.
    pub account_field: String,
}

impl Transfer {
    /// The most records that move with one order: all are written with it or not at all, and the order's request has room
    /// for 500 records.
    pub const MOST: usize = 100;
}

/// Everything that is written for one order: one all-or-none unit, parents first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WritePlan {
    /// The effects, in the order in which they are written.
    pub effects: Vec<Effect>,
    /// What was shortened or left out, one sentence each, without personal data.
    pub adjustments: Vec<String>,
}

impl WritePlan {
    /// Whether the plan publishes a platform event.
    pub fn publishes(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect.write, Write::Publish { .. }))
    }
}

/// One record or event.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    /// Its name inside the plan; other effects refer to it. Unique in a plan.
    pub reference: Reference,
    /// What is done.
    pub write: Write,
    /// Salesforce field names and what they are set to, in mapping order.
    pub fields: Vec<(String, FieldValue)>,
}

/// The effects that a plan may have, each at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reference {
    /// The person account or business account.
    Account,
    /// The contact of a business account.
    Contact,
    /// The order's own record: proof, inside the same all-or-none unit, that the order was written.
    Order,
    /// The platform event.
    Event,
    /// A record that moves to the customer's Account; the number tells several apart.
    Moved(u8),
}

impl Reference {
    /// The name on the wire, as `referenceId`.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Self::Account => "account".into(),
            Self::Contact => "contact".into(),
            Self::Order => "order".into(),
            Self::Event => "event".into(),
            Self::Moved(number) => format!("moved{number}").into(),
        }
    }
}

/// What is done with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Create it, or update the one that has this external id.
    Upsert {
        /// Object API name.
        object: String,
        /// External-id field API name.
        field: String,
        /// The value; never empty.
        value: String,
    },
    /// Create it. A unique field makes the second time fail.
    Create {
        /// Object API name.
        object: String,
    },
    /// Change it; it is there.
    Update {
        /// Object API name.
        object: String,
        /// The record.
        id: RecordId,
    },
    /// Publish it as a platform event.
    Publish {
        /// Event API name, ending in `__e`.
        event: String,
    },
}

/// What a field is set to.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldValue {
    /// A value.
    Json(Value),
    /// The id of another effect of the same plan.
    IdOf(Reference),
}
