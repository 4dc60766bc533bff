use std::collections::{BTreeSet, HashMap};

use domain::envelope::{DecodeSettings, Envelope as Decoded};
use domain::event::OrderEvent;
use domain::order::id::TenantId;

use super::*;

fn of(count: usize) -> Script {
    script(count, 7, "acme")
}

fn read(order: &Order) -> Result<OrderEvent, domain::envelope::Undecodable> {
    let tenant = TenantId::parse("acme").expect("a name");
    let settings = DecodeSettings { tenant, max_body_bytes: 1 << 20 };
    Decoded::decode(&order.message.incoming(), &settings).and_then(OrderEvent::parse)
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_gives_others() {
    assert_eq!(of(400), of(400));
    assert_ne!(of(400).orders, script(400, 8, "acme").orders);
}

#[test]
fn every_size_has_as_many_orders_as_asked_and_every_type_among_them() {
    for count in [200, 333, 2_000] {
        let script = of(count);
        assert_eq!(script.orders.len(), count);
        let types: BTreeSet<OrderType> = script.orders.iter().map(|order| order.order_type).collect();
        assert_eq!(types, OrderType::ALL.into_iter().collect());
    }
}

#[test]
fn shares_are_those_of_a_real_shop() {
    let script = of(2_000);
    let share = |wanted: OrderType| {
        script.orders.iter().filter(|order| order.order_type == wanted).count() * 1_000 / script.orders.len()
    };
    assert!((180..=240).contains(&share(OrderType::New)), "{}", share(OrderType::New));
    assert!((110..=160).contains(&share(OrderType::ChangePayment)));
    assert!((30..=70).contains(&share(OrderType::CancelSubscription)));
    assert!((3..=12).contains(&share(OrderType::GiftRefund)));
    assert_eq!(script.customers.len(), 301);
    let twins = |twin| script.customers.iter().filter(|customer| customer.twin == twin).count();
    assert_eq!((twins(Twin::Allowed), twins(Twin::Blocked)), (6, 3));
}

#[test]
fn two_percent_are_flawed_one_is_foreign_and_one_is_a_conflict() {
    let script = of(2_000);
    let count = |flaws: &[Flaw]| {
        script.orders.iter().filter(|order| order.flaw.is_some_and(|flaw| flaws.contains(&flaw))).count()
    };
    assert_eq!((count(&Flaw::UNREADABLE), count(&Flaw::REFUSED)), (20, 20));
    assert_eq!((count(&[Flaw::ForeignTenant]), count(&[Flaw::IdentityConflict])), (1, 1));
}

#[test]
fn five_percent_are_sent_twice_and_never_before_the_first_time() {
    let script = of(2_000);
    assert_eq!(script.deliveries.len(), 2_100);
    let mut first = script.deliveries.clone();
    let mut seen = HashSet::new();
    first.retain(|place| seen.insert(*place));
    assert_eq!(first, (0..2_000).collect::<Vec<_>>());
}

#[test]
fn identities_are_unique_but_for_the_one_conflict_which_comes_after_its_twin() {
    let script = of(2_000);
    let mut by_id: HashMap<&str, Vec<&Order>> = HashMap::new();
    for order in &script.orders {
        by_id.entry(&order.id).or_default().push(order);
    }
    let shared: Vec<_> = by_id.values().filter(|orders| orders.len() > 1).collect();
    assert_eq!(shared.len(), 1);
    assert_eq!((shared[0][0].flaw, shared[0][1].flaw), (None, Some(Flaw::IdentityConflict)));
    assert_ne!(shared[0][0].message.body, shared[0][1].message.body);
    let messages: HashSet<&str> = script.orders.iter().map(|order| order.message.id.as_str()).collect();
    assert_eq!(messages.len(), script.orders.len());
}

#[test]
fn orders_are_read_as_meant_and_flawed_ones_are_refused() {
    for order in &of(1_000).orders {
        match (read(order), order.flaw) {
            (Ok(event), None | Some(Flaw::IdentityConflict)) => {
                assert_eq!(event.order_id().as_str(), order.id);
                assert_eq!(event.sequence_key().as_str(), order.key);
                assert_eq!(event.order_type(), order.order_type);
                let announced = domain::mapping::event_type(&event.order);
                assert_eq!(announced.map(domain::mapping::event_type::EventType::as_str), order.event);
            }
            (Err(refused), Some(flaw)) => {
                let known = refused.sequence_key.map(|key| key.as_str().to_owned());
                let expected = flaw.holds_up().then(|| order.key.clone());
                assert_eq!(known, expected, "{flaw:?}: {}", refused.failure);
            }
            (Ok(_), Some(flaw)) => panic!("{flaw:?} was read as an order"),
            (Err(refused), None) => panic!("{}: {}", order.order_type.as_str(), refused.failure),
        }
    }
}

#[test]
fn a_customers_first_order_is_new_and_nothing_but_refunds_follows_a_cancellation() {
    let script = of(1_000);
    let mut chains: HashMap<&str, Vec<OrderType>> = HashMap::new();
    for order in script.orders.iter().filter(|order| order.flaw != Some(Flaw::IdentityConflict)) {
        chains.entry(&order.key).or_default().push(order.order_type);
    }
    for chain in chains.values() {
        assert_eq!(chain[0], OrderType::New);
        let after = chain.iter().skip_while(|order_type| **order_type != OrderType::CancelSubscription).skip(1);
        for order_type in after {
            assert!(matches!(order_type, OrderType::Refund | OrderType::GiftRefund), "{order_type:?}");
        }
    }
}

#[test]
fn every_frame_is_used() {
    let script = of(1_000);
    let bodies: Vec<String> =
        script.orders.iter().map(|order| String::from_utf8_lossy(&order.message.body).into_owned()).collect();
    let starts = ["{\"__spec_version\"", "{\"specversion\"", "\"{", "{\"v\":1", "{\"id\":\"order-"];
    assert_eq!(starts.len(), Frame::ALL.len());
    for start in starts {
        assert!(bodies.iter().any(|body| body.starts_with(start)), "{start}");
    }
}
