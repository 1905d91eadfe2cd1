//! The laboratory's program and a script, to carry to a machine with a GPU and without Rust.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::{cargo, executable, output};
use crate::command::Program;
use crate::driver::SoftwareDriver;
use crate::glibc;
use crate::steps::Steps;

/// What is carried: the program that has every command of the script.
const PROGRAM: Program = Program::Lab;

/// The C library of Debian 12, the oldest that a bundle is for.
const C_LIBRARY: glibc::Version = (2, 36);

/// Runs everything and writes one document.
const SCRIPT: &str = include_str!("run.sh");

/// Whether bundles can be made on this machine.
const IS_SUITED: bool = cfg!(all(target_os = "linux", target_arch = "x86_64"));

/// What the bundle may weigh, in bytes: less than what can be carried.
const LARGEST: u64 = 64 << 20;

/// How the program is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As tests are.
    Dev,
    /// To be measured.
    Release,
}

/// Builds the program and lays the bundle out in `folder`, which is empty or not there.
///
/// # Errors
/// A folder that has something in it, a build that fails, a program that needs a newer C library
/// than [`C_LIBRARY`], a bundle that weighs too much.
pub(crate) fn lay_out(profile: Profile, folder: &Path) -> Result<(), String> {
    if !IS_SUITED {
        return Err("a bundle is made on Linux on x86-64".to_owned());
    }
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let empty = fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    if !empty {
        return Err(format!("`{}` is not empty", folder.display()));
    }
    let built = build(profile)?;
    fs::create_dir_all(folder).map_err(failed)?;
    let program = folder.join(PROGRAM.name());
    strip(&built, &program)?;
    glibc::check(&program, C_LIBRARY)?;
    let bytes = fs::metadata(&program).map_err(failed)?.len();
    write_script(&folder.join("run")).map_err(failed)?;
    if bytes > LARGEST {
        return Err(format!("the bundle weighs {bytes} B, over {LARGEST} B"));
    }
    eprintln!("    {}: {} KiB", folder.display(), bytes >> 10);
    Ok(())
}

/// Builds the program. Returns where it is.
fn build(profile: Profile) -> Result<PathBuf, String> {
    let mut build = cargo(["build", "--package", PROGRAM.package(), "--bin", PROGRAM.name()]);
    if profile == Profile::Release {
        build.arg("--release");
    }
    let messages = output(build.args(["--message-format", "json-render-diagnostics"]))?;
    executable(&String::from_utf8_lossy(&messages), PROGRAM.name())
}

/// Runs a bundle from an empty folder, with only the software driver on the loader's path, and
/// checks that the document is whole. On other machines than bundles are for, says that it does not.
///
/// # Errors
/// What is missing or failed.
pub(crate) fn test(steps: &mut Steps, scratch: &Path) -> Result<(), String> {
    if !IS_SUITED {
        eprintln!("\n==> skipped: bundles are for Linux on x86-64");
        return Ok(());
    }
    steps.run("bundle over the software driver", || run(&SoftwareDriver::lay_out()?, scratch))
}

