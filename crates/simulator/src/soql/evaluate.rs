//! A statement against the rows a reader may see.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Filter, Literal, Operator, Path, Query, pointed};
use crate::api_error::ApiError;
use crate::call::Call;
use crate::clock::parse_datetime;
use crate::ids::RecordId;
use crate::org::{Org, State};
use crate::records::{Row, TransactionId, push_folded};
use crate::schema::{FieldIx, FieldType, ObjectIx};

const DAY_MS: i64 = 24 * 3_600_000;

/// All records of a statement, before paging.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) total: usize,
    /// Empty for `COUNT()`.
    pub(crate) records: Vec<Value>,
}

/// A path after lookup: references to follow, then the field.
#[derive(Debug, Clone)]
struct Bound {
    hops: Vec<(FieldIx, ObjectIx)>,
    object: ObjectIx,
    field: FieldIx,
}

enum Test {
    All(Vec<Test>),
    Any(Vec<Test>),
    Not(Box<Test>),
    Compare { bound: Bound, kind: FieldType, operator: Operator, values: Vec<Literal> },
}

struct Reader<'a> {
    org: &'a Org,
    state: &'a State,
    transaction: Option<TransactionId>,
    call: &'a Call,
    statement: &'a str,
    now_ms: i64,
}

/// Runs `query`, whose text is `statement`. With `deleted` the recycle bin is looked at too.
pub(crate) fn run(
    org: &Org,
    transaction: Option<TransactionId>,
    statement: &str,
    query: &Query,
    deleted: bool,
    call: &Call,
) -> Result<Answer, ApiError> {
    let unsupported = |name: &str| {
        let message = format!(
            "sObject type '{name}' is not supported. If you are attempting to use a custom object, be sure to append the \
             '__c' after the entity name. Please reference your WSDL or the describe call for the appropriate names."
        );
        pointed("INVALID_TYPE", statement, query.object.at, &message)
    };
    let name = query.object.names.join(".");
    let object = org.schema.find(&name).filter(|ix| !org.schema.object(*ix).event).ok_or_else(|| unsupported(&name))?;
    let state = org.state();
    let reader = Reader { org, state: &state, transaction, call, statement, now_ms: org.clock.now_ms() };
    let select = query.select.iter().map(|path| reader.bind(object, path)).collect::<Result<Vec<_>, _>>()?;
    let test = query.filter.as_ref().map(|filter| reader.test(object, filter)).transpose()?;
    let order = query
        .order
        .iter()
        .map(|order| Ok((reader.bind(object, &order.path)?, order.descending, order.nulls_last)))
        .collect::<Result<Vec<_>, ApiError>>()?;
    let fits = |row: &Arc<Row>| (deleted || !row.deleted) && test.as_ref().is_none_or(|test| reader.passes(test, row));
    let table = state.table(object);
    let candidates = test.as_ref().filter(|_| !deleted).and_then(|test| reader.candidates(object, test));
    let mut rows: Vec<(RecordId, &Arc<Row>)> = match candidates {
        Some(ids) => ids
            .into_iter()
            .filter_map(|id| Some((id, table.get(id, transaction)?)))
            .filter(|(_, row)| fits(row))
            .collect(),
        None => table.rows(transaction).filter(|(_, row)| fits(row)).collect(),
    };
    rows.sort_by(|(_, left), (_, right)| {
        order.iter().fold(Ordering::Equal, |so_far, (bound, descending, nulls_last)| {
            so_far.then_with(|| match (reader.value(bound, left), reader.value(bound, right)) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) if *nulls_last => Ordering::Greater,
                (None, Some(_)) => Ordering::Less,
                (Some(_), None) if *nulls_last => Ordering::Less,
                (Some(_), None) => Ordering::Greater,
                (Some(left), Some(right)) if *descending => compare(right, left),
                (Some(left), Some(right)) => compare(left, right),
            })
        })
    });
    let rows = rows.into_iter().skip(query.offset).take(query.limit.unwrap_or(usize::MAX));
    if query.count {
        return Ok(Answer { total: rows.count(), records: Vec::new() });
    }
    let records: Vec<Value> = rows.map(|(id, row)| reader.print(object, id, row, &select)).collect();
    Ok(Answer { total: records.len(), records })
}

