//! What only a server can do wrong.

use std::path::PathBuf;
use std::time::Duration;

use causeway_ledger as ledger;
use ledger::{Closed, Closing, Error, Ledger, RedisLedger, Settings};
use testkit::{Redis, TcpProxy, eventually};
use tokio::time::Instant;

use crate::{LONG, PATIENT, claim, order, owner, take, take_unknown};

/// A node of the test's own, and the folder that goes with it.
pub(crate) struct Own {
    pub(crate) redis: Redis,
    pub(crate) folder: PathBuf,
}

impl Own {
    pub(crate) async fn start() -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(testkit::namespace("ledger"));
        Self { redis: Redis::start(&folder).await.expect("Redis starts"), folder }
    }

    pub(crate) async fn command(&self, words: &[&str]) {
        let client = redis::Client::open(self.redis.url()).expect("an address");
        let mut connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
        let mut command = redis::Cmd::new();
        command.arg(words);
        command.exec_async(&mut connection).await.expect("Redis obeys");
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.redis.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn connect(url: &str, settings: Settings) -> Result<RedisLedger, Error> {
    RedisLedger::connect(url, &testkit::namespace("ledger"), settings).await
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_loaded_again() {
    let own = Own::start().await;
    let ledger = connect(&own.redis.url(), PATIENT).await.expect("Redis answers");
    ledger.own(&owner("a")).await.expect("the first script is loaded");
    let (ticket, _) = take(&ledger, claim("a", "o", LONG)).await;
    own.command(&["SCRIPT", "FLUSH"]).await;
    assert_eq!(ledger.close(&[(ticket, Closing::Failed)]).await.expect("loaded again"), [Closed::Done]);
    own.command(&["SCRIPT", "FLUSH"]).await;
    assert_eq!(take(&ledger, claim("a", "o", LONG)).await.1, 1);
}

#[tokio::test]
async fn a_redis_that_is_away_is_told_soon_and_found_again_with_what_it_kept() {
    let mut own = Own::start().await;
    let ledger = connect(&own.redis.url(), Settings::RECOMMENDED).await.expect("Redis answers");
    ledger.own(&owner("a")).await.expect("Redis answers");
    let (ticket, _) = take(&ledger, claim("a", "o", LONG)).await;
    own.redis.stop().await;
    let asked = Instant::now();
    let error = ledger.close(&[(ticket.clone(), Closing::Settle("done".into()))]).await.expect_err("it is away");
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    ledger.forget_sightings(&[]).await.expect("nothing is asked of Redis");
    let error = ledger.forget_sightings(&[order("o")]).await.expect_err("it is away");
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    let error = ledger.ping().await.expect_err("it is away");
    assert!(error.to_string().to_lowercase().contains("connection refused"), "{error}");
    own.redis.restart().await.expect("Redis starts again");
    eventually("the connection to come back", async || ledger.ping().await.is_ok()).await;
    assert_eq!(ledger.close(&[(ticket, Closing::Settle("done".into()))]).await.expect("Redis answers"), [Closed::Done]);
}

#[tokio::test]
async fn a_redis_that_loads_its_file_is_away_until_it_has_and_then_has_what_it_kept() {
    let mut own = Own::start().await;
    let ledger = connect(&own.redis.url(), Settings::RECOMMENDED).await.expect("Redis answers");
    ledger.own(&owner("a")).await.expect("Redis answers");
    let (ticket, _) = take(&ledger, claim("a", "o", LONG)).await;
    own.command(&["EVAL", "for i = 1, 20000 do redis.call('SET', 'ballast' .. i, i) end", "0"]).await;
    own.redis.restart_loading(Duration::from_micros(100)).await.expect("it loads");
    eventually("it to say that it loads", async || {
        let error = ledger.close(&[(ticket.clone(), Closing::Settle("done".into()))]).await.expect_err("it loads");
        assert!(matches!(error, Error::Unavailable { .. }), "an outage, which is waited out: {error}");
        error.to_string().to_lowercase().contains("loading")
    })
    .await;
    let error = connect(&own.redis.url(), Settings::RECOMMENDED).await.expect_err("it loads");
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    eventually("it to have loaded", async || ledger.ping().await.is_ok()).await;
    assert_eq!(ledger.close(&[(ticket, Closing::Settle("done".into()))]).await.expect("Redis answers"), [Closed::Done]);
}

#[tokio::test]
async fn a_redis_that_is_back_answers_the_first_question() {
    let mut own = Own::start().await;
    let ledger = connect(&own.redis.url(), Settings::RECOMMENDED).await.expect("Redis answers");
    own.redis.stop().await;
    eventually("a refusal", async || {
        ledger.ping().await.is_err_and(|error| error.to_string().to_lowercase().contains("connection refused"))
    })
    .await;
    // By then the client has tried again by itself, and has met the same.
    let long = tokio::time::timeout(Duration::from_millis(500), std::future::pending::<()>()).await;
    assert!(long.is_err());
    own.redis.restart().await.expect("Redis starts again");
    ledger.ping().await.expect("Redis answers, and no old refusal is told");
}

#[tokio::test]
async fn a_claim_whose_answer_never_came_is_looked_up() {
    let own = Own::start().await;
    let proxy = TcpProxy::before(own.redis.port()).await.expect("a port");
    let url = proxy.url(&own.redis.url(), own.redis.port());
    let ledger = connect(&url, Settings::RECOMMENDED).await.expect("Redis answers");
    ledger.own(&owner("a")).await.expect("Redis answers");
    take(&ledger, claim("a", "another", LONG)).await;
    proxy.freeze();
    let asked = Instant::now();
    let error = ledger.claim(&[claim("a", "o", LONG)]).await.expect_err("no answer");
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    proxy.restore();
    eventually("the line to thaw", async || ledger.ping().await.is_ok()).await;
    let (ticket, _) = take_unknown(&ledger, claim("a", "o", LONG)).await;
    assert!(ticket.was_unknown);
}

#[tokio::test]
async fn a_batch_costs_one_round_trip() {
    let own = Own::start().await;
    let proxy = TcpProxy::before(own.redis.port()).await.expect("a port");
    let ledger = connect(&proxy.url(&own.redis.url(), own.redis.port()), PATIENT).await.expect("Redis answers");
    ledger.own(&owner("a")).await.expect("Redis answers");
    take(&ledger, claim("a", "loads the script", LONG)).await;
    let each_way = Duration::from_millis(100);
    proxy.delay(each_way);
    let claims: Vec<_> = (0..75).map(|index| claim("a", &format!("o{index}"), LONG)).collect();
    let asked = Instant::now();
    assert_eq!(ledger.claim(&claims).await.expect("Redis answers").len(), 75);
    // One round trip takes two delays and a little more when the batch is cut into pieces; 75 would take 15 s.
    assert!(asked.elapsed() < each_way * 20, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_redis_that_evicts_is_refused() {
    let own = Own::start().await;
    own.command(&["CONFIG", "SET", "maxmemory", "100mb"]).await;
    own.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    let error = connect(&own.redis.url(), PATIENT).await.expect_err("it would forget");
    assert!(matches!(error, Error::Broken(_)) && error.to_string().contains("noeviction"), "{error}");
    own.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    connect(&own.redis.url(), PATIENT).await.expect("now it keeps what it is told");
}

#[tokio::test]
async fn a_full_redis_is_an_outage_and_not_a_defect() {
    let own = Own::start().await;
    let ledger = connect(&own.redis.url(), PATIENT).await.expect("Redis answers");
    ledger.own(&owner("a")).await.expect("Redis answers");
    take(&ledger, claim("a", "o", LONG)).await;
    own.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let error = ledger.claim(&[claim("a", "p", LONG)]).await.expect_err("there is no room");
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn a_key_of_another_type_is_a_defect() {
    let own = Own::start().await;
    let ledger = RedisLedger::connect(&own.redis.url(), "taken", PATIENT).await.expect("Redis answers");
    ledger.own(&owner("a")).await.expect("Redis answers");
    own.command(&["SET", "{taken}:effect:order:o", "text"]).await;
    let error = ledger.claim(&[claim("a", "o", LONG)]).await.expect_err("not a hash");
    assert!(matches!(error, Error::Broken(_)), "{error}");
}

#[tokio::test]
async fn what_cannot_be_connected_to_is_told_without_its_password() {
    let away = connect("redis://:hunter2@127.0.0.1:1/", Settings::RECOMMENDED).await.expect_err("nobody listens there");
    assert!(matches!(away, Error::Unavailable { .. }) && away.to_string().contains("127.0.0.1:1"), "{away}");
    assert!(away.to_string().to_lowercase().contains("connection refused"), "{away}");
    let wrong = connect("hunter2", PATIENT).await.expect_err("not an address");
    assert!(matches!(wrong, Error::Broken(_)), "{wrong}");
    let brace = RedisLedger::connect("redis://127.0.0.1:1/", "a{b}", PATIENT).await.expect_err("a brace");
    assert!(matches!(brace, Error::Broken(_)), "{brace}");
    for error in [away, wrong, brace] {
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn names_of_customers_are_not_readable_in_redis_and_not_kept_for_ever() {
    let own = Own::start().await;
    let ledger = connect(&own.redis.url(), PATIENT).await.expect("Redis answers");
    let names = vec!["mail:ann@example.com".to_owned()];
    ledger.remember_accounts(&[(names.clone(), "001A".to_owned())]).await.expect("Redis answers");
    let holding =
        ledger::Holding { account: "001A".to_owned(), subscriptions: vec!["subscription:ann's".to_owned()], names };
    ledger.remember_holders(&[holding]).await.expect("Redis answers");
    let client = redis::Client::open(own.redis.url()).expect("an address");
    let mut connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
    let keys: Vec<String> =
        redis::Cmd::new().arg("KEYS").arg("*").query_async(&mut connection).await.expect("Redis answers");
    assert_eq!(keys.len(), 2);
    assert!(!keys.concat().contains("ann"), "{keys:?}");
    let holder = keys.iter().find(|key| key.contains("holder")).expect("whose the Account is");
    let range = redis::Cmd::new().arg("ZRANGE").arg(holder).arg(0).arg(-1).to_owned();
    let names: Vec<String> = range.query_async(&mut connection).await.expect("Redis answers");
    assert!(names.len() == 1 && !names[0].contains("ann"), "{names:?}");
    let left: i64 = redis::Cmd::new().arg("TTL").arg(holder).query_async(&mut connection).await.expect("Redis answers");
    assert!(left > 399 * 24 * 3600, "{left}");
}
