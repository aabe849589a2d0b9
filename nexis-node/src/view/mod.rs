//! Results for people: a table, a contact sheet, a page, and progress while they are made.

mod bench;
mod explain;
mod font;
mod html;
mod pictures;
mod plot;
mod progress;
#[cfg(test)]
mod sample;
mod sheet;
mod table;
mod text;

use std::io::Write;

use nexis_core::check::Policy;
use nexis_core::media::ClipProbe;
use nexis_core::report::{CategoryReport, Environment, SubmissionReport, Verdict};

pub(crate) use bench::{BenchPage, MistakePicture, Prices, write_bench, write_bench_text};
pub(crate) use html::{PageOptions, write_page};
pub(crate) use pictures::RowPictures;
pub(crate) use progress::{Progress, ProgressMode};
pub(crate) use sheet::{SheetOptions, contact_sheet, png};
pub(crate) use table::{TextOptions, write_report, write_row};
pub(crate) use text::printable;

/// Says on stderr what went wrong, with its causes, and nothing that only a programmer could read.
pub(crate) fn complain(error: &anyhow::Error) {
    let mut causes: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = printable(&cause.to_string());
        // Many errors repeat their source in their own text.
        if !causes.iter().any(|said| said.contains(&text)) {
            causes.push(text);
        }
    }
    let _ = writeln!(std::io::stderr(), "nexis: {}", causes.join(": "));
}

const fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "accept",
        Verdict::Reject => "reject",
        Verdict::Inconclusive => "inconclusive",
    }
}

const fn policy_word(policy: Policy) -> &'static str {
    match policy {
        Policy::Network => "network",
        Policy::Strict => "strict",
    }
}

/// A share in 0..1 as a percentage.
fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.1} %", share * 100.0) } else { "n/a".to_owned() }
}

/// What made the results, as names and values.
fn environment_facts(environment: &Environment, policy: Option<Policy>) -> Vec<(&'static str, String)> {
    let mut facts = vec![("nexis", environment.nexis.clone())];
    facts.push(match &environment.model {
        Some(model) => ("model", format!("{} ({}, {})", model.id, model.architecture, model.precision)),
        None => ("model", "none".to_owned()),
    });
    if let Some(second) = &environment.ensemble {
        let model = &second.model;
        facts.push(("ensemble", format!("{} ({}, {})", model.id, model.architecture, model.precision)));
    }
    if let Some(judge) = &environment.judge {
        let model = &judge.identity.model;
        let calls = judge.budget;
        let words =
            format!("{} ({}, {}; {calls} calls per interval)", model.id, model.architecture, model.precision);
        facts.push(("judge", words));
    }
    facts.push(("device", environment.device.clone()));
    facts.push(("decoder", environment.decoder.clone()));
    facts.push(("preprocessing", environment.preprocessing.clone()));
    if let Some(policy) = policy {
        facts.push(("policy", policy_word(policy).to_owned()));
    }
    facts
}

/// The stream in one line.
pub(crate) fn probe_line(probe: &ClipProbe) -> String {
    let mut line = format!(
        "{}x{} {} {}, {:.3} fps, {:.3} s",
        probe.width, probe.height, probe.codec, probe.pixel_format, probe.fps, probe.duration_seconds
    );
    if let Some(frames) = probe.frame_count {
        line.push_str(&format!(", {frames} frames"));
    }
    if probe.rotation != 0 {
        line.push_str(&format!(", turned {} degrees", probe.rotation));
    }
    line.push_str(if probe.has_audio { ", with audio" } else { ", no audio" });
    line
}

/// The category's figures in one line.
fn category_line(category: &CategoryReport) -> String {
    format!("{}: {}", verdict_word(category.decision), category_figures(category))
}

/// The figures that one encoder's decision on the category comes from.
fn category_figures(category: &CategoryReport) -> String {
    let mut parts = vec![format!("P(nature) of the caption {:.3}", category.caption_nature)];
    let figures = [
        ("mean nature", category.nature_score),
        ("best rival", category.rival_score),
        ("margin", category.margin),
    ];
    for (name, value) in figures {
        if let Some(value) = value {
            parts.push(format!("{name} {value:.3}"));
        }
    }
    parts.join(", ")
}

/// Every failure code with its explanation, also those that `reasons` should hold and does not.
fn reasons(submission: &SubmissionReport) -> Vec<(String, &str)> {
    let mut pairs: Vec<_> = submission.reasons.iter().map(|v| (v.code(), v.detail.as_str())).collect();
    let known: std::collections::BTreeSet<_> = pairs.iter().map(|(code, _)| code.clone()).collect();
    pairs.extend(
        submission.failures.iter().filter(|code| !known.contains(*code)).map(|code| (code.clone(), "")),
    );
    pairs
}

/// What is nearer to its threshold than devices differ, one line each.
fn borderline_rows(submission: &SubmissionReport) -> Vec<String> {
    let mut lines = Vec::new();
    for row in &submission.rows {
        let second = row.alignment.as_ref().and_then(|alignment| alignment.ensemble.as_ref());
        let both = row.alignment.iter().chain(second.map(|ensemble| &ensemble.second));
        for alignment in both.filter(|alignment| alignment.borderline) {
            lines.push(format!(
                "clip {}: P(match) {:.4} against {:.4}",
                row.clip_id, alignment.probability, alignment.threshold
            ));
        }
        let second = row.category.as_ref().and_then(|category| category.ensemble.as_ref());
        let both = row.category.iter().chain(second.map(|ensemble| &ensemble.second));
        for category in both.filter(|category| category.borderline) {
            lines.push(format!("clip {}: category, {}", row.clip_id, category_line(category)));
        }
    }
    lines
}
