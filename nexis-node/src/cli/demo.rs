//! `nexis demo`: eight miners, one interval, every step for real.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, bail};
use chrono::{DateTime, Duration, Utc};
use clap::Args;
use nexis_core::Error;
use nexis_core::package::{DirectorySource, ExpectedMiner};
use nexis_core::protocol::{Category, Hotkey, IntervalId};
use nexis_core::report::Report;
use nexis_core::synth::{Attack, ClipStyle, PackagePlan, RowPlan};
use nexis_core::verifier::{Submission, VerifierOptions};
use rayon::prelude::*;

use super::verify::{Run, write_html};
use super::{EngineArguments, OutputArguments, interrupt_flag};
use crate::view::{RowPictures, TextOptions, write_report};
use crate::{EXIT_ACCEPTED, EXIT_REJECTED};

/// The interval of the demonstration.
const INTERVAL: u64 = 7_756_900;
/// First seed of the cheats' scenes; no model was trained on seeds below a million.
const FIRST_SEED: u64 = 700_000;
/// First seed of the honest miner's scenes.
const HONEST_FIRST_SEED: u64 = 610_000;
/// Rows of each package: three are few enough that every one of them is sampled.
const ROWS: u64 = 3;

/// What a miner of the demonstration does.
struct Player {
    /// Well-known development addresses, nobody's.
    hotkey: &'static str,
    role: &'static str,
    attack: Option<Attack>,
    /// Whether it hands in the honest miner's package.
    copies: bool,
    /// The code that must be among its failures; none for the honest.
    expected: Option<&'static str>,
}

const PLAYERS: [Player; 8] = [
    player("5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY", "honest", None),
    player(
        "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty",
        "wrong clip digest",
        Some(Attack::WrongClipDigest),
    ),
    player("5FLSigC9HGRKVhB9FiEo4Y3koPsNmBmLJbpXg2mp1hXcS59Y", "wrong picture size", Some(Attack::WrongSize)),
    player(
        "5DAAnrj7VHTznn2AWBemMuyBwZWs6FNFjdyVXUeYum3PTXFy",
        "captions of other clips",
        Some(Attack::CaptionOfAnotherClip),
    ),
    player(
        "5HGjWAeFDfFCWPsjFQdVV2Msvz2XtMktvgocEZcCj68kUMaw",
        "words to the judge",
        Some(Attack::InjectedWords),
    ),
    player(
        "5CiPPseXPECbkjWCa6MnjNokrgYjMqmKndv2rSnekmSK2DjL",
        "city labelled nature",
        Some(Attack::CityLabelledNature),
    ),
    Player {
        hotkey: "5GNJqTPyNqANBkUVMN1LPPrxXnFouWXoe2wNSmmEoLctxiZY",
        role: "copy of the first miner, later",
        attack: None,
        copies: true,
        expected: None,
    },
    player("5HpG9w8EBLe5XCrbczpwq5TSXvedjrBGCwqxK1iQ7qUsSWFc", "short captions", Some(Attack::ShortCaption)),
];

const fn player(hotkey: &'static str, role: &'static str, attack: Option<Attack>) -> Player {
    let expected = match attack {
        Some(attack) => Some(attack.code()),
        None => None,
    };
    Player { hotkey, role, attack, copies: false, expected }
}

