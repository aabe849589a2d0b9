//! The commands, one file each.

mod bench;
mod calibrate;
mod calibrate_pairs;
mod config;
mod demo;
mod devnet;
mod doctor;
mod inspect;
mod miner;
mod models;
mod owner;
mod replay;
mod score;
mod serve;
mod synth;
mod validator;
mod verify;

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Parser, Subcommand, ValueEnum};
use nexis_core::Error;
use nexis_core::model::Precision;
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::report::Verdict;
use nexis_core::verifier::JUDGE_BUDGET;
use nexis_gpu::{EngineOptions, JudgeChoice};
use subxt::utils::AccountId32;

use crate::roots::models_roots;
use crate::view::{Progress, ProgressMode};
use crate::{EXIT_ACCEPTED, EXIT_REJECTED, EXIT_UNCHECKED};

/// Check captioned video packages on your own machine
#[derive(Parser)]
#[command(name = "nexis", version, max_term_width = 100)]
#[command(after_help = "Exit status: 0 accepted, 1 rejected, 2 could not check, 64 wrong use.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Verify(verify::Verify),
    Score(score::Score),
    Serve(serve::Serve),
    Inspect(inspect::Inspect),
    Replay(replay::Replay),
    Models(models::Models),
    Doctor(doctor::Doctor),
    Demo(demo::Demo),
    Devnet(devnet::Devnet),
    Synth(synth::Synth),
    Calibrate(calibrate::Calibrate),
    Bench(bench::Bench),
    Config(config::ConfigCommand),
    Validator(validator::ValidatorCommand),
    Miner(miner::MinerCommand),
    Owner(owner::OwnerCommand),
}

impl Arguments {
    /// Runs the command and gives the exit status.
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        match self.command {
            Command::Verify(command) => command.run(),
            Command::Score(command) => command.run(),
            Command::Serve(command) => command.run(),
            Command::Inspect(command) => command.run(),
            Command::Replay(command) => command.run(),
            Command::Models(command) => command.run(),
            Command::Doctor(command) => command.run(),
            Command::Demo(command) => command.run(),
            Command::Devnet(command) => command.run(),
            Command::Synth(command) => command.run(),
            Command::Calibrate(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Config(command) => command.run(),
            Command::Validator(command) => command.run(),
            Command::Miner(command) => command.run(),
            Command::Owner(command) => command.run(),
        }
    }
}

/// What judges, and on what.
#[derive(Args, Clone, Debug)]
pub(crate) struct EngineArguments {
    /// Model: an id of `nexis models list`, or a folder of a CLIP, a SigLIP or a MobileCLIP with a card.toml
    #[arg(long, value_name = "ID_OR_DIR", default_value = "demo")]
    model: String,
    #[command(flatten)]
    machine: MachineArguments,
}

/// What models run on, whichever they are.
#[derive(Args, Clone, Debug)]
pub(crate) struct MachineArguments {
    /// Folder that holds registry.toml and the models; also NEXIS_MODELS; searched for where not given
    #[arg(long, value_name = "DIR")]
    models_dir: Option<PathBuf>,
    /// Device of the forward pass: auto, cpu or cuda:N; several of one kind as cuda:0,cuda:1 or cuda:all
    #[arg(long, default_value = "auto")]
    device: String,
    /// Precision of the forward pass: exact has the same bits on every processor, fast rounds to bfloat16 and needs
    /// AVX512-BF16, f32 is another library's composition; bf16 and f16 run on a GPU. Scores differ between them
    #[arg(long, value_name = "exact|fast|f32|bf16|f16", default_value_t)]
    precision: Precision,
    /// Threads to use; all cores where not given. Changes speed, never a score
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Pictures in one call of the model. Changes speed and memory, never a score
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch: u16,
    /// Longest wall time for one clip, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    max_clip_seconds: u64,
}

impl EngineArguments {
    fn options(&self) -> EngineOptions {
        self.machine.options(&self.model)
    }

    /// Threads, 0 for all cores.
    fn threads(&self) -> usize {
        self.machine.threads()
    }

    /// Runs work on a pool of `--threads` threads.
    fn in_pool<T: Send>(&self, work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
        self.machine.in_pool(work)
    }
}

impl MachineArguments {
    fn options(&self, model: &str) -> EngineOptions {
        EngineOptions {
            model: model.to_owned(),
            models_roots: models_roots(self.models_dir.as_deref()),
            device: self.device.clone(),
            precision: self.precision,
            batch: usize::from(self.batch),
            max_wall: std::time::Duration::from_secs(self.max_clip_seconds),
            ensemble: None,
            judge: None,
        }
    }

    /// Pictures in one call of a model.
    fn batch(&self) -> usize {
        usize::from(self.batch)
    }

    /// Threads, 0 for all cores.
    fn threads(&self) -> usize {
        self.threads.map_or(0, usize::from)
    }

    /// Runs work on a pool of `--threads` threads.
    fn in_pool<T: Send>(&self, work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads()).build()?;
        pool.install(work)
    }
}

