//! Files of pairs in every format, as their users and other programs write them.
//! `tests/fixtures/pairs/make_pairs.py` made the Parquet files and pickles.

use std::fs;
use std::path::Path;

use nexis_core::hash::Digest;
use nexis_core::pairs::{Pair, PairFormat, PairLimits, PairOptions, PairSource, PairsRead, Separator, Shown};
use nexis_core::protocol::Category;
use nexis_core::{Error, Result};

fn read_with(path: &Path, options: &PairOptions) -> Result<(Vec<Pair>, PairsRead)> {
    let mut pairs = Vec::new();
    let read = PairSource::open(path, options)?.each(&mut |pair| {
        pairs.push(pair);
        Ok(())
    })?;
    assert_eq!(read.pairs, pairs.len() as u64);
    Ok((pairs, read))
}

fn read(path: &Path) -> Result<(Vec<Pair>, PairsRead)> {
    read_with(path, &PairOptions::default())
}

fn refused(path: &Path) -> String {
    let error = read(path).unwrap_err();
    assert!(matches!(error, Error::Usage { .. } | Error::Missing { .. }), "{error:?}");
    error.to_string()
}

fn frames(keys: &[&str]) -> Shown {
    Shown::Frames(keys.iter().map(ToString::to_string).collect())
}

#[test]
fn json_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pairs.jsonl");
    let text = concat!(
        "\u{feff}{\"clip\": \"a.mp4\", \"caption\": \"<b>a car</b>\", \"label\": 1, \"group\": \"g\"}\r\n",
        "\n",
        "{\"frames\": [\"b.png\"], \"caption\": \"two\\nlines\", \"label\": [1, 4, 2.5], \"category\": \"urban\"}",
    );
    fs::write(&path, text).unwrap();
    let (pairs, seen) = read(&path).unwrap();
    assert_eq!(seen.sha256, Digest::of(text));
    assert_eq!((pairs[0].row, &pairs[0].shown), (1, &Shown::Clip("a.mp4".into())));
    assert_eq!((pairs[0].caption.as_str(), pairs[0].group.as_deref()), ("<b>a car</b>", Some("g")));
    assert_eq!((pairs[1].row, &pairs[1].shown), (3, &frames(&["b.png"])));
    assert_eq!((pairs[1].rating(), pairs[1].category), (Some(2.5), Some(Category::Urban)));

    for (line, why) in [
        ("{\"clip\": \"a.mp4\"", "line 2: no JSON object"),
        ("[1]", "line 2: no JSON object"),
        ("{\"clip\": \"../a.mp4\", \"caption\": \"a\"}", "line 2: the path \"../a.mp4\" leads outside"),
        ("{\"clip\": \"a.mp4\", \"caption\": \" \"}", "line 2: the caption is empty"),
    ] {
        fs::write(&path, format!("{{\"clip\": \"a.mp4\", \"caption\": \"a\"}}\n{line}\n")).unwrap();
        let got = refused(&path);
        assert!(got.contains(why) && got.contains("pairs.jsonl"), "{got}");
    }
    fs::write(&path, "\n\n").unwrap();
    assert!(refused(&path).contains("no pair"));
    fs::write(&path, b"{\"clip\": \"\xff\"}").unwrap();
    assert!(refused(&path).contains("line 1: it is not UTF-8"));
}

