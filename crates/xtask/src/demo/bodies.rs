//! What orders say: one body per order type, in the shapes that shops, self-service and agents send.
//!
//! Source: Limio documentation, "Orders API", "Definitions for Limio-generated Salesforce Platform Events".

use domain::order::change::OrderType;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

use super::customers::{Customer, hex, reference};

/// A subscription that a customer has, and that change orders name.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    id: String,
    reference: String,
}

/// What an order is about.
pub(crate) struct Occasion<'a> {
    /// Whose it is.
    pub(crate) customer: &'a Customer,
    /// The subscription it changes; for a new order, the one it makes.
    pub(crate) subscription: &'a Subscription,
    /// `order-` and 32 hex digits.
    pub(crate) id: &'a str,
    /// The human reference.
    pub(crate) reference: &'a str,
    /// When it was ordered, in seconds since 1970.
    pub(crate) at: i64,
    /// Whether a new order is bought for somebody else.
    pub(crate) is_gift: bool,
}

struct Plan {
    name: &'static str,
    product: &'static str,
    code: &'static str,
    /// In hundredths.
    price: u32,
    months: u32,
    offer: &'static str,
    version: &'static str,
}

const PLANS: [Plan; 4] = [
    Plan {
        name: "Reader Monthly",
        product: "Reader",
        code: "RD.MONTH",
        price: 1_250,
        months: 1,
        offer: "d5265bfdd7acd9b19e4a329354a7f2b4f1a9f4fd",
        version: "b993bd7dbd578d29a317391b0cf9443914945637",
    },
    Plan {
        name: "Reader Annual",
        product: "Reader",
        code: "RD.YEAR",
        price: 12_000,
        months: 12,
        offer: "c6786c146124a6897bf8e44395eb1613cb6d2d19",
        version: "eff31207a739bafaa3e1fe62bf7e1e02b80d9e46",
    },
    Plan {
        name: "Digital Plus",
        product: "Digital",
        code: "DG.PLUS",
        price: 1_999,
        months: 1,
        offer: "1f0e3dad99908345f7439f8ffabdffc4a7c1d2be",
        version: "98f13708210194c475687be6106a3b84de20f9c1",
    },
    Plan {
        name: "Print and Digital Quarterly",
        product: "Print Bundle",
        code: "PB.QUART",
        price: 7_450,
        months: 3,
        offer: "3c59dc048e8850243be8079a5c74d079b1c3f00d",
        version: "b6d767d2f8ed5d21a44b0e5886680cb9f7a2e411",
    },
];

const REASONS: [&str; 4] = ["too_expensive", "no_time", "found_another", "delivery_problems"];

impl Subscription {
    /// A subscription with a name of its own.
    pub(crate) fn new(rng: &mut StdRng) -> Self {
        Self { id: format!("sub-{}", hex(rng, 32)), reference: reference(rng, 12) }
    }
}

/// The type of the platform event by which Limio announces an order; `None` for the types that have none.
pub(crate) fn announced_as(order_type: OrderType, is_gift: bool) -> Option<&'static str> {
    match order_type {
        OrderType::AddCharge | OrderType::PayInvoice | OrderType::CancelIntent | OrderType::DataCapture => None,
        OrderType::New if is_gift => Some("NEW_GIFT_ORDER"),
        OrderType::New => Some("NEW_ORDER"),
        OrderType::CancelSubscription => Some("CANCEL_REQUEST"),
        OrderType::ChangeOffer => Some("CHANGE_OFFER"),
        OrderType::AddOffer => Some("ADD_OFFER"),
        OrderType::ChangePayment => Some("CHANGE_PAYMENT_REQUEST"),
        OrderType::ChangeAddress => Some("CHANGED_DELIVERY_ADDRESS"),
        OrderType::Renew => Some("REQUEST_RENEWAL"),
        OrderType::GiftRefund | OrderType::Refund => Some("REFUND"),
        OrderType::UpdateSubscription => Some("UPDATE_SUBSCRIPTION"),
        OrderType::UpdateCustomerDetails => Some("UPDATE_CUSTOMER"),
    }
}

