//! Named faults that are planted in a copy of a rule, one at a time, and that a test must notice: those
//! of the pool's protocols that no careless device can fake.

use std::path::PathBuf;
use std::{fs, io};

use crate::cargo::{cargo, root, succeed};
use crate::metadata::Metadata;
use crate::steps::Steps;

/// One fault.
struct Mutant {
    /// What the code does then.
    name: &'static str,
    file: &'static str,
    /// The rule, which stands there once.
    from: &'static str,
    /// What is there instead.
    to: &'static str,
    test: Test,
}

/// The test that fails then.
enum Test {
    /// Of a package: its further arguments.
    Plain(&'static [&'static str]),
    /// A model of `vmem-pool`.
    Loom(&'static str),
}

const MUTANTS: [Mutant; 7] = [
    Mutant {
        name: "free neighbours of two streams join",
        file: "crates/vmem-pool/src/space/range.rs",
        from: "(Self::Free(a), Self::Free(b)) if a.lane == b.lane =>",
        to: "(Self::Free(a), Self::Free(b)) =>",
        test: Test::Plain(&["--lib", "space::"]),
    },
    Mutant {
        name: "memory comes home before the work on it has completed",
        file: "crates/vmem-pool/src/streams/home.rs",
        from: ".is_some_and(|t| lanes.is_complete(t))",
        to: ".is_some()",
        test: Test::Plain(&["--test", "all", "home::"]),
    },
    Mutant {
        name: "what came home behind a wait is free for all",
        file: "crates/vmem-pool/src/streams/home.rs",
        from: "true => self.lanes.table.open_tag(home),",
        to: "true => Tag { lane: home, epoch: 0 },",
        test: Test::Plain(&["--test", "all", "home::"]),
    },
    Mutant {
        name: "memory moves from under live blocks",
        file: "crates/vmem-pool/src/supply/memory.rs",
        from: "|home| space.ranges.is_free(home, allowed)",
        to: "|home| true || space.ranges.is_free(home, allowed)",
        test: Test::Plain(&["--test", "all", "moves::"]),
    },
    Mutant {
        name: "addresses are unmapped before their last use has completed",
        file: "crates/vmem-pool/src/supply/memory.rs",
        from: ".dormant().is_some_and(&is_complete)",
        to: ".dormant().is_some_and(|_| true)",
        test: Test::Plain(&["--test", "all", "careless::moves_as_they_are"]),
    },
    Mutant {
        name: "waits that others asked of a stream are not looked for at a hit",
        file: "crates/vmem-pool/src/streams/state.rs",
        from: "if request.stream.has_pending_waits() {",
        to: "if false && request.stream.has_pending_waits() {",
        test: Test::Loom("a_thread_waits_for_what_others_asked"),
    },
    Mutant {
        name: "what is freed while it moves is free at once",
        file: "crates/vmem-pool/src/supply/resting.rs",
        from: "if let Some(freed) = self.aliases.moving.get_mut(&block.start)",
        to: "if false && let Some(freed) = self.aliases.moving.get_mut(&block.start)",
        test: Test::Loom("a_block_freed_while_it_goes_to_the_host"),
    },
];

/// Plants every fault in turn and runs its test, which must fail. Each file is as before afterwards.
///
/// # Errors
/// A fault that no test noticed, or that has no place any more.
pub(crate) fn test(steps: &mut Steps) -> Result<(), String> {
    let workspace = Metadata::of_workspace()?;
    for mutant in &MUTANTS {
        steps.run(mutant.name, || {
            let planted = Planted::new(mutant)?;
            let test = match mutant.test {
                Test::Plain(args) => succeed(cargo(["test", "--package", "vmem-pool"]).args(args)),
                Test::Loom(name) => succeed(
                    cargo(["test", "--release", "--package", "vmem-pool", "--test", "loom", name])
                        .env("RUSTFLAGS", "--cfg loom")
                        .env("CARGO_TARGET_DIR", workspace.target_directory.join("loom")),
                ),
            };
            drop(planted);
            match test {
                Err(_) => Ok(()),
                Ok(()) => Err("no test noticed it".to_owned()),
            }
        })?;
    }
    Ok(())
}

/// A fault in its file, until it is dropped.
struct Planted {
    path: PathBuf,
    before: String,
}

impl Planted {
    fn new(mutant: &Mutant) -> Result<Self, String> {
        let path = root().join(mutant.file);
        let cannot = |error: io::Error| format!("{}: {error}", path.display());
        let before = fs::read_to_string(&path).map_err(cannot)?;
        if before.matches(mutant.from).count() != 1 {
            return Err(format!("{} does not have its rule once", mutant.file));
        }
        fs::write(&path, before.replace(mutant.from, mutant.to)).map_err(cannot)?;
        Ok(Self { path, before })
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        if let Err(error) = fs::write(&self.path, &self.before) {
            eprintln!("{} still has a fault in it: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_place() {
        for mutant in &MUTANTS {
            let text = fs::read_to_string(root().join(mutant.file)).unwrap();
            assert_eq!(text.matches(mutant.from).count(), 1, "{}", mutant.name);
        }
    }
}
