//! The lists of steps behind `test` and `ci`.

use crate::cargo::{cargo, succeed};
use crate::metadata::{Metadata, Package};
use crate::steps::Steps;
use crate::{browser, bundle, consumers, driver, licences, public, python, tidy, viewer};

/// Everything that a change must pass, cheapest first.
///
/// # Errors
/// The first step that failed, and why.
pub(crate) fn ci(steps: &mut Steps) -> Result<(), String> {
    steps.run("format", || succeed(&mut cargo(["fmt", "--all", "--check"])))?;
    let workspace = Metadata::of_workspace()?;
    steps.run("tidy", || tidy::check(&workspace))?;
    steps.run("licences", || licences::check(&Metadata::of_graph()?))?;
    steps.run("lints", || {
        let args = ["clippy", "--workspace", "--all-targets", "--all-features"];
        succeed(cargo(args).args(["--", "-D", "warnings"]))
    })?;
    test_workspace(steps, &workspace)?;
    steps.run("documentation", || {
        let args = ["doc", "--no-deps", "--workspace", "--all-features"];
        succeed(cargo(args).env("RUSTDOCFLAGS", "-D warnings"))
    })
}

/// The house rules that no lint knows.
///
/// # Errors
/// Every breach, one a line.
pub(crate) fn tidy(steps: &mut Steps) -> Result<(), String> {
    steps.run("tidy", || tidy::check(&Metadata::of_workspace()?))
}

/// The list of what is public, on standard output.
///
/// # Errors
/// The first crate that failed, and why.
pub(crate) fn public(steps: &mut Steps) -> Result<(), String> {
    steps.run("public items", || public::print(&Metadata::of_workspace()?))
}

/// The packages, and programs outside the repository that are built from them.
///
/// # Errors
/// The first step that failed, and why.
pub(crate) fn package(steps: &mut Steps) -> Result<(), String> {
    consumers::test(steps, &Metadata::of_workspace()?)
}

/// The Python package: its wheel, and its tests over the software driver.
///
/// # Errors
/// The first step that failed, and why.
pub(crate) fn python(steps: &mut Steps) -> Result<(), String> {
    python::test(steps, &Metadata::of_workspace()?)
}

/// Tests, documentation examples, loom models, every feature of every crate, the CUDA crate over the
/// software driver, the Python package, packages and programs that use them.
///
/// # Errors
/// The first step that failed, and why.
pub(crate) fn test(steps: &mut Steps) -> Result<(), String> {
    test_workspace(steps, &Metadata::of_workspace()?)
}

fn test_workspace(steps: &mut Steps, workspace: &Metadata) -> Result<(), String> {
    features(steps, workspace)?;
    without_strictness(steps)?;
    loom(steps, workspace)?;
    driver::test(steps, workspace)?;
    python::test(steps, workspace)?;
    consumers::test(steps, workspace)?;
    bundle::test(steps, &workspace.target_directory.join("bundle-test"))?;
    // Those of the CUDA crate ran over the software driver.
    let others = ["--workspace", "--exclude", driver::CRATE];
    steps.run("documentation examples", || succeed(cargo(["test", "--doc"]).args(others)))?;
    let browser = browser::browser(steps)?;
    let viewer = viewer::file(steps, workspace)?;
    // Last, so that what cargo says of the tests stands at the end.
    steps.run("tests, with features", || {
        let mut test = cargo(["test", "--workspace", "--all-targets", "--features"]);
        test.arg(tested_features(workspace));
        test.envs(browser.iter().map(|browser| (browser::VARIABLE, browser)));
        test.envs(viewer.iter().map(|file| (viewer::VARIABLE, file)));
        succeed(&mut test)
    })
}

/// Every crate without features, with each alone and with all; each crate alone, so that no other crate
/// of the workspace switches its features on.
fn features(steps: &mut Steps, workspace: &Metadata) -> Result<(), String> {
    for package in workspace.members().filter(|member| !member.features.is_empty()) {
        let all: Vec<_> = package.features.keys().map(String::as_str).collect();
        steps.run(format!("{} without and with {}", package.name, all.join(", ")), || {
            let check = ["check", "--package", &package.name, "--no-default-features"];
            let mut none = cargo(check);
            if package.name == driver::CUDARC_CRATE {
                // Without its feature nobody has chosen cudarc's version of CUDA but the environment.
                none.env("CUDARC_CUDA_VERSION", "13000");
            }
            succeed(&mut none)?;
            for feature in all.iter().filter(|feature| **feature != "default") {
                succeed(cargo(check).args(["--features", feature]))?;
            }
            if all.len() > 1 && package.name != driver::CUDARC_CRATE {
                succeed(cargo(check).arg("--all-features"))
            } else {
                Ok(())
            }
        })?;
    }
    Ok(())
}

/// The features that tests run with: all but the one that links a driver, as `package/feature`.
fn tested_features(workspace: &Metadata) -> String {
    let of = |package: &Package| -> Vec<String> {
        let features = package.features.keys().filter(|feature| *feature != driver::LINKING);
        features.map(|feature| format!("{}/{feature}", package.name)).collect()
    };
    workspace.members().flat_map(of).collect::<Vec<_>>().join(",")
}

/// What rests on the simulated device alone, on one that refuses nothing that CUDA does not: code
/// that relies on such a refusal is found.
fn without_strictness(steps: &mut Steps) -> Result<(), String> {
    let crates: [&[&str]; 2] = [
        &["--package", "vmem-core", "--package", "vmem-testkit", "--test", "all"],
        &["--package", "vmem-pool", "--test", "all", "conformance"],
    ];
    crates.into_iter().try_for_each(|arguments| {
        steps.run(format!("without strictness: {}", arguments.join(" ")), || {
            succeed(cargo(["test"]).args(arguments).env("VMEM_SIM_STRICTNESS", "none"))
        })
    })
}

/// The models of every crate with a test target `loom`. Others depend on loom only so that their locks
/// are its in those models.
///
/// Built apart, because the flag recompiles the whole graph.
fn loom(steps: &mut Steps, workspace: &Metadata) -> Result<(), String> {
    let flags = match std::env::var("RUSTFLAGS") {
        Ok(own) if !own.is_empty() => format!("{own} --cfg loom"),
        _ => "--cfg loom".to_owned(),
    };
    let folder = workspace.target_directory.join("loom");
    for package in workspace.members().filter(|own| own.has_target("test", "loom")) {
        steps.run(format!("{} under loom", package.name), || {
            succeed(
                cargo(["test", "--release", "--package", &package.name])
                    .args(["--test", "loom"])
                    .env("RUSTFLAGS", &flags)
                    .env("CARGO_TARGET_DIR", &folder),
            )
        })?;
    }
    Ok(())
}
