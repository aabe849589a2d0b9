use super::super::{
    SheetOptions, TextOptions, contact_sheet, png, sample, write_report, write_row as write_row_text,
};
use super::*;
use nexis_core::report::{CascadeReport, Decider, EnsembleReport};

fn page() -> String {
    let report = sample::report();
    let mut out = Vec::new();
    let options = PageOptions { title: format!("Report {}", sample::HOSTILE), made_at: None };
    write_page(&mut out, &report, &sample::pictures(&report), &options).unwrap();
    String::from_utf8(out).unwrap()
}

/// The page as a list of tags (between angle brackets) and the text between them.
fn parts(page: &str) -> (Vec<&str>, String) {
    let mut tags = Vec::new();
    let mut text = String::new();
    for piece in page.split('<').skip(1) {
        let (tag, after) = piece.split_once('>').expect("every tag is closed");
        tags.push(tag);
        text.push_str(after);
    }
    (tags, text)
}

fn unescaped(text: &str) -> String {
    let pairs =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&#96;", "`"), ("&amp;", "&")];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[test]
fn hostile_text_makes_no_tag_and_no_attribute() {
    let page = page();
    let (tags, text) = parts(&page);
    assert!(!page.contains("<script") && !page.contains("</script"));
    for tag in &tags {
        let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap();
        let ours = [
            "a",
            "b",
            "bdi",
            "blockquote",
            "body",
            "br",
            "code",
            "dd",
            "details",
            "div",
            "dl",
            "dt",
            "figcaption",
            "figure",
            "h1",
            "h2",
            "h3",
            "head",
            "header",
            "html",
            "img",
            "li",
            "main",
            "meta",
            "p",
            "section",
            "small",
            "span",
            "strong",
            "style",
            "summary",
            "table",
            "tbody",
            "td",
            "th",
            "thead",
            "title",
            "tr",
            "ul",
        ];
        assert!(ours.contains(&name) || *tag == "!doctype html", "<{tag}>");
        assert!(!tag.contains("onerror") && !tag.contains("alert"), "<{tag}>");
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
    }
    assert!(!page.contains('\u{1b}') && !page.contains('\u{202e}') && !page.contains('\u{202c}'));
    assert!(
        unescaped(&text).contains(&printable(sample::HOSTILE)),
        "what the miner wrote is still to be read"
    );
}

#[test]
fn tags_nest() {
    let page = page();
    let mut open = Vec::new();
    for tag in parts(&page).0 {
        let name = tag.split([' ', '\n']).next().unwrap();
        match name.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed)),
            None if ["!doctype", "meta", "br", "img"].contains(&name) => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty());
}

#[test]
fn nothing_comes_from_outside() {
    let page = page();
    let (tags, _) = parts(&page);
    for tag in tags {
        for attribute in ["src=\"", "href=\""] {
            if let Some((_, value)) = tag.split_once(attribute) {
                assert!(value.starts_with("data:image/jpeg;base64,") || value.starts_with("#s"), "<{tag}>");
            }
        }
    }
    assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
}

#[test]
fn everything_in_the_report_is_on_the_page() {
    let report = sample::report();
    let page = page();
    let text = unescaped(&parts(&page).1);
    for submission in &report.submissions {
        assert!(text.contains(&printable(submission.miner_hotkey.as_str())));
        let warnings: Vec<_> = submission.warnings.iter().map(|v| v.code()).collect();
        for code in submission.failures.iter().chain(&warnings) {
            assert!(text.contains(&printable(code)), "{code}");
            assert!(text.contains(explain(code)), "{code}");
        }
        for row in &submission.rows {
            assert!(text.contains(&printable(&row.caption)));
            if let Some(digest) = &row.evidence {
                assert!(text.contains(&digest.to_string()));
            }
            for unit in row.alignment.iter().flat_map(|alignment| &alignment.units) {
                assert!(text.contains(&printable(&unit.text)));
                assert!(unit.per_frame.iter().all(|s| text.contains(&figure(*s))));
            }
        }
    }
    let judged = report.submissions.iter().flat_map(|s| &s.rows).filter(|row| row.alignment.is_some());
    assert_eq!(page.matches("<img ").count(), judged.count() * 6);
    assert!(text.contains("This is a demonstration model") && text.contains("borderline"));
    assert!(text.contains("1280x720 h264 yuv420p"));
}

