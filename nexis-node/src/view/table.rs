//! Results as text for a terminal or a log.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write};

use nexis_core::check::{Policy, Violation};
use nexis_core::protocol::Category;
use nexis_core::report::{
    AlignmentReport, CategoryReport, Environment, Report, RowReport, SubmissionReport, Verdict,
};

use super::explain::{explain, kind};
use super::text::{cut, printable, shorten, width, wrap};
use super::{borderline_rows, environment_facts, verdict_word};

/// How text is laid out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TextOptions {
    /// Columns of a line; fewer than 40 are treated as 40.
    pub(crate) width: usize,
    /// Whether colour may be used.
    pub(crate) colour: bool,
    /// Most codes listed per kind of failure and submission; the rest is counted.
    pub(crate) codes_per_kind: usize,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self { width: 100, colour: false, codes_per_kind: 20 }
    }
}

impl TextOptions {
    /// What suits stdout: the terminal's width and, unless `NO_COLOR` is set, colour; else 100 columns.
    pub(crate) fn for_stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        let columns = terminal.then(terminal_size::terminal_size).flatten().map(|(w, _)| usize::from(w.0));
        // https://no-color.org: present and not empty, whatever its value.
        let colourless = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            width: columns.unwrap_or(Self::default().width),
            colour: terminal && !colourless && !dumb,
            ..Self::default()
        }
    }

    fn columns(&self) -> usize {
        self.width.max(40)
    }

    fn paint(&self, text: &str, paint: Paint) -> String {
        let code = match paint {
            Paint::Plain => "",
            Paint::Bold => "1",
            Paint::Dim => "2",
            Paint::Red => "31",
            Paint::Green => "32",
            Paint::Yellow => "33",
        };
        if self.colour && !code.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[derive(Clone, Copy)]
enum Paint {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
}

const fn verdict_paint(verdict: Verdict) -> Paint {
    match verdict {
        Verdict::Accept => Paint::Green,
        Verdict::Reject => Paint::Red,
        Verdict::Inconclusive => Paint::Yellow,
    }
}

/// Lines with an indent, wrapped.
struct Printer<'a> {
    out: &'a mut dyn Write,
    options: &'a TextOptions,
}

impl Printer<'_> {
    fn blank(&mut self) -> io::Result<()> {
        writeln!(self.out)
    }

    /// A paragraph; lines after the first are indented by two more.
    fn text(&mut self, indent: usize, text: &str, paint: Paint) -> io::Result<()> {
        let room = self.options.columns().saturating_sub(indent + 2);
        for (index, line) in wrap(&printable(text), room).iter().enumerate() {
            let indent = if index == 0 { indent } else { indent + 2 };
            writeln!(self.out, "{}{}", " ".repeat(indent), self.options.paint(line, paint))?;
        }
        Ok(())
    }
}

/// Prints what a run found: what made it, a line per submission, then everything behind each verdict.
///
/// # Errors
/// Whatever writing gives.
pub(crate) fn write_report(out: &mut dyn Write, report: &Report, options: &TextOptions) -> io::Result<()> {
    let mut printer = Printer { out, options };
    write_environment(&mut printer, &report.environment, Some(report.policy))?;
    printer.blank()?;
    if report.submissions.is_empty() {
        printer.text(0, "No submission was found.", Paint::Yellow)?;
        return Ok(());
    }
    write_summary(&mut printer, report)?;
    for submission in &report.submissions {
        printer.blank()?;
        write_submission(&mut printer, submission)?;
    }
    printer.blank()?;
    let count = |verdict| report.submissions.iter().filter(|s| s.verdict == verdict).count();
    let line = format!(
        "{} accepted, {} rejected, {} inconclusive",
        count(Verdict::Accept),
        count(Verdict::Reject),
        count(Verdict::Inconclusive)
    );
    printer.text(0, &line, verdict_paint(report.verdict()))
}

