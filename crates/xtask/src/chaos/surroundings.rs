//! Faults of what the programs talk to: RabbitMQ, Redis, the org, and the lines between.

use std::time::Duration;

use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::{RabbitMq, Redis, TcpProxy};
use tokio::time::{Instant, sleep};

use super::journal::Journal;
use super::schedule::{Fault, Kind, Trouble};
use super::sign_in::Connection;
use crate::demo::org::Org;

/// How often a node that does not start is started again: its port may still be taken for a moment.
const RESTARTS: u32 = 5;

/// Kills and restarts the broker, or raises its memory alarm, at the times of the faults.
pub(crate) async fn disturb_rabbitmq(
    node: &mut RabbitMq,
    faults: &[Fault],
    began: Instant,
    journal: &Journal,
) -> Result<()> {
    for fault in faults {
        if !journal.begins(fault, began).await {
            continue;
        }
        if fault.kind == Kind::Alarm {
            let raised = node.alarm(true).await;
            sleep(fault.lasting).await;
            // An alarm that stayed would be a fault of this tool's own.
            node.alarm(false).await?;
            if let Err(error) = raised {
                journal.spoil(fault, &error);
                continue;
            }
        } else {
            node.kill();
            sleep(fault.lasting).await;
            again(async || node.restart().await).await?;
        }
        journal.over(fault, true);
    }
    Ok(())
}

/// Kills and restarts Redis, or makes it forget everything, at the times of the faults.
pub(crate) async fn disturb_redis(node: &mut Redis, faults: &[Fault], began: Instant, journal: &Journal) -> Result<()> {
    for fault in faults {
        if !journal.begins(fault, began).await {
            continue;
        }
        if fault.kind == Kind::Flush {
            if let Err(error) = node.flush().await {
                journal.spoil(fault, &error);
                continue;
            }
        } else {
            node.kill();
            sleep(fault.lasting).await;
            again(async || node.restart().await).await?;
        }
        journal.over(fault, true);
    }
    Ok(())
}

async fn again(mut start: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let mut left = RESTARTS;
    loop {
        match start().await {
            Ok(()) => return Ok(()),
            Err(error) if left == 0 => return Err(error),
            Err(_) => left -= 1,
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Makes the org's faults at their times, and lifts them. One that waits for a request waits a little longer where none has
/// come.
pub(crate) async fn disturb_org(
    org: &Org,
    connection: &Connection,
    faults: &[Fault],
    began: Instant,
    journal: &Journal,
) -> Result<()> {
    for fault in faults {
        if !journal.begins(fault, began).await {
            continue;
        }
        let mut ended = None;
        if matches!(fault.kind, Kind::Expired | Kind::TokenLost) {
            let Expired { expired } = org.ask("sessions/expire", &Value::Null).await?;
            ended = Some(expired > 0);
        }
        if fault.kind == Kind::Revoked {
            let Revoked { revoked } = org.ask("oauth/revoke", &json!({})).await?;
            ended = Some(revoked > 0);
            sleep(fault.lasting).await;
            connection.give_anew(org).await?;
        }
        let armed = org_fault(fault.kind);
        if armed.is_null() {
            journal.over(fault, ended.unwrap_or_default());
            continue;
        }
        org.post("faults", &armed).await?;
        let hits = lasts(fault, async || {
            let applied: Vec<Applied> = org.get("faults").await?;
            anyhow::Ok(applied.iter().map(|fault| fault.applied).sum::<u64>())
        });
        let hits = hits.await?;
        org.delete("faults").await?;
        journal.hit(fault.kind, hits);
        journal.over(fault, hits > 0);
    }
    Ok(())
}

/// A fault that has met nothing within its time goes on for so much longer.
const UNMET: Duration = Duration::from_secs(20);
/// How often it is asked then.
const ASK: Duration = Duration::from_millis(50);

/// Lets a fault last, and until it has met something; gives what it met.
async fn lasts(fault: &Fault, mut met: impl AsyncFnMut() -> Result<u64>) -> Result<u64> {
    sleep(fault.lasting).await;
    let until = Instant::now() + UNMET;
    loop {
        let so_far = met().await?;
        if so_far > 0 || Instant::now() >= until {
            return Ok(so_far);
        }
        sleep(ASK).await;
    }
}

#[derive(Deserialize)]
struct Expired {
    expired: u64,
}

#[derive(Deserialize)]
struct Revoked {
    revoked: u64,
}

#[derive(Deserialize)]
struct Applied {
    applied: u64,
}

/// The org's own name for a fault, and on what it goes off.
fn org_fault(kind: Kind) -> Value {
    let (name, probability) = match kind {
        Kind::CommitThenDrop => ("commit_then_drop", 0.5),
        Kind::DropBefore => ("drop_before", 0.5),
        Kind::CommitThen503 => ("commit_then_503", 0.5),
        Kind::Truncated => ("truncated_body", 0.5),
        Kind::Locks => ("lock", 0.2),
        Kind::Halted => ("halt_graph", 0.5),
        Kind::DailyLimit => ("daily_limit", 1.0),
        Kind::ConcurrentLimit => ("concurrent_limit", 0.5),
        Kind::Unavailable => ("unavailable_html", 1.0),
        Kind::TokenLost => return json!({ "kind": "commit_then_drop", "path": "/services/oauth2/token", "times": 2 }),
        Kind::Expired
        | Kind::Revoked
        | Kind::KillIngest
        | Kind::KillWriter
        | Kind::StopIngest
        | Kind::StopWriter
        | Kind::EndIngest
        | Kind::EndWriter
        | Kind::Reload
        | Kind::KillRabbitmq
        | Kind::Alarm
        | Kind::KillRedis
        | Kind::Flush
        | Kind::Cut
        | Kind::Blackhole
        | Kind::Slow
        | Kind::Narrow => return Value::Null,
    };
    json!({ "kind": name, "probability": probability })
}

/// Troubles a line at the times of the faults, and mends it. A line that nobody uses is troubled a little longer.
pub(crate) async fn disturb_line(line: &TcpProxy, faults: &[Fault], began: Instant, journal: &Journal) -> Result<()> {
    for fault in faults {
        if !journal.begins(fault, began).await {
            continue;
        }
        let (open, made) = (line.open() as u64, line.made());
        match fault.trouble {
            None | Some(Trouble::Unplugged) => {}
            Some(Trouble::Cut { reset: true }) => line.reset(),
            Some(Trouble::Cut { reset: false }) => line.cut(),
            Some(Trouble::Blocked(way)) => line.block(way),
            Some(Trouble::Slow(way, delay)) => line.slow(way, delay),
            Some(Trouble::Narrow(way, bytes)) => line.narrow(way, bytes),
        }
        let met = lasts(fault, async || anyhow::Ok(open + line.made() - made)).await?;
        if matches!(fault.trouble, Some(Trouble::Blocked(_))) {
            // What lay in a hole does not come out of it later.
            line.reset();
            sleep(Duration::from_millis(20)).await;
        }
        line.restore();
        journal.over(fault, met > 0);
    }
    Ok(())
}
