//! `transferOwnership`: what of a subscription moves with an order to the Account that its customer matches.
//!
//! The records are looked up before the order is sent, so only those move that belong to another Account, and they move in
//! the order's own all-or-none graph: an order that was written before is refused by its own record, and moves nothing a
//! second time.

use std::collections::{BTreeSet, HashSet};

use domain::config::OrderProcessing;
use domain::failure::{Failure, Reason};
use domain::mapping::transfer::subscription_names;
use domain::outcome::Outcome;

use super::OrderWriter;
use crate::attempt::{Attempt, Stage};
use crate::outcome::of_refusal;
use crate::transfers::{self, Unknown};

impl OrderWriter {
    /// Finds the records that move with the batch's matched orders. One API call for a batch that holds such orders, none
    /// for any other.
    pub(super) async fn find_transfers(&self, processing: &OrderProcessing, attempts: &mut [Attempt<'_>]) {
        let moves = |attempt: &Attempt<'_>| {
            let sends = matches!(attempt.stage, Stage::Send) && attempt.explanation.is_some();
            sends && !subscription_names(&attempt.event.order, processing).is_empty()
        };
        let wanted: Vec<usize> = (0..attempts.len()).filter(|index| moves(&attempts[*index])).collect();
        // Halved where there are too many records: those of one order must not hold up another's.
        let mut groups = vec![wanted];
        while let Some(mut group) = groups.pop() {
            // The org may have gone away meanwhile.
            group.retain(|index| attempts[*index].is_open());
            let names: BTreeSet<&str> =
                group.iter().flat_map(|index| subscription_names(&attempts[*index].event.order, processing)).collect();
            if names.is_empty() {
                continue;
            }
            let (asked, held) = self.ask(transfers::held(&self.client, &processing.transfers, &names)).await;
            match held {
                Ok(held) => {
                    for index in group {
                        let attempt = &mut attempts[index];
                        let Some(account) = &attempt.known.crm_id else { continue };
                        let names = subscription_names(&attempt.event.order, processing);
                        let mut seen = HashSet::new();
                        let found = names.iter().filter_map(|name| held.get(&name.to_lowercase())).flatten();
                        let others = found.filter(|held| held.account.as_ref() != Some(account));
                        let moving = others.filter(|held| seen.insert(&held.transfer.id));
                        attempt.known.transfers = moving.map(|held| held.transfer.clone()).collect();
                        let records = attempt.known.transfers.iter().map(|transfer| transfer.id.clone()).collect();
                        if let Some(explanation) = &mut attempt.explanation {
                            explanation.moved = records;
                        }
                    }
                }
                Err(Unknown::TooMany) if group.len() > 1 => {
                    let rest = group.split_off(group.len() / 2);
                    groups.extend([rest, group]);
                }
                Err(Unknown::Failed(error)) => self.question_failed(&error, asked, &group, attempts).await,
                Err(Unknown::Refused(error)) => {
                    Self::question_refused(of_refusal(&error, self.probes()), &group, attempts);
                }
                Err(Unknown::TooMany) => {
                    let too_many =
                        "2,000 records or more of the order's subscription would move to the matched Account";
                    let failure = Failure::permanent(Reason::SalesforceMisconfigured, too_many).by("transferOwnership");
                    for index in group {
                        attempts[index].end(Outcome::Failed(failure.clone()));
                    }
                }
            }
        }
    }
}
