//! How each setting is read and checked.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::{DeArray, DeFloat, DeInteger, DeTable, DeValue};

use crate::config::OrderProcessing;
use crate::config::document::{Document, Refused, described, most_like};
use crate::config::problem::ConfigProblems;
use crate::config::settings::{
    EventOverride, EventSelection, ExtraField, MissingLastName, OversizePolicy, PlatformEvents, PublishBehavior,
    SeveralMatches, TextOverflow, TransferObject,
};
use crate::mapping::event_fields::{EVENT_FIELDS, EventField};
use crate::mapping::event_type::EventType;
use crate::retry::RetryPolicy;

/// The longest that an order may wait at the head of its lane, all attempts together. What lasts longer is an operator's.
const MAX_WAIT: Duration = Duration::from_hours(1);

/// Salesforce's limit for an API name, suffix and namespace included.
const MAX_API_NAME: usize = 80;

const TEXT_OVERFLOW: [(&str, TextOverflow); 2] =
    [("cut", TextOverflow::Cut), ("dead_letter", TextOverflow::DeadLetter)];

type Read<T> = Result<T, Refused>;

/// Reads the whole file.
pub(super) fn order_processing(text: &str) -> Result<OrderProcessing, ConfigProblems> {
    let (root, faults) = DeTable::parse_recoverable(text);
    let mut document = Document::new(text, root.get_ref(), &faults);
    let processing = settings(&mut document);
    document.finish().map_or(Ok(processing), Err)
}

pub(super) fn settings(document: &mut Document<'_>) -> OrderProcessing {
    let mut processing = OrderProcessing::default();
    document.set(&mut processing.create_person_account, "createPersonAccount", boolean);
    document.set(&mut processing.include_billing_details, "includeBillingDetails", boolean);
    document.set(&mut processing.include_duplicate_check, "includeDuplicateCheck", boolean);
    document.set(&mut processing.transfer_ownership, "transferOwnership", boolean);
    transfers(document, &mut processing);
    document.set(&mut processing.send_whole_order, "sendWholeOrder", boolean);
    document.set(&mut processing.account_options.record_type_name, "accountOptions.recordTypeName", |value| {
        Ok(Some(text(value, 0..=80)?.to_owned()).filter(|name| !name.is_empty()))
    });
    order_data_options(document, &mut processing);
    platform_events(document, &mut processing.platform_events);
    events(document, &mut processing);
    accounts(document, &mut processing);
    external_ids(document, &mut processing);
    retry(document, &mut processing.retry);
    errors(document, &mut processing);
    processing
}

fn order_data_options(document: &mut Document<'_>, processing: &mut OrderProcessing) {
    let options = &mut processing.order_data_options;
    document.set(&mut options.fields_to_keep, "orderDataOptions.fieldsToKeep", |value| {
        let fields = names(value)?;
        if fields.is_empty() {
            return Err(Refused::new("the list is empty", "Name the keys to keep, or set sendWholeOrder = false"));
        }
        Ok(fields)
    });
    document.set(&mut options.item_fields, "orderDataOptions.itemFields", names);
    document.set(&mut options.product_data_fields, "orderDataOptions.productDataFields", names);
    document.set(&mut options.offer_data_fields, "orderDataOptions.offerDataFields", names);
}

