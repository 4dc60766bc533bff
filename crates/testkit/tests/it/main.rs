//! The private nodes, for real: they start, survive a kill with their data, and leave nothing behind.

use std::path::PathBuf;

use causeway_testkit as testkit;
use testkit::services::Standing;
use testkit::{RabbitMq, Redis, Services, eventually_some};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A folder below the build's own, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(testkit::namespace(name)))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn ask_redis(port: u16, command: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(format!("{command}\r\n").as_bytes()).await.ok()?;
    let mut answer = vec![0; 512];
    let read = stream.read(&mut answer).await.ok()?;
    Some(String::from_utf8_lossy(&answer[..read]).into_owned())
}

async fn is_open(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}

#[tokio::test]
async fn redis_keeps_its_address_and_data_over_a_restart() {
    let folder = Folder::new("redis");
    let mut redis = Redis::start(&folder.0).await.expect("redis starts");
    assert_eq!(redis.url(), format!("redis://127.0.0.1:{}/", redis.port()));
    assert_eq!(ask_redis(redis.port(), "SET word kept").await.as_deref(), Some("+OK\r\n"));
    redis.restart().await.expect("redis starts again");
    assert_eq!(ask_redis(redis.port(), "GET word").await.as_deref(), Some("$4\r\nkept\r\n"));
    redis.flush().await.expect("it forgets");
    assert_eq!(ask_redis(redis.port(), "GET word").await.as_deref(), Some("$-1\r\n"));
    redis.kill();
    assert!(!is_open(redis.port()).await);
    redis.restart().await.expect("redis starts after a kill");
    assert!(is_open(redis.port()).await);
    let port = redis.port();
    drop(redis);
    assert!(!is_open(port).await);
}

#[tokio::test]
async fn rabbitmq_keeps_its_queues_over_a_kill() {
    let folder = Folder::new("rabbitmq");
    let mut rabbitmq = RabbitMq::start(&folder.0).await.expect("rabbitmq starts");
    assert_eq!(rabbitmq.amqp_url(), format!("amqp://guest:guest@127.0.0.1:{}/%2f", rabbitmq.port()));
    let plugins = rabbitmq
        .ctl()
        .expect("installed")
        .args(["eval", "rabbit_plugins:active()."])
        .output()
        .expect("rabbitmqctl runs");
    let printed = String::from_utf8_lossy(&plugins.stdout).into_owned();
    assert!(
        printed.contains("rabbitmq_consistent_hash_exchange"),
        "{printed}{}",
        String::from_utf8_lossy(&plugins.stderr)
    );
    let declare = "rabbit_amqqueue:declare(rabbit_misc:r(<<\"/\">>, queue, <<\"kept\">>), true, false, [], none, <<\"test\">>), ok.";
    let declared = rabbitmq.ctl().expect("installed").args(["eval", declare]).output().expect("rabbitmqctl runs");
    assert!(declared.status.success(), "{}", String::from_utf8_lossy(&declared.stderr));
    rabbitmq.kill();
    assert!(!is_open(rabbitmq.port()).await);
    rabbitmq.restart().await.expect("rabbitmq starts again");
    // The node speaks AMQP a moment before it counts itself among those whose queues are listed.
    testkit::eventually("the queue to be listed", async || {
        let ctl = rabbitmq.ctl().expect("installed").args(["--quiet", "list_queues", "name"]).output();
        String::from_utf8_lossy(&ctl.expect("rabbitmqctl runs").stdout).contains("kept")
    })
    .await;
    let port = rabbitmq.port();
    drop(rabbitmq);
    assert!(!is_open(port).await);
}

#[tokio::test]
async fn both_services_end_with_their_handle_and_leave_no_files() {
    let folder = Folder::new("services");
    let mut services = Services::start(&folder.0).await.expect("both start");
    let ports = [services.rabbitmq().expect("started here").port(), services.redis().expect("started here").port()];
    assert!(
        services.amqp_url().contains(&ports[0].to_string()) && services.redis_url().contains(&ports[1].to_string())
    );
    drop(services);
    for port in ports {
        assert!(!is_open(port).await);
    }
    assert_eq!(std::fs::read_dir(&folder.0).expect("the root stays").count(), 0);
}

#[tokio::test]
async fn standing_services_are_found_again_and_end_when_told() {
    let folder = Folder::new("standing");
    let first = Standing::up(&folder.0).await.expect("both start");
    assert!(!first.found);
    let second = Standing::up(&folder.0).await.expect("both are there");
    assert!(second.found);
    assert_eq!((&second.amqp_url, &second.redis_url), (&first.amqp_url, &first.redis_url));
    let port = first.redis_url.trim_end_matches('/').rsplit_once(':').expect("a port").1.parse().expect("a number");
    assert!(is_open(port).await);
    assert_eq!(Standing::down(&folder.0), 3, "RabbitMQ, its port mapper and Redis");
    eventually_some("the port to close", async || (!is_open(port).await).then_some(())).await;
    assert_eq!(Standing::down(&folder.0), 0);
}
