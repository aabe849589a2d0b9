//! What scores are worth, as one HTML file that needs nothing from outside, and as a table on a terminal.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use nexis_core::bench::align::{Measure, Mistake, MistakeKind, ModelReport, SubsetReport};
use nexis_core::bench::fit::FitFacts;
use nexis_core::bench::{BenchReport, Cost};
use nexis_core::pairs::Pair;
use nexis_core::score::bootstrap::Interval;

use super::html::{POLICY, STYLE, Shown};
use super::plot::{Plot, look};
use super::text::{cut, printable, width};

/// The look of what only this page has.
const BENCH_STYLE: &str = include_str!("bench.css");
/// Most broken pairs that are listed on the page; the JSON has more.
const MOST_BROKEN: usize = 100;
/// Figures of a subset.
const SUBSET_FIGURES: [&str; 6] = ["auc", "eer", "true_accepts", "false_accepts", "tau_b", "tau_c"];

/// Prices to compare, in any one currency.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Prices {
    /// Of the machine that this ran on, an hour.
    pub(crate) per_hour: Option<f64>,
    /// Of somebody's API, for 1,000 clips.
    pub(crate) api_per_1000: Option<f64>,
}

impl Prices {
    /// What 1,000 clips cost on this machine.
    pub(crate) fn per_1000(&self, cost: &Cost) -> Option<f64> {
        Some(cost.seconds_per_clip()? * 1000.0 / 3600.0 * self.per_hour?)
    }
}

/// A mistake with what was shown and said.
#[derive(Clone, Debug)]
pub(crate) struct MistakePicture {
    /// Whose mistake it is, by place.
    pub(crate) model: usize,
    /// The mistake.
    pub(crate) mistake: Mistake,
    /// The pair.
    pub(crate) pair: Pair,
    /// Its frames on one sheet, as JPEG.
    pub(crate) sheet: Option<Vec<u8>>,
}

/// Everything on the page.
pub(crate) struct BenchPage<'a> {
    /// The heading.
    pub(crate) title: &'a str,
    /// When it was made, by the caller's clock.
    pub(crate) made_at: Option<DateTime<Utc>>,
    /// The report.
    pub(crate) report: &'a BenchReport,
    /// What a fit came to, where a card was made.
    pub(crate) facts: Option<&'a FitFacts>,
    /// What to compare the cost with.
    pub(crate) prices: Prices,
    /// The worst mistakes.
    pub(crate) mistakes: &'a [MistakePicture],
}

fn number(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { "n/a".to_owned() }
}

fn money(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.4}") }
}

fn interval(interval: Option<Interval>) -> String {
    interval.map_or_else(String::new, |i| format!("{}–{}", number(i.low), number(i.high)))
}

/// Writes the page.
///
/// # Errors
/// Whatever writing gives.
pub(crate) fn write_bench(out: &mut dyn Write, page: &BenchPage<'_>) -> io::Result<()> {
    let (title, report) = (Shown(page.title), page.report);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}{BENCH_STYLE}</style>\n</head>\n<body>\n<main>\n"
    )?;
    write_head(out, page)?;
    if let Some(facts) = page.facts {
        write_fit(out, facts)?;
    }
    write_figures(out, report)?;
    write_curves(out, report)?;
    write_cost(out, page)?;
    if report.models.len() > 1 {
        write_kappa(out, report)?;
    }
    for (m, model) in report.models.iter().enumerate() {
        write_model(out, m, model, page)?;
    }
    write_broken(out, report)?;
    out.write_all(b"</main>\n</body>\n</html>\n")
}

