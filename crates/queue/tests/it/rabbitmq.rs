//! What only a real broker does.

mod faults;
mod remedy;
mod timeout;
mod topology;
mod wire;

use std::path::PathBuf;

use queue::rabbitmq::{RabbitMq, RabbitMqSettings};

use crate::stage;

/// A node of this test's own, for what would strike every other test; removed when dropped.
struct OwnNode {
    dir: PathBuf,
    node: Option<testkit::RabbitMq>,
}

impl OwnNode {
    async fn start() -> Self {
        let dir = std::env::temp_dir().join(testkit::namespace("node"));
        let node = testkit::RabbitMq::start(&dir).await.expect("a node");
        Self { dir, node: Some(node) }
    }

    fn node(&self) -> &testkit::RabbitMq {
        self.node.as_ref().expect("it runs until it is dropped")
    }

    /// A small fleet's broker.
    fn broker(&self) -> RabbitMq {
        self.broker_with(stage::settings())
    }

    /// The same with these settings.
    fn broker_with(&self, settings: RabbitMqSettings) -> RabbitMq {
        RabbitMq::new(&self.node().amqp_url(), stage::topology(|_| {}), settings).expect("an address")
    }

    /// What `rabbitmqctl` says to these arguments.
    async fn ctl(&self, arguments: &[&str]) -> String {
        let mut ctl = self.node().ctl().expect("rabbitmqctl");
        ctl.arg("--quiet").args(arguments);
        let output = tokio::task::spawn_blocking(move || ctl.output()).await.expect("it runs").expect("it ran");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for OwnNode {
    fn drop(&mut self) {
        drop(self.node.take());
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
