//! Installations on a machine of scripts, which know nothing but the folder that they lie in.

use std::fmt::Write;

use tempfile::TempDir;

use super::*;

/// A machine in a folder, without anything installed.
pub(crate) struct Scratch {
    dir: TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let scratch = Self { dir: TempDir::new().expect("a folder") };
        for folder in ["bin", "source/node", "source/page", "source/python", "source/rust"] {
            fs::create_dir_all(scratch.dir.path().join(folder)).expect("a folder");
        }
        for runner in ALL {
            scratch.pin(runner, "1");
        }
        scratch
    }

    fn pin(&self, runner: Runner, version: &str) {
        let lock = self.source().join(runner.folder()).join(runner.lock());
        fs::write(lock, format!("{} {version}", runner.folder())).expect("a lock");
    }

    /// Puts a program there that notes how it was called, and then does what the script says.
    pub(crate) fn program(&self, name: &str, script: &str) -> PathBuf {
        let (text, file) = (self.dir.path().join("text"), self.bin().join(name));
        let calls = self.dir.path().join("calls");
        let note = format!("#!/bin/sh\necho \"{name} $*\" >> '{}'", calls.display());
        fs::write(&text, format!("{note}\n{script}\n")).expect("a script");
        // Written by another process: what this one has open for writing while it starts a program is "busy" for it.
        let made = std::process::Command::new("install").args(["-m", "755"]).arg(text).arg(&file).status();
        assert!(made.expect("install runs").success());
        file
    }

    pub(crate) fn bin(&self) -> PathBuf {
        self.dir.path().join("bin")
    }

    fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("target")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    pub(crate) fn machine(&self, offline: bool) -> Machine {
        Machine { path: self.bin().into(), build: self.dir.path().join("build"), offline, limits: Limits::default() }
    }

    /// How programs were called since the last question.
    pub(crate) fn calls(&self) -> String {
        let calls = self.dir.path().join("calls");
        let text = fs::read_to_string(&calls).unwrap_or_default();
        let _ = fs::remove_file(calls);
        text
    }

    async fn install(&self, runner: Runner, offline: bool) -> Result<PathBuf, Obstacle> {
        install(runner, &self.source(), &self.target(), &self.machine(offline)).await
    }

    /// What `npm ci` makes of it when it ends with this.
    async fn npm_says(&self, said: &str) -> Obstacle {
        self.program("npm", &format!("[ \"$1\" = --version ] && exit 0\n/bin/cat <<'END' >&2\n{said}\nEND\nexit 1"));
        self.install(Runner::Node, false).await.expect_err("npm failed")
    }
}

const ALL: [Runner; 4] = [Runner::Node, Runner::Python, Runner::Rust, Runner::Page];

#[tokio::test]
async fn nothing_is_fetched_twice_for_the_same_pins_and_all_again_for_others() {
    let scratch = Scratch::new();
    scratch.program("node", "");
    scratch.program("npm", "");
    let place = scratch.target().join("node");
    let fetched = "node --version\nnpm --version\n\
                   npm ci --ignore-scripts --no-audit --no-fund --loglevel=error\n";
    assert_eq!(scratch.install(Runner::Node, false).await, Ok(place.clone()));
    assert_eq!(scratch.calls(), fetched);
    assert_eq!(scratch.install(Runner::Node, true).await, Ok(place.clone()), "offline, too");
    assert_eq!(scratch.calls(), "");
    scratch.pin(Runner::Node, "2");
    assert_eq!(scratch.install(Runner::Node, false).await, Ok(place));
    assert_eq!(scratch.calls(), fetched);
}

#[tokio::test]
async fn what_was_begun_and_not_finished_does_not_count_as_installed() {
    let scratch = Scratch::new();
    scratch.program("node", "");
    scratch.program("npm", "");
    scratch.install(Runner::Node, false).await.expect("installed");
    scratch.pin(Runner::Node, "2");
    scratch.npm_says("npm error code EUSAGE").await;
    scratch.pin(Runner::Node, "1");
    let offline = scratch.install(Runner::Node, true).await.expect_err("half of something else lies there");
    assert!(matches!(offline, Obstacle::OutOfReach(_)), "{offline:?}");
}

