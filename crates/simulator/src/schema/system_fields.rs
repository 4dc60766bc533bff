//! Fields that every object has, without being asked (Object Reference, "System Fields").

use super::{Field, FieldType, OnDelete};

fn system(name: &str, label: &str, kind: FieldType, length: usize) -> Field {
    let user = name.ends_with("ById") || name == "OwnerId";
    Field {
        name: name.to_owned(),
        label: label.to_owned(),
        kind,
        length,
        precision: 0,
        scale: 0,
        required: false,
        read_only: true,
        create_only: false,
        defaulted: true,
        unique: false,
        case_sensitive: false,
        external_id: false,
        id_lookup: name == "Id",
        restricted: false,
        values: Vec::new(),
        to: if user { vec!["User".to_owned()] } else { Vec::new() },
        relationship: name.strip_suffix("Id").filter(|_| user).map(str::to_owned),
        children: None,
        master_detail: false,
        on_delete: OnDelete::SetNull,
        locks_parent: false,
        needs: None,
        person: None,
        auto_number: None,
        html: false,
        help: None,
        compound: None,
        system: true,
    }
}

/// The first fields of an object or event with that label.
pub(crate) fn of(label: &str, event: bool) -> Vec<Field> {
    let created = || {
        [
            system("CreatedDate", "Created Date", FieldType::Datetime, 0),
            system("CreatedById", "Created By ID", FieldType::Reference, 18),
        ]
    };
    if event {
        let mut fields = vec![
            system("ReplayId", "Replay ID", FieldType::String, 1_000),
            system("EventUuid", "Event UUID", FieldType::String, 36),
        ];
        fields.extend(created());
        return fields;
    }
    let mut fields = vec![
        system("Id", &format!("{label} ID"), FieldType::Id, 18),
        system("IsDeleted", "Deleted", FieldType::Boolean, 0),
    ];
    fields.extend(created());
    fields.extend([
        system("LastModifiedDate", "Last Modified Date", FieldType::Datetime, 0),
        system("LastModifiedById", "Last Modified By ID", FieldType::Reference, 18),
        system("SystemModstamp", "System Modstamp", FieldType::Datetime, 0),
    ]);
    fields
}

/// Name and owner of a custom object, unless its file has them; the owner of a detail is its master's.
pub(crate) fn of_custom(label: &str, owned: bool, own: &[Field]) -> Vec<Field> {
    let has = |name: &str| own.iter().any(|field| field.name == name);
    let mut fields = Vec::new();
    if !has("OwnerId") && !owned {
        fields.push(Field { read_only: false, ..system("OwnerId", "Owner ID", FieldType::Reference, 18) });
    }
    if !has("Name") {
        fields.push(Field {
            read_only: false,
            id_lookup: true,
            system: false,
            ..system("Name", &format!("{label} Name"), FieldType::String, 80)
        });
    }
    fields
}
