//! `nexis inspect`: a contact sheet of one clip.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use nexis_core::media::MediaFailure;
use nexis_core::report::Verdict;
use nexis_core::verifier::{ClipInspection, frame_reports};

use super::{EngineArguments, OutputArguments, check_is_file};
use crate::view::{SheetOptions, contact_sheet, png, probe_line};
use crate::{EXIT_ACCEPTED, EXIT_REJECTED};

/// Draw the frames of a clip that are judged, with their scores, as a PNG
#[derive(Args)]
pub(crate) struct Inspect {
    /// The clip
    clip: PathBuf,
    /// Where the PNG goes; beside the clip where not given
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A caption to hold the frames against
    #[arg(long)]
    caption: Option<String>,
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl Inspect {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        check_is_file(&self.clip)?;
        let out_path = self.out.clone().unwrap_or_else(|| self.clip.with_extension("sheet.png"));
        let inspected = self.engine.in_pool(|| {
            let judge = self.engine.options().judge()?;
            Ok(judge.inspect(&self.clip, self.caption.as_deref()))
        })?;
        let mut out = io::stdout().lock();
        let inspected = match inspected {
            Ok(inspected) => inspected,
            Err(MediaFailure::Ours(error)) => return Err(error.into()),
            Err(MediaFailure::Clip(why)) => {
                if self.output.json {
                    let report = serde_json::json!({ "verdict": Verdict::Reject, "undecodable": why });
                    serde_json::to_writer_pretty(&mut out, &report)?;
                    writeln!(out)?;
                } else {
                    writeln!(out, "rejected: the clip cannot be decoded: {why}")?;
                }
                return Ok(EXIT_REJECTED);
            }
        };
        let labels = labels(&inspected);
        let title = vec![self.clip.display().to_string(), probe_line(&inspected.decoded.probe)];
        let sheet = contact_sheet(
            &inspected.decoded.frames,
            &labels,
            &SheetOptions { title, ..SheetOptions::default() },
        );
        std::fs::write(&out_path, png(&sheet)?).with_context(|| format!("writing {}", out_path.display()))?;
        if self.output.json {
            let report = serde_json::json!({
                "probe": inspected.decoded.probe,
                "frames": frame_reports(&inspected.decoded.frames),
                "category": inspected.categories,
                "alignment": inspected.alignment,
                "sheet": out_path,
            });
            serde_json::to_writer_pretty(&mut out, &report)?;
            writeln!(out)?;
        } else {
            writeln!(out, "{}", probe_line(&inspected.decoded.probe))?;
            for (frame, lines) in inspected.decoded.frames.iter().zip(&labels) {
                writeln!(out, "  {:>6.3} s  {}", frame.pts_seconds, lines.join("  "))?;
            }
            writeln!(out, "Contact sheet: {}", out_path.display())?;
        }
        Ok(EXIT_ACCEPTED)
    }
}

/// Under each frame: its best labels, and how well the caption's units fit it.
fn labels(inspected: &ClipInspection) -> Vec<Vec<String>> {
    let units = inspected.alignment.iter().flat_map(|a| &a.units);
    let mut lines: Vec<Vec<String>> = inspected
        .categories
        .iter()
        .map(|frame| {
            let mut scores: Vec<_> = frame.scores.iter().collect();
            scores.sort_by(|a, b| b.1.total_cmp(a.1));
            scores.iter().take(2).map(|(label, score)| format!("{label} {score:.2}")).collect()
        })
        .collect();
    for (i, unit) in units.enumerate() {
        for (line, similarity) in lines.iter_mut().zip(&unit.per_frame) {
            line.push(format!("unit {} {similarity:.3}", i + 1));
        }
    }
    lines
}
