//! Compiles what PyTorch calls of the package that Rust cannot be.

fn main() {
    println!("cargo::rerun-if-changed=src/torch/shim.c");
    let linux = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux");
    if linux {
        let mut shim = cc::Build::new();
        // Exceptions pass through it.
        shim.file("src/torch/shim.c").std("c11").flag("-fexceptions").warnings(true);
        shim.compile("vmem_gpu_torch_shim");
    }
}