/// Make packages of eight synthetic miners, honest and not, and judge them
#[derive(Args)]
pub(crate) struct Demo {
    /// Folder for the packages and the report; made where it is not there
    #[arg(long, value_name = "DIR", default_value = "demo-out")]
    out: PathBuf,
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl Demo {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        let run = Run {
            progress: self.output.progress(),
            evidence: Some(self.out.join("evidence")),
            pictures: Some(RowPictures::default()),
            interrupted: interrupt_flag()?,
        };
        let buckets = self.out.join("buckets");
        self.engine.in_pool(|| self.make(&buckets, &run))?;
        let submissions: Vec<_> = PLAYERS
            .iter()
            .map(|player| {
                let hotkey = Hotkey::new(player.hotkey);
                Submission {
                    label: player.hotkey.to_owned(),
                    source: Arc::new(DirectorySource::new(buckets.join(hotkey.bucket_name()))),
                    miner: ExpectedMiner::Bucket(hotkey.bucket_name()),
                    interval: IntervalId::new(INTERVAL),
                }
            })
            .collect();
        let report =
            run.verify(&self.engine, &self.engine.options(), VerifierOptions::default(), &submissions)?;
        let page = self.out.join("report.html");
        if let Some(pictures) = &run.pictures {
            write_html(&page, &report, pictures)?;
        }
        let surprises = surprises(&report);
        let mut out = io::stdout().lock();
        if self.output.json {
            serde_json::to_writer_pretty(&mut out, &report)?;
            writeln!(out)?;
        } else {
            write_report(&mut out, &report, &TextOptions::for_stdout())?;
            writeln!(out)?;
            for player in &PLAYERS {
                writeln!(out, "  {}  {}", player.hotkey, player.role)?;
            }
            writeln!(out, "\nReport:   {}\nPackages: {}", page.display(), buckets.display())?;
            writeln!(out, "Evidence: {}", self.out.join("evidence").display())?;
            for surprise in &surprises {
                writeln!(out, "UNEXPECTED: {surprise}")?;
            }
        }
        // The rejections are the point of the demonstration, so they are no failure of it.
        Ok(if surprises.is_empty() { EXIT_ACCEPTED } else { EXIT_REJECTED })
    }

    fn make(&self, buckets: &Path, run: &Run) -> anyhow::Result<()> {
        if buckets.exists() {
            // Only ever what an earlier demonstration made: everything else under --out stays.
            fs::remove_dir_all(buckets).with_context(|| format!("clearing {}", buckets.display()))?;
        }
        let created: DateTime<Utc> = "2026-04-10T12:00:00Z".parse().context("the demonstration's date")?;
        let cache = self.out.join("clips");
        run.progress.stage("making packages", PLAYERS.len() as u64 * ROWS);
        let plans: Vec<_> = PLAYERS
            .iter()
            .enumerate()
            .map(|(i, player)| {
                let first = match player.attack {
                    None => HONEST_FIRST_SEED,
                    Some(_) => FIRST_SEED + i as u64 * ROWS,
                };
                PackagePlan {
                    hotkey: Hotkey::new(player.hotkey),
                    interval: IntervalId::new(INTERVAL),
                    created_at: created + Duration::minutes(i as i64),
                    rows: (first..first + ROWS).map(|seed| RowPlan::new(seed, Category::Nature)).collect(),
                    style: ClipStyle::default(),
                    attack: player.attack,
                }
            })
            .collect();
        plans.par_iter().try_for_each(|plan| -> anyhow::Result<()> {
            if run.interrupted.load(Ordering::SeqCst) {
                bail!(Error::Interrupted);
            }
            plan.write(&buckets.join(plan.hotkey.bucket_name()), Some(&cache), &|| run.progress.advance(1))?;
            Ok(())
        })
    }
}

/// What did not come out as it must: the demonstration is a check too.
fn surprises(report: &Report) -> Vec<String> {
    let mut surprises = Vec::new();
    for player in &PLAYERS {
        let Some(found) = report.submissions.iter().find(|s| s.miner_hotkey.as_str() == player.hotkey) else {
            surprises.push(format!("{}: no decision", player.hotkey));
            continue;
        };
        let has = |code| found.failures.iter().any(|f| f.split(':').next() == Some(code));
        let what = match player.expected {
            Some(code) if !has(code) => format!("{code} was expected"),
            None if !found.accepted => "not accepted".to_owned(),
            None if player.copies && found.pruned_rows != found.record_count => {
                "its rows were not dropped".to_owned()
            }
            _ => continue,
        };
        surprises.push(format!("{} ({}): {what}", player.hotkey, player.role));
    }
    surprises
}
