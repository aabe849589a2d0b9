//! Results as one HTML file that needs nothing from outside: no script, no font, no address.

use std::fmt::{self, Display};
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use nexis_core::protocol::Category;
use nexis_core::report::{AlignmentReport, CategoryReport, Report, RowReport, SubmissionReport, Verdict};

use super::explain::{explain, kind};
use super::pictures::{RowPictures, Thumbnail};
use super::text::{cut, printable};
use super::{borderline_rows, environment_facts, percent, probe_line, reasons, verdict_word};

/// The page's look, light and dark, narrow and wide.
pub(super) const STYLE: &str = include_str!("page.css");

/// Nothing is loaded and nothing runs, whatever text got onto the page.
pub(super) const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Longest text of a miner that is shown; the JSON has all of it.
const LONGEST: usize = 4000;
/// Most codes listed per kind of failure and submission.
const CODES_PER_KIND: usize = 200;

/// What stands on a page beside the report.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PageOptions {
    /// The heading.
    pub(crate) title: String,
    /// When the page was made, by the caller's clock.
    pub(crate) made_at: Option<DateTime<Utc>>,
}

impl Default for PageOptions {
    fn default() -> Self {
        Self { title: "Nexis verification report".into(), made_at: None }
    }
}

/// Text from outside, safe between tags and inside quoted attributes.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in cut(&printable(self.0), LONGEST).chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '`' => f.write_str("&#96;")?,
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

/// A share in 0..1 as a CSS percentage.
struct Share(f64);

impl Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = if self.0.is_finite() { self.0.clamp(0.0, 1.0) } else { 0.0 };
        write!(f, "{:.1}%", share * 100.0)
    }
}

/// A figure with three decimals; what is not a number says so.
fn figure(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { "n/a".to_owned() }
}

fn badge(verdict: Verdict) -> String {
    let (mark, word) = match verdict {
        Verdict::Accept => ("✓", "accept"),
        Verdict::Reject => ("✕", "reject"),
        Verdict::Inconclusive => ("?", "inconclusive"),
    };
    format!("<span class=\"badge {word}\"><span aria-hidden=\"true\">{mark}</span> {word}</span>")
}

const fn row_verdict(row: &RowReport) -> Verdict {
    if !row.failures.is_empty() {
        Verdict::Reject
    } else if row.inconclusive.is_some() {
        Verdict::Inconclusive
    } else {
        Verdict::Accept
    }
}

/// Writes the page.
///
/// # Errors
/// Whatever writing gives.
pub(crate) fn write_page(
    out: &mut dyn Write,
    report: &Report,
    pictures: &RowPictures,
    options: &PageOptions,
) -> io::Result<()> {
    let title = Shown(&options.title);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
    )?;
    write_head(out, report, options)?;
    write_summary(out, report)?;
    let heat = Heat::over(report);
    for (index, submission) in report.submissions.iter().enumerate() {
        write_submission(out, index, submission, pictures, &heat)?;
    }
    out.write_all(b"</main>\n</body>\n</html>\n")
}

fn write_head(out: &mut dyn Write, report: &Report, options: &PageOptions) -> io::Result<()> {
    let count = |verdict| report.submissions.iter().filter(|s| s.verdict == verdict).count();
    write!(out, "<header>\n<h1>{}</h1>\n<p class=\"lead\">", Shown(&options.title))?;
    write!(out, "{}", intervals(report))?;
    for verdict in [Verdict::Accept, Verdict::Reject, Verdict::Inconclusive] {
        if count(verdict) > 0 {
            write!(out, " <span class=\"count\">{} {}</span>", count(verdict), badge(verdict))?;
        }
    }
    writeln!(out, "</p>")?;
    if let Some(notice) = &report.environment.notice {
        writeln!(out, "<p class=\"notice\" role=\"note\"><strong>Notice.</strong> {}</p>", Shown(notice))?;
    }
    writeln!(out, "<dl class=\"facts\">")?;
    for (name, value) in environment_facts(&report.environment, Some(report.policy)) {
        writeln!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", Shown(&value))?;
    }
    if let Some(at) = options.made_at {
        writeln!(out, "<div><dt>made</dt><dd>{}</dd></div>", at.format("%Y-%m-%d %H:%M:%S UTC"))?;
    }
    writeln!(out, "</dl>")?;
    if report.environment.model.is_some() || report.environment.card.is_some() {
        writeln!(
            out,
            "<details class=\"more\"><summary>Digests of the model</summary>\n<dl class=\"digests\">"
        )?;
        for (name, digest) in report.environment.model.iter().flat_map(|model| &model.digests) {
            writeln!(out, "<div><dt>{}</dt><dd class=\"mono\">{digest}</dd></div>", Shown(name))?;
        }
        for (name, digest) in report.environment.ensemble.iter().flat_map(|second| &second.model.digests) {
            writeln!(
                out,
                "<div><dt>second model: {}</dt><dd class=\"mono\">{digest}</dd></div>",
                Shown(name)
            )?;
        }
        for (name, digest) in report.environment.judge.iter().flat_map(|judge| &judge.identity.model.digests)
        {
            writeln!(out, "<div><dt>judge: {}</dt><dd class=\"mono\">{digest}</dd></div>", Shown(name))?;
        }
        if let Some(card) = &report.environment.card {
            writeln!(out, "<div><dt>model card</dt><dd class=\"mono\">{card}</dd></div>")?;
        }
        if let Some(second) = &report.environment.ensemble {
            writeln!(out, "<div><dt>second model's card</dt><dd class=\"mono\">{}</dd></div>", second.card)?;
        }
        writeln!(out, "</dl></details>")?;
    }
    writeln!(out, "</header>")
}