fn write_head(out: &mut dyn Write, page: &BenchPage<'_>) -> io::Result<()> {
    let data = &page.report.data;
    write!(out, "<header>\n<h1>{}</h1>\n<p class=\"lead\">", Shown(page.title))?;
    write!(out, "<span class=\"count\">{} pairs scored</span>", data.scored)?;
    if data.positive_from.is_some() {
        write!(
            out,
            " <span class=\"count\">{} match</span> <span class=\"count\">{} do not</span>",
            data.positives, data.negatives
        )?;
    }
    write!(out, " <span class=\"count\">{} groups</span>", data.groups)?;
    if data.broken > 0 {
        write!(out, " <a class=\"count\" href=\"#broken\">{} could not be scored</a>", data.broken)?;
    }
    writeln!(out, "</p>")?;
    for model in &page.report.models {
        if let Some(notice) = &model.notice {
            writeln!(
                out,
                "<p class=\"notice\" role=\"note\"><strong>{}.</strong> {}</p>",
                Shown(&model.name),
                Shown(notice)
            )?;
        }
    }
    let mut facts = vec![
        ("pairs", data.path.clone()),
        ("format", data.format.as_str().to_owned()),
        ("nexis", page.report.nexis.clone()),
        (
            "intervals",
            format!("95 %, {} resamples of groups, seed {}", page.report.resamples, page.report.seed),
        ),
    ];
    if let Some(cut) = data.positive_from {
        facts.push(("a caption fits", format!("from a mean label of {cut} on")));
    }
    if data.survey.left_out > 0 {
        facts.push(("left out", format!("{} captions written for the very picture", data.survey.left_out)));
    }
    if let Some(at) = page.made_at {
        facts.push(("made", at.format("%Y-%m-%d %H:%M:%S UTC").to_string()));
    }
    writeln!(out, "<dl class=\"facts\">")?;
    for (name, value) in facts {
        writeln!(out, "<div><dt>{name}</dt><dd><bdi>{}</bdi></dd></div>", Shown(&value))?;
    }
    writeln!(out, "</dl>\n<details class=\"more\"><summary>Digests of the data and the models</summary>")?;
    writeln!(out, "<dl class=\"digests\">")?;
    for (name, digest) in [("file", data.survey.sha256), ("what was scored", data.content_sha256)] {
        writeln!(out, "<div><dt>{name}</dt><dd class=\"mono\">{digest}</dd></div>")?;
    }
    for model in &page.report.models {
        for (file, digest) in &model.identity.digests {
            let name =
                format!("{}, {file} ({}, {})", model.name, model.identity.precision, model.identity.device);
            writeln!(out, "<div><dt>{}</dt><dd class=\"mono\">{digest}</dd></div>", Shown(&name))?;
        }
    }
    writeln!(out, "</dl></details>\n</header>")
}

fn write_fit(out: &mut dyn Write, facts: &FitFacts) -> io::Result<()> {
    writeln!(out, "<section class=\"panel\">\n<h2>The card</h2>\n<dl class=\"facts\">")?;
    let mut rows = vec![
        ("threshold on P(match)", format!("{:.4} ({})", facts.threshold, interval(facts.threshold_interval))),
        ("false rejections asked for", format!("at most {:.1} %", facts.target * 100.0)),
    ];
    if let Some(i) = facts.expected_false_rejections {
        rows.push((
            "false rejections to expect on other groups",
            format!("{:.1} % to {:.1} %", i.low * 100.0, i.high * 100.0),
        ));
    }
    rows.push(("pairs fitted on", facts.pairs.to_string()));
    rows.push(("left out with the groups of the distractors", facts.held_out.to_string()));
    rows.push(("cross-validation", format!("{} folds by group", facts.folds)));
    let losses: Vec<String> = facts.losses.iter().map(|(c, loss)| format!("{c}: {loss:.4}")).collect();
    rows.push(("inverse penalty", format!("{} (mean loss of {})", facts.penalty, losses.join(", "))));
    if let Some(category) = &facts.category {
        rows.push((
            "seven labels, one frame",
            format!(
                "{:.1} % right on {} clips ({:.1} % with all prompts, of which {} were dropped)",
                category.accuracy * 100.0,
                category.clips,
                category.accuracy_of_all_prompts * 100.0,
                category.dropped.len()
            ),
        ));
    }
    for (name, value) in rows {
        writeln!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", Shown(&value))?;
    }
    writeln!(
        out,
        "</dl>\n<details class=\"more\"><summary>Coefficients, on standardised features</summary>\n\
         <table class=\"figures\"><tbody>"
    )?;
    for (feature, coefficient) in &facts.coefficients {
        writeln!(out, "<tr><th scope=\"row\"><code>{feature}</code></th><td>{coefficient:+.3}</td></tr>")?;
    }
    writeln!(out, "</tbody></table></details>\n</section>")
}

fn key(m: usize) -> String {
    format!(
        "<svg class=\"key\" viewBox=\"0 0 26 10\" aria-hidden=\"true\"><line class=\"{}\" x1=\"0\" y1=\"5\" x2=\"26\" y2=\"5\"/></svg>",
        look(m)
    )
}

