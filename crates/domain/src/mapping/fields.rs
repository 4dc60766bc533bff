//! Texts that have to fit their fields.

use serde_json::Value;

use crate::config::TextOverflow;
use crate::failure::{Failure, Reason};
use crate::plan::FieldValue;

/// What happens to a text that is longer than its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// It is shortened, if the settings allow: a part of it still describes the same thing.
    Cut,
    /// It is left out, if the settings allow: a part of it would mean something else.
    LeaveOut,
    /// The order is given up: without it, or with a part of it, the record would be another one's.
    Refuse,
}

/// The fields of one effect, in the order in which they are set. Blank values are left out.
pub(crate) struct Fields<'a> {
    /// What stands before a field's name in messages.
    object: &'a str,
    overflow: TextOverflow,
    adjustments: &'a mut Vec<String>,
    set: Vec<(String, FieldValue)>,
}

impl<'a> Fields<'a> {
    /// No fields yet.
    pub(crate) fn of(object: &'a str, overflow: TextOverflow, adjustments: &'a mut Vec<String>) -> Self {
        Self { object, overflow, adjustments, set: Vec::new() }
    }

    /// Sets a field to a value that always fits.
    pub(crate) fn set(&mut self, field: &str, value: impl Into<Value>) {
        self.set_value(field, FieldValue::Json(value.into()));
    }

    /// Sets a field to a value, or to the id of another effect.
    pub(crate) fn set_value(&mut self, field: &str, value: FieldValue) {
        self.set.push((field.to_owned(), value));
    }

    /// Sets a field to a text of at most `length` UTF-16 units. `source` names where in the order it came from. What
    /// Salesforce would read as a reference is made harmless first ([`without_references`]), so that what is measured is
    /// what is sent.
    ///
    /// # Errors
    ///
    /// A text that is too long and may not be shortened, without the text itself.
    pub(crate) fn text(
        &mut self,
        field: &str,
        text: Option<&str>,
        length: usize,
        overflow: Overflow,
        source: &str,
    ) -> Result<(), Failure> {
        let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(()) };
        let object = self.object;
        let harmless = without_references(text);
        if harmless.is_some() {
            self.note(format!(
                "{object}.{field}: a space was put into \"@{{\", which Salesforce would read as a reference."
            ));
        }
        let text = harmless.as_deref().unwrap_or(text);
        let found = utf16_length(text);
        if found <= length {
            self.set(field, text);
            return Ok(());
        }
        match (overflow, self.overflow) {
            (Overflow::Refuse, _) | (_, TextOverflow::DeadLetter) => {
                let message = format!("{object}.{field} holds at most {length} characters and {source} has {found}");
                Err(Failure::permanent(Reason::InvalidValue, message).at(source).by("text_length"))
            }
            (Overflow::Cut, TextOverflow::Cut) => {
                self.set(field, cut(text, length));
                self.adjustments.push(format!("{object}.{field} was cut from {found} to {length} characters."));
                Ok(())
            }
            (Overflow::LeaveOut, TextOverflow::Cut) => {
                self.adjustments.push(format!(
                    "{object}.{field} was left out: it holds at most {length} characters and {source} has {found}."
                ));
                Ok(())
            }
        }
    }

    /// Notes something that was shortened or left out.
    pub(crate) fn note(&mut self, adjustment: String) {
        self.adjustments.push(adjustment);
    }

    /// The fields.
    pub(crate) fn finish(self) -> Vec<(String, FieldValue)> {
        self.set
    }
}

/// The length as Salesforce counts it.
pub(crate) fn utf16_length(text: &str) -> usize {
    text.encode_utf16().count()
}

/// As much of the text as fits, whole characters only, without trailing space.
pub(crate) fn cut(text: &str, length: usize) -> &str {
    let mut left = length;
    let end = text.char_indices().find_map(|(at, char)| match left.checked_sub(char.len_utf16()) {
        Some(rest) => {
            left = rest;
            None
        }
        None => Some(at),
    });
    text[..end.unwrap_or(text.len())].trim_end()
}