fn intervals(report: &Report) -> String {
    let ids: std::collections::BTreeSet<_> = report.submissions.iter().map(|s| s.interval_id).collect();
    match (ids.first(), ids.last()) {
        (Some(first), Some(last)) if first == last => format!("Interval {first}"),
        (Some(first), Some(last)) => format!("Intervals {first} to {last}"),
        _ => "No submission was found".to_owned(),
    }
}

fn write_summary(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    if report.submissions.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<table class=\"summary\">\n<thead><tr><th>Miner</th><th>Verdict</th><th class=\"num\">Rows</th>\
         <th class=\"num\">Pruned</th><th class=\"num\">Score</th><th>Weight</th><th>Failures</th></tr></thead>\n<tbody>"
    )?;
    for (index, submission) in report.submissions.iter().enumerate() {
        let weight = report.weights.get(&submission.miner_hotkey).copied().unwrap_or(0.0);
        writeln!(
            out,
            "<tr><td class=\"miner\"><a class=\"mono\" href=\"#s{index}\"><bdi>{}</bdi></a></td><td>{}</td>\
             <td class=\"num\" data-head=\"rows\">{}/{}</td><td class=\"num\" data-head=\"pruned\">{}</td>\
             <td class=\"num\" data-head=\"score\">{}</td>\
             <td class=\"weight\" data-head=\"weight\"><span class=\"track\"><span class=\"fill\" style=\"width:{}\"></span></span> {}</td>\
             <td class=\"kinds\">{}</td></tr>",
            Shown(&super::text::shorten(&printable(submission.miner_hotkey.as_str()), 19)),
            badge(submission.verdict),
            submission.sampled_rows,
            submission.record_count,
            submission.pruned_rows,
            submission.score,
            Share(weight),
            percent(weight),
            kinds(submission),
        )?;
    }
    writeln!(out, "</tbody>\n</table>")
}

/// The kinds of failure of a submission, the frequent ones counted, at most a few.
fn kinds(submission: &SubmissionReport) -> String {
    const MOST: usize = 4;
    let groups = grouped(submission.failures.iter().map(|code| (code.clone(), "")));
    let mut cell: Vec<String> = groups
        .iter()
        .take(MOST)
        .map(|(name, codes)| {
            let times = if codes.len() > 1 { format!(" ×{}", codes.len()) } else { String::new() };
            format!("<code>{}</code>{times}", Shown(name))
        })
        .collect();
    if groups.len() > MOST {
        cell.push(format!("and {} more kinds", groups.len() - MOST));
    }
    if let (true, Some(why)) = (cell.is_empty(), submission.inconclusive.first()) {
        cell.push(Shown(&cut(&printable(why), 120)).to_string());
    }
    cell.join("<br>")
}

/// Codes by kind, kinds in the order of their first appearance.
fn grouped<'a>(codes: impl Iterator<Item = (String, &'a str)>) -> Vec<(String, Vec<(String, &'a str)>)> {
    let mut places = std::collections::BTreeMap::<String, usize>::new();
    let mut groups: Vec<(String, Vec<_>)> = Vec::new();
    for (code, detail) in codes {
        let name = kind(&code).to_owned();
        let place = *places.entry(name.clone()).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((_, group)) => group.push((code, detail)),
            None => groups.push((name, vec![(code, detail)])),
        }
    }
    groups
}

