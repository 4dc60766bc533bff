//! The error atlas: every code that an order may meet, with what it means, what Causeway does about it and what a person
//! does. The table is `atlas.toml` beside this file; `atlas.md` shows it to readers.
//!
//! It decides: kinds and classes are taken from it, so that words and deeds cannot differ.

mod kinds;

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::failure::Reason;

pub use kinds::{ErrorKind, SignInKind, SignInSetting};

/// One error code of Salesforce's.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// `errorCode`, `statusCode`, or the code of another surface, as on the wire.
    pub code: String,
    /// What it asks of the caller, unless one of [`texts`](Self::texts) fits.
    pub kind: ErrorKind,
    /// What it is about, should it refuse a whole request; each code of [`ErrorKind::Configuration`] says it, and no other.
    #[serde(default)]
    pub lies_in: Option<LiesIn>,
    /// Where it comes from.
    #[serde(default)]
    pub surface: Surface,
    /// HTTP statuses it is known to come with; empty where it only comes in rows and nodes. They are for the reader:
    /// the code decides.
    #[serde(default)]
    pub http: Vec<u16>,
    /// Whether the request may have been executed all the same.
    #[serde(default)]
    pub ambiguous: bool,
    /// Messages of Salesforce's own that may be shown and logged: `{name}` stands for one API name, `{fields}` for some of
    /// the error's fields. Any other message may quote the record.
    #[serde(default)]
    pub shown: Vec<String>,
    /// What it means, in a sentence.
    pub meaning: String,
    /// What an operator does about it.
    pub action: String,
    /// What it usually is in practice.
    pub often: String,
    /// Where it is documented: a key of [`Atlas::source`].
    pub documented: String,
    /// Messages that change the meaning; the first that fits decides.
    #[serde(default)]
    pub texts: Vec<Text>,
}

/// A part of a message that changes what a code means. Such parts are never localised: they are names of Salesforce's
/// own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// What the message contains.
    pub contains: String,
    /// What the error asks of the caller then.
    pub kind: ErrorKind,
    /// What it means then.
    pub meaning: String,
    /// What an operator does about it then.
    pub action: String,
}

/// What a refusal is about that somebody has to set right in the org.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiesIn {
    /// What the request writes: the fault may lie in one of its records.
    Record,
    /// The resource that was asked, such as composite graphs: every order meets it, another question may not.
    Resource,
    /// The org or the user as a whole: every request meets it.
    Org,
}

/// Where a code comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// The REST API, which the writer speaks.
    #[default]
    Rest,
    /// The SOAP API; no program of the fleet calls it.
    Soap,
    /// Bulk API; no program of the fleet calls it.
    Bulk,
    /// Pub/Sub API; no program of the fleet calls it.
    Pubsub,
    /// A page that a person sees while connecting an org.
    SignInPage,
}

impl Surface {
    /// In words; empty for the REST API.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Rest => "",
            Self::Soap => "the SOAP API",
            Self::Bulk => "Bulk API",
            Self::Pubsub => "Pub/Sub API",
            Self::SignInPage => "the sign-in page",
        }
    }
}

impl Code {
    /// What it asks of the caller when it comes with this message.
    pub fn kind_of(&self, message: &str) -> ErrorKind {
        self.text(message).map_or(self.kind, |text| text.kind)
    }

    /// What it means when it comes with this message.
    pub fn meaning_of(&self, message: &str) -> &str {
        self.text(message).map_or(&self.meaning, |text| &text.meaning)
    }

    /// What an operator does about it when it comes with this message.
    pub fn action_of(&self, message: &str) -> &str {
        self.text(message).map_or(&self.action, |text| &text.action)
    }

    fn text(&self, message: &str) -> Option<&Text> {
        self.texts.iter().find(|text| message.contains(&text.contains))
    }
}

/// An answer without a code: of the edge, of a proxy, of a connection, or of this program about itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The name it has here.
    pub name: String,
    /// What it asks of the caller.
    pub kind: ErrorKind,
    /// HTTP statuses, first and last; none where it has no status.
    #[serde(default)]
    pub status: Option<(u16, u16)>,
    /// Whether the request may have been executed.
    #[serde(default)]
    pub ambiguous: bool,
    /// What it means.
    pub meaning: String,
    /// What it usually is in practice.
    pub often: String,
    /// What an operator does about it.
    pub action: String,
    /// Where it is documented: a key of [`Atlas::source`].
    pub documented: String,
}

/// One error of the token endpoint.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// OAuth's `error`.
    pub error: String,
    /// What `error_description` begins with; empty for any other description of this error.
    #[serde(default)]
    pub description: String,
    /// What it asks of people.
    pub kind: SignInKind,
    /// The setting it is about; [`SignInSetting::App`] where the table names none.
    #[serde(default)]
    pub setting: SignInSetting,
    /// Whether it may go away while one waits although its kind says otherwise: by itself, or because the org's
    /// administrator acts.
    #[serde(default)]
    pub heals: bool,
    /// What it means.
    pub meaning: String,
    /// What it usually is in practice.
    pub often: String,
    /// What a person does about it.
    pub action: String,
    /// Where it is documented: a key of [`Atlas::source`].
    pub documented: String,
}