#[tokio::test]
async fn offline_nothing_is_run_that_fetches() {
    let scratch = Scratch::new();
    for name in ["node", "npm", "python3", "cargo"] {
        scratch.program(name, "");
    }
    for runner in ALL {
        let missing = scratch.install(runner, true).await.expect_err("nothing is installed");
        let Obstacle::OutOfReach(reason) = missing else { panic!("{missing:?}") };
        assert!(reason.contains("--offline forbids to fetch it"), "{reason}");
    }
    assert_eq!(scratch.calls(), "");
    scratch.install(Runner::Rust, false).await.expect("installed");
    scratch.calls();
    scratch.install(Runner::Rust, true).await.expect("only built");
    let calls = scratch.calls();
    let fetched: Vec<_> = calls.lines().filter(|call| call.starts_with("cargo fetch ")).collect();
    assert!(fetched.len() == 1 && fetched.iter().all(|call| call.ends_with(" --offline")), "{calls}");
}

#[tokio::test]
async fn the_rust_client_is_built_where_the_workspace_is() {
    let scratch = Scratch::new();
    scratch.program("cargo", "");
    let build = scratch.machine(false).build;
    assert_eq!(scratch.install(Runner::Rust, false).await, Ok(build.join("debug")));
    let manifest = scratch.source().join("rust/Cargo.toml");
    let mut calls = "cargo --version\n".to_owned();
    writeln!(calls, "cargo fetch --locked --target=host-tuple --manifest-path {}", manifest.display()).expect("a line");
    write!(calls, "cargo build --locked --offline --manifest-path {} ", manifest.display()).expect("a line");
    writeln!(calls, "--target-dir {}", build.display()).expect("a line");
    assert_eq!(scratch.calls(), calls);
}

#[tokio::test]
async fn a_rust_client_that_does_not_build_or_takes_too_long_is_no_trouble_of_the_registry() {
    let scratch = Scratch::new();
    let said = "warning: spurious network error (3 tries remaining): failed to download from x\n\
                error[E0432]: unresolved import `cirrus::Client`\nerror: could not compile `conformance-cirrus`";
    scratch.program("cargo", &format!("[ \"$1\" = build ] || exit 0\n/bin/cat <<'END' >&2\n{said}\nEND\nexit 101"));
    let broken = scratch.install(Runner::Rust, false).await;
    let Err(Obstacle::Broken(detail)) = broken else { panic!("{broken:?}") };
    assert!(detail.starts_with("what Cargo.lock pins does not build; ") && detail.ends_with(said), "{detail}");

    // The other limit runs out at once.
    let limited = |limits: Limits| Machine { limits, ..scratch.machine(false) };
    let (zero, default) = (Duration::ZERO, Limits::default());
    scratch.program("cargo", "[ \"$1\" != build ] || exec /bin/sleep 60");
    let machine = limited(Limits { build: zero, ..default });
    let slow = install(Runner::Rust, &scratch.source(), &scratch.target(), &machine).await;
    let Err(Obstacle::Broken(detail)) = slow else { panic!("{slow:?}") };
    assert!(detail.starts_with("what Cargo.lock pins is not built after 0 min; "), "{detail}");

    scratch.program("cargo", "[ \"$1\" != fetch ] || exec /bin/sleep 60");
    let machine = limited(Limits { fetch: zero, ..default });
    let slow = install(Runner::Rust, &scratch.source(), &scratch.target(), &machine).await;
    let Err(Obstacle::OutOfReach(reason)) = slow else { panic!("{slow:?}") };
    assert!(reason.starts_with("crates.io took more than 0 min; "), "{reason}");
}

#[tokio::test]
async fn python_packages_are_taken_by_their_hashes_and_as_wheels_only() {
    let scratch = Scratch::new();
    let pip = scratch.program("pip", "");
    // A virtual environment whose python is the script above.
    let venv = format!("for last; do :; done\nmkdir -p \"$last/bin\" && cp '{}' \"$last/bin/python\"", pip.display());
    let venv = format!("PATH=/usr/bin:/bin\n[ \"$1\" = --version ] || {{ {venv}; }}");
    scratch.program("python3", &venv);
    let into = scratch.target().join("python");
    assert_eq!(scratch.install(Runner::Python, false).await, Ok(into.clone()));
    let mut calls = "python3 --version\n".to_owned();
    writeln!(calls, "python3 -m venv --clear {}", into.join("venv").display()).expect("a line");
    calls += "pip -m pip install --disable-pip-version-check --no-input --only-binary=:all: --require-hashes ";
    writeln!(calls, "--requirement {}", into.join("requirements.txt").display()).expect("a line");
    assert_eq!(scratch.calls(), calls);
}

