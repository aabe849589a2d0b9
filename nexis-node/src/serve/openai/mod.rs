//! The two questions that validators ask a hosted model, answered in its wire format.

mod ask;
mod caption;
mod shape;
mod wire;
mod words;

use std::convert::Infallible;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Json, Response};
use chrono::Utc;
use futures_util::stream;
use nexis_core::check::{Violation, ViolationKind};
use nexis_core::hash::Digest;
use nexis_core::media::MediaFailure;
use nexis_core::media::jpeg::decode_still;
use nexis_core::model::judge::{Answer as Judged, QUESTION_LIMIT};
use nexis_core::report::{AlignmentReport, FrameCategoryReport, FrameReport, Verdict};
use nexis_core::score::FrameEmbeddings;
use nexis_core::verifier::YES;

use self::ask::{Kinds, asks_yes_or_no};
use self::caption::take_apart;
use self::shape::{Facts, Matched, by_schema, by_text};
use self::wire::{ChatRequest, Completion, Usage};
use super::app::{App, Parts, verdict_now};
use super::desk::{Stop, work};
use super::error::{Answer, Refusal};
use super::figure::Figure;
use super::judging::{codes, joined};
use super::limits::Room;
use super::pictures::{Read, Wanted, from_data_uri};
use super::record::{Kind, ScoreRecord};
use super::router::{admit, json_body};
use super::values;
use super::verdicts::RecentVerdict;
use super::why;

/// The header that names the evidence.
const EVIDENCE: HeaderName = HeaderName::from_static("x-nexis-evidence");

/// Fewest pictures beside which one that does not belong to them may be left out.
const WITNESSES: usize = 3;

/// `POST /v1/chat/completions`.
pub(super) async fn chat(State(app): State<App>, request: Request) -> Answer<Response> {
    let (admitted, request) = admit(&app, request, Room::Memory, false).await?;
    let body = json_body(&admitted, request).await?;
    let judging = app.clone();
    let answered = work(&app.admission, admitted, move |stop| judging.chat(&body, stop)).await?;
    let (completion, request, evidence) = answered;
    let mut response = if request.stream {
        let pieces = completion.pieces(request.include_usage);
        let events = pieces.into_iter().map(|piece| Ok::<_, Infallible>(Event::default().data(piece)));
        Sse::new(stream::iter(events)).into_response()
    } else {
        Json(completion.whole()).into_response()
    };
    let name = evidence.and_then(|evidence| HeaderValue::from_str(&evidence.to_string()).ok());
    if let Some(name) = name {
        response.headers_mut().insert(EVIDENCE, name);
    }
    Ok(response)
}

/// How an answer is to be sent.
struct Manner {
    stream: bool,
    include_usage: bool,
}

/// What was found in pictures for a chat.
struct Found {
    caption: Option<String>,
    alignment: Option<AlignmentReport>,
    labels: Vec<FrameCategoryReport>,
    violations: Vec<Violation>,
    /// Codes and sentence of the labels' rule.
    category: Option<(Vec<&'static str>, String, Option<f64>)>,
    frames: Vec<FrameReport>,
    left_out: Vec<String>,
    tiles: usize,
}

impl Parts {
    fn chat(&self, body: &Bytes, stop: &Stop) -> Answer<(Completion, Manner, Option<Digest>)> {
        let request = ChatRequest::read(values::read(body)?, self.admission.limits.pictures)?;
        let asks = |text: &str| Kinds::of(text).any();
        let prompt = take_apart(&request.others, &request.parts, &asks);
        let kinds = Kinds::of_request(request.schema.as_ref(), &prompt);
        let put_to_judge = !kinds.any() && self.judge.has_judge() && asks_yes_or_no(&prompt.operators());
        if !kinds.any() && !put_to_judge {
            let judge = if self.judge.has_judge() {
                "what can be answered is a question about pictures whose instructions ask for yes or no, "
            } else {
                "no generating model is loaded; what can be answered is "
            };
            return Err(Refusal::not_answerable(format!(
                "{judge}whether a caption matches pictures, where JSON with `match` (true or false) is asked for, and \
                 the labels of pictures, where winners and scores of nature, people, animal, vehicle, urban, indoor and \
                 other are asked for",
            )));
        }
        if request.pictures.is_empty() {
            return Err(Refusal::invalid("messages", "no picture came with the request"));
        }
        let limits = &self.admission.limits.still;
        let files = request
            .pictures
            .iter()
            .map(|uri| from_data_uri("messages", uri, limits))
            .collect::<Answer<Vec<_>>>()?;
        if put_to_judge {
            stop.check()?;
            let completion = self.put_to_judge(&request, &prompt.whole(), &files)?;
            let manner = Manner { stream: request.stream, include_usage: request.include_usage };
            return Ok((completion, manner, None));
        }
        let found = self.look_for(kinds, &prompt.caption, &files, stop)?;
        stop.check()?;

        let instructions = prompt.instructions(&asks);
        let facts = found.facts();
        let content = match &request.schema {
            Some(schema) => by_schema(&facts, schema, &instructions)
                .map_err(|why| Refusal::not_answerable(format!("response_format: {why}")))?,
            None => by_text(&facts, &instructions),
        };
        let content = content.to_string();
        let mut prompt_tokens = found.tiles;
        for text in request.texts() {
            prompt_tokens += self.judge.count_tokens(text)?;
        }
        let usage = Usage { prompt: prompt_tokens, completion: self.judge.count_tokens(&content)? };
        let recent = self.conclude_chat(kinds, found)?;
        let (id, created) = (recent.id.to_string(), recent.created_at.timestamp());
        let environment = self.judge.environment();
        let weights = match (environment.card, &environment.ensemble) {
            (Some(card), Some(second)) => Digest::of(format!("{card}{}", second.card)).to_string(),
            (card, _) => card.map(|card| card.to_string()).unwrap_or_default(),
        };
        let completion = Completion {
            id: format!(
                "chatcmpl-{}{:x}",
                id.get(..24).unwrap_or_default(),
                recent.created_at.timestamp_micros()
            ),
            created,
            model: self.model_id(),
            fingerprint: format!("fp_{}", weights.get(..12).unwrap_or_default()),
            content,
            usage,
        };
        let manner = Manner { stream: request.stream, include_usage: request.include_usage };
        Ok((completion, manner, Some(recent.id)))
    }

