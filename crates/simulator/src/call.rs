//! What one API call carries along: its settings, version and headers.

use std::sync::Arc;

use crate::ids::RecordId;
use crate::settings::Settings;

/// The call a row is written for.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) settings: Arc<Settings>,
    /// Who writes.
    pub(crate) user: RecordId,
    /// The epoch of the org in which the call began.
    pub(crate) epoch: u64,
    /// `62.0`.
    pub(crate) version: String,
    /// Path of the outer request, for faults.
    pub(crate) path: String,
    pub(crate) duplicates: DuplicateOptions,
    /// Rows of a query page.
    pub(crate) batch_size: usize,
    /// Inside a graph.
    pub(crate) in_graph: bool,
}

impl Call {
    pub(crate) fn record_url(&self, object: &str, id: impl std::fmt::Display) -> String {
        format!("/services/data/v{}/sobjects/{object}/{id}", self.version)
    }

    /// The major number of the API version.
    pub(crate) fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
    }
}

/// `Sforce-Duplicate-Rule-Header` (REST API Developer Guide, "Duplicate Rule Header").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DuplicateOptions {
    pub(crate) allow_save: bool,
    pub(crate) include_record_details: bool,
    /// Records that sharing hides from the user do not count as matches.
    pub(crate) run_as_current_user: bool,
    /// Rules are not looked at; only seeding does that.
    pub(crate) bypass: bool,
}

impl DuplicateOptions {
    pub(crate) fn parse(header: &str) -> Self {
        let mut options = Self::default();
        for part in header.split([';', ',']) {
            let Some((key, value)) = part.split_once('=') else { continue };
            let on = value.trim().eq_ignore_ascii_case("true");
            match key.trim().to_ascii_lowercase().as_str() {
                "allowsave" => options.allow_save = on,
                "includerecorddetails" => options.include_record_details = on,
                "runascurrentuser" => options.run_as_current_user = on,
                _ => {}
            }
        }
        options
    }
}
