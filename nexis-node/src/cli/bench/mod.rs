//! `nexis bench`: what models' scores are worth, and how fast a device is.

mod align;
mod gpu;

use clap::{Args, Subcommand};

pub(crate) use align::{PairArguments, Seen, write_report};

/// Measure what scores are worth on judged pairs, or how fast a GPU is beside what others would use
#[derive(Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Subcommand)]
enum BenchCommand {
    Align(Box<align::Align>),
    Gpu(gpu::Gpu),
}

impl Bench {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        match self.command {
            BenchCommand::Align(command) => command.run(),
            BenchCommand::Gpu(command) => command.run(),
        }
    }
}
