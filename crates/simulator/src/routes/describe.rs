//! Metadata of objects and fields, as a describe call prints it.

use serde_json::{Value, json};

use crate::call::Call;
use crate::org::Org;
use crate::schema::{Field, FieldType, Object, ObjectIx};

pub(crate) fn global(org: &Org, call: &Call) -> Value {
    let objects: Vec<Value> = org.schema.objects.iter().map(|object| Value::Object(summary(object, call))).collect();
    json!({ "encoding": "UTF-8", "maxBatchSize": 200, "sobjects": objects })
}

pub(crate) fn basic(org: &Org, object: ObjectIx, call: &Call) -> Value {
    json!({ "objectDescribe": summary(org.schema.object(object), call), "recentItems": [] })
}

fn summary(object: &Object, call: &Call) -> serde_json::Map<String, Value> {
    let url = format!("/services/data/v{}/sobjects/{}", call.version, object.name);
    let writable = !object.read_only;
    let value = json!({
        "activateable": false,
        "associateEntityType": null,
        "associateParentEntity": null,
        "createable": writable,
        "custom": object.custom,
        "customSetting": false,
        "deepCloneable": false,
        "deletable": writable && !object.event,
        "deprecatedAndHidden": false,
        "feedEnabled": false,
        "hasSubtypes": false,
        "isInterface": false,
        "isSubtype": false,
        "keyPrefix": object.key_prefix,
        "label": object.label,
        "labelPlural": object.label_plural,
        "layoutable": !object.event,
        "mergeable": matches!(object.name.as_str(), "Account" | "Contact" | "Lead"),
        "mruEnabled": writable && !object.event,
        "name": object.name,
        "queryable": !object.event,
        "replicateable": !object.event,
        "retrieveable": !object.event,
        "searchable": !object.event,
        "triggerable": true,
        "undeletable": writable && !object.event,
        "updateable": writable && !object.event,
        "urls": { "sobject": url, "describe": format!("{url}/describe"), "rowTemplate": format!("{url}/{{ID}}") },
    });
    value.as_object().cloned().unwrap_or_default()
}

pub(crate) fn object(org: &Org, ix: ObjectIx, call: &Call) -> Value {
    let object = org.schema.object(ix);
    let mut all = summary(object, call);
    let fields: Vec<Value> = object
        .each_field()
        .filter(|(field, _)| object.is_visible(*field, &call.settings))
        .map(|(_, definition)| field(object, definition))
        .collect();
    let mut types = Vec::new();
    if ix == org.schema.account {
        let state = org.state();
        let record_type = org.schema.object(org.schema.record_type);
        for (id, row) in state.table(org.schema.record_type).committed() {
            let text = |name: &str| record_type.find(name).and_then(|field| row.text(field)).unwrap_or_default();
            let personal = id == state.defaults.person_record_type;
            if personal && !call.settings.person_accounts {
                continue;
            }
            types.push(json!({
                "active": true, "available": true, "defaultRecordTypeMapping": !personal,
                "developerName": text("DeveloperName"), "master": false, "name": text("Name"),
                "recordTypeId": id.to_string(), "urls": {},
            }));
        }
    }
    all.insert("recordTypeInfos".into(), Value::Array(types));
    all.insert("fields".into(), Value::Array(fields));
    Value::Object(all)
}

fn field(object: &Object, field: &Field) -> Value {
    let name_of_row = field.name == "Name" && object.auto_number.is_none() && !object.read_only;
    let createable = !object.read_only && (!field.read_only || name_of_row);
    let values: Vec<Value> = field
        .values
        .iter()
        .map(|value| json!({ "active": true, "defaultValue": false, "label": value, "validFor": null, "value": value }))
        .collect();
    json!({
        "name": field.name,
        "label": field.label,
        "type": field.kind.name(),
        "length": field.length,
        "byteLength": field.length * 3,
        "precision": field.precision,
        "scale": field.scale,
        "nillable": !field.required && field.kind != FieldType::Id && field.kind != FieldType::Boolean,
        "createable": createable,
        "updateable": createable && !object.event,
        "defaultedOnCreate": field.defaulted || field.kind == FieldType::Boolean,
        "unique": field.unique,
        "externalId": field.external_id,
        "idLookup": field.id_lookup || field.external_id,
        "caseSensitive": false,
        "restrictedPicklist": field.restricted,
        "picklistValues": values,
        "referenceTo": field.to,
        "relationshipName": field.relationship,
        "calculated": false,
        "compoundFieldName": null,
        "custom": field.name.ends_with("__c"),
    })
}
