//! What `.ci/run` makes of how the conformance run ends, with a `make` and a `cargo` that are scripts.

use std::process::Command;

use super::install::tests::Scratch;

/// Runs it where lint, demo and conformance end with these codes, and the tests pass: its exit code and what it said.
fn ci(lint: i32, demo: i32, conformance: &str) -> (Option<i32>, String) {
    let scratch = Scratch::new();
    let make = format!("case \"$1\" in lint) exit {lint};; demo) exit {demo};; *) echo \"test result: ok\";; esac");
    scratch.program("make", &make);
    scratch.program("cargo", conformance);
    // In place of the real one it only says how long it would wait. What it ended is a 124, unless told otherwise.
    let run = "while [ \"${1#-}\" != \"$1\" ]; do shift; done\nshift\n\"$@\"\ncode=$?";
    let own = "case \"$code $all\" in \"143 --preserve-status\"*) ;; 143*) code=124;; esac\nexit $code";
    scratch.program("timeout", &format!("echo \"limit $*\"\nall=$*\n{run}\n{own}"));
    let folder = scratch.bin().join(".ci");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::copy(crate::root().join(".ci/run"), folder.join("run")).expect("a copy");
    let path = format!("{}:/usr/bin:/bin", scratch.bin().display());
    let ended = Command::new("bash").arg(folder.join("run")).env("PATH", path).output().expect("bash");
    (ended.status.code(), String::from_utf8(ended.stdout).expect("text"))
}

#[test]
fn a_conformance_run_that_runs_out_of_time_or_registries_is_told_and_fails_nothing() {
    for (ends, told) in
        [("kill -TERM $$", "took more than 20 minutes"), ("exit 69", "for want of a registry or a tool")]
    {
        let (code, said) = ci(0, 0, ends);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(told), "{said}");
        assert!(said.ends_with("test result: ok\n"), "{said}");
    }
    let (code, said) = ci(0, 0, "exit 1");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("ci: FAILED with exit code 1: cargo xtask conformance\ntest result: ok\n"), "{said}");
    let (code, said) = ci(3, 4, "kill -KILL $$");
    assert_eq!(code, Some(3), "the first that failed: {said}");
    assert!(said.contains("ci: FAILED with exit code 137: cargo xtask conformance\n"), "deaf to SIGTERM: {said}");
}

#[test]
fn what_comes_before_the_tests_leaves_them_fifteen_of_ninety_minutes() {
    let (_, said) = ci(0, 0, "");
    let mut minutes = 0;
    let mut steps = 0;
    for line in said.lines().filter(|line| line.starts_with("limit ")) {
        let limit = line.split(' ').find_map(|word| word.strip_suffix('m')?.parse::<u32>().ok());
        // And one minute to end.
        assert!(line.contains("--kill-after=60s "), "{line}");
        minutes += limit.expect("a limit") + 1;
        steps += 1;
    }
    assert_eq!(steps, 3, "lint, demo, conformance: {said}");
    assert!(minutes + 15 <= 90, "{minutes}");
}
