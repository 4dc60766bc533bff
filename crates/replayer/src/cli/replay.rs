//! `replay`: letters go through the normal path again.

pub mod answer;

use std::collections::HashSet;
use std::time::Duration;

use domain::dead_letter::LetterId;
use futures::StreamExt;
use futures::stream;
use indicatif::ProgressBar;
use queue::dead_letters::DeadLetters;
use service::Exit;
use tokio::time::{Instant, sleep};

use self::answer::{Done, FailedPart, Released, document, render_done, render_plan};
use super::{Report, Tools, connection, unfound, usage};
use crate::confirm::{Act, Confirmed};
use crate::follow::{Fate, Followed, Tally};
use crate::forecast::ReplayPlan;
use crate::journal;
use crate::letters::OpenLetters;
use crate::selection::{Choice, duration};
use crate::settings::ConnectionArgs;
use crate::shown;

/// Releases under way at a time.
const AT_ONCE: usize = 16;
/// Messages in memory at a time.
const CHUNK: usize = 50;
/// How often is looked whether letters are settled.
const LOOK: Duration = Duration::from_millis(200);
/// How often the connection is proved meanwhile.
const PROVE: Duration = Duration::from_secs(10);

/// Let letters go through the normal path again, customers as a whole and in order.
///
/// A letter of a customer is never replayed alone: all open letters of the customer go, oldest first, and newer orders
/// keep their place behind them. When one fails again, the rest of that customer stays parked. A letter without a
/// customer is published again as its publisher did; should it die again, it is a letter of its own that names the one
/// before and counts on. Orders that were written before are recognised and not written twice.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "causeway-replayer replay [OPTIONS] <LETTER|ORDER>...\n       \
        causeway-replayer replay [OPTIONS] <FILTERS | --all>",
    after_help = "Examples:\n  \
    causeway-replayer replay 3fa2b1c0 --dry-run\n  \
    causeway-replayer replay --reason salesforce_unavailable --limit 1 --wait     one first, to see\n  \
    causeway-replayer replay --reason salesforce_unavailable --yes --wait --timeout 10m\n\n\
    Exit codes: 1 when a name means no letter, a release failed, or with --wait a letter\n\
    died again or was not settled in time; 64 when nobody can be asked and --yes is missing.\n\
    A rejected order is settled by a business answer: no failure, exit 0. A letter without a\n\
    customer is settled when ingest has accepted it; as long as the journal tells nothing, it is not.\n\n\
    JSON (fates and tally are null without --wait):\n  \
    {dry_run, plan: {letters, along, customers: [{customer, partition, letters: [id], along,\n   \
    outlook}], without_customer: [id]}, released: [{customer, plan, letters: [id]}], published: [id],\n   \
    failures: [{what, error}], fates: [{letter, order_id, fate: written | rejected |\n   \
    already_settled | accepted | discarded | settled | published | dead_again | parked | pending,\n   \
    reason, again: id of the new letter or null}], tally: {one number per fate}}"
)]
pub struct Replay {
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Do it without asking.
    #[arg(long, short)]
    yes: bool,
    /// Wait until every letter is settled or dead again, and say which.
    #[arg(long)]
    wait: bool,
    /// How long to wait at most.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    timeout: Duration,
    /// Who you are; it is kept in the journal.
    #[arg(long, alias = "by", env = "USER", value_name = "NAME", hide_env_values = true)]
    operator: Option<String>,
    /// Show e-mail addresses of customers.
    #[arg(long)]
    reveal: bool,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Replay {
    /// Answers.
    ///
    /// # Errors
    /// The command line or settings are wrong, RabbitMQ is not reached, a name means no letter, or consent is missing.
    pub async fn run(self, tools: &Tools) -> anyhow::Result<Report> {
        self.choice.check().map_err(usage)?;
        let by = operator(self.operator.as_deref(), self.dry_run)?;
        let connection = connection(&self.connection)?;
        let letters = journal::open(&connection, &by, &|text| tools.say(text)).await?;
        let open = journal::look(&letters);
        let chosen = self.choice.select(&open).map_err(|names| unfound(&names))?;
        let plan = ReplayPlan::new(&open, &chosen, &connection.topology);
        if self.dry_run || chosen.is_empty() {
            letters.close().await;
            return if tools.json {
                Report::json(&document(&plan, self.dry_run, self.reveal, Done::default(), None))
            } else {
                Ok(Report::text(render_plan(&plan, self.reveal, &tools.terminal)))
            };
        }
        tools.say(&render_plan(&plan, self.reveal, &tools.terminal));
        let confirmed = tools.confirm(Act::Replay, plan.letters(), self.yes).await?;

        // Whoever was asked may have thought about it for long.
        letters.refresh().await.map_err(|error| journal::lost(&error))?;
        let wanted: HashSet<LetterId> = chosen.iter().map(|open| open.letter.id.clone()).collect();
        let open = journal::look(&letters);
        let still: Vec<_> = open.all().iter().filter(|open| wanted.contains(&open.letter.id)).collect();
        if still.len() < wanted.len() {
            let gone = shown::count(wanted.len() - still.len(), "letter was", "letters were");
            tools.say(&format!("{gone} settled in the meantime."));
        }
        let plan = ReplayPlan::new(&open, &still, &connection.topology);
        let bar = tools.terminal.bar(plan.letters(), "releasing");
        let done = carry_out(&letters, &plan, self.reveal, confirmed, &bar).await;
        bar.finish_and_clear();
        let followed = if self.wait { Some(self.follow(tools, &letters, &open, &plan, &done).await?) } else { None };
        letters.close().await;

        let well = done.failures.is_empty()
            && followed.as_ref().is_none_or(|(_, fates)| Tally::of(fates.iter().map(|(_, fate)| fate)).is_success());
        let report = if tools.json {
            Report::json(&document(&plan, false, self.reveal, done, followed.as_ref()))?
        } else {
            Report::text(render_done(&plan, &done, followed.as_ref(), self.timeout, self.reveal, &tools.terminal))
        };
        Ok(report.ending(if well { Exit::Done } else { Exit::Failed }))
    }

    /// Waits until no more is to be expected, or the time is over.
    async fn follow(
        &self,
        tools: &Tools,
        letters: &DeadLetters,
        before: &OpenLetters,
        plan: &ReplayPlan,
        done: &Done,
    ) -> anyhow::Result<(OpenLetters, Vec<(LetterId, Fate)>)> {
        let going: HashSet<&str> =
            done.released.iter().flat_map(|released| &released.letters).map(String::as_str).collect();
        let followed = Followed::new(
            before,
            plan.all()
                .filter(|open| going.contains(open.letter.id.as_str()) || done.published.contains(&open.letter.id)),
        );
        let began = Instant::now();
        let mut proved = began;
        let bar = tools.terminal.bar(plan.letters(), "waiting");
        loop {
            let tally = Tally::of(followed.fates(&journal::look(letters)).iter().map(|(_, fate)| fate));
            let settled = plan.letters().saturating_sub(tally.unsettled());
            bar.set_position(u64::try_from(settled).unwrap_or(u64::MAX));
            if tally.unsettled() == 0 || began.elapsed() >= self.timeout {
                break;
            }
            if proved.elapsed() >= PROVE {
                letters.refresh().await.map_err(|error| journal::lost(&error))?;
                proved = Instant::now();
            }
            sleep(LOOK).await;
        }
        bar.finish_and_clear();
        letters.refresh().await.map_err(|error| journal::lost(&error))?;
        let open = journal::look(letters);
        let fates = followed.fates(&open);
        Ok((open, fates))
    }
}

/// Who acts: has to be known before anything is changed.
pub(crate) fn operator(name: Option<&str>, dry_run: bool) -> anyhow::Result<String> {
    match name.map(str::trim).filter(|name| !name.is_empty()) {
        Some(name) => Ok(name.to_owned()),
        None if dry_run => Ok("causeway-replayer".to_owned()),
        None => {
            let unknown = "it is not known who you are: say --operator NAME or set USER; it is kept in the journal";
            Err(usage(unknown).into())
        }
    }
}

async fn carry_out(letters: &DeadLetters, plan: &ReplayPlan, reveal: bool, _: Confirmed, bar: &ProgressBar) -> Done {
    let mut done = Done::default();
    let mut releases = stream::iter(&plan.customers)
        .map(|customer| async move { (customer, letters.release(&customer.key).await) })
        .buffer_unordered(AT_ONCE);
    while let Some((customer, released)) = releases.next().await {
        let shown = shown::customer(&customer.key, reveal);
        match released {
            Ok(plan) => {
                let letters = customer.letters.iter().map(|open| open.letter.id.as_str().to_owned()).collect();
                done.released.push(Released { customer: shown, plan, letters });
            }
            Err(error) => {
                done.failures.push(FailedPart { what: format!("customer {shown}"), error: error.to_string() });
            }
        }
        bar.inc(u64::try_from(customer.letters.len()).unwrap_or_default());
    }
    drop(releases);
    for chunk in plan.without_customer.chunks(CHUNK) {
        let wanted: Vec<_> = chunk.iter().map(|open| open.letter.clone()).collect();
        let (messages, unread) = match letters.messages(&wanted).await {
            Ok(messages) => (messages, "the journal no longer keeps its message".to_owned()),
            Err(error) => (Vec::new(), error.to_string()),
        };
        for letter in &wanted {
            let published = match messages.iter().find(|(id, _)| *id == letter.id) {
                Some((_, message)) => letters.publish_again(letter, message).await.map_err(|error| error.to_string()),
                None => Err(unread.clone()),
            };
            match published {
                Ok(()) => done.published.push(letter.id.clone()),
                Err(error) => done.failures.push(FailedPart { what: format!("letter {}", letter.id), error }),
            }
            bar.inc(1);
        }
    }
    done
}
