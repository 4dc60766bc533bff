//! The parser on its own: what is printed is read back, and nothing makes it fail badly.

mod slices;

use std::fmt::{self, Display, Write};

use proptest::prelude::*;

use super::{
    Aggregate, DEEPEST, FieldSet, Filter, Function, LONGEST, Literal, Operator, Order, Path, Place, Query, Selected,
    Subject, dates, parse,
};

fn joined<T: Display>(items: &[T], by: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(by)
}

impl Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names.join("."))
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.path.as_ref().map(ToString::to_string).unwrap_or_default();
        write!(f, "{}({inner})", self.function.name())
    }
}

impl Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.fmt(f),
            Self::Aggregate(aggregate) => aggregate.fmt(f),
        }
    }
}

impl Display for Selected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |alias: &Option<String>| alias.as_ref().map(|alias| format!(" {alias}")).unwrap_or_default();
        match self {
            Self::Field { path, alias } => write!(f, "{path}{}", named(alias)),
            Self::Fields { set, .. } => write!(f, "FIELDS({set:?})"),
            Self::Aggregate { aggregate, alias } => write!(f, "{aggregate}{}", named(alias)),
            Self::Child(query) => write!(f, "({query})"),
        }
    }
}

impl Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.descending { "DESC" } else { "ASC" };
        let nulls = if self.nulls_last { "LAST" } else { "FIRST" };
        write!(f, "{} {way} NULLS {nulls}", self.subject)
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(raw) => write!(f, "'{raw}'"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Null => f.write_str("null"),
            Self::Date(date) => write!(f, "{date}"),
            Self::Instant(ms) => {
                write!(f, "{}", jiff::Timestamp::from_millisecond(*ms).map_err(|_| fmt::Error)?)
            }
            Self::Relative(relative) => relative.fmt(f),
        }
    }
}

impl Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let within = |filter: &Filter| match filter {
            Self::All(_) | Self::Any(_) | Self::Not(_) => format!("({filter})"),
            Self::Compare { .. } | Self::Join { .. } => filter.to_string(),
        };
        match self {
            Self::All(filters) => f.write_str(&filters.iter().map(within).collect::<Vec<_>>().join(" AND ")),
            Self::Any(filters) => f.write_str(&filters.iter().map(within).collect::<Vec<_>>().join(" OR ")),
            Self::Not(filter) => write!(f, "NOT {}", within(filter)),
            Self::Join { subject, negated, query } => {
                write!(f, "{subject} {}IN ({query})", if *negated { "NOT " } else { "" })
            }
            Self::Compare { subject, operator, values } => {
                let (word, several) = match operator {
                    Operator::Equal => ("=", false),
                    Operator::NotEqual => ("!=", false),
                    Operator::Less => ("<", false),
                    Operator::LessOrEqual => ("<=", false),
                    Operator::Greater => (">", false),
                    Operator::GreaterOrEqual => (">=", false),
                    Operator::Like => ("LIKE", false),
                    Operator::In => ("IN", true),
                    Operator::NotIn => ("NOT IN", true),
                    Operator::Includes => ("INCLUDES", true),
                    Operator::Excludes => ("EXCLUDES", true),
                };
                let values = joined(values, ", ");
                if several { write!(f, "{subject} {word} ({values})") } else { write!(f, "{subject} {word} {values}") }
            }
        }
    }
}

impl Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("SELECT {} FROM {}", joined(&self.select, ", "), self.source);
        let mut add = |part: fmt::Arguments<'_>| write!(text, " {part}");
        if let Some(alias) = &self.alias {
            add(format_args!("{alias}"))?;
        }
        if let Some((scope, _)) = &self.scope {
            add(format_args!("USING SCOPE {scope}"))?;
        }
        if let Some(filter) = &self.filter {
            add(format_args!("WHERE {filter}"))?;
        }
        if !self.group.is_empty() {
            add(format_args!("GROUP BY {}", joined(&self.group, ", ")))?;
        }
        if let Some(having) = &self.having {
            add(format_args!("HAVING {having}"))?;
        }
        if !self.order.is_empty() {
            add(format_args!("ORDER BY {}", joined(&self.order, ", ")))?;
        }
        if let Some(limit) = self.limit {
            add(format_args!("LIMIT {limit}"))?;
        }
        if let Some(offset) = self.offset {
            add(format_args!("OFFSET {offset}"))?;
        }
        if self.for_update {
            add(format_args!("FOR UPDATE"))?;
        }
        if self.all_rows {
            add(format_args!("ALL ROWS"))?;
        }
        f.write_str(&text)
    }
}

