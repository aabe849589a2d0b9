//! `nexis config check`, and the options with which every command of the node reads its configuration.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use nexis_core::Error;
use nexis_node::config::{Config, ConfigError, Explained, Sources, explain};
use nexis_node::engine;

use crate::roots::{models_roots, path_in};
use crate::view::printable;
use crate::{EXIT_ACCEPTED, EXIT_UNCHECKED, EXIT_USAGE};

/// Where a command of the node takes its configuration from
#[derive(Args, Clone, Debug)]
pub(crate) struct ConfigArguments {
    /// Configuration file (TOML); also NEXIS_CONFIG
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A setting on top of file and environment, as in --set validator.look_back=3; may be repeated.
    /// Other users of the machine can see it, so it is no place for a secret
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The network: finney, test or devnet
    #[arg(long)]
    network: Option<String>,
    /// The subnet
    #[arg(long)]
    netuid: Option<String>,
    /// Folder of the node's state, cache and evidence
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// The wallet
    #[arg(long, value_name = "NAME")]
    wallet_name: Option<String>,
    /// The hotkey in the wallet
    #[arg(long, value_name = "NAME")]
    wallet_hotkey: Option<String>,
}

impl ConfigArguments {
    fn flags(&self) -> Result<Vec<(String, String, String)>, Error> {
        let named = [
            ("network", "--network", &self.network),
            ("netuid", "--netuid", &self.netuid),
            ("data_dir", "--data-dir", &self.data_dir),
            ("wallet.name", "--wallet-name", &self.wallet_name),
            ("wallet.hotkey", "--wallet-hotkey", &self.wallet_hotkey),
        ];
        let mut flags: Vec<_> = named
            .into_iter()
            .filter_map(|(key, flag, value)| Some((key.to_owned(), value.clone()?, flag.to_owned())))
            .collect();
        for text in &self.set {
            // The text is not repeated: whoever left out the sign may have written a secret.
            let (key, value) =
                text.split_once('=').ok_or_else(|| Error::usage("--set", "KEY=VALUE is expected"))?;
            flags.push((key.trim().to_owned(), value.to_owned(), "--set".to_owned()));
        }
        Ok(flags)
    }

    fn with_sources<T>(&self, work: impl FnOnce(&Sources<'_>) -> T) -> Result<T, Error> {
        let environment = |name: &str| std::env::var(name).ok();
        let file = self.config.clone().or_else(|| path_in("NEXIS_CONFIG"));
        Ok(work(&Sources { file: file.as_deref(), environment: &environment, flags: self.flags()? }))
    }

    /// The configuration.
    ///
    /// # Errors
    /// Wrong use, with everything that is wrong.
    pub(crate) fn load(&self) -> Result<Config, Error> {
        self.with_sources(Config::load)?
            .map_err(|ConfigError(problems)| Error::usage("configuration", problems.join("; ")))
    }
}

/// Explain the node's configuration
#[derive(Args)]
pub(crate) struct ConfigCommand {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Every value, where it came from, and what is wrong; secrets are masked
    Check {
        #[command(flatten)]
        config: ConfigArguments,
        /// Do not load the judging model to compare it with its pin
        #[arg(long)]
        no_model: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl ConfigCommand {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        let What::Check { config, no_model, json } = self.command;
        let (settings, mut problems) = config.with_sources(explain)?;
        let (mut model, mut beside, mut behind) = (None, None, None);
        // Where the configuration is right and the model is not there, as a validator would end.
        let mut wrong = EXIT_USAGE;
        if !no_model && problems.is_empty() {
            let config = config.load()?;
            match engine::load(&config, models_roots(config.model.dir.as_deref())) {
                Ok(judge) => {
                    model = Some(engine::pin_lines(&engine::pin_of(&judge)));
                    let pin = engine::ensemble_pin_of(&judge);
                    beside = pin.card.is_some().then(|| engine::ensemble_pin_lines(&pin));
                    let pin = engine::judge_pin_of(&judge);
                    behind = pin.prompt.is_some().then(|| engine::judge_pin_lines(&pin));
                }
                Err(e) => {
                    if !matches!(e, Error::Usage { .. }) {
                        wrong = EXIT_UNCHECKED;
                    }
                    problems.push(format!("model: {e}"));
                }
            }
        }
        let mut out = io::stdout().lock();
        if json {
            let found = serde_json::json!({
                "settings": settings, "problems": problems, "model": model, "ensemble": beside, "judge": behind
            });
            serde_json::to_writer_pretty(&mut out, &found)?;
            writeln!(out)?;
        } else {
            for setting in &settings {
                write_setting(&mut out, setting)?;
            }
            if model.is_some() {
                let who = match (beside.is_some(), behind.is_some()) {
                    (false, false) => "model loads and is",
                    (true, false) => "model and the one beside it load and are",
                    (false, true) => "model and the judge behind it load and are",
                    (true, true) => "model, the one beside it and the judge behind them load and are",
                };
                writeln!(out, "\nThe judging {who} admitted.")?;
            }
            for problem in &problems {
                writeln!(
                    out,
                    "\nwrong: {}",
                    problem.lines().map(printable).collect::<Vec<_>>().join("\n  ")
                )?;
            }
        }
        Ok(if problems.is_empty() { EXIT_ACCEPTED } else { wrong })
    }
}

fn write_setting(out: &mut impl Write, setting: &Explained) -> io::Result<()> {
    match (&setting.value, &setting.origin) {
        (Some(value), Some(origin)) => {
            write!(out, "{} = {}    [{}", setting.key, printable(value), printable(origin))?;
            if !setting.hides.is_empty() {
                write!(out, "; hides {}", printable(&setting.hides.join(", ")))?;
            }
            writeln!(out, "]")?;
        }
        _ => writeln!(out, "{} is not set", setting.key)?,
    }
    write!(out, "    {}", setting.what)?;
    if !setting.environment.is_empty() {
        write!(out, " ({})", setting.environment.join(", "))?;
    }
    writeln!(out)
}
