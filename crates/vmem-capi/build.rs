//! Names the shared library by the version of its interface, so that the loader takes no other for it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // A test holds the number to `VMEM_ABI_VERSION`.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libvmem.so.1");
    }
}
