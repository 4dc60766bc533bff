//! What is bought.

use crate::order::money::Money;

/// One order item with its offer and its first product, as far as events need them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Item {
    /// The item's UUID.
    pub id: Option<String>,
    /// `quantity` or `qty`; 1 where absent.
    pub quantity: u32,
    /// `price`.
    pub price: Option<Money>,
    /// `price.summary`: the text itself, or its `headline`. Often HTML.
    pub price_summary: Option<String>,
    /// `offer.id`: 40 hex, or a `subscription_offer-…`. Absent on orders that came from Salesforce.
    pub offer_id: Option<String>,
    /// `offer_type__limio`
    pub offer_type: Option<String>,
    /// `display_name__limio`, else the offer's name.
    pub offer_display_name: Option<String>,
    /// `display_price__limio`, often HTML.
    pub display_price: Option<String>,
    /// `display_description__limio`
    pub description: Option<String>,
    /// `term__limio.type`: days, weeks, months, years.
    pub term_units: Option<String>,
    /// `term__limio.length`, as text.
    pub term_length: Option<String>,
    /// `product_code__limio` of the first product.
    pub product_code: Option<String>,
    /// `display_name__limio` of the first product, else its name, else the last segment of its path.
    pub product_name: Option<String>,
}
