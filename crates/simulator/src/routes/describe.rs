//! Metadata of objects and fields, as a describe call prints it, with every key a recorded describe has.
//!
//! Sources: REST API Developer Guide, "Describe Global", "sObject Basic Information", "sObject Describe"; SOAP API
//! Developer Guide, `DescribeSObjectResult` (keys, and how `validFor` is packed); public recordings for the key set.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::org::Org;
use crate::schema::addresses::Country;
use crate::schema::{Field, FieldIx, FieldType, Object, ObjectIx, OnDelete};

pub(crate) fn global(org: &Org, call: &Call) -> Value {
    let readable = org.schema.objects.iter().filter(|object| call.settings.permission(&object.name).read);
    let objects: Vec<Value> = readable.map(|object| Value::Object(summary(object, call))).collect();
    json!({ "encoding": "UTF-8", "maxBatchSize": 200, "sobjects": objects })
}

pub(crate) fn basic(org: &Org, object: ObjectIx, call: &Call) -> Value {
    json!({ "objectDescribe": summary(org.schema.object(object), call), "recentItems": [] })
}

fn summary(object: &Object, call: &Call) -> Map<String, Value> {
    let url = format!("/services/data/v{}/sobjects/{}", call.version, object.name);
    let (writable, stored) = (!object.read_only, !object.event);
    let permission = call.settings.permission(&object.name);
    let (account, contact) = (object.name == "Account", object.name == "Contact");
    let mut urls =
        json!({ "rowTemplate": format!("{url}/{{ID}}"), "describe": format!("{url}/describe"), "sobject": url });
    let more: &[&str] = if stored { &["compactLayouts", "approvalLayouts", "layouts"] } else { &[] };
    if let Some(urls) = urls.as_object_mut() {
        for name in more {
            urls.insert((*name).to_owned(), json!(format!("{url}/describe/{name}")));
        }
        if object.event {
            urls.insert("eventSchema".into(), json!(format!("{url}/eventSchema")));
        } else {
            urls.insert("quickActions".into(), json!(format!("{url}/quickActions")));
            urls.insert("listviews".into(), json!(format!("{url}/listviews")));
        }
    }
    let value = json!({
        "activateable": false,
        "associateEntityType": null,
        "associateParentEntity": null,
        "createable": writable && permission.create,
        "custom": object.custom,
        "customSetting": false,
        "deepCloneable": false,
        "deletable": writable && stored && permission.delete,
        "deprecatedAndHidden": false,
        "feedEnabled": account || contact || object.name == "Opportunity",
        "hasSubtypes": account && call.settings.person_accounts,
        "isInterface": false,
        "isSubtype": false,
        "keyPrefix": object.key_prefix,
        "label": object.label,
        "labelPlural": object.label_plural,
        "layoutable": stored && writable,
        "mergeable": account || contact,
        "mruEnabled": stored && writable,
        "name": object.name,
        "queryable": stored,
        "replicateable": stored,
        "retrieveable": stored,
        "searchable": stored && writable,
        "triggerable": writable,
        "undeletable": writable && stored && permission.delete,
        "updateable": writable && stored && permission.edit,
        "urls": urls,
    });
    value.as_object().cloned().unwrap_or_default()
}

pub(crate) fn object(org: &Org, ix: ObjectIx, call: &Call) -> Value {
    let object = org.schema.object(ix);
    let mut all = summary(object, call);
    let fields: Vec<Value> = object
        .each_field()
        .filter(|(field, _)| object.is_visible(*field, &call.settings))
        .map(|(ix, definition)| field(org, object, ix, definition, call))
        .collect();
    let stored = !object.event;
    let rest = json!({
        "actionOverrides": [],
        "childRelationships": children(org, object, call),
        "compactLayoutable": stored && !object.read_only,
        "defaultImplementation": null,
        "extendedBy": null,
        "extendsInterfaces": null,
        "fields": fields,
        "implementedBy": null,
        "implementsInterfaces": null,
        "listviewable": null,
        "lookupLayoutable": null,
        "namedLayoutInfos": [],
        "networkScopeFieldName": null,
        "recordTypeInfos": if stored { record_types(org, ix, call) } else { Vec::new() },
        "searchLayoutable": stored && !object.read_only,
        "sobjectDescribeOption": "FULL",
        "supportedScopes": if stored { scopes(object) } else { json!([]) },
    });
    if let Value::Object(rest) = rest {
        all.extend(rest);
    }
    // A describe has its keys in the order of the alphabet.
    all.sort_keys();
    Value::Object(all)
}

