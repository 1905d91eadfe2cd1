//! C programs, each a process of its own.

use std::env;
use std::fs;
use std::process::Command;

use crate::support::{
    Linked, NATIVE_LIBRARIES, compile, compiler, crate_folder, library, library_folder, own_folder,
    soname, succeed, wants_software_driver,
};

/// Compiles `tests/c/NAME.c`. None, and the test is skipped, without a compiler or the software driver.
fn program(name: &str, linked: Linked<'_>) -> Option<Command> {
    if !wants_software_driver() {
        return None;
    }
    let source = crate_folder().join("tests/c").join(name).with_extension("c");
    // Tests that use one program do not write over each other.
    let test = std::thread::current().name().unwrap().replace("::", "-");
    let program = own_folder("programs").join(format!("{name}-{test}"));
    compile(&source, &program, linked)?;
    let mut command = Command::new(program);
    // Cargo's own path may name an older copy of the library first.
    let others = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = [library_folder()].into_iter().chain(env::split_paths(&others));
    command.env("LD_LIBRARY_PATH", env::join_paths(folders).unwrap());
    Some(command)
}

/// Runs it over a software driver with these settings.
fn run(name: &str, settings: &[(&str, &str)], arguments: &[&str]) {
    run_linked(Linked::Shared, name, settings, arguments);
}

fn run_linked(linked: Linked<'_>, name: &str, settings: &[(&str, &str)], arguments: &[&str]) {
    if let Some(mut program) = program(name, linked) {
        succeed(program.envs(settings.iter().copied()).args(arguments));
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
                    vmem_stream of(int i) { return i ? VMEM_STREAM_LEGACY : VMEM_STREAM_PER_THREAD; }\n\
                    int main(void) { return vmem_abi_version() != VMEM_ABI_VERSION; }\n";
        fs::write(&source, text).unwrap();
        let mut command = Command::new(compiler);
        command.args([standard, "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]);
        if ending == "cpp" {
            // What C++ programs refuse, although it is C.
            command.arg("-Wold-style-cast");
        }
        succeed(command.arg("-I").arg(crate_folder().join("include")).arg(source));
    }
}

#[test]
fn the_program_of_the_readme_allocates_and_frees() {
    let readme = fs::read_to_string(crate_folder().join("README.md")).unwrap();
    let program = fs::read_to_string(crate_folder().join("tests/c/first.c")).unwrap();
    assert!(readme.contains(&format!("```c\n{program}```\n")), "the README has another program");
    run("first", &[], &[]);
}

#[test]
fn streams_may_be_destroyed_without_a_word() {
    run("streams", &[], &[]);
}

#[test]
fn a_closed_device_forgets_streams_and_ends_once_its_memory_is_free() {
    run("closed", &[], &[]);
}

#[test]
fn streams_that_callers_vouch_for_share_memory() {
    run("sharing", &[], &[]);
}

#[test]
fn a_callbacks_argument_is_released_with_its_last_use() {
    run("callback", &[], &[]);
}

#[test]
fn a_child_of_a_process_that_counted_devices_is_told_that_it_was_forked() {
    run("counted", &[], &[]);
}

#[test]
fn every_function_does_what_it_says_and_refuses_what_it_must() {
    let path = own_folder("recordings").join("every.trace");
    run("every", &[("VMEM_SIM_DRIVER_DEVICES", "2")], &[path.to_str().unwrap()]);
    if path.exists() {
        let reading = vmem_trace::read_path(&path).unwrap();
        assert_eq!((reading.trace.allocations(), reading.trace.peak_live()), (1, 2000));
        // It has its end, as only one that was stopped has.
        assert_eq!(reading.notes, []);
    }
}

#[test]
fn threads_exits_and_forks_end_well() {
    run("ends", &[("VMEM_SIM_DRIVER_DEVICES", "2")], &[]);
}

#[test]
fn a_machine_that_lacks_something_says_what() {
    run("lacking", &[("LD_LIBRARY_PATH", "")], &["driver"]);
    run("lacking", &[("VMEM_SIM_DRIVER_DEVICES", "0")], &["device"]);
    run("lacking", &[("VMEM_SIM_DRIVER_VERSION", "11.0")], &["version"]);
    run("lacking", &[("VMEM_SIM_DRIVER_VERSION", "11.8")], &["numbers"]);
}

#[test]
fn a_second_copy_that_opens_a_device_is_refused_with_both_paths() {
    let first = library("libvmem.so");
    let second = own_folder("copies").join("libvmem-other.so");
    fs::copy(&first, &second).unwrap();
    let paths = [&second, &first].map(|path| fs::canonicalize(path).unwrap());
    let paths = paths.each_ref().map(|path| path.to_str().unwrap());
    run("copies", &[("VMEM_SIM_DRIVER_DEVICES", "2")], &paths);
}

#[test]
fn a_program_that_has_the_library_in_itself_is_a_copy_like_others() {
    let exported = "-Wl,--export-dynamic-symbol=vmem_register_of_copy";
    // Copies find one that does not export its register if they were loaded before it opened a device.
    for arguments in [&[exported][..], &[]] {
        let linked = Linked::Statically(arguments);
        run_linked(linked, "first", &[], &[]);
        run_linked(linked, "streams", &[], &[]);
        let other = fs::canonicalize(library("libvmem.so")).unwrap();
        let own = "programs-a_program_that_has_the_library_in_itself_is_a_copy_like_others";
        let paths = [other.to_str().unwrap(), own];
        run_linked(linked, "copies", &[("VMEM_SIM_DRIVER_DEVICES", "2")], &paths);
    }
}

#[test]
fn the_page_says_what_the_libraries_are_called_and_need() {
    let page = fs::read_to_string(crate_folder().join("../../docs/c-abi.md")).unwrap();
    assert!(page.contains(&NATIVE_LIBRARIES.join(" ")));
    assert!(page.contains(&soname()));
    let shared = fs::read(library("libvmem.so")).unwrap();
    let name = soname() + "\0";
    assert!(shared.windows(name.len()).any(|bytes| bytes == name.as_bytes()));
}

#[test]
fn whatever_call_of_the_driver_fails_is_a_status_and_all_works_afterwards() {
    for tier in ["", "VMEM_OOM_SAFETY=1", "VMEM_MANAGED_MEMORY=1", "VMEM_POOL_LIMIT=32M"] {
        // What a failing driver does not take back is lost to the device.
        run("sweep", &[("VMEM_SIM_DRIVER_CAPACITY", "256GiB")], &[tier]);
    }
}
