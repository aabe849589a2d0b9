//! The server's own endpoints.

use std::str::FromStr as _;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Json, Response};
use chrono::Utc;
use nexis_core::check::Policy;
use nexis_core::evidence::Evidence;
use nexis_core::hash::Digest;
use nexis_core::package::discover;
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::report::{Report, SubmissionReport, Verdict};
use nexis_core::verifier::{Observer, Submission, Verifier, VerifierOptions};
use nexis_core::{Error, Result};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use subxt::utils::AccountId32;
use tempfile::NamedTempFile;

use super::app::{App, Parts, verdict_now};
use super::archive::unpack;
use super::desk::{Stop, work};
use super::error::{Answer, Refusal};
use super::form::{Form, boundary};
use super::judging::Input;
use super::limits::{Admitted, Room};
use super::pictures::from_data_uri;
use super::record::{Kind, canonical};
use super::router::{admit, json_body};
use super::values;
use super::verdicts::{Filter, RecentVerdict};
use super::why;

/// Longest caption of a request, in bytes.
const MAX_CAPTION: usize = 64 << 10;
/// Longest path.
const MAX_PATH: usize = 4096;
/// Largest whole number that JSON carries without loss everywhere.
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// A request's body, by its content type.
enum Sent {
    Json(Value),
    Form(Form),
}

/// Lets a request in and reads its body; `file` is the form's part that is a file.
async fn read(app: &App, request: Request, file: &str, verification: bool) -> Answer<(Admitted, Sent)> {
    let Some(boundary) = boundary(request.headers()) else {
        let (admitted, request) = admit(app, request, Room::Memory, verification).await?;
        let body = json_body(&admitted, request).await?;
        // Pictures are in it: to copy them takes longer than those may wait who share this thread.
        let value =
            tokio::task::spawn_blocking(move || values::read(&body)).await.map_err(Refusal::defect)??;
        return Ok((admitted, Sent::Json(value)));
    };
    let (admitted, request) = admit(app, request, Room::Disk, verification).await?;
    let form =
        tokio::time::timeout_at(admitted.until(), Form::read(request.into_body(), &boundary, file)).await;
    let form = form.map_err(|_| Refusal::slow_request(admitted.seconds()))??;
    Ok((admitted, Sent::Form(form)))
}

fn fields<T: for<'de> Deserialize<'de>>(value: Value) -> Answer<T> {
    // A list would do for serde as well, its items taken in order.
    if !value.is_object() {
        return Err(Refusal::invalid("body", "a JSON object is expected"));
    }
    serde_json::from_value(value).map_err(|e| Refusal::invalid("body", e))
}

/// A field that may be left out, and is not null where it is there.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    value: D,
) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// The JSON of `/v1/score` and `/v1/classify`; only the first has a caption.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JudgeRequest {
    #[serde(default, deserialize_with = "given")]
    caption: Option<String>,
    #[serde(default, deserialize_with = "given")]
    clip: Option<String>,
    #[serde(default, deserialize_with = "given")]
    frames: Option<Vec<String>>,
    #[serde(default)]
    pictures: bool,
}

fn caption_of(caption: Option<String>) -> Answer<String> {
    match caption {
        None => Err(Refusal::invalid("caption", "it is missing; say what the clip shows")),
        Some(caption) if caption.trim().is_empty() => {
            Err(Refusal::invalid("caption", "it is empty; say what the clip shows"))
        }
        Some(caption) if caption.len() > MAX_CAPTION => Err(Refusal::invalid(
            "caption",
            format!("{} bytes; at most {MAX_CAPTION} are taken", caption.len()),
        )),
        Some(caption) => Ok(caption),
    }
}

impl Parts {
    fn input(&self, clip: Option<String>, frames: Option<Vec<String>>) -> Answer<Input> {
        let limits = &self.admission.limits;
        match (clip, frames) {
            (Some(clip), None) => Ok(Input::Clip(self.path("clip", &clip)?)),
            (None, Some(frames)) if (1..=limits.pictures).contains(&frames.len()) => {
                let one = |(index, uri): (usize, &String)| {
                    from_data_uri(&format!("frames[{index}]"), uri, &limits.still)
                };
                Ok(Input::Frames(frames.iter().enumerate().map(one).collect::<Answer<_>>()?))
            }
            (None, Some(frames)) => {
                let why = format!("{} pictures; 1 to {} are expected", frames.len(), limits.pictures);
                Err(Refusal::invalid("frames", why))
            }
            _ => Err(Refusal::invalid("body", "either `clip` or `frames` is expected")),
        }
    }

