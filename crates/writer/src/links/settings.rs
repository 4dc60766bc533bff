//! Where Limio's API is, and as whom to call it.

use std::time::Duration;

use limio::Settings;
use service::Problems;

const URL: &str = "CAUSEWAY_LIMIO_URL";
const CLIENT_ID: &str = "CAUSEWAY_LIMIO_CLIENT_ID";
const CLIENT_SECRET: &str = "CAUSEWAY_LIMIO_CLIENT_SECRET";
const DEADLINE: &str = "CAUSEWAY_LIMIO_DEADLINE";
const RETRY: &str = "CAUSEWAY_LIMIO_RETRY";

/// Limio's API, as it is written.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[expect(clippy::struct_field_names, reason = "the names are those of the flags")]
pub(crate) struct LimioArgs {
    /// Limio's address: each order's subscription and customer are linked there to its Account and Contact, so that Limio for
    /// Salesforce shows them. Without it nothing is linked. The same for every writer.
    #[arg(
        long,
        env = "CAUSEWAY_LIMIO_URL",
        value_name = "URL",
        help_heading = "Limio",
        help = "Limio's address, such as https://acme.prod.limio.com: each order's subscription and customer are linked there \
            to its Account and Contact, so that Limio for Salesforce shows them. Without it nothing is linked. The same for \
            every writer"
    )]
    limio_url: Option<String>,
    /// The client id that Limio's support issued.
    #[arg(long, env = "CAUSEWAY_LIMIO_CLIENT_ID", value_name = "ID", help_heading = "Limio")]
    limio_client_id: Option<String>,
    /// How long one call of Limio may take before its answer counts as lost. No order waits for it.
    #[arg(long, env = "CAUSEWAY_LIMIO_DEADLINE", default_value = "10s", value_name = "TIME", help_heading = "Limio")]
    limio_deadline: String,
    /// How long the links of an order wait before they are tried again when Limio does not find the subscription yet, or fails
    /// at it alone: four times as long with each try. After five tries they are a dead letter, behind which nobody waits.
    #[arg(long, env = "CAUSEWAY_LIMIO_RETRY", default_value = "2s", value_name = "TIME", help_heading = "Limio")]
    limio_retry: String,
}

/// Whether Limio is told of what is written.
#[derive(Debug, Clone)]
pub(crate) enum Linking {
    /// Nothing is linked.
    Off,
    /// Limio is told.
    On(LimioSettings),
}

/// Limio's API, checked.
#[derive(Debug, Clone)]
pub(crate) struct LimioSettings {
    /// What the client is made of.
    pub(crate) client: Settings,
    /// The first wait of an order's links.
    pub(crate) retry: Duration,
}

impl LimioArgs {
    /// Checks the settings; with none of them nothing is linked.
    pub(crate) fn read(self, problems: &mut Problems) -> Option<Linking> {
        let retry = problems.duration(RETRY, &self.limio_retry);
        let deadline = problems.duration(DEADLINE, &self.limio_deadline);
        let secret = problems.optional_secret(CLIENT_SECRET);
        let given = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let (url, client_id) = (given(self.limio_url), given(self.limio_client_id));
        let Some(url) = url else {
            if client_id.is_none() && matches!(secret, Some(None)) {
                return deadline.and(retry).map(|_| Linking::Off);
            }
            if secret.is_some() {
                problems.note(URL, "is not set", "write Limio's address, or leave out the client's id and secret");
            }
            return None;
        };
        let checked = Settings::check_url(&url);
        if let Err(what) = &checked {
            problems.note(
                URL,
                what.clone(),
                "write https:// and the environment's host, such as https://acme.prod.limio.com",
            );
        }
        if client_id.is_none() {
            problems.note(CLIENT_ID, "is not set", "write the client id that Limio's support issued");
        }
        if matches!(secret, Some(None)) {
            problems.note(
                CLIENT_SECRET,
                "is not set",
                format!("set it, or set {CLIENT_SECRET}_FILE to the file that holds it"),
            );
        }
        checked.ok()?;
        let client = Settings { url, client_id: client_id?, client_secret: secret??, deadline: deadline? };
        Some(Linking::On(LimioSettings { client, retry: retry? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: Option<&str>, id: Option<&str>, secret: &[(&str, &str)]) -> (Option<Linking>, Vec<String>) {
        let args = LimioArgs {
            limio_url: url.map(str::to_owned),
            limio_client_id: id.map(str::to_owned),
            limio_deadline: "10s".to_owned(),
            limio_retry: "2s".to_owned(),
        };
        let mut problems = match secret {
            [one] => Problems::with_environment([*one]),
            _ => Problems::with_environment([]),
        };
        let read = args.read(&mut problems);
        (read, problems.found().iter().map(|problem| problem.setting.clone()).collect())
    }

    #[test]
    fn without_any_of_the_settings_nothing_is_linked_and_with_some_all_that_is_missing_is_told() {
        let secret = [(CLIENT_SECRET, "hush")];
        assert!(matches!(read(None, None, &[]), (Some(Linking::Off), problems) if problems.is_empty()));
        let (all, problems) = read(Some("https://acme.prod.limio.com"), Some("causeway"), &secret);
        assert!(matches!(all, Some(Linking::On(_))) && problems.is_empty());
        assert_eq!(read(None, Some("causeway"), &secret).1, [URL]);
        assert_eq!(read(None, None, &secret).1, [URL]);
        assert_eq!(read(Some("https://acme.prod.limio.com"), None, &[]).1, [CLIENT_ID, CLIENT_SECRET]);
        assert_eq!(read(Some("http://acme.prod.limio.com"), None, &secret).1, [URL, CLIENT_ID]);
    }
}
