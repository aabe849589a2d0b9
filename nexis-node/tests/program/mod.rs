//! The program as a user calls it, with the models of the repository.

#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexis"));
    command.args(arguments).env("NEXIS_MODELS", repository().join("models")).env("NO_COLOR", "1");
    command
}

pub(crate) fn nexis(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What it printed as JSON.
pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&output.stderr)))
}

/// Draws a package of two rows below a folder, and gives its path.
pub(crate) fn package(folder: &Path) -> String {
    let out = folder.join("packages");
    let made =
        nexis(&["synth", "package", "--out", out.to_str().unwrap(), "--seed", "610002", "--rows", "2"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    text(&made.stdout).trim().to_owned()
}