#[test]
fn two_encoders_are_both_shown_and_what_decided() {
    let mut report = sample::report();
    let mut rows = report.submissions.iter_mut().flat_map(|submission| &mut submission.rows);
    let row = rows.find(|row| row.category.as_ref().is_some_and(|c| c.nature_score == Some(0.87))).unwrap();
    let category = row.category.as_mut().unwrap();
    let mut second = category.clone();
    second.decision = Verdict::Reject;
    second.borderline = true;
    second.caption_nature = 0.625;
    (second.nature_score, second.rival_score, second.margin) = (Some(0.092), Some(0.447), Some(-0.355));
    for frame in &mut second.frames {
        frame.winner = Category::Urban;
        frame.scores =
            Category::ALL.map(|label| (label, if label == frame.winner { 0.447 } else { 0.092 })).into();
    }
    category.decision = Verdict::Reject;
    category.cascade =
        Some(CascadeReport { decided_by: Decider::LogOdds, encoder: Verdict::Reject, yes: None });
    category.ensemble = Some(Box::new(EnsembleReport {
        first: Verdict::Accept,
        second,
        log_odds: Some([0.25, -1.5]),
        gate: None,
    }));
    let decided = Shown(&category.decided().unwrap()).to_string();
    let row = row.clone();
    let mut out = Vec::new();
    write_category(&mut out, &row, row.category.as_ref().unwrap()).unwrap();
    let page = String::from_utf8(out).unwrap();

    let places: Vec<usize> = ["Category <", &*decided, "First encoder alone <", "Second encoder alone <"]
        .map(|piece| page.find(piece).unwrap_or_else(|| panic!("{piece} is not in {page}")))
        .into();
    assert!(places.is_sorted(), "{places:?}");
    let (first, second) = (&page[places[2]..places[3]], &page[places[3]..]);
    for (part, ours, theirs) in [(first, "0.870", "0.447"), (second, "0.447", "0.870")] {
        assert_eq!(part.matches("class=\"bar").count(), 3 * Category::ALL.len(), "{part}");
        assert!(part.contains(ours) && !part.contains(theirs), "{part}");
    }
    assert!(first.contains(&badge(Verdict::Accept)) && !first.contains("borderline"), "{first}");
    assert!(second.contains(&badge(Verdict::Reject)) && second.contains("borderline"), "{second}");
    assert!(second.contains("P(nature) of the caption 0.625") && page[..places[1]].contains("borderline"));
}

#[test]
fn figures_that_are_none_do_not_reach_the_style() {
    let mut report = sample::report();
    for row in report.submissions.iter_mut().flat_map(|s| &mut s.rows) {
        if let Some(alignment) = &mut row.alignment {
            alignment.probability = f64::NAN;
            alignment.threshold = f64::INFINITY;
            alignment.units[0].similarity = f64::NEG_INFINITY;
        }
    }
    report.weights.values_mut().for_each(|weight| *weight = f64::NAN);
    let mut out = Vec::new();
    write_page(&mut out, &report, &RowPictures::default(), &PageOptions::default()).unwrap();
    let page = String::from_utf8(out).unwrap();
    for style in page.split("style=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        let value = style.split(':').nth(1).and_then(|value| value.strip_suffix('%')).unwrap();
        let share: f64 = value.parse().unwrap();
        assert!((0.0..=100.0).contains(&share), "{style}");
    }
}

#[test]
#[ignore = "writes the sample's table, sheet and page into the temporary folder, for looking at"]
fn writes_the_sample() {
    let folder = std::env::temp_dir().join("nexis-view-sample");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("report.html"), page()).unwrap();
    let frames: Vec<_> = (0..6).map(|k| sample::hills(k, 3)).collect();
    let alphabet: Vec<_> = [' '..='?', '@'..='_', '`'..='~'].map(|c| c.collect()).into();
    let labels = vec![vec!["nature 0.871".to_owned(), "match 0.243".into(), "W".repeat(99)]; 6];
    let options = SheetOptions { title: alphabet, ..Default::default() };
    let sheet = contact_sheet(&frames, &labels, &options);
    std::fs::write(folder.join("sheet.png"), png(&sheet).unwrap()).unwrap();
    let report = sample::report();
    for (name, columns, colour) in [("narrow", 60, false), ("wide", 110, false), ("colour", 100, true)] {
        let options = TextOptions { width: columns, colour, ..Default::default() };
        let mut text = Vec::new();
        write_report(&mut text, &report, &options).unwrap();
        write_row_text(&mut text, &report.submissions[0].rows[0], &report.environment, &options).unwrap();
        std::fs::write(folder.join(format!("{name}.txt")), text).unwrap();
    }
}
