//! The order inside the event: the parts that subscribers ask for, as a JSON text.
//!
//! Which keys it holds is Limio's list, extended by `orderDataOptions`. What is not on the list is not sent.
//!
//! Source: Limio documentation, "Platform Events Definitions" (`i42as__LimioOrder`).

use serde_json::{Map, Value};

use crate::config::{OrderDataOptions, OrderProcessing, OversizePolicy};
use crate::failure::{Failure, Reason};
use crate::mapping::fields::utf16_length;
use crate::order::Order;

const ITEM_KEYS: [&str; 4] = ["name", "type", "quantity", "id"];
const PRICE_KEYS: [&str; 3] = ["summary", "currency", "amount"];
const OFFER_KEYS: [&str; 5] = ["name", "path", "id", "version", "type"];
const PRODUCT_KEYS: [&str; 3] = ["path", "attributes", "record_type"];

/// What of a product's attributes outlasts shrinking.
const PRODUCT_NAMES: [&str; 2] = ["product_code__limio", "display_name__limio"];

/// What of the order outlasts shrinking.
const CORE: [&str; 6] = ["customerDetails", "orderDate", "orderItems", "total", "forSubscription", EVENT_KEY];

/// Not of the order: the key by which subscribers fold a double of the event, for those who ask for it.
const EVENT_KEY: &str = "eventKey";