fn platform_events(document: &mut Document<'_>, events: &mut PlatformEvents) {
    document.set(&mut events.enabled, "platform_events.enabled", boolean);
    document.set(&mut events.order_types, "platform_events.order_types", selection);
    document.set(&mut events.api_name, "platform_events.api_name", |value| {
        let name = api_name(value)?;
        let remedy = "Use the API name of the event, such as i42as__OrderEvent__e";
        if name.ends_with("__e") {
            Ok(name)
        } else {
            Err(Refused::new("a platform event's API name ends in __e", remedy))
        }
    });
    document.set(&mut events.field_prefix, "platform_events.field_prefix", |value| {
        let prefix = optional_api_name(value)?;
        let remedy = "Use the package's namespace with two underscores, such as i42as__, or an empty text for fields of your own";
        if prefix.is_empty() || prefix.ends_with("__") {
            Ok(prefix)
        } else {
            Err(Refused::new("a namespace prefix ends in two underscores", remedy))
        }
    });
    document.set(&mut events.event_key, "platform_events.event_key", optional_api_name);
    let named = |field: &&EventField| {
        let name = format!("{}{}__c", events.field_prefix, field.name);
        name.eq_ignore_ascii_case(&events.event_key)
    };
    if let Some(field) = EVENT_FIELDS.iter().find(named) {
        let problem = format!("the event's field {} holds something else", field.name);
        let remedy = "Name a text field of its own, or write an empty text where the event has none";
        document.refuse_at("platform_events.event_key", Refused::new(problem, remedy));
    }
    document.set(&mut events.publish_behavior, "platform_events.publish_behavior", |value| {
        choice(value, &[("after_commit", PublishBehavior::AfterCommit), ("immediate", PublishBehavior::Immediate)])
    });
    document.set(&mut events.extra_fields, "platform_events.extra_fields", |value| {
        each(value, |item| choice(item, &ExtraField::ALL.map(|field| (field.as_str(), field))))
    });
    document.set(&mut events.max_order_json_chars, "platform_events.max_order_json_chars", |value| {
        whole(value, 1_000..=PlatformEvents::MAX_ORDER_JSON_CHARS, "characters")
    });
    document.set(&mut events.order_json_overflow, "platform_events.order_json_overflow", |value| {
        let choices = [
            ("shrink", OversizePolicy::Shrink),
            ("omit", OversizePolicy::Omit),
            ("dead_letter", OversizePolicy::DeadLetter),
        ];
        choice(value, &choices)
    });
    document.set(&mut events.text_truncation, "platform_events.text_truncation", |value| choice(value, &TEXT_OVERFLOW));
}

fn events(document: &mut Document<'_>, processing: &mut OrderProcessing) {
    for key in document.keys("events") {
        let path = format!("events.{key}");
        let Some(event_type) = EventType::parse(&key) else {
            let problem = format!("{key} is not an event type");
            document
                .refuse_key(&path, Refused::new(problem, remedy_among(&key, EventType::ALL.map(EventType::as_str))));
            continue;
        };
        let mut event: EventOverride = processing.events.remove(&event_type).unwrap_or_default();
        document.set(&mut event.send_whole_order, &format!("{path}.sendWholeOrder"), |value| boolean(value).map(Some));
        document.set(&mut event.leave_out, &format!("{path}.leave_out"), |value| each(value, event_field));
        processing.events.insert(event_type, event);
    }
}

fn accounts(document: &mut Document<'_>, processing: &mut OrderProcessing) {
    document.set(&mut processing.accounts.missing_last_name, "accounts.missing_last_name", |value| {
        let name = text(value, 1..=80)?;
        Ok(if name == "refuse" { MissingLastName::Refuse } else { MissingLastName::Placeholder(name.to_owned()) })
    });
    document.set(&mut processing.accounts.text_truncation, "accounts.text_truncation", |value| {
        choice(value, &TEXT_OVERFLOW)
    });
    document.set(&mut processing.duplicates.several_matches, "duplicates.several_matches", |value| {
        let all = [SeveralMatches::Reject, SeveralMatches::Oldest, SeveralMatches::Newest];
        choice(value, &all.map(|policy| (policy.as_str(), policy)))
    });
}

