//! Statement text to [`Query`], by the grammar in `soql.pest`.

use pest::Parser;
use pest::error::InputLocation;
use pest::iterators::{Pair, Pairs};

use super::message::{malformed, unexpected_at};
use super::{
    Aggregate, DEEPEST, FieldSet, Filter, Function, LONGEST, LONGEST_TEXT, Literal, Operator, Order, Path, Place,
    Query, Selected, Subject, dates,
};
use crate::api_error::ApiError;
use crate::clock::parse_datetime;

#[derive(pest_derive::Parser)]
#[grammar = "soql/soql.pest"]
struct Grammar;

type Result<T> = std::result::Result<T, ApiError>;

/// Reads one statement.
pub(crate) fn parse(statement: &str) -> Result<Query> {
    if statement.chars().nth(LONGEST).is_some() {
        return Err(malformed("SOQL statements cannot be longer than 100,000 characters."));
    }
    if depth(statement) > DEEPEST {
        return Err(malformed(format!("The statement nests more than {DEEPEST} parentheses.")));
    }
    let mut pairs = Grammar::parse(Rule::statement, statement).map_err(|error| {
        let (InputLocation::Pos(at) | InputLocation::Span((at, _))) = error.location;
        unexpected_at(statement, at)
    })?;
    let reader = Reader { statement };
    let query = pairs.next().and_then(|statement| statement.into_inner().next());
    reader.query(query.ok_or_else(|| unexpected_at(statement, 0))?)
}