/// A part that may be left out to make the order fit.
#[derive(Debug, Clone, Copy)]
enum Part {
    Key(&'static str),
    ProductAttributes,
    OfferData,
    Products,
    AllButCore,
}

/// The order in which parts are left out: what subscribers can read elsewhere goes first.
const PARTS: [Part; 9] = [
    Part::Key("originalOffer"),
    Part::ProductAttributes,
    Part::OfferData,
    Part::Key("customFields"),
    Part::Key("deliveryDetails"),
    Part::Key("tracking"),
    Part::Products,
    Part::Key("billingDetails"),
    Part::AllButCore,
];

/// The text for the event, and what had to be done to it.
#[derive(Debug)]
pub(crate) struct ReducedOrder {
    /// The JSON text; `None` when it would not fit.
    pub(crate) json: Option<String>,
    /// What was left out, in a sentence.
    pub(crate) adjustment: Option<String>,
}

/// Reduces the order to what the settings name, and to the size that the field holds.
///
/// # Errors
///
/// The text is too long and the settings say to give up.
pub(crate) fn reduced_order(order: &Order, key: &str, processing: &OrderProcessing) -> Result<ReducedOrder, Failure> {
    let limit = processing.platform_events.max_order_json_chars;
    let mut reduced = selected(&order.raw, &processing.order_data_options);
    if processing.order_data_options.fields_to_keep.iter().any(|field| field == EVENT_KEY) {
        reduced.insert(EVENT_KEY.to_owned(), Value::String(key.to_owned()));
    }
    let json = rendered(&reduced);
    let length = utf16_length(&json);
    if length <= limit {
        return Ok(ReducedOrder { json: Some(json), adjustment: None });
    }
    let omitted =
        format!("LimioOrder was left out: it holds at most {limit} characters and the reduced order has {length}.");
    match processing.platform_events.order_json_overflow {
        OversizePolicy::DeadLetter => {
            let message = format!("LimioOrder holds at most {limit} characters and the reduced order has {length}");
            Err(Failure::permanent(Reason::InvalidValue, message).at("LimioOrder").by("order_json_overflow"))
        }
        OversizePolicy::Omit => Ok(ReducedOrder { json: None, adjustment: Some(omitted) }),
        OversizePolicy::Shrink => {
            let mut left_out = Vec::new();
            for part in PARTS {
                if leave_out(&mut reduced, part) {
                    left_out.push(named(part));
                }
                let json = rendered(&reduced);
                if utf16_length(&json) <= limit {
                    let parts = left_out.join(", ");
                    let adjustment =
                        format!("LimioOrder had {length} characters of at most {limit} and goes without {parts}.");
                    return Ok(ReducedOrder { json: Some(json), adjustment: Some(adjustment) });
                }
            }
            Ok(ReducedOrder { json: None, adjustment: Some(omitted) })
        }
    }
}

/// The JSON text. `@{`, which a composite graph would take for a reference, is written so that the JSON stays equal.
fn rendered(reduced: &Map<String, Value>) -> String {
    // An at sign stands only inside strings, and never after an escape of its own.
    Value::Object(reduced.clone()).to_string().replace("@{", "\\u0040{")
}

fn selected(raw: &Map<String, Value>, options: &OrderDataOptions) -> Map<String, Value> {
    let keys = options.fields_to_keep.iter();
    keys.filter_map(|key| {
        let value = raw.get(key)?;
        let items = value.as_array().filter(|_| key == "orderItems");
        let value = match items {
            Some(items) => Value::Array(items.iter().map(|item| reduced_item(item, options)).collect()),
            None => value.clone(),
        };
        Some((key.clone(), value))
    })
    .collect()
}

fn reduced_item(item: &Value, options: &OrderDataOptions) -> Value {
    let Value::Object(item) = item else { return item.clone() };
    let mut reduced = picked(item, &ITEM_KEYS);
    if let (None | Some(Value::Null), Some(quantity)) = (reduced.get("quantity"), item.get("qty")) {
        reduced.insert("quantity".to_owned(), quantity.clone());
    }
    if let Some(price) = item.get("price") {
        reduced.insert(
            "price".to_owned(),
            price.as_object().map_or_else(|| price.clone(), |price| picked(price, &PRICE_KEYS).into()),
        );
    }
    if let Some(offer) = item.get("offer") {
        reduced.insert(
            "offer".to_owned(),
            offer.as_object().map_or_else(|| offer.clone(), |offer| reduced_offer(offer, options)),
        );
    }
    // Where an item lists no products of its own, they stand in its offer.
    let own = item.get("products").and_then(Value::as_array);
    let offered = item.get("offer").and_then(|offer| offer.get("data")?.get("products")?.as_array());
    if let Some(products) = own.filter(|products| !products.is_empty()).or(offered).or(own) {
        let products = products.iter().map(|product| reduced_product(product, options));
        reduced.insert("products".to_owned(), products.collect());
    }
    add(&mut reduced, item, &options.item_fields);
    reduced.into()
}

fn reduced_product(product: &Value, options: &OrderDataOptions) -> Value {
    let Value::Object(product) = product else { return product.clone() };
    let mut reduced = picked(product, &PRODUCT_KEYS);
    add(&mut reduced, product, &options.product_data_fields);
    reduced.into()
}

fn reduced_offer(offer: &Map<String, Value>, options: &OrderDataOptions) -> Value {
    let mut reduced = picked(offer, &OFFER_KEYS);
    if let Some(Value::Object(data)) = offer.get("data") {
        let mut kept = Map::new();
        if let Some(price) = data.get("attributes").and_then(|attributes| attributes.get("price__limio")) {
            kept.insert(
                "attributes".to_owned(),
                Value::Object(Map::from_iter([("price__limio".to_owned(), price.clone())])),
            );
        }
        for key in &options.offer_data_fields {
            if let Some(value) = data.get(key) {
                kept.insert(key.clone(), value.clone());
            }
        }
        if !kept.is_empty() {
            reduced.insert("data".to_owned(), kept.into());
        }
    }
    reduced.into()
}

fn picked(object: &Map<String, Value>, keys: &[&str]) -> Map<String, Value> {
    keys.iter().filter_map(|key| Some(((*key).to_owned(), object.get(*key)?.clone()))).collect()
}

/// Adds keys that are not there yet.
fn add(reduced: &mut Map<String, Value>, object: &Map<String, Value>, keys: &[String]) {
    for key in keys {
        if let (false, Some(value)) = (reduced.contains_key(key), object.get(key)) {
            reduced.insert(key.clone(), value.clone());
        }
    }
}

/// Whether there was anything to leave out.
fn leave_out(reduced: &mut Map<String, Value>, part: Part) -> bool {
    match part {
        Part::Key(key) => reduced.shift_remove(key).is_some(),
        Part::AllButCore => {
            let before = reduced.len();
            reduced.retain(|key, _| CORE.contains(&key.as_str()));
            reduced.len() < before
        }
        Part::Products => each_item(reduced, |item| item.shift_remove("products").is_some()),
        Part::OfferData => each_item(reduced, |item| {
            item.get_mut("offer")
                .and_then(Value::as_object_mut)
                .is_some_and(|offer| offer.shift_remove("data").is_some())
        }),
        Part::ProductAttributes => each_item(reduced, |item| {
            let products = item.get_mut("products").and_then(Value::as_array_mut).into_iter().flatten();
            let attributes = products.filter_map(|product| product.get_mut("attributes")?.as_object_mut());
            attributes.fold(false, |any, attributes| {
                let before = attributes.len();
                attributes.retain(|key, _| PRODUCT_NAMES.contains(&key.as_str()));
                attributes.len() < before || any
            })
        }),
    }
}

fn each_item(reduced: &mut Map<String, Value>, mut leave_out: impl FnMut(&mut Map<String, Value>) -> bool) -> bool {
    let items = reduced.get_mut("orderItems").and_then(Value::as_array_mut).into_iter().flatten();
    items.filter_map(Value::as_object_mut).filter_map(|item| leave_out(item).then_some(())).count() > 0
}

const fn named(part: Part) -> &'static str {
    match part {
        Part::Key(key) => key,
        Part::ProductAttributes => "most product attributes",
        Part::OfferData => "offer data",
        Part::Products => "products",
        Part::AllButCore => "every key but the core",
    }
}