    /// A question of the caller's own, answered by the judge with yes or no. It is no verdict: nothing in it is told apart
    /// as a caption, and no evidence is kept.
    fn put_to_judge(&self, request: &ChatRequest, question: &str, files: &[Vec<u8>]) -> Answer<Completion> {
        if request.schema.is_some() {
            let why = "response_format: the judge answers with a word, yes or no; leave the format out";
            return Err(Refusal::not_answerable(why));
        }
        let limits = &self.admission.limits.still;
        let frame = |(index, file): (usize, &Vec<u8>)| {
            decode_still(file, limits).map_err(|failure| match failure {
                MediaFailure::Clip(why) => {
                    Refusal::invalid("messages", format!("picture {index} of {}: {why}", files.len()))
                }
                MediaFailure::Ours(error) => error.into(),
            })
        };
        let frames = files.iter().enumerate().map(frame).collect::<Answer<Vec<_>>>()?;
        let content = match self.judge.ask(&frames, question)? {
            Some(Judged::Yes(yes)) => if yes >= YES { "Yes" } else { "No" }.to_owned(),
            Some(Judged::TooLong { tokens }) => {
                let why = format!("the question has {tokens} tokens; the judge reads {QUESTION_LIMIT}");
                return Err(Refusal::too_large(why).at("messages"));
            }
            None => return Err(Refusal::defect("the judge is gone")),
        };
        let now = Utc::now();
        let digest = Digest::of(question).to_string();
        let judge = self.judge.environment().judge.as_ref().map(|judge| &judge.identity);
        let mut usage = Usage { prompt: 0, completion: self.judge.count_tokens(&content)? };
        for text in request.texts() {
            usage.prompt += self.judge.count_tokens(text)?;
        }
        Ok(Completion {
            id: format!("chatcmpl-{}{:x}", digest.get(..24).unwrap_or_default(), now.timestamp_micros()),
            created: now.timestamp(),
            model: judge.map(|judge| judge.model.id.clone()).unwrap_or_default(),
            fingerprint: format!(
                "fp_{}",
                judge
                    .and_then(|judge| judge.prompt.to_string().get(..12).map(str::to_owned))
                    .unwrap_or_default()
            ),
            content,
            usage,
        })
    }

    fn look_for(&self, kinds: Kinds, caption: &str, files: &[Vec<u8>], stop: &Stop) -> Answer<Found> {
        let wanted = Wanted { second: kinds.matching && self.judge.has_ensemble(), pixels: false };
        let mut reads = self.pictures.read(files, &self.admission.limits.still, wanted)?;
        let mut files: Vec<&Vec<u8>> = files.iter().collect();
        let left_out = leave_out(&mut reads, &mut files, kinds.matching)?;
        stop.check()?;
        let seen = self.pictures.embed(&self.judge, &reads, wanted).map_err(|failure| match failure {
            MediaFailure::Clip(why) => Refusal::invalid("messages", why),
            MediaFailure::Ours(error) => error.into(),
        })?;
        stop.check()?;
        let frames: Vec<FrameReport> = seen.iter().map(|seen| seen.report.clone()).collect();
        let first: Vec<FrameEmbeddings> = seen.iter().map(|seen| seen.first.clone()).collect();
        let mut found = Found {
            caption: None,
            alignment: None,
            labels: Vec::new(),
            violations: Vec::new(),
            category: None,
            left_out,
            tiles: first.iter().map(FrameEmbeddings::tiles).sum(),
            frames: frames.clone(),
        };
        if kinds.matching {
            if caption.is_empty() {
                tracing::warn!("no caption was found in a prompt; it is judged as an empty one");
            }
            let second: Vec<FrameEmbeddings> = if wanted.second {
                seen.iter().filter_map(|seen| seen.second.clone()).collect()
            } else {
                Vec::new()
            };
            let mut scores = self.judge.score_embedded(&joined(&first, &second)?, caption)?;
            self.judge.settle_embedded(caption, false, &mut scores, || {
                stop.check()?;
                self.pixels(reads.iter().map(|read| read.frame().cloned()).collect(), &files)
            })?;
            let all = self.judge.violations("", caption, &scores.alignment, &scores.category)?;
            // Phase 6 alone is asked.
            found.violations =
                all.into_iter().filter(|violation| concerns_caption(&violation.kind)).collect();
            found.alignment = Some(scores.alignment);
            found.caption = Some(caption.to_owned());
        }
        if kinds.labels {
            let classified = self.judge.classify_embedded(&first, frames)?;
            let (codes, sentence) = why::of_classification(&classified);
            found.category = Some((codes, sentence, classified.nature_score));
            found.labels = classified.labels;
        }
        Ok(found)
    }

