//! `nexis score`: one clip against one caption.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use nexis_core::Error;
use nexis_core::media::MediaFailure;
use nexis_core::report::Verdict;
use nexis_core::verifier::frame_reports;
use serde_json::json;

use super::{EngineArguments, OutputArguments, exit_code};
use crate::EXIT_REJECTED;
use crate::view::{TextOptions, write_row};

/// Score one clip against a caption
#[derive(Args)]
pub(crate) struct Score {
    /// The clip
    clip: PathBuf,
    /// What it is said to show
    #[arg(long)]
    caption: String,
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl Score {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        if !self.clip.is_file() {
            bail!(Error::usage(self.clip.display().to_string(), "there is no such file"));
        }
        if self.caption.trim().is_empty() {
            bail!(Error::usage("--caption", "it is empty; say what the clip shows"));
        }
        let scored = self.engine.in_pool(|| {
            let judge = self.engine.options().judge()?;
            Ok((judge.score(&self.clip, &self.caption), judge.environment().clone()))
        })?;
        let mut out = io::stdout().lock();
        let (scores, environment) = match scored {
            (Ok(scores), environment) => (scores, environment),
            (Err(MediaFailure::Ours(error)), _) => return Err(error.into()),
            (Err(MediaFailure::Clip(why)), environment) => {
                if self.output.json {
                    let report =
                        json!({ "environment": environment, "verdict": Verdict::Reject, "undecodable": why });
                    serde_json::to_writer_pretty(&mut out, &report)?;
                    writeln!(out)?;
                } else {
                    writeln!(out, "rejected: the clip cannot be decoded: {why}")?;
                }
                return Ok(EXIT_REJECTED);
            }
        };
        let verdict = scores.verdict();
        if self.output.json {
            let report = json!({
                "environment": environment,
                "verdict": verdict,
                "probe": scores.decoded.probe,
                "frames": frame_reports(&scores.decoded.frames),
                "alignment": scores.alignment,
                "category": scores.category,
                "timings_ms": scores.timings_ms,
            });
            serde_json::to_writer_pretty(&mut out, &report)?;
            writeln!(out)?;
        } else {
            write_row(
                &mut out,
                &scores.row(&self.clip.display().to_string(), &self.caption),
                &environment,
                &TextOptions::for_stdout(),
            )?;
        }
        Ok(exit_code(verdict))
    }
}
