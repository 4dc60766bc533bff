//! What has to become of each order: the publisher knows its customers, its flaws and the org's duplicate rules.
//!
//! | The order | comes to | and belongs to |
//! |---|---|---|
//! | is unreadable, or of another tenant | dead letter, which holds nobody up | |
//! | has another flaw | dead letter, which holds its customer up | |
//! | comes after one that holds its customer up | parked | |
//! | is new, of a customer whom a rule blocks | rejected | |
//! | is new, of a customer whom a rule allows, or comes after such a one | written | the twin |
//! | is any other new one, or comes after such a one | written | the customer's Account |
//! | changes something for a customer of whom no Account is known | written | no Account |
//!
//! Only new orders make a customer. New customer details have the whole name and no last name, and so make none.

use std::collections::{HashMap, HashSet};

use domain::order::change::OrderType;

use super::customers::{Customer, Twin};
use super::generator::{Order, Script};
use super::reconcile::{Fate, Whose};

/// What has to become of each order of the script, in its sequence, and whose Account it has to name.
pub(crate) fn expectations(script: &Script) -> Vec<(Fate, Whose)> {
    let customers: HashMap<&str, &Customer> =
        script.customers.iter().map(|customer| (customer.owner.as_str(), customer)).collect();
    let mut desk = Expected { customers, held_up: HashSet::new(), known: HashSet::new() };
    script.orders.iter().map(|order| desk.next(order)).collect()
}

struct Expected<'a> {
    customers: HashMap<&'a str, &'a Customer>,
    held_up: HashSet<&'a str>,
    known: HashSet<&'a str>,
}

impl<'a> Expected<'a> {
    fn next(&mut self, order: &'a Order) -> (Fate, Whose) {
        let key = order.key.as_str();
        if let Some(flaw) = order.flaw {
            if flaw.holds_up() {
                self.held_up.insert(key);
            }
            return (Fate::DeadLettered, Whose::Nobodys);
        }
        if self.held_up.contains(key) {
            return (Fate::Parked, Whose::Nobodys);
        }
        let customer = self.customers[key];
        let is_new = order.order_type == OrderType::New;
        if is_new && customer.twin == Twin::Blocked {
            return (Fate::Rejected, Whose::Nobodys);
        }
        if is_new {
            self.known.insert(key);
        }
        let whose = match customer.twin {
            Twin::None | Twin::Allowed | Twin::Blocked if !self.known.contains(key) => Whose::Nobodys,
            Twin::None | Twin::Blocked => Whose::Customers,
            Twin::Allowed => Whose::Twins(customer.email.clone()),
        };
        (Fate::Written, whose)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::super::generator::script;
    use super::super::wire::Flaw;
    use super::*;

    /// A day that shows every case.
    static DAY: LazyLock<Script> = LazyLock::new(|| script(3_000, 1, "acme"));

    fn expected() -> impl Iterator<Item = (&'static Order, Fate, Whose)> {
        DAY.orders.iter().zip(expectations(&DAY)).map(|(order, (fate, whose))| (order, fate, whose))
    }

    fn with(twin: Twin) -> HashMap<&'static str, &'static Customer> {
        let customers = DAY.customers.iter().filter(|customer| customer.twin == twin);
        customers.map(|customer| (customer.owner.as_str(), customer)).collect()
    }

    #[test]
    fn flawed_orders_become_dead_letters_and_only_they_do() {
        for (order, fate, _) in expected() {
            assert_eq!(fate == Fate::DeadLettered, order.flaw.is_some(), "{}", order.id);
        }
    }

    #[test]
    fn sound_orders_are_parked_behind_a_flaw_that_tells_whose_it_is_and_behind_nothing_else() {
        let mut behind = HashSet::new();
        let mut parked = 0;
        for (order, fate, _) in expected() {
            assert_eq!(fate == Fate::Parked, order.flaw.is_none() && behind.contains(&order.key), "{}", order.id);
            parked += usize::from(fate == Fate::Parked);
            if order.flaw.is_some_and(Flaw::holds_up) {
                behind.insert(&order.key);
            }
        }
        assert!(parked > 0);
    }

    #[test]
    fn new_orders_of_blocked_customers_are_rejected_and_their_other_orders_belong_to_nobody() {
        let blocked = with(Twin::Blocked);
        let (mut rejected, mut details) = (0, 0);
        for (order, fate, whose) in expected() {
            let is_blocked = blocked.contains_key(order.key.as_str());
            let due = is_blocked && order.order_type == OrderType::New && order.flaw.is_none();
            assert_eq!(fate == Fate::Rejected, due, "{}", order.id);
            if is_blocked && fate == Fate::Written {
                assert_eq!(whose, Whose::Nobodys);
                details += usize::from(order.order_type == OrderType::UpdateCustomerDetails);
            }
            rejected += usize::from(due);
        }
        assert!(rejected > 0 && details > 0, "{rejected} rejected, {details} new details");
    }

    #[test]
    fn orders_of_allowed_customers_belong_to_the_twin_from_the_first_that_says_who_they_are() {
        let allowed = with(Twin::Allowed);
        let own = expected().filter(|(order, fate, _)| {
            *fate == Fate::Written && order.order_type == OrderType::New && allowed.contains_key(order.key.as_str())
        });
        let mut count = 0;
        for (order, _, whose) in own {
            assert_eq!(whose, Whose::Twins(allowed[order.key.as_str()].email.clone()));
            count += 1;
        }
        assert!(count > 0);
    }
}
