//! The packages that go to the registry: made and verified by cargo, then looked into.

use std::borrow::Cow;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::cargo::{cargo, output, root, succeed};
use crate::metadata::{Metadata, Package};

/// The files that a package holds besides its sources.
const REQUIRED: &[&str] = &["LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// What stands at a package's top.
const EXPECTED: &[&str] = &[
    ".cargo_vcs_info.json",
    "Cargo.lock",
    "Cargo.toml",
    "Cargo.toml.orig",
    "build.rs",
    "data",
    "examples",
    "include",
    "proptest-regressions",
    "src",
    "tests",
];

/// What the addresses in packages start with: pages that were seen to exist. A page of ours on
/// `docs.rs` or `crates.io` exists once the package is published.
const ADDRESSES: &[&str] = &[
    "https://crates.io/crates/cudarc",
    "https://crates.io/crates/cust",
    "https://crates.io/crates/offset-allocator",
    // The names of formats begin so.
    "http://www.w3.org/",
    "https://docs.nvidia.com/cuda/",
    "https://docs.rs/cudarc",
    "https://docs.rs/cust",
    "https://doc.rust-lang.org/",
];

/// Packages that were made, and unpacked again.
#[derive(Debug)]
pub(crate) struct Packages {
    /// Where cargo put them and built them; a build of something else that uses the same versions finds
    /// them built there.
    pub(crate) target: PathBuf,
    unpacked: Vec<Unpacked>,
}

/// One package.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// Its name.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) folder: PathBuf,
    /// The packages that it depends on.
    needs: Vec<String>,
}

impl Packages {
    /// Packages every member that is published, and has cargo build each from nothing but its package,
    /// those of the others and the registry's.
    ///
    /// # Errors
    /// Cargo's.
    pub(crate) fn make(workspace: &Metadata) -> Result<Self, String> {
        let published: Vec<&Package> =
            workspace.members().filter(|member| member.is_published()).collect();
        let target = workspace.target_directory.join("packages");
        // Everything is on this machine from here on: what is packaged and built needs no network, and
        // takes the versions of `Cargo.lock`.
        succeed(cargo(["fetch", "--locked", "--target"]).arg(host()?))?;
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(env::home_dir()?.join(".cargo"))).unwrap_or_default();
        for member in &published {
            forget(&member.name, &member.version, &home, &target)?;
        }
        let mut package = cargo(["package", "--offline", "--allow-dirty", "--target-dir"]);
        package.arg(&target);
        for member in &published {
            package.args(["--package", &member.name]);
        }
        succeed(&mut package)?;
        let unpacked = published.iter().map(|member| {
            let needs = member.dependencies.iter().filter(|one| one.kind.is_none());
            Unpacked {
                name: member.name.clone(),
                folder: target.join("package").join(format!("{}-{}", member.name, member.version)),
                needs: needs.map(|one| one.name.clone()).collect(),
            }
        });
        Ok(Self { unpacked: unpacked.collect(), target })
    }

    /// The packages of these names and all that they need, those of other people's aside.
    pub(crate) fn behind<'a>(
        &'a self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Vec<&'a Unpacked> {
        let mut found: Vec<&Unpacked> = Vec::new();
        let mut open: Vec<&str> = names.into_iter().collect();
        while let Some(name) = open.pop() {
            if found.iter().any(|one| one.name == name) {
                continue;
            }
            if let Some(package) = self.unpacked.iter().find(|one| one.name == name) {
                found.push(package);
                open.extend(package.needs.iter().map(String::as_str));
            }
        }
        found
    }

    /// Looks into every package.
    ///
    /// # Errors
    /// What is missing, is too much or leads nowhere, one a line.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut found = Vec::new();
        for Unpacked { name, folder, .. } in &self.unpacked {
            let mut files = Vec::new();
            collect(folder, folder, &mut files)?;
            let texts = files.iter().map(|file| {
                let text = fs::read(folder.join(file));
                let text = text.map_err(|error| format!("{name}: {}: {error}", file.display()))?;
                Ok((file.clone(), String::from_utf8_lossy(&text).into_owned()))
            });
            let texts = texts.collect::<Result<Vec<_>, String>>()?;
            let of_ours = |package: &str| self.unpacked.iter().any(|own| own.name == package);
            found.extend(
                breaches(&texts, of_ours).into_iter().map(|line| format!("{name}: {line}")),
            );
            for licence in REQUIRED.iter().filter(|file| file.starts_with("LICENSE")) {
                if fs::read(folder.join(licence)).ok() != fs::read(root().join(licence)).ok() {
                    found.push(format!("{name}: {licence} is not the repository's"));
                }
            }
        }
        if found.is_empty() { Ok(()) } else { Err(found.join("\n  ")) }
    }
}

