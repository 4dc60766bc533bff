//! A publisher's day, from a seed: who orders what, in which sequence, and what goes wrong on the way.
//!
//! The same number and seed give the same bytes. Shares are exact as far as whole orders allow, so that two runs of
//! different size look alike:
//!
//! | What | Share |
//! |---|---|
//! | customers | 15 % of the orders |
//! | order types | [`MIX`], after one new order per customer |
//! | flawed | 2 %: half unreadable, half refused with their customer known |
//! | sent twice, byte for byte | 5 % |
//! | of another tenant | one |
//! | with another order's identity | one |

use std::collections::HashSet;

use domain::order::change::OrderType;
use queue::message::Message;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value};

use super::bodies::{self, Occasion, Subscription};
use super::customers::{self, Customer, Twin, hex, reference};
use super::wire::{self, Envelope, Flaw, Frame};

/// The smallest number of orders that shows everything.
pub(crate) const FEWEST: u32 = 200;

/// Customers per hundred orders.
const CUSTOMERS_PERCENT: usize = 15;
/// Messages per hundred that are sent twice.
const DOUBLED_PERCENT: usize = 5;
/// Orders per hundred that are torn or invalid.
const FLAWED_PERCENT: usize = 2;
/// How many places later the second delivery may come.
const DOUBLE_LAG: usize = 300;
/// 2026-02-03 08:00 UTC: when the first order is dated.
const FIRST_ORDER: i64 = 1_770_105_600;

/// What customers order after their first subscription, in shares of a thousand.
const MIX: [(OrderType, usize); 15] = [
    (OrderType::New, 60),
    (OrderType::ChangePayment, 165),
    (OrderType::ChangeAddress, 150),
    (OrderType::UpdateSubscription, 145),
    (OrderType::Renew, 140),
    (OrderType::AddOffer, 80),
    (OrderType::ChangeOffer, 70),
    (OrderType::CancelSubscription, 60),
    (OrderType::UpdateCustomerDetails, 40),
    (OrderType::CancelIntent, 30),
    (OrderType::AddCharge, 15),
    (OrderType::PayInvoice, 15),
    (OrderType::Refund, 12),
    (OrderType::DataCapture, 10),
    (OrderType::GiftRefund, 8),
];

/// One order on the publisher's list.
#[expect(clippy::struct_field_names, reason = "Limio calls it order_type")]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order {
    /// The customer's owner id: the sequence key.
    pub(crate) key: String,
    /// `order-` and 32 hex digits.
    pub(crate) id: String,
    /// The human reference, which the platform event carries as its order number.
    pub(crate) reference: String,
    /// What it calls its subscription: by its id, its reference, or both.
    pub(crate) subscription: Vec<String>,
    /// What was ordered, whatever the message says.
    pub(crate) order_type: OrderType,
    /// The type of the event that announces it.
    pub(crate) event: Option<&'static str>,
    /// What is wrong with it.
    pub(crate) flaw: Option<Flaw>,
    /// What is sent.
    pub(crate) message: Message,
}

/// Everything that is published.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Script {
    /// The customers; the last one belongs to another tenant.
    pub(crate) customers: Vec<Customer>,
    /// The orders, in the sequence in which each is sent first.
    pub(crate) orders: Vec<Order>,
    /// What is sent, as places in `orders`; the second time a place appears, it is a double.
    pub(crate) deliveries: Vec<usize>,
}

/// One order before it is written down.
struct Slot {
    customer: usize,
    order_type: OrderType,
    first: bool,
    flaw: Option<Flaw>,
}

/// What differs from the demo's day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Shape {
    /// Customers who order much more than the others.
    pub(crate) hot_customers: usize,
    /// How many in a hundred of the orders after a customer's first are theirs.
    pub(crate) hot_percent: u32,
    /// Whether no order bears another's identity: such a conflict is told from a double by what the ledger remembers, and
    /// not where Redis forgets.
    pub(crate) without_conflict: bool,
}

