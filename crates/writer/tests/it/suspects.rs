//! An order that ends every process that has it in hand: found among those it is sent with, and given up.

use nix::sys::signal::Signal;
use queue::journal::fold::LetterState;
use simulator::{Fault, FaultKind};
use testkit::orders::{new_order, order_id};

use crate::stage::{QUICK, Stage, id_of};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_ends_five_processes_is_given_up_and_its_seventy_four_neighbours_are_written() {
    let stage = Stage::new(QUICK).await;
    let mut stage = stage.set("CAUSEWAY_SALESFORCE_DEADLINE", "4s").set("CAUSEWAY_LEASE", "4500ms");
    let customers: Vec<String> =
        (0..75_u8).map(|n| format!("c{}{}", char::from(b'a' + n / 25), char::from(b'a' + n % 25))).collect();
    let orders: Vec<_> = customers.iter().map(|customer| new_order(customer, 1)).collect();
    let poison = order_id(&customers[40], 1);
    // The process dies while the org works on the order: as if it were the order that kills it.
    stage.org().arm(Fault::always(FaultKind::Hold).on_path("/composite/graph").containing(poison.clone()));
    stage.hand_on(&orders).await;
    for death in 1..=5 {
        let (mut process, org) = (stage.process(), stage.org());
        let held = tokio::time::timeout(testkit::eventually::PATIENCE, org.until_held(death)).await;
        assert!(held.is_ok(), "the order does not come to the org:\n{}", process.said());
        process.signal(Signal::SIGKILL);
        process.ended().await;
    }
    let writer = stage.writer();
    let others = orders.iter().map(id_of).filter(|id| *id != poison);
    stage.told.until("order.written", others).await;
    testkit::eventually("the letter", async || stage.fleet.letters().await.len() == 1).await;
    let letter = stage.fleet.letters().await.remove(0);
    assert_eq!(letter.order_id.as_deref(), Some(poison.as_str()));
    let LetterState::Dead(failure) = letter.state else { panic!("{:?}", letter.state) };
    assert_eq!(failure.reason.as_str(), "poison");
    assert!(failure.message.starts_with("5 processes ended"), "{}", failure.message);
    let mut written = stage.order_records();
    written.sort();
    written.dedup();
    assert_eq!((written.len(), stage.order_records().len(), stage.events().len()), (74, 74, 74));
    stage.end(writer).await;
}
