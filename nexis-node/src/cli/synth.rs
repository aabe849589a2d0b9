//! `nexis synth`: scenes, clips, packages and data sets that are known to be true or false.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use nexis_core::Error;
use nexis_core::protocol::{Category, Hotkey, IntervalId};
use nexis_core::synth::{
    Attack, ClipStyle, DatasetPlan, PackagePlan, PairsPlan, RowPlan, Scene, TemplateSet, export_dataset,
    export_pairs, render_clip,
};
use serde_json::json;

use super::{OutputArguments, interval};
use crate::EXIT_ACCEPTED;

/// Make scenes, clips, packages and data sets from integer seeds
#[derive(Args)]
pub(crate) struct Synth {
    #[command(subcommand)]
    command: SynthCommand,
}

#[derive(Subcommand)]
enum SynthCommand {
    /// One frame of a scene as PNG, and its caption
    Scene {
        #[command(flatten)]
        scene: SceneArguments,
        /// Time in the clip, in seconds
        #[arg(long, default_value_t = 0.0)]
        at: f64,
        /// Where the PNG goes
        #[arg(long, short, value_name = "FILE", default_value = "scene.png")]
        out: PathBuf,
    },
    /// A five-second clip of a scene, its first frame, and its caption
    Clip {
        #[command(flatten)]
        scene: SceneArguments,
        /// Frames per second
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=120))]
        fps: u32,
        /// Where the MP4 goes; the JPEG goes beside it
        #[arg(long, short, value_name = "FILE", default_value = "clip.mp4")]
        out: PathBuf,
    },
    /// A whole interval package, honest or bad in one way
    Package {
        /// The miner
        #[arg(long, value_name = "SS58", default_value = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY")]
        hotkey: String,
        /// The interval
        #[arg(long, value_name = "ID", default_value = "7756900", value_parser = interval)]
        interval: IntervalId,
        /// First seed; each row takes the next
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Rows
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
        rows: u64,
        /// The code that the package must earn (`nexis synth attacks` lists them)
        #[arg(long, value_name = "CODE")]
        attack: Option<String>,
        /// Folder in which the bucket's folder is made
        #[arg(long, short, value_name = "DIR", default_value = ".")]
        out: PathBuf,
    },
    /// The attacks that `package` knows
    Attacks,
    /// Frames and captions for training, as raw arrays
    Dataset {
        /// Folder to write; it must not hold a data set yet
        #[arg(long, short, value_name = "DIR")]
        out: PathBuf,
        /// First seed
        #[arg(long, default_value_t = 1_000_000)]
        first_seed: u64,
        /// Scenes
        #[arg(long, default_value_t = 1000)]
        scenes: u64,
        /// Frames of each scene, at random times
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
        frames: u32,
        /// Width of a frame
        #[arg(long, default_value_t = 398, value_parser = clap::value_parser!(u32).range(16..=3840))]
        width: u32,
        /// Height of a frame
        #[arg(long, default_value_t = 224, value_parser = clap::value_parser!(u32).range(16..=2160))]
        height: u32,
        /// Captions of each scene
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
        captions: u32,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Pairs of drawn pictures and captions, true and false, for `nexis bench` and `nexis calibrate`
    Pairs {
        /// Folder to write; it must not hold pairs yet
        #[arg(value_name = "DIR")]
        out: PathBuf,
        /// Pairs
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        count: u64,
        /// First seed; every scene takes the next and gives a true caption and a false one
        #[arg(long, default_value_t = 5_000_000)]
        seed: u64,
        /// Pictures of each scene
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
        frames: u32,
        /// Width of a picture
        #[arg(long, default_value_t = 398, value_parser = clap::value_parser!(u32).range(16..=3840))]
        width: u32,
        /// Height of a picture
        #[arg(long, default_value_t = 224, value_parser = clap::value_parser!(u32).range(16..=2160))]
        height: u32,
        #[command(flatten)]
        output: OutputArguments,
    },
}

/// Which scene.
#[derive(Args)]
struct SceneArguments {
    /// The seed that the scene follows from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Its category; drawn from the seed where not given
    #[arg(long, value_parser = category)]
    category: Option<Category>,
}

