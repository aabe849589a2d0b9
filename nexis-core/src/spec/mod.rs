//! Dataset specs: what a package of one kind and version must be.
//!
//! Everything that differs between kinds and versions is data of a spec; the rest of the crate asks
//! the spec that the manifest names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

pub mod video_v1;

pub use video_v1::VideoSpec;

use crate::check::{Violation, ViolationKind};
use crate::package::ClipRecord;
use crate::package::rows::RowRules;

/// One kind and version of dataset.
pub trait DatasetSpec: fmt::Debug + Send + Sync {
    /// The id that manifests name, for example `video_v1`.
    fn id(&self) -> &str;

    /// Version of the protocol, for example `1.0.0`.
    fn protocol_version(&self) -> &str;

    /// Version of the row schema, for example `1.0.0`.
    fn schema_version(&self) -> &str;

    /// The category that packages must claim where the operator does not say otherwise.
    fn category(&self) -> &str;

    /// What every row must hold beyond its types.
    fn row_rules(&self) -> RowRules;

    /// Phase 4: what the rows alone show, over all rows, in the protocol's order.
    fn hard_checks(&self, rows: &[ClipRecord]) -> Vec<Violation>;

    /// Displayed width and height in pixels that every clip must have.
    fn frame_size(&self) -> (u32, u32);

    /// Nearer clip starts of one source are in conflict; in seconds.
    fn min_start_distance_seconds(&self) -> f64;
}

/// The specs that this validator knows, by (id, protocol version, schema version).
#[derive(Clone, Debug)]
pub struct SpecRegistry {
    specs: BTreeMap<(String, String, String), Arc<dyn DatasetSpec>>,
}

impl SpecRegistry {
    /// A registry without any spec.
    pub fn empty() -> Self {
        Self { specs: BTreeMap::new() }
    }

    /// Adds a spec; one of the same id and versions is replaced.
    pub fn insert(&mut self, spec: Arc<dyn DatasetSpec>) {
        let key =
            (spec.id().to_owned(), spec.protocol_version().to_owned(), spec.schema_version().to_owned());
        self.specs.insert(key, spec);
    }

    /// All specs.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn DatasetSpec>> {
        self.specs.values()
    }

    /// The spec that a manifest names.
    ///
    /// # Errors
    /// `unknown_spec`, `incompatible_spec_version` or `spec_not_enabled`, in this order; `enabled` names
    /// the ids that the operator wants, `None` all of them.
    pub fn find(
        &self,
        id: &str,
        protocol: &str,
        schema: &str,
        enabled: Option<&BTreeSet<String>>,
    ) -> Result<Arc<dyn DatasetSpec>, Violation> {
        if !self.specs.values().any(|spec| spec.id() == id) {
            return Err(Violation::new(ViolationKind::UnknownSpec { spec: id.to_owned() }));
        }
        let key = (id.to_owned(), protocol.to_owned(), schema.to_owned());
        let Some(spec) = self.specs.get(&key) else {
            let (spec, protocol, schema) = key;
            return Err(Violation::new(ViolationKind::IncompatibleSpecVersion { spec, protocol, schema }));
        };
        if enabled.is_some_and(|enabled| !enabled.contains(id)) {
            return Err(Violation::new(ViolationKind::SpecNotEnabled { spec: id.to_owned() }));
        }
        Ok(Arc::clone(spec))
    }
}

impl Default for SpecRegistry {
    /// With every spec that this crate has: `video_v1` 1.0.0.
    fn default() -> Self {
        let mut registry = Self::empty();
        registry.insert(Arc::new(VideoSpec::default()));
        registry
    }
}