/// Writes the script. `tenant` is the fleet's own.
pub(crate) fn script(count: usize, seed: u64, tenant: &str) -> Script {
    shaped_script(count, seed, tenant, Shape::default())
}

/// Writes the script of another day than the demo's.
pub(crate) fn shaped_script(count: usize, seed: u64, tenant: &str, shape: Shape) -> Script {
    let count = count.max(FEWEST as usize);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut customers = customers::customers(count * CUSTOMERS_PERCENT / 100, &mut rng);
    // The order of another tenant and the one with another's identity come on top of what is dealt.
    let mut slots = interleaved(chains(customers.len(), count - 2, shape, &mut rng), &mut rng);
    spoil(&mut slots, &customers, shape, &mut rng);
    let stranger = Customer { twin: Twin::None, ..customers::customers(1, &mut rng).remove(0) };
    customers.push(stranger);
    let foreign = Slot {
        customer: customers.len() - 1,
        order_type: OrderType::New,
        first: true,
        flaw: Some(Flaw::ForeignTenant),
    };
    slots.insert(slots.len() / 3, foreign);
    let mut author = Author {
        tenant,
        customers: &customers,
        subscriptions: customers.iter().map(|_| Vec::new()).collect(),
        gifts: gift_buyers(&slots),
        references: HashSet::new(),
        rng: &mut rng,
    };
    let mut orders = Vec::with_capacity(count);
    let twin = conflict_place(&slots);
    let mut twin_of = None;
    for (place, slot) in slots.iter().enumerate() {
        let (order, body) = author.write(place, slot);
        if place == twin && !shape.without_conflict {
            twin_of = Some(author.write_conflict(&order, body));
        }
        orders.push(order);
    }
    let conflict = (twin + 20).min(orders.len());
    if let Some(twin) = twin_of {
        orders.insert(conflict, twin);
    }
    let deliveries = deliveries(&orders, &mut rng);
    Script { customers, orders, deliveries }
}

/// What each customer orders, in sequence: a new subscription first, endings last.
fn chains(customers: usize, count: usize, shape: Shape, rng: &mut StdRng) -> Vec<Vec<OrderType>> {
    let hot = shape.hot_customers.min(customers);
    let mut chains: Vec<Vec<OrderType>> = vec![vec![OrderType::New]; customers];
    let mut endings: Vec<Vec<OrderType>> = vec![Vec::new(); customers];
    let mut order: Vec<usize> = (0..customers).collect();
    for (order_type, cards) in shares(count - customers) {
        order.shuffle(rng);
        for card in 0..cards {
            match order_type {
                // Once per customer, and nothing but refunds afterwards.
                OrderType::CancelIntent | OrderType::CancelSubscription | OrderType::Refund | OrderType::GiftRefund => {
                    endings[order[card % customers]].push(order_type);
                }
                OrderType::New
                | OrderType::ChangeOffer
                | OrderType::AddOffer
                | OrderType::AddCharge
                | OrderType::ChangePayment
                | OrderType::ChangeAddress
                | OrderType::Renew
                | OrderType::UpdateSubscription
                | OrderType::UpdateCustomerDetails
                | OrderType::PayInvoice
                | OrderType::DataCapture => {
                    let is_hot = hot > 0 && rng.random_ratio(shape.hot_percent.min(100), 100);
                    chains[rng.random_range(0..if is_hot { hot } else { customers })].push(order_type);
                }
            }
        }
    }
    for (chain, mut ending) in chains.iter_mut().zip(endings) {
        chain[1..].shuffle(rng);
        ending.sort_by_key(|order_type| match order_type {
            OrderType::CancelIntent => 0,
            OrderType::CancelSubscription => 1,
            OrderType::New
            | OrderType::ChangeOffer
            | OrderType::AddOffer
            | OrderType::AddCharge
            | OrderType::ChangePayment
            | OrderType::ChangeAddress
            | OrderType::Renew
            | OrderType::GiftRefund
            | OrderType::Refund
            | OrderType::UpdateSubscription
            | OrderType::UpdateCustomerDetails
            | OrderType::PayInvoice
            | OrderType::DataCapture => 2,
        });
        chain.extend(ending);
    }
    chains
}

