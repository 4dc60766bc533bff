//! What a fleet's ledger holds in Redis, flushed, copied, and restored as a server does that was started from the copy.

use redis::aio::MultiplexedConnection;

/// Everything below one namespace.
pub(crate) struct Copied {
    connection: MultiplexedConnection,
    namespace: String,
    /// Key, what it holds, and when it expires, in milliseconds since 1970; 0 for never.
    copy: Vec<(String, Vec<u8>, i64)>,
    restored: u32,
}

impl Copied {
    pub(crate) async fn of(url: &str, namespace: &str) -> Self {
        let client = redis::Client::open(url).expect("an address");
        let connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
        Self { connection, namespace: format!("{{{namespace}}}"), copy: Vec::new(), restored: 0 }
    }

    async fn ask<T: redis::FromRedisValue>(&mut self, command: &redis::Cmd) -> T {
        command.query_async(&mut self.connection).await.expect("Redis answers")
    }

    async fn keys(&mut self) -> Vec<String> {
        let pattern = format!("{}:*", self.namespace);
        self.ask(redis::cmd("KEYS").arg(pattern)).await
    }

    pub(crate) async fn flush(&mut self) {
        let keys = self.keys().await;
        if !keys.is_empty() {
            let _: u64 = self.ask(redis::cmd("DEL").arg(keys)).await;
        }
    }

    pub(crate) async fn save(&mut self) {
        self.copy.clear();
        for key in self.keys().await {
            let held: Vec<u8> = self.ask(redis::cmd("DUMP").arg(&key)).await;
            let until: i64 = self.ask(redis::cmd("PEXPIRETIME").arg(&key)).await;
            self.copy.push((key, held, until.max(0)));
        }
    }

    /// Another run of the server, on what it had saved.
    pub(crate) async fn restore(&mut self) {
        self.flush().await;
        self.restored += 1;
        for (key, held, until) in self.copy.clone() {
            let _: () = self.ask(redis::cmd("RESTORE").arg(&key).arg(until).arg(held).arg("ABSTTL")).await;
        }
        let memory = format!("{}:memory", self.namespace);
        if self.copy.iter().any(|(key, ..)| *key == memory) {
            let before = format!("run {}", self.restored);
            let _: u64 = self.ask(redis::cmd("HSET").arg(memory).arg("server").arg(before)).await;
        }
    }
}