fn name() -> impl Strategy<Value = String> {
    "[A-Z][a-z]{1,6}(__c|__r)?".prop_filter("a keyword", |name| {
        // These cannot be names, or not everywhere; the grammar has the same list.
        ![
            "and", "asc", "as", "desc", "for", "from", "in", "last", "like", "limit", "not", "null", "nulls", "or",
            "order", "using", "where", "with", "having", "offset", "select", "group", "first", "all", "update",
        ]
        .contains(&name.to_ascii_lowercase().as_str())
    })
}

fn path() -> impl Strategy<Value = Path> {
    prop::collection::vec(name(), 1..4).prop_map(|names| Path { names, place: Place(0) })
}

fn aggregate() -> impl Strategy<Value = Aggregate> {
    let function = prop::sample::select(vec![
        Function::Count,
        Function::CountDistinct,
        Function::Min,
        Function::Max,
        Function::Sum,
        Function::Avg,
    ]);
    (function, path()).prop_map(|(function, path)| Aggregate { function, path: Some(path), place: Place(0) })
}

fn subject() -> impl Strategy<Value = Subject> {
    prop_oneof![4 => path().prop_map(Subject::Path), 1 => aggregate().prop_map(Subject::Aggregate)]
}

fn literal() -> impl Strategy<Value = Literal> {
    let escaped = prop_oneof![Just("\\'"), Just("\\\\"), Just("\\n"), Just("\\%"), Just("\\_"), Just("é"), Just("%")];
    let raw =
        (prop::collection::vec(escaped, 0..3), "[ a-zA-Z0-9()]{0,8}").prop_map(|(some, rest)| some.concat() + &rest);
    let relative = prop::sample::select(vec!["TODAY", "LAST_N_DAYS:7", "NEXT_FISCAL_YEAR", "N_WEEKS_AGO:65535"]);
    prop_oneof![
        raw.prop_map(Literal::Text),
        (-1e12..1e12_f64).prop_map(Literal::Number),
        any::<bool>().prop_map(Literal::Flag),
        Just(Literal::Null),
        (1i16..9999, 1i8..=12, 1i8..=28).prop_map(|(y, m, d)| Literal::Date(jiff::civil::date(y, m, d))),
        (0..4_000_000_000_000_i64).prop_map(Literal::Instant),
        relative.prop_map(|text| dates::Relative::parse(text).map_or(Literal::Null, Literal::Relative)),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let one = prop::sample::select(vec![
        Operator::Equal,
        Operator::NotEqual,
        Operator::Less,
        Operator::LessOrEqual,
        Operator::Greater,
        Operator::GreaterOrEqual,
        Operator::Like,
    ]);
    let several = prop::sample::select(vec![Operator::In, Operator::NotIn, Operator::Includes, Operator::Excludes]);
    let compare = |operator: BoxedStrategy<Operator>, values: std::ops::Range<usize>| {
        (subject(), operator, prop::collection::vec(literal(), values))
            .prop_map(|(subject, operator, values)| Filter::Compare { subject, operator, values })
    };
    let join = (subject(), any::<bool>(), path(), path()).prop_map(|(subject, negated, field, source)| {
        let select = vec![Selected::Field { path: field, alias: None }];
        Filter::Join { subject, negated, query: Box::new(Query { select, source, ..Query::new() }) }
    });
    let leaf = prop_oneof![4 => compare(one.boxed(), 1..2), 2 => compare(several.boxed(), 1..4), 1 => join];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Filter::All),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Filter::Any),
            inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    })
}