/// Prints the scores of one clip: caption units over frames, the probability and the category.
///
/// # Errors
/// Whatever writing gives.
pub(crate) fn write_row(
    out: &mut dyn Write,
    row: &RowReport,
    environment: &Environment,
    options: &TextOptions,
) -> io::Result<()> {
    let mut printer = Printer { out, options };
    write_environment(&mut printer, environment, None)?;
    printer.blank()?;
    printer.text(0, &format!("Clip {}", row.clip_id), Paint::Bold)?;
    if let Some(probe) = &row.probe {
        printer.text(2, &super::probe_line(probe), Paint::Plain)?;
    }
    printer.text(2, &format!("Caption: {}", row.caption), Paint::Plain)?;
    if let Some(alignment) = &row.alignment {
        printer.blank()?;
        write_alignment(&mut printer, row, alignment)?;
    }
    if let Some(category) = &row.category {
        printer.blank()?;
        write_category(&mut printer, row, category)?;
    }
    if !row.failures.is_empty() {
        printer.blank()?;
        write_codes(&mut printer, 0, row.failures.iter().map(|code| (code.as_str(), "")), Paint::Red)?;
    }
    if let Some(why) = &row.inconclusive {
        printer.blank()?;
        printer.text(0, &format!("Not judged: {why}"), Paint::Yellow)?;
    }
    if let Some(digest) = &row.evidence {
        printer.blank()?;
        printer.text(0, &format!("Evidence sha256 {digest}"), Paint::Dim)?;
    }
    Ok(())
}

fn write_environment(
    printer: &mut Printer<'_>,
    environment: &Environment,
    policy: Option<Policy>,
) -> io::Result<()> {
    let facts = environment_facts(environment, policy);
    let line: Vec<_> = facts.iter().map(|(name, value)| format!("{name} {value}")).collect();
    printer.text(0, &line.join(" · "), Paint::Dim)?;
    if let Some(notice) = &environment.notice {
        printer.text(0, &format!("Notice: {notice}"), Paint::Yellow)?;
    }
    Ok(())
}

/// A column of the summary: its head, its cells, and whether they stand to the right.
struct Column {
    head: &'static str,
    cells: Vec<(String, Paint)>,
    right: bool,
    /// Columns with a higher number go first where the terminal is narrow; 0 always stays.
    dispensable: u8,
}

impl Column {
    fn width(&self) -> usize {
        self.cells.iter().map(|(cell, _)| width(cell)).max().unwrap_or(0).max(width(self.head))
    }
}