/// The body of one order.
pub(crate) fn body(order_type: OrderType, of: &Occasion<'_>, rng: &mut StdRng) -> Map<String, Value> {
    let own = match order_type {
        OrderType::New => new(of, rng),
        OrderType::CancelSubscription => {
            json!({ "cancelDate": day(of.at + 30 * DAY), "data": { "reason": reason(rng) } })
        }
        OrderType::ChangeOffer => json!({
            "change_type": "change_offer", "offer": offer(plan(rng), of), "quantity": 1,
            "effectiveDate": day(of.at + 14 * DAY), "deliveryDetails": {},
        }),
        OrderType::AddOffer => add_offer(of, rng),
        OrderType::AddCharge => json!({ "total": price(400, of, rng), "description": "Replacement issue" }),
        OrderType::ChangePayment => change_payment(of, rng),
        OrderType::ChangeAddress => json!({
            "type": if rng.random_bool(0.5) { "billing" } else { "delivery" },
            "address": of.customer.address(rng.random_bool(0.3)),
        }),
        OrderType::Renew => json!({ "effectiveDate": format!("{}T00:00:00.000", day(of.at + 7 * DAY)) }),
        OrderType::GiftRefund | OrderType::Refund => json!({
            "total": price(1_250, of, rng), "data": { "reason": reason(rng) },
        }),
        OrderType::UpdateSubscription => update_subscription(of, rng),
        OrderType::UpdateCustomerDetails => json!({
            "customerDetails": {
                "full_name": format!("{} {}", of.customer.first_name, of.customer.last_name),
                "email": of.customer.email, "company_industry": "publishing", "business_type": "sole_trader",
            },
        }),
        OrderType::PayInvoice => json!({
            "invoice": { "id": format!("INV-{}", reference(rng, 6)), "items": [{ "id": "1", "amount": "12.50" }] },
        }),
        OrderType::CancelIntent => json!({
            "cancelInformation": { "reason": pick(&REASONS, rng), "text": "Thinking about it", "option": "pause" },
        }),
        OrderType::DataCapture => {
            json!({ "data": { "topic": "newsletter", "consent": true, "page": "/offers/spring" } })
        }
    };
    let mut body = Map::new();
    body.insert("__spec_version".into(), json!("2"));
    body.insert("id".into(), json!(of.id));
    body.insert("order_type".into(), json!(order_type.as_str()));
    body.insert("order_reference".into(), json!(of.reference));
    body.insert("mode".into(), json!("production"));
    body.insert("orderDate".into(), json!(moment(of.at)));
    body.insert("owner".into(), json!(of.customer.owner));
    body.insert("userDetails".into(), of.customer.claims(of.at - 60));
    if order_type != OrderType::New {
        body.extend(change_frame(of, rng));
    }
    if let Value::Object(own) = own {
        body.extend(own);
    }
    body
}

const DAY: i64 = 86_400;

/// What every change order has: the subscription in one of its four spellings, and `external_id`, which repeats it.
fn change_frame(of: &Occasion<'_>, rng: &mut StdRng) -> Map<String, Value> {
    let Subscription { id, reference } = of.subscription;
    let named = match rng.random_range(0..4) {
        0 => json!({ "forSubscription": { "id": id } }),
        1 => json!({ "subscriptionId": id, "subscriptionRef": reference }),
        2 => json!({ "forSubscription": { "name": reference } }),
        _ => json!({ "subscriptionId": id }),
    };
    let mut frame = Map::new();
    if let Value::Object(named) = named {
        frame.extend(named);
    }
    frame.insert("external_id".into(), json!(id));
    frame.insert("source".into(), json!(if rng.random_bool(0.2) { "online" } else { "shop" }));
    frame.insert("initiated_source".into(), json!("shop"));
    frame.insert("process_immediately".into(), json!(true));
    if rng.random_bool(0.4) {
        frame.insert("customerId".into(), json!(of.customer.customer_id));
    }
    frame
}