    fn path(&self, param: &str, path: &str) -> Answer<std::path::PathBuf> {
        if path.is_empty() || path.len() > MAX_PATH {
            return Err(Refusal::invalid(param, format!("a path of 1 to {MAX_PATH} bytes is expected")));
        }
        self.roots.find(param, path)
    }
}

/// `POST /v1/score`.
pub(super) async fn score(State(app): State<App>, request: Request) -> Answer<Response> {
    let (admitted, sent) = read(&app, request, "clip", false).await?;
    let (caption, source, pictures) = match sent {
        Sent::Json(value) => {
            let request: JudgeRequest = fields(value)?;
            (caption_of(request.caption)?, Source::Named(request.clip, request.frames), request.pictures)
        }
        Sent::Form(mut form) => {
            let (caption, pictures) = (caption_of(form.take("caption"))?, form.flag("pictures")?);
            (caption, Source::Sent(form.file("clip")?), pictures)
        }
    };
    let judging = app.clone();
    let job = move |stop: &Stop| judging.score(&source.input(&judging)?, &caption, pictures, stop);
    Ok(Json(work(&app.admission, admitted, job).await?).into_response())
}

/// `POST /v1/classify`.
pub(super) async fn classify(State(app): State<App>, request: Request) -> Answer<Response> {
    let (admitted, sent) = read(&app, request, "clip", false).await?;
    let (source, pictures) = match sent {
        Sent::Json(value) => {
            let request: JudgeRequest = fields(value)?;
            if request.caption.is_some() {
                return Err(Refusal::invalid(
                    "caption",
                    "there is no such field; a caption is judged by /v1/score",
                ));
            }
            (Source::Named(request.clip, request.frames), request.pictures)
        }
        Sent::Form(mut form) => {
            let pictures = form.flag("pictures")?;
            (Source::Sent(form.file("clip")?), pictures)
        }
    };
    let judging = app.clone();
    let job = move |stop: &Stop| judging.classify(&source.input(&judging)?, pictures, stop);
    Ok(Json(work(&app.admission, admitted, job).await?).into_response())
}

/// Where the frames come from; read where it may block.
enum Source {
    Named(Option<String>, Option<Vec<String>>),
    Sent(NamedTempFile),
}

impl Source {
    fn input(self, app: &Parts) -> Answer<Input> {
        match self {
            Self::Named(clip, frames) => app.input(clip, frames),
            Self::Sent(file) => Ok(Input::Upload(file)),
        }
    }
}

/// The JSON of `/v1/verify`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyRequest {
    path: String,
    #[serde(flatten)]
    options: VerifyOptions,
}

/// What may stand beside the packages.
#[derive(Deserialize, Default)]
struct VerifyOptions {
    #[serde(default, deserialize_with = "given")]
    interval: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    hotkey: Option<String>,
    #[serde(default, deserialize_with = "given")]
    validator_hotkey: Option<String>,
    #[serde(default)]
    all_rows: bool,
    #[serde(default, deserialize_with = "given")]
    policy: Option<String>,
}

impl VerifyOptions {
    fn from_form(form: &mut Form) -> Answer<Self> {
        let interval = form.take("interval").map(|text| text.parse::<u64>());
        Ok(Self {
            interval: interval
                .transpose()
                .map_err(|_| Refusal::invalid("interval", "a number is expected"))?,
            hotkey: form.take("hotkey"),
            validator_hotkey: form.take("validator_hotkey"),
            all_rows: form.flag("all_rows")?,
            policy: form.take("policy"),
        })
    }

    fn check(self) -> Answer<Checked> {
        let hotkey = |name: &str, text: Option<String>| match text {
            // One that belongs to nobody would draw other rows.
            Some(text) if AccountId32::from_str(&text).is_err() => {
                Err(Refusal::invalid(name, "an address is expected, in SS58"))
            }
            other => Ok(other.map(Hotkey::new)),
        };
        if self.interval.is_some_and(|interval| interval > MAX_NUMBER) {
            return Err(Refusal::invalid("interval", format!("at most {MAX_NUMBER}")));
        }
        let interval = (self.interval.map(IntervalId::named).transpose())
            .map_err(|error| Refusal::invalid("interval", error.to_string()))?;
        let policy: Policy = match self.policy.as_deref() {
            None => Policy::default(),
            Some(text) => {
                text.parse().map_err(|_| Refusal::invalid("policy", "network or strict is expected"))?
            }
        };
        Ok(Checked {
            interval,
            hotkey: hotkey("hotkey", self.hotkey)?,
            options: VerifierOptions {
                policy,
                all_rows: self.all_rows,
                validator_hotkey: hotkey("validator_hotkey", self.validator_hotkey)?,
                ..VerifierOptions::default()
            },
        })
    }
}

