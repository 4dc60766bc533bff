use std::time::Duration;

use toml::de::DeTable;

use super::*;
use crate::config::document::Document;

fn problems(text: &str) -> Vec<String> {
    let problems = OrderProcessing::parse(text).expect_err("problems");
    problems.as_slice().iter().map(ToString::to_string).collect()
}

#[test]
fn an_empty_file_and_the_documented_file_both_are_the_default() {
    assert_eq!(OrderProcessing::parse(""), Ok(OrderProcessing::default()));
    assert_eq!(OrderProcessing::parse(OrderProcessing::documented_toml()), Ok(OrderProcessing::default()));
}

#[test]
fn the_documented_file_mentions_every_key() {
    let text = format!("{}\n[events.REFUND]\n[transfers.A__c]\n", OrderProcessing::documented_toml());
    let (root, _) = DeTable::parse_recoverable(&text);
    let mut document = Document::new(&text, root.get_ref(), &[]);
    read::settings(&mut document);
    assert!(document.asked().len() > 35, "{:?}", document.asked());
    for path in document.asked() {
        let key = path.rsplit('.').next().expect("a key");
        let written = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{key} = "));
        assert!(OrderProcessing::documented_toml().lines().any(written), "{path}");
    }
}

#[test]
fn the_documented_commented_section_is_valid_once_uncommented() {
    let text = OrderProcessing::documented_toml()
        .replace("# [events.", "[events.")
        .replace("# sendWholeOrder = true ", "sendWholeOrder = true ")
        .replace("# leave_out", "leave_out");
    let processing = OrderProcessing::parse(&text).expect("valid");
    assert!(processing.sends_whole_order(EventType::UpdateSubscription));
    assert!(!processing.sends_whole_order(EventType::NewOrder));
    assert!(processing.events[&EventType::UpdateSubscription].leave_out.contains("CaseId"));
}

#[test]
fn every_problem_is_reported_at_once_in_the_order_of_the_file() {
    let text = "createPersonAccount = \"yes\"\n\
                transferOwnership = 1\n\
                [platform_events]\n\
                api_name = \"OrderEvent\"\n\
                order_types = [\"NEW_ODER\"]\n\
                [retry]\n\
                max_attempts = 0\n\
                initial_seconds = -1\n";
    assert_eq!(
        problems(text),
        [
            "line 1, column 23: createPersonAccount: the text \"yes\" is of the wrong kind. Write true or false",
            "line 2, column 21: transferOwnership: the number 1 is of the wrong kind. Write true or false",
            "line 4, column 12: platform_events.api_name: a platform event's API name ends in __e. \
             Use the API name of the event, such as i42as__OrderEvent__e",
            "line 5, column 15: platform_events.order_types: \"NEW_ODER\" is not an event type. \
             Did you mean \"NEW_ORDER\"? The choices are NEW_ORDER, CHANGE_OFFER, CANCEL_REQUEST, ADD_OFFER, \
             CHANGE_PAYMENT_REQUEST, NEW_GIFT_ORDER, REFUND, REQUEST_RENEWAL, CHANGED_DELIVERY_ADDRESS, UPDATE_CUSTOMER, \
             UPDATE_SUBSCRIPTION",
            "line 7, column 16: retry.max_attempts: the number 0 is out of range. Use 1 to 50 attempts",
            "line 8, column 19: retry.initial_seconds: the number -1 is out of range. Use 0.1 to 600 seconds",
        ]
    );
}

#[test]
fn an_unknown_key_is_refused_with_the_key_that_was_meant() {
    let cases = [
        ("create_person_acount = true", "Did you mean `createPersonAccount`?"),
        ("[platform_event]\nenabled = true", "Did you mean `platform_events`?"),
        ("[platform_events]\nenabeld = true", "Did you mean `enabled`?"),
        (
            "[retry]\nsendWholeOrder = true",
            "Did you mean `sendWholeOrder`? It stands before the first [section] of the file",
        ),
        ("max_attempts = 3", "Did you mean `max_attempts` under [retry]?"),
        ("[errors]\nrecord_locked = \"x\"", "Remove it, or see the documented file for the keys there are"),
        ("[events.NEW_ORDR]\nleave_out = []", "Did you mean \"NEW_ORDER\"?"),
        ("[events.REFUND]\nleaveout = []", "Did you mean `leave_out`?"),
    ];
    for (text, remedy) in cases {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].contains(remedy), "{text}: {found:?}");
    }
}

#[test]
fn a_value_where_a_section_belongs_is_refused_once() {
    for text in ["retry = 3", "events = 3"] {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("this is a section, not the number 3"), "{found:?}");
    }
}

#[test]
fn a_fault_of_the_toml_is_reported_with_its_place_beside_the_other_problems() {
    let found = problems("sendWholeOrder = tru\ncreatePersonAccount = 1\n");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("line 1, column"), "{found:?}");
    assert!(found[1].starts_with("line 2, column 23: createPersonAccount"), "{found:?}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let cases = [
        ("[retry]\ninitial_seconds = 90", "the longest delay is shorter than the first"),
        ("[retry]\nmax_attempts = 50\nmax_seconds = 600", "an order would hold up its customer for"),
        ("[external_ids]\norder_type = \"LimioId__c\"", "used twice"),
        ("[events.REFUND]\nleave_out = [\"OrderNumber\"]", "cannot be left out"),
        ("[orderDataOptions]\nfieldsToKeep = []", "the list is empty"),
        ("[platform_events]\norder_types = []", "the list is empty"),
        ("[platform_events]\nfield_prefix = \"i42as\"", "ends in two underscores"),
        ("[platform_events]\nmax_order_json_chars = 131073", "out of range"),
        ("[platform_events]\nevent_key = \"i42as__CaseId__c\"", "the event's field CaseId holds something else"),
        ("[external_ids]\naccount = \"\"", "the text has 0 characters"),
    ];
    for (text, problem) in cases {
        let found = problems(text);
        assert!(found.len() == 1 && found[0].contains(problem), "{text}: {found:?}");
    }
}

