//! Rows verified per second and the peak memory of `nexis verify`, with the demonstration model.
//!
//! The whole program is timed, start-up included, on a package that it made itself. Not a criterion
//! benchmark: a run takes seconds, and what matters is the process as a user starts it.

#![allow(clippy::print_stdout, clippy::expect_used)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROWS: u32 = 8;
const RUNS: usize = 5;

fn nexis() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexis"));
    command.env("NEXIS_MODELS", Path::new(env!("CARGO_MANIFEST_DIR")).join("../models"));
    command
}

/// Wall time and peak resident memory in KiB of one run.
fn run(package: &str, threads: &str) -> (Duration, u64) {
    let started = Instant::now();
    let mut child = nexis()
        .args(["verify", package, "--all-rows", "--quiet", "--threads", threads])
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        // The high-water mark only grows, so the last reading before the end is the peak.
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let mark = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = peak.max(mark.and_then(|m| m.split_whitespace().next()?.parse().ok()).unwrap_or(0));
        if child.try_wait().expect("the program can be waited for").is_some() {
            return (started.elapsed(), peak);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|l| l.strip_prefix("model name")?.split_once(':').map(|(_, n)| n.trim().to_owned()));
    name.unwrap_or_else(|| "unknown processor".into())
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder for the package");
    let made = nexis()
        .args(["synth", "package", "--seed", "650000", "--rows", &ROWS.to_string()])
        .arg("--out")
        .arg(folder.path())
        .output()
        .expect("the program starts");
    let package = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    println!(
        "nexis {} on {}, {} threads; demonstration model; {ROWS} rows of 5 s, 1280x720, 15 frames/s, H.264",
        env!("CARGO_PKG_VERSION"),
        processor(),
        std::thread::available_parallelism().map_or(1, usize::from)
    );
    for threads in ["1", "2"] {
        let mut runs: Vec<_> = (0..RUNS).map(|_| run(&package, threads)).collect();
        runs.sort();
        let (median, _) = runs.get(RUNS / 2).copied().unwrap_or_default();
        let peak = runs.iter().map(|r| r.1).max().unwrap_or(0);
        println!(
            "nexis verify --threads {threads}: {:.2} rows/s (median of {RUNS} runs, {:.2} s), peak memory {} MiB",
            f64::from(ROWS) / median.as_secs_f64(),
            median.as_secs_f64(),
            peak / 1024
        );
    }
}
