//! Child relationships: the names under which a parent's children are queried.

use crate::schema::{FieldIx, ObjectIx, Schema};

/// Children of one kind, and the field by which they name their parent.
pub(crate) struct Child {
    pub(crate) name: String,
    pub(crate) object: ObjectIx,
    pub(crate) link: FieldIx,
}

/// The child relationship of `parent` that goes by `name`.
pub(crate) fn child(schema: &Schema, parent: ObjectIx, name: &str) -> Option<Child> {
    let parent = &schema.object(parent).name;
    for (place, object) in schema.objects.iter().enumerate() {
        for (link, field) in object.each_field().filter(|(_, field)| field.to.contains(parent)) {
            let known = if object.name == *parent && field.name == "ParentId" {
                format!("Child{}", object.label_plural)
            } else if field.name.ends_with("__c") {
                format!("{}s__r", object.name.trim_end_matches("__c"))
            } else if field.name == format!("{parent}Id") {
                object.label_plural.replace(' ', "")
            } else {
                continue;
            };
            if known.eq_ignore_ascii_case(name) {
                return Some(Child { name: known, object: ObjectIx(place), link });
            }
        }
    }
    None
}