#[tokio::test]
async fn a_tool_that_is_missing_is_named() {
    let scratch = Scratch::new();
    for (runner, tool) in
        [(Runner::Node, "node"), (Runner::Page, "node"), (Runner::Python, "python3"), (Runner::Rust, "cargo")]
    {
        let reason = format!("{tool} is not installed on this machine");
        assert_eq!(scratch.install(runner, false).await, Err(Obstacle::OutOfReach(reason)));
    }
    scratch.program("node", "");
    for runner in [Runner::Node, Runner::Page] {
        let reason = "npm is not installed on this machine".to_owned();
        assert_eq!(scratch.install(runner, false).await, Err(Obstacle::OutOfReach(reason)));
    }
    let words = "The virtual environment was not created successfully because ensurepip is not\\n\
                 available.  On Debian/Ubuntu systems, you need to install the python3-venv\\npackage";
    scratch.program("python3", &format!("[ \"$1\" = --version ] && exit 0\nprintf '{words}'\nexit 1"));
    let reason = "python3-venv is not installed on this machine".to_owned();
    assert_eq!(scratch.install(Runner::Python, false).await, Err(Obstacle::OutOfReach(reason)));
}

#[tokio::test]
async fn a_tool_that_is_too_old_is_named_with_its_version() {
    let scratch = Scratch::new();
    for (runner, program, old, new) in
        [(Runner::Node, "node", "v18.19.0", "v20.18.1"), (Runner::Python, "python3", "Python 3.9.2", "Python 3.11.2")]
    {
        scratch.program("npm", "");
        scratch.program(program, &format!("echo {old}"));
        let Err(Obstacle::OutOfReach(reason)) = scratch.install(runner, false).await else { panic!("{program}") };
        assert!(reason.starts_with(&format!("{program} of this machine is {old}; ")), "{reason}");
        scratch.program(program, &format!("echo {new}"));
        let after = scratch.install(runner, false).await;
        assert!(!matches!(after, Err(Obstacle::OutOfReach(_))), "{after:?}");
    }
}

