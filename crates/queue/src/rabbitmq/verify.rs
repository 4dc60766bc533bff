//! Looks whether a fleet is there, for a guest: what is missing is told, and nothing is created.
//!
//! A passive declare never creates. It does not compare arguments either; of those only the mark's matter to a guest, because
//! a customer's partition follows from the counts. The mark is declared, which compares, only after it was found.

use std::time::Duration;

use lapin::{Connection, ErrorKind};

use super::connect::{Address, short};
use super::declare::{Thing, explain, things};
use crate::error::{Error, VisitError};
use crate::topology::Topology;

const NOT_FOUND: u16 = 404;

/// Verifies on a channel of its own.
pub(super) async fn verify(
    connection: &Connection,
    address: &Address,
    topology: &Topology,
    deadline: Duration,
) -> Result<(), VisitError> {
    match tokio::time::timeout(deadline, verify_all(connection, address, topology)).await {
        Ok(verified) => verified,
        Err(_) => Err(address.no_answer(deadline).into()),
    }
}

async fn verify_all(connection: &Connection, address: &Address, topology: &Topology) -> Result<(), VisitError> {
    let channel = connection.create_channel().await.map_err(|error| address.unreachable(&error.to_string()))?;
    for thing in things(topology) {
        let mark = matches!(thing, Thing::Mark { .. });
        if let Err(error) = thing.look(&channel).await {
            return Err(match (is_missing(&error), mark) {
                (true, true) => {
                    VisitError::NoFleet { place: address.place().to_owned(), namespace: topology.namespace.to_string() }
                }
                (true, false) => missing(&thing, topology).into(),
                (false, _) => explain(&error, &thing, address, topology).into(),
            });
        }
        if mark {
            thing.declare(&channel).await.map_err(|error| explain(&error, &thing, address, topology))?;
        }
    }
    // A failure to close it would show at its next use; there is none.
    let _ = channel.close(lapin::protocol::constants::REPLY_SUCCESS, short("OK")).await;
    Ok(())
}

fn is_missing(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(refusal) if refusal.get_id() == NOT_FOUND)
}

/// Part of a fleet is there: somebody deleted the rest, or it is just being declared.
fn missing(thing: &Thing, topology: &Topology) -> Error {
    Error::Topology {
        thing: thing.name(),
        difference: "it is not on the broker, although the fleet is".to_owned(),
        remedy: format!(
            "Start, or restart, a program of '{}' (ingest, writer): it declares what is missing",
            topology.namespace
        ),
    }
}
