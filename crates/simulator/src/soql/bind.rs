//! Names to places in the schema, and what the org refuses while it looks.

use std::collections::HashSet;
use std::sync::Arc;

use super::message::{malformed, no_such_column, no_such_object, no_such_relationship, pointed};
use super::plan::{Bound, Column, Join, JoinedIds, Plan, Shape, Sort, Test};
use super::values::{Compared, is_exact, wanted};
use super::{Aggregate, FieldSet, Filter, Path, Place, Query, Selected, Subject, aggregate};
use crate::api_error::ApiError;
use crate::call::Call;
use crate::ids::RecordId;
use crate::org::Org;
use crate::schema::{Field, FieldIx, FieldType, ObjectIx};

/// References one path may follow ("Understanding Relationship Query Limitations").
const LEVELS: usize = 5;
/// Child queries of one statement, and how deep they nest from version 58 on.
const CHILDREN: usize = 20;
const GENERATIONS: usize = 5;
/// Rows of `FIELDS(ALL)` and `FIELDS(CUSTOM)`.
const ALL_FIELDS_ROWS: usize = 200;
/// Rows that may be skipped.
const FURTHEST: usize = 2_000;
/// Semi-joins of one `WHERE`.
const JOINS: usize = 2;

/// What a bound statement is looked up in.
pub(super) struct Binder<'a> {
    pub(super) org: &'a Org,
    pub(super) call: &'a Call,
    pub(super) statement: &'a str,
}

/// The object whose fields a path starts from, under the names it goes by.
#[derive(Clone, Copy)]
pub(super) struct Scope<'q> {
    pub(super) object: ObjectIx,
    alias: Option<&'q str>,
}

