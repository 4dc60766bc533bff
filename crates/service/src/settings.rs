//! Settings: read as text, checked together, complained about all at once.
//!
//! A program declares its settings with clap, each a flag and a variable, as *text* (a wrong value in a variable is a
//! setting's problem, exit code 78, not a usage error), and turns them into a typed configuration with [`Problems`]. Every
//! method notes what is wrong and gives `None`, so that reading goes on:
//!
//! ```
//! # use causeway_service::Problems;
//! # let mut problems = Problems::default();
//! let broker = problems.address("CAUSEWAY_AMQP_URL", "amqp://localhost/%2f", &["amqp", "amqps"]);
//! let linger = problems.duration("CAUSEWAY_BATCH_LINGER", "25ms");
//! assert!(problems.is_empty() && broker.is_some() && linger.is_some());
//! ```

use std::collections::HashMap;
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;
use std::{fmt, io};

use secrecy::{ExposeSecret, SecretString};

/// The largest file that is read as a secret or a setting.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// What is wrong with the settings, all of it.
#[derive(Debug, Default)]
pub struct Problems {
    found: Vec<Problem>,
    /// The flag beside each variable.
    flags: HashMap<String, String>,
    /// Stands for the environment in tests.
    environment: Option<HashMap<String, String>>,
}