fn write_names(out: &mut dyn Write, report: &BenchReport) -> io::Result<()> {
    writeln!(out, "<ul class=\"models\">")?;
    for (m, model) in report.models.iter().enumerate() {
        writeln!(out, "<li>{}<a href=\"#model{m}\"><bdi>{}</bdi></a></li>", key(m), Shown(&model.name))?;
    }
    writeln!(out, "</ul>")
}

/// Every figure that any model has, in the order of the first that has it.
fn rows(models: &[ModelReport]) -> Vec<(&str, &str)> {
    let mut rows: Vec<(&str, &str)> = Vec::new();
    for measure in models.iter().flat_map(|model| &model.measures) {
        if !rows.iter().any(|(key, _)| *key == measure.key) {
            rows.push((&measure.key, &measure.name));
        }
    }
    rows
}

fn find<'a>(measures: &'a [Measure], key: &str) -> Option<&'a Measure> {
    measures.iter().find(|measure| measure.key == key)
}

/// What stands for a figure that these pairs do not have.
const UNDEFINED: &str = "undefined";

/// A figure over its interval, or a dash where it was not asked for.
fn write_cell(out: &mut dyn Write, measure: Option<&Measure>) -> io::Result<()> {
    match measure {
        Some(measure) => {
            let value = measure.value.map_or_else(|| UNDEFINED.to_owned(), number);
            write!(out, "<td>{value}<small>{}</small></td>", interval(measure.interval))
        }
        None => write!(out, "<td>–</td>"),
    }
}