/// The text with a space inside each `@{`, which a composite graph takes for the beginning of a reference, wherever it
/// stands. `None` where there is none.
pub fn without_references(text: &str) -> Option<String> {
    text.contains("@{").then(|| text.replace("@{", "@ {"))
}

/// The text of a piece of HTML: tags removed, blocks apart, numeric and common entities resolved, white space folded.
///
/// What only looks like a tag (`5 < 6`) or an entity (`&c;`) stays.
pub(crate) fn without_tags(html: &str) -> String {
    const BLOCKS: [&str; 14] = ["p", "div", "br", "li", "ul", "ol", "tr", "td", "h1", "h2", "h3", "h4", "h5", "h6"];
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    // Once no `>` is left, none is looked for again: a text of nothing but `<a` is read once, not once for each of them.
    let mut ends_ahead = true;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        let opens = tag.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '/' | '!'));
        let split = if opens && ends_ahead { tag.split_once('>') } else { None };
        ends_ahead = ends_ahead && (!opens || split.is_some());
        if let Some((inside, after)) = split {
            let name = inside.trim_start_matches('/').split(|char: char| !char.is_ascii_alphanumeric()).next();
            if name.is_some_and(|name| BLOCKS.iter().any(|block| block.eq_ignore_ascii_case(name))) {
                text.push(' ');
            }
            rest = after;
        } else {
            text.push('<');
            rest = tag;
        }
    }
    text.push_str(rest);
    with_characters(&text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text with its entities resolved, each once: `&amp;lt;` is `&lt;`.
fn with_characters(text: &str) -> String {
    /// The longest name between `&` and `;`, in bytes.
    const LONGEST: usize = 8;
    let mut resolved = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        resolved.push_str(before);
        let end = after.bytes().take(LONGEST + 1).position(|byte| byte == b';');
        // A semicolon is ASCII, so both sides of it are whole characters.
        let found = end.and_then(|end| Some((character(after.get(..end)?)?, after.get(end + 1..)?)));
        let (char, behind) = found.unwrap_or(('&', after));
        resolved.push(char);
        rest = behind;
    }
    resolved + rest
}