/// One setting that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting's variable.
    pub setting: String,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Problems {
    /// With these variables instead of the process's own, for tests.
    pub fn with_environment<const N: usize>(variables: [(&str, &str); N]) -> Self {
        let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self { environment: Some(environment), ..Self::default() }
    }

    /// With the flags of this command, so that a problem names both the variable and the flag: nobody knows which of them
    /// was given. [`crate::run()`] does it by itself.
    #[must_use]
    pub fn of_command(command: &clap::Command) -> Self {
        let flags = command.get_arguments().filter_map(|argument| {
            let variable = argument.get_env()?.to_str()?;
            Some((variable.to_owned(), format!("--{}", argument.get_long()?)))
        });
        Self { flags: flags.collect(), ..Self::default() }
    }

    /// Notes a problem. `what` continues the setting's name ("is not set"); neither text may contain a secret.
    pub fn note(&mut self, setting: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.found.push(Problem { setting: setting.to_owned(), what: what.into(), remedy: remedy.into() });
    }

    /// Whether all is well so far.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// What was found, in the order in which it was.
    pub fn found(&self) -> &[Problem] {
        &self.found
    }

    /// A setting that must be there; blank counts as missing.
    pub fn required(&mut self, setting: &str, raw: Option<&str>, remedy: &str) -> Option<String> {
        let text = raw.map(str::trim).filter(|text| !text.is_empty());
        if text.is_none() {
            self.note(setting, "is not set", remedy);
        }
        text.map(str::to_owned)
    }

    /// A setting that names something: not blank.
    pub fn text(&mut self, setting: &str, raw: &str) -> Option<String> {
        self.required(setting, Some(raw), "give it a value, or leave it out for the default where there is one")
    }

    /// An address with one of these schemes and a host.
    pub fn address(&mut self, setting: &str, raw: &str, schemes: &[&str]) -> Option<Address> {
        let remedy = format!("write {}://host:port/…", schemes.join(":// or "));
        match Address::parse(raw, schemes) {
            Ok(address) => Some(address),
            Err(what) => {
                self.note(setting, what, remedy);
                None
            }
        }
    }

    /// A length of time with its unit: `250ms`, `30s`, `5m`, `1h`, `90d`. Not zero.
    pub fn duration(&mut self, setting: &str, raw: &str) -> Option<Duration> {
        let duration = parse_duration(raw);
        if duration.is_none() {
            self.note(
                setting,
                format!("{raw:?} is not a length of time"),
                "write a number with a unit: 250ms, 30s, 5m, 1h, 90d",
            );
        }
        duration
    }

    /// A whole number in a range.
    pub fn number(&mut self, setting: &str, raw: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let what = match raw.trim().parse() {
            Ok(number) if range.contains(&number) => return Some(number),
            Ok(number) if number < *range.start() => "too small",
            Ok(_) => "too large",
            Err(_) => "no whole number within the limits",
        };
        let remedy = format!("write a whole number from {} to {}", range.start(), range.end());
        self.note(setting, format!("{raw:?} is {what}"), remedy);
        None
    }

    /// A number of things: at least one, at most 2³¹.
    pub fn positive(&mut self, setting: &str, raw: &str) -> Option<usize> {
        self.number(setting, raw, 1..=1 << 31).and_then(|number| usize::try_from(number).ok())
    }

    /// One of a few words, each with what it stands for.
    pub fn choice<T: Clone>(&mut self, setting: &str, raw: &str, choices: &[(&str, T)]) -> Option<T> {
        let chosen = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(raw.trim()));
        if chosen.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.note(
                setting,
                format!("{raw:?} is not among its values"),
                format!("write one of: {}", words.join(", ")),
            );
        }
        chosen.map(|(_, meaning)| meaning.clone())
    }

    /// Whatever else has a `FromStr`; `remedy` tells what it looks like.
    pub fn parsed<T: std::str::FromStr>(&mut self, setting: &str, raw: &str, remedy: &str) -> Option<T> {
        let value = raw.trim().parse().ok();
        if value.is_none() {
            self.note(setting, format!("{raw:?} cannot be read"), remedy);
        }
        value
    }

    /// The text of a file that a setting names; at most 1 MiB.
    pub fn file(&mut self, setting: &str, path: &Path) -> Option<String> {
        match read_file(path) {
            Ok(text) => Some(text),
            Err(Unread { what, remedy }) => {
                self.note(setting, format!("names {}, which {what}", path.display()), remedy);
                None
            }
        }
    }

    /// A secret from the variable itself or from the file that `<setting>_FILE` names; never from a flag, which others on
    /// the machine could see. A file's last line break is not part of it.
    pub fn secret(&mut self, setting: &str) -> Option<SecretString> {
        let secret = self.optional_secret(setting)?;
        if secret.is_none() {
            self.note(setting, "is not set", format!("set it, or set {setting}_FILE to the file that holds it"));
        }
        secret
    }

    /// As [`Problems::secret`], for one that may be missing: `Some(None)` when it is, `None` when it is wrong.
    pub fn optional_secret(&mut self, setting: &str) -> Option<Option<SecretString>> {
        let file_setting = format!("{setting}_FILE");
        match (self.variable(setting), self.variable(&file_setting)) {
            (Some(_), Some(_)) => {
                self.note(setting, format!("and {file_setting} are both set"), "keep one of them");
                None
            }
            (Some(value), None) => Some(Some(value.into())),
            (None, Some(path)) => {
                let text = self.file(&file_setting, Path::new(&path))?;
                let secret = text.trim_end_matches(['\r', '\n']);
                if secret.is_empty() {
                    self.note(&file_setting, format!("{path} is empty"), "put the secret into it");
                    return None;
                }
                Some(Some(secret.into()))
            }
            (None, None) => Some(None),
        }
    }

    /// A variable of the environment; blank counts as missing.
    #[expect(clippy::disallowed_methods, reason = "this is where the environment is read, for secrets")]
    fn variable(&self, name: &str) -> Option<String> {
        let value = match &self.environment {
            Some(environment) => environment.get(name).cloned(),
            None => std::env::var(name).ok(),
        };
        value.filter(|value| !value.trim().is_empty())
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found.len() {
            1 => writeln!(f, "a setting is wrong:")?,
            count => writeln!(f, "{count} settings are wrong:")?,
        }
        self.found.iter().try_for_each(|Problem { setting, what, remedy }| {
            let flag = self.flags.get(setting).map(|flag| format!(" ({flag})")).unwrap_or_default();
            write!(f, "\n  {setting}{flag} {what}\n    {remedy}\n")
        })
    }
}

/// Why a file could not be read: `what` continues "which …".
struct Unread {
    what: String,
    remedy: &'static str,
}

impl Unread {
    fn new(what: impl Into<String>, remedy: &'static str) -> Self {
        Self { what: what.into(), remedy }
    }
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        let kind = error.kind();
        if kind == io::ErrorKind::NotFound {
            Self::new("does not exist", "create it, or correct the path")
        } else if kind == io::ErrorKind::PermissionDenied {
            Self::new("this process may not read", "let the user of this process read the file and enter its folders")
        } else {
            Self::new(format!("cannot be read: {error}"), "name a file that this process can read")
        }
    }
}