/// Removes the traces of an earlier run. Cargo takes a package of a registry for unchangeable, also
/// one of the registry that it makes of the packages in hand, and would go on with the sources that
/// it unpacked, and with what it built of them, though they have changed since.
fn forget(name: &str, version: &str, home: &Path, target: &Path) -> Result<(), String> {
    let sources = home.join("registry").join("src");
    // A registry in a folder has no host, with which the names of others begin.
    let in_folders = entries(&sources).filter(|entry| name_of(entry).starts_with('-'));
    let unpacked = in_folders.map(|registry| registry.join(format!("{name}-{version}")));
    let built = entries(&target.join("debug").join(".fingerprint"));
    let built = built.filter(|entry| name_of(entry).starts_with(&format!("{name}-")));
    for folder in unpacked.filter(|folder| folder.exists()).chain(built) {
        fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    Ok(())
}

/// What is in a folder, if it is there.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

fn name_of(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// The platform that programs are built for.
fn host() -> Result<String, String> {
    let version = output(&mut cargo(["--version", "--verbose"]))?;
    let version = String::from_utf8_lossy(&version);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "cargo does not say what its host is".to_owned())
}

/// The files below `folder`, relative to `top`.
fn collect(top: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            collect(top, &path, files)?;
        } else {
            files.push(path.strip_prefix(top).unwrap_or(&path).to_owned());
        }
    }
    Ok(())
}

/// What is wrong with a package of these files; `is_ours` knows the names of the other packages.
fn breaches(files: &[(PathBuf, String)], is_ours: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for required in REQUIRED {
        if !files.iter().any(|(file, _)| file == Path::new(required)) {
            found.push(format!("{required} is missing"));
        }
    }
    for (file, text) in files {
        let top = file.iter().next().unwrap_or_default().to_string_lossy();
        let name = file.display();
        if !EXPECTED.iter().chain(REQUIRED).any(|expected| *expected == top) {
            found.push(format!("{name} has no business in it"));
        }
        // Licences name addresses of their own; the lock file names the registry.
        if REQUIRED.contains(&&*top) && *top != *"README.md" || top == "Cargo.lock" {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            let dead = addresses(line).filter(|address| !is_known(address, &is_ours));
            found.extend(
                dead.map(|address| format!("{name}:{number}: `{address}` is not known to exist")),
            );
        }
        if file == Path::new("README.md") {
            let inside = |link: &str| files.iter().any(|(file, _)| file.starts_with(link));
            let dead = links(text).filter(|link| !inside(link));
            found.extend(dead.map(|link| format!("README.md: `{link}` is not in the package")));
        }
    }
    found
}

/// The addresses in a line.
fn addresses(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("http").filter_map(|(at, _)| {
        let address = &line[at..];
        let ends = |c: char| c.is_whitespace() || ")>]\"'`,;".contains(c);
        let address = &address[..address.find(ends).unwrap_or(address.len())];
        address.contains("://").then(|| address.trim_end_matches('.'))
    })
}

fn is_known(address: &str, is_ours: impl Fn(&str) -> bool) -> bool {
    let of_ours = ["https://docs.rs/", "https://crates.io/crates/"]
        .iter()
        .filter_map(|site| address.strip_prefix(site))
        .any(|page| is_ours(page.split(['/', '#']).next().unwrap_or_default()));
    of_ours || ADDRESSES.iter().any(|known| address.starts_with(known))
}