/// How many of each type: by largest remainder, at least one of each.
fn shares(count: usize) -> Vec<(OrderType, usize)> {
    let total: usize = MIX.iter().map(|(_, weight)| weight).sum();
    let mut shares: Vec<(OrderType, usize)> =
        MIX.iter().map(|(order_type, weight)| (*order_type, (count * weight / total).max(1))).collect();
    let dealt: usize = shares.iter().map(|(_, cards)| cards).sum();
    // Rounding down leaves a few; they go to the most frequent types after `new`.
    let types = shares.len();
    for index in 0..count.saturating_sub(dealt) {
        shares[1 + index % (types / 2)].1 += 1;
    }
    for index in 0..dealt.saturating_sub(count) {
        let share = &mut shares[1 + index % (types / 2)].1;
        *share = share.saturating_sub(1);
    }
    shares
}

/// One sequence out of all chains, each in its own order.
fn interleaved(chains: Vec<Vec<OrderType>>, rng: &mut StdRng) -> Vec<Slot> {
    let mut slots = Vec::new();
    for (customer, chain) in chains.into_iter().enumerate() {
        let mut times: Vec<u64> = chain.iter().map(|_| rng.random()).collect();
        times.sort_unstable();
        for (place, (order_type, time)) in chain.into_iter().zip(times).enumerate() {
            slots.push((time, Slot { customer, order_type, first: place == 0, flaw: None }));
        }
    }
    // The sort is stable, so that a customer's orders keep their order even at the same time.
    slots.sort_by_key(|(time, _)| *time);
    slots.into_iter().map(|(_, slot)| slot).collect()
}

/// Gives 2 % of the orders a flaw. Those that hold their customer up are not a customer's first order, at most one of a
/// customer, and none of a customer whom the org takes for another.
fn spoil(slots: &mut [Slot], customers: &[Customer], shape: Shape, rng: &mut StdRng) {
    let flawed = (slots.len() * FLAWED_PERCENT).div_ceil(100).max(8);
    let mut places: Vec<usize> = (0..slots.len()).collect();
    places.shuffle(rng);
    let mut held_up = HashSet::new();
    let (mut unreadable, mut refused) = (0, 0);
    for place in places {
        let slot = &mut slots[place];
        if unreadable < flawed / 2 {
            slot.flaw = Some(Flaw::UNREADABLE[unreadable % Flaw::UNREADABLE.len()]);
            unreadable += 1;
        } else if refused < flawed - flawed / 2 {
            let plain = !slot.first && slot.order_type != OrderType::New && customers[slot.customer].twin == Twin::None;
            // A hot customer who is held up is hot no longer.
            if plain && slot.customer >= shape.hot_customers && held_up.insert(slot.customer) {
                slot.flaw = Some(Flaw::REFUSED[refused % Flaw::REFUSED.len()]);
                refused += 1;
            }
        } else {
            break;
        }
    }
}

/// Customers whose first order is a gift: those who are refunded one later, and one in ten of the others.
fn gift_buyers(slots: &[Slot]) -> HashSet<usize> {
    let refunded = slots.iter().filter(|slot| slot.order_type == OrderType::GiftRefund).map(|slot| slot.customer);
    refunded.chain(slots.iter().map(|slot| slot.customer).filter(|customer| customer % 10 == 1)).collect()
}

/// The order whose identity is used again: the last one of a customer of whom nothing is flawed and nothing is matched,
/// near the middle of the day.
fn conflict_place(slots: &[Slot]) -> usize {
    let flawed: HashSet<usize> = slots.iter().filter(|slot| slot.flaw.is_some()).map(|slot| slot.customer).collect();
    let mut seen = HashSet::new();
    let last: Vec<usize> = (0..slots.len())
        .rev()
        .filter(|place| seen.insert(slots[*place].customer))
        .filter(|place| !flawed.contains(&slots[*place].customer) && !slots[*place].first)
        .collect();
    let middle = slots.len() / 2;
    last.into_iter().min_by_key(|place| place.abs_diff(middle)).unwrap_or(0)
}

