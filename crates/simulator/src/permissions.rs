//! What the integration user may do with an object.
//!
//! Without Read the object does not exist: its paths answer `NOT_FOUND`, its queries `INVALID_TYPE`. The rest follows
//! SOAP API Developer Guide, "Status Codes"; the status of `INSUFFICIENT_ACCESS_OR_READONLY` is a setting, because
//! recordings have 400 as well as 403.

use crate::api_error::ApiError;
use crate::schema::Object;
use crate::settings::{MissingCreate, Settings};
use crate::transaction::Target;

/// The refusal of a write the user has no permission for.
pub(crate) fn insufficient(settings: &Settings) -> ApiError {
    let message = "insufficient access rights on object id";
    ApiError::new(settings.insufficient_access_status, "INSUFFICIENT_ACCESS_OR_READONLY", message).with_fields([""; 0])
}

/// What a save needs before its target is looked for: Read always, and Create or Edit where that is clear.
pub(crate) fn check_save(object: &Object, target: &Target, settings: &Settings) -> Result<(), ApiError> {
    if settings.object_permissions.is_empty() {
        return Ok(());
    }
    if !settings.permission(&object.name).read {
        return Err(ApiError::not_found());
    }
    match target {
        Target::New => check_known(object, false, settings),
        Target::Id(_) => check_known(object, true, settings),
        Target::ExternalId { .. } => Ok(()),
    }
}

/// Create for a new row, Edit for one that exists.
pub(crate) fn check_known(object: &Object, exists: bool, settings: &Settings) -> Result<(), ApiError> {
    if settings.object_permissions.is_empty() {
        return Ok(());
    }
    let permission = settings.permission(&object.name);
    match (exists, settings.missing_create) {
        (true, _) if !permission.edit => Err(insufficient(settings)),
        (false, MissingCreate::InsufficientAccess) if !permission.create => Err(insufficient(settings)),
        (false, MissingCreate::CannotInsert) if !permission.create => {
            let message = format!("entity type cannot be inserted: {}", object.label);
            Err(ApiError::bad_request("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message).with_fields([""; 0]))
        }
        _ => Ok(()),
    }
}

/// Read, which every other permission needs, and Create.
pub(crate) fn may_create(object: &Object, settings: &Settings) -> bool {
    let permission = settings.permission(&object.name);
    permission.read && permission.create
}

/// Read and Delete.
pub(crate) fn check_delete(object: &Object, settings: &Settings) -> Result<(), ApiError> {
    if settings.object_permissions.is_empty() {
        return Ok(());
    }
    let permission = settings.permission(&object.name);
    if !permission.read {
        return Err(ApiError::not_found());
    }
    if permission.delete { Ok(()) } else { Err(insufficient(settings)) }
}
