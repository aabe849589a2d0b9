//! Writes scenes, frames and captions to a folder, for training.

use super::caption::TemplateSet;
use super::render::CLIP_SECONDS;
use super::rng::{SceneRng, mix};
use super::scene::Scene;
use super::vocabulary::Attribute;
use crate::error::{Error, Result};
use crate::protocol::Category;
use rayon::prelude::*;
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// What a data set holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatasetPlan {
    /// First seed.
    pub first_seed: u64,
    /// Scenes, one a seed.
    pub scenes: u64,
    /// Frames of each scene, at random times.
    pub frames_per_scene: u32,
    /// Width of a frame, in pixels.
    pub width: u32,
    /// Height of a frame, in pixels.
    pub height: u32,
    /// Captions of each scene, from training templates.
    pub captions_per_scene: u32,
}

#[derive(Serialize)]
struct Meta {
    version: u32,
    width: u32,
    height: u32,
    frames_per_scene: u32,
    scenes: u64,
    first_seed: u64,
}

#[derive(Serialize)]
struct Swap {
    attribute: Attribute,
    #[serde(rename = "true")]
    honest: String,
    #[serde(rename = "false")]
    swapped: String,
}

#[derive(Serialize)]
struct Record {
    seed: u64,
    category: Category,
    attributes: Scene,
    captions: Vec<String>,
    heldout: Vec<String>,
    swaps: Vec<Swap>,
    heldout_swaps: Vec<Swap>,
}

/// One scene, ready to be written.
struct Made {
    pixels: Vec<u8>,
    line: Vec<u8>,
}

/// The scene at a place in a data set: in every run of seven seeds each
/// category occurs once, in an order that follows from the seeds.
pub fn dataset_scene(seed: u64) -> Scene {
    let mut order = Category::ALL.to_vec();
    let block = seed / order.len() as u64;
    let mut rng = SceneRng::new(block, 50);
    for i in (1..order.len()).rev() {
        order.swap(i, rng.below(i + 1));
    }
    let slot = (seed % order.len() as u64) as usize;
    let category = order.get(slot).copied().unwrap_or(Category::Nature);
    Scene::with_category(mix(seed, 51), category)
}

/// Writes a data set into a folder, in bounded memory: `meta.json`; `frames.rgb`, bytes of shape
/// `[scenes, frames, height, width, 3]`; and `scenes.jsonl` with one line a scene. `progress` hears how many
/// scenes have been added since it was last called.
///
/// # Errors
/// Where a size is zero, the folder holds a data set already, or a file cannot be written.
pub fn export_dataset(dir: &Path, plan: &DatasetPlan, progress: &dyn Fn(u64)) -> Result<()> {
    /// Scenes in memory at once.
    const CHUNK: u64 = 64;
    let DatasetPlan { first_seed, scenes, frames_per_scene, width, height, captions_per_scene } = *plan;
    if width == 0 || height == 0 || frames_per_scene == 0 {
        return Err(Error::usage("data set", "frames must have a size, and there must be some"));
    }
    let meta_path = dir.join("meta.json");
    if meta_path.exists() {
        return Err(Error::usage(
            dir.display().to_string(),
            "it holds a data set already; give another folder",
        ));
    }
    std::fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
    let (frames_path, lines_path) = (dir.join("frames.rgb"), dir.join("scenes.jsonl"));
    let create = |path: &Path| File::create(path).map(BufWriter::new).map_err(|e| Error::io(path, e));
    let (mut frames, mut lines) = (create(&frames_path)?, create(&lines_path)?);
    let mut done = 0;
    while done < scenes {
        let upto = scenes.min(done.saturating_add(CHUNK));
        let made: Vec<Result<Made>> = (done..upto)
            .into_par_iter()
            .map(|index| {
                let seed = first_seed.wrapping_add(index);
                let scene = dataset_scene(seed);
                let pixels = draw(&scene, frames_per_scene, width, height);
                let mut line =
                    serde_json::to_vec(&record(&scene, seed, captions_per_scene)).map_err(encoding)?;
                line.push(b'\n');
                Ok(Made { pixels, line })
            })
            .collect();
        for result in made {
            let Made { pixels, line } = result?;
            frames.write_all(&pixels).map_err(|e| Error::io(&frames_path, e))?;
            lines.write_all(&line).map_err(|e| Error::io(&lines_path, e))?;
        }
        progress(upto - done);
        done = upto;
    }
    frames.flush().map_err(|e| Error::io(&frames_path, e))?;
    lines.flush().map_err(|e| Error::io(&lines_path, e))?;
    // Last, so that a folder with this file holds a whole data set.
    let meta = Meta { version: 1, width, height, frames_per_scene, scenes, first_seed };
    std::fs::write(&meta_path, serde_json::to_vec(&meta).map_err(encoding)?)
        .map_err(|e| Error::io(&meta_path, e))
}