fn write_figures(out: &mut dyn Write, report: &BenchReport) -> io::Result<()> {
    writeln!(
        out,
        "<section class=\"panel\">\n<h2>Figures</h2>\n<div class=\"scroll\"><table class=\"figures names\">\n<thead><tr><th></th>"
    )?;
    for (m, model) in report.models.iter().enumerate() {
        writeln!(out, "<th scope=\"col\"><a href=\"#model{m}\"><bdi>{}</bdi></a></th>", Shown(&model.name))?;
    }
    writeln!(out, "</tr></thead>\n<tbody>")?;
    for (key, name) in rows(&report.models) {
        write!(out, "<tr><th scope=\"row\">{}</th>", Shown(name))?;
        for model in &report.models {
            write_cell(out, find(&model.measures, key))?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(
        out,
        "</tbody></table></div>\n<p class=\"legend\">Below each figure: where 95 % of the resamples of whole groups lie.</p>\n\
         </section>"
    )
}

fn write_curves(out: &mut dyn Write, report: &BenchReport) -> io::Result<()> {
    if report.models.iter().all(|model| model.curve.is_empty()) {
        return Ok(());
    }
    let unit = (0.0, 1.0);
    let mut roc = Plot::new("Receiver operating characteristic", "false accepts", "true accepts", unit, unit);
    let mut precision =
        Plot::new("Precision against recall", "true accepts (recall)", "precision", unit, unit);
    let mut f1 = Plot::new("F1 against the share that is accepted", "accepted", "F1", unit, unit);
    roc.line("aid", vec![(0.0, 0.0), (1.0, 1.0)]);
    let (p, n) = (report.data.positives as f64, report.data.negatives as f64);
    for (m, model) in report.models.iter().enumerate() {
        let look = look(m);
        let mut points = vec![(0.0, 0.0)];
        points.extend(model.curve.iter().map(|r| (r.false_accepts, r.true_accepts)));
        roc.line(&look, points);
        let of_accepted = model.curve.iter().filter_map(|r| Some((r.true_accepts, r.precision?)));
        precision.line(&look, of_accepted.collect());
        let accepted =
            |r: &nexis_core::score::curves::Rates| (r.true_accepts * p + r.false_accepts * n) / (p + n);
        f1.line(&look, model.curve.iter().map(|r| (accepted(r), r.f1)).collect());
        let rate = |key| find(&model.measures, key).and_then(|measure| measure.value);
        if let (Some(hits), Some(misses)) = (rate("true_accepts"), rate("false_accepts")) {
            roc.dot(&look, (misses, hits), 4.5);
        }
    }
    writeln!(out, "<section class=\"panel\">\n<h2>Every threshold</h2>")?;
    write_names(out, report)?;
    writeln!(out, "<div class=\"plots\">")?;
    for (plot, caption) in [
        (&roc, "ROC; a dot stands at the threshold"),
        (&precision, "Precision and recall"),
        (&f1, "F1 by how much is accepted"),
    ] {
        writeln!(out, "<figure>{plot}<figcaption>{caption}</figcaption></figure>")?;
    }
    writeln!(out, "</div>\n</section>")
}

fn write_cost(out: &mut dyn Write, page: &BenchPage<'_>) -> io::Result<()> {
    let prices = page.prices;
    writeln!(
        out,
        "<section class=\"panel\">\n<h2>Cost of 1,000 clips</h2>\n<div class=\"scroll\"><table class=\"figures\">\n\
         <thead><tr><th></th><th>clips measured</th><th>decode, s</th><th>pictures, s</th><th>text, s</th><th>all, s</th>\
         <th>price</th></tr></thead>\n<tbody>"
    )?;
    for model in &page.report.models {
        let cost = &model.cost;
        let each = |seconds: f64, n: u64| {
            if n == 0 { "–".to_owned() } else { format!("{:.1}", seconds / n as f64 * 1000.0) }
        };
        writeln!(
            out,
            "<tr><th scope=\"row\"><bdi>{}</bdi></th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            Shown(&model.name),
            cost.clips,
            each(cost.decode_seconds, cost.clips),
            each(cost.encode_seconds, cost.clips),
            each(cost.text_seconds, cost.pairs),
            cost.seconds_per_clip().map_or_else(|| "–".to_owned(), |s| format!("{:.1}", s * 1000.0)),
            prices.per_1000(cost).map_or_else(|| "–".to_owned(), money),
        )?;
    }
    if let Some(api) = prices.api_per_1000 {
        writeln!(
            out,
            "<tr><th scope=\"row\">API, as stated</th><td>–</td><td>–</td><td>–</td><td>–</td><td>–</td><td>{}</td></tr>",
            money(api)
        )?;
    }
    write!(
        out,
        "</tbody></table></div>\n<p class=\"legend\">Wall time on this machine, of what was not in the store, with one \
         caption a clip"
    )?;
    match prices.per_hour {
        Some(price) => write!(out, "; the machine costs {price} an hour.")?,
        None => write!(out, "; no price of the machine was given.")?,
    }
    writeln!(out, "</p>\n</section>")
}

fn write_kappa(out: &mut dyn Write, report: &BenchReport) -> io::Result<()> {
    writeln!(
        out,
        "<section class=\"panel\">\n<h2>Agreement</h2>\n<div class=\"scroll\"><table class=\"figures names\">\n<thead><tr><th></th>"
    )?;
    for model in &report.models {
        write!(out, "<th scope=\"col\"><bdi>{}</bdi></th>", Shown(&model.name))?;
    }
    writeln!(out, "</tr></thead>\n<tbody>")?;
    for (model, row) in report.models.iter().zip(&report.kappa) {
        write!(out, "<tr><th scope=\"row\"><bdi>{}</bdi></th>", Shown(&model.name))?;
        for kappa in row {
            write!(out, "<td>{}</td>", kappa.map_or_else(|| "–".to_owned(), number))?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(
        out,
        "</tbody></table></div>\n<p class=\"legend\">Cohen's kappa of the decisions, each model at its own threshold.</p>\n\
         </section>"
    )
}

fn write_model(out: &mut dyn Write, m: usize, model: &ModelReport, page: &BenchPage<'_>) -> io::Result<()> {
    writeln!(
        out,
        "<section class=\"panel\" id=\"model{m}\">\n<h2>{}<bdi>{}</bdi></h2>\n<p class=\"meta\">{}, {} on {} · score: {}",
        key(m),
        Shown(&model.name),
        Shown(&model.identity.architecture),
        Shown(&model.identity.precision),
        Shown(&model.identity.device),
        Shown(&model.score),
    )?;
    match model.threshold {
        Some(threshold) => {
            writeln!(out, " · threshold {threshold:.4}: {}</p>", Shown(&model.threshold_basis))?;
        }
        None => writeln!(out, " · threshold {}</p>", Shown(&model.threshold_basis))?,
    }
    writeln!(out, "<div class=\"plots\">")?;
    if let Some(histogram) = &model.histogram {
        let most = histogram.positives.iter().chain(&histogram.negatives).copied().max().unwrap_or(0) as f64;
        let (x, y) = ((histogram.from, histogram.to), (0.0, most.max(1.0)));
        let mut plot = Plot::new("How scores are spread", "score", "pairs", x, y);
        let step = (histogram.to - histogram.from) / histogram.positives.len().max(1) as f64;
        for (look, counts) in [("neg", &histogram.negatives), ("pos", &histogram.positives)] {
            for (i, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let left = histogram.from + i as f64 * step;
                plot.bar(look, (left, 0.0), (left + step, *count as f64));
            }
        }
        if let Some(threshold) = model.threshold {
            plot.line("aid", vec![(threshold, 0.0), (threshold, most)]);
        }
        let legend = if page.report.data.positive_from.is_some() {
            "Scores: <b class=\"good\">matches</b> and <b class=\"bad\">others</b>"
        } else {
            "Scores"
        };
        writeln!(
            out,
            "<figure>{plot}<figcaption>{legend}; the dotted line is the threshold</figcaption></figure>"
        )?;
    }
    if let (Some(first), Some(last)) = (model.curve.first(), model.curve.last()) {
        let x = if model.probability { (0.0, 1.0) } else { (last.threshold, first.threshold) };
        let mut plot = Plot::new("F1 against the threshold", "threshold", "F1", x, (0.0, 1.0));
        plot.line(&look(m), model.curve.iter().map(|r| (r.threshold, r.f1)).collect());
        let mut caption = "F1 by threshold".to_owned();
        if let Some(best) = model.best_f1 {
            plot.dot(&look(m), (best.threshold, best.f1), 4.5);
            caption = format!("F1 by threshold, greatest {} at {}", number(best.f1), number(best.threshold));
        }
        if let Some(threshold) = model.threshold {
            plot.line("aid", vec![(threshold, 0.0), (threshold, 1.0)]);
        }
        writeln!(out, "<figure>{plot}<figcaption>{caption}</figcaption></figure>")?;
    }
    if let Some(reliability) = &model.reliability {
        let unit = (0.0, 1.0);
        let mut plot = Plot::new("Reliability", "mean P(match)", "share that matches", unit, unit);
        plot.line("aid", vec![(0.0, 0.0), (1.0, 1.0)]);
        let total: u64 = reliability.bins.iter().map(|bin| bin.count).sum();
        let filled: Vec<_> = reliability.bins.iter().filter(|bin| bin.count > 0).collect();
        plot.line(&look(m), filled.iter().map(|bin| (bin.predicted, bin.observed)).collect());
        for bin in filled {
            let radius = 2.5 + 9.0 * (bin.count as f64 / total.max(1) as f64).sqrt();
            plot.dot(&look(m), (bin.predicted, bin.observed), radius);
        }
        writeln!(
            out,
            "<figure>{plot}<figcaption>Reliability: expected calibration error {}, Brier {}; larger dots hold more \
             pairs</figcaption></figure>",
            number(reliability.expected_calibration_error),
            number(reliability.brier)
        )?;
    }
    writeln!(out, "</div>")?;
    write_subsets(out, &model.subsets, page.report.by.as_deref())?;
    for (kind, heading) in [
        (MistakeKind::FalseAccept, "Worst false accepts <small>scored high, judged wrong</small>"),
        (MistakeKind::FalseReject, "Worst false rejections <small>scored low, judged right</small>"),
    ] {
        let of_kind: Vec<&MistakePicture> =
            page.mistakes.iter().filter(|p| p.model == m && p.mistake.kind == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        writeln!(out, "<h3>{heading}</h3>\n<div class=\"mistakes\">")?;
        for picture in of_kind {
            write_mistake(out, picture)?;
        }
        writeln!(out, "</div>")?;
    }
    writeln!(out, "</section>")
}

fn write_mistake(out: &mut dyn Write, picture: &MistakePicture) -> io::Result<()> {
    write!(out, "<figure>")?;
    if let Some(sheet) = &picture.sheet {
        let keys = picture.pair.shown.keys().join(", ");
        write!(
            out,
            "<img loading=\"lazy\" alt=\"{}\" src=\"data:image/jpeg;base64,{}\">",
            Shown(&keys),
            STANDARD.encode(sheet)
        )?;
    }
    writeln!(
        out,
        "<figcaption>row {}: score <b>{}</b>, label <b>{}</b><bdi>{}</bdi></figcaption></figure>",
        picture.mistake.row,
        number(picture.mistake.score),
        (picture.mistake.rating * 1000.0).round() / 1000.0,
        Shown(&picture.pair.caption)
    )
}

fn write_subsets(out: &mut dyn Write, subsets: &[SubsetReport], by: Option<&str>) -> io::Result<()> {
    let (Some(by), false) = (by, subsets.is_empty()) else { return Ok(()) };
    let columns: Vec<(&str, &str)> = SUBSET_FIGURES
        .iter()
        .filter_map(|key| {
            let measure = subsets.iter().find_map(|subset| find(&subset.measures, key))?;
            Some((*key, measure.name.as_str()))
        })
        .collect();
    writeln!(
        out,
        "<h3>By {}</h3>\n<div class=\"scroll\"><table class=\"figures\">\n<thead><tr><th></th><th>pairs</th><th>match</th>",
        Shown(by)
    )?;
    for (_, name) in &columns {
        write!(out, "<th scope=\"col\">{}</th>", Shown(name))?;
    }
    writeln!(out, "</tr></thead>\n<tbody>")?;
    for subset in subsets {
        write!(
            out,
            "<tr><th scope=\"row\"><bdi>{}</bdi></th><td>{}</td><td>{}</td>",
            Shown(&subset.name),
            subset.pairs,
            subset.positives
        )?;
        for (key, _) in &columns {
            write_cell(out, find(&subset.measures, key))?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody></table></div>")
}

fn write_broken(out: &mut dyn Write, report: &BenchReport) -> io::Result<()> {
    let data = &report.data;
    if data.broken == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "<section class=\"panel\" id=\"broken\">\n<h2>{} pairs could not be scored</h2>\n<ul class=\"listed\">",
        data.broken
    )?;
    for broken in data.broken_pairs.iter().take(MOST_BROKEN) {
        writeln!(out, "<li>row {}: <bdi>{}</bdi></li>", broken.row, Shown(&broken.why))?;
    }
    let more = data.broken.saturating_sub(data.broken_pairs.len().min(MOST_BROKEN) as u64);
    if more > 0 {
        writeln!(out, "<li>and {more} more</li>")?;
    }
    writeln!(out, "</ul>\n</section>")
}

/// The same figures for a terminal.
///
/// # Errors
/// Whatever writing gives.
pub(crate) fn write_bench_text(out: &mut dyn Write, report: &BenchReport, prices: Prices) -> io::Result<()> {
    const NAME: usize = 36;
    const CELL: usize = 24;
    let data = &report.data;
    writeln!(
        out,
        "{} pairs of {} groups scored, {} match and {} do not; {} could not be scored",
        data.scored, data.groups, data.positives, data.negatives, data.broken
    )?;
    let padded = |text: &str, columns: usize| {
        let text = cut(&printable(text), columns);
        let fill = " ".repeat(columns.saturating_sub(width(&text)));
        format!("{fill}{text}")
    };
    write!(out, "{:<NAME$}", "")?;
    for model in &report.models {
        write!(out, " {}", padded(&model.name, CELL))?;
    }
    writeln!(out)?;
    for (key, name) in rows(&report.models) {
        write!(out, "{:<NAME$}", cut(&printable(name), NAME))?;
        for model in &report.models {
            let cell = find(&model.measures, key).map_or_else(
                || "-".to_owned(),
                |m| match (m.value, m.interval) {
                    (None, _) => UNDEFINED.to_owned(),
                    (Some(value), Some(i)) => {
                        format!("{} [{}, {}]", number(value), number(i.low), number(i.high))
                    }
                    (Some(value), None) => number(value),
                },
            );
            write!(out, " {}", padded(&cell, CELL))?;
        }
        writeln!(out)?;
    }
    write!(out, "{:<NAME$}", "seconds for 1,000 clips")?;
    for model in &report.models {
        let seconds = model.cost.seconds_per_clip();
        write!(out, " {}", padded(&seconds.map_or("-".into(), |s| format!("{:.1}", s * 1000.0)), CELL))?;
    }
    writeln!(out)?;
    if prices.per_hour.is_some() {
        write!(out, "{:<NAME$}", "price of 1,000 clips")?;
        for model in &report.models {
            let price = prices.per_1000(&model.cost);
            write!(out, " {}", padded(&price.map_or("-".into(), money), CELL))?;
        }
        writeln!(out)?;
    }
    if let Some(api) = prices.api_per_1000 {
        writeln!(out, "{:<NAME$} {}", "price of 1,000 clips, API", padded(&money(api), CELL))?;
    }
    for broken in data.broken_pairs.iter().take(5) {
        writeln!(out, "row {}: {}", broken.row, printable(&broken.why))?;
    }
    Ok(())
}