/// The character that an entity stands for; `None` for an unknown name and for control characters.
///
/// Source: HTML Living Standard, "Named character references" and "Character references".
fn character(entity: &str) -> Option<char> {
    const NAMES: [(&str, char); 16] = [
        ("nbsp", ' '),
        ("lt", '<'),
        ("gt", '>'),
        ("quot", '"'),
        ("apos", '\''),
        ("amp", '&'),
        ("pound", '£'),
        ("euro", '€'),
        ("yen", '¥'),
        ("cent", '¢'),
        ("ndash", '–'),
        ("mdash", '—'),
        ("lsquo", '‘'),
        ("rsquo", '’'),
        ("middot", '·'),
        ("hellip", '…'),
    ];
    let Some(number) = entity.strip_prefix('#') else {
        return NAMES.iter().find(|(name, _)| *name == entity).map(|(_, char)| *char);
    };
    let (digits, radix) = number.strip_prefix(['x', 'X']).map_or((number, 10), |digits| (digits, 16));
    // A sign is no digit, though `from_str_radix` takes one.
    let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_alphanumeric()))?;
    u32::from_str_radix(digits, radix).ok().and_then(char::from_u32).filter(|char| !char.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_counts_utf_16_units_and_never_splits_a_character() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("a😀b", 3), "a😀");
        assert_eq!(cut("a😀b", 2), "a");
        assert_eq!(cut("ab cd", 3), "ab");
        assert_eq!(cut("é", 0), "");
    }

    #[test]
    fn tags_go_and_what_they_enclose_stays() {
        assert_eq!(without_tags("<p>12.50 GBP</p><p>per month</p>"), "12.50 GBP per month");
        assert_eq!(without_tags("<b class=\"x\">12.</b>50&nbsp;&pound; &amp;lt;"), "12.50 £ &lt;");
        assert_eq!(without_tags("5 < 6 <unclosed"), "5 < 6 <unclosed");
        assert_eq!(without_tags("<p></p>"), "");
    }

    #[test]
    fn entities_become_their_characters_once_and_what_is_none_stays() {
        for (html, expected) in [
            ("&pound;12.50 &#8364;3 &#x20AC;4 &euro;5", "£12.50 €3 €4 €5"),
            ("Nora&#39;s &quot;paper&quot; &ndash; A&amp;B", "Nora's \"paper\" – A&B"),
            ("&#38;lt; &amp;#60;", "&lt; &#60;"),
            (
                "&; &unknown; &#; &#x; &#0; &#7; &#+65; &#xD800; &#99999999; A & B; &é;",
                "&; &unknown; &#; &#x; &#0; &#7; &#+65; &#xD800; &#99999999; A & B; &é;",
            ),
            ("&#160;x&nbsp;", "x"),
        ] {
            assert_eq!(without_tags(html), expected, "{html}");
        }
    }

    #[test]
    fn a_text_of_nothing_but_openings_is_read_once() {
        for piece in ["<", "<a", "</", "<a <", "&", "&#", "<!&"] {
            let html = piece.repeat(900_000 / piece.len());
            assert_eq!(without_tags(&html), html.trim_end(), "{piece}");
            assert_eq!(without_tags(&format!("<b>x</b>{html}")), format!("x{}", html.trim_end()), "{piece}");
        }
    }

    #[test]
    fn a_reference_is_made_harmless_before_the_text_is_measured() {
        let mut adjustments = Vec::new();
        let mut fields = Fields::of("OrderEvent", TextOverflow::Cut, &mut adjustments);
        let name = format!("{}@{{", "x".repeat(38));
        fields.text("ProductName", Some(&name), 40, Overflow::Cut, "orderItems[0]").expect("cut");
        assert_eq!(
            fields.finish(),
            [("ProductName".to_owned(), FieldValue::Json(format!("{}@", "x".repeat(38)).into()))]
        );
        assert_eq!(
            adjustments,
            [
                "OrderEvent.ProductName: a space was put into \"@{\", which Salesforce would read as a reference.",
                "OrderEvent.ProductName was cut from 41 to 40 characters.",
            ]
        );
    }

    #[test]
    fn a_text_that_does_not_fit_is_named_but_never_quoted() {
        let mut adjustments = Vec::new();
        let mut fields = Fields::of("Account", TextOverflow::Cut, &mut adjustments);
        let failure = fields
            .text("LastName", Some("Quist"), 3, Overflow::Refuse, "customerDetails.lastName")
            .expect_err("too long");
        assert_eq!(failure.message, "Account.LastName holds at most 3 characters and customerDetails.lastName has 5");
        assert_eq!(failure.field.as_deref(), Some("customerDetails.lastName"));
        fields.text("Phone", Some("12345"), 3, Overflow::Cut, "customerDetails.phone").expect("cut");
        fields
            .text("BillingCountry", Some("12345"), 3, Overflow::LeaveOut, "billingDetails.country")
            .expect("left out");
        assert_eq!(fields.finish(), [("Phone".to_owned(), FieldValue::Json("123".into()))]);
        assert_eq!(
            adjustments,
            [
                "Account.Phone was cut from 5 to 3 characters.",
                "Account.BillingCountry was left out: it holds at most 3 characters and billingDetails.country has 5.",
            ]
        );
    }

    #[test]
    fn where_the_settings_forbid_cutting_nothing_is_cut() {
        let mut adjustments = Vec::new();
        let mut fields = Fields::of("Account", TextOverflow::DeadLetter, &mut adjustments);
        assert!(fields.text("Phone", Some("12345"), 3, Overflow::Cut, "customerDetails.phone").is_err());
        assert!(fields.text("BillingCountry", Some("12345"), 3, Overflow::LeaveOut, "billingDetails.country").is_err());
    }

    proptest::proptest! {
        #[test]
        fn a_cut_text_fits_and_begins_the_whole(text in "\\PC*", length in 0_usize..40) {
            let part = cut(&text, length);
            proptest::prop_assert!(utf16_length(part) <= length && text.starts_with(part));
        }

        #[test]
        fn removing_tags_never_panics(html in "(?s)[<>/a-z&; é😀]*") {
            let _ = without_tags(&html);
        }
    }
}