/// Order of two values of one field; text without case.
fn compare(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::String(left), Value::String(right)) => folded(left).cmp(&folded(right)).then_with(|| left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (left, right) => {
            let number = |value: &Value| value.as_f64().unwrap_or(f64::NEG_INFINITY);
            number(left).total_cmp(&number(right))
        }
    }
}

fn folded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    push_folded(&mut out, text, true);
    out
}

impl Reader<'_> {
    fn bind(&self, object: ObjectIx, path: &Path) -> Result<Bound, ApiError> {
        let schema = &self.org.schema;
        let settings = &self.call.settings;
        let mut hops = Vec::new();
        let mut current = object;
        let mut names = path.names.as_slice();
        // `Account.Name` from Account itself: the object's own name may stand in front.
        if let [first, rest @ ..] = names
            && !rest.is_empty()
            && first.eq_ignore_ascii_case(&schema.object(object).name)
            && schema.object(object).relationship(first).is_none()
        {
            names = rest;
        }
        while let [name, rest @ ..] = names {
            let definition = schema.object(current);
            if rest.is_empty() {
                let field = definition.find_visible(name, settings).ok_or_else(|| {
                    let message = format!(
                        "No such column '{name}' on entity '{}'. If you are attempting to use a custom field, be sure to \
                         append the '__c' after the custom field name. Please reference your WSDL or the describe call for \
                         the appropriate names.",
                        definition.name
                    );
                    pointed("INVALID_FIELD", self.statement, path.at, &message)
                })?;
                return Ok(Bound { hops, object: current, field });
            }
            let hop = definition.relationship(name).filter(|ix| definition.is_visible(*ix, settings));
            let target = hop.and_then(|ix| schema.find(definition.field(ix).to.first()?));
            let (Some(hop), Some(target)) = (hop, target) else {
                let message = format!(
                    "Didn't understand relationship '{name}' in field path. If you are attempting to use a custom \
                     relationship, be sure to append the '__r' after the custom relationship name. Please reference your \
                     WSDL or the describe call for the appropriate names."
                );
                return Err(pointed("INVALID_FIELD", self.statement, path.at, &message));
            };
            hops.push((hop, target));
            current = target;
            names = rest;
        }
        Err(pointed("INVALID_FIELD", self.statement, path.at, "No such column"))
    }

    fn test(&self, object: ObjectIx, filter: &Filter) -> Result<Test, ApiError> {
        let several = |filters: &[Filter]| filters.iter().map(|f| self.test(object, f)).collect::<Result<Vec<_>, _>>();
        Ok(match filter {
            Filter::All(filters) => Test::All(several(filters)?),
            Filter::Any(filters) => Test::Any(several(filters)?),
            Filter::Not(filter) => Test::Not(Box::new(self.test(object, filter)?)),
            Filter::Compare { path, operator, values } => {
                let bound = self.bind(object, path)?;
                let field = self.org.schema.object(bound.object).field(bound.field);
                if field.kind == FieldType::Textarea && field.length > 255 {
                    let message = format!("field '{}' can not be filtered in a query call", field.name);
                    return Err(pointed("INVALID_FIELD", self.statement, path.at, &message));
                }
                for value in values {
                    if !suits(field.kind, value) {
                        let message = format!(
                            "value of filter criterion for field '{}' must be of type {}",
                            field.name,
                            field.kind.name()
                        );
                        return Err(pointed("INVALID_FIELD", self.statement, path.at, &message));
                    }
                }
                Test::Compare { bound, kind: field.kind, operator: *operator, values: values.clone() }
            }
        })
    }

    /// Rows that can pass at all, when an index says so.
    fn candidates(&self, object: ObjectIx, test: &Test) -> Option<BTreeSet<RecordId>> {
        match test {
            Test::All(tests) => tests.iter().find_map(|test| self.candidates(object, test)),
            Test::Compare { bound, kind, operator: Operator::Equal | Operator::In, values }
                if bound.hops.is_empty() =>
            {
                let texts = values.iter().map(|value| match value {
                    Literal::Text(wanted) => Some(wanted),
                    Literal::Number(_)
                    | Literal::Flag(_)
                    | Literal::Null
                    | Literal::Date(_)
                    | Literal::Instant(_)
                    | Literal::Day(_)
                    | Literal::LastDays(_) => None,
                });
                let texts = texts.collect::<Option<Vec<_>>>()?;
                if *kind == FieldType::Id {
                    return Some(texts.into_iter().filter_map(|text| RecordId::parse(text)).collect());
                }
                let index = self.state.unique_index(object, bound.field)?;
                let table = self.state.table(object);
                Some(texts.into_iter().flat_map(|text| table.lookup(index, &folded(text), self.transaction)).collect())
            }
            Test::Compare { .. } | Test::Any(_) | Test::Not(_) => None,
        }
    }

    fn value<'r>(&'r self, bound: &Bound, row: &'r Arc<Row>) -> Option<&'r Value> {
        let mut row = row;
        for (hop, target) in &bound.hops {
            row = self.state.table(*target).get(RecordId::parse(row.text(*hop)?)?, self.transaction)?;
        }
        row.get(bound.field)
    }

    fn passes(&self, test: &Test, row: &Arc<Row>) -> bool {
        match test {
            Test::All(tests) => tests.iter().all(|test| self.passes(test, row)),
            Test::Any(tests) => tests.iter().any(|test| self.passes(test, row)),
            Test::Not(test) => !self.passes(test, row),
            Test::Compare { bound, kind, operator, values } => {
                let value = self.value(bound, row);
                let equal = |literal: &Literal| self.order(*kind, value, literal) == Some(Ordering::Equal);
                let first = |wanted: &[Ordering]| {
                    values
                        .first()
                        .and_then(|literal| self.order(*kind, value, literal))
                        .is_some_and(|o| wanted.contains(&o))
                };
                match operator {
                    Operator::Equal | Operator::In => values.iter().any(equal),
                    Operator::NotEqual | Operator::NotIn => !values.iter().any(equal),
                    Operator::Less => first(&[Ordering::Less]),
                    Operator::LessOrEqual => first(&[Ordering::Less, Ordering::Equal]),
                    Operator::Greater => first(&[Ordering::Greater]),
                    Operator::GreaterOrEqual => first(&[Ordering::Greater, Ordering::Equal]),
                    Operator::Like => match (value.and_then(Value::as_str), values.first()) {
                        (Some(found), Some(Literal::Text(pattern))) => like(&folded(pattern), &folded(found)),
                        _ => false,
                    },
                }
            }
        }
    }

    /// How a stored value stands to a literal; `None` when nothing can be said, as with null.
    fn order(&self, kind: FieldType, value: Option<&Value>, literal: &Literal) -> Option<Ordering> {
        let Some(value) = value else {
            return matches!(literal, Literal::Null).then_some(Ordering::Equal);
        };
        let day = |ms: i64| ms.div_euclid(DAY_MS);
        let stored = || {
            let text = value.as_str()?;
            if kind == FieldType::Datetime {
                parse_datetime(text)
            } else {
                parse_datetime(&format!("{text}T00:00:00Z"))
            }
        };
        match literal {
            Literal::Null => None,
            Literal::Flag(flag) => value.as_bool().map(|value| value.cmp(flag)),
            Literal::Number(number) => value.as_f64().and_then(|value| value.partial_cmp(number)),
            Literal::Text(text) => {
                let value = value.as_str()?;
                if matches!(kind, FieldType::Id | FieldType::Reference) {
                    return match RecordId::parse(text) {
                        Some(id) => RecordId::parse(value).map(|value| value.cmp(&id)),
                        None => Some(value.cmp(text)),
                    };
                }
                Some(folded(value).cmp(&folded(text)))
            }
            Literal::Date(date) => value.as_str().map(|value| value.cmp(date)),
            Literal::Instant(ms) => stored().map(|value| value.cmp(ms)),
            Literal::Day(days) => stored().map(|value| day(value).cmp(&(day(self.now_ms) + days))),
            Literal::LastDays(days) => stored().map(|value| {
                let (value, today) = (day(value), day(self.now_ms));
                if value < today - days {
                    Ordering::Less
                } else if value > today {
                    Ordering::Greater
                } else {
                    Ordering::Equal
                }
            }),
        }
    }

    fn print(&self, object: ObjectIx, id: RecordId, row: &Arc<Row>, select: &[Bound]) -> Value {
        let mut record = Map::new();
        record.insert("attributes".into(), self.attributes(object, id));
        for bound in select {
            self.print_path(&mut record, object, row, bound, 0);
        }
        Value::Object(record)
    }

    fn attributes(&self, object: ObjectIx, id: RecordId) -> Value {
        let name = &self.org.schema.object(object).name;
        json!({ "type": name, "url": self.call.record_url(name, id) })
    }

    fn print_path(
        &self,
        record: &mut Map<String, Value>,
        object: ObjectIx,
        row: &Arc<Row>,
        bound: &Bound,
        depth: usize,
    ) {
        let definition = self.org.schema.object(object);
        let Some((hop, target)) = bound.hops.get(depth) else {
            let value = row.get(bound.field).cloned().unwrap_or(Value::Null);
            record.insert(definition.field(bound.field).name.clone(), value);
            return;
        };
        let name = definition.field(*hop).relationship.clone().unwrap_or_default();
        let parent = row
            .text(*hop)
            .and_then(RecordId::parse)
            .and_then(|id| Some((id, self.state.table(*target).get(id, self.transaction)?)));
        let Some((id, parent)) = parent else {
            record.insert(name, Value::Null);
            return;
        };
        let entry = record.entry(name).or_insert_with(|| json!({ "attributes": self.attributes(*target, id) }));
        if let Value::Object(nested) = entry {
            self.print_path(nested, *target, parent, bound, depth + 1);
        }
    }
}