#[test]
fn csv_with_quotes_lists_and_any_order_of_columns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pairs.csv");
    let text = concat!(
        "label,caption,note,frames,group\n",
        "1,\"a \"\"big\"\" car, red\",x,a.png;b.png,g\n",
        "0.5;3,\"two\nlines\",,c.png,\n",
        ",no label,,d.png,h\n",
    );
    fs::write(&path, text).unwrap();
    let (pairs, seen) = read(&path).unwrap();
    assert_eq!(seen.sha256, Digest::of(text));
    assert_eq!(pairs[0].shown, frames(&["a.png", "b.png"]));
    assert_eq!((pairs[0].caption.as_str(), pairs[0].ratings.as_slice()), ("a \"big\" car, red", &[1.0][..]));
    assert_eq!((pairs[1].ratings.as_slice(), pairs[1].group.as_deref()), (&[0.5, 3.0][..], None));
    assert_eq!((pairs[2].row, pairs[2].rating()), (5, None));

    fs::write(&path, "frames,caption\na.png|b;c.png,x\n").unwrap();
    let options = PairOptions { separator: Separator('|'), ..PairOptions::default() };
    assert_eq!(read_with(&path, &options).unwrap().0[0].shown, frames(&["a.png", "b;c.png"]));

    for (text, why) in [
        ("clip,caption\na.mp4,x\nb.mp4\n", "line 3: it has 1 fields, and the header has 2"),
        ("clip,label\na.mp4,1\n", "line 1: the header has no caption"),
        ("clip,caption,clip\na,b,c\n", "line 1: two columns are named clip"),
        ("clip,caption,label\na.mp4,x,yes\n", "line 2: label \"yes\""),
        ("clip,caption\n/a.mp4,x\n", "line 2: the path \"/a.mp4\" leads outside"),
    ] {
        fs::write(&path, text).unwrap();
        let got = refused(&path);
        assert!(got.contains(why), "{got}");
    }
    // A quote that is never closed does not draw the rest of a large file into memory.
    let text = format!("clip,caption\na.mp4,\"{}", "x".repeat(3 << 20));
    fs::write(&path, text).unwrap();
    assert!(refused(&path).contains("a record is longer than"));
}

#[test]
fn parquet_with_plain_columns_and_lists() {
    let (pairs, seen) = read(&nexis_tests::fixture("pairs/clips.parquet")).unwrap();
    assert_eq!(seen.sha256, Digest::of(fs::read(nexis_tests::fixture("pairs/clips.parquet")).unwrap()));
    let of =
        |i: usize| (pairs[i].row, pairs[i].caption.as_str(), pairs[i].rating(), pairs[i].group.as_deref());
    assert_eq!(of(0), (1, "caption 0", Some(1.0), Some("7")));
    assert_eq!(of(3), (4, "caption 3", None, Some("8")));
    assert_eq!(pairs[4].shown, Shown::Clip("clips/4.mp4".into()));
    assert_eq!((pairs[0].category, pairs[1].category), (Some(Category::Nature), None));

    let (pairs, _) = read(&nexis_tests::fixture("pairs/frames.parquet")).unwrap();
    let shown: Vec<&Shown> = pairs.iter().map(|pair| &pair.shown).collect();
    assert_eq!(
        shown,
        [&frames(&["a.png"]), &frames(&["b.png", "c.png"]), &frames(&["a.png", "b.png", "c.png"])]
    );
    assert_eq!(pairs[0].ratings, [4.0, 3.5, 1.0]);
    assert!(pairs[1].ratings.is_empty() && pairs[2].ratings.is_empty());
    assert_eq!(pairs[2].subset.as_deref(), Some("t"));

    assert!(
        refused(&nexis_tests::fixture("pairs/nested.parquet")).contains("column frames is neither plain nor")
    );
    for name in ["null_first", "null_last", "null_alone"] {
        let got = refused(&nexis_tests::fixture(format!("pairs/{name}.parquet")));
        assert!(got.contains("an item that is null"), "{name}: {got}");
    }
    let got = refused(&nexis_tests::fixture("pairs/wide.parquet"));
    assert!(got.contains("a text in a list is longer than 4096 bytes"), "{got}");
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.parquet");
    let mut bytes = fs::read(nexis_tests::fixture("pairs/frames.parquet")).unwrap();
    bytes.truncate(bytes.len() - 9);
    fs::write(&broken, bytes).unwrap();
    assert!(refused(&broken).contains("no Parquet footer"));
    let limits = PairLimits { max_pairs: 4, ..PairLimits::default() };
    let options = PairOptions { limits, ..PairOptions::default() };
    let error = read_with(&nexis_tests::fixture("pairs/clips.parquet"), &options).unwrap_err().to_string();
    assert!(error.contains("5 rows, more than 4"), "{error}");
}