fn read_file(path: &Path) -> Result<String, Unread> {
    let about = std::fs::metadata(path)?;
    if about.is_dir() {
        return Err(Unread::new("is a folder", "name a file"));
    }
    if about.len() > MAX_FILE_BYTES {
        let what = format!("is too large: {} bytes, of at most {MAX_FILE_BYTES}", about.len());
        return Err(Unread::new(what, "name a smaller file; this one is most likely not the one that is meant"));
    }
    String::from_utf8(std::fs::read(path)?).map_err(|error| {
        let what = format!("is not UTF-8 text: byte {} is wrong", error.utf8_error().valid_up_to() + 1);
        Unread::new(what, "save it as UTF-8; a binary file is most likely not the one that is meant")
    })
}

fn parse_duration(raw: &str) -> Option<Duration> {
    let text = raw.trim();
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit.trim_start() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return None,
    };
    let duration = Duration::from_millis(number.checked_mul(milliseconds)?);
    (!duration.is_zero()).then_some(duration)
}

/// The address of a service. It may hold a password, so what is shown of it is the address without.
#[derive(Clone)]
pub struct Address {
    whole: SecretString,
    shown: String,
}

impl Address {
    /// Reads `scheme://[user[:password]@]host[:port][/…]`.
    ///
    /// # Errors
    /// What is wrong with it, without any part that might be secret.
    pub fn parse(raw: &str, schemes: &[&str]) -> Result<Self, String> {
        let raw = raw.trim();
        if raw.is_empty() {
            return Err("is not set".to_owned());
        }
        let (scheme, rest) = raw.split_once("://").ok_or("is not an address: there is no `://`")?;
        if !schemes.contains(&scheme) {
            // A password with `://` inside an address without a scheme would show up here.
            return Err("has a scheme that does not fit".to_owned());
        }
        if raw.contains(|character: char| character.is_whitespace() || character.is_control()) {
            return Err("contains a blank".to_owned());
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (host, port) = match host_and_port.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (host_and_port, None),
        };
        if host.is_empty() || host.contains('@') {
            return Err("names no host".to_owned());
        }
        if port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return Err(
                "has a port that is no number up to 65535; a `/`, `?` or `#` in a password must be percent-encoded"
                    .to_owned(),
            );
        }
        let mut shown = format!("{scheme}://{host_and_port}");
        // A query may hold keys; a path names a virtual host or a database.
        let _ = write!(shown, "{}", path.split(['?', '#']).next().unwrap_or_default());
        Ok(Self { whole: raw.to_owned().into(), shown })
    }

    /// All of it, with credentials: for the client that connects, and for nothing else.
    pub fn expose(&self) -> &str {
        self.whole.expose_secret()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_kept() {
        let mut problems = Problems::with_environment([]);
        assert_eq!(problems.duration("A", "fast"), None);
        assert_eq!(problems.number("B", "0", 1..=9), None);
        assert!(problems.secret("C").is_none());
        assert!(problems.address("D", "http://x", &["amqp"]).is_none());
        assert_eq!(problems.choice("E", "c", &[("a", 1), ("b", 2)]), None);
        let text = problems.to_string();
        assert!(text.starts_with("5 settings are wrong:"), "{text}");
        for part in ["A \"fast\"", "from 1 to 9", "C_FILE", "amqp://host", "one of: a, b"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_number_out_of_range_is_told_as_too_small_or_too_large() {
        let mut problems = Problems::with_environment([]);
        for (raw, what) in [
            ("0", "\"0\" is too small"),
            ("257", "\"257\" is too large"),
            ("-1", "\"-1\" is no whole number within the limits"),
            ("many", "\"many\" is no whole number within the limits"),
        ] {
            assert_eq!(problems.number("CAUSEWAY_PARTITIONS", raw, 1..=256), None);
            let problem = problems.found().last().expect("noted");
            assert_eq!((problem.what.as_str(), problem.remedy.as_str()), (what, "write a whole number from 1 to 256"));
        }
    }

    #[test]
    fn a_problem_names_the_variable_and_the_flag_that_it_may_have_come_by() {
        let flag = clap::Arg::new("url").long("amqp-url").env("CAUSEWAY_AMQP_URL");
        let mut problems = Problems::of_command(&clap::Command::new("x").arg(flag));
        assert!(problems.address("CAUSEWAY_AMQP_URL", "nonsense", &["amqp"]).is_none());
        problems.note("CAUSEWAY_OTHER", "is not set", "set it");
        let text = problems.to_string();
        assert!(text.contains("\n  CAUSEWAY_AMQP_URL (--amqp-url) is not an address"), "{text}");
        assert!(text.contains("\n  CAUSEWAY_OTHER is not set"), "{text}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_with_what_is_wrong_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = |name: &str, bytes: Option<&[u8]>| {
            let path = folder.path().join(name);
            if let Some(bytes) = bytes {
                std::fs::write(&path, bytes).expect("written");
            }
            let mut problems = Problems::with_environment([]);
            assert_eq!(problems.file("FILE", &path), None);
            let what = problems.found()[0].what.clone();
            what.strip_prefix(&format!("names {}, which ", path.display())).expect("the path").to_owned()
        };
        assert_eq!(told("", None), "is a folder");
        assert_eq!(told("missing", None), "does not exist");
        assert_eq!(told("latin-1", Some(b"gr\xfcn")), "is not UTF-8 text: byte 3 is wrong");
        let large = vec![b'x'; 1024 * 1024 + 1];
        assert_eq!(told("large", Some(&large)), "is too large: 1048577 bytes, of at most 1048576");
        assert_eq!(told("latin-1/below", None), "cannot be read: Not a directory (os error 20)");
    }

    #[test]
    fn a_duration_has_a_unit() {
        for (text, milliseconds) in
            [("250ms", 250), ("30s", 30_000), ("5 m", 300_000), ("1h", 3_600_000), ("1d", 86_400_000)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "30", "s", "-1s", "1.5s", "0s", "99999999999999999999s", "18446744073709551615d", "1 week"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn an_address_shows_neither_user_nor_password_nor_query() {
        let address =
            Address::parse("amqps://user:p@ss@broker:5671/%2f?key=value", &["amqp", "amqps"]).expect("an address");
        assert_eq!(address.to_string(), "amqps://broker:5671/%2f");
        assert_eq!(format!("{address:?}"), "Address(amqps://broker:5671/%2f)");
        assert_eq!(address.expose(), "amqps://user:p@ss@broker:5671/%2f?key=value");
        assert!(Address::parse("redis://[::1]:6379/0", &["redis"]).is_ok());
        assert!(Address::parse("redis://[::1]", &["redis"]).is_ok());
    }

    #[test]
    fn a_wrong_address_is_refused_without_being_shown() {
        for text in [
            "",
            "hunter2",
            "hunter2://host",
            "amqp://",
            "amqp://user:hunter2@",
            "amqp://user:hunter2/x@host",
            "amqp://hun ter2",
        ] {
            let what = Address::parse(text, &["amqp"]).expect_err(text);
            assert!(!what.contains("hunter2"), "{what}");
        }
    }

    #[test]
    fn a_secret_comes_from_its_variable_or_its_file_but_not_from_both() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "from the file\n").expect("written");
        let path = file.path().to_str().expect("a path");

        let read = |variables: [(&str, &str); 2]| {
            let mut problems = Problems::with_environment(variables);
            let secret = problems.secret("KEY").map(|secret| secret.expose_secret().to_owned());
            (secret, problems.found().len())
        };
        assert_eq!(read([("KEY", "direct"), ("KEY_FILE", "")]), (Some("direct".into()), 0));
        assert_eq!(read([("KEY", ""), ("KEY_FILE", path)]), (Some("from the file".into()), 0));
        assert_eq!(read([("KEY", "direct"), ("KEY_FILE", path)]), (None, 1));
        assert_eq!(read([("KEY", ""), ("KEY_FILE", "/nowhere/at/all")]), (None, 1));
        assert_eq!(Problems::with_environment([]).optional_secret("KEY").map(|secret| secret.is_none()), Some(true));
    }
}