fn write_summary(printer: &mut Printer<'_>, report: &Report) -> io::Result<()> {
    const GAP: usize = 2;
    /// Fewest columns that a reason is worth.
    const REASON: usize = 16;

    let total = printer.options.columns();
    let mut columns = summary_columns(report, if total < 80 { 13 } else { 21 });
    let used = |columns: &[Column]| columns.iter().map(|column| column.width() + GAP).sum::<usize>();
    while used(&columns) + REASON > total {
        let Some(most) = columns.iter().map(|c| c.dispensable).max().filter(|&d| d > 0) else { break };
        columns.retain(|column| column.dispensable != most);
    }
    let room = total.saturating_sub(used(&columns));

    let mut line = String::new();
    for column in &columns {
        line.push_str(&pad(column.head, column.width(), column.right));
        line.push_str("  ");
    }
    line.push_str(&cut("first reason", room));
    writeln!(printer.out, "{}", printer.options.paint(line.trim_end(), Paint::Bold))?;
    for (index, submission) in report.submissions.iter().enumerate() {
        let mut line = String::new();
        for column in &columns {
            if let Some((cell, paint)) = column.cells.get(index) {
                let cell = pad(cell, column.width(), column.right);
                line.push_str(&printer.options.paint(&cell, *paint));
                line.push_str("  ");
            }
        }
        line.push_str(&cut(&first_reason(submission), room));
        writeln!(printer.out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn summary_columns(report: &Report, name_width: usize) -> Vec<Column> {
    let column = |head, dispensable, right, cell: &dyn Fn(&SubmissionReport) -> (String, Paint)| Column {
        head,
        cells: report.submissions.iter().map(cell).collect(),
        right,
        dispensable,
    };
    let plain = |text: String| (text, Paint::Plain);
    let mut columns =
        vec![column("miner", 0, false, &|s| plain(shorten(&printable(s.miner_hotkey.as_str()), name_width)))];
    let first = report.submissions.first().map(|s| s.interval_id);
    if report.submissions.iter().any(|s| Some(s.interval_id) != first) {
        columns.push(column("interval", 1, true, &|s| plain(s.interval_id.to_string())));
    }
    columns.push(column("verdict", 0, false, &|s| {
        (verdict_word(s.verdict).to_owned(), verdict_paint(s.verdict))
    }));
    columns.push(column("rows", 2, true, &|s| plain(format!("{}/{}", s.sampled_rows, s.record_count))));
    columns.push(column("pruned", 4, true, &|s| plain(s.pruned_rows.to_string())));
    columns.push(column("score", 1, true, &|s| plain(format!("{}", s.score))));
    columns.push(column("weight", 3, true, &|s| plain(super::percent(weight(report, s)))));
    columns
}

fn weight(report: &Report, submission: &SubmissionReport) -> f64 {
    report.weights.get(&submission.miner_hotkey).copied().unwrap_or(0.0)
}

fn pad(text: &str, columns: usize, right: bool) -> String {
    let space = " ".repeat(columns.saturating_sub(width(text)));
    if right { format!("{space}{text}") } else { format!("{text}{space}") }
}

/// The first thing to know about a submission that was not simply accepted.
fn first_reason(submission: &SubmissionReport) -> String {
    let mut text = match (submission.failures.first(), submission.inconclusive.first()) {
        (Some(code), _) => printable(code),
        (None, Some(why)) => printable(why),
        (None, None) => return String::new(),
    };
    let more = submission.failures.len().max(submission.inconclusive.len()).saturating_sub(1);
    if more > 0 {
        // The number stands first, or a cut would take it away.
        text = format!("(+{more}) {text}");
    }
    text
}

fn write_submission(printer: &mut Printer<'_>, submission: &SubmissionReport) -> io::Result<()> {
    let head = format!("{} · interval {}", submission.miner_hotkey, submission.interval_id);
    printer.text(0, &head, Paint::Bold)?;
    let line = match submission.verdict {
        Verdict::Accept => format!(
            "accept: {} of {} sampled rows passed, score {}",
            submission.passed_sample_count, submission.sampled_rows, submission.score
        ),
        Verdict::Reject => {
            let n = submission.failures.len();
            format!("reject: {n} failure{}", if n == 1 { "" } else { "s" })
        }
        Verdict::Inconclusive => {
            "inconclusive: not everything could be checked; counts as nothing".to_owned()
        }
    };
    printer.text(2, &line, verdict_paint(submission.verdict))?;
    for why in &submission.inconclusive {
        printer.text(4, why, Paint::Yellow)?;
    }
    let reasons = super::reasons(submission);
    write_codes(printer, 2, reasons.iter().map(|(code, detail)| (code.as_str(), *detail)), Paint::Red)?;
    if !submission.warnings.is_empty() {
        printer.text(2, "Warnings (the strict policy would reject):", Paint::Yellow)?;
        let codes: Vec<_> = submission.warnings.iter().map(Violation::code).collect();
        let pairs =
            codes.iter().zip(&submission.warnings).map(|(code, v)| (code.as_str(), v.detail.as_str()));
        write_codes(printer, 4, pairs, Paint::Yellow)?;
    }
    for line in borderline_rows(submission) {
        printer.text(2, &format!("Borderline: {line}"), Paint::Yellow)?;
    }
    for (name, value) in &submission.notes {
        printer.text(2, &format!("{name}: {value}"), Paint::Dim)?;
    }
    Ok(())
}

/// Codes with their details, grouped by kind in the order of appearance, each kind explained once.
fn write_codes<'a>(
    printer: &mut Printer<'_>,
    indent: usize,
    codes: impl Iterator<Item = (&'a str, &'a str)>,
    paint: Paint,
) -> io::Result<()> {
    /// Longest code or detail shown in full; ids are the miner's and may be of any length.
    const LONGEST: usize = 1000;

    let mut order: Vec<&str> = Vec::new();
    let mut groups: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for (code, detail) in codes {
        let group = groups.entry(kind(code)).or_default();
        if group.is_empty() {
            order.push(kind(code));
        }
        group.push((code, detail));
    }
    for name in order {
        let group = groups.get(name).map(Vec::as_slice).unwrap_or_default();
        for (code, detail) in group.iter().take(printer.options.codes_per_kind) {
            printer.text(indent, &cut(&printable(code), LONGEST), paint)?;
            if !detail.is_empty() {
                printer.text(indent + 2, &cut(&printable(detail), LONGEST), Paint::Plain)?;
            }
        }
        let more = group.len().saturating_sub(printer.options.codes_per_kind);
        if more > 0 {
            printer.text(indent, &format!("and {more} more {name} (--json lists all)"), paint)?;
        }
        printer.text(indent + 2, explain(name), Paint::Dim)?;
    }
    Ok(())
}

fn write_alignment(
    printer: &mut Printer<'_>,
    row: &RowReport,
    alignment: &AlignmentReport,
) -> io::Result<()> {
    let columns = printer.options.columns();
    let frames = alignment.units.iter().map(|unit| unit.per_frame.len()).max().unwrap_or(0);
    // One number needs seven columns; the mean stands first and stays.
    let fitting = frames.min(columns.saturating_sub(24 + 7) / 7);
    let text_width = columns.saturating_sub(7 * (fitting + 1)).min(60);

    let mut head = format!("{}{:>7}", pad("caption unit / frame", text_width, false), "mean");
    for index in 0..fitting {
        let label = row.frames.get(index).map_or(format!("#{index}"), |f| format!("{:.2}s", f.pts_seconds));
        head.push_str(&format!(" {:>6}", cut(&label, 6)));
    }
    writeln!(printer.out, "{}", printer.options.paint(&head, Paint::Bold))?;
    for unit in &alignment.units {
        let mut lines = wrap(&printable(&unit.text), text_width.saturating_sub(1)).into_iter();
        let mut line = pad(&lines.next().unwrap_or_default(), text_width, false);
        line.push_str(&number(unit.similarity, 7));
        for similarity in unit.per_frame.iter().take(fitting) {
            line.push_str(&number(*similarity, 7));
        }
        writeln!(printer.out, "{line}")?;
        for line in lines {
            writeln!(printer.out, "{line}")?;
        }
    }
    if fitting < frames {
        printer.text(
            0,
            &format!("{} more frames do not fit; --json has them", frames - fitting),
            Paint::Dim,
        )?;
    }
    match &alignment.ensemble {
        None => write_match(printer, "P(match)", alignment, alignment.verdict)?,
        Some(ensemble) => {
            // Each encoder's own verdict beside its figures, and then what the two come to.
            write_match(printer, "P(match)", alignment, ensemble.first)?;
            write_match(printer, "P(match), second encoder", &ensemble.second, ensemble.second.verdict)?;
            printer.text(0, verdict_word(alignment.verdict), verdict_paint(alignment.verdict))?;
        }
    }
    write_decided(printer, alignment.decided())
}

/// One encoder's P(match) against its threshold.
fn write_match(
    printer: &mut Printer<'_>,
    name: &str,
    alignment: &AlignmentReport,
    verdict: Verdict,
) -> io::Result<()> {
    let sign = if alignment.probability >= alignment.threshold { ">=" } else { "<" };
    let mut line = format!(
        "{name} {:.3} {sign} {:.3}  {}  {}",
        alignment.probability,
        alignment.threshold,
        bar(alignment.probability, 20),
        verdict_word(verdict)
    );
    if alignment.borderline {
        line.push_str(" (borderline)");
    }
    let line = cut(&line, printer.options.columns());
    writeln!(printer.out, "{}", printer.options.paint(&line, verdict_paint(verdict)))
}

/// What decided, where it was not the threshold of one encoder.
fn write_decided(printer: &mut Printer<'_>, decided: Option<String>) -> io::Result<()> {
    match decided {
        Some(words) => printer.text(2, &words, Paint::Plain),
        None => Ok(()),
    }
}

fn write_category(printer: &mut Printer<'_>, row: &RowReport, category: &CategoryReport) -> io::Result<()> {
    printer.text(0, "Category of the middle frames", Paint::Bold)?;
    let columns = printer.options.columns();
    // Label, value and gap take 18 columns; one further number stands per frame.
    let bar_width = columns.saturating_sub(20).clamp(8, 40);
    for frame in &category.frames {
        let time = row
            .frames
            .get(frame.frame_index)
            .map_or(String::new(), |f| format!(" at {:.2} s", f.pts_seconds));
        printer.text(2, &format!("frame {}{time}: {}", frame.frame_index + 1, frame.winner), Paint::Plain)?;
        for label in Category::ALL {
            let score = frame.scores.get(&label).copied().unwrap_or(0.0);
            let line = format!("    {:<8}{}  {}", label.as_str(), number(score, 6), bar(score, bar_width));
            let paint = if label == frame.winner { Paint::Bold } else { Paint::Plain };
            writeln!(printer.out, "{}", printer.options.paint(cut(&line, columns).trim_end(), paint))?;
        }
    }
    let mut line = super::category_line(category);
    if category.borderline {
        line.push_str(" (borderline)");
    }
    printer.text(2, &line, verdict_paint(category.decision))?;
    if let Some(ensemble) = &category.ensemble {
        let line = format!("second encoder alone, {}", super::category_line(&ensemble.second));
        printer.text(2, &line, verdict_paint(ensemble.second.decision))?;
    }
    write_decided(printer, category.decided())
}

/// A figure with three decimals, to the right; what is not a number says so.
fn number(value: f64, columns: usize) -> String {
    let text = if value.is_finite() { format!("{value:.3}") } else { "n/a".to_owned() };
    format!(" {:>1$}", cut(&text, columns - 1), columns - 1)
}

/// A bar for a share in 0..1.
fn bar(share: f64, columns: usize) -> String {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let full = ((share * columns as f64).round() as usize).min(columns);
    format!("{}{}", "█".repeat(full), "·".repeat(columns - full))
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn printed(columns: usize, colour: bool) -> String {
        let mut out = Vec::new();
        let options = TextOptions { width: columns, colour, ..TextOptions::default() };
        write_report(&mut out, &sample::report(), &options).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Text without its line breaks and indents, so that what was wrapped can be found again.
    fn joined(text: &str) -> String {
        text.chars().filter(|c| !c.is_whitespace()).collect()
    }

    #[test]
    fn every_code_hotkey_warning_and_mark_is_there() {
        let report = sample::report();
        for columns in [40, 72, 100, 200] {
            let text = joined(&printed(columns, false));
            for submission in &report.submissions {
                assert!(text.contains(&joined(&printable(submission.miner_hotkey.as_str()))), "at {columns}");
                let warnings: Vec<_> = submission.warnings.iter().map(Violation::code).collect();
                for code in submission.failures.iter().chain(&warnings) {
                    assert!(text.contains(&joined(&printable(code))), "{code} at {columns}");
                    assert!(text.contains(&joined(explain(code))), "{code} at {columns}");
                }
            }
            assert!(text.contains("Borderline:clipaa02:P(match)0.5040against0.5000"));
            assert!(text.contains("Notice:Thisisademonstrationmodel"));
            assert!(text.contains("thedecoderranoutofmemory"));
            assert!(text.contains("1accepted,2rejected,1inconclusive"));
        }
    }

    #[test]
    fn no_line_is_wider_than_asked() {
        for columns in 40..130 {
            for line in printed(columns, false).lines() {
                assert!(width(line) <= columns, "{columns}: {line}");
            }
        }
        let widest = printed(1, false).lines().map(width).max();
        assert!(widest.unwrap() <= 40);
    }

    #[test]
    fn the_summary_has_a_line_per_submission_and_loses_columns_not_verdicts() {
        let wide = printed(120, false);
        let head = wide.lines().find(|line| line.starts_with("miner")).unwrap();
        for column in ["verdict", "rows", "pruned", "score", "weight", "first reason"] {
            assert!(head.contains(column), "{head}");
        }
        assert!(wide.contains("(+34) missing_committed_read_credentials"));
        let first = wide.lines().find(|line| line.starts_with("5Grwva") && line.contains("accept ")).unwrap();
        let cells: Vec<_> = first.split_whitespace().collect();
        assert_eq!(cells[1..], ["accept", "3/120", "4", "27", "100.0", "%"]);
        let narrow = printed(46, false);
        let head = narrow.lines().find(|line| line.starts_with("miner")).unwrap();
        assert!(head.contains("verdict") && !head.contains("pruned"), "{head}");
    }

    #[test]
    fn colour_changes_nothing_else_and_hostile_text_brings_none() {
        let plain = printed(100, false);
        assert!(!plain.contains('\u{1b}') && !plain.contains('\u{202e}'));
        let coloured = printed(100, true);
        assert!(coloured.contains("\u{1b}[31m"));
        let bare = ["0", "1", "2", "31", "32", "33"]
            .iter()
            .fold(coloured, |text, code| text.replace(&format!("\u{1b}[{code}m"), ""));
        let trimmed = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
        assert_eq!(trimmed(&bare), trimmed(&plain));
    }

    #[test]
    fn many_codes_of_a_kind_are_counted() {
        let kind = |n: usize| nexis_core::check::ViolationKind::ShortCaption { clip: format!("clip{n}") };
        let many = (0..5000).map(|n| Violation::new(kind(n))).collect();
        let mut report = sample::report();
        report.submissions = vec![sample::submission("5Many", Verdict::Reject, many)];
        let mut out = Vec::new();
        write_report(&mut out, &report, &TextOptions::default()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("and 4980 more short_caption"));
        assert_eq!(text.matches(explain("short_caption")).count(), 1);
        assert!(text.lines().count() < 50);
    }

    #[test]
    fn an_empty_report_says_so() {
        let mut report = sample::report();
        report.submissions.clear();
        let mut out = Vec::new();
        write_report(&mut out, &report, &TextOptions::default()).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("No submission was found."));
    }

    fn printed_row(row: &RowReport, columns: usize) -> String {
        let mut out = Vec::new();
        let options = TextOptions { width: columns, ..TextOptions::default() };
        write_row(&mut out, row, &sample::environment(), &options).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_clip_shows_every_similarity_and_label() {
        let report = sample::report();
        let row = &report.submissions[0].rows[0];
        let text = printed_row(row, 100);
        let alignment = row.alignment.as_ref().unwrap();
        for unit in &alignment.units {
            let figures: Vec<_> = unit.per_frame.iter().map(|s| format!("{s:.3}")).collect();
            assert!(text.contains(&figures.join("  ")), "{figures:?} in\n{text}");
        }
        for label in Category::ALL {
            assert_eq!(text.lines().filter(|line| line.trim().starts_with(label.as_str())).count(), 3);
        }
        assert!(text.contains("P(match) 0.930 >= 0.500") && text.contains("margin"));
    }

    #[test]
    fn a_clip_keeps_the_width_whatever_its_text_and_figures() {
        let mut row = sample::report().submissions[2].rows[0].clone();
        if let Some(alignment) = &mut row.alignment {
            alignment.probability = f64::NAN;
            alignment.units[0].similarity = f64::INFINITY;
            alignment.units[0].per_frame = vec![-12_345.678; 40];
        }
        for columns in 40..130 {
            let text = printed_row(&row, columns);
            assert!(text.lines().all(|line| width(line) <= columns), "{columns}\n{text}");
            assert!(!text.contains('\u{1b}'));
            assert!(text.contains("n/a"));
        }
    }
}