impl SceneArguments {
    fn scene(&self) -> Scene {
        match self.category {
            Some(category) => Scene::with_category(self.seed, category),
            None => Scene::from_seed(self.seed),
        }
    }
}

/// One of the seven labels.
fn category(text: &str) -> Result<Category, String> {
    let labels = Category::ALL.map(Category::as_str);
    let found = Category::ALL.into_iter().find(|label| label.as_str() == text);
    found.ok_or_else(|| format!("one of {} is expected", labels.join(", ")))
}

impl Synth {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        let mut out = io::stdout().lock();
        match self.command {
            SynthCommand::Scene { scene, at, out: path } => {
                let scene = scene.scene();
                let style = ClipStyle::default();
                let frame = scene.render(style.width, style.height, at);
                let picture = image::RgbImage::from_raw(frame.width, frame.height, frame.data)
                    .context("the renderer gave a picture of another size")?;
                picture.save(&path).with_context(|| format!("writing {}", path.display()))?;
                describe(&mut out, &scene, &path)?;
            }
            SynthCommand::Clip { scene, fps, out: path } => {
                let scene = scene.scene();
                let style = ClipStyle { fps, ..ClipStyle::default() };
                render_clip(&scene, &style, &path, &path.with_extension("jpg"))?;
                describe(&mut out, &scene, &path)?;
            }
            SynthCommand::Package { hotkey, interval, seed, rows, attack, out: folder } => {
                let attack = attack.as_deref().map(find_attack).transpose()?;
                let plan = PackagePlan {
                    hotkey: Hotkey::new(hotkey),
                    interval,
                    created_at: "2026-04-10T12:00:00Z".parse().context("the package's date")?,
                    rows: (seed..seed.saturating_add(rows))
                        .map(|s| RowPlan::new(s, Category::Nature))
                        .collect(),
                    style: ClipStyle::default(),
                    attack,
                };
                let bucket = folder.join(plan.hotkey.bucket_name());
                plan.write(&bucket, None, &|| {})?;
                writeln!(out, "{}", bucket.join(interval.to_string()).display())?;
            }
            SynthCommand::Attacks => {
                for attack in Attack::ALL {
                    let policy = if attack.strict_only() { "strict" } else { "network" };
                    writeln!(out, "{:<36} {policy:<8} {attack:?}", attack.code())?;
                }
            }
            SynthCommand::Dataset {
                out: folder,
                first_seed,
                scenes,
                frames,
                width,
                height,
                captions,
                output,
            } => {
                let progress = output.progress();
                progress.stage("rendering scenes", scenes);
                let plan = DatasetPlan {
                    first_seed,
                    scenes,
                    frames_per_scene: frames,
                    width,
                    height,
                    captions_per_scene: captions,
                };
                export_dataset(&folder, &plan, &|done| progress.advance(done))?;
                progress.finish();
                if output.json {
                    writeln!(out, "{}", json!({ "dataset": folder, "scenes": scenes }))?;
                } else {
                    writeln!(out, "{}: {scenes} scenes", folder.display())?;
                }
            }
            SynthCommand::Pairs { out: folder, count, seed, frames, width, height, output } => {
                let progress = output.progress();
                progress.stage("drawing pairs", count);
                let plan = PairsPlan { first_seed: seed, count, frames, width, height };
                export_pairs(&folder, &plan, &|done| progress.advance(done))?;
                progress.finish();
                let path = folder.join("pairs.jsonl");
                if output.json {
                    writeln!(out, "{}", json!({ "pairs": path, "count": count }))?;
                } else {
                    writeln!(out, "{}: {count} pairs", path.display())?;
                }
            }
        }
        Ok(EXIT_ACCEPTED)
    }
}

fn describe(out: &mut dyn Write, scene: &Scene, path: &Path) -> io::Result<()> {
    writeln!(out, "{}: {}", path.display(), scene.category)?;
    writeln!(out, "{}", scene.caption(TemplateSet::HeldOut, scene.seed))
}

fn find_attack(code: &str) -> anyhow::Result<Attack> {
    match Attack::ALL.iter().find(|a| a.code() == code) {
        Some(attack) => Ok(*attack),
        None => bail!(Error::usage("--attack", format!("{code} is none; nexis synth attacks lists them"))),
    }
}
