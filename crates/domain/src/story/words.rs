//! Steps in words.

use super::{Answer, Ending, Found, What};

impl What {
    /// The step in a word or two, for a column.
    pub const fn title(&self) -> &'static str {
        match self {
            Self::Received { .. } => "received",
            Self::HandedOn { .. } => "handed on",
            Self::Folded => "came again",
            Self::Conflicted => "conflict",
            Self::Refused { .. } => "refused",
            Self::TakenUp { .. } => "taken up",
            Self::Waits { .. } | Self::PartitionFull | Self::Busy { .. } | Self::AccountInUse => "waits",
            Self::Paused { .. } => "paused",
            Self::Claimed { .. } => "claimed",
            Self::SettledBefore => "known",
            Self::Sent { .. } => "sent",
            Self::Answered { .. } => "answered",
            Self::LookedUp { .. } => "looked up",
            Self::Duplicate { .. } => "duplicate",
            Self::Settled { .. } => "settled",
            Self::Dead { .. } => "dead letter",
            Self::Parked { .. } => "parked",
            Self::Overflowed { .. } => "overflowed",
            Self::LetIn { .. } => "let in",
            Self::Released { .. } => "released",
            Self::Closed { .. } => "closed",
            Self::Announced { .. } => "announced",
            Self::LinkWaits { .. } => "link waits",
            Self::Linked { .. } => "linked",
            Self::NotLinked { .. } => "not linked",
            Self::Gap { .. } => "gap",
            Self::Cut { .. } => "cut",
            Self::Unknown => "unknown",
        }
    }

    /// The step in a line. `moment` says a time in milliseconds since 1970 in words.
    pub fn words(&self, moment: impl Fn(u64) -> String) -> String {
        match self {
            Self::Received { .. } => "by ingest".to_owned(),
            Self::HandedOn { partition } => format!("to partition {partition}, confirmed"),
            Self::Folded => "the same order had been handed on before; nothing is done twice".to_owned(),
            Self::Conflicted => "another order came before under this identity".to_owned(),
            Self::Refused { reason, field } => format!("{reason}{}", behind(" at ", field.as_deref())),
            Self::TakenUp { partition } => {
                format!("from partition {partition}, into its customer's lane")
            }
            Self::Waits { until, reason, code } => {
                let code = code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default();
                format!("{reason}{code} until {}", moment(*until))
            }
            Self::Paused { until, reason } => format!("{reason} until the probe at {}", moment(*until)),
            Self::PartitionFull => "its customer's partition is full".to_owned(),
            Self::Busy { until } => format!("until {}: another claim may still take effect", moment(*until)),
            Self::AccountInUse => "another order is being written to its Account, or comes first".to_owned(),
            Self::Claimed { attempt, unknown: false } => format!("attempt {attempt}"),
            Self::Claimed { attempt, unknown: true } => {
                format!("attempt {attempt}; the end of the one before is not known")
            }
            Self::SettledBefore => "the ledger has it as settled; nothing is done twice".to_owned(),
            Self::Sent { request, orders, call, event } => {
                let event = if *event { "its event, " } else { "" };
                let with = match orders.saturating_sub(1) {
                    0 => "alone".to_owned(),
                    1 => "with 1 other".to_owned(),
                    others => format!("with {others} others"),
                };
                format!("{event}{with}, request {request}, call {call}")
            }
            Self::Answered { answer, code, fields } => {
                let code = code.as_deref().map(|code| format!(" with {code}")).unwrap_or_default();
                let fields = fields.as_deref().map(|fields| format!(" on {fields}")).unwrap_or_default();
                match answer {
                    Answer::Written => "written".to_owned(),
                    Answer::Refused => format!("refused{code}{fields}"),
                    Answer::Halted => format!("not tried, because others of the request failed{code}; it goes again"),
                    Answer::Failed => format!("the request failed as a whole{code}"),
                }
            }
            Self::LookedUp { found } => match found {
                Found::Written => "it had been written",
                Found::Nothing => "it had not been written",
                Found::Conflict => "another order had been written under its identity",
                Found::Unanswered => "Salesforce could not be asked",
                Found::Impossible => "there is nothing to look it up by",
            }
            .to_owned(),
            Self::Duplicate { explanation } => {
                let matched: Vec<&str> =
                    explanation.matched.iter().map(super::super::order::id::RecordId::as_str).collect();
                let matching =
                    explanation.matching_rule.as_deref().map(|rule| format!(", by {rule}")).unwrap_or_default();
                let records = if matched.is_empty() { "no record named".to_owned() } else { matched.join(", ") };
                let fields: Vec<&str> = explanation.fields.iter().map(|field| field.name.as_str()).collect();
                let fields = if fields.is_empty() { String::new() } else { format!(" on {}", fields.join(", ")) };
                format!("{}: rule {}{matching}{fields}: {records}", explanation.decision, explanation.rule)
            }
            Self::Settled { how: Ending::Written, crm_id, event, reason: _ } => {
                let account = behind(" on Account ", crm_id.as_deref());
                format!("written{account}{}", behind(", event ", event.as_deref()))
            }
            Self::Settled { how: Ending::Rejected, reason, .. } => {
                format!("rejected{}", behind(": ", reason.map(crate::failure::Reason::as_str)))
            }
            Self::Dead { letter, reason, code } => {
                let code = code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default();
                format!("{reason}{code}, letter {letter}")
            }
            Self::Parked { letter, behind } => format!("behind letter {behind}, as letter {letter}"),
            Self::Overflowed { letter } => {
                format!(
                    "no room in its customer's lane: it waits in the journal as letter {letter} and comes back by itself"
                )
            }
            Self::LetIn { letter } => format!("letter {letter}, into its customer's lane"),
            Self::Released { letter, operator } => format!("letter {letter}{}", behind(", by ", operator.as_deref())),
            Self::Closed { letter, how, why } => format!("letter {letter}: {how}{}", behind(", ", why.as_deref())),
            Self::Announced { told } => told.clone(),
            Self::LinkWaits { reason: None } => "for its turn to be told to Limio".to_owned(),
            Self::LinkWaits { reason: Some(reason) } => format!("{reason}; it is tried again"),
            Self::Linked { links: 0 } => "Limio knew the Salesforce records".to_owned(),
            Self::Linked { links: 1 } => "Limio knows the Salesforce record, 1 link".to_owned(),
            Self::Linked { links } => format!("Limio knows the Salesforce records, {links} links"),
            Self::NotLinked { why } => why.clone(),
            Self::Gap { steps, missing } => {
                let count = match steps {
                    0 => "steps not recorded".to_owned(),
                    1 => "1 step not recorded".to_owned(),
                    steps => format!("{steps} steps not recorded"),
                };
                format!("{count}{}", behind(": ", missing.as_deref()))
            }
            Self::Cut { steps } => format!("{steps} steps left out; the first and the last are kept"),
            Self::Unknown => "a step that this version does not know".to_owned(),
        }
    }
}

/// A text with what stands in front of it; nothing for no text.
fn behind(front: &str, text: Option<&str>) -> String {
    text.map(|text| format!("{front}{text}")).unwrap_or_default()
}
