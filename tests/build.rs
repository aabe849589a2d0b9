//! Compiles the kernels for the processor (`emulator/`), and the pool of decoders that goes into FFmpeg, so that they are tested
//! where there is no GPU.

fn main() {
    // With NEXIS_REQUIRE_GPU=1, tests that need a GPU are not ignored, and so fail where there is none.
    println!("cargo:rerun-if-env-changed=NEXIS_REQUIRE_GPU");
    println!("cargo:rustc-check-cfg=cfg(nexis_require_gpu)");
    if std::env::var("NEXIS_REQUIRE_GPU").is_ok_and(|value| value == "1") {
        println!("cargo:rustc-cfg=nexis_require_gpu");
    }
    for source in ["common.cuh", "pixels.cu", "rows.cu", "attention.cu"] {
        println!("cargo:rerun-if-changed=../kernels/{source}");
    }
    println!("cargo:rerun-if-changed=emulator/device.hpp");
    println!("cargo:rerun-if-changed=emulator/kernels.cpp");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        // What a kernel computes is asked again and again; unoptimised, the tests would take minutes.
        .opt_level(2)
        // A device fuses multiplications with additions where it likes; the tests' tolerances allow for it.
        .flag_if_supported("-ffp-contract=off")
        .flag_if_supported("-Wno-unknown-pragmas")
        .include("emulator")
        .file("emulator/kernels.cpp")
        .compile("nexis_emulated_kernels");
    println!("cargo:rerun-if-changed=../nexis-py/ffmpeg/nvdec_pool.h");
    println!("cargo:rerun-if-changed=emulator/nvdec_pool.c");
    cc::Build::new().std("c11").file("emulator/nvdec_pool.c").compile("nexis_nvdec_pool");
}
