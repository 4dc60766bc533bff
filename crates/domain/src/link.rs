//! The identity link: Limio is told which Salesforce records a subscription and its customer belong to.
//!
//! Without it Limio for Salesforce does not show the subscription. It is the last step of an order's processing and no part
//! of the order: what is written stays written, whatever becomes of the link (Limio help desk, "How to fix Subscriptions
//! existing in Limio Commerce but not appearing in LFS"; Limio documentation, "External Identities").

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Reason};
use crate::order::Order;
use crate::order::id::{OrderId, RecordId};
use crate::outcome::Written;

/// The longest id of an object of Limio's, in characters; real ones have 36.
const LONGEST_ID: usize = 100;

/// What a link is about, in Limio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Linked {
    /// A subscription, `sub-…`.
    Subscription,
    /// A customer, `cus-…`.
    Customer,
}

impl Linked {
    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subscription => "subscription",
            Self::Customer => "customer",
        }
    }

    /// How its ids begin.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Subscription => "sub-",
            Self::Customer => "cus-",
        }
    }
}

/// One object of Limio's and one record of Salesforce's that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdentityLink {
    /// What kind of object.
    pub object: Linked,
    /// Its id in Limio.
    pub id: String,
    /// The Account (`001…`) or Contact (`003…`).
    pub record: RecordId,
}

/// The links of one order: at most subscription and customer with Account and Contact each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityLinks {
    /// The order, for its story.
    pub order: OrderId,
    /// What belongs together; never empty.
    pub links: Vec<IdentityLink>,
}

impl IdentityLinks {
    /// The links of an order that was written; `None` where it names no object of Limio's, or belongs to no record.
    ///
    /// Only ids of the documented form are linked: some of Limio's orders carry an identity where the customer's id belongs.
    pub fn of(order: &Order, written: &Written) -> Option<Self> {
        let contact = written.record_ids.get("contact").and_then(serde_json::Value::as_str).and_then(RecordId::parse);
        let contact = contact.or_else(|| order.tracking.contact_id.clone());
        let records: Vec<&RecordId> = written.crm_id.iter().chain(&contact).collect();
        let objects = [(Linked::Subscription, &order.subscription.id), (Linked::Customer, &order.customer_id)];
        let links: Vec<IdentityLink> = objects
            .into_iter()
            .filter_map(|(object, id)| id.as_deref().filter(|id| is_id(object, id)).map(|id| (object, id)))
            .flat_map(|(object, id)| {
                records.iter().map(move |record| IdentityLink { object, id: id.to_owned(), record: (*record).clone() })
            })
            .collect();
        (!links.is_empty()).then(|| Self { order: order.id.clone(), links })
    }

    /// The wire form: one JSON object.
    pub fn render(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// It is none, or names nothing that can be linked.
    pub fn parse(body: &[u8]) -> Result<Self, Failure> {
        let unreadable = |what: &str| Failure::permanent(Reason::IdentityLinkRefused, format!("the task {what}"));
        let read: Self = serde_json::from_slice(body).map_err(|_| unreadable("is not a list of identity links"))?;
        if read.links.is_empty() || read.links.iter().any(|link| !is_id(link.object, &link.id)) {
            return Err(unreadable("names nothing that can be linked"));
        }
        Ok(read)
    }
}

/// Whether this is an id as Limio makes them: safe in a path, and short.
fn is_id(object: Linked, id: &str) -> bool {
    let rest = id.strip_prefix(object.prefix());
    id.len() <= LONGEST_ID
        && rest.is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::envelope::{DecodeSettings, Envelope, Incoming};
    use crate::event::OrderEvent;
    use crate::order::id::TenantId;

    const ACCOUNT: &str = "0015g00000ZxQ1aAAF";
    const CONTACT: &str = "0035g00000ZxQ1aAAF";
    const SUBSCRIPTION: &str = "sub-cde83419f67963c0b1f8edf0c0468b0e";
    const CUSTOMER: &str = "cus-c8c3c4d6b4f736b86ca09915213319a5";

    fn links(change: impl FnOnce(&mut Value), written: &Written) -> Vec<(Linked, String, String)> {
        let mut order = json!({
            "id": "order-00000000000000000000000000000001", "order_type": "cancel_subscription", "order_reference": "R1",
            "owner": "id-nora", "orderDate": "2026-02-03T16:13:57Z",
            "subscriptionId": SUBSCRIPTION, "customerId": CUSTOMER,
        });
        change(&mut order);
        let body = order.to_string().into_bytes();
        let settings = DecodeSettings { tenant: TenantId::parse("acme").expect("a name"), max_body_bytes: 1 << 20 };
        let incoming = Incoming {
            body: &body,
            content_type: None,
            message_id: None,
            kind: None,
            timestamp: None,
            tenant: None,
            event: None,
            trace_parent: None,
        };
        let event = Envelope::decode(&incoming, &settings).and_then(OrderEvent::parse).expect("an order");
        let Some(links) = IdentityLinks::of(&event.order, written) else { return Vec::new() };
        assert_eq!(IdentityLinks::parse(&links.render()), Ok(links.clone()));
        links.links.into_iter().map(|link| (link.object, link.id, link.record.as_str().to_owned())).collect()
    }

    fn written(contact: bool) -> Written {
        let mut record_ids = Map::new();
        if contact {
            record_ids.insert("contact".to_owned(), CONTACT.into());
        }
        Written { crm_id: RecordId::parse(ACCOUNT), record_ids, ..Written::default() }
    }

    #[test]
    fn subscription_and_customer_are_each_linked_to_account_and_contact() {
        let both = |record: &str| {
            [(Linked::Subscription, SUBSCRIPTION), (Linked::Customer, CUSTOMER)]
                .map(|(object, id)| (object, id.to_owned(), record.to_owned()))
        };
        assert_eq!(links(|_| (), &written(false)), both(ACCOUNT));
        let mut expected = [both(ACCOUNT), both(CONTACT)].concat();
        expected.sort_by_key(|(object, ..)| *object);
        assert_eq!(links(|_| (), &written(true)), expected);
        assert_eq!(
            links(|order| order["tracking"] = json!({ "contactId": CONTACT }), &written(false)),
            expected,
            "the Contact that the order came with"
        );
    }

    #[test]
    fn what_has_no_id_of_limios_or_no_record_of_the_orgs_is_not_linked() {
        let nothing = Vec::new();
        assert_eq!(links(|_| (), &Written::default()), nothing);
        let elsewhere = |order: &mut Value| {
            order["subscriptionId"] = json!("sub-1/../../admin");
            order["customerId"] = json!("id-af385c5fd5a03350308ea28d073e9e26");
        };
        assert_eq!(links(elsewhere, &written(true)), nothing);
    }

    #[test]
    fn a_task_that_is_none_is_refused_by_name() {
        for body in ["", "{}", r#"{"order":"order-1","links":[]}"#] {
            assert_eq!(
                IdentityLinks::parse(body.as_bytes()).map_err(|failure| failure.reason),
                Err(Reason::IdentityLinkRefused)
            );
        }
        let escaping =
            format!(r#"{{"order":"order-1","links":[{{"object":"customer","id":"cus-../x","record":"{ACCOUNT}"}}]}}"#);
        assert!(IdentityLinks::parse(escaping.as_bytes()).is_err());
    }
}