#[test]
fn flickr8k_expert_annotations() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ExpertAnnotations.txt");
    fs::write(
        &path,
        "1056_b.jpg\t2549_f.jpg#2\t1\t1\t2\n1056_b.jpg\t1056_b.jpg#0\t4\t4\t4\n3000_c.jpg\t1056_b.jpg#0\t3\t2\t4\n",
    )
    .unwrap();
    assert!(refused(&path).contains("Flickr8k.token.txt is missing"));
    fs::write(
        folder.path().join("Flickr8k.token.txt"),
        "1056_b.jpg#0\tA dog runs .\n2549_f.jpg#2\tTwo people , on a bench .\n",
    )
    .unwrap();
    let (pairs, seen) = read(folder.path()).unwrap();
    assert_eq!(
        (pairs.len(), seen.left_out),
        (2, 1),
        "the captions that were written for a picture are left out"
    );
    assert_eq!(pairs[0].shown, frames(&["1056_b.jpg"]));
    assert_eq!(pairs[0].caption, "Two people , on a bench .");
    assert_eq!((pairs[1].ratings.as_slice(), pairs[1].row), (&[3.0, 2.0, 4.0][..], 3));
    assert_eq!(pairs[1].group.as_deref(), Some("3000_c.jpg"));
    fs::create_dir(folder.path().join("Flicker8k_Dataset")).unwrap();
    assert_eq!(read(&path).unwrap().0[0].shown, frames(&["Flicker8k_Dataset/1056_b.jpg"]));
    fs::write(&path, "1056_b.jpg\t9999_z.jpg#2\t1\t1\t2\n").unwrap();
    assert!(refused(&path).contains("line 1: Flickr8k.token.txt has no caption \"9999_z.jpg#2\""));
    fs::write(&path, "1056_b.jpg\t2549_f.jpg#2\t1\t1\n").unwrap();
    assert!(refused(&path).contains("line 1: three judgements"));
}

#[test]
fn winoground_examples() {
    let folder = tempfile::tempdir().unwrap();
    let line = concat!(
        r#"{"id": 0, "image_0": "ex_0_img_0", "image_1": "ex_0_img_1", "caption_0": "an old person kisses a young person", "#,
        r#""caption_1": "a young person kisses an old person", "tag": "Adjective-Age", "secondary_tag": "", "#,
        r#""num_main_preds": 1, "collapsed_tag": "Object"}"#
    );
    fs::write(folder.path().join("examples.jsonl"), format!("{line}\n")).unwrap();
    fs::create_dir(folder.path().join("images")).unwrap();
    let source = PairSource::open(&folder.path().join("examples.jsonl"), &PairOptions::default()).unwrap();
    assert_eq!(source.format(), PairFormat::Winoground);
    let (pairs, _) = read(folder.path()).unwrap();
    let got: Vec<_> = pairs.iter().map(|p| (&p.shown.keys()[0][..], &p.caption[..6], p.ratings[0])).collect();
    assert_eq!(
        got,
        [
            ("images/ex_0_img_0.png", "an old", 1.0),
            ("images/ex_0_img_1.png", "a youn", 1.0),
            ("images/ex_0_img_0.png", "a youn", 0.0),
            ("images/ex_0_img_1.png", "an old", 0.0),
        ]
    );
    assert!(pairs.iter().all(|p| p.group.as_deref() == Some("0") && p.subset.as_deref() == Some("Object")));
}