fn transfers(document: &mut Document<'_>, processing: &mut OrderProcessing) {
    let objects = document.keys("transfers");
    for (index, object) in objects.iter().enumerate() {
        let path = format!("transfers.{object}");
        let problem = match plain_name(object) {
            Err(refused) => Some(refused),
            Ok(_) if index >= TransferObject::MOST => {
                let remedy = format!("Keep the {} that matter; they are found with one API call", TransferObject::MOST);
                Some(Refused::new("there are too many objects", remedy))
            }
            Ok(_) => None,
        };
        if let Some(problem) = problem {
            document.refuse_key(&path, problem);
            continue;
        }
        let mut transfer = TransferObject::default();
        document.set(&mut transfer.subscription, &format!("{path}.subscription"), field_path);
        document.set(&mut transfer.account, &format!("{path}.account"), api_name);
        for (name, field) in [("subscription", &transfer.subscription), ("account", &transfer.account)] {
            if field.is_empty() && !document.has_problem_at(&format!("{path}.{name}")) {
                let remedy =
                    "Set subscription to the field that names the subscription, and account to the lookup to Account";
                document.refuse_at(&path, Refused::new(format!("{name} is not set"), remedy));
            }
        }
        processing.transfers.insert(object.clone(), transfer);
    }
    if !processing.transfer_ownership {
        return;
    }
    if !processing.include_duplicate_check {
        let remedy = "Set includeDuplicateCheck = true as well: what moves, moves to the Account that a rule matched";
        document.refuse_at("transferOwnership", Refused::new("nothing moves without the duplicate check", remedy));
    }
    if objects.is_empty() {
        let remedy = "Name the objects that move, each in a section such as [transfers.Subscription__c]";
        document.refuse_at("transferOwnership", Refused::new("no object is named that would move", remedy));
    }
}

fn external_ids(document: &mut Document<'_>, processing: &mut OrderProcessing) {
    let ids = &mut processing.external_ids;
    document.set(&mut ids.account, "external_ids.account", api_name);
    document.set(&mut ids.contact, "external_ids.contact", api_name);
    document.set(&mut ids.order_object, "external_ids.order_object", optional_api_name);
    document.set(&mut ids.order, "external_ids.order", api_name);
    document.set(&mut ids.order_fingerprint, "external_ids.order_fingerprint", optional_api_name);
    document.set(&mut ids.order_account, "external_ids.order_account", optional_api_name);
    document.set(&mut ids.order_type, "external_ids.order_type", optional_api_name);
    document.set(&mut ids.order_reference, "external_ids.order_reference", optional_api_name);
    document.set(&mut ids.subscription, "external_ids.subscription", optional_api_name);
    document.set(&mut ids.order_event_published, "external_ids.order_event_published", optional_api_name);

    if processing.transfer_ownership && ids.order_object.is_empty() {
        let remedy = "Name the object of the order's record: without it nothing refuses a move the second time";
        document.refuse_at("transferOwnership", Refused::new("external_ids.order_object is empty", remedy));
    }

    let mut taken = BTreeSet::from([ids.order.to_lowercase()]);
    let others = [
        ("external_ids.order_fingerprint", &ids.order_fingerprint),
        ("external_ids.order_account", &ids.order_account),
        ("external_ids.order_type", &ids.order_type),
        ("external_ids.order_reference", &ids.order_reference),
        ("external_ids.subscription", &ids.subscription),
        ("external_ids.order_event_published", &ids.order_event_published),
    ];
    for (path, field) in others {
        if !field.is_empty() && !taken.insert(field.to_lowercase()) {
            let problem = format!("the field {field} of the order's record is used twice");
            document
                .refuse_at(path, Refused::new(problem, "Give each its own field, or an empty text to leave it out"));
        }
    }
}