fn encoding(error: serde_json::Error) -> Error {
    Error::Internal(format!("data set: {error}"))
}

fn draw(scene: &Scene, frames: u32, width: u32, height: u32) -> Vec<u8> {
    let mut rng = SceneRng::new(scene.seed, 52);
    let mut pixels = Vec::with_capacity((width * height * 3 * frames) as usize);
    for _ in 0..frames {
        let t = f64::from(rng.f32()) * CLIP_SECONDS;
        pixels.extend_from_slice(&scene.render(width, height, t).data);
    }
    pixels
}

fn record(scene: &Scene, seed: u64, captions: u32) -> Record {
    let texts = |set, number: u64| (0..number).map(|v| scene.caption(set, v)).collect();
    Record {
        seed,
        category: scene.category,
        attributes: scene.clone(),
        captions: texts(TemplateSet::Train, u64::from(captions)),
        heldout: texts(TemplateSet::HeldOut, 2),
        swaps: swaps(scene, TemplateSet::Train, 2),
        heldout_swaps: swaps(scene, TemplateSet::HeldOut, 1),
    }
}

fn swaps(scene: &Scene, set: TemplateSet, per_attribute: usize) -> Vec<Swap> {
    let mut found = Vec::new();
    for &attribute in Attribute::ALL {
        let pairs = (0..14u64).filter_map(|try_number| {
            // Other variants than the plain captions, so that pairs add text.
            let variant = 1000 + 20 * attribute as u64 + try_number;
            let swapped = scene.swapped_caption(set, variant, attribute, try_number)?;
            Some(Swap { attribute, honest: scene.caption(set, variant), swapped })
        });
        found.extend(pairs.take(per_attribute));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_of_seeds_has_every_category() {
        for block in 0..20u64 {
            let mut seen: Vec<Category> = (0..7).map(|i| dataset_scene(block * 7 + i).category).collect();
            seen.sort();
            assert_eq!(seen, Category::ALL);
        }
    }

    #[test]
    fn the_files_have_the_promised_sizes() {
        let dir = tempfile::tempdir().unwrap();
        let done = std::cell::Cell::new(0);
        let plan = DatasetPlan {
            first_seed: 5,
            scenes: 3,
            frames_per_scene: 2,
            width: 64,
            height: 36,
            captions_per_scene: 4,
        };
        export_dataset(dir.path(), &plan, &|more| done.set(done.get() + more)).unwrap();
        assert_eq!(done.get(), 3);
        let frames = std::fs::metadata(dir.path().join("frames.rgb")).unwrap();
        assert_eq!(frames.len(), 3 * 2 * 64 * 36 * 3);
        assert_eq!(std::fs::read_to_string(dir.path().join("scenes.jsonl")).unwrap().lines().count(), 3);
        assert!(
            export_dataset(dir.path(), &plan, &|_| {}).is_err(),
            "an existing data set is not overwritten"
        );
    }
}
