//! What a code means, what Causeway does about it, and what an operator should do: the error atlas, by name.

use domain::atlas::{Answer, Atlas, Code, SignIn};
use domain::failure::Reason;
use serde::Serialize;

use crate::forecast::Outlook;

/// A code, explained: the JSON shape of `explain CODE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The code as it is written.
    pub code: String,
    /// `reason` for one of Causeway's own, `salesforce` for one of Salesforce's, `sign_in` for one of the token endpoint's,
    /// `answer` for an answer without a code.
    pub origin: &'static str,
    /// What kind of failure it is.
    pub class: &'static str,
    /// What it means.
    pub meaning: String,
    /// What it usually is in practice.
    pub often: String,
    /// What Causeway does when it meets it.
    pub we_do: &'static str,
    /// What an operator should do.
    pub you_do: String,
    /// What to expect of a replay: `may_succeed`, `needs_correction`, `fails_again`, `dangerous`; `null` for Salesforce's codes.
    pub replay: Option<Outlook>,
    /// Salesforce's HTTP statuses with this code.
    pub http: Vec<u16>,
    /// The public page where it is documented; `null` for Causeway's own.
    pub documented: Option<&'static str>,
    /// Salesforce's messages that change the meaning.
    pub variants: Vec<Variant>,
}

/// A message that changes what a code means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Variant {
    /// What the message contains.
    pub message_contains: String,
    /// What kind of failure it is then.
    pub class: &'static str,
    /// What it means then.
    pub meaning: String,
    /// What Causeway does then.
    pub we_do: &'static str,
    /// What an operator should do then.
    pub you_do: String,
}

/// No code has this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCode {
    /// The name.
    pub name: String,
    /// Codes with a similar name, the nearest first.
    pub near: Vec<String>,
}

impl std::fmt::Display for UnknownCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} is neither a reason nor a Salesforce code that the error atlas knows",
            crate::shown::printable(&self.name)
        )?;
        if self.near.is_empty() { Ok(()) } else { write!(f, "; did you mean {}?", self.near.join(" or ")) }
    }
}

impl std::error::Error for UnknownCode {}

/// Explains a reason, a code of Salesforce's, an error of its token endpoint, or a bare HTTP status. Case does not matter,
/// blanks around it neither, and a blank or `-` stands for `_`. The words in which Limio tells its users of a reason do as well.
///
/// # Errors
/// There is no such code.
pub fn explain(name: &str) -> Result<Explanation, UnknownCode> {
    let name = name.trim();
    let folded = name.split(|c: char| c.is_whitespace() || c == '-').filter(|part| !part.is_empty());
    let folded = folded.collect::<Vec<_>>().join("_").to_ascii_lowercase();
    let status = folded.strip_prefix("http_").unwrap_or(&folded).parse::<u16>().ok().filter(|status| *status >= 300);
    all()
        .into_iter()
        .find(|known| known.code.eq_ignore_ascii_case(&folded))
        .or_else(|| status.and_then(Atlas::status).map(of_answer))
        .or_else(|| Atlas::reason_in_limio(name).map(|entry| of_reason(entry.reason)))
        .ok_or_else(|| UnknownCode { name: name.to_owned(), near: near(&folded) })
}

/// Every code there is: reasons first.
pub fn all() -> Vec<Explanation> {
    let reasons = Reason::ALL.into_iter().map(of_reason);
    let codes = Atlas::codes().iter().map(of_code);
    let answers = Atlas::answers().iter().map(of_answer);
    // An error of the token endpoint has one entry for each description that changes its meaning.
    let plain = Atlas::sign_ins().iter().filter(|entry| entry.description.is_empty());
    reasons.chain(codes).chain(answers).chain(plain.map(of_sign_in)).collect()
}

fn near(name: &str) -> Vec<String> {
    let mut near: Vec<(f64, String)> = all()
        .into_iter()
        .map(|known| (strsim::jaro_winkler(name, &known.code.to_ascii_lowercase()), known.code))
        .filter(|(likeness, _)| *likeness > 0.85)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().take(3).map(|(_, code)| code).collect()
}

/// Explains a reason.
pub fn of_reason(reason: Reason) -> Explanation {
    let entry = Atlas::reason(reason);
    let text = |text: fn(&'static domain::atlas::ReasonEntry) -> &'static String| entry.map_or("", |entry| text(entry));
    Explanation {
        code: reason.as_str().to_owned(),
        origin: "reason",
        class: text(|entry| &entry.class),
        meaning: text(|entry| &entry.meaning).to_owned(),
        often: text(|entry| &entry.often).to_owned(),
        we_do: text(|entry| &entry.does),
        you_do: reason.remedy().to_owned(),
        replay: Some(Outlook::of_reason(reason)),
        http: Vec::new(),
        documented: None,
        variants: Vec::new(),
    }
}

fn of_code(code: &'static Code) -> Explanation {
    let variants = code.texts.iter().map(|text| Variant {
        message_contains: text.contains.clone(),
        class: text.kind.as_str(),
        meaning: text.meaning.clone(),
        we_do: Atlas::does(text.kind),
        you_do: text.action.clone(),
    });
    let we_do = match (code.surface.words(), code.ambiguous) {
        ("", true) => Atlas::does_when_ambiguous(),
        ("", false) => Atlas::does(code.kind),
        (_, _) => ELSEWHERE,
    };
    Explanation {
        code: code.code.clone(),
        origin: "salesforce",
        class: code.kind.as_str(),
        meaning: code.meaning.clone(),
        often: code.often.clone(),
        we_do,
        you_do: code.action.clone(),
        replay: None,
        http: code.http.clone(),
        documented: Atlas::source(&code.documented),
        variants: variants.collect(),
    }
}

fn of_answer(answer: &'static Answer) -> Explanation {
    Explanation {
        code: answer.name.clone(),
        origin: "answer",
        class: answer.kind.as_str(),
        meaning: answer.meaning.clone(),
        often: answer.often.clone(),
        we_do: if answer.ambiguous { Atlas::does_when_ambiguous() } else { Atlas::does(answer.kind) },
        you_do: answer.action.clone(),
        replay: None,
        http: answer.status.filter(|(from, to)| from == to).map(|(from, _)| from).into_iter().collect(),
        documented: Atlas::source(&answer.documented),
        variants: Vec::new(),
    }
}

fn of_sign_in(entry: &'static SignIn) -> Explanation {
    let described =
        Atlas::sign_ins().iter().filter(|other| other.error == entry.error && !other.description.is_empty());
    let variants = described.map(|other| Variant {
        message_contains: other.description.clone(),
        class: other.kind.as_str(),
        meaning: other.meaning.clone(),
        we_do: SIGNING_IN,
        you_do: other.action.clone(),
    });
    Explanation {
        code: entry.error.clone(),
        origin: "sign_in",
        class: entry.kind.as_str(),
        meaning: entry.meaning.clone(),
        often: entry.often.clone(),
        we_do: SIGNING_IN,
        you_do: entry.action.clone(),
        replay: None,
        http: Vec::new(),
        documented: Atlas::source(&entry.documented),
        variants: variants.collect(),
    }
}

const ELSEWHERE: &str = "Nothing: no program of the fleet calls what answers with it.";
const SIGNING_IN: &str = "At its start a writer ends at once when the settings are wrong, and else tries again for as long as --patience says. Later, intake pauses and the sign-in is tried again; no attempt is counted.";