fn run(driver: &SoftwareDriver, scratch: &Path) -> Result<(), String> {
    let bundle = scratch.join("bundle");
    let empty = scratch.join("empty");
    let _ = fs::remove_dir_all(scratch);
    fs::create_dir_all(&empty).map_err(|error| format!("{}: {error}", empty.display()))?;
    lay_out(Profile::Dev, &bundle)?;
    let mut run = Command::new(bundle.join("run"));
    run.args(["--quick", "all.json"]).current_dir(&empty).env_clear();
    // For the tools that the script uses; programs of the bundle are named by their path.
    run.env("PATH", "/usr/bin:/bin");
    // Of a card 1 GiB stays untouched, which is all that a device of the software driver has.
    run.env("VMEM_SIM_DRIVER_CAPACITY", "4GiB");
    // So that what takes two devices is not skipped.
    run.env("VMEM_SIM_DRIVER_DEVICES", "2");
    // What failed is told below, by part.
    let status = driver.before(&mut run).status();
    status.map_err(|error| format!("the script did not start: {error}"))?;
    let text = fs::read_to_string(empty.join("all.json")).map_err(|error| error.to_string())?;
    let left: Vec<PathBuf> = fs::read_dir(&empty)
        .map_err(|error| error.to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    if left.len() != 1 {
        return Err(format!("the run left more than its document: {left:?}"));
    }
    whole(&text)
}

/// Whether every part of a document is there, ran on a device, and passed.
fn whole(text: &str) -> Result<(), String> {
    let document: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let parts = document["parts"].as_array().ok_or("the document has no parts")?;
    for (schema, fewest) in [("vmem-matrix/1", 8), ("vmem-micro/1", 1), ("vmem-report/1", 5)] {
        let of = |part: &&serde_json::Value| part["document"]["schema"] == schema;
        let found = parts.iter().filter(of).count();
        if found < fewest {
            return Err(format!("{found} parts are {schema}, not {fewest}"));
        }
    }
    for part in parts {
        let (name, exit, document) = (&part["name"], &part["exit"], &part["document"]);
        if *exit != 0 {
            return Err(format!("part {name} ended with {exit}: {}", part["log"]));
        }
        let absent = document.get("device").is_some_and(serde_json::Value::is_null);
        if absent || document["skipped"].is_string() {
            return Err(format!("part {name} found no device"));
        }
        let cells = document["cells"].as_array().into_iter().flatten();
        for cell in cells.filter(|cell| cell["result"] == "skip") {
            if cell["check"].as_str().is_some_and(|check| check.starts_with("devices/")) {
                return Err(format!("part {name} skipped {}: {}", cell["check"], cell["reason"]));
            }
        }
    }
    Ok(())
}

/// A copy without what only debuggers read.
fn strip(from: &Path, to: &Path) -> Result<(), String> {
    let status = Command::new("strip").arg("-o").args([to, from]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`strip {}` ended with {status}", from.display())),
        Err(error) => Err(format!("`strip`, of the binutils, did not start: {error}")),
    }
}

#[cfg(unix)]
fn write_script(to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    fs::write(to, SCRIPT)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn write_script(to: &Path) -> std::io::Result<()> {
    fs::write(to, SCRIPT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(parts: &[(&str, &str, i32)]) -> String {
        let parts: Vec<_> = parts
            .iter()
            .map(|(name, schema, exit)| {
                serde_json::json!({
                    "name": name, "exit": exit, "log": "why", "document": { "schema": schema },
                })
            })
            .collect();
        serde_json::json!({ "parts": parts }).to_string()
    }

    #[test]
    fn a_document_is_whole_if_every_part_is_there_and_passed() {
        let mut parts = vec![("micro", "vmem-micro/1", 0)];
        parts.extend([("matrix", "vmem-matrix/1", 0); 8]);
        parts.extend([("bench", "vmem-report/1", 0); 5]);
        assert_eq!(whole(&document(&parts)), Ok(()));
        assert!(whole(&document(&parts[1..])).unwrap_err().contains("0 parts are vmem-micro/1"));
        let micro = r#""schema":"vmem-micro/1""#;
        let absent = document(&parts).replace(micro, &format!(r#""device":null,{micro}"#));
        assert!(whole(&absent).unwrap_err().contains("found no device"));
        let mut alone: serde_json::Value = serde_json::from_str(&document(&parts)).unwrap();
        let skipped = serde_json::json!([
            { "check": "devices/copies_between", "result": "skip", "reason": "one device" },
        ]);
        alone["parts"][1]["document"]["cells"] = skipped;
        assert!(
            whole(&alone.to_string()).unwrap_err().contains("skipped \"devices/copies_between\"")
        );
        parts[3].2 = 1;
        assert!(whole(&document(&parts)).unwrap_err().contains("ended with 1: \"why\""));
        assert!(whole("{").unwrap_err().contains("not JSON"));
    }

    /// The script beside a program that only pretends, in an empty folder. Both are links to files of
    /// this repository: a file that this process writes cannot be started while a thread of another
    /// test forks, as the child holds it open for writing until it has become a program of its own.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_script_joins_what_the_program_writes_and_tells_of_parts_that_fail() {
        use std::os::unix::fs::symlink;

        let folder = std::env::temp_dir().join(format!("vmem-bundle-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bundle");
        symlink(sources.join("run.sh"), folder.join("run")).unwrap();
        symlink(sources.join("pretend.sh"), folder.join(PROGRAM.name())).unwrap();
        let run = |args: &[&str]| {
            Command::new(folder.join("run")).args(args).current_dir(&folder).output().unwrap()
        };

        let output = run(&["--quick", "all.json"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = fs::read_to_string(folder.join("all.json")).unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let parts = document["parts"].as_array().unwrap();
        let failed: Vec<_> = parts.iter().filter(|part| part["exit"] != 0).collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0]["name"], "micro");
        assert_eq!(failed[0]["exit"], 3);
        assert_eq!(failed[0]["log"], "a \"quoted\" \\ end\n\ttab");
        assert!(failed[0]["document"].is_null());
        assert!(parts.iter().any(|part| part["document"]["schema"] == "s"));

        fs::write(folder.join("record"), "{\"cut").unwrap();
        let left = ["--quick", "--record", "record", "--left", "left.json"];
        run(&left);
        let all = fs::read_to_string(folder.join("record")).unwrap();
        let lines: Vec<_> = all.lines().collect();
        assert_eq!((lines[0], lines.len()), ("{\"cut", 1 + parts.len()));
        for line in &lines[1..] {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["schema"], "vmem-bundle/1");
            assert_eq!(line["parts"].as_array().unwrap().len(), 1);
        }
        // What passed is not run again, and what failed is.
        run(&left);
        let text = fs::read_to_string(folder.join("left.json")).unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["parts"].as_array().unwrap().len(), 1);
        assert_eq!(document["parts"][0]["name"], "micro");

        let bad: [&[&str]; 5] = [
            &[],
            &["--fast", "x.json"],
            &["a.json", "b.json"],
            &["no/such/x.json"],
            &["--left", "x.json"],
        ];
        for bad in bad {
            let output = run(bad);
            assert_eq!(output.status.code(), Some(2), "{bad:?}: {output:?}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let refused = lay_out(Profile::Dev, folder).unwrap_err();
        assert!(refused.contains("is not empty") || refused.contains("on Linux"), "{refused}");
    }
}