/// The same, and it makes sense.
struct Checked {
    interval: Option<IntervalId>,
    hotkey: Option<Hotkey>,
    options: VerifierOptions,
}

/// Where the packages are.
enum Packages {
    Path(String),
    Archive(NamedTempFile),
}

/// `POST /v1/verify`.
pub(super) async fn verify(State(app): State<App>, request: Request) -> Answer<Response> {
    let (admitted, sent) = read(&app, request, "archive", true).await?;
    let (packages, options) = match sent {
        Sent::Json(value) => {
            let request: VerifyRequest = fields(strict(value)?)?;
            (Packages::Path(request.path), request.options.check()?)
        }
        Sent::Form(mut form) => {
            let options = VerifyOptions::from_form(&mut form)?.check()?;
            (Packages::Archive(form.file("archive")?), options)
        }
    };
    let judging = app.clone();
    let report = work(&app.admission, admitted, move |stop| judging.verify(&packages, options, stop)).await?;
    Ok(Json(report).into_response())
}

/// serde does not see unknown fields beside flattened ones.
fn strict(value: Value) -> Answer<Value> {
    const KNOWN: [&str; 6] = ["path", "interval", "hotkey", "validator_hotkey", "all_rows", "policy"];
    let unknown =
        value.as_object().and_then(|fields| fields.keys().find(|name| !KNOWN.contains(&name.as_str())));
    match unknown {
        Some(name) => Err(Refusal::invalid(name, "there is no such field")),
        None => Ok(value),
    }
}

impl Parts {
    fn verify(&self, packages: &Packages, checked: Checked, stop: &Stop) -> Answer<Report> {
        // Kept until the end: it goes when it is dropped.
        let (param, path, _unpacked) = match packages {
            Packages::Path(path) => ("path", self.path("path", path)?, None),
            Packages::Archive(file) => {
                let limits = &self.admission.limits;
                let io = |e: std::io::Error| Refusal::defect(format!("no room for an archive: {e}"));
                let folder = tempfile::Builder::new().prefix("nexis-package-").tempdir().map_err(io)?;
                unpack(
                    &file.reopen().map_err(io)?,
                    folder.path(),
                    limits.archive_files,
                    limits.upload_bytes,
                    stop,
                )?;
                ("archive", folder.path().to_path_buf(), Some(folder))
            }
        };
        let found =
            discover(&path, checked.interval, checked.hotkey.as_ref()).map_err(|error| match error {
                // The path is ours where an archive was unpacked.
                Error::Usage { why, .. } => Refusal::invalid(param, why),
                other => other.into(),
            })?;
        let submissions: Vec<Submission> = found.into_iter().map(Submission::from).collect();
        let verifier = Verifier::new(self.judge.clone(), checked.options);
        let watch = Watch { parts: self, stop };
        let report = self.verifying.install(|| verifier.verify(&submissions, Utc::now(), &watch))?;
        for submission in &report.submissions {
            self.conclude_submission(submission)?;
        }
        Ok(report)
    }

    fn conclude_submission(&self, submission: &SubmissionReport) -> Result<()> {
        let (id, text) = canonical(submission)?;
        let why = match submission.verdict {
            Verdict::Accept => vec![format!(
                "All {} sampled rows of {} pass.",
                submission.sampled_rows, submission.record_count
            )],
            Verdict::Reject => submission.reasons.iter().map(why::found).collect(),
            Verdict::Inconclusive => submission.inconclusive.clone(),
        };
        self.metrics.decision(submission.verdict, &submission.failures);
        let recent = RecentVerdict {
            hotkey: Some(submission.miner_hotkey.to_string()),
            interval_id: Some(submission.interval_id.get()),
            frames: submission.sampled_rows,
            ..verdict_now(Kind::Verify, id, submission.verdict, &why, &submission.failures)
        };
        self.conclude(recent, text)
    }
}

/// Sees a verification for the server.
struct Watch<'a> {
    parts: &'a Parts,
    stop: &'a Stop,
}

impl Observer for Watch<'_> {
    fn evidence(&self, evidence: &Evidence) -> Result<()> {
        let (id, text) = canonical(evidence)?;
        self.parts.verdicts.keep(id, text)
    }

    fn interrupted(&self) -> bool {
        self.stop.raised()
    }
}

/// The last part of an address.
type Id = std::result::Result<Path<String>, PathRejection>;