fn scopes(object: &Object) -> Value {
    json!([
        { "label": format!("All {}", object.label_plural.to_lowercase()), "name": "everything" },
        { "label": format!("My {}", object.label_plural.to_lowercase()), "name": "mine" },
    ])
}

/// Lookups of other objects that name this one.
fn children(org: &Org, object: &Object, call: &Call) -> Vec<Value> {
    let mut found = Vec::new();
    let readable = org.schema.objects.iter().filter(|child| call.settings.permission(&child.name).read);
    for child in readable.filter(|child| !child.event) {
        for (ix, field) in child.each_field() {
            if !field.to.contains(&object.name) || !child.is_visible(ix, &call.settings) {
                continue;
            }
            found.push(json!({
                "cascadeDelete": field.on_delete == OnDelete::Cascade,
                "childSObject": child.name,
                "deprecatedAndHidden": false,
                "field": field.name,
                "junctionIdListNames": [],
                "junctionReferenceTo": [],
                "relationshipName": field.children,
                "restrictedDelete": field.on_delete == OnDelete::Restrict,
            }));
        }
    }
    found
}

/// The master record type every object has.
const MASTER: &str = "012000000000000AAA";

fn record_types(org: &Org, ix: ObjectIx, call: &Call) -> Vec<Value> {
    let object = org.schema.object(ix);
    let info = |id: &str, name: &str, developer_name: &str, available: bool, default: bool| {
        let layout = format!("/services/data/v{}/sobjects/{}/describe/layouts/{id}", call.version, object.name);
        json!({
            "active": true, "available": available, "defaultRecordTypeMapping": default,
            "developerName": developer_name, "master": id == MASTER, "name": name, "recordTypeId": id,
            "urls": { "layout": layout },
        })
    };
    let mut infos = Vec::new();
    let types = org.schema.object(org.schema.record_type);
    let state = org.state();
    for (id, row) in state.table(org.schema.record_type).committed() {
        let text = |name: &str| types.find(name).and_then(|field| row.text(field)).unwrap_or_default();
        let personal = types.find("IsPersonType").is_some_and(|field| row.flag(field));
        if text("SobjectType") != object.name || (personal && !call.settings.person_accounts) {
            continue;
        }
        let available = !personal || call.settings.person_record_type_assigned;
        infos.push(info(&id.to_string(), text("Name"), text("DeveloperName"), available, !personal));
    }
    infos.push(info(MASTER, "Master", "Master", true, infos.is_empty()));
    infos
}

