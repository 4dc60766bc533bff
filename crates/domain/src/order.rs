//! A Limio order: what its types share, what each has of its own, and the body it came in.
//!
//! Reading is tolerant (numbers or strings, several spellings); what it becomes is strict. The body is kept whole,
//! unknown keys included, so that nothing a tenant added is lost on the way.

pub mod change;
pub mod id;
pub(crate) mod identity;
pub mod item;
pub mod moment;
pub mod money;
pub(crate) mod parse;
pub mod party;
pub(crate) mod read;

use serde_json::{Map, Value};

use crate::order::change::{Change, OrderType};
use crate::order::id::{Fingerprint, OrderId, RecordId, SequenceKey};
use crate::order::item::Item;
use crate::order::moment::Moment;
use crate::order::money::Money;
use crate::order::party::{Address, Customer, Student, User};
use crate::order::read::Fields;

/// One order, parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// Its identity.
    pub id: OrderId,
    /// The digest of what it says.
    pub fingerprint: Fingerprint,
    /// Its human reference (`order_reference`), 11 or 12 characters.
    pub reference: Option<String>,
    /// `external_id`: the caller's reference. Not unique.
    pub external_id: Option<String>,
    /// What is asked for, with the fields of its own type.
    pub change: Change,
    /// `change_type`, where Limio sends one (`cancel_save`).
    pub change_type: Option<String>,
    /// The customer, as far as order of processing is concerned.
    pub sequence_key: SequenceKey,
    /// `owner`: the identity id (`id-…`).
    pub owner: Option<String>,
    /// The customer id (`cus-…`), from `customerId`, `customer_id`, `customer` or `tracking.customerId`.
    pub customer_id: Option<String>,
    /// The token claims of who ordered.
    pub user: User,
    /// Who buys.
    pub customer: Customer,
    /// Billing address, when it says anything.
    pub billing: Option<Address>,
    /// Delivery address, when it says anything.
    pub delivery: Option<Address>,
    /// The subscription that the order names.
    pub subscription: SubscriptionName,
    /// What is bought, first item first. A change order's single `offer` stands here as one item; of an
    /// `update_subscription`, the additions.
    pub items: Vec<Item>,
    /// `total`.
    pub total: Option<Money>,
    /// `orderDate`.
    pub order_date: Option<Moment>,
    /// The day from which the change holds: `effectiveDate`, `cancelDate`, `startDate` or the first `effective_date` of `updates`.
    pub effective_date: Option<Moment>,
    /// `source`: the system that submitted it.
    pub source: Option<String>,
    /// `initiated_source`: where it began.
    pub initiated_source: Option<String>,
    /// The Salesforce records that the order came from.
    pub tracking: Tracking,
    /// `giftCode` or `payment.gift_code`.
    pub gift_code: Option<String>,
    /// Student data, when collected.
    pub student: Option<Student>,
    /// Why, on cancel, cancel-save and switch.
    pub reason: Option<ChangeReason>,
    /// `partnerSalesforceAccountId`, or the same under `forPartner`.
    pub partner_account: Option<RecordId>,
    /// The order as it came, without secrets, unknown keys included.
    pub raw: Map<String, Value>,
}

/// How an order names its subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubscriptionName {
    /// `sub-…`: from `forSubscription.id`, else `subscriptionId`, else `subId`.
    pub id: Option<String>,
    /// The human reference: from `forSubscription.name`, else `subscriptionRef`, `subRef`, `subscriptionReference`, `sub_reference`.
    pub reference: Option<String>,
}

impl SubscriptionName {
    /// The best name there is: id, else reference.
    pub fn best(&self) -> Option<&str> {
        self.id.as_deref().or(self.reference.as_deref())
    }
}

/// `tracking`, as far as it names Salesforce records. An order with an id that is none, or of another object, is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tracking {
    /// `accountId` (`001…`)
    pub account_id: Option<RecordId>,
    /// `contactId` (`003…`)
    pub contact_id: Option<RecordId>,
    /// `caseId` (`500…`)
    pub case_id: Option<RecordId>,
    /// `userId` (`005…`)
    pub user_id: Option<RecordId>,
}

/// `data.reason`, or the reason of a cancel attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeReason {
    /// The reason's id.
    pub id: Option<String>,
    /// What the customer wrote. Personal: never logged.
    pub feedback: Option<String>,
}

/// Names under which a customer's Account may be remembered. A subscription may pass to another customer, so it proves
/// nothing of one who has a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountNames {
    /// The customer's own, strongest first: owner, `sub`, customer id.
    pub own: Vec<String>,
    /// Customer and subscription together: what holds for this customer's orders of this subscription, and for no other.
    pub together: Vec<String>,
    /// The subscription's: id and reference.
    pub subscription: Vec<String>,
    /// What tells a customer from another one, by kind and in lower case: `identity:` and `email:`. Names of one kind that
    /// differ are two customers'; an identity says nothing against an e-mail address.
    pub holders: Vec<String>,
}