#[test]
fn vatex_eval_pickles_of_every_protocol() {
    for name in ["vatex_p2", "vatex_p4", "vatex_p5"] {
        let (pairs, _) = read(&nexis_tests::fixture("pairs").join(name)).unwrap();
        let captions: Vec<&str> = pairs.iter().map(|pair| pair.caption.as_str()).collect();
        assert_eq!(captions, ["a red car on a street", "two dogs — in a park", "naïve café", "x"], "{name}");
        assert_eq!(pairs[2].shown, Shown::Clip("v_0002.mp4".into()));
        assert_eq!(pairs[0].ratings, [5.0, 4.0, 3.0]);
        assert_eq!(pairs[3].ratings, [2.0, 2.0, 3.0]);
        assert_eq!(pairs[1].group.as_deref(), Some("v_0001"));
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["candidates_list.pkl", "human_scores.pkl", "video_ids.pkl"] {
        fs::copy(nexis_tests::fixture("pairs/vatex_p4").join(name), folder.path().join(name)).unwrap();
    }
    fs::copy(folder.path().join("human_scores.pkl"), folder.path().join("video_ids.pkl")).unwrap();
    assert!(refused(folder.path()).contains("texts are expected, not numbers"));
    fs::remove_file(folder.path().join("video_ids.pkl")).unwrap();
    assert!(refused(folder.path()).contains("video_ids.pkl is missing"));
}

#[test]
fn paths_lead_nowhere_outside_of_the_root() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("root");
    fs::create_dir_all(root.join("clips")).unwrap();
    fs::write(root.join("clips/a.mp4"), "a").unwrap();
    fs::write(outer.path().join("secret"), "s").unwrap();
    let path = outer.path().join("pairs.jsonl");
    fs::write(&path, "{\"clip\": \"clips/a.mp4\", \"caption\": \"a\"}\n").unwrap();
    let options = PairOptions { root: Some(root.clone()), ..PairOptions::default() };
    let source = PairSource::open(&path, &options).unwrap();
    assert!(source.locate("clips/a.mp4").is_ok());
    assert!(source.locate("clips/b.mp4").unwrap_err().contains("no such file"));
    assert!(source.locate("clips").unwrap_err().contains("it is no file"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(outer.path().join("secret"), root.join("clips/link.mp4")).unwrap();
        assert!(source.locate("clips/link.mp4").unwrap_err().contains("a link leads outside"));
    }
    let missing = PairOptions { root: Some(outer.path().join("nowhere")), ..PairOptions::default() };
    assert!(PairSource::open(&path, &missing).unwrap_err().to_string().contains("no folder"));
}

#[test]
fn a_hundred_thousand_lines_stream() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pairs.jsonl");
    let line = |i: usize| {
        format!("{{\"clip\": \"{i}.mp4\", \"caption\": \"a red car {i}\", \"label\": {}}}\n", i % 2)
    };
    fs::write(&path, (0..100_000).map(line).collect::<String>()).unwrap();
    let mut seen = 0_u64;
    let source = PairSource::open(&path, &PairOptions::default()).unwrap();
    let read = source.each(&mut |pair| {
        seen += 1;
        assert_eq!(pair.row, seen);
        Ok(())
    });
    assert_eq!((read.unwrap().pairs, seen), (100_000, 100_000));
    let stopped = source.each(&mut |_| Err(Error::Interrupted));
    assert!(matches!(stopped, Err(Error::Interrupted)));
}

#[test]
fn damage_anywhere_is_an_error_or_other_pairs_and_never_ends_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut outcomes = [0_usize; 2];
    let mut try_all = |path: &Path, bytes: &[u8]| {
        for at in 0..bytes.len() {
            for damaged in [bytes[..at].to_vec(), {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1 << (at % 8);
                flipped
            }] {
                fs::write(path, damaged).unwrap();
                outcomes[usize::from(read(path).is_ok())] += 1;
            }
        }
    };
    for name in ["frames.parquet", "clips.parquet"] {
        let bytes = fs::read(nexis_tests::fixture("pairs").join(name)).unwrap();
        try_all(&folder.path().join(name), &bytes);
    }
    for protocol in ["vatex_p2", "vatex_p4", "vatex_p5"] {
        let source = nexis_tests::fixture("pairs").join(protocol);
        let names = ["candidates_list.pkl", "human_scores.pkl", "video_ids.pkl"];
        for name in names {
            fs::copy(source.join(name), folder.path().join(name)).unwrap();
        }
        for name in names {
            let bytes = fs::read(source.join(name)).unwrap();
            try_all(&folder.path().join(name), &bytes);
            fs::write(folder.path().join(name), bytes).unwrap();
        }
    }
    assert!(outcomes[0] > outcomes[1], "most damage is noticed: {outcomes:?}");
}