fn field(org: &Org, object: &Object, ix: FieldIx, field: &Field, call: &Call) -> Value {
    let kind = field.kind;
    let reference = kind == FieldType::Reference;
    let long = kind == FieldType::Textarea && field.length > 255;
    let name_field = field.name == "Name";
    let createable = !object.read_only && object.is_writable(ix, &call.settings);
    let updateable = createable && !object.event && !field.create_only;
    let controller = controller(object, field);
    let values = match (&controller, field.name.ends_with("CountryCode")) {
        (Some(_), _) => states(&org.schema.countries),
        (None, true) => org.schema.countries.iter().map(|c| value(&c.code, &c.name, true, false, None)).collect(),
        (None, false) => {
            field.values.iter().map(|v| value(&v.value, &v.label, v.active, v.default, None)).collect::<Vec<_>>()
        }
    };
    let default = object.defaults.iter().find(|(at, _)| *at == ix).map(|(_, value)| value.clone());
    let compound = field.compound.clone().or_else(|| {
        let whole = object.addresses.iter().find(|address| address.parts.iter().any(|(_, part)| *part == ix))?;
        Some(object.field(whole.compound).name.clone())
    });
    let compound = if name_field && object.each_field().any(|(_, part)| part.compound.as_deref() == Some("Name")) {
        Some("Name".to_owned())
    } else {
        compound
    };
    let filterable = !long && kind != FieldType::Address;
    let groupable = filterable
        && !matches!(kind, FieldType::Datetime | FieldType::Double | FieldType::Currency | FieldType::Percent)
        && kind != FieldType::Multipicklist;
    let first = json!({
        "aggregatable": filterable && kind != FieldType::Boolean && kind != FieldType::Multipicklist,
        "aiPredictionField": false,
        "autoNumber": field.auto_number.is_some(),
        "byteLength": if matches!(kind, FieldType::Id | FieldType::Reference) { field.length } else { field.length * 3 },
        "calculated": false,
        "calculatedFormula": null,
        "cascadeDelete": reference && field.on_delete == OnDelete::Cascade,
        "caseSensitive": field.case_sensitive,
        "compoundFieldName": compound,
        "controllerName": controller,
        "createable": createable,
        "custom": field.name.ends_with("__c") || field.name.ends_with("__pc"),
        "defaultValue": default,
        "defaultValueFormula": null,
        "defaultedOnCreate": field.defaulted || kind == FieldType::Boolean,
        "dependentPicklist": controller.is_some(),
        "deprecatedAndHidden": false,
        "digits": if kind == FieldType::Int { 8 } else { 0 },
        "displayLocationInDecimal": field.name.ends_with("Latitude") || field.name.ends_with("Longitude"),
        "encrypted": false,
        "externalId": field.external_id,
        "extraTypeInfo": extra(field),
        "filterable": filterable,
        "filteredLookupInfo": null,
        "formulaTreatNullNumberAsZero": false,
        "groupable": groupable,
        "highScaleNumber": false,
        "htmlFormatted": field.html,
        "idLookup": field.id_lookup || field.external_id || (name_field && !object.read_only),
        "inlineHelpText": field.help,
        "label": field.label,
        "length": field.length,
        "mask": null,
        "maskType": null,
    });
    let second = json!({
        "name": field.name,
        "nameField": name_field,
        "namePointing": reference && field.to.len() > 1,
        "nillable": !(field.required || field.system || kind == FieldType::Boolean || field.name == "OwnerId" || (name_field && field.defaulted)),
        "permissionable": !field.system && !field.required && !name_field && kind != FieldType::Address,
        "picklistValues": values,
        "polymorphicForeignKey": field.to.len() > 1,
        "precision": field.precision,
        "queryByDistance": kind == FieldType::Address,
        "referenceTargetField": null,
        "referenceTo": field.to,
        "relationshipName": field.relationship,
        "relationshipOrder": if field.master_detail { json!(0) } else { Value::Null },
        "restrictedDelete": reference && field.on_delete == OnDelete::Restrict,
        "restrictedPicklist": field.restricted,
        "scale": field.scale,
        "searchPrefilterable": reference,
        "soapType": soap_type(kind),
        "sortable": filterable && kind != FieldType::Multipicklist,
        "type": kind.name(),
        "unique": field.unique,
        "updateable": updateable,
        "writeRequiresMasterRead": false,
    });
    match (first, second) {
        (Value::Object(mut first), Value::Object(second)) => {
            first.extend(second);
            Value::Object(first)
        }
        (first, _) => first,
    }
}

fn extra(field: &Field) -> Option<&'static str> {
    if field.kind == FieldType::Textarea {
        return Some(if field.html { "richtextarea" } else { "plaintextarea" });
    }
    (field.compound.as_deref() == Some("Name")).then_some("personname")
}

fn soap_type(kind: FieldType) -> &'static str {
    match kind {
        FieldType::Id | FieldType::Reference => "tns:ID",
        FieldType::Boolean => "xsd:boolean",
        FieldType::Date => "xsd:date",
        FieldType::Datetime => "xsd:dateTime",
        FieldType::Double | FieldType::Currency | FieldType::Percent => "xsd:double",
        FieldType::Int => "xsd:int",
        FieldType::Address => "urn:address",
        FieldType::String
        | FieldType::Textarea
        | FieldType::Email
        | FieldType::Phone
        | FieldType::Url
        | FieldType::Picklist
        | FieldType::Multipicklist => "xsd:string",
    }
}

/// The country code that decides which state codes are possible.
fn controller(object: &Object, field: &Field) -> Option<String> {
    let kind = field.name.strip_suffix("StateCode")?;
    let country = object.find(&format!("{kind}CountryCode"))?;
    Some(object.field(country).name.clone())
}

fn value(value: &str, label: &str, active: bool, default: bool, valid_for: Option<&str>) -> Value {
    json!({ "active": active, "defaultValue": default, "label": label, "validFor": valid_for, "value": value })
}

/// Every state once, with the countries it belongs to as bits from the left.
fn states(countries: &[Country]) -> Vec<Value> {
    let mut all: Vec<(&str, &str, Vec<u8>)> = Vec::new();
    for (place, country) in countries.iter().enumerate() {
        for (code, name) in &country.states {
            let known = all.iter().position(|(known, label, _)| known == code && label == name);
            let at = known.unwrap_or_else(|| {
                all.push((code, name, vec![0; countries.len().div_ceil(8)]));
                all.len() - 1
            });
            if let Some(byte) = all.get_mut(at).and_then(|(_, _, bits)| bits.get_mut(place / 8)) {
                *byte |= 0x80 >> (place % 8);
            }
        }
    }
    all.iter().map(|(code, name, bits)| value(code, name, true, false, Some(&STANDARD.encode(bits)))).collect()
}
