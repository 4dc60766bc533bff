//! Questions for Accounts, many in one request, and what the org answers.

use std::collections::{HashMap, HashSet};

use domain::config::ExternalIds;
use domain::mapping::AccountTrace;
use domain::order::id::RecordId;
use salesforce::Error;

use super::{Answer, Answers};
use crate::rows;

/// Bytes that the values of one query take in its address, encoded. The names of objects and fields have the rest of
/// [`salesforce::limits::ADDRESS`].
const VALUES: usize = 14_000;

/// Rows of one answer: one page.
const ROWS: usize = 2_000;

/// A question. Names are as the order spells them: most fields are compared without regard to case, and some are not.
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
        Self::Named(external_id.to_owned())
    }

    /// The same without regard to case.
    pub(super) fn folded(&self) -> Self {
        match self {
            Self::Named(name) => Self::Named(name.to_lowercase()),
            Self::Subscription(name) => Self::Subscription(name.to_lowercase()),
            Self::Holder(id) => Self::Holder(id.clone()),
        }
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
    let subscriptions = trace.subscriptions.iter().filter(|_| recorded).cloned();
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

    /// How many questions it holds.
    pub(crate) fn len(&self) -> usize {
        self.asked.len()
    }

    /// The queries, in SOQL.
    pub(crate) fn soql(&self, ids: &ExternalIds) -> Vec<String> {
        self.queries.iter().map(|query| query.soql(ids)).collect()
    }

    /// What the rows of each query say, `None` for one that was refused. A question without a row is answered too, unless
    /// its query found more than a page holds, or rows that fit no question: then it is left out, and should be asked with
    /// fewer others.
    ///
    /// # Errors
    /// Where a row lacks a field that was asked for.
    pub(crate) fn read(&self, ids: &ExternalIds, rows: &[Option<Vec<rows::Row>>]) -> Result<Answers, Error> {
        let mut answers = Answers::new();
        for (query, rows) in self.queries.iter().zip(rows) {
            if let Some(rows) = rows {
                answers.extend(query.read(ids, rows)?);
            }
        }
        Ok(answers)
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

    fn read(&self, ids: &ExternalIds, rows: &[rows::Row]) -> Result<Vec<(Question, Answer)>, Error> {
        // The latest comes first. A name in the order's own spelling goes before another: where the field tells cases
        // apart, both may be there.
        let (mut exactly, mut folded) = (HashMap::new(), HashMap::new());
        for row in rows {
            if let Some((question, row)) = self.read_row(ids, row)? {
                folded.entry(question.folded()).or_insert_with(|| row.clone());
                exactly.entry(question).or_insert(row);
            }
        }
        let first = rows.first().map(|row| self.read_row(ids, row)).transpose()?.flatten().map(|(_, row)| row);
        let asked: HashSet<Question> = self.questions.iter().map(Question::folded).collect();
        let all = rows.len() < ROWS && folded.keys().all(|question| asked.contains(question));
        let answers = self.questions.iter().filter_map(|question| {
            let own = exactly.get(question).filter(|_| self.kind == Kind::Named);
            let found = own.or_else(|| folded.get(&question.folded())).cloned();
            // The org compares by rules of its own: what it answers to one question alone is the answer.
            let found = found.or_else(|| first.clone().filter(|_| self.questions.len() == 1));
            (found.is_some() || all).then(|| (question.clone(), found))
        });
        Ok(answers.collect())
    }

    /// Which question a row answers, and what it says.
    fn read_row(&self, ids: &ExternalIds, row: &rows::Row) -> Result<Option<(Question, Row)>, Error> {
        let id = |field: &str| Ok::<_, Error>(rows::asked(row, field)?.and_then(RecordId::parse));
        let holder = |field: &str| {
            let name = rows::asked(row, field)?;
            Ok::<_, Error>(name.map_or(Holder::Nobody, |name| Holder::Named(name.to_owned())))
        };
        Ok(match self.kind {
            Kind::Named => id("Id")?.zip(rows::asked(row, &ids.account)?).map(|(account, name)| {
                (Question::named(name), Row { account, holder: Holder::Named(name.to_owned()) })
            }),
            Kind::Holder => {
                let holder = holder(&ids.account)?;
                id("Id")?.map(|account| (Question::Holder(account.clone()), Row { account, holder }))
            }
            Kind::Subscription => {
                let told = relationship(&ids.order_account).is_some();
                let holder = if told { holder("holder")? } else { Holder::Untold };
                let found = id("found")?.zip(rows::asked(row, "name")?);
                found.map(|(account, name)| (Question::Subscription(name.to_owned()), Row { account, holder }))
            }
        })
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
