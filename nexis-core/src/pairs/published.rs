//! Formats in which others published human judgements of captions. Users bring the data.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::delimited::{Hashed, lines};
use super::pickle::{Array, array};
use super::{Gate, Pair, PairFormat, PairLimits, PairSource, Shown};
use crate::error::{Error, Result};
use crate::hash::Digest;

const EXPERT: &str = "ExpertAnnotations.txt";
const TOKENS: &str = "Flickr8k.token.txt";
const WINOGROUND: &str = "examples.jsonl";
const CANDIDATES: &str = "candidates_list.pkl";
const SCORES: &str = "human_scores.pkl";
const VIDEOS: &str = "video_ids.pkl";

/// Most captions of a token file; Flickr8k has 40,460.
const MOST_TOKENS: usize = 1_000_000;

/// The published format that a folder holds, with its file.
pub(super) fn in_folder(folder: &Path) -> Option<(PathBuf, PairFormat)> {
    [
        (EXPERT, PairFormat::Flickr8kExpert),
        (WINOGROUND, PairFormat::Winoground),
        (CANDIDATES, PairFormat::VatexEval),
    ]
    .into_iter()
    .find(|(name, _)| folder.join(name).is_file())
    .map(|(_, format)| (file_of(folder, format), format))
}

/// What stands for the data of a format: a file, or a folder with several.
pub(super) fn file_of(path: &Path, format: PairFormat) -> PathBuf {
    match format {
        PairFormat::Flickr8kExpert if path.is_dir() => path.join(EXPERT),
        PairFormat::Winoground if path.is_dir() => path.join(WINOGROUND),
        PairFormat::VatexEval if path.is_file() => {
            path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf()
        }
        _ => path.to_path_buf(),
    }
}

/// Whether the first line of a file is one of Winoground's.
pub(super) fn is_winoground(path: &Path) -> bool {
    let mut line = String::new();
    let read = File::open(path).and_then(|file| BufReader::new(file.take(64 << 10)).read_line(&mut line));
    read.is_ok() && serde_json::from_str::<Example>(&line).is_ok()
}

/// A folder below the root where there is one of these names, else the root: a prefix of keys.
fn below(source: &PairSource, names: &[&str]) -> String {
    let found = names.iter().find(|name| source.root.join(name).is_dir());
    found.map_or_else(String::new, |name| format!("{name}/"))
}

/// `ExpertAnnotations.txt`: the picture, the caption's id, and three judgements from 1 to 4, in columns apart by tabs.
/// Captions are in `Flickr8k.token.txt` beside it: the id, a tab, the text. Captions that were written for the very
/// picture are left out, as in the literature, for a measure that knows them has an unfair advantage.
pub(super) fn flickr8k_expert(source: &PairSource, gate: &mut Gate<'_>) -> Result<(u64, Digest)> {
    let tokens = source.path.with_file_name(TOKENS);
    if !tokens.is_file() {
        return Err(Error::Missing {
            what: tokens.display().to_string(),
            remedy: "it holds the captions, and belongs beside ExpertAnnotations.txt".into(),
        });
    }
    let mut captions: HashMap<String, String> = HashMap::new();
    // These are held, and not streamed.
    let limits = PairLimits { max_bytes: source.limits.max_held_bytes, ..source.limits };
    let elsewhere = PairSource { path: tokens.clone(), limits, ..source.clone() };
    let of_tokens = lines(&elsewhere, &tokens, &mut |number, line| {
        if line.trim().is_empty() {
            return Ok(());
        }
        let (id, caption) = line
            .split_once('\t')
            .ok_or_else(|| elsewhere.error(number, "a caption's id, a tab and its text are expected"))?;
        captions.insert(id.trim().to_owned(), caption.trim().to_owned());
        if captions.len() > MOST_TOKENS {
            return Err(elsewhere.error(number, format!("there are more than {MOST_TOKENS} captions")));
        }
        Ok(())
    })?;
    let folder = below(source, &["Flicker8k_Dataset", "Flickr8k_Dataset", "Images"]);
    let mut left_out = 0;
    let of_ratings = lines(source, &source.path, &mut |number, line| {
        let mut columns = line.split('\t').map(str::trim).filter(|column| !column.is_empty());
        let (Some(picture), Some(id)) = (columns.next(), columns.next()) else {
            return if line.trim().is_empty() {
                Ok(())
            } else {
                Err(source.error(number, "a picture, a caption's id and three judgements are expected"))
            };
        };
        let ratings = columns.map(str::parse::<f64>).collect::<Result<Vec<_>, _>>();
        let ratings = ratings.ok().filter(|ratings| ratings.len() == 3);
        let ratings = ratings
            .ok_or_else(|| source.error(number, "three judgements from 1 to 4 are expected behind the id"))?;
        if id.split_once('#').is_some_and(|(of, _)| of == picture) {
            left_out += 1;
            return Ok(());
        }
        let caption = captions
            .get(id)
            .ok_or_else(|| source.error(number, format!("{TOKENS} has no caption {id:?}")))?;
        gate.give(Pair {
            row: number,
            shown: Shown::Frames(vec![format!("{folder}{picture}")]),
            caption: caption.clone(),
            ratings,
            group: Some(picture.to_owned()),
            subset: None,
            category: None,
        })
    })?;
    Ok((left_out, together(&[of_tokens, of_ratings])))
}