fn name_of(id: Id) -> Answer<String> {
    id.map(|Path(id)| id).map_err(|rejection| Refusal::invalid("id", rejection.body_text()))
}

/// `GET /v1/evidence/{id}`.
pub(super) async fn evidence(State(app): State<App>, id: Id) -> Answer<Response> {
    let id = name_of(id)?;
    let digest: Option<Digest> = serde_json::from_value(Value::String(id.clone())).ok();
    let lower = id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let Some(digest) = digest.filter(|_| lower && id.len() == 64) else {
        return Err(Refusal::invalid("id", "64 hexadecimal digits in lower case are expected"));
    };
    let reading = app.clone();
    let record = tokio::task::spawn_blocking(move || reading.verdicts.record(&digest)).await;
    match record.map_err(Refusal::defect)?? {
        Some(record) => Ok(([(header::CONTENT_TYPE, "application/json")], record).into_response()),
        None => {
            Err(Refusal::not_found("id", "no evidence of this name is kept; the server keeps the latest"))
        }
    }
}

/// `GET /v1/verdicts`.
pub(super) async fn verdicts(
    State(app): State<App>,
    filter: std::result::Result<Query<Filter>, QueryRejection>,
) -> Answer<Response> {
    let Query(filter) = filter.map_err(|rejection| Refusal::invalid("query", rejection.body_text()))?;
    if filter.limit.is_some_and(|limit| !(1..=200).contains(&limit)) {
        return Err(Refusal::invalid("limit", "1 to 200 are expected"));
    }
    if filter.before.is_some_and(|before| !(1..=MAX_NUMBER).contains(&before)) {
        return Err(Refusal::invalid("before", "a sequence is expected, 1 or more"));
    }
    if filter.text.as_ref().is_some_and(|text| !(1..=256).contains(&text.chars().count())) {
        return Err(Refusal::invalid("text", "1 to 256 characters are expected"));
    }
    Ok(Json(app.verdicts.list(&filter)).into_response())
}

impl Parts {
    fn model_entry(&self) -> Value {
        let environment = self.judge.environment();
        json!({
            "id": self.model_id(),
            "object": "model",
            "created": self.started,
            "owned_by": "nexis",
            "notice": environment.notice,
            "demonstration": std::iter::once(self.judge.card())
                .chain(self.judge.second_card())
                .any(|card| card.model.demonstration),
            "environment": environment,
        })
    }
}

/// `GET /v1/models`.
pub(super) async fn models(State(app): State<App>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [app.model_entry()] }))
}

/// `GET /v1/models/{id}`.
pub(super) async fn model(State(app): State<App>, id: Id) -> Answer<Json<Value>> {
    if name_of(id)? == app.model_id() {
        Ok(Json(app.model_entry()))
    } else {
        Err(Refusal::not_found("id", "there is no such model; /v1/models lists the one that is loaded"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nexis_core::media::MediaLimits;
    use nexis_core::protocol::Category;
    use nexis_core::synth::{ClipStyle, PackagePlan, RowPlan};
    use nexis_core::verifier::RowJudge;

    use super::super::trial::{Watched, loaded, parts, repository};
    use super::*;

    /// Whoever is judged on the common pool would wait until the last row of a package has begun.
    #[test]
    fn packages_are_verified_on_threads_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let plan = PackagePlan {
            hotkey: Hotkey::new("5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"),
            interval: IntervalId::new(7_756_900),
            created_at: "2026-04-10T12:00:00Z".parse().unwrap(),
            rows: [1, 2, 3].map(|seed| RowPlan::new(seed, Category::Nature)).to_vec(),
            style: ClipStyle { fps: 6, ..ClipStyle::default() },
            attack: None,
        };
        plan.write(&folder.path().join(plan.hotkey.bucket_name()), None, &|| {}).unwrap();
        let decoder = Arc::new(Watched::default());
        let (model, card) = loaded(&repository().join("models/demo"));
        let judge =
            RowJudge::new(decoder.clone(), model, Arc::new(card), MediaLimits::default(), 64).unwrap();
        let parts = parts(judge, &[folder.path().to_path_buf()]);
        let options = VerifyOptions { all_rows: true, ..VerifyOptions::default() };
        let report =
            parts.verify(&Packages::Path(".".into()), options.check().unwrap(), &Stop::default()).unwrap();
        assert_eq!(report.submissions[0].sampled_rows, 3);
        let threads = decoder.threads.lock().unwrap();
        assert!(threads.len() == 3 && threads.iter().all(|name| name.starts_with("verify-")), "{threads:?}");
    }
}