fn retry(document: &mut Document<'_>, policy: &mut RetryPolicy) {
    document.set(&mut policy.max_attempts, "retry.max_attempts", |value| whole(value, 1..=50, "attempts"));
    document.set(&mut policy.initial, "retry.initial_seconds", |value| seconds(value, 0.1..=600.0));
    document.set(&mut policy.max, "retry.max_seconds", |value| seconds(value, 0.1..=600.0));
    document.set(&mut policy.factor, "retry.factor", |value| number(value, 1.0..=10.0, ""));
    if policy.max < policy.initial {
        let problem = "the longest delay is shorter than the first";
        document.refuse_at("retry.max_seconds", Refused::new(problem, "Raise max_seconds, or lower initial_seconds"));
    }
    let wait: Duration = (1..policy.max_attempts).filter_map(|attempts| policy.delay(attempts)).sum();
    if wait > MAX_WAIT {
        let problem =
            format!("an order would hold up its customer for {} minutes before it is given up", wait.as_secs() / 60);
        let remedy = "Lower max_attempts or max_seconds so that all delays together stay within 60 minutes";
        document.refuse_at("retry.max_attempts", Refused::new(problem, remedy));
    }
}

fn errors(document: &mut Document<'_>, processing: &mut OrderProcessing) {
    let texts = &mut processing.errors;
    for (target, path) in [
        (&mut texts.duplicate_detected, "errors.duplicate_detected"),
        (&mut texts.duplicate_blocked, "errors.duplicate_blocked"),
        (&mut texts.duplicate_ambiguous, "errors.duplicate_ambiguous"),
    ] {
        document.set(target, path, |value| text(value, 1..=1_000).map(str::to_owned));
    }
}

fn boolean(value: &DeValue<'_>) -> Read<bool> {
    value.as_bool().ok_or_else(|| expected("true or false", value))
}

/// A text without space around it, of so many characters.
fn text<'v>(value: &'v DeValue<'_>, length: RangeInclusive<usize>) -> Read<&'v str> {
    let text = value.as_str().ok_or_else(|| expected("a text in quotes", value))?.trim();
    let count = text.encode_utf16().count();
    if length.contains(&count) {
        return Ok(text);
    }
    let problem = format!("the text has {count} characters");
    Err(Refused::new(problem, format!("Use between {} and {} characters", length.start(), length.end())))
}

/// The name of an object, event or field.
fn api_name(value: &DeValue<'_>) -> Read<String> {
    plain_name(text(value, 1..=MAX_API_NAME)?)
}

/// The name of a field, or of a field of a parent: `Subscription__r.LimioId__c`.
fn field_path(value: &DeValue<'_>) -> Read<String> {
    let path = text(value, 1..=3 * MAX_API_NAME)?;
    path.split('.').try_for_each(|name| plain_name(name).map(|_| ()))?;
    Ok(path.to_owned())
}

fn plain_name(name: &str) -> Read<String> {
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic());
    if starts && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_') {
        return Ok(name.to_owned());
    }
    let problem = format!("{name:?} is not a Salesforce API name");
    Err(Refused::new(problem, "Use letters, digits and underscores, a letter first, as Setup shows it under API Name"))
}

fn optional_api_name(value: &DeValue<'_>) -> Read<String> {
    if value.as_str() == Some("") { Ok(String::new()) } else { api_name(value) }
}

/// A list of JSON keys, each once.
fn names(value: &DeValue<'_>) -> Read<Vec<String>> {
    let mut names = Vec::new();
    for item in list(value)? {
        let name = text(item.get_ref(), 1..=255)?;
        if names.iter().any(|known| known == name) {
            return Err(Refused::new(format!("{name:?} stands in the list twice"), "Remove one of the two"));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// A list read into a set.
fn each<T: Ord>(value: &DeValue<'_>, read: impl Fn(&DeValue<'_>) -> Read<T>) -> Read<BTreeSet<T>> {
    list(value)?.iter().map(|item| read(item.get_ref())).collect()
}

fn list<'v, 'a>(value: &'v DeValue<'a>) -> Read<&'v DeArray<'a>> {
    value.as_array().ok_or_else(|| expected("a list in [brackets]", value))
}

fn choice<T: Copy>(value: &DeValue<'_>, choices: &[(&'static str, T)]) -> Read<T> {
    let text = value.as_str().ok_or_else(|| expected("a text in quotes", value))?;
    choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice).ok_or_else(|| {
        Refused::new(
            format!("{text:?} is not one of the choices"),
            remedy_among(text, choices.iter().map(|(name, _)| *name)),
        )
    })
}