fn write_codes<'a>(
    out: &mut dyn Write,
    class: &str,
    codes: impl Iterator<Item = (String, &'a str)>,
) -> io::Result<()> {
    let groups = grouped(codes);
    if groups.is_empty() {
        return Ok(());
    }
    writeln!(out, "<ul class=\"codes {class}\">")?;
    for (name, group) in &groups {
        write!(out, "<li>")?;
        for (code, detail) in group.iter().take(CODES_PER_KIND) {
            write!(out, "<code><bdi>{}</bdi></code>", Shown(code))?;
            if !detail.is_empty() {
                write!(out, " <span class=\"detail\"><bdi>{}</bdi></span>", Shown(detail))?;
            }
            write!(out, "<br>")?;
        }
        if group.len() > CODES_PER_KIND {
            write!(out, "and {} more<br>", group.len() - CODES_PER_KIND)?;
        }
        writeln!(out, "<span class=\"why\">{}</span></li>", Shown(explain(name)))?;
    }
    writeln!(out, "</ul>")
}

fn write_submission(
    out: &mut dyn Write,
    index: usize,
    submission: &SubmissionReport,
    pictures: &RowPictures,
    heat: &Heat,
) -> io::Result<()> {
    writeln!(
        out,
        "<section class=\"submission\" id=\"s{index}\">\n<h2>{} <bdi class=\"mono\">{}</bdi></h2>\n\
         <p class=\"meta\">Interval {} · {} rows, {} pruned, {} sampled, {} passed · score {} · checked {}</p>",
        badge(submission.verdict),
        Shown(submission.miner_hotkey.as_str()),
        submission.interval_id,
        submission.record_count,
        submission.pruned_rows,
        submission.sampled_rows,
        submission.passed_sample_count,
        submission.score,
        submission.checked_at.format("%Y-%m-%d %H:%M UTC"),
    )?;
    for why in &submission.inconclusive {
        writeln!(out, "<p class=\"notice\">Could not be checked: {}</p>", Shown(why))?;
    }
    write_codes(out, "reject", reasons(submission).into_iter())?;
    if !submission.warnings.is_empty() {
        writeln!(out, "<h3>Warnings <small>the strict policy would reject</small></h3>")?;
        let codes = submission.warnings.iter().map(|v| (v.code(), v.detail.as_str()));
        write_codes(out, "inconclusive", codes)?;
    }
    let borderline = borderline_rows(submission);
    if !borderline.is_empty() {
        writeln!(out, "<h3>Borderline <small>nearer to a threshold than devices differ</small></h3>\n<ul>")?;
        for line in &borderline {
            writeln!(out, "<li><bdi>{}</bdi></li>", Shown(line))?;
        }
        writeln!(out, "</ul>")?;
    }
    if !submission.notes.is_empty() {
        writeln!(out, "<dl class=\"facts\">")?;
        for (name, value) in &submission.notes {
            writeln!(out, "<div><dt>{}</dt><dd>{}</dd></div>", Shown(name), Shown(value))?;
        }
        writeln!(out, "</dl>")?;
    }
    for row in &submission.rows {
        let thumbnails = pictures.of_row(&submission.miner_hotkey, submission.interval_id, row.row_index);
        write_row(out, row, &thumbnails, heat)?;
    }
    writeln!(out, "</section>")
}

fn write_row(out: &mut dyn Write, row: &RowReport, thumbnails: &[Thumbnail], heat: &Heat) -> io::Result<()> {
    writeln!(
        out,
        "<details class=\"row\" open>\n<summary>{} <span>Row {} · clip <bdi class=\"mono\">{}</bdi></span></summary>",
        badge(row_verdict(row)),
        row.row_index,
        Shown(&row.clip_id)
    )?;
    if !thumbnails.is_empty() {
        writeln!(out, "<div class=\"strip\">")?;
        for (number, thumbnail) in thumbnails.iter().enumerate() {
            writeln!(
                out,
                "<figure><img width=\"{}\" height=\"{}\" alt=\"frame {} at {:.2} seconds\" \
                 src=\"data:image/jpeg;base64,{}\"><figcaption>{:.2} s</figcaption></figure>",
                thumbnail.width,
                thumbnail.height,
                number + 1,
                thumbnail.pts_seconds,
                STANDARD.encode(&thumbnail.jpeg),
                thumbnail.pts_seconds
            )?;
        }
        writeln!(out, "</div>")?;
    }
    writeln!(out, "<blockquote dir=\"auto\">{}</blockquote>", Shown(&row.caption))?;
    if let Some(why) = &row.inconclusive {
        writeln!(out, "<p class=\"notice\">Not judged: {}</p>", Shown(why))?;
    }
    write_codes(out, "reject", row.failures.iter().map(|code| (code.clone(), "")))?;
    if let Some(alignment) = &row.alignment {
        write_alignment(out, row, alignment, heat)?;
    }
    if let Some(category) = &row.category {
        write_category(out, row, category)?;
    }
    write_row_data(out, row)?;
    writeln!(out, "</details>")
}