    /// Keeps the evidence of an answer and lists its verdict.
    fn conclude_chat(&self, kinds: Kinds, found: Found) -> Answer<RecentVerdict> {
        let kind = if kinds.matching { Kind::Match } else { Kind::Classify };
        let mut failures = codes(&found.violations);
        let mut why = found.sentences();
        if let (Kind::Classify, Some((codes, sentence, _))) = (kind, &found.category) {
            failures.extend(codes.iter().map(|code| (*code).to_owned()));
            why.push(sentence.clone());
        }
        let verdict = if failures.is_empty() { Verdict::Accept } else { Verdict::Reject };
        let environment = if kinds.matching { self.judge.environment() } else { self.labelling() };
        let mut record = ScoreRecord::new(kind, environment, &found.frames, &failures)
            .scores(found.alignment.as_ref(), None)
            .left_out(&found.left_out);
        if let Some(caption) = &found.caption {
            record = record.caption(caption);
        }
        if kinds.labels {
            record = record.labels(&found.labels);
        }
        let (id, text) = record.text()?;
        let recent = RecentVerdict {
            nature_score: found.category.as_ref().and_then(|(_, _, nature)| *nature),
            frames: found.frames.len(),
            caption: found.caption,
            ..verdict_now(kind, id, verdict, &why, &failures)
                .decided(found.alignment.as_ref().map(Figure::of_caption), None)
        };
        self.conclude(recent.clone(), text)?;
        Ok(recent)
    }
}

/// What phase 6 finds.
const fn concerns_caption(kind: &ViolationKind) -> bool {
    matches!(
        kind,
        ViolationKind::CaptionSemanticInjectionKeyword { .. } | ViolationKind::CaptionSemanticMismatch { .. }
    )
}

impl Found {
    fn sentences(&self) -> Vec<String> {
        let fits = self.alignment.as_ref().filter(|_| self.violations.is_empty()).map(why::caption_fits);
        self.violations.iter().map(why::found).chain(fits).collect()
    }

    fn facts(&self) -> Facts {
        let matched = self.alignment.as_ref().map(|alignment| {
            let matched = self.violations.is_empty();
            // Words that speak to a judge decide by themselves, whatever the frames show.
            let spoken = self
                .violations
                .iter()
                .any(|v| matches!(v.kind, ViolationKind::CaptionSemanticInjectionKeyword { .. }));
            let probability = Figure::of_caption(alignment).value;
            let confidence = match (matched, spoken) {
                (true, _) => probability,
                (false, true) => 1.0,
                (false, false) => 1.0 - probability,
            };
            let why = self.sentences().join(" ");
            Matched { matched, probability, confidence, why }
        });
        Facts { matched, labels: self.labels.clone() }
    }
}

/// Takes out a single picture that is broken or of another size than all the others, and says which.
///
/// A validator takes its frames from the clip itself; what it sends beside them is the miner's own picture, whose bytes
/// are the miner's to choose. It is no witness anyway, and a broken one must not look like an outage. Two and more are
/// not the miner's.
fn leave_out(reads: &mut Vec<Read>, files: &mut Vec<&Vec<u8>>, against_caption: bool) -> Answer<Vec<String>> {
    let size = most_common(reads.iter().filter_map(Read::size));
    let objection = |read: &Read| match read {
        Read::Broken(why) => Some(why.clone()),
        other if against_caption && other.size() != size => {
            Some("another size than the other pictures".to_owned())
        }
        _ => None,
    };
    let objections: Vec<(usize, String)> = reads
        .iter()
        .enumerate()
        .filter_map(|(index, read)| objection(read).map(|why| (index, why)))
        .collect();
    match objections.as_slice() {
        [] => Ok(Vec::new()),
        [(index, why)] if against_caption && reads.len() > WITNESSES => {
            reads.remove(*index);
            files.remove(*index);
            Ok(vec![format!("picture {index}: {why}")])
        }
        [(index, why), ..] => {
            Err(Refusal::invalid("messages", format!("picture {index} of {}: {why}", reads.len())))
        }
    }
}

/// The most frequent of some values, the first of equals.
fn most_common<T: PartialEq + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: Vec<(T, usize)> = Vec::new();
    for value in values {
        match counts.iter_mut().find(|(known, _)| *known == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max()?;
    counts.into_iter().find(|(_, count)| *count == most).map(|(value, _)| value)
}
