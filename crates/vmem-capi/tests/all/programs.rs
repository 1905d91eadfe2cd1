//! C programs, each a process of its own.

use std::fs;
use std::process::Command;

use crate::support::{compile, compiler, crate_folder, own_folder, succeed, wants_software_driver};

/// Compiles and runs `tests/c/NAME.c` over the software driver with these settings of it.
fn run(name: &str, settings: &[(&str, &str)]) {
    if !wants_software_driver() {
        return;
    }
    let source = crate_folder().join("tests/c").join(name).with_extension("c");
    let program = own_folder("programs").join(name);
    if compile(&source, &program).is_some() {
        succeed(Command::new(program).envs(settings.iter().copied()));
    }
}

#[test]
fn the_header_is_c11_and_cpp17() {
    let folder = own_folder("header");
    for (variable, usual, standard, ending) in
        [("CC", "cc", "-std=c11", "c"), ("CXX", "c++", "-std=c++17", "cpp")]
    {
        let Some(compiler) = compiler(variable, usual) else { continue };
        let source = folder.join("header").with_extension(ending);
        let text = "#include <vmem.h>\n\
                    #include <vmem.h>\n\
                    int main(void) { return (int)(vmem_abi_version() - VMEM_ABI_VERSION); }\n";
        fs::write(&source, text).unwrap();
        let mut command = Command::new(compiler);
        command.args([standard, "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]);
        succeed(command.arg("-I").arg(crate_folder().join("include")).arg(source));
    }
}

#[test]
fn the_program_of_the_readme_allocates_and_frees() {
    let readme = fs::read_to_string(crate_folder().join("README.md")).unwrap();
    let program = fs::read_to_string(crate_folder().join("tests/c/first.c")).unwrap();
    assert!(readme.contains(&format!("```c\n{program}```\n")), "the README has another program");
    run("first", &[]);
}

#[test]
fn streams_may_be_destroyed_without_a_word() {
    run("streams", &[]);
}