/// What decides together with the model.
#[derive(Args, Clone, Debug)]
pub(crate) struct EnsembleArgument {
    /// Second model, trained on other data, that decides together with the first: an id of `nexis models list`, or a
    /// folder with a card.toml. Where the two disagree, the judge decides, or the sum of their log-odds
    #[arg(long, value_name = "ID_OR_DIR")]
    ensemble: Option<String>,
}

impl EnsembleArgument {
    /// The options of an engine, with the second model beside the first.
    fn beside(&self, engine: EngineOptions) -> EngineOptions {
        EngineOptions { ensemble: self.ensemble.clone(), ..engine }
    }
}

/// What decides where the model leaves something in doubt.
#[derive(Args, Clone, Debug)]
pub(crate) struct JudgeArguments {
    /// Judge that decides what the model leaves in doubt: an id of `nexis models list`, or a folder. The model's
    /// threshold decides where not given
    #[arg(long, value_name = "ID_OR_DIR")]
    judge: Option<String>,
    /// Questions that the judge is asked per interval at most; beyond that, the model's threshold decides
    #[arg(long, value_name = "N", requires = "judge", default_value_t = JUDGE_BUDGET)]
    judge_budget: u32,
}

/// The same where there is no interval that a budget could hold for.
#[derive(Args, Clone, Debug)]
pub(crate) struct OneJudgeArgument {
    /// Judge that decides what the model leaves in doubt: an id of `nexis models list`, or a folder. The model's
    /// threshold decides where not given
    #[arg(long, value_name = "ID_OR_DIR")]
    judge: Option<String>,
}

impl OneJudgeArgument {
    /// The options of an engine, with the judge behind it.
    fn behind(&self, engine: &EngineArguments) -> EngineOptions {
        let judge = self.judge.clone().map(|id| JudgeChoice { id, budget: JUDGE_BUDGET });
        EngineOptions { judge, ..engine.options() }
    }
}

impl JudgeArguments {
    /// The options of an engine, with the judge behind it.
    fn behind(&self, engine: &EngineArguments) -> EngineOptions {
        let judge = self.judge.clone().map(|id| JudgeChoice { id, budget: self.judge_budget });
        EngineOptions { judge, ..engine.options() }
    }
}

/// How a command speaks.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutputArguments {
    /// Print JSON on standard output and nothing else
    #[arg(long)]
    json: bool,
    /// No progress
    #[arg(long, short)]
    quiet: bool,
}

impl OutputArguments {
    fn progress(self) -> Progress {
        Progress::new(ProgressMode::choose(self.json || self.quiet))
    }
}

/// The two policies, as on the command line.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum PolicyArgument {
    /// Exactly the network's checks; this project's own are warnings
    #[default]
    Network,
    /// Also reject what the network does not look at
    Strict,
}

impl From<PolicyArgument> for nexis_core::check::Policy {
    fn from(policy: PolicyArgument) -> Self {
        match policy {
            PolicyArgument::Network => Self::Network,
            PolicyArgument::Strict => Self::Strict,
        }
    }
}

/// The exit status of a verdict.
const fn exit_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Accept => EXIT_ACCEPTED,
        Verdict::Reject => EXIT_REJECTED,
        Verdict::Inconclusive => EXIT_UNCHECKED,
    }
}

/// The hotkey that an option names. One that is no address belongs to nobody: a slip of the pen would draw other rows, or
/// name a miner whom no validator looks for.
fn address(option: &str, given: Option<&str>) -> Result<Option<Hotkey>, Error> {
    let Some(text) = given else { return Ok(None) };
    match AccountId32::from_str(text) {
        Ok(_) => Ok(Some(Hotkey::new(text))),
        Err(_) => {
            let why = "it is no SS58 address; copy the whole of it, for example 5Grwva...KutQY in full";
            Err(Error::usage(format!("{option} {text:?}"), why))
        }
    }
}

/// The interval that an option names.
fn interval(text: &str) -> Result<IntervalId, String> {
    let id: u64 = text.parse().map_err(|_| "the number of an interval's first block is expected")?;
    IntervalId::named(id).map_err(|error| error.to_string())
}

/// That a clip or a picture that the user named is a file.
fn check_is_file(path: &Path) -> Result<(), Error> {
    let why = match path.metadata() {
        Ok(found) if found.is_file() => return Ok(()),
        Ok(_) => "it is no plain file",
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            "there is no such file"
        }
        Err(error) => return Err(Error::io(path, error)),
    };
    Err(Error::usage(path.display().to_string(), why))
}

/// The bytes of a file that the user named.
fn read_named(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| unread(path, error))
}

/// Why a file that the user named was not read: by its name, or by a fault of this machine's.
fn unread(path: &Path, error: io::Error) -> Error {
    let why = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "there is no such file",
        io::ErrorKind::IsADirectory => "it is a folder; name a file",
        _ => return Error::io(path, error),
    };
    Error::usage(path.display().to_string(), why)
}

/// Whether log lines go to a terminal that takes colours.
fn in_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none()
}

/// A flag that Ctrl-C raises: the first stops between rows, the second at once.
fn interrupt_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&flag);
    ctrlc::set_handler(move || {
        if raised.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    })?;
    Ok(flag)
}
