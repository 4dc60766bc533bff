//! People, places and the names they go by.

use serde_json::Value;

use crate::failure::Failure;
use crate::order::id::RecordId;
use crate::order::party::{Address, Customer, Student, User};
use crate::order::read::{Fields, RecordOf};
use crate::order::{ChangeReason, SubscriptionName, Tracking, identity};

pub(super) fn subscription(root: &Fields<'_>) -> Result<SubscriptionName, Failure> {
    // Read strictly first, so that a name of another type is refused by its path instead of being passed over.
    if let Some(named) = root.object("forSubscription")? {
        named.text("id")?;
        named.text("name")?;
    }
    root.first_text(&[
        "subscriptionId",
        "subId",
        "subscriptionRef",
        "subRef",
        "subscriptionReference",
        "sub_reference",
    ])?;
    Ok(identity::subscription(root.map()))
}

pub(super) fn tracking(root: &Fields<'_>) -> Result<Tracking, Failure> {
    let Some(fields) = root.object("tracking")? else { return Ok(Tracking::default()) };
    Ok(Tracking {
        account_id: fields.id_of("accountId", RecordOf::Account)?,
        contact_id: fields.id_of("contactId", RecordOf::Contact)?,
        case_id: fields.id_of("caseId", RecordOf::Case)?,
        user_id: fields.id_of("userId", RecordOf::User)?,
    })
}

/// `partnerSalesforceAccountId`, or the same under `forPartner`.
pub(super) fn partner_account(root: &Fields<'_>) -> Result<Option<RecordId>, Failure> {
    const KEY: &str = "partnerSalesforceAccountId";
    if let Some(id) = root.id_of(KEY, RecordOf::Account)? {
        return Ok(Some(id));
    }
    root.object_if_any("forPartner").map_or(Ok(None), |partner| partner.id_of(KEY, RecordOf::Account))
}

/// `userDetails`. A `crm_id` that is no Account's id is refused where it is needed, and absent elsewhere.
pub(super) fn user(root: &Fields<'_>, needs_crm_id: bool) -> Result<User, Failure> {
    let Some(fields) = root.object("userDetails")? else { return Ok(User::default()) };
    // The issuer's address stands before the slash. There may be several, and not every one names somebody.
    let mut subs = fields.objects_ending_in("/aut").map(|claim| claim.text("sub"));
    let external_sub = subs.find_map(Result::transpose).transpose()?;
    let crm_id = match fields.id_of("crm_id", RecordOf::Account) {
        Err(slip) if needs_crm_id => return Err(slip),
        read => read.unwrap_or_default(),
    };
    Ok(User { sub: fields.text("sub")?, email: fields.text("email")?, external_sub, crm_id })
}

pub(super) fn customer(root: &Fields<'_>) -> Result<Customer, Failure> {
    const READ: [&str; 11] = [
        "firstName",
        "first_name",
        "lastName",
        "last_name",
        "fullName",
        "full_name",
        "email",
        "phone",
        "companyName",
        "company_name",
        "company",
    ];
    let Some(fields) = root.object("customerDetails")? else { return Ok(Customer::default()) };
    Ok(Customer {
        first_name: fields.first_text(&["firstName", "first_name"])?,
        last_name: fields.first_text(&["lastName", "last_name"])?,
        full_name: fields.first_text(&["fullName", "full_name"])?,
        email: fields.text("email")?,
        phone: fields.text("phone")?,
        company_name: fields.first_text(&["companyName", "company_name", "company"])?,
        extra: fields
            .map()
            .iter()
            .filter(|(key, _)| !READ.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    })
}

pub(super) fn gift_code(root: &Fields<'_>) -> Result<Option<String>, Failure> {
    if let Some(code) = root.text("giftCode")? {
        return Ok(Some(code));
    }
    root.object_if_any("payment").map_or(Ok(None), |payment| payment.text("gift_code"))
}

/// `studentDetails`, unless the order says that it is no student's: the checkout sends them all the same.
pub(super) fn student(root: &Fields<'_>) -> Result<Option<Student>, Failure> {
    let denied = match root.value("student") {
        Some(Value::Bool(flag)) => !flag,
        Some(Value::String(text)) => text.trim().eq_ignore_ascii_case("false"),
        _ => false,
    };
    if denied {
        return Ok(None);
    }
    let Some(fields) = root.object("studentDetails")? else { return Ok(None) };
    let student = Student {
        university: fields.text("university")?,
        course: fields.text("course")?,
        graduation_year: fields.text("graduationYear")?,
    };
    Ok((student != Student::default()).then_some(student))
}

/// `data.reason`, else `cancelInformation`.
pub(super) fn reason(root: &Fields<'_>) -> Result<Option<ChangeReason>, Failure> {
    if let Some(data) = root.object_if_any("data") {
        if let Some(fields) = data.object_if_any("reason") {
            return Ok(Some(ChangeReason { id: fields.text("id")?, feedback: fields.text("feedback")? }));
        }
        if let Some(Value::String(id)) = data.value("reason") {
            return Ok(Some(ChangeReason { id: Some(id.trim().to_owned()), feedback: None }));
        }
    }
    let Some(fields) = root.object_if_any("cancelInformation") else { return Ok(None) };
    Ok(Some(ChangeReason { id: fields.text("reason")?, feedback: fields.text("text")? }))
}

impl Address {
    /// `None` where nothing is said.
    pub(super) fn read(fields: &Fields<'_>) -> Result<Option<Self>, Failure> {
        let address = Self {
            first_name: fields.first_text(&["firstName", "first_name"])?,
            last_name: fields.first_text(&["lastName", "last_name"])?,
            email: fields.first_text(&["email", "workEmail"])?,
            phone: fields.first_text(&["phone", "workPhone", "otherPhone"])?,
            company: fields.first_text(&["company", "companyName"])?,
            address1: fields.text("address1")?,
            address2: fields.text("address2")?,
            city: fields.text("city")?,
            state: fields.text("state")?,
            postal_code: fields.first_text(&["postalCode", "zipCode"])?,
            country: fields.text("country")?,
        };
        Ok((address != Self::default()).then_some(address))
    }
}
