//! Packing clips into an interval package, and checking it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::Utc;
use nexis_core::check::Policy;
use nexis_core::media::{FfmpegDecoder, Frame};
use nexis_core::pack as packing;
use nexis_core::pack::{Advice, ItemProblem, Obstacle, PackFailure, PackItem, PackObserver, PackOptions};
use nexis_core::package::{DirectorySource, ExpectedMiner};
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::report::RowReport;
use nexis_core::verifier::{Observer, RowJudge, Submission, Verifier, VerifierOptions};
use pyo3::exceptions::{PyFileNotFoundError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::convert::{address, whole};
use crate::engine::Engine;
use crate::errors::{ours, raised};
use crate::work::beside;

/// How long an interrupted call waits for its half-made package to be deleted.
const TIDYING: Duration = Duration::from_secs(10);

/// Packs items (dicts) into `{out}/{interval}` and, where an engine is given, judges every row of the result. Gives
/// `{"folder", "manifest", "rows", "advice", "report"}`; without an engine, the advice says what the rows alone show
/// and the report is `None`. `progress` is called as `progress(done, steps)`.
#[pyfunction]
#[pyo3(signature = (items: "Sequence[Mapping[str, Any]]", out, hotkey, interval: "int", *, fit="refuse", overwrite=false,
    netuid=70, policy="network", engine=None, threads=0,
    progress: "Callable[[int, int], object] | None" = None) -> "dict[str, Any]")]
#[allow(clippy::too_many_arguments)]
pub(crate) fn pack<'py>(
    py: Python<'py>,
    items: &Bound<'py, PyAny>,
    out: PathBuf,
    hotkey: &str,
    interval: &Bound<'_, PyAny>,
    fit: &str,
    overwrite: bool,
    netuid: u64,
    policy: &str,
    engine: Option<PyRef<'py, Engine>>,
    threads: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let interval = IntervalId::new(whole(interval, "interval")?);
    let hotkey = address(py, "hotkey", hotkey)?;
    let policy: Policy = policy.parse().map_err(|e| ours(py, e))?;
    if threads > 1024 {
        return Err(PyValueError::new_err(format!("threads: at most 1024, not {threads}")));
    }
    let mut given: Vec<PackItem> = Vec::new();
    for (i, item) in items.try_iter()?.enumerate() {
        let item = pythonize::depythonize(&item?)
            .map_err(|error| PyTypeError::new_err(format!("items[{i}]: {error}")))?;
        given.push(item);
    }
    let mut options = PackOptions::new(hotkey, interval, Utc::now());
    options.fit = fit.parse().map_err(|e| ours(py, e))?;
    options.overwrite = overwrite;
    options.netuid = netuid;
    let judge = engine.as_ref().map(|engine| Arc::clone(&engine.judge));
    let pool = match &engine {
        Some(engine) => Arc::clone(&engine.pool),
        None => {
            let made = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            Arc::new(made.map_err(|e| raised(py, "CouldNotCheck", (format!("no thread pool: {e}"),)))?)
        }
    };
    // Dropped with the job: the end of it can be waited for.
    let (running, ended) = channel::<()>();
    let made = beside(py, move |interrupted| {
        let _running = running;
        let steps = given.len() * if judge.is_some() { 2 } else { 1 };
        let watch = Watch { interrupted, progress, done: AtomicUsize::new(0), steps, telling: Mutex::new(0) };
        pool.install(|| pack_and_judge(&given, out, &options, policy, judge.as_deref(), &watch))
    });
    let made = made.inspect_err(|_| {
        // A package that is half made is deleted by the job itself, which must not be cut off by the program's end.
        let ended = Mutex::new(ended);
        py.detach(|| {
            let ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = ended.recv_timeout(TIDYING);
        });
    })?;
    match made {
        Ok(value) => Ok(pythonize::pythonize(py, &value)?),
        Err(PackFailure::Items(problems)) => Err(unpackable(py, problems)),
        Err(PackFailure::Other(error)) => Err(ours(py, error)),
    }
}

fn pack_and_judge(
    items: &[PackItem],
    out: PathBuf,
    options: &PackOptions,
    policy: Policy,
    judge: Option<&RowJudge>,
    watch: &Watch<'_>,
) -> Result<Value, PackFailure> {
    let packed = packing::pack(items, &out, options, &FfmpegDecoder::default(), watch)?;
    let records = packed.records();
    let (advice, report) = match judge {
        None => (Advice::of_rows(&records, &options.spec), None),
        Some(judge) => {
            let options = VerifierOptions { policy, all_rows: true, ..VerifierOptions::default() };
            let submission = Submission {
                miner: ExpectedMiner::Hotkey(packed.manifest.miner_hotkey.clone()),
                interval: packed.manifest.interval_id,
                label: packed.manifest.miner_hotkey.to_string(),
                source: Arc::new(DirectorySource::new(out)),
            };
            let report = Verifier::new(judge.clone(), options).verify(&[submission], Utc::now(), watch)?;
            let (reasons, warnings) = report
                .submissions
                .first()
                .map_or((&[][..], &[][..]), |found| (&found.reasons[..], &found.warnings[..]));
            (Advice::new(&records, reasons, warnings), Some(report))
        }
    };
    Ok(json!({
        "folder": packed.folder,
        "manifest": packed.manifest,
        "rows": packed.rows,
        "advice": advice,
        "report": report,
    }))
}

/// Items at fault, as the exception that says most about them.
fn unpackable(py: Python<'_>, problems: Vec<ItemProblem>) -> PyErr {
    let all_missing = problems.iter().all(|p| p.obstacle == Obstacle::NotFound);
    let undecodable = problems.iter().any(|p| p.obstacle == Obstacle::Undecodable);
    let text = PackFailure::Items(problems).to_string();
    if all_missing {
        PyFileNotFoundError::new_err(text)
    } else if undecodable {
        raised(py, "UndecodableClip", (text,))
    } else {
        PyValueError::new_err(text)
    }
}

/// Sees packing, and the check after it, for the caller.
struct Watch<'a> {
    interrupted: &'a Arc<AtomicBool>,
    progress: Option<Py<PyAny>>,
    done: AtomicUsize,
    /// Rows to pack and rows to judge.
    steps: usize,
    /// What was told last: threads come in any order.
    telling: Mutex<usize>,
}

impl Watch<'_> {
    fn step(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(progress) = &self.progress else { return };
        {
            let mut told = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
            if *told >= done {
                return;
            }
            *told = done;
        }
        // Progress that fails is the caller's to see in its log; the package does not depend on it.
        Python::attach(|py| {
            if let Err(error) = progress.call1(py, (done, self.steps)) {
                error.write_unraisable(py, None);
            }
        });
    }
}

impl PackObserver for Watch<'_> {
    fn packed(&self, _: usize, _: usize) {
        self.step();
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }
}

impl Observer for Watch<'_> {
    fn row_judged(&self, _: &Hotkey, _: IntervalId, _: &RowReport, _: &[Frame]) {
        self.step();
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }
}
