//! Compiles what PyTorch calls of the package that Rust cannot be.

fn main() {
    println!("cargo::rerun-if-changed=src/torch/shim.c");
    // Where there are no C++ exceptions of the Itanium ABI, that part of the package is not there.
    if std::env::var_os("CARGO_CFG_UNIX").is_some() {
        let mut shim = cc::Build::new();
        // Exceptions pass through it.
        shim.file("src/torch/shim.c").std("c11").flag("-fexceptions").warnings(true);
        shim.compile("vmem_gpu_torch_shim");
    }
}