/// Deepest level of parentheses outside quotes.
fn depth(statement: &str) -> usize {
    let (mut level, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in statement.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'\'' => quoted = !quoted,
            b'(' if !quoted => {
                level += 1;
                deepest = deepest.max(level);
            }
            b')' if !quoted => level = level.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

struct Reader<'s> {
    statement: &'s str,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "below a rule stand only the few that the grammar puts there")]
impl Reader<'_> {
    fn refuse(&self, pair: &Pair<'_, Rule>) -> ApiError {
        unexpected_at(self.statement, pair.as_span().start())
    }

    /// The next pair of a rule that the grammar puts there.
    fn next<'p>(&self, pairs: &mut Pairs<'p, Rule>) -> Result<Pair<'p, Rule>> {
        pairs.next().ok_or_else(|| unexpected_at(self.statement, self.statement.len()))
    }

    fn query(&self, pair: Pair<'_, Rule>) -> Result<Query> {
        let mut query = Query::new();
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::selected => query.select.push(self.selected(part)?),
                Rule::source => {
                    for piece in part.into_inner() {
                        match piece.as_rule() {
                            Rule::path => query.source = path(&piece),
                            Rule::alias => query.alias = Some(piece.as_str().to_owned()),
                            _ => {}
                        }
                    }
                }
                Rule::scope => {
                    let name = part.into_inner().find(|piece| piece.as_rule() == Rule::name);
                    query.scope = name.map(|name| (name.as_str().to_owned(), Place(name.as_span().start())));
                }
                Rule::filtered => query.filter = self.conditions(part)?,
                Rule::grouped => {
                    for piece in part.into_inner() {
                        match piece.as_rule() {
                            Rule::path => query.group.push(path(&piece)),
                            Rule::condition => query.having = Some(self.condition(piece)?),
                            _ => {}
                        }
                    }
                }
                Rule::ordered => {
                    for piece in part.into_inner().filter(|piece| piece.as_rule() == Rule::order) {
                        query.order.push(self.order(piece)?);
                    }
                }
                Rule::limited => query.limit = Some(self.whole(part)?),
                Rule::skipped => query.offset = Some(self.whole(part)?),
                Rule::purpose => {
                    let mut words = part.into_inner();
                    query.for_update |= words.next().is_some_and(|word| word.as_rule() == Rule::FOR)
                        && words.next().is_some_and(|word| word.as_rule() == Rule::UPDATE);
                }
                Rule::all_rows => query.all_rows = true,
                _ => {}
            }
        }
        Ok(query)
    }

    fn selected(&self, pair: Pair<'_, Rule>) -> Result<Selected> {
        let place = Place(pair.as_span().start());
        let mut inner = pair.into_inner();
        let first = self.next(&mut inner)?;
        let alias = inner.next().map(|alias| alias.as_str().to_owned());
        Ok(match first.as_rule() {
            Rule::child => {
                let query = self.next(&mut first.into_inner())?;
                Selected::Child(Box::new(self.query(query)?))
            }
            Rule::fields => {
                let set = first.into_inner().find(|piece| piece.as_rule() == Rule::field_set);
                let set = match set.map(|set| set.as_str().to_ascii_lowercase()).as_deref() {
                    Some("standard") => FieldSet::Standard,
                    Some("custom") => FieldSet::Custom,
                    _ => FieldSet::All,
                };
                Selected::Fields { set, place }
            }
            Rule::aggregate => Selected::Aggregate { aggregate: self.aggregate(first)?, alias },
            _ => Selected::Field { path: path(&first), alias },
        })
    }

    fn aggregate(&self, pair: Pair<'_, Rule>) -> Result<Aggregate> {
        let place = Place(pair.as_span().start());
        let end = pair.as_span().end().saturating_sub(1);
        let mut inner = pair.into_inner();
        let function = match self.next(&mut inner)?.as_str().to_ascii_uppercase().as_str() {
            "COUNT_DISTINCT" => Function::CountDistinct,
            "MIN" => Function::Min,
            "MAX" => Function::Max,
            "SUM" => Function::Sum,
            "AVG" => Function::Avg,
            _ => Function::Count,
        };
        let path = inner.next().map(|piece| path(&piece));
        if path.is_none() && function != Function::Count {
            return Err(unexpected_at(self.statement, end));
        }
        Ok(Aggregate { function, path, place })
    }

    fn order(&self, pair: Pair<'_, Rule>) -> Result<Order> {
        let mut inner = pair.into_inner();
        let subject = self.subject(self.next(&mut inner)?)?;
        let mut order = Order { subject, descending: false, nulls_last: false };
        for word in inner {
            match word.as_rule() {
                Rule::DESC => order.descending = true,
                Rule::LAST => order.nulls_last = true,
                _ => {}
            }
        }
        Ok(order)
    }

    fn whole(&self, pair: Pair<'_, Rule>) -> Result<usize> {
        let number = pair.into_inner().find(|piece| piece.as_rule() == Rule::whole);
        let number = number.ok_or_else(|| unexpected_at(self.statement, self.statement.len()))?;
        number.as_str().parse().map_err(|_| self.refuse(&number))
    }

    fn conditions(&self, pair: Pair<'_, Rule>) -> Result<Option<Filter>> {
        let condition = pair.into_inner().find(|piece| piece.as_rule() == Rule::condition);
        condition.map(|condition| self.condition(condition)).transpose()
    }

    fn condition(&self, pair: Pair<'_, Rule>) -> Result<Filter> {
        let mut any = false;
        let mut terms = Vec::new();
        for piece in pair.into_inner() {
            match piece.as_rule() {
                Rule::OR => any = true,
                Rule::term => terms.push(self.term(piece)?),
                _ => {}
            }
        }
        Ok(match terms.len() {
            1 => terms.remove(0),
            _ if any => Filter::Any(terms),
            _ => Filter::All(terms),
        })
    }

    fn term(&self, pair: Pair<'_, Rule>) -> Result<Filter> {
        let mut negated = false;
        let mut inner = pair.into_inner();
        let mut operand = self.next(&mut inner)?;
        if operand.as_rule() == Rule::NOT {
            negated = true;
            operand = self.next(&mut inner)?;
        }
        let filter = match operand.as_rule() {
            Rule::nested => self.condition(self.next(&mut operand.into_inner())?)?,
            _ => self.comparison(operand)?,
        };
        Ok(if negated { Filter::Not(Box::new(filter)) } else { filter })
    }

    fn comparison(&self, pair: Pair<'_, Rule>) -> Result<Filter> {
        let mut inner = pair.into_inner();
        let subject = self.subject(self.next(&mut inner)?)?;
        let word = self.next(&mut inner)?;
        let operator = match word.as_rule() {
            Rule::not_in => Operator::NotIn,
            Rule::IN => Operator::In,
            Rule::LIKE => Operator::Like,
            Rule::INCLUDES => Operator::Includes,
            Rule::EXCLUDES => Operator::Excludes,
            _ => match word.as_str() {
                "=" => Operator::Equal,
                "!=" | "<>" => Operator::NotEqual,
                "<" => Operator::Less,
                "<=" => Operator::LessOrEqual,
                ">" => Operator::Greater,
                _ => Operator::GreaterOrEqual,
            },
        };
        let mut values = Vec::new();
        for piece in inner {
            if piece.as_rule() == Rule::query {
                let query = Box::new(self.query(piece)?);
                return Ok(Filter::Join { subject, negated: operator == Operator::NotIn, query });
            }
            values.push(self.literal(piece)?);
        }
        Ok(Filter::Compare { subject, operator, values })
    }

    fn subject(&self, pair: Pair<'_, Rule>) -> Result<Subject> {
        let inner = self.next(&mut pair.into_inner())?;
        Ok(match inner.as_rule() {
            Rule::aggregate => Subject::Aggregate(self.aggregate(inner)?),
            _ => Subject::Path(path(&inner)),
        })
    }

    fn literal(&self, pair: Pair<'_, Rule>) -> Result<Literal> {
        let value = self.next(&mut pair.into_inner())?;
        let text = value.as_str();
        let read = match value.as_rule() {
            Rule::text => {
                let raw = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap_or(text);
                return quoted(raw);
            }
            Rule::instant => parse_datetime(&spelled(text)).map(Literal::Instant),
            Rule::date => text.parse().ok().map(Literal::Date),
            Rule::number => text.parse().ok().filter(|number: &f64| number.is_finite()).map(Literal::Number),
            _ => match text.to_ascii_uppercase().as_str() {
                "TRUE" => Some(Literal::Flag(true)),
                "FALSE" => Some(Literal::Flag(false)),
                "NULL" => Some(Literal::Null),
                _ => dates::Relative::parse(text).map(Literal::Relative),
            },
        };
        read.ok_or_else(|| self.refuse(&value))
    }
}

/// A date-time in the one spelling the clock reads: seconds are there, `T` and `Z` are capitals.
fn spelled(text: &str) -> String {
    let text = text.to_ascii_uppercase();
    match text.split_at_checked(16) {
        Some((head, tail)) if !tail.starts_with(':') => format!("{head}:00{tail}"),
        _ => text,
    }
}

fn quoted(raw: &str) -> Result<Literal> {
    if raw.chars().nth(LONGEST_TEXT).is_some() {
        return Err(malformed(format!("A text in a condition cannot be longer than {LONGEST_TEXT} characters.")));
    }
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if c == '\\'
            && let Some(escaped) = chars.next()
            && !"nNrRtTbBfF\"'\\%_".contains(escaped)
        {
            let message =
                format!("Invalid string literal '{raw}'. Illegal character sequence '\\{escaped}' in string literal.");
            return Err(malformed(message));
        }
    }
    Ok(Literal::Text(raw.to_owned()))
}

fn path(pair: &Pair<'_, Rule>) -> Path {
    Path { names: pair.as_str().split('.').map(str::to_owned).collect(), place: Place(pair.as_span().start()) }
}