fn selection(value: &DeValue<'_>) -> Read<EventSelection> {
    if value.as_str() == Some("all") {
        return Ok(EventSelection::All);
    }
    let types = value.as_array().ok_or_else(|| expected("\"all\" or a list of event types", value))?;
    if types.is_empty() {
        let remedy = "Name the event types, or set enabled = false to publish none";
        return Err(Refused::new("the list is empty", remedy));
    }
    each(value, |item| {
        let text = item.as_str().ok_or_else(|| expected("an event type in quotes", item))?;
        EventType::parse(text).ok_or_else(|| {
            let remedy = remedy_among(text, EventType::ALL.map(EventType::as_str));
            Refused::new(format!("{text:?} is not an event type"), remedy)
        })
    })
    .map(EventSelection::Only)
}

/// The printed name of an event field that may be left out.
fn event_field(value: &DeValue<'_>) -> Read<String> {
    let text = value.as_str().ok_or_else(|| expected("a field's name in quotes", value))?;
    let optional = || EVENT_FIELDS.iter().filter(|field| !field.is_key()).map(|field| field.name);
    if EVENT_FIELDS.iter().any(|field| field.is_key() && field.name == text) {
        let remedy = "Keep it: subscribers recognise a repeated event by OrderType and OrderNumber";
        return Err(Refused::new(format!("{text} cannot be left out"), remedy));
    }
    optional()
        .find(|name| *name == text)
        .map(str::to_owned)
        .ok_or_else(|| Refused::new(format!("{text:?} is not a field of the event"), remedy_among(text, optional())))
}

fn whole<T: TryFrom<i64> + PartialOrd + Display>(value: &DeValue<'_>, range: RangeInclusive<T>, unit: &str) -> Read<T> {
    let integer = value.as_integer().ok_or_else(|| expected("a whole number", value))?;
    let number =
        i64::from_str_radix(integer.as_str(), integer.radix()).ok().and_then(|number| T::try_from(number).ok());
    number.filter(|number| range.contains(number)).ok_or_else(|| out_of_range(value, &range, unit))
}

fn number(value: &DeValue<'_>, range: RangeInclusive<f64>, unit: &str) -> Read<f64> {
    let text = value
        .as_float()
        .map(DeFloat::as_str)
        .or_else(|| value.as_integer().filter(|integer| integer.radix() == 10).map(DeInteger::as_str));
    let number: Option<f64> = text.ok_or_else(|| expected("a number", value))?.parse().ok();
    number.filter(|number| range.contains(number)).ok_or_else(|| out_of_range(value, &range, unit))
}

fn seconds(value: &DeValue<'_>, range: RangeInclusive<f64>) -> Read<Duration> {
    number(value, range, "seconds").map(Duration::from_secs_f64)
}

fn expected(what: &str, value: &DeValue<'_>) -> Refused {
    Refused::new(format!("{} is of the wrong kind", described(value)), format!("Write {what}"))
}

fn out_of_range<T: Display>(value: &DeValue<'_>, range: &RangeInclusive<T>, unit: &str) -> Refused {
    let remedy = format!("Use {} to {} {unit}", range.start(), range.end());
    Refused::new(format!("{} is out of range", described(value)), remedy.trim_end())
}

fn remedy_among(text: &str, choices: impl IntoIterator<Item = &'static str>) -> String {
    let choices: Vec<&str> = choices.into_iter().collect();
    let all = choices.join(", ");
    match most_like(text, choices, |choice| choice) {
        Some(choice) => format!("Did you mean {choice:?}? The choices are {all}"),
        None => format!("The choices are {all}"),
    }
}