/// The links of a page that lead to files.
fn links(page: &str) -> impl Iterator<Item = &str> {
    page.match_indices("](").filter_map(|(at, _)| {
        let link = &page[at + 2..];
        let link = &link[..link.find([')', '#']).unwrap_or(link.len())];
        (!link.is_empty() && !link.contains("://")).then_some(link)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(more: &[(&str, &str)]) -> Vec<(PathBuf, String)> {
        let whole = [("LICENSE-APACHE", ""), ("LICENSE-MIT", ""), ("README.md", "# A crate")];
        let all = whole.iter().chain(more);
        all.map(|(file, text)| (PathBuf::from(file), (*text).to_owned())).collect()
    }

    impl Packages {
        /// Packages of these names that need those.
        pub(crate) fn unpacked(folder: &str, packages: &[(&str, &[&str])]) -> Self {
            let unpacked = packages.iter().map(|(name, needs)| Unpacked {
                name: (*name).to_owned(),
                folder: Path::new(folder).join(name),
                needs: needs.iter().map(|&need| need.to_owned()).collect(),
            });
            Self { target: PathBuf::new(), unpacked: unpacked.collect() }
        }
    }

    #[test]
    fn behind_a_package_is_all_that_it_needs_once() {
        let all: &[(&str, &[&str])] =
            &[("a", &["b", "c"]), ("b", &["c", "serde"]), ("c", &[]), ("d", &["a"])];
        let packages = Packages::unpacked("", all);
        let mut names: Vec<_> =
            packages.behind(["a", "cust"]).iter().map(|one| &one.name).collect();
        names.sort();
        assert_eq!(names, ["a", "b", "c"]);
    }

    fn breaches_of(files: &[(PathBuf, String)]) -> Vec<String> {
        breaches(files, |name| name == "vmem-core")
    }

    #[test]
    fn a_package_has_a_readme_and_both_licences() {
        assert_eq!(breaches_of(&files(&[("src/lib.rs", "")])), Vec::<String>::new());
        assert_eq!(breaches_of(&files(&[])[1..]), ["LICENSE-APACHE is missing"],);
    }

    #[test]
    fn what_cargo_kept_of_earlier_packages_is_removed_and_nothing_else() {
        let scratch = env::temp_dir().join(format!("xtask-forget-{}", std::process::id()));
        let (home, target) = (scratch.join("home"), scratch.join("target"));
        let stale = [
            home.join("registry/src/-1fe2/vmem-core-1.0.0"),
            target.join("debug/.fingerprint/vmem-core-7d8f"),
        ];
        let others = [
            home.join("registry/src/-1fe2/vmem-pool-1.0.0"),
            home.join("registry/src/index.crates.io-1949/vmem-core-1.0.0"),
            target.join("debug/.fingerprint/libc-7d8f"),
        ];
        for folder in stale.iter().chain(&others) {
            fs::create_dir_all(folder).unwrap();
        }
        forget("vmem-core", "1.0.0", &home, &target).unwrap();
        let left = |folders: &[PathBuf]| folders.iter().filter(|one| one.exists()).count();
        assert_eq!((left(&stale), left(&others)), (0, others.len()));
        fs::remove_dir_all(&scratch).unwrap();
    }

    #[test]
    fn what_nobody_expects_in_a_package_is_named() {
        let found = breaches_of(&files(&[("shared/trace.csv", ""), ("link/lib64/.gitkeep", "")]));
        assert_eq!(
            found,
            ["shared/trace.csv has no business in it", "link/lib64/.gitkeep has no business in it"]
        );
    }

    #[test]
    fn addresses_are_known_ones_or_pages_of_the_packages() {
        let text = "//! See https://docs.rs/vmem-core/latest, <https://docs.rs/cust>.\n\
                    //! Not [this](https://github.com/vmem/vmem) or https://docs.rs/vmem.\n";
        let found = breaches_of(&files(&[("src/lib.rs", text)]));
        assert_eq!(
            found,
            [
                "src/lib.rs:2: `https://github.com/vmem/vmem` is not known to exist",
                "src/lib.rs:2: `https://docs.rs/vmem` is not known to exist"
            ]
        );
    }

    #[test]
    fn links_of_a_readme_stay_in_the_package() {
        let mut files = files(&[("src/model.md", "")]);
        files[2].1 =
            "[model](src/model.md) [guide](../../docs/stacks.md#order) [top](#a)".to_owned();
        assert_eq!(
            breaches_of(&files),
            ["README.md: `../../docs/stacks.md` is not in the package"]
        );
    }
}
