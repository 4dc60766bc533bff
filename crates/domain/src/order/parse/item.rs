//! Items, with what their offer and first product say.

use crate::failure::Failure;
use crate::order::item::Item;
use crate::order::read::Fields;

impl Item {
    /// Reads an item. `id_key` is where its own id stands; a change order's body is an item without one.
    pub(super) fn read(fields: &Fields<'_>, id_key: Option<&str>) -> Result<Self, Failure> {
        let offer = fields.object("offer")?;
        let data = offer.as_ref().map(|offer| offer.object("data")).transpose()?.flatten();
        let attributes = match (&data, &offer) {
            (Some(data), _) if data.value("attributes").is_some() => data.object("attributes")?,
            (_, Some(offer)) => offer.object("attributes")?,
            (_, None) => None,
        };
        let mut item = Self {
            id: id_key.map(|key| fields.text(key)).transpose()?.flatten(),
            quantity: fields.quantity()?,
            price: fields.money("price")?,
            price_summary: match fields.object_if_any("price") {
                Some(price) => match price.object_if_any("summary") {
                    Some(summary) => summary.text("headline")?,
                    None => price.text("summary")?,
                },
                None => None,
            },
            ..Self::default()
        };
        if let Some(offer) = &offer {
            item.offer_id = offer.text("id")?;
            item.offer_display_name = offer.text("name")?;
        }
        if let Some(attributes) = attributes {
            item.offer_type = attributes.text("offer_type__limio")?;
            item.offer_display_name = attributes.text("display_name__limio")?.or(item.offer_display_name);
            item.display_price = attributes.text("display_price__limio")?;
            item.description = attributes.text("display_description__limio")?;
            if let Some(term) = attributes.object_if_any("term__limio") {
                item.term_units = term.text("type")?;
                item.term_length = term.text("length")?;
            }
        }
        item.offer_display_name = item.offer_display_name.or(fields.text("name")?.filter(|_| id_key.is_some()));
        let products = match data {
            Some(data) if fields.value("products").is_none() => data.objects("products")?,
            _ => fields.objects("products")?,
        };
        if let Some(product) = products.first() {
            let mut name = product.text("name")?;
            if let Some(attributes) = product.object("attributes")? {
                item.product_code = attributes.text("product_code__limio")?;
                name = attributes.text("display_name__limio")?.or(name);
            }
            let path = product.text("path")?;
            let last = path.as_deref().and_then(|path| path.trim_end_matches('/').rsplit('/').next());
            item.product_name = name.or_else(|| last.filter(|last| !last.is_empty()).map(str::to_owned));
        }
        Ok(item)
    }
}
