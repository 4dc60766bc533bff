//! Where this machine gets Debian's packages from.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The address that the machine's own apt sources name for Debian's main archive.
///
/// # Errors
/// They name none.
pub(crate) fn of_this_machine() -> Result<String> {
    let folder = Path::new("/etc/apt");
    let mut files = vec![folder.join("sources.list")];
    let parts = fs::read_dir(folder.join("sources.list.d")).into_iter().flatten().flatten();
    let mut parts: Vec<_> = parts.map(|entry| entry.path()).collect();
    parts.sort();
    files.extend(parts);
    files.iter().find_map(|file| debian(&fs::read_to_string(file).ok()?)).context(
        "no Debian mirror is known: /etc/apt/sources.list and sources.list.d name none with the component main whose \
         address ends in /debian. Add one, such as `deb <mirror>/debian <release> main`",
    )
}

/// The first address in a file of apt sources, of either format, that serves Debian's main archive.
fn debian(text: &str) -> Option<String> {
    let one_line = text.lines().filter_map(|line| {
        let line = line.trim().strip_prefix("deb ")?.trim_start();
        // Options stand in brackets before the address.
        let line = line.strip_prefix('[').map_or(line, |rest| rest.split_once(']').map_or("", |(_, line)| line));
        line.split_whitespace().next()
    });
    let stanzas = text.lines().filter_map(|line| line.trim().strip_prefix("URIs:")).flat_map(str::split_whitespace);
    let is_archive = |uri: &&str| uri.trim_end_matches('/').ends_with("/debian") && uri.starts_with("http");
    one_line.chain(stanzas).find(is_archive).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_found_in_either_format_and_neither_security_nor_strangers_are_taken_for_it() {
        let stanza =
            "Types: deb\n# an archive\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\n";
        assert_eq!(debian(stanza).as_deref(), Some("http://mirror.example/debian"));
        let security = "Types: deb\nURIs: http://mirror.example/debian-security\nSuites: bookworm-security\n";
        assert_eq!(debian(security), None);
        let lines = "# deb http://old.example/debian buster main\ndeb https://packages.example/apt tools main\n\
                     deb [signed-by=/usr/share/key.gpg] https://mirror.example/debian/ bookworm main\n";
        assert_eq!(debian(lines).as_deref(), Some("https://mirror.example/debian/"));
        assert_eq!(debian(""), None);
    }
}
