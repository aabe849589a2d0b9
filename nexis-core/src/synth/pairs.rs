//! Pairs of drawn pictures and captions, true and false: a file of pairs that is known to be right.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

use super::caption::TemplateSet;
use super::dataset::dataset_scene;
use super::render::CLIP_SECONDS;
use super::scene::Scene;
use super::vocabulary::Attribute;
use crate::error::{Error, Result};
use crate::media::encode::write_jpeg;
use crate::protocol::Category;

/// Which pairs are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairsPlan {
    /// First seed; every scene takes the next and gives two pairs.
    pub first_seed: u64,
    /// How many pairs.
    pub count: u64,
    /// Pictures of a scene, at even times.
    pub frames: u32,
    /// Width of a picture, in pixels.
    pub width: u32,
    /// Height of a picture, in pixels.
    pub height: u32,
}

/// How a false caption is false; seven scenes in a row take one each.
const KINDS: u64 = 7;
/// Seeds to the scene whose caption is borrowed: of the next block of seven, so that the category differs or agrees as
/// wanted.
const BLOCK: u64 = 7;
/// Attempts to find a caption that states an attribute.
const ATTEMPTS: u64 = 14;
/// Scenes in memory at once.
const CHUNK: u64 = 64;
const JPEG_QUALITY: u8 = 90;

#[derive(Serialize)]
struct Line<'a> {
    frames: &'a [String],
    caption: &'a str,
    label: u8,
    group: String,
    subset: &'a str,
    category: Category,
}

/// A false caption of a scene, and what is false about it.
fn falsified(scene: &Scene, seed: u64) -> (String, &'static str) {
    let stranger = |same: bool| {
        (1..=2 * BLOCK)
            .map(|step| dataset_scene(seed.wrapping_add(BLOCK + step)))
            .find(|other| (other.category == scene.category) == same && other.kind != scene.kind)
            .map(|other| other.caption(TemplateSet::HeldOut, seed))
    };
    let swapped = |attribute| {
        (0..ATTEMPTS)
            .find_map(|attempt| scene.swapped_caption(TemplateSet::HeldOut, seed, attribute, attempt))
    };
    // Seeds of a block of seven have seven categories, so that the kind has to move on by blocks as well.
    let kind = (seed + seed / BLOCK) % KINDS;
    let found = match kind {
        0 | 1 => stranger(true).map(|text| (text, "same category")),
        2 => swapped(Attribute::Colour).map(|text| (text, "colour")),
        3 => swapped(Attribute::Object).map(|text| (text, "object")),
        4 => swapped(Attribute::Count).map(|text| (text, "count")),
        _ => None,
    };
    found.or_else(|| stranger(false).map(|text| (text, "other category"))).unwrap_or_else(|| {
        (super::GENERIC_CAPTIONS.first().copied().unwrap_or_default().to_owned(), "generic")
    })
}

/// Writes `pairs.jsonl` and the pictures that it names into a folder, in bounded memory. `progress` hears how many pairs
/// have been added since it was last called.
///
/// # Errors
/// Where a size is zero, the folder holds pairs already, or a file cannot be written.
pub fn export_pairs(dir: &Path, plan: &PairsPlan, progress: &dyn Fn(u64)) -> Result<()> {
    let PairsPlan { first_seed, count, frames, width, height } = *plan;
    if count == 0 || frames == 0 || width == 0 || height == 0 {
        return Err(Error::usage("pairs", "there must be some, with pictures of a size"));
    }
    let path = dir.join("pairs.jsonl");
    if path.exists() {
        return Err(Error::usage(dir.display().to_string(), "it holds pairs already; give another folder"));
    }
    let pictures = dir.join("pictures");
    std::fs::create_dir_all(&pictures).map_err(|e| Error::io(&pictures, e))?;
    // The list comes last under its name, so that a folder with it is whole.
    let partial = dir.join("pairs.jsonl.incomplete");
    let mut lines = BufWriter::new(File::create(&partial).map_err(|e| Error::io(&partial, e))?);
    let scenes = count.div_ceil(2);
    let mut done = 0;
    while done < scenes {
        let upto = scenes.min(done + CHUNK);
        let made = (done..upto)
            .into_par_iter()
            .map(|index| two_pairs(dir, first_seed.wrapping_add(index), plan))
            .collect::<Result<Vec<[String; 2]>>>()?;
        let mut written = 0;
        for (index, pair) in made.iter().flatten().enumerate() {
            if done * 2 + (index as u64) < count {
                writeln!(lines, "{pair}").map_err(|e| Error::io(&partial, e))?;
                written += 1;
            }
        }
        progress(written);
        done = upto;
    }
    lines.flush().map_err(|e| Error::io(&partial, e))?;
    std::fs::rename(&partial, &path).map_err(|e| Error::io(&path, e))
}

fn two_pairs(dir: &Path, seed: u64, plan: &PairsPlan) -> Result<[String; 2]> {
    let scene = dataset_scene(seed);
    let names: Vec<String> = (0..plan.frames).map(|k| format!("pictures/{seed}-{k}.jpg")).collect();
    let step = CLIP_SECONDS / f64::from(plan.frames);
    for (k, name) in names.iter().enumerate() {
        let frame = scene.render(plan.width, plan.height, (k as f64 + 0.5) * step);
        write_jpeg(&dir.join(name), plan.width, plan.height, &frame.data, JPEG_QUALITY)?;
    }
    let (false_caption, kind) = falsified(&scene, seed);
    let true_caption = scene.caption(TemplateSet::HeldOut, seed);
    let line = |caption: &str, label| {
        serde_json::to_string(&Line {
            frames: &names,
            caption,
            label,
            group: format!("scene {seed}"),
            subset: kind,
            category: scene.category,
        })
        .map_err(|e| Error::Internal(format!("pairs: {e}")))
    };
    Ok([line(&true_caption, 1)?, line(&false_caption, 0)?])
}
