//! Running a program, and folders to run it in. Tests of every program of commands share this file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use vmem_cli::{Backend, Console, OpenError, Progress, Stop};
use vmem_core::Device;
use vmem_sim::{SimConfig, SimDevice};

// The program that the tests beside this file are of.
use crate::{run, run_on};

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the program with these arguments.
pub(crate) fn ran(args: &[&str]) -> Outcome {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (progress, stop) = (Progress::Hidden, Stop::default());
    let console = Console { out: &mut out, err: &mut err, progress, stop };
    let code = run(["program"].iter().chain(args), console);
    Outcome { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

/// Refused, with a message that has all of these words.
#[track_caller]
pub(crate) fn assert_refused(args: &[&str], words: &[&str]) {
    let Outcome { code, out, err } = ran(args);
    assert_eq!(code, 2, "{args:?}: {err}");
    assert_eq!(out, "", "{args:?}");
    let first = err.lines().next().unwrap_or_default();
    assert!(first.starts_with("error: "), "{args:?}: {err}");
    for word in words {
        assert!(first.contains(word), "{args:?}: `{word}` is not in `{first}`");
    }
}

/// The document that the program wrote to standard output, with its exit code.
pub(crate) fn document(args: &[&str]) -> (u8, serde_json::Value) {
    let mut all = args.to_vec();
    all.extend(["--json", "-"]);
    let outcome = ran(&all);
    let document =
        serde_json::from_str(&outcome.out).unwrap_or_else(|error| panic!("{error} in {outcome:?}"));
    (outcome.code, document)
}

/// An empty folder that goes away with the value.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // Left by an earlier process of the same number.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A path in it, as an argument.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// A file in it with this text; its path as an argument.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The names of what is in it, in order.
    #[allow(dead_code, reason = "not every program's tests ask")]
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the program with the devices of a backend, on its first one unless the arguments name one.
pub(crate) fn ran_on(backend: Hardware, args: &[&str]) -> Outcome {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (progress, stop) = (Progress::Hidden, Stop::default());
    let console = Console { out: &mut out, err: &mut err, progress, stop };
    let device: &[&str] = if args.contains(&"--device") { &[] } else { &["--device", "card"] };
    let code = run_on(["program"].iter().chain(args).chain(device), console, Arc::new(backend));
    Outcome { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

/// The document that the program wrote with the devices of a backend, with its exit code.
pub(crate) fn document_on(backend: Hardware, args: &[&str]) -> (u8, serde_json::Value) {
    let outcome = ran_on(backend, &[args, &["--json", "-"]].concat());
    let document =
        serde_json::from_str(&outcome.out).unwrap_or_else(|error| panic!("{error} in {outcome:?}"));
    (outcome.code, document)
}

/// A backend whose device is a simulated one that stands for a card: what the program knows of cards
/// applies to it.
#[derive(Debug)]
pub(crate) struct Hardware(Result<Vec<Arc<SimDevice>>, &'static str>);

impl Hardware {
    pub(crate) fn new(config: SimConfig) -> Self {
        Self::of(SimDevice::with_config(config).unwrap())
    }

    pub(crate) fn of(device: Arc<SimDevice>) -> Self {
        Self(Ok(vec![device]))
    }

    /// Several cards, numbered from zero.
    #[allow(dead_code, reason = "not every program's tests ask")]
    pub(crate) fn cards(devices: Vec<Arc<SimDevice>>) -> Self {
        Self(Ok(devices))
    }

    pub(crate) fn absent(reason: &'static str) -> Self {
        Self(Err(reason))
    }
}

impl Backend for Hardware {
    fn name(&self) -> &'static str {
        "card"
    }

    fn open(&self, ordinal: u32) -> Result<Arc<dyn Device>, OpenError> {
        match &self.0 {
            Ok(devices) => match devices.get(usize::try_from(ordinal).unwrap()) {
                Some(device) => Ok(device.clone()),
                None => Err(OpenError::Absent(format!("there is no card {ordinal}"))),
            },
            Err(reason) => Err(OpenError::Absent((*reason).to_owned())),
        }
    }

    fn driver_calls(&self, ordinal: u32) -> Option<u64> {
        let devices = self.0.as_ref().ok()?;
        Some(devices.get(usize::try_from(ordinal).unwrap())?.calls().total())
    }
}