#[test]
fn every_setting_reaches_its_field() {
    let text = r#"
        createPersonAccount = false
        includeBillingDetails = true
        includeDuplicateCheck = true
        transferOwnership = false
        sendWholeOrder = true
        accountOptions = { recordTypeName = "Subscriber" }
        [orderDataOptions]
        fieldsToKeep = ["orderItems", "country"]
        itemFields = ["parentId"]
        productDataFields = ["syncedFrom"]
        offerDataFields = ["attributes"]
        [platform_events]
        order_types = ["NEW_SUBSCRIPTION", "CANCEL_REQUEST"]
        api_name = "Order__e"
        field_prefix = ""
        publish_behavior = "immediate"
        extra_fields = ["Reason"]
        max_order_json_chars = 5000
        order_json_overflow = "omit"
        text_truncation = "dead_letter"
        [accounts]
        missing_last_name = "Unknown"
        text_truncation = "dead_letter"
        [duplicates]
        several_matches = "oldest"
        [external_ids]
        order_object = ""
        [retry]
        max_attempts = 3
        initial_seconds = 0.5
        max_seconds = 5
        factor = 3
        [errors]
        duplicate_blocked = "No."
    "#;
    let processing = OrderProcessing::parse(text).expect("valid");
    assert!(!processing.create_person_account && processing.include_billing_details);
    assert!(processing.include_duplicate_check && !processing.transfer_ownership);
    assert_eq!(processing.account_options.record_type_name.as_deref(), Some("Subscriber"));
    assert_eq!(processing.order_data_options.fields_to_keep, ["orderItems", "country"]);
    assert!(processing.publishes(EventType::NewOrder) && !processing.publishes(EventType::Refund));
    assert_eq!(processing.platform_events.publish_behavior, PublishBehavior::Immediate);
    assert_eq!(processing.platform_events.order_json_overflow, OversizePolicy::Omit);
    assert_eq!(processing.accounts.missing_last_name, MissingLastName::Placeholder("Unknown".to_owned()));
    assert_eq!(processing.duplicates.several_matches, SeveralMatches::Oldest);
    assert_eq!(processing.external_ids.order_object, "");
    assert_eq!(processing.retry.initial, Duration::from_millis(500));
    assert_eq!(processing.customer_text(Reason::DuplicateBlocked), Some("No."));
    assert_eq!(processing.customer_text(Reason::RecordLocked), None);
}

#[test]
fn what_moves_with_a_matched_order_is_named_object_by_object() {
    let text = "includeDuplicateCheck = true\ntransferOwnership = true\n[transfers.Sub__c]\nsubscription = \"LimioId__c\"\n\
                account = \"Account__c\"\n[transfers.Visit__c]\nsubscription = \"Sub__r.LimioId__c\"\naccount = \"A__c\"\n";
    let processing = OrderProcessing::parse(text).expect("valid");
    assert!(processing.transfer_ownership);
    assert_eq!(processing.transfers["Sub__c"].account, "Account__c");
    assert_eq!(processing.transfers["Visit__c"].subscription, "Sub__r.LimioId__c");
}

#[test]
fn a_transfer_that_could_move_nothing_is_refused_by_name() {
    let object = "[transfers.Sub__c]\nsubscription = \"LimioId__c\"\naccount = \"Account__c\"\n";
    let six: String = (0..6).map(|number| object.replace("Sub", &format!("Sub{number}"))).collect();
    let both = "includeDuplicateCheck = true\ntransferOwnership = true\n";
    for (text, problem) in [
        (format!("transferOwnership = true\n{object}"), "nothing moves without the duplicate check"),
        (both.to_owned(), "no object is named that would move"),
        (format!("{both}[transfers.Sub__c]\naccount = \"A__c\"\n"), "subscription is not set"),
        (format!("{both}{object}[transfers.\"x y\"]\n"), "is not a Salesforce API name"),
        (object.replace("LimioId__c", "x..y"), "the text has 0 characters"),
        (format!("{both}{six}"), "there are too many objects"),
        (format!("{both}[external_ids]\norder_object = \"\"\n{object}"), "external_ids.order_object is empty"),
    ] {
        let found = problems(&text);
        assert!(found.len() == 1, "{text}: {found:?}");
        assert!(found[0].contains(problem) || found[0].contains("is not a Salesforce API name"), "{text}: {found:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in "(?s).{0,200}", tail in "[a-z_.=\\[\\]\"0-9 \n]{0,80}") {
        let _ = OrderProcessing::parse(&text);
        let _ = OrderProcessing::parse(&tail);
        let _ = OrderProcessing::parse(&format!("{}\n{tail}", OrderProcessing::documented_toml()));
    }
}

#[test]
fn a_record_notes_its_event_only_where_that_is_published_at_once_and_the_settings_name_both() {
    let noted = |text: &str| {
        let processing = OrderProcessing::parse(text).expect("settings");
        processing.event_noted_in().map(str::to_owned)
    };
    let immediate = "[platform_events]\npublish_behavior = \"immediate\"\n";
    assert_eq!(noted(""), None);
    assert_eq!(noted(immediate).as_deref(), Some("EventPublished__c"));
    assert_eq!(noted(&format!("{immediate}enabled = false\n")), None);
    assert_eq!(noted(&format!("{immediate}[external_ids]\norder_event_published = \"\"\n")), None);
    assert_eq!(noted(&format!("{immediate}[external_ids]\norder_object = \"\"\n")), None);
}