impl Order {
    /// The Account that is already known to belong to the customer, from the order alone: `tracking.accountId`, else the
    /// identity's `crm_id`.
    pub fn crm_id(&self) -> Option<&RecordId> {
        self.tracking.account_id.as_ref().or(self.user.crm_id.as_ref())
    }

    /// Every name that may lead to the customer's Account, strongest first: owner, `sub`, customer id, subscription id and
    /// reference. E-mail is not among them: two identities may share one.
    pub fn identity_aliases(&self) -> Vec<String> {
        let AccountNames { own, subscription, .. } = self.account_names();
        own.into_iter().chain(subscription).collect()
    }

    /// The names under which the customer's Account may be remembered, by what they prove.
    pub fn account_names(&self) -> AccountNames {
        let aliases = |named: &[(&str, Option<&str>)]| {
            let named = named.iter().filter_map(|(kind, name)| name.map(|name| format!("{kind}:{name}")));
            let mut aliases: Vec<String> = named.collect();
            aliases.dedup();
            aliases
        };
        let SubscriptionName { id, reference } = &self.subscription;
        let own = aliases(&[
            ("owner", self.owner.as_deref()),
            ("owner", self.user.sub.as_deref()),
            ("customer", self.customer_id.as_deref()),
        ]);
        let subscription = aliases(&[("subscription", id.as_deref()), ("subscription", reference.as_deref())]);
        let of = |name: &String| subscription.iter().map(|held| format!("{held} of {name}")).collect();
        let together = own.first().map(of).unwrap_or_default();
        let identities = [&self.owner, &self.user.sub, &self.customer_id].into_iter().flatten();
        let identities = identities.map(|name| format!("identity:{}", name.to_lowercase()));
        let email = self.email().map(|(email, _)| format!("email:{}", email.to_lowercase()));
        let mut holders: Vec<String> = Vec::new();
        for name in identities.chain(email) {
            if !holders.contains(&name) {
                holders.push(name);
            }
        }
        AccountNames { own, together, subscription, holders }
    }

    /// Names of the records that it may share with orders of other sequence keys: what its customer's Account may be found or
    /// created by, e-mail included, and the Account and Contact that it names. Two orders that have one in common would wait
    /// for each other's lock, or create one Account twice.
    pub fn shares(&self) -> Vec<String> {
        let records = [("account", self.crm_id()), ("contact", self.tracking.contact_id.as_ref())];
        let records = records.into_iter().filter_map(|(kind, id)| Some(format!("{kind}:{}", id?.as_str())));
        let email = self.email().map(|(email, _)| format!("email:{}", email.to_lowercase()));
        self.identity_aliases().into_iter().chain(records).chain(email).collect()
    }

    /// The stable Limio name of the customer, for external ids: owner, else `sub`, else customer id, else the e-mail
    /// address in lower case. `None` when the order names nobody.
    pub fn customer_name(&self) -> Option<String> {
        let name = self.owner.as_deref().or(self.user.sub.as_deref()).or(self.customer_id.as_deref());
        name.map(str::to_owned).or_else(|| self.email().map(|(email, _)| email.to_lowercase()))
    }

    /// Whether `userDetails.crm_id` holds something that is no Account's id. Only where nothing needs it is such an order
    /// read at all ([`parse`]).
    pub(crate) fn has_slipped_crm_id(&self) -> bool {
        let said = |user: Fields<'_>| user.value("crm_id").is_some();
        self.user.crm_id.is_none() && Fields::root(&self.raw).object_if_any("userDetails").is_some_and(said)
    }

    /// The customer's e-mail address and the path it came from: the first of `customerDetails`, `userDetails` and
    /// [`Order::stand_in`] with an `@`, by the rule of the sequence key.
    pub(crate) fn email(&self) -> Option<(&str, &'static str)> {
        self.email_fields().find(|(email, _)| identity::is_email(email))
    }

    /// Paths of the e-mail fields that [`Order::email`] passes over because they hold no address.
    pub(crate) fn emails_passed_over(&self) -> impl Iterator<Item = &'static str> {
        self.email_fields().take_while(|(email, _)| !identity::is_email(email)).map(|(_, path)| path)
    }

    fn email_fields(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let places = [
            (self.customer.email.as_deref(), "customerDetails.email"),
            (self.user.email.as_deref(), "userDetails.email"),
            (self.stand_in().and_then(|billing| billing.email.as_deref()), "billingDetails.email"),
        ];
        places.into_iter().filter_map(|(email, path)| Some((email?, path)))
    }

    /// The billing address where it is the only one to say who the customer is: on a new order whose `customerDetails`
    /// name nobody. Anywhere else it may be somebody else's, of whoever holds the card.
    pub(crate) fn stand_in(&self) -> Option<&Address> {
        let nobody = self.change.order_type() == OrderType::New && self.customer.names_nobody();
        self.billing.as_ref().filter(|_| nobody)
    }
}
