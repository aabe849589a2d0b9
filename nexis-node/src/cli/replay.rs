//! `nexis replay`: recompute a record of evidence and say what differs.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use nexis_core::Error;
use nexis_core::evidence::Evidence;
use nexis_core::model::ModelIdentity;
use nexis_core::model::registry::{ModelPlaces, find};
use nexis_core::package::{DirectorySource, discover};
use nexis_core::verifier::replay;
use nexis_gpu::{EngineOptions, JudgeChoice};
use serde_json::json;

use super::{EngineArguments, OutputArguments, read_named};
use crate::{EXIT_ACCEPTED, EXIT_REJECTED};

/// Recompute an evidence record from its package and say what differs
#[derive(Args)]
#[command(
    after_help = "Exit status: 0 nothing differs, 1 something differs, 2 could not check, 64 wrong use."
)]
pub(crate) struct Replay {
    /// A record written by nexis verify --evidence
    evidence: PathBuf,
    /// The interval folder, bucket, or folder of buckets that it was made from
    package: PathBuf,
    #[command(flatten)]
    engine: EngineArguments,
    /// Judge that the record was made with: an id of `nexis models list`, or a folder. The recorded id where not given,
    /// if it is one of the registry whose files are all held to digests
    #[arg(long, value_name = "ID_OR_DIR")]
    judge: Option<String>,
    /// Second model that the record was made with, as for --judge
    #[arg(long, value_name = "ID_OR_DIR")]
    ensemble: Option<String>,
    #[command(flatten)]
    output: OutputArguments,
}

impl Replay {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        let bytes = read_named(&self.evidence)?;
        let recorded = Evidence::parse(&self.evidence.display().to_string(), &bytes)?;
        let interval = recorded.package.interval_id;
        let miner = recorded.package.miner_hotkey.clone();
        let mut found = discover(&self.package, Some(interval), Some(&miner))?;
        found.retain(|f| f.bucket.join(interval.to_string()).is_dir());
        let [found] = found.as_slice() else {
            bail!(Error::usage(
                self.package.display().to_string(),
                format!(
                    "{} packages of {miner} for interval {interval} are here; give its bucket's folder",
                    found.len()
                ),
            ));
        };
        let source = Arc::new(DirectorySource::new(found.bucket.clone()));
        let mut options = EngineOptions { max_wall: recorded.limits.max_wall, ..self.engine.options() };
        options.judge = match (&recorded.environment.judge, &self.judge) {
            (None, None) => None,
            (None, Some(_)) => {
                writeln!(io::stderr(), "nexis: the record was made without a judge; --judge is left out")?;
                None
            }
            (Some(used), Some(id)) => Some(JudgeChoice { id: id.clone(), budget: used.budget }),
            (Some(used), None) => {
                let id = held(&used.identity.model, &options.models_roots, &JUDGE)?;
                Some(JudgeChoice { id, budget: used.budget })
            }
        };
        options.ensemble = match (&recorded.environment.ensemble, &self.ensemble) {
            (None, None) => None,
            (None, Some(_)) => {
                writeln!(io::stderr(), "nexis: the record was made by one model; --ensemble is left out")?;
                None
            }
            (Some(_), Some(id)) => Some(id.clone()),
            (Some(used), None) => Some(held(&used.model, &options.models_roots, &ENSEMBLE)?),
        };
        let differences = self.engine.in_pool(|| {
            // A model of a wrong kind that the record names, and the user did not, is the record's fault.
            let of_record = [
                options.judge.as_ref().map(|judge| &judge.id).filter(|_| self.judge.is_none()),
                options.ensemble.as_ref().filter(|_| self.ensemble.is_none()),
            ];
            let names = |what: &str| of_record.iter().flatten().any(|id| what.ends_with(id.as_str()));
            let judge = options.judge().map_err(|error| match error {
                Error::Usage { what, why } if names(&what) && !what.ends_with(&options.model) => {
                    Error::Corrupt {
                        what: self.evidence.display().to_string(),
                        why: format!("{what}: {why}"),
                    }
                }
                other => other,
            })?;
            let environment = judge.environment();
            if let (None, Some(used)) = (&self.judge, &environment.judge) {
                all_held(&used.identity.model, &options.models_roots, &JUDGE)?;
            }
            if let (None, Some(used)) = (&self.ensemble, &environment.ensemble) {
                all_held(&used.model, &options.models_roots, &ENSEMBLE)?;
            }
            let recomputed = replay(&judge, source, &recorded, chrono::Utc::now())?;
            Ok(recorded.differences(&recomputed)?)
        })?;
        let mut out = io::stdout().lock();
        if self.output.json {
            let digest = recorded.digest()?;
            serde_json::to_writer_pretty(
                &mut out,
                &json!({ "evidence": digest, "differences": differences }),
            )?;
            writeln!(out)?;
        } else if differences.is_empty() {
            writeln!(out, "{}: recomputed, nothing differs", recorded.digest()?)?;
        } else {
            writeln!(out, "{}: {} values differ", recorded.digest()?, differences.len())?;
            for d in &differences {
                let show = |v: &Option<serde_json::Value>| {
                    v.as_ref().map_or_else(|| "nothing".into(), ToString::to_string)
                };
                write!(
                    out,
                    "  {}: recorded {}, recomputed {}",
                    d.path,
                    show(&d.recorded),
                    show(&d.recomputed)
                )?;
                match d.magnitude() {
                    Some(m) => writeln!(out, " (relative {m:.1e})")?,
                    None => writeln!(out)?,
                }
            }
        }
        Ok(if differences.is_empty() { EXIT_ACCEPTED } else { EXIT_REJECTED })
    }
}

/// A model of a record, and the option that names it.
struct Named {
    what: &'static str,
    option: &'static str,
}

const JUDGE: Named = Named { what: "the judge", option: "--judge" };
const ENSEMBLE: Named = Named { what: "the second model", option: "--ensemble" };

/// A model that only the record names, and why it is not taken.
fn unnamed(Named { what, option }: &Named, id: &str, why: &str) -> Error {
    Error::Missing {
        what: format!("{what} that the record was made with ({id})"),
        remedy: format!(
            "name it with {option}; a record alone does not say which folder is loaded, and {why}"
        ),
    }
}

/// The id of a recorded model. A record comes from elsewhere, so that its id is no path here: it has to be one of the
/// registry, with a digest for every file that the registry lists.
fn held(recorded: &ModelIdentity, places: &ModelPlaces, named: &Named) -> Result<String, Error> {
    let id = &recorded.id;
    let location = match find(id, places) {
        Err(Error::Missing { .. }) => return Err(unnamed(named, id, "no registry lists this id")),
        location => location?,
    };
    let hub = location.entry.as_ref().and_then(|entry| entry.hub.as_ref());
    let listed = hub.map(|hub| hub.files.as_slice()).unwrap_or_default();
    if location.present
        && (location.expected.is_empty() || !listed.iter().all(|f| location.expected.contains_key(&f.name)))
    {
        return Err(unnamed(named, id, "not every file of this id is held to a digest"));
    }
    Ok(location.id)
}

/// That every file of a loaded model was held to a digest, those that no registry lists too.
fn all_held(model: &ModelIdentity, places: &ModelPlaces, named: &Named) -> Result<(), Error> {
    let expected = find(&model.id, places)?.expected;
    match model.digests.keys().find(|name| !expected.contains_key(*name)) {
        None => Ok(()),
        Some(name) => Err(unnamed(named, &model.id, &format!("its {name} is held to no digest"))),
    }
}