fn together(digests: &[Digest]) -> Digest {
    Digest::of(digests.iter().flat_map(|digest| *digest.as_bytes()).collect::<Vec<u8>>())
}

/// A line of Winoground. Fields that say nothing about the pairs are passed over.
#[derive(Deserialize)]
struct Example {
    id: serde_json::Value,
    caption_0: String,
    caption_1: String,
    image_0: String,
    image_1: String,
    #[serde(default)]
    collapsed_tag: Option<String>,
    #[serde(default)]
    tag: Option<String>,
}

/// `examples.jsonl`: two pictures and two captions a line, of which the first belong together and the second. Each line
/// gives four pairs, in the order (0, 0), (1, 1), (0, 1), (1, 0) of picture and caption.
pub(super) fn winoground(source: &PairSource, gate: &mut Gate<'_>) -> Result<Digest> {
    let folder = below(source, &["images"]);
    let file = |name: &str| {
        let ending = if Path::new(name).extension().is_some() { "" } else { ".png" };
        format!("{folder}{name}{ending}")
    };
    lines(source, &source.path, &mut |number, line| {
        if line.trim().is_empty() {
            return Ok(());
        }
        let example: Example =
            serde_json::from_str(line).map_err(|e| source.error(number, format!("no example: {e}")))?;
        let (pictures, captions) =
            ([&example.image_0, &example.image_1], [&example.caption_0, &example.caption_1]);
        for (picture, caption) in [(0, 0), (1, 1), (0, 1), (1, 0)] {
            let label = if picture == caption { 1.0 } else { 0.0 };
            gate.give(Pair {
                row: number,
                shown: Shown::Frames(pictures.get(picture).map(|name| file(name)).into_iter().collect()),
                caption: captions.get(caption).map(|text| (*text).clone()).unwrap_or_default(),
                ratings: vec![label],
                group: Some(match &example.id {
                    serde_json::Value::String(id) => id.clone(),
                    id => id.to_string(),
                }),
                subset: example.collapsed_tag.clone().or_else(|| example.tag.clone()),
                category: None,
            })?;
        }
        Ok(())
    })
}

/// Three pickles of numpy arrays: the candidates' captions, the video of each, and the judgements of three people, all
/// those of the first before those of the second. Videos are `{id}.mp4`, below `videos` where there is such a folder.
pub(super) fn vatex_eval(source: &PairSource, gate: &mut Gate<'_>) -> Result<Digest> {
    let mut digests = Vec::new();
    let mut read = |name: &str| -> Result<Array> {
        let path = source.path.join(name);
        if !path.is_file() {
            return Err(Error::Missing {
                what: path.display().to_string(),
                remedy: "VATEX-Eval comes as candidates_list.pkl, human_scores.pkl and video_ids.pkl in one folder"
                    .into(),
            });
        }
        let mut file = Hashed::open(&path, source.limits.max_held_bytes)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| Error::io(&path, e))?;
        digests.push(file.digest());
        array(&bytes).map_err(|why| Error::usage(path.display().to_string(), why))
    };
    let texts = |name: &str, array: Array| match array {
        Array::Texts(texts) => Ok(texts),
        Array::Numbers(_) => Err(Error::usage(name, "texts are expected, not numbers")),
    };
    let captions = texts(CANDIDATES, read(CANDIDATES)?)?;
    let videos = texts(VIDEOS, read(VIDEOS)?)?;
    let Array::Numbers(scores) = read(SCORES)? else {
        return Err(Error::usage(SCORES, "numbers are expected, not texts"));
    };
    let n = captions.len();
    if videos.len() != n || scores.len() != 3 * n {
        let why = format!(
            "{n} candidates, {} videos and {} judgements do not belong together; three judgements a candidate are \
             expected",
            videos.len(),
            scores.len()
        );
        return Err(Error::usage(source.path.display().to_string(), why));
    }
    let folder = below(source, &["videos"]);
    for (i, (caption, video)) in captions.into_iter().zip(videos).enumerate() {
        let ratings = (0..3).filter_map(|person| scores.get(person * n + i).copied()).collect();
        gate.give(Pair {
            row: i as u64 + 1,
            shown: Shown::Clip(format!("{folder}{video}.mp4")),
            caption,
            ratings,
            group: Some(video),
            subset: None,
            category: None,
        })?;
    }
    Ok(together(&digests))
}
