//! The scripts, and how one is called by its digest.

use std::sync::LazyLock;

use redis::Cmd;

/// A script that Redis keeps and is called by its digest.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) code: &'static str,
    digest: String,
}

pub(super) static OWN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("own.lua")));
pub(super) static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("claim.lua")));
pub(super) static SENDING: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("sending.lua")));
pub(super) static CLOSE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("close.lua")));
pub(super) static SIGHT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("sight.lua")));
pub(super) static HANDED_ON: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("handed_on.lua")));
pub(crate) static GRANT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("grant.lua")));
pub(crate) static PUT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("put.lua")));
pub(crate) static LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lease.lua")));
pub(crate) static SPEND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("spend.lua")));
pub(crate) static SPENT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("spent.lua")));

/// Names the memory, and returns its name. Sent whole: a server that was just started knows no digest.
pub(crate) fn memory(key: &str) -> Cmd {
    let mut command = Cmd::new();
    command.arg("EVAL").arg(include_str!("memory.lua")).arg(1).arg(key);
    command
}

impl Script {
    /// A script of this code.
    pub(crate) fn new(code: &'static str) -> Self {
        Self { code, digest: redis::Script::new(code).get_hash().to_owned() }
    }

    /// One call of it.
    pub(crate) fn invocation(&self, keys: &[&str], arguments: &[&str]) -> Cmd {
        let mut command = Cmd::new();
        command.arg("EVALSHA").arg(&self.digest).arg(keys.len()).arg(keys).arg(arguments);
        command
    }
}
