//! What the settings need of the org.

use domain::config::{OrderProcessing, TransferObject};
use domain::mapping::event_type::EventType;

/// An object that the settings name, or that every order needs.
#[derive(Debug)]
pub(super) struct Object<'a> {
    /// The setting that names it, or a field of it.
    pub(super) setting: String,
    pub(super) name: &'a str,
    /// Whether the org brings it along: then there is nothing to make or to choose.
    pub(super) standard: bool,
    pub(super) access: Access,
    /// Those with an empty name are none.
    pub(super) fields: Vec<Field<'a>>,
}

/// What is done with the records of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Create,
    Edit,
}

/// A field that the settings name.
#[derive(Debug)]
pub(super) struct Field<'a> {
    pub(super) setting: String,
    pub(super) name: &'a str,
    pub(super) need: Need,
}

/// What a field has to be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// A new record carries it; a text of so many characters has room.
    Filled { length: u64 },
    /// A new record carries it, and it leads to the Account, along which a query goes.
    Belongs,
    /// A new record carries it, and records are looked for by it.
    Traced,
    /// An order's record is upserted by it.
    OrderKey,
    /// A customer's Account or Contact is upserted by it.
    CustomerKey,
    /// It is set in an order's record when that order's event is published.
    Noted,
    /// It leads to the Account, and is made to lead to another one.
    Moved,
    /// Records are looked for by it.
    Sought,
}

impl Object<'_> {
    pub(super) fn remedy(&self) -> &'static str {
        match (self.standard, self.access) {
            (true, _) => "let the integration user see it and create records of it",
            (false, Access::Create) => {
                "create the object, let the integration user see it and create records of it, or name another one"
            }
            (false, Access::Edit) => {
                "create the object, let the integration user see and edit it, or take its section out"
            }
        }
    }
}

impl Field<'_> {
    pub(super) fn remedy(&self) -> String {
        match self.need {
            Need::OrderKey | Need::CustomerKey => {
                "create it as a unique external id, give the user access to it, or name another one".to_owned()
            }
            Need::Filled { .. } => {
                format!("create it, give the user access to it, or set {} = \"\" to do without", self.setting)
            }
            Need::Belongs => format!(
                "create it as a lookup to Account, give the user access to it, or set {} = \"\" to do without",
                self.setting
            ),
            Need::Traced => format!(
                "create it as a text that is an external id, give the user access to it, or set {} = \"\" to do without",
                self.setting
            ),
            Need::Noted => {
                format!("create it as a checkbox, let the user edit it, or set {} = \"\" to do without", self.setting)
            }
            Need::Moved => "name the lookup to Account, let the user edit it, and allow reparenting where it is a \
                            master-detail; or take the section out"
                .to_owned(),
            Need::Sought => {
                "name the field that holds the subscription's id or reference, one that can be filtered by, \
                             and let the user read it; or take the section out"
                    .to_owned()
            }
        }
    }
}

/// Everything, in the order of the settings.
pub(super) fn of(processing: &OrderProcessing) -> Vec<Object<'_>> {
    let ids = &processing.external_ids;
    let mut needed = vec![customer("Account", "external_ids.account", &ids.account)];
    if !processing.create_person_account {
        needed.push(customer("Contact", "external_ids.contact", &ids.contact));
    }
    if !ids.order_object.is_empty() {
        let field = |setting: &str, name, need| Field { setting: setting.to_owned(), name, need };
        let filled = |setting, name| field(setting, name, Need::Filled { length: 0 });
        needed.push(Object {
            setting: "external_ids.order_object".to_owned(),
            name: &ids.order_object,
            standard: false,
            access: Access::Create,
            fields: vec![
                field("external_ids.order", &ids.order, Need::OrderKey),
                field("external_ids.order_fingerprint", &ids.order_fingerprint, Need::Filled { length: 64 }),
                // Only a question by the subscription goes along it.
                match ids.subscription.as_str() {
                    "" => filled("external_ids.order_account", &ids.order_account),
                    _ => field("external_ids.order_account", &ids.order_account, Need::Belongs),
                },
                filled("external_ids.order_type", &ids.order_type),
                filled("external_ids.order_reference", &ids.order_reference),
                field("external_ids.subscription", &ids.subscription, Need::Traced),
                field(
                    "external_ids.order_event_published",
                    processing.event_noted_in().unwrap_or_default(),
                    Need::Noted,
                ),
            ],
        });
    }
    let events = &processing.platform_events;
    if EventType::ALL.iter().any(|event_type| processing.publishes(*event_type)) {
        let need = Need::Filled { length: 255 };
        needed.push(Object {
            setting: "platform_events.api_name".to_owned(),
            name: &events.api_name,
            standard: false,
            access: Access::Create,
            fields: vec![Field { setting: "platform_events.event_key".to_owned(), name: &events.event_key, need }],
        });
    }
    if processing.transfer_ownership {
        needed.extend(processing.transfers.iter().map(|(object, fields)| transfer(object, fields)));
    }
    needed
}

fn customer<'a>(name: &'a str, setting: &str, key: &'a str) -> Object<'a> {
    let key = Field { setting: setting.to_owned(), name: key, need: Need::CustomerKey };
    Object { setting: setting.to_owned(), name, standard: true, access: Access::Create, fields: vec![key] }
}

fn transfer<'a>(object: &'a str, fields: &'a TransferObject) -> Object<'a> {
    let setting = format!("transfers.{object}");
    let field = |key: &str, name, need| Field { setting: format!("{setting}.{key}"), name, need };
    let fields =
        vec![field("subscription", &fields.subscription, Need::Sought), field("account", &fields.account, Need::Moved)];
    Object { setting, name: object, standard: false, access: Access::Edit, fields }
}