impl Binder<'_> {
    /// The plan of a whole statement.
    pub(super) fn statement(&self, query: &Query) -> Result<Plan, ApiError> {
        if query.all_rows {
            return Err(malformed("ALL ROWS not allowed in this context"));
        }
        if query.offset.is_some_and(|offset| offset > FURTHEST) {
            return Err(ApiError::bad_request("NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000"));
        }
        let name = query.source.names.join(".");
        let object = self.object(&name, query.source.place)?;
        self.query(query, object, 1)
    }

    fn object(&self, name: &str, place: Place) -> Result<ObjectIx, ApiError> {
        let found =
            self.org.schema.find_readable(name, &self.call.settings).filter(|ix| !self.org.schema.object(*ix).event);
        found.ok_or_else(|| no_such_object(self.statement, place, name))
    }

    fn query(&self, query: &Query, object: ObjectIx, generation: usize) -> Result<Plan, ApiError> {
        let scope = Scope { object, alias: query.alias.as_deref() };
        let grouped = !query.group.is_empty()
            || query.having.is_some()
            || query.select.iter().any(|one| matches!(one, Selected::Aggregate { .. }));
        let shape = if grouped {
            if generation > 1 {
                return Err(malformed("Only root queries support aggregate expressions"));
            }
            aggregate::bind(self, query, scope)?
        } else {
            Shape::Rows { columns: self.columns(query, scope, generation)?, order: self.order(query, scope)? }
        };
        let mut joins = Vec::new();
        let filter = query.filter.as_ref().map(|filter| self.filter(scope, filter, true, &mut joins)).transpose()?;
        Ok(Plan {
            object,
            shape,
            filter,
            owned_by: self.scope(query, object)?,
            joins,
            limit: query.limit,
            offset: query.offset.unwrap_or_default(),
        })
    }

    /// `USING SCOPE`: everything or the user's own rows.
    fn scope(&self, query: &Query, object: ObjectIx) -> Result<Option<(FieldIx, RecordId)>, ApiError> {
        let Some((name, place)) = &query.scope else { return Ok(None) };
        let owner = self.org.schema.object(object).find("OwnerId");
        match (name.to_ascii_lowercase().as_str(), owner) {
            ("everything", _) => Ok(None),
            ("mine", Some(owner)) => Ok(Some((owner, self.call.user))),
            _ => {
                let message = format!("scope '{name}' is not supported for this entity");
                Err(pointed("INVALID_QUERY_SCOPE", self.statement, *place, &message))
            }
        }
    }

    fn columns(&self, query: &Query, scope: Scope<'_>, generation: usize) -> Result<Vec<Column>, ApiError> {
        let mut columns = Vec::new();
        let mut seen = HashSet::new();
        let mut children = 0;
        let schema = &self.org.schema;
        let mut add = |columns: &mut Vec<Column>, bound: Bound, shown: &str| {
            let way: Vec<usize> = bound.hops.iter().map(|(hop, _)| hop.0).chain([bound.field.0]).collect();
            if !seen.insert(way) {
                let message = format!("duplicate field selected: {shown}");
                return Err(ApiError::bad_request("INVALID_FIELD", message));
            }
            columns.push(Column::Field(bound));
            Ok(())
        };
        for selected in &query.select {
            match selected {
                Selected::Field { alias: Some(_), .. } => {
                    return Err(malformed("only aggregate expressions use field aliasing"));
                }
                Selected::Field { path, alias: None } => {
                    add(&mut columns, self.path(scope, path)?, &path.names.join("."))?;
                }
                Selected::Fields { set, place } => {
                    if self.call.major() < 51 {
                        return Err(no_such_column(
                            self.statement,
                            *place,
                            "FIELDS",
                            &schema.object(scope.object).name,
                        ));
                    }
                    if *set != FieldSet::Standard && query.limit.is_none_or(|limit| limit > ALL_FIELDS_ROWS) {
                        return Err(malformed("The SOQL FIELDS function must have a LIMIT of at most 200"));
                    }
                    let definition = schema.object(scope.object);
                    for (ix, field) in definition.each_field() {
                        let custom = field.name.ends_with("__c");
                        let wanted = match set {
                            FieldSet::All => true,
                            FieldSet::Standard => !custom,
                            FieldSet::Custom => custom,
                        };
                        if wanted && definition.is_visible(ix, &self.call.settings) {
                            let bound = Bound { hops: Vec::new(), object: scope.object, field: ix, kind: field.kind };
                            add(&mut columns, bound, &field.name)?;
                        }
                    }
                }
                Selected::Child(child) => {
                    children += 1;
                    if children > CHILDREN {
                        return Err(malformed("A query cannot have more than 20 child queries."));
                    }
                    columns.push(self.child(child, scope.object, generation + 1)?);
                }
                Selected::Aggregate { .. } => {}
            }
        }
        Ok(columns)
    }

    fn child(&self, query: &Query, parent: ObjectIx, generation: usize) -> Result<Column, ApiError> {
        let allowed = if self.call.major() < 58 { 2 } else { GENERATIONS };
        if generation > allowed {
            return Err(malformed(format!("Child queries cannot nest more than {} levels.", allowed - 1)));
        }
        if query.offset.is_some() || query.all_rows || query.for_update || query.scope.is_some() {
            return Err(malformed("OFFSET, USING SCOPE, FOR UPDATE and ALL ROWS are not allowed in a child query"));
        }
        let schema = &self.org.schema;
        let names = match query.source.names.as_slice() {
            // `FROM Account.Contacts`: the parent's own name may stand in front.
            [first, rest @ ..] if !rest.is_empty() && first.eq_ignore_ascii_case(&schema.object(parent).name) => rest,
            names => names,
        };
        let found = match names {
            [name] => schema.child(parent, name, &self.call.settings),
            _ => None,
        };
        let Some((object, link)) = found else {
            let name = names.join(".");
            let message = format!(
                "Didn't understand relationship '{name}' in FROM part of query call. If you are attempting to use a custom \
                 relationship, be sure to append the '__r' after the custom relationship name. Please reference your WSDL or \
                 the describe call for the appropriate names."
            );
            return Err(pointed("INVALID_TYPE", self.statement, query.source.place, &message));
        };
        let plan = self.query(query, object, generation)?;
        let name = schema.object(object).field(link).children.clone().unwrap_or_default();
        Ok(Column::Children { name, link, plan: Box::new(plan) })
    }

    /// Follows a path from the scope's object.
    pub(super) fn path(&self, scope: Scope<'_>, path: &Path) -> Result<Bound, ApiError> {
        let schema = &self.org.schema;
        let settings = &self.call.settings;
        let start = schema.object(scope.object);
        let mut names = path.names.as_slice();
        // `Account.Name` from Account itself: the object's own name, or its alias, may stand in front.
        if let [first, rest @ ..] = names
            && !rest.is_empty()
            && (scope.alias.is_some_and(|alias| alias.eq_ignore_ascii_case(first))
                || (first.eq_ignore_ascii_case(&start.name) && start.relationship(first).is_none()))
        {
            names = rest;
        }
        let mut hops = Vec::new();
        let mut current = scope.object;
        while let [name, rest @ ..] = names {
            let definition = schema.object(current);
            if rest.is_empty() {
                let found = definition.find_visible(name, settings);
                let field = found.ok_or_else(|| no_such_column(self.statement, path.place, name, &definition.name))?;
                return Ok(Bound { hops, object: current, field, kind: definition.field(field).kind });
            }
            let hop = definition.relationship(name).filter(|ix| definition.is_visible(*ix, settings));
            // What the user may not read is not there to be followed.
            let target = hop.and_then(|ix| schema.find_readable(definition.field(ix).to.first()?, settings));
            let (Some(hop), Some(target)) = (hop, target) else {
                return Err(no_such_relationship(self.statement, path.place, name));
            };
            if hops.len() == LEVELS {
                return Err(malformed(format!("A path cannot follow more than {LEVELS} relationships.")));
            }
            hops.push((hop, target));
            current = target;
            names = rest;
        }
        Err(no_such_column(self.statement, path.place, "", &start.name))
    }

    pub(super) fn field(&self, bound: &Bound) -> &Field {
        self.org.schema.object(bound.object).field(bound.field)
    }

    fn order(&self, query: &Query, scope: Scope<'_>) -> Result<Vec<Sort<Bound>>, ApiError> {
        let bind = |order: &super::Order| {
            let path = match &order.subject {
                Subject::Path(path) => path,
                Subject::Aggregate(aggregate) => return Err(self.not_grouped(aggregate)),
            };
            let subject = self.sortable(scope, path)?;
            Ok(Sort { subject, descending: order.descending, nulls_last: order.nulls_last })
        };
        query.order.iter().map(bind).collect()
    }

    pub(super) fn sortable(&self, scope: Scope<'_>, path: &Path) -> Result<Bound, ApiError> {
        let bound = self.path(scope, path)?;
        self.short(&bound, path.place, "sorted")?;
        Ok(bound)
    }

    /// Long text and addresses can be printed, and no more; multi-select picklists can be filtered too.
    pub(super) fn short(&self, bound: &Bound, place: Place, done: &str) -> Result<(), ApiError> {
        let field = self.field(bound);
        let long = field.kind == FieldType::Textarea && field.length > 255;
        let several = field.kind == FieldType::Multipicklist && done != "filtered";
        if long || several || field.kind == FieldType::Address {
            let message = format!("field '{}' can not be {done} in a query call", field.name);
            return Err(pointed("INVALID_FIELD", self.statement, place, &message));
        }
        Ok(())
    }

    pub(super) fn not_grouped(&self, aggregate: &Aggregate) -> ApiError {
        let message = format!("aggregate {} is only allowed in a grouped query", aggregate.function.name());
        pointed("MALFORMED_QUERY", self.statement, aggregate.place, &message)
    }

    fn filter(
        &self,
        scope: Scope<'_>,
        filter: &Filter,
        top: bool,
        joins: &mut Vec<Join>,
    ) -> Result<Test<Bound>, ApiError> {
        Ok(match filter {
            Filter::All(filters) => {
                Test::All(filters.iter().map(|one| self.filter(scope, one, top, joins)).collect::<Result<_, _>>()?)
            }
            Filter::Any(filters) => {
                Test::Any(filters.iter().map(|one| self.filter(scope, one, false, joins)).collect::<Result<_, _>>()?)
            }
            Filter::Not(one) => Test::Not(Box::new(self.filter(scope, one, false, joins)?)),
            Filter::Compare { subject, operator, values } => {
                let (subject, place) = self.filtered(scope, subject)?;
                let field = self.field(&subject);
                let compared = Compared { name: &field.name, kind: field.kind, exact: is_exact(field), place };
                let wanted = values
                    .iter()
                    .map(|value| wanted(self, &compared, *operator, value))
                    .collect::<Result<Vec<_>, _>>()?;
                Test::Compare { subject, operator: *operator, wanted }
            }
            Filter::Join { subject, negated, query } => {
                if !top {
                    let message = "Semi join sub-selects are only allowed at the top level WHERE expressions and not in \
                                   nested WHERE expressions.";
                    return Err(malformed(message));
                }
                if joins.len() == JOINS {
                    return Err(malformed("maximum 2 semi join sub-selects are allowed"));
                }
                let (subject, place) = self.filtered(scope, subject)?;
                let join = self.joined(scope, &subject, place, query)?;
                let ids = Arc::clone(&join.ids);
                joins.push(join);
                Test::OneOf { subject, ids, negated: *negated }
            }
        })
    }

    fn filtered(&self, scope: Scope<'_>, subject: &Subject) -> Result<(Bound, Place), ApiError> {
        match subject {
            Subject::Aggregate(aggregate) => Err(self.not_grouped(aggregate)),
            Subject::Path(path) => {
                let bound = self.path(scope, path)?;
                self.short(&bound, path.place, "filtered")?;
                Ok((bound, path.place))
            }
        }
    }

    /// The inner query of a semi-join.
    fn joined(&self, outer: Scope<'_>, subject: &Bound, place: Place, query: &Query) -> Result<Join, ApiError> {
        let bare = query.group.is_empty()
            && query.order.is_empty()
            && query.limit.is_none()
            && query.offset.is_none()
            && !query.for_update
            && !query.all_rows;
        let [Selected::Field { path, alias: None }] = query.select.as_slice() else {
            return Err(malformed("A semi join sub-select must select exactly one field"));
        };
        if !bare {
            let message = "GROUP BY, ORDER BY, LIMIT, OFFSET, FOR UPDATE and ALL ROWS are not allowed in a semi join \
                           sub-select";
            return Err(malformed(message));
        }
        let object = self.object(&query.source.names.join("."), query.source.place)?;
        if object == outer.object && subject.hops.is_empty() {
            return Err(malformed("The inner and outer selects should not be on the same object type"));
        }
        let scope = Scope { object, alias: query.alias.as_deref() };
        let selected = self.path(scope, path)?;
        let targets = |bound: &Bound| -> Vec<String> {
            if bound.kind == FieldType::Id {
                vec![self.org.schema.object(bound.object).name.clone()]
            } else {
                self.field(bound).to.clone()
            }
        };
        let (left, right) = (targets(subject), targets(&selected));
        if !left.iter().any(|target| right.contains(target)) {
            let message = format!(
                "The selected field '{}' in the subquery and the left operand field in the where expression in the outer \
                 query '{}' should point to the same object type",
                self.field(&selected).name,
                self.field(subject).name
            );
            return Err(pointed("MALFORMED_QUERY", self.statement, place, &message));
        }
        // A join inside a join is refused by counting it as nested.
        let mut joins = Vec::new();
        let filter = query.filter.as_ref().map(|filter| self.filter(scope, filter, false, &mut joins)).transpose()?;
        let owned_by = self.scope(query, object)?;
        let plan = Plan { object, shape: Shape::Total, filter, owned_by, joins, limit: None, offset: 0 };
        Ok(Join { plan, selected, ids: JoinedIds::default() })
    }
}