/// Whether a literal can be compared with a field of that type.
fn suits(kind: FieldType, literal: &Literal) -> bool {
    match (kind, literal) {
        (_, Literal::Null) => true,
        (FieldType::Boolean, literal) => matches!(literal, Literal::Flag(_)),
        (FieldType::Double | FieldType::Currency | FieldType::Int, literal) => matches!(literal, Literal::Number(_)),
        (FieldType::Date, literal) => matches!(literal, Literal::Date(_) | Literal::Day(_) | Literal::LastDays(_)),
        (FieldType::Datetime, literal) => {
            matches!(literal, Literal::Instant(_) | Literal::Day(_) | Literal::LastDays(_))
        }
        (
            FieldType::Id
            | FieldType::String
            | FieldType::Textarea
            | FieldType::Email
            | FieldType::Phone
            | FieldType::Url
            | FieldType::Picklist
            | FieldType::Reference,
            literal,
        ) => matches!(literal, Literal::Text(_)),
    }
}

/// `%` any characters, `_` one; a backslash takes the next one as it is. Runs in pattern times text, never more.
fn like(pattern: &str, text: &str) -> bool {
    enum Part {
        Any,
        One,
        This(char),
    }
    let mut parts = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '%' => Part::Any,
            '_' => Part::One,
            '\\' => Part::This(chars.next().unwrap_or('\\')),
            other => Part::This(other),
        });
    }
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match parts.get(p) {
            Some(Part::Any) => {
                retry = Some((p, t));
                p += 1;
                continue;
            }
            Some(Part::One) => {
                p += 1;
                t += 1;
                continue;
            }
            Some(Part::This(c)) if *c == text[t] => {
                p += 1;
                t += 1;
                continue;
            }
            Some(Part::This(_)) | None => {}
        }
        let Some((any, from)) = retry else { return false };
        retry = Some((any, from + 1));
        p = any + 1;
        t = from + 1;
    }
    parts[p..].iter().all(|part| matches!(part, Part::Any))
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, expected) in [
            ("a%", "abc", true),
            ("%c", "abc", true),
            ("a_c", "abc", true),
            ("a_c", "abbc", false),
            ("%b%b%", "abab", true),
            ("a\\%", "a%", true),
            ("a\\%", "ab", false),
            ("", "", true),
            ("%", "", true),
            ("a", "", false),
        ] {
            assert_eq!(like(pattern, text), expected, "{pattern} {text}");
        }
    }
}
