//! Instructions of a pair, which depend on no other work on the machine.
//!
//! The program runs itself under valgrind's callgrind, once for a few passes of an overlay and once
//! for more: the difference is what the passes between take. From each memory's is taken that of a
//! resource that does nothing, which is the bench's own.

use std::process::{Command, Stdio};

use vmem_runtime::Tier;
use vmem_trace::Workload;

use crate::rounds::Effort;
use crate::subject::{Labels, Memory, Traced, generate};
use crate::table::{Bound, Table, Unit};

/// What an argument starts with that asks for passes of an overlay and nothing else.
const ASKED: &str = "--passes=";
const FEW: u64 = 2;
const MANY: u64 = 6;

type Subject = (&'static str, fn() -> Memory);

const NOTHING: Subject = ("nothing", || Memory::nothing(1));
const POOL: Subject = ("pool", || Memory::pool(1));
const TIER_A: Subject = ("tier A", || Memory::tier(Tier::A, 1));
const TIER_B: Subject = ("tier B", || Memory::tier(Tier::B, 1));

/// Runs the passes that the program was asked for by [`passes`]; false if it was asked for none.
pub(crate) fn ran_passes() -> bool {
    let Some(asked) =
        std::env::args().find_map(|argument| Some(argument.strip_prefix(ASKED)?.to_owned()))
    else {
        return false;
    };
    let [name, labels, passes] = asked.split(',').collect::<Vec<_>>()[..] else {
        panic!("{ASKED}{asked}");
    };
    let subjects = [NOTHING, POOL, TIER_A, TIER_B];
    let (_, memory) = subjects.iter().find(|(known, _)| *known == name).expect("it is known");
    let labels = if labels == "kept" { Labels::Kept } else { Labels::Dropped };
    let passes: u64 = passes.parse().expect("it is a number");
    let trace = generate(Workload::Overlay);
    let mut memory = memory();
    let mut traced = Traced::new(&trace, labels);
    (0..passes * trace.allocations()).for_each(|_| traced.step(&mut memory));
    traced.end(&mut memory);
    true
}

pub(crate) fn of_a_pair(effort: &Effort, table: &mut Table) {
    if effort.is_trial() {
        return;
    }
    let rows = [
        ("instructions of a pair, pool, overlay (128 live)", POOL, NOTHING, "dropped", 750.0),
        ("the same that tier A adds to the pool", TIER_A, POOL, "dropped", 100.0),
        ("the same that tier B adds, with its 703 labels", TIER_B, POOL, "kept", 150.0),
    ];
    for (what, subject, beside, labels, most) in rows {
        match pair(subject, labels).and_then(|of| Ok(of - pair(beside, labels)?)) {
            Ok(figure) => table.exact(what, figure, Unit::Count, Bound::AtMost(most)),
            Err(why) => table.unmeasured(what, why),
        }
    }
}

/// The instructions of a pair, the bench's own among them.
fn pair((name, _): Subject, labels: &str) -> Result<f64, &'static str> {
    let few = passes(name, labels, FEW)?;
    let many = passes(name, labels, MANY)?;
    let pairs = (MANY - FEW) * generate(Workload::Overlay).allocations();
    Ok((many - few) / pairs as f64)
}

/// The instructions of a run of this program with so many passes.
fn passes(name: &str, labels: &str, passes: u64) -> Result<f64, &'static str> {
    let program = std::env::current_exe().map_err(|_| "the program does not know its own path")?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(program).arg(format!("{ASKED}{name},{labels},{passes}"));
    let ran = valgrind.stdin(Stdio::null()).output().map_err(|_| "valgrind is missing")?;
    let said = String::from_utf8_lossy(&ran.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    collected.and_then(|(_, count)| count.trim().parse().ok()).ok_or("valgrind counted nothing")
}