fn query() -> impl Strategy<Value = Query> {
    let set = prop::sample::select(vec![FieldSet::All, FieldSet::Standard, FieldSet::Custom]);
    let plain = prop_oneof![
        4 => (path(), prop::option::of(name())).prop_map(|(path, alias)| Selected::Field { path, alias }),
        1 => set.prop_map(|set| Selected::Fields { set, place: Place(0) }),
        2 => (aggregate(), prop::option::of(name()))
            .prop_map(|(aggregate, alias)| Selected::Aggregate { aggregate, alias }),
    ];
    let order = (subject(), any::<bool>(), any::<bool>()).prop_map(|(subject, descending, nulls_last)| Order {
        subject,
        descending,
        nulls_last,
    });
    let whole = (plain, filter(), order, path())
        .prop_flat_map(|(selected, some, order, source)| {
            let maybe = prop::option::of(Just(some.clone()));
            let counts = (prop::option::of(0usize..5000), prop::option::of(0usize..3000));
            let named = (prop::option::of(name()), prop::option::of(name()), prop::collection::vec(path(), 0..3));
            let flags = (any::<bool>(), any::<bool>(), any::<bool>());
            (maybe, counts, named, flags).prop_map(move |(filter, (limit, offset), (alias, scope, group), flags)| {
                Query {
                    select: vec![selected.clone()],
                    source: source.clone(),
                    alias,
                    scope: scope.map(|scope| (scope, Place(0))),
                    having: (flags.0 && !group.is_empty()).then(|| some.clone()),
                    group,
                    filter,
                    order: if flags.1 { vec![order.clone()] } else { Vec::new() },
                    limit,
                    offset,
                    all_rows: flags.2,
                    for_update: flags.0,
                }
            })
        })
        .boxed();
    (whole.clone(), prop::option::of(whole)).prop_map(|(mut query, child)| {
        query.select.extend(child.map(|child| Selected::Child(Box::new(child))));
        query
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_is_read_back(query in query()) {
        let text = query.to_string();
        match parse(&text) {
            Ok(read) => prop_assert_eq!(read, query, "{}", text),
            Err(error) => prop_assert!(false, "{}: {}", text, error.message),
        }
    }

    #[test]
    fn a_damaged_statement_is_read_or_refused(query in query(), cut in any::<prop::sample::Index>(), noise in "\\PC{0,6}") {
        let text = query.to_string();
        let mut at = cut.index(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let (head, tail) = text.split_at(at);
        let rest = tail.chars().skip(1).collect::<String>();
        for damaged in [format!("{head}{noise}{tail}"), head.to_owned(), format!("{head}{rest}")] {
            if let Err(error) = parse(&damaged) {
                prop_assert_eq!(error.code, "MALFORMED_QUERY");
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
        if let Err(error) = parse(&text) {
            prop_assert_eq!(error.code, "MALFORMED_QUERY");
        }
    }
}

fn refusal(statement: &str) -> String {
    parse(statement).err().map_or_else(|| "none".to_owned(), |error| error.message)
}

#[test]
fn what_is_not_soql_names_the_token() {
    for (statement, token) in [
        ("SELEKT Id FROM Account", "SELEKT"),
        ("SELECT Id FROM Account WHERE Name = 'x' AND Phone = 'y' OR Fax = 'z'", "OR"),
        ("SELECT Id FROM", "'<EOF>'"),
        ("SELECT Id FROM Account LIMIT x", "x"),
        ("SELECT Id FROM Account WHERE Name = 'open", "'<EOF>'"),
        ("SELECT Id FROM Account WHERE Name = 'a' 'b'", "'b'"),
        ("SELECT Id, FROM Account", "FROM"),
        ("SELECT Id FROM Account WHERE CreatedDate = SOON", "SOON"),
        ("SELECT Id FROM Account WHERE CreatedDate = 2026-13-01", "2026-13-01"),
        ("SELECT SUM() FROM Account", "')'"),
        ("SELECT Id FROM Account;", "';'"),
        ("", "'<EOF>'"),
    ] {
        assert_eq!(refusal(statement), format!("unexpected token: {token}"), "{statement}");
    }
}

#[test]
fn nesting_and_length_are_bounded_before_anything_recurses() {
    let nested = |n: usize| format!("SELECT Id FROM Account WHERE {}Name = 'x'{}", "(".repeat(n), ")".repeat(n));
    assert_eq!(refusal(&nested(DEEPEST)), "none");
    assert_eq!(refusal(&nested(DEEPEST + 1)), "The statement nests more than 50 parentheses.");
    assert_eq!(refusal(&nested(40_000)), "The statement nests more than 50 parentheses.");
    assert_eq!(
        refusal(&format!("SELECT Id FROM Account WHERE {}Name = 'x'", "NOT ".repeat(20_000))),
        "unexpected token: NOT"
    );
    let brackets = format!("SELECT Id FROM Account WHERE Name = '{}'", "(".repeat(3_000));
    assert_eq!(refusal(&brackets), "none");
    let padded = |n: usize| format!("SELECT Id FROM Account{}", " ".repeat(n - 22));
    assert_eq!(refusal(&padded(LONGEST)), "none");
    assert_eq!(refusal(&padded(LONGEST + 1)), "SOQL statements cannot be longer than 100,000 characters.");
}
