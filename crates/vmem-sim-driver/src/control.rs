//! The one function that NVIDIA's driver does not have: orders and questions, in text.
//!
//! A command is one line of words; an answer is text, empty where there is nothing to say.
//! `model.md` lists the commands.

use std::ffi::{CStr, c_char, c_int};
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::config::PREFIX;
use crate::driver::{Driver, lock};
use crate::script::Rule;

/// Takes a command and writes the answer, ended by a zero and cut to `out_len` bytes, to `out`.
///
/// Returns 0 if it was done, 1 if it was refused (the answer says why), 2 if the answer was cut.
/// Nothing that has an answer changes anything, so that it can be asked again with more room.
///
/// # Safety
/// `command` is a string that ends with zero, `out` has room for `out_len` bytes; both may be null,
/// which is refused or has no room.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "in the style of the functions around it")]
unsafe extern "C" fn vmemSimDriverControl(
    command: *const c_char,
    out: *mut c_char,
    out_len: usize,
) -> c_int {
    let answered = catch_unwind(AssertUnwindSafe(|| {
        if command.is_null() {
            return Err("the command is null".to_owned());
        }
        // SAFETY: the caller passes a string that ends with zero; it was checked not to be null.
        let command = unsafe { CStr::from_ptr(command) };
        let command = command.to_str().map_err(|_| "the command is not UTF-8".to_owned())?;
        obey(&mut lock(), command)
    }));
    let (done, text) = match answered {
        Ok(Ok(text)) => (0, text),
        Ok(Err(why)) => (1, why),
        Err(_) => (1, "the driver panicked".to_owned()),
    };
    if out.is_null() || out_len == 0 {
        return if text.is_empty() { done } else { done.max(2) };
    }
    let len = text.len().min(out_len - 1);
    // SAFETY: the caller gives room for `out_len` bytes, more than `len`.
    unsafe { out.copy_from_nonoverlapping(text.as_ptr().cast(), len) };
    let end = out.wrapping_add(len);
    // SAFETY: as above.
    unsafe { end.write(0) };
    if done == 0 && len < text.len() { 2 } else { done }
}

/// The function's name as a symbol.
#[cfg(test)]
pub(crate) const NAME: &str = "vmemSimDriverControl";

fn obey(driver: &mut Driver, command: &str) -> Result<String, String> {
    let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
    match verb {
        "fail" => {
            driver.script.add(Rule::parse(rest)?);
            Ok(String::new())
        }
        "then" => {
            driver.script.add_next(Rule::parse(rest)?);
            Ok(String::new())
        }
        "clear" if rest.is_empty() => {
            driver.script.clear();
            Ok(String::new())
        }
        "lose" => lose(driver, rest),
        "reset" => {
            driver.reset(settings(rest)?)?;
            Ok(String::new())
        }
        "fired" if rest.is_empty() => {
            Ok(driver.script.fired().last().copied().unwrap_or_default().to_owned())
        }
        "failed" if rest.is_empty() => Ok(driver.script.fired().join("\n")),
        "since" if rest.is_empty() => Ok(driver.script.since().join("\n")),
        "refused" if rest.is_empty() => Ok(driver.refused.clone().unwrap_or_default()),
        "calls" if rest.is_empty() => Ok(calls(driver)),
        "leaks" if rest.is_empty() => Ok(leaks(driver)),
        "contexts" if rest.is_empty() => Ok(contexts(driver)),
        "violations" if rest.is_empty() => Ok(violations(driver)),
        "time" if rest.is_empty() => Ok(time(driver).to_string()),
        "functions" if rest.is_empty() => Ok(functions()),
        _ => Err(format!(
            "`{command}` is no command; there are fail NTH CODE [FUNCTION], then NTH CODE \
             [FUNCTION], clear, lose DEVICE, reset [SETTING=VALUE …], fired, failed, since, refused, calls, \
             leaks, contexts, violations, time, functions"
        )),
    }
}

fn lose(driver: &mut Driver, device: &str) -> Result<String, String> {
    let number = device.parse().map_err(|_| format!("`{device}` is no device's number"))?;
    let session = driver.session().map_err(|refusal| refusal.why)?;
    let ordinal = session.ordinal(number).map_err(|refusal| refusal.why)?;
    session.gpus[ordinal].sim.lose();
    Ok(String::new())
}

/// Settings as the environment's variables have them, with or without the prefix.
fn settings(text: &str) -> Result<Vec<(String, String)>, String> {
    // A failure's text has spaces of its own: it writes them as commas.
    let pairs = text.split_whitespace().map(|pair| {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| format!("`{pair}` is not SETTING=VALUE"))?;
        let key = key.strip_prefix(PREFIX).unwrap_or(key);
        Ok((key.to_owned(), value.replace(',', " ")))
    });
    pairs.collect()
}

/// `FUNCTION COUNT` on a line each, by name.
fn calls(driver: &Driver) -> String {
    let lines = driver.script.calls().iter().map(|(name, count)| format!("{name} {count}\n"));
    lines.collect()
}

/// What is outstanding, a line for each device that has something.
fn leaks(driver: &Driver) -> String {
    let mut text = String::new();
    let Some(session) = driver.any_session() else {
        return text;
    };
    for (ordinal, gpu) in session.gpus.iter().enumerate() {
        for leaks in gpu.all().map(|sim| sim.leaks()).filter(|leaks| !leaks.is_empty()) {
            let _ = writeln!(text, "device {ordinal}: {leaks}");
        }
        let pools = session.pools.values().filter(|pool| pool.ordinal == ordinal).count();
        if pools > 0 {
            let _ = writeln!(text, "device {ordinal}: outstanding: {pools} memory pools");
        }
    }
    if !session.graphs.is_empty() {
        let _ = writeln!(text, "outstanding: {} graphs", session.graphs.len());
    }
    text
}

/// `DEVICE REFERENCES` for each device whose primary context is retained.
fn contexts(driver: &Driver) -> String {
    let Some(session) = driver.any_session() else {
        return String::new();
    };
    let counts = (0..session.gpus.len()).map(|ordinal| (ordinal, session.retained(ordinal)));
    let held = counts.filter(|&(_, count)| count > 0);
    held.map(|(ordinal, count)| format!("{ordinal} {count}\n")).collect()
}

/// Runs everything queued, then lists the rules that were broken, a line each.
fn violations(driver: &Driver) -> String {
    let mut text = String::new();
    for (ordinal, gpu) in driver.any_session().iter().flat_map(|s| s.gpus.iter().enumerate()) {
        for sim in gpu.all() {
            sim.settle();
            for violation in sim.violations() {
                let _ = writeln!(text, "device {ordinal}: {violation}");
            }
        }
    }
    text
}

/// The furthest host clock, in nanoseconds of virtual time.
fn time(driver: &Driver) -> u128 {
    let gpus = driver.any_session().map(|session| session.gpus.iter());
    let clocks = gpus.into_iter().flatten().flat_map(|gpu| gpu.all());
    clocks.map(|sim| sim.virtual_time().as_nanos()).max().unwrap_or(0)
}

fn functions() -> String {
    let mut names: Vec<&str> = crate::api::all().map(|export| export.name).collect();
    names.sort_unstable();
    names.join("\n")
}
