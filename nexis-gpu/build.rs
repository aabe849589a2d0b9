//! With the feature `cuda`: compiles the kernels with nvcc, for each kind of device that is supported and as PTX for later
//! ones. nvcc is that of `CUDA_HOME`, which `make cuda` sets to the project's own folder.

use std::path::Path;
use std::process::Command;

/// Kernel files.
const SOURCES: [&str; 3] = ["pixels", "rows", "attention"];
/// Compute capabilities: A100, L4 and RTX 40, H100 and H200.
const CAPABILITIES: [&str; 3] = ["80", "89", "90"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    println!("cargo:rerun-if-env-changed=CUDA_HOME");
    println!("cargo:rerun-if-changed=../kernels");
    let out = std::env::var("OUT_DIR").unwrap_or_default();
    let Some(home) = std::env::var_os("CUDA_HOME") else {
        return stop(
            "the feature cuda needs nvcc: run `make cuda-deps` and `make cuda`, or name a CUDA 13 in CUDA_HOME",
        );
    };
    let nvcc = Path::new(&home).join("bin/nvcc");
    for source in SOURCES {
        let mut command = Command::new(&nvcc);
        command.args(["-O3", "-std=c++17", "--fatbin", "-o"]).arg(format!("{out}/{source}.fatbin"));
        for capability in CAPABILITIES {
            command.args(["-gencode", &format!("arch=compute_{capability},code=sm_{capability}")]);
        }
        if let Some(last) = CAPABILITIES.last() {
            command.args(["-gencode", &format!("arch=compute_{last},code=compute_{last}")]);
        }
        command.arg(format!("../kernels/{source}.cu"));
        match command.status() {
            Ok(status) if status.success() => {}
            Ok(status) => return stop(&format!("nvcc did not compile kernels/{source}.cu ({status})")),
            Err(error) => return stop(&format!("{} does not start: {error}", nvcc.display())),
        }
    }
}

/// Ends the build with a message.
fn stop(why: &str) {
    println!("cargo::error={why}");
}