/// What a body calls its subscription.
pub(crate) fn subscription_names(body: &Map<String, Value>) -> Vec<String> {
    let inner = body.get("forSubscription");
    let inner = ["id", "name"].map(|field| inner.and_then(|subscription| subscription.get(field)));
    let outer = ["subscriptionId", "subscriptionRef", "sub_reference"].map(|field| body.get(field));
    inner.into_iter().chain(outer).flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn new(of: &Occasion<'_>, rng: &mut StdRng) -> Value {
    let plan = plan(rng);
    let basket = uuid_text(rng);
    let from_agent = rng.random_bool(0.08);
    let source = if from_agent { "salesforce" } else { "shop" };
    let currency = of.customer.place.currency;
    let mut order = json!({
        "orderState": "submitting",
        "source": source, "initiated_source": source,
        "external_id": basket, "checkoutId": format!("basket-{basket}"),
        "sub_reference": of.subscription.reference,
        "subscriptionReference": null, "subscriptionId": null, "subId": null, "subRef": null,
        "country": of.customer.place.country, "allowedCountries": [], "variant": "standard",
        "isGift": of.is_gift, "isTrial": false, "student": false, "hasDelivery": plan.product == "Print Bundle",
        "autoRenew": true, "paymentType": "zuora_card", "redirectUrl": null,
        "orderItems": [{
            "id": uuid_text(rng), "name": plan.name, "type": "item", "quantity": 1, "details": "", "addOns": [],
            "price": price(plan.price, of, rng), "offer": offer(plan, of),
            "products": [{
                "path": format!("/products/{}", plan.product), "record_type": "product",
                "attributes": { "product_code__limio": plan.code, "display_name__limio": plan.product },
            }],
        }],
        "customerDetails": of.customer.details(),
        "billingDetails": of.customer.address(rng.random_bool(0.3)),
        "deliveryDetails": {},
        "payment": {
            "type": "zuora",
            "zuora": { "refId": hex(rng, 32), "paymentGateway": "Gateway A", "token": "invented", "signature": "invented" },
        },
        "payment_status": "success",
        "total": { "amount": amount(plan.price, rng), "currency": currency },
        "tracking": { "source": source, "campaign": "/campaigns/Spring", "offers": [format!("/offers2/{}", plan.name)],
                      "purchaseCountryCode": of.customer.place.country },
        "customFields": { "referrer": "search" },
    });
    if of.is_gift {
        order["giftCode"] = json!(reference(rng, 10));
    } else if rng.random_bool(0.05) {
        order["isRedeem"] = json!(true);
        order["redeemCode"] = json!(reference(rng, 10));
    }
    order
}

fn add_offer(of: &Occasion<'_>, rng: &mut StdRng) -> Value {
    if rng.random_bool(0.6) {
        return json!({
            "change_type": "cancel_save", "quantity": 1, "effectiveDate": format!("{}T00:00:00.000", day(of.at + 20 * DAY)),
            "offer": {
                "id": "4e732ced3463d06de0ca9a15b6153677a2b9c0de", "path": "/offers2/Save 20",
                "data": { "record_subtype": "discount",
                          "attributes": { "discount__limio": { "value": 20, "termLength": 3, "termType": "months" } } },
            },
            "data": { "reason": { "id": pick(&REASONS, rng) } },
        });
    }
    json!({ "change_type": "add_offer", "quantity": 1, "effectiveDate": day(of.at), "offer": offer(plan(rng), of) })
}

fn change_payment(of: &Occasion<'_>, rng: &mut StdRng) -> Value {
    match rng.random_range(0..3) {
        // Completed at the gateway: the order says nothing of its own.
        0 => json!({}),
        1 => json!({ "payment": { "type": "paypal", "paypal": { "result": { "nonce": "invented" } } } }),
        _ => json!({
            "payment": { "type": "zuora", "zuora": { "refId": hex(rng, 32), "paymentGateway": "Gateway A" } },
            "billingDetails": of.customer.address(rng.random_bool(0.3)),
        }),
    }
}

/// The current style with items, or the older one with `updates`.
fn update_subscription(of: &Occasion<'_>, rng: &mut StdRng) -> Value {
    let child = format!("subscription_offer-{}", hex(rng, 32));
    let plan = plan(rng);
    if rng.random_bool(0.5) {
        return json!({
            "orderItems": [
                { "orderItemActionType": "add", "type": "offer", "quantity": 1, "offer": { "id": plan.offer } },
                { "orderItemActionType": "remove", "type": "subscription_offer", "quantity": 1, "offer": { "id": child } },
            ],
        });
    }
    let effective = day(of.at + DAY);
    json!({
        "updates": [
            { "type": "add", "record_type": "offer", "id": plan.offer, "version": plan.version,
              "quantity": 2, "effective_date": effective },
            { "type": "remove", "record_type": "offer", "id": child, "quantity": 1, "effective_date": effective },
        ],
    })
}

fn offer(plan: &Plan, of: &Occasion<'_>) -> Value {
    let term =
        json!({ "renewal_type": "TERMED", "renewal_trigger": "EXTERNAL", "length": plan.months, "type": "months" });
    let (whole, cents, currency) = (plan.price / 100, plan.price % 100, of.customer.place.currency);
    json!({
        "id": plan.offer, "version": plan.version, "name": plan.name, "path": format!("/offers2/{}", plan.name),
        "type": "item", "service": "limio", "mode": "production", "record_type": "offer", "status": "active",
        "data": {
            "path": format!("/offers2/{}", plan.name), "name": plan.name, "record_type": "offer",
            "attributes": {
                "display_name__limio": plan.name,
                "display_price__limio": format!("<p>{whole}.{cents:02} {currency}</p>"),
                "display_description__limio": "All articles, every day", "offer_type__limio": "standard",
                "autoRenew__limio": true, "term__limio": term, "payment_types__limio": ["zuora_card"],
                "price__limio": [{
                    "name": "charge_1", "label": "Charge 1", "type": "recurring", "trigger": "order_date",
                    "value": format!("{whole}.{cents:02}"), "currencyCode": currency,
                    "repeat_count": 1, "repeat_interval": plan.months, "repeat_interval_type": "months",
                }],
            },
        },
    })
}

/// A price whose amount and summary come in either of their shapes.
fn price(hundredths: u32, of: &Occasion<'_>, rng: &mut StdRng) -> Value {
    let currency = of.customer.place.currency;
    let text = format!("{}.{:02} {currency}", hundredths / 100, hundredths % 100);
    let summary = if rng.random_bool(0.3) {
        json!(text)
    } else {
        json!({ "headline": format!("<p>{text}</p>"), "subline": "<p>per term</p>" })
    };
    json!({ "currency": currency, "amount": amount(hundredths, rng), "summary": summary })
}

/// A number, or the same as text.
fn amount(hundredths: u32, rng: &mut StdRng) -> Value {
    if rng.random_bool(0.3) {
        json!(format!("{}.{:02}", hundredths / 100, hundredths % 100))
    } else {
        json!(f64::from(hundredths) / 100.0)
    }
}

fn reason(rng: &mut StdRng) -> Value {
    json!({ "id": pick(&REASONS, rng), "feedback": "Maybe another time" })
}

fn plan(rng: &mut StdRng) -> &'static Plan {
    &PLANS[rng.random_range(0..PLANS.len())]
}

fn pick<'a>(words: &[&'a str], rng: &mut StdRng) -> &'a str {
    words[rng.random_range(0..words.len())]
}

fn uuid_text(rng: &mut StdRng) -> String {
    [8, 4, 4, 4, 12].map(|digits| hex(rng, digits)).join("-")
}

fn moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}

fn day(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or_default().strftime("%Y-%m-%d").to_string()
}