/// Writes orders down.
struct Author<'a> {
    tenant: &'a str,
    customers: &'a [Customer],
    subscriptions: Vec<Vec<Subscription>>,
    gifts: HashSet<usize>,
    references: HashSet<String>,
    rng: &'a mut StdRng,
}

impl Author<'_> {
    fn write(&mut self, place: usize, slot: &Slot) -> (Order, Map<String, Value>) {
        let customer = &self.customers[slot.customer];
        let at = FIRST_ORDER + i64::try_from(place).unwrap_or_default() * 11;
        let id = format!("order-{}", hex(self.rng, 32));
        let reference = loop {
            let reference = reference(self.rng, 12);
            if self.references.insert(reference.clone()) {
                break reference;
            }
        };
        let subscriptions = &mut self.subscriptions[slot.customer];
        if slot.order_type == OrderType::New || subscriptions.is_empty() {
            subscriptions.push(Subscription::new(self.rng));
        }
        let subscription = if slot.order_type == OrderType::New {
            subscriptions.last().cloned()
        } else {
            subscriptions.choose(self.rng).cloned()
        };
        let is_gift = slot.first && self.gifts.contains(&slot.customer);
        let occasion = Occasion {
            customer,
            subscription: &subscription.expect("one was added where there was none"),
            id: &id,
            reference: &reference,
            at,
            is_gift,
        };
        let mut body = bodies::body(slot.order_type, &occasion, self.rng);
        let subscription = bodies::subscription_names(&body);
        if let Some(flaw) = slot.flaw {
            flaw.spoil(&mut body);
        }
        let tenant = if slot.flaw == Some(Flaw::ForeignTenant) { "globex" } else { self.tenant };
        let envelope = Envelope {
            message_id: format!("msg-{}", hex(self.rng, 16)),
            tenant,
            key: &customer.owner,
            order_id: &id,
            order_type: slot.order_type,
            at,
        };
        let frame = Frame::any(self.rng);
        let message = wire::message(body.clone(), frame, slot.flaw, envelope, self.rng);
        let (key, order_type) = (customer.owner.clone(), slot.order_type);
        let event = bodies::announced_as(order_type, is_gift);
        (Order { key, id, reference, subscription, order_type, event, flaw: slot.flaw, message }, body)
    }

    /// Another order under the identity of this one.
    fn write_conflict(&mut self, order: &Order, mut body: Map<String, Value>) -> Order {
        let flaw = Some(Flaw::IdentityConflict);
        Flaw::IdentityConflict.spoil(&mut body);
        let envelope = Envelope {
            message_id: format!("msg-{}", hex(self.rng, 16)),
            tenant: self.tenant,
            key: &order.key,
            order_id: &order.id,
            order_type: order.order_type,
            at: FIRST_ORDER,
        };
        let message = wire::message(body, Frame::Bare, flaw, envelope, self.rng);
        Order { flaw, message, ..order.clone() }
    }
}

/// What is sent when: every order once, and one in twenty again, half of them at once and half of them later.
fn deliveries(orders: &[Order], rng: &mut StdRng) -> Vec<usize> {
    let may_double: Vec<usize> = {
        let conflict = orders.iter().find(|order| order.flaw == Some(Flaw::IdentityConflict)).map(|order| &order.id);
        (0..orders.len()).filter(|place| Some(&orders[*place].id) != conflict).collect()
    };
    let doubles = may_double.sample(rng, orders.len() * DOUBLED_PERCENT / 100).copied().collect::<Vec<_>>();
    let mut sent: Vec<(usize, usize)> = (0..orders.len()).map(|place| (2 * place, place)).collect();
    for place in doubles {
        let lag = if rng.random_bool(0.5) { 0 } else { rng.random_range(1..=DOUBLE_LAG) };
        sent.push((2 * (place + lag) + 1, place));
    }
    sent.sort_unstable();
    sent.into_iter().map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests;
