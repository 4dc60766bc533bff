//! Questions for Accounts, many in one request, and what the org answers.

use std::collections::{HashMap, HashSet};

use domain::config::ExternalIds;
use domain::mapping::AccountTrace;
use domain::order::id::RecordId;
use serde_json::{Map, Value};

use super::Answers;

/// Bytes that the values of one query take in its address, encoded. The names of objects and fields have the rest of
/// [`salesforce::limits::ADDRESS`].
const VALUES: usize = 14_000;

/// Rows of one answer: one page.
const ROWS: usize = 2_000;

/// A question. Names are in lower case: the org compares them so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    /// Which Account has this external id?
    Named(String),
    /// On which Account is the latest order of this subscription, and whose is it?
    Subscription(String),
    /// Whose is this Account?
    Holder(RecordId),
}

/// Whose Account it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Its external id.
    Named(String),
    /// It has none: a duplicate rule or an agent chose it.
    Nobody,
    /// The settings name the order record's Account by a field whose relationship nobody knows.
    Untold,
}

/// An Account of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its id.
    pub(crate) account: RecordId,
    /// Whose it is.
    pub(crate) holder: Holder,
}

impl Question {
    /// For the Account with this external id.
    pub(crate) fn named(external_id: &str) -> Self {
        Self::Named(external_id.to_lowercase())
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::Named(_) => Kind::Named,
            Self::Subscription(_) => Kind::Subscription,
            Self::Holder(_) => Kind::Holder,
        }
    }

    fn value(&self) -> String {
        salesforce::quote(match self {
            Self::Named(text) | Self::Subscription(text) => text,
            Self::Holder(id) => id.as_str(),
        })
    }
}

/// What a trace leads to, the surest first. Earlier orders can be asked only where their record holds what is needed.
pub(crate) fn questions(trace: &AccountTrace, ids: &ExternalIds) -> Vec<Question> {
    let recorded = ![&ids.order_object, &ids.order_account, &ids.subscription].into_iter().any(String::is_empty);
    let subscriptions = trace.subscriptions.iter().filter(|_| recorded).map(|name| name.to_lowercase());
    let named = trace.external_id.as_deref().map(Question::named);
    let presumed = trace.presumed.clone().map(Question::Holder);
    named.into_iter().chain(presumed).chain(subscriptions.map(Question::Subscription)).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Named,
    Subscription,
    Holder,
}

/// A query about several questions of a kind.
#[derive(Debug)]
struct Query {
    kind: Kind,
    questions: Vec<Question>,
    bytes: usize,
}

/// As many questions as one API call takes.
#[derive(Debug, Default)]
pub(crate) struct Request {
    queries: Vec<Query>,
    asked: HashSet<Question>,
}

impl Request {
    /// Puts a question in; `false` where there is no room. The first one has room, whatever it is: a name has at most 255
    /// characters.
    pub(crate) fn add(&mut self, question: &Question) -> bool {
        let asked = self.asked.contains(question) || self.put(question);
        if asked {
            self.asked.insert(question.clone());
        }
        asked
    }

    fn put(&mut self, question: &Question) -> bool {
        let bytes: usize = question.value().bytes().map(encoded).sum::<usize>() + encoded(b',');
        let kind = question.kind();
        let room = |query: &&mut Query| query.kind == kind && query.bytes + bytes <= VALUES;
        if let Some(query) = self.queries.iter_mut().find(room) {
            query.questions.push(question.clone());
            query.bytes += bytes;
            return true;
        }
        let another = self.queries.len() < salesforce::limits::QUERIES;
        if another {
            self.queries.push(Query { kind, questions: vec![question.clone()], bytes });
        }
        another
    }

    /// The queries, in SOQL.
    pub(crate) fn soql(&self, ids: &ExternalIds) -> Vec<String> {
        self.queries.iter().map(|query| query.soql(ids)).collect()
    }

    /// What the rows of each query say; a question without a row is answered too.
    pub(crate) fn read(&self, ids: &ExternalIds, rows: &[Vec<Map<String, Value>>]) -> Answers {
        let mut answers = Answers::new();
        for (query, rows) in self.queries.iter().zip(rows) {
            let mut found = query.read(ids, rows);
            let asked = query.questions.iter();
            answers.extend(asked.map(|question| (question.clone(), found.remove(question))));
        }
        answers
    }
}

impl Query {
    fn soql(&self, ids: &ExternalIds) -> String {
        let values: Vec<String> = self.questions.iter().map(Question::value).collect();
        let values = values.join(",");
        let ExternalIds { account, order_object, order_account, subscription, .. } = ids;
        match self.kind {
            Kind::Named => format!("SELECT Id, {account} FROM Account WHERE {account} IN ({values}) LIMIT {ROWS}"),
            Kind::Holder => format!("SELECT Id, {account} FROM Account WHERE Id IN ({values})"),
            // Grouped: of a subscription with a hundred orders one row, not a hundred.
            Kind::Subscription => {
                let holder = relationship(order_account).map(|parent| format!("{parent}.{account}"));
                let (holder, named) = match &holder {
                    Some(holder) => (format!(", {holder}"), format!(", {holder} holder")),
                    None => (String::new(), String::new()),
                };
                format!(
                    "SELECT {subscription} name, {order_account} found{named}, MAX(CreatedDate) latest FROM {order_object} \
                     WHERE {subscription} IN ({values}) AND {order_account} != null \
                     GROUP BY {subscription}, {order_account}{holder} ORDER BY MAX(CreatedDate) DESC LIMIT {ROWS}"
                )
            }
        }
    }

    fn read(&self, ids: &ExternalIds, rows: &[Map<String, Value>]) -> HashMap<Question, Row> {
        let mut found = HashMap::new();
        for row in rows {
            let text = |field: &str| row.get(field).and_then(Value::as_str);
            let id = |field: &str| text(field).and_then(RecordId::parse);
            let holder = |field: &str| text(field).map_or(Holder::Nobody, |name| Holder::Named(name.to_owned()));
            let read = match self.kind {
                Kind::Named => id("Id").zip(text(&ids.account)).map(|(account, name)| {
                    (Question::named(name), Row { account, holder: Holder::Named(name.to_owned()) })
                }),
                Kind::Holder => id("Id")
                    .map(|account| (Question::Holder(account.clone()), Row { account, holder: holder(&ids.account) })),
                Kind::Subscription => id("found").zip(text("name")).map(|(account, name)| {
                    let told = relationship(&ids.order_account).is_some();
                    let holder = if told { holder("holder") } else { Holder::Untold };
                    (Question::Subscription(name.to_lowercase()), Row { account, holder })
                }),
            };
            // The latest comes first.
            if let Some((question, row)) = read {
                found.entry(question).or_insert(row);
            }
        }
        found
    }
}

/// The name of a reference field's relationship: `Account__c` is followed by `Account__r`, `AccountId` by `Account`.
fn relationship(field: &str) -> Option<String> {
    let custom = field.strip_suffix("__c").map(|name| format!("{name}__r"));
    custom.or_else(|| field.strip_suffix("Id").filter(|name| !name.is_empty()).map(str::to_owned))
}

/// How many bytes of an address a byte takes.
const fn encoded(byte: u8) -> usize {
    if byte.is_ascii_alphanumeric() { 1 } else { 3 }
}
