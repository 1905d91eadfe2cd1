//! The header is what the sources say, and compiles.

use std::fs;
use std::path::{Path, PathBuf};

use cbindgen::{Builder, Config, EnumConfig, Language, Style};

const HEAD: &str = "\
/* vmem: GPU memory in stream order.
 *
 * Generated from the sources of vmem-capi; see docs/c-abi.md in vmem's repository for how it is used.
 *
 * Every function but those that return a text or a number answers a vmem_status, throws nothing, can be
 * called by any thread with any current context, and leaves the thread's context as it was. */
";

/// Constants that have a type in C.
const STREAMS: &str = "
/**
 * The legacy default stream, and the calling thread's.
 */
#ifdef __cplusplus
#define VMEM_STREAM_LEGACY (reinterpret_cast<vmem_stream>(static_cast<uintptr_t>(1)))
#define VMEM_STREAM_PER_THREAD (reinterpret_cast<vmem_stream>(static_cast<uintptr_t>(2)))
#else
#define VMEM_STREAM_LEGACY ((vmem_stream)1)
#define VMEM_STREAM_PER_THREAD ((vmem_stream)2)
#endif
";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn generated() -> String {
    let mut config = Config {
        language: Language::C,
        cpp_compat: true,
        style: Style::Both,
        header: Some(HEAD.trim_end().to_owned()),
        after_includes: Some(STREAMS.trim_end().to_owned()),
        include_guard: Some("VMEM_H".to_owned()),
        no_includes: true,
        sys_includes: vec!["stddef.h".to_owned(), "stdint.h".to_owned()],
        usize_is_size_t: true,
        documentation: true,
        enumeration: EnumConfig { ..EnumConfig::default() },
        ..Config::default()
    };
    // What these mean in C is said by hand, and the register is for other copies alone.
    config.export.exclude =
        ["VMEM_STREAM_LEGACY", "VMEM_STREAM_PER_THREAD", "vmem_register_of_copy", "Register"]
            .map(str::to_owned)
            .to_vec();
    // It follows the modules from there.
    let builder = Builder::new().with_config(config).with_src(folder().join("src/lib.rs"));
    let mut text = Vec::new();
    builder.generate().unwrap().write(&mut text);
    // What Rust has a heading for.
    String::from_utf8(text).unwrap().replace(" * # Safety\n * ", " * The caller sees to it that: ")
}

/// Run with `VMEM_WRITE_HEADER=1` to write it.
#[test]
fn the_header_is_what_the_sources_say() {
    let path = folder().join("include/vmem.h");
    let generated = generated();
    if std::env::var_os("VMEM_WRITE_HEADER").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "{} is not what the sources say; write it by VMEM_WRITE_HEADER=1 cargo test -p vmem-capi header",
        Path::new("include/vmem.h").display()
    );
}
