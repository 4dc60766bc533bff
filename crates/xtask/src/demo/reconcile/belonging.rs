//! Whether each record and event belongs to the Account of its own customer, and is what its order announces.

use std::collections::{HashMap, HashSet};

use super::{Evidence, Fate, Places, Published, Whose};

/// The org's Accounts by what tells whose they are.
struct Accounts<'a> {
    customers: HashMap<&'a str, &'a str>,
    twins: HashMap<&'a str, &'a str>,
    whose: HashMap<&'a str, &'a str>,
}

impl<'a> Accounts<'a> {
    fn of(evidence: &'a Evidence) -> Self {
        let mut accounts = Self { customers: HashMap::new(), twins: HashMap::new(), whose: HashMap::new() };
        for account in &evidence.accounts {
            let whose = account.limio_id.as_deref().or(account.email.as_deref()).unwrap_or("nobody");
            accounts.whose.insert(&account.id, whose);
            match (&account.limio_id, &account.email) {
                (Some(limio_id), _) => accounts.customers.insert(limio_id, &account.id),
                (None, Some(email)) => accounts.twins.insert(email, &account.id),
                (None, None) => None,
            };
        }
        accounts
    }

    /// Whether this is the Account that an order has to name. An Account that should be there and is not fits nothing.
    fn fits(&self, order: &Published, named: Option<&str>) -> bool {
        let due = match &order.whose {
            Whose::Nobodys => return named.is_none(),
            Whose::Customers => self.customers.get(order.key.as_str()),
            Whose::Twins(email) => self.twins.get(email.as_str()),
        };
        due.is_some_and(|due| named == Some(*due))
    }

    /// What it names, in words.
    fn in_words(&self, named: Option<&str>) -> String {
        match named.map(|id| (id, self.whose.get(id))) {
            None => "no Account".to_owned(),
            Some((id, None)) => format!("{id}, which is no Account,"),
            Some((_, Some(whose))) => format!("the Account of {whose}"),
        }
    }
}

/// One sentence about each record and event of a written order that names another Account than its customer's, each event
/// whose type is not its order's, and each Account that no order should have made.
pub(super) fn strays(evidence: &Evidence, places: &Places<'_>, fates: &[Fate]) -> Vec<String> {
    let accounts = Accounts::of(evidence);
    let mut sentences = Vec::new();
    for record in &evidence.records {
        let Some(order) = places.first_of(&record.order).map(|place| &evidence.published[place]) else { continue };
        if !accounts.fits(order, record.account.as_deref()) {
            let named = accounts.in_words(record.account.as_deref());
            sentences.push(format!("the record names {named} instead of its customer's: {}", order.id));
        }
    }
    for event in &evidence.events {
        let place = places.references.get(event.order_number.as_str()).copied();
        let Some(place) = place.filter(|place| fates[*place] == Fate::Written) else { continue };
        let order = &evidence.published[place];
        if order.event != Some(event.order_type.as_str()) {
            let due = order.event.unwrap_or("nothing");
            sentences.push(format!("announced as {} instead of {due}: {}", event.order_type, order.id));
        }
        if !accounts.fits(order, event.account.as_deref()) {
            let named = accounts.in_words(event.account.as_deref());
            sentences.push(format!("the event names {named} instead of its customer's: {}", order.id));
        }
    }
    let with_account = evidence.published.iter().zip(fates);
    let with_account: HashSet<&str> = with_account
        .filter(|(order, fate)| **fate == Fate::Written && order.whose == Whose::Customers)
        .map(|(order, _)| order.key.as_str())
        .collect();
    let unexplained = evidence.accounts.iter().filter(|account| match &account.limio_id {
        Some(limio_id) => !with_account.contains(limio_id.as_str()),
        None => !evidence.accounts_before.contains(&account.id),
    });
    sentences.extend(unexplained.map(|account| {
        format!("an Account that no order made: {}", account.limio_id.as_deref().unwrap_or(&account.id))
    }));
    sentences
}
