//! A cold installation on a machine of scripts: what is asked of `apt-get`, in which order, and what is made of its
//! answers. The scripts know no other machine than the folder that they lie in.

use std::os::unix::fs::PermissionsExt;

use super::*;

const INSTALL: &str = "install --quiet --yes --no-install-recommends -o DPkg::Lock::Timeout=120 \
                       rabbitmq-server redis-server redis-tools";

/// A machine in a folder, without anything installed. Removed when dropped.
struct Scratch {
    dir: PathBuf,
    machine: Machine,
}

impl Scratch {
    /// `apt_get` is what its `apt-get` does after it has noted in `calls` how it was called and which policy held.
    fn new(apt_get: &str) -> Self {
        let dir = std::env::temp_dir().join(crate::namespace("causeway-install"));
        fs::create_dir_all(dir.join("bin")).expect("a folder");
        let machine = Machine {
            path: vec![dir.join("bin")],
            rabbitmq_homes: vec![dir.join("rabbitmq")],
            policy: dir.join("policy-rc.d"),
            lock: dir.join("lock"),
            is_root: true,
        };
        let scratch = Self { dir, machine };
        let note = "policy=none; [ -x policy-rc.d ] && { sh policy-rc.d; policy=$?; }\n\
                    echo \"$DEBIAN_FRONTEND policy=$policy $*\" >> calls";
        scratch.program("bin/apt-get", &format!("{note}\n{apt_get}"));
        scratch
    }

    fn program(&self, name: &str, script: &str) {
        let (text, file) = (self.dir.join("text"), self.dir.join(name));
        fs::write(&text, format!("#!/bin/sh\ncd {}\n{script}\n", self.dir.display())).expect("a script");
        // Written by another process: what this one has open for writing while it starts a program is "busy" for it.
        let made = Command::new("install").args(["-D", "-m", "755"]).args([text, file]).status();
        assert!(made.expect("install runs").success());
    }

    /// What the packages bring.
    fn programs(&self, rabbitmq: &str, redis: &str) {
        self.program(&format!("rabbitmq/rabbitmq_server-{rabbitmq}/sbin/rabbitmq-server"), "");
        self.program("bin/redis-server", &format!("echo 'Redis server v={redis} sha=00000000:0 bits=64'"));
        self.program("bin/epmd", "");
    }

    /// A machine whose packages lie beside it: `apt-get install` puts them in place.
    fn with_packages(apt_get: &str) -> Self {
        let scratch = Self::new(&format!("{apt_get}\n[ \"$1\" = install ] && cp -r packages/. .\nexit 0"));
        scratch.programs("3.10.8", "7.0.15");
        let packages = scratch.dir.join("packages");
        fs::create_dir_all(packages.join("bin")).expect("a folder");
        for name in ["rabbitmq", "bin/redis-server", "bin/epmd"] {
            fs::rename(scratch.dir.join(name), packages.join(name)).expect("moved");
        }
        scratch
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn failure(&self) -> String {
        format!("{:#}", self.machine.ensure().expect_err("it fails"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn a_bare_machine_gets_its_packages_without_a_question_and_without_a_started_service() {
    let scratch = Scratch::with_packages("");
    scratch.machine.ensure().expect("installed");
    let quietly = "noninteractive policy=101";
    assert_eq!(scratch.calls(), [format!("{quietly} update --quiet"), format!("{quietly} {INSTALL}")]);
    assert!(!scratch.machine.policy.exists(), "the policy is gone");
    let sbin = scratch.dir.join("rabbitmq/rabbitmq_server-3.10.8/sbin");
    assert_eq!(scratch.machine.rabbitmq_sbin().expect("found"), sbin);
    scratch.machine.ensure().expect("still there");
    assert_eq!(scratch.calls().len(), 2, "nothing is installed again");
}

#[test]
fn somebody_elses_policy_holds_and_stays_and_one_that_a_killed_installation_left_goes() {
    for (text, answer, stays) in [("#!/bin/sh\nexit 104\n", 104, true), (POLICY, 101, false)] {
        let scratch = Scratch::with_packages("");
        fs::write(&scratch.machine.policy, text).expect("a policy");
        fs::set_permissions(&scratch.machine.policy, fs::Permissions::from_mode(0o755)).expect("a program");
        scratch.machine.ensure().expect("installed");
        assert_eq!(scratch.calls()[1], format!("noninteractive policy={answer} {INSTALL}"));
        assert_eq!(scratch.machine.policy.exists(), stays);
    }
}

#[test]
fn an_installation_that_fails_names_the_command_and_its_exit_code_and_leaves_no_policy() {
    let scratch = Scratch::new("[ \"$1\" = install ] && exit 100\nexit 0");
    assert_eq!(scratch.failure(), format!("apt-get {INSTALL} failed: exit status: 100"));
    assert!(!scratch.machine.policy.exists());
    let scratch = Scratch::new("[ \"$1\" = install ] && exit 100\nexit 7");
    let both = format!("apt-get update --quiet failed: exit status: 7; apt-get {INSTALL} failed: exit status: 100");
    assert_eq!(scratch.failure(), both);
}

#[test]
fn a_source_that_cannot_be_updated_does_not_prevent_what_can_be_installed() {
    let scratch = Scratch::with_packages("[ \"$1\" = update ] && exit 100");
    scratch.machine.ensure().expect("installed");
    assert_eq!(scratch.calls().len(), 2);
}

#[test]
fn packages_that_bring_too_little_are_told_with_what_is_lacking() {
    let failure = Scratch::new("exit 0").failure();
    let said = "the packages are installed, but that is not enough: RabbitMQ is not installed.";
    assert!(failure.starts_with(said), "{failure}");
}

#[test]
fn a_version_that_is_too_old_is_told_and_not_replaced() {
    for (rabbitmq, redis, said) in
        [("3.9.27", "7.0.15", "RabbitMQ 3.9.27 in "), ("3.10.8", "6.0.16", "Redis 6.0.16 in ")]
    {
        let scratch = Scratch::new("");
        scratch.programs(rabbitmq, redis);
        let failure = scratch.failure();
        assert!(failure.starts_with(said) && failure.contains(" is too old: "), "{failure}");
        assert!(scratch.calls().is_empty());
    }
    let scratch = Scratch::new("");
    scratch.programs("4.1.0-rc.1", "6.2.0");
    scratch.programs("3.9.27", "6.2.0");
    scratch.machine.ensure().expect("the newest counts");
}

#[test]
fn who_is_not_root_is_told_the_command_and_nothing_is_run() {
    let mut scratch = Scratch::with_packages("");
    scratch.machine.is_root = false;
    let failure = scratch.failure();
    assert!(failure.starts_with("RabbitMQ is not installed."), "{failure}");
    assert!(failure.contains("apt-get install --no-install-recommends rabbitmq-server redis-server redis-tools"));
    assert!(scratch.calls().is_empty() && !scratch.machine.policy.exists());
}

#[test]
fn a_machine_without_apt_get_is_told_what_to_install() {
    let scratch = Scratch::new("");
    fs::remove_file(scratch.dir.join("bin/apt-get")).expect("removed");
    assert!(scratch.failure().contains("RabbitMQ 3.10 or later and Redis 6.2 or later by hand"));
}

#[test]
fn versions_are_compared_as_numbers() {
    assert!(numbers("3.10.8") > numbers("3.9.27"));
    assert_eq!(numbers("3.10.8-rc.1"), [3, 10, 8]);
    assert_eq!(numbers("7.0.15 sha=00000000:0"), [7, 0, 15]);
}