fn borderline_mark(borderline: bool) -> &'static str {
    if borderline { " <span class=\"mark\">borderline</span>" } else { "" }
}

fn write_alignment(
    out: &mut dyn Write,
    row: &RowReport,
    alignment: &AlignmentReport,
    heat: &Heat,
) -> io::Result<()> {
    match &alignment.ensemble {
        None => {
            writeln!(out, "<h3>Caption against frames{}</h3>", borderline_mark(alignment.borderline))?;
            write_match(out, "P(match)", alignment, alignment.verdict)?;
        }
        Some(ensemble) => {
            let borderline = alignment.borderline || ensemble.second.borderline;
            let (badge, mark) = (badge(alignment.verdict), borderline_mark(borderline));
            writeln!(out, "<h3>Caption against frames {badge}{mark}</h3>")?;
            write_match(out, "P(match)", alignment, ensemble.first)?;
            write_match(out, "second encoder", &ensemble.second, ensemble.second.verdict)?;
        }
    }
    write_decided(out, alignment.decided())?;
    let frames = alignment.units.iter().map(|unit| unit.per_frame.len()).max().unwrap_or(0);
    if frames == 0 {
        return Ok(());
    }
    write!(
        out,
        "<div class=\"scroll\"><table class=\"heat\"><thead><tr><th>Part of the caption</th><th class=\"num\">mean</th>"
    )?;
    for index in 0..frames {
        match row.frames.get(index) {
            Some(frame) => write!(out, "<th class=\"num\">{:.2} s</th>", frame.pts_seconds)?,
            None => write!(out, "<th class=\"num\">#{}</th>", index + 1)?,
        }
    }
    writeln!(out, "</tr></thead>\n<tbody>")?;
    for unit in &alignment.units {
        write!(out, "<tr><td dir=\"auto\">{}</td>", Shown(&unit.text))?;
        for (index, value) in std::iter::once(&unit.similarity).chain(&unit.per_frame).enumerate() {
            let class = if index == 0 { "num mean" } else { "num" };
            write!(
                out,
                "<td class=\"{class}\" style=\"--h:{}\">{}</td>",
                Share(heat.of(*value)),
                figure(*value)
            )?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody></table></div>\n<p class=\"legend\">{heat}</p>")
}

/// One encoder's P(match) against its threshold.
fn write_match(
    out: &mut dyn Write,
    name: &str,
    alignment: &AlignmentReport,
    verdict: Verdict,
) -> io::Result<()> {
    let (probability, threshold) = (alignment.probability, alignment.threshold);
    writeln!(
        out,
        "<div class=\"match {}\"><span class=\"name\">{name}</span>\
         <span class=\"track\" role=\"img\" aria-label=\"{} of 1, threshold {}\"><span class=\"fill\" style=\"width:{}\"></span>\
         <span class=\"tick\" style=\"left:{}\"></span></span><span class=\"value\"><b>{}</b> {} {}</span></div>",
        verdict_word(verdict),
        figure(probability),
        figure(threshold),
        Share(probability),
        Share(threshold),
        figure(probability),
        if probability >= threshold { "≥" } else { "&lt;" },
        figure(threshold),
    )
}

/// What decided, where it was not the threshold of one encoder.
fn write_decided(out: &mut dyn Write, decided: Option<String>) -> io::Result<()> {
    match decided {
        Some(words) => writeln!(out, "<p class=\"legend\">{}</p>", Shown(&words)),
        None => Ok(()),
    }
}

fn write_category(out: &mut dyn Write, row: &RowReport, category: &CategoryReport) -> io::Result<()> {
    let second = category.ensemble.as_ref().map(|ensemble| &ensemble.second);
    let borderline = category.borderline || second.is_some_and(|second| second.borderline);
    let (decision, mark) = (badge(category.decision), borderline_mark(borderline));
    writeln!(out, "<h3>Category {decision}{mark}</h3>")?;
    let Some(ensemble) = &category.ensemble else {
        write_labels(out, row, category)?;
        writeln!(out, "<p class=\"legend\">{}</p>", Shown(&super::category_line(category)))?;
        return write_decided(out, category.decided());
    };
    // What decided comes first, for neither encoder's own verdict need be the row's.
    write_decided(out, category.decided())?;
    for (name, encoder, verdict) in [
        ("First encoder alone", category, ensemble.first),
        ("Second encoder alone", &ensemble.second, ensemble.second.decision),
    ] {
        writeln!(out, "<h4>{name} {}{}</h4>", badge(verdict), borderline_mark(encoder.borderline))?;
        write_labels(out, row, encoder)?;
        writeln!(out, "<p class=\"legend\">{}</p>", Shown(&super::category_figures(encoder)))?;
    }
    Ok(())
}

/// One encoder's labels of the middle frames.
fn write_labels(out: &mut dyn Write, row: &RowReport, category: &CategoryReport) -> io::Result<()> {
    writeln!(out, "<div class=\"categories\">")?;
    for frame in &category.frames {
        let number = frame.frame_index.saturating_add(1);
        write!(out, "<figure class=\"category\"><figcaption>frame {number}")?;
        if let Some(at) = row.frames.get(frame.frame_index) {
            write!(out, ", {:.2} s", at.pts_seconds)?;
        }
        writeln!(out, ": <b>{}</b></figcaption>", frame.winner)?;
        for label in Category::ALL {
            let score = frame.scores.get(&label).copied().unwrap_or(0.0);
            let class = match (label == frame.winner, label) {
                (true, Category::Nature) => "bar wins nature",
                (true, _) => "bar wins",
                (false, Category::Nature) => "bar nature",
                (false, _) => "bar",
            };
            writeln!(
                out,
                "<div class=\"{class}\"><span>{label}</span><span class=\"track\"><span class=\"fill\" style=\"width:{}\"></span></span>\
                 <span class=\"num\">{}</span></div>",
                Share(score),
                figure(score)
            )?;
        }
        writeln!(out, "</figure>")?;
    }
    writeln!(out, "</div>")
}

/// The stream, the evidence and the figures behind the probability.
fn write_row_data(out: &mut dyn Write, row: &RowReport) -> io::Result<()> {
    writeln!(out, "<dl class=\"facts small\">")?;
    if let Some(probe) = &row.probe {
        writeln!(out, "<div><dt>stream</dt><dd>{}</dd></div>", Shown(&probe_line(probe)))?;
    }
    let features = row.alignment.iter().flat_map(|alignment| &alignment.features);
    let features: Vec<_> = features.map(|(name, value)| format!("{name} {}", figure(*value))).collect();
    if !features.is_empty() {
        writeln!(out, "<div><dt>features</dt><dd>{}</dd></div>", Shown(&features.join(", ")))?;
    }
    let times: Vec<_> = row.timings_ms.iter().map(|(step, ms)| format!("{step} {ms:.0} ms")).collect();
    if !times.is_empty() {
        writeln!(out, "<div><dt>time</dt><dd>{}</dd></div>", Shown(&times.join(", ")))?;
    }
    if let Some(digest) = &row.evidence {
        writeln!(out, "<div><dt>evidence</dt><dd class=\"mono\">{digest}</dd></div>")?;
    }
    writeln!(out, "</dl>")
}

/// One scale of similarities for the whole page, so that colours compare across rows.
struct Heat {
    low: f64,
    high: f64,
}

impl Heat {
    fn over(report: &Report) -> Self {
        let rows = report.submissions.iter().flat_map(|submission| &submission.rows);
        let units = rows.filter_map(|row| row.alignment.as_ref()).flat_map(|alignment| &alignment.units);
        let values = units.flat_map(|unit| std::iter::once(&unit.similarity).chain(&unit.per_frame));
        let mut heat = Self { low: f64::INFINITY, high: f64::NEG_INFINITY };
        for value in values.copied().filter(|value| value.is_finite()) {
            heat.low = heat.low.min(value);
            heat.high = heat.high.max(value);
        }
        heat
    }

    /// Where a similarity stands between the page's lowest and highest, in 0..1.
    fn of(&self, value: f64) -> f64 {
        if self.high > self.low { (value - self.low) / (self.high - self.low) } else { 0.5 }
    }
}

impl Display for Heat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Similarity of each part to each frame. The stronger the colour, the higher: from {} to {} on this page.",
            figure(self.low),
            figure(self.high)
        )
    }
}

#[cfg(test)]
mod tests;
