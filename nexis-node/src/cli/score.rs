//! `nexis score`: one clip, or frames of one, against one caption.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use nexis_core::Error;
use nexis_core::media::MediaFailure;
use nexis_core::media::jpeg::{StillLimits, read_still};
use nexis_core::report::{Environment, RowReport, Verdict};
use nexis_core::verifier::{RowJudge, frame_reports};
use serde_json::json;

use super::{EngineArguments, EnsembleArgument, OneJudgeArgument, OutputArguments, check_is_file, exit_code};
use crate::EXIT_REJECTED;
use crate::view::{TextOptions, write_row};

/// Score one clip, or frames of one, against a caption
#[derive(Args)]
pub(crate) struct Score {
    /// The clip
    #[arg(required_unless_present = "frames")]
    clip: Option<PathBuf>,
    /// A picture file (JPEG or PNG) of a frame, instead of the clip; once per frame, in order of time
    #[arg(long = "frame", value_name = "FILE", conflicts_with = "clip")]
    frames: Vec<PathBuf>,
    /// What it is said to show
    #[arg(long)]
    caption: String,
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    ensemble: EnsembleArgument,
    #[command(flatten)]
    judge: OneJudgeArgument,
    #[command(flatten)]
    output: OutputArguments,
}

/// What was scored, or why a clip cannot be.
enum Scored {
    Row(Box<RowReport>, Verdict),
    Undecodable(String),
}

impl Score {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        for file in self.clip.iter().chain(&self.frames) {
            check_is_file(file)?;
        }
        if self.caption.trim().is_empty() {
            bail!(Error::usage("--caption", "it is empty; say what the clip shows"));
        }
        let (scored, environment) = self.engine.in_pool(|| {
            let judge = self.ensemble.beside(self.judge.behind(&self.engine)).judge()?;
            let scored = match &self.clip {
                Some(clip) => self.score_clip(&judge, clip)?,
                None => self.score_frames(&judge)?,
            };
            Ok((scored, judge.environment().clone()))
        })?;
        let mut out = io::stdout().lock();
        match scored {
            Scored::Row(row, verdict) => {
                self.write(&mut out, &row, verdict, &environment)?;
                Ok(exit_code(verdict))
            }
            Scored::Undecodable(why) => {
                if self.output.json {
                    let report =
                        json!({ "environment": environment, "verdict": Verdict::Reject, "undecodable": why });
                    serde_json::to_writer_pretty(&mut out, &report)?;
                    writeln!(out)?;
                } else {
                    writeln!(out, "rejected: the clip cannot be decoded: {why}")?;
                }
                Ok(EXIT_REJECTED)
            }
        }
    }

    fn score_clip(&self, judge: &RowJudge, clip: &Path) -> anyhow::Result<Scored> {
        match judge.score(clip, &self.caption) {
            Ok(scores) => {
                let row = scores.row(&clip.display().to_string(), &self.caption);
                Ok(Scored::Row(Box::new(row), scores.verdict()))
            }
            Err(MediaFailure::Clip(why)) => Ok(Scored::Undecodable(why)),
            Err(MediaFailure::Ours(error)) => Err(error.into()),
        }
    }

    fn score_frames(&self, judge: &RowJudge) -> anyhow::Result<Scored> {
        let mut frames = Vec::with_capacity(self.frames.len());
        for file in &self.frames {
            frames.push(read_still(file, &StillLimits::default()).map_err(|failure| match failure {
                MediaFailure::Clip(why) => Error::usage(file.display().to_string(), why),
                MediaFailure::Ours(error) => error,
            })?);
        }
        let scores = judge.score_frames(&frames, &self.caption)?;
        let verdict = scores.verdict();
        let row = RowReport {
            clip_id: format!("of {} {}", frames.len(), if frames.len() == 1 { "frame" } else { "frames" }),
            row_index: 0,
            caption: self.caption.clone(),
            probe: None,
            frames: frame_reports(&frames),
            alignment: Some(scores.alignment),
            category: Some(scores.category),
            failures: Vec::new(),
            inconclusive: None,
            evidence: None,
            timings_ms: BTreeMap::new(),
        };
        Ok(Scored::Row(Box::new(row), verdict))
    }

    fn write(
        &self,
        out: &mut impl Write,
        row: &RowReport,
        verdict: Verdict,
        environment: &Environment,
    ) -> anyhow::Result<()> {
        if self.output.json {
            let report = json!({
                "environment": environment,
                "verdict": verdict,
                "probe": row.probe,
                "frames": row.frames,
                "alignment": row.alignment,
                "category": row.category,
                "timings_ms": row.timings_ms,
            });
            serde_json::to_writer_pretty(&mut *out, &report)?;
            writeln!(out)?;
            Ok(())
        } else {
            write_row(out, row, environment, &TextOptions::for_stdout())?;
            Ok(())
        }
    }
}
