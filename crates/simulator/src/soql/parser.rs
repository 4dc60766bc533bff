//! Tokens to a statement, by recursive descent.

use super::lexer::{Token, tokens};
use super::{DEEPEST, Filter, Literal, Operator, Order, Path, Query, unexpected};
use crate::api_error::ApiError;
use crate::clock::parse_datetime;

/// Reads one statement.
pub(crate) fn parse(statement: &str) -> Result<Query, ApiError> {
    let mut parser = Parser { tokens: tokens(statement)?, next: 0 };
    let query = parser.query()?;
    match parser.peek() {
        None => Ok(query),
        Some(token) => Err(unexpected(&token.shown())),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn take(&mut self) -> Result<(usize, Token), ApiError> {
        let token = self.tokens.get(self.next).cloned().ok_or_else(|| unexpected("'<EOF>'"))?;
        self.next += 1;
        Ok(token)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(text)) if text.eq_ignore_ascii_case(word))
    }

    fn accept(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.next += usize::from(found);
        found
    }

    fn accept_symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Symbol(text)) if *text == symbol);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, word: &str) -> Result<(), ApiError> {
        if self.accept(word) { Ok(()) } else { Err(self.here()) }
    }

    fn expect_symbol(&mut self, symbol: &str) -> Result<(), ApiError> {
        if self.accept_symbol(symbol) { Ok(()) } else { Err(self.here()) }
    }

    fn here(&self) -> ApiError {
        self.peek().map_or_else(|| unexpected("'<EOF>'"), |token| unexpected(&token.shown()))
    }

    fn query(&mut self) -> Result<Query, ApiError> {
        self.expect("SELECT")?;
        let mut select = Vec::new();
        let mut count = false;
        if self.is_word("COUNT") && matches!(self.tokens.get(self.next + 1), Some((_, Token::Symbol("(")))) {
            self.next += 2;
            self.expect_symbol(")")?;
            count = true;
        } else {
            select.push(self.path()?);
            while self.accept_symbol(",") {
                select.push(self.path()?);
            }
        }
        self.expect("FROM")?;
        let object = self.path()?;
        let filter = if self.accept("WHERE") { Some(self.filter(0)?) } else { None };
        let mut order = Vec::new();
        if self.accept("ORDER") {
            self.expect("BY")?;
            order.push(self.order()?);
            while self.accept_symbol(",") {
                order.push(self.order()?);
            }
        }
        let limit = if self.accept("LIMIT") { Some(self.whole()?) } else { None };
        let offset = if self.accept("OFFSET") { self.whole()? } else { 0 };
        if offset > 2_000 {
            return Err(ApiError::bad_request("NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000"));
        }
        Ok(Query { select, count, object, filter, order, limit, offset })
    }

    fn path(&mut self) -> Result<Path, ApiError> {
        let (at, token) = self.take()?;
        if let Token::Word(text) = &token
            && !text.contains(':')
            && text.split('.').all(|name| !name.is_empty())
        {
            return Ok(Path { names: text.split('.').map(str::to_owned).collect(), at });
        }
        Err(unexpected(&token.shown()))
    }

    fn whole(&mut self) -> Result<usize, ApiError> {
        let (_, token) = self.take()?;
        let Token::Number(text) = &token else { return Err(unexpected(&token.shown())) };
        text.parse().map_err(|_| unexpected(text))
    }

    fn order(&mut self) -> Result<Order, ApiError> {
        let path = self.path()?;
        let descending = !self.accept("ASC") && self.accept("DESC");
        let mut nulls_last = false;
        if self.accept("NULLS") {
            nulls_last = self.accept("LAST");
            if !nulls_last {
                self.expect("FIRST")?;
            }
        }
        Ok(Order { path, descending, nulls_last })
    }

    /// Terms joined by `AND` or by `OR`; mixing the two needs parentheses, as in the org.
    fn filter(&mut self, depth: usize) -> Result<Filter, ApiError> {
        let first = self.term(depth)?;
        let (word, join): (_, fn(Vec<Filter>) -> Filter) = if self.is_word("AND") {
            ("AND", Filter::All)
        } else if self.is_word("OR") {
            ("OR", Filter::Any)
        } else {
            return Ok(first);
        };
        let mut terms = vec![first];
        while self.accept(word) {
            terms.push(self.term(depth)?);
        }
        if self.is_word("AND") || self.is_word("OR") {
            return Err(self.here());
        }
        Ok(join(terms))
    }

    fn term(&mut self, depth: usize) -> Result<Filter, ApiError> {
        if depth > DEEPEST {
            return Err(ApiError::bad_request("MALFORMED_QUERY", "the filter is nested too deeply"));
        }
        if self.accept("NOT") {
            return Ok(Filter::Not(Box::new(self.term(depth + 1)?)));
        }
        if self.accept_symbol("(") {
            let filter = self.filter(depth + 1)?;
            self.expect_symbol(")")?;
            return Ok(filter);
        }
        let path = self.path()?;
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => {
                self.expect_symbol("(")?;
                let mut values = vec![self.literal()?];
                while self.accept_symbol(",") {
                    values.push(self.literal()?);
                }
                self.expect_symbol(")")?;
                values
            }
            Operator::Equal
            | Operator::NotEqual
            | Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual
            | Operator::Like => vec![self.literal()?],
        };
        Ok(Filter::Compare { path, operator, values })
    }

    fn operator(&mut self) -> Result<Operator, ApiError> {
        let (_, token) = self.take()?;
        match &token {
            Token::Symbol("=") => Ok(Operator::Equal),
            Token::Symbol("!=" | "<>") => Ok(Operator::NotEqual),
            Token::Symbol("<") => Ok(Operator::Less),
            Token::Symbol("<=") => Ok(Operator::LessOrEqual),
            Token::Symbol(">") => Ok(Operator::Greater),
            Token::Symbol(">=") => Ok(Operator::GreaterOrEqual),
            Token::Word(word) if word.eq_ignore_ascii_case("LIKE") => Ok(Operator::Like),
            Token::Word(word) if word.eq_ignore_ascii_case("IN") => Ok(Operator::In),
            Token::Word(word) if word.eq_ignore_ascii_case("NOT") => {
                self.expect("IN")?;
                Ok(Operator::NotIn)
            }
            Token::Word(_) | Token::Text(_) | Token::Number(_) | Token::Symbol(_) => Err(unexpected(&token.shown())),
        }
    }

    fn literal(&mut self) -> Result<Literal, ApiError> {
        let (_, token) = self.take()?;
        match &token {
            Token::Text(text) => Ok(Literal::Text(text.clone())),
            Token::Number(text) => {
                let number = text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Literal::Number);
                let date = || text.parse::<jiff::civil::Date>().ok().filter(|_| text.len() == 10);
                number
                    .or_else(|| date().map(|date| Literal::Date(date.to_string())))
                    .or_else(|| {
                        let zoned = text.ends_with('Z') || text.len() > 19;
                        parse_datetime(text).filter(|_| zoned).map(Literal::Instant)
                    })
                    .ok_or_else(|| unexpected(text))
            }
            Token::Word(word) => match word.to_ascii_uppercase().as_str() {
                "TRUE" => Ok(Literal::Flag(true)),
                "FALSE" => Ok(Literal::Flag(false)),
                "NULL" => Ok(Literal::Null),
                "TODAY" => Ok(Literal::Day(0)),
                "YESTERDAY" => Ok(Literal::Day(-1)),
                "TOMORROW" => Ok(Literal::Day(1)),
                other => match other.strip_prefix("LAST_N_DAYS:").and_then(|days| days.parse::<u16>().ok()) {
                    Some(days) => Ok(Literal::LastDays(i64::from(days))),
                    None => Err(unexpected(word)),
                },
            },
            Token::Symbol(_) => Err(unexpected(&token.shown())),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::parse;

    #[test]
    fn statements_of_the_grammar_are_read() {
        for statement in [
            "SELECT Id FROM Account",
            "select id, Owner.Name from Account where Name = 'O\\'Neil' and (not (Phone = null)) order by Name desc nulls last limit 5 offset 2",
            "SELECT COUNT() FROM Account WHERE LimioId__c IN ('a', 'b') OR Name LIKE 'A%'",
            "SELECT Id FROM Account WHERE CreatedDate >= 2026-01-01T00:00:00Z AND CreatedDate = LAST_N_DAYS:3",
        ] {
            assert!(parse(statement).is_ok(), "{statement}: {:?}", parse(statement));
        }
    }

    #[test]
    fn what_is_not_soql_names_the_token() {
        for (statement, token) in [
            ("SELEKT Id FROM Account", "SELEKT"),
            ("SELECT Id FROM Account WHERE Name = 'x' AND Phone = 'y' OR Fax = 'z'", "OR"),
            ("SELECT Id FROM", "'<EOF>'"),
            ("SELECT Id FROM Account LIMIT x", "x"),
            ("SELECT Id FROM Account WHERE Name = 'open", "'<EOF>'"),
        ] {
            let error = parse(statement).unwrap_err();
            assert_eq!((error.code.as_str(), error.message), ("MALFORMED_QUERY", format!("unexpected token: {token}")));
        }
    }
}