#[tokio::test]
async fn a_registry_out_of_reach_is_told_from_a_wrong_pin() {
    let scratch = Scratch::new();
    scratch.program("node", "");
    let npm = |said: &'static str| scratch.npm_says(said);
    // With an address: what pip 23.2, npm 11.19 and cargo 1.95 said to a server that gave such answers, abridged.
    for said in [
        "npm error code ENOTFOUND\nnpm error network request to https://registry.example failed",
        "npm error code E503\nnpm error 503 Service Unavailable - GET https://registry.example/jsforce",
        "npm error code E500\nnpm error 500 Internal Server Error - GET http://127.0.0.1:7500/playwright-core",
        "npm error code E520\nnpm error 520 undefined - GET http://127.0.0.1:7520/playwright-core",
        "npm error code E408\nnpm error 408 Request Timeout - GET http://127.0.0.1:7408/playwright-core",
        // 500, 503, 429: pip does not say which.
        "Looking in indexes: http://127.0.0.1:7500/simple\n\
         ERROR: Could not find a version that satisfies the requirement simple-salesforce==1.12.10 (from versions: \
         none)\n\
         ERROR: No matching distribution found for simple-salesforce==1.12.10",
        // Reset.
        "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection \
         broken by 'ProtocolError('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))': \
         /simple/simple-salesforce/\n\
         ERROR: Could not find a version that satisfies the requirement simple-salesforce==1.12.10 (from versions: \
         none)\n\
         ERROR: No matching distribution found for simple-salesforce==1.12.10",
        // The index answers, the file does not.
        "Collecting simple-salesforce==1.12.10 (from -r req.txt (line 1))\n\
         ERROR: Could not install packages due to an OSError: HTTPConnectionPool(host='127.0.0.1', port=7020): Max \
         retries exceeded with url: /f/s.whl (Caused by ResponseError('too many 500 error responses'))",
        "ERROR: Exception:\nTraceback (most recent call last):\n\
         pip._vendor.urllib3.exceptions.ProtocolError: (\"Connection broken: ConnectionResetError\")",
        // Closed without an answer, then 500.
        "error: failed to get `async-trait` as a dependency of package `conformance-cirrus v0.0.0`\n\nCaused by:\n  \
         download of config.json failed\n\nCaused by:\n  failed to download from `http://127.0.0.1:7010/config.json`",
        "warning: spurious network error (1 try remaining): failed to get successful HTTP response\n\
         error: failed to get `async-trait` as a dependency of package `conformance-cirrus v0.0.0`\n\nCaused by:\n  \
         failed to get successful HTTP response from `http://127.0.0.1:7500/config.json` (127.0.0.1), got 500",
    ] {
        let obstacle = npm(said).await;
        let Obstacle::OutOfReach(reason) = obstacle else { panic!("{said}: {obstacle:?}") };
        assert!(reason.starts_with("the npm registry is not reached; see "), "{reason}");
    }
    for said in [
        "npm error code EUSAGE\nnpm error `npm ci` can only install packages when your package.json and lock are in \
         sync",
        "ERROR: Could not find a version that satisfies the requirement simple-salesforce==1.12.10 (from versions: \
         1.0.0)\n\
         ERROR: No matching distribution found for simple-salesforce==1.12.10",
        // Something that was got over does not count.
        "WARNING: Retrying (Retry(total=4)) after connection broken by 'ProtocolError('Connection aborted.', \
         RemoteDisconnected('Remote end closed connection without response'))': /simple/simple-salesforce/\n\
         ERROR: Could not find a version that satisfies the requirement simple-salesforce==1.12.10 (from versions: \
         1.0.0)\n\
         ERROR: No matching distribution found for simple-salesforce==1.12.10",
        "warning: spurious network error (3 tries remaining): [6] Could not resolve host: index.crates.io\n\
         error: failed to select a version for the requirement `cirrus = \"=0.8.0\"` (locked to 0.8.0)",
        "error: the lock file needs to be updated but --locked was passed",
        "npm error code EINTEGRITY",
        "WARNING: Retrying after 'ReadTimeoutError'\nERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE \
         REQUIREMENTS FILE.",
    ] {
        let obstacle = npm(said).await;
        let Obstacle::Broken(detail) = obstacle else { panic!("{said}: {obstacle:?}") };
        assert!(detail.ends_with(said), "{detail}");
    }
}

#[test]
fn every_python_package_is_pinned_by_hash_and_in_the_version_that_is_asked_for() {
    let folder = crate::conformance::list().with_file_name("python");
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a file of pins");
    let lock = read("requirements.txt");
    let mut pinned = Vec::new();
    for entry in lock.replace("\\\n", " ").lines().filter(|line| !line.starts_with('#')) {
        let mut words = entry.split_whitespace();
        let Some(pin) = words.next() else { continue };
        assert!(pin.contains("=="), "{entry}");
        assert!(words.clone().count() > 0 && words.all(|word| word.starts_with("--hash=sha256:")), "{entry}");
        pinned.push(pin.to_lowercase());
    }
    for wanted in read("requirements.in").lines().filter(|line| line.contains("==")) {
        assert!(pinned.contains(&wanted.to_lowercase()), "{wanted} is not what requirements.txt has");
    }
}

#[test]
fn what_is_out_of_reach_was_not_run_and_what_is_broken_is_told_as_such() {
    let detail = || "EINTEGRITY".to_owned();
    assert_eq!(Obstacle::OutOfReach(detail()).outcome(), Outcome::NotRun { reason: detail() });
    assert_eq!(Obstacle::Broken(detail()).outcome(), Outcome::NotInstalled { detail: detail() });
}

#[test]
fn the_last_lines_are_shown() {
    assert_eq!(tail("a\nb\nc", 2), "b\nc");
    assert_eq!(tail("a", 2), "a");
    assert_eq!(tail("", 2), "");
}