/// One reason of our own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReasonEntry {
    /// The reason.
    pub reason: Reason,
    /// `permanent`, `transient`, `ambiguous`, `outage`, `rejection`.
    pub class: String,
    /// What it means.
    pub meaning: String,
    /// What it usually is in practice.
    pub often: String,
    /// What Causeway does.
    pub does: String,
    /// What an operator does: the remedy.
    pub action: String,
    /// The words in which Limio tells its users of it, to the letter; whoever read them there finds the entry by them.
    #[serde(default)]
    pub in_limio: Option<String>,
}

/// What a person does about sign-in errors that the table does not list.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningIn {
    /// The server's side failed, whatever its body says.
    pub unavailable_action: String,
    /// Nobody has listed the error.
    pub unlisted_action: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KindEntry {
    kind: ErrorKind,
    does: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    sources: HashMap<String, String>,
    kind: Vec<KindEntry>,
    answer: Vec<Answer>,
    code: Vec<Code>,
    signing_in: SigningIn,
    sign_in: Vec<SignIn>,
    reason: Vec<ReasonEntry>,
}

/// The whole table.
pub struct Atlas {
    document: Document,
    by_code: HashMap<String, usize>,
    by_reason: HashMap<Reason, usize>,
}

static ATLAS: LazyLock<Atlas> = LazyLock::new(|| {
    let document: Document = toml::from_str(include_str!("atlas.toml")).expect("the embedded atlas is read by tests");
    let by_code = document.code.iter().enumerate().map(|(index, code)| (code.code.clone(), index)).collect();
    let by_reason = document.reason.iter().enumerate().map(|(index, entry)| (entry.reason, index)).collect();
    Atlas { document, by_code, by_reason }
});

impl Atlas {
    /// The entry of this code, as it is on the wire.
    pub fn code(code: &str) -> Option<&'static Code> {
        let atlas: &'static Self = &ATLAS;
        atlas.by_code.get(code).and_then(|index| atlas.document.code.get(*index))
    }

    /// Every code of Salesforce's, in the order of the table.
    pub fn codes() -> &'static [Code] {
        &ATLAS.document.code
    }

    /// What an error status means whose body is no error of Salesforce's.
    pub fn status(status: u16) -> Option<&'static Answer> {
        let fits = |answer: &&Answer| answer.status.is_some_and(|(from, to)| (from..=to).contains(&status));
        Self::answers().iter().find(fits)
    }

    /// The answer without a code that has this name.
    pub fn answer(name: &str) -> Option<&'static Answer> {
        Self::answers().iter().find(|answer| answer.name == name)
    }

    /// Every answer without a code.
    pub fn answers() -> &'static [Answer] {
        &ATLAS.document.answer
    }

    /// Every error of the token endpoint.
    pub fn sign_ins() -> &'static [SignIn] {
        &ATLAS.document.sign_in
    }

    /// What holds of sign-in errors that are not listed.
    pub fn signing_in() -> &'static SigningIn {
        &ATLAS.document.signing_in
    }

    /// Every reason of our own.
    pub fn reasons() -> &'static [ReasonEntry] {
        &ATLAS.document.reason
    }

    /// The entry of a reason; every reason has one, as the tests of the atlas say.
    pub fn reason(reason: Reason) -> Option<&'static ReasonEntry> {
        let atlas: &'static Self = &ATLAS;
        atlas.by_reason.get(&reason).and_then(|index| atlas.document.reason.get(*index))
    }

    /// The reason of which Limio tells its users in these words, whatever stands around them. Case, blanks and line breaks do
    /// not matter.
    pub fn reason_in_limio(words: &str) -> Option<&'static ReasonEntry> {
        let words = plain(words);
        Self::reasons().iter().find(|entry| entry.in_limio.as_deref().is_some_and(|told| words.contains(&plain(told))))
    }

    /// What Causeway does about a kind of error; every kind has such a sentence.
    pub fn does(kind: ErrorKind) -> &'static str {
        let atlas: &'static Self = &ATLAS;
        atlas.document.kind.iter().find(|entry| entry.kind == kind).map_or("", |entry| &entry.does)
    }

    /// What Causeway does where the request may have been executed.
    pub fn does_when_ambiguous() -> &'static str {
        Self::reason(Reason::AnswerLost).map_or("", |entry| &entry.does)
    }

    /// The name of the public page behind a key of `documented`.
    pub fn source(key: &str) -> Option<&'static str> {
        let atlas: &'static Self = &ATLAS;
        atlas.document.sources.get(key).map(String::as_str)
    }
}

/// In small letters, with one blank between two words.
fn plain(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}
