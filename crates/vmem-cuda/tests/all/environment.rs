//! The software driver as its environment says, seen from a process of its own.

use vmem_cuda::CudaDevice;

use crate::support::wants_control;

/// The environment is read by the driver itself, so a process of its own looks at it.
fn opening_under(variable: &str, value: &str) -> String {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "environment::what_opening_comes_to", "--ignored", "--nocapture"]);
    let output = command.env(variable, value).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
#[ignore = "run by the tests below in a process of its own"]
#[expect(clippy::print_stderr, reason = "another process reads it")]
fn what_opening_comes_to() {
    match CudaDevice::open(0) {
        Ok(device) => eprintln!("opened {:?}", device.absences()),
        Err(error) => eprintln!("error: {error}"),
    }
}

#[test]
fn what_the_environment_says_of_the_driver_holds_or_is_an_error_that_names_it() {
    if !wants_control() {
        return;
    }
    for (variable, value, expected) in [
        ("VMEM_SIM_DRIVER_DEVICES", "0", "error: the driver sees no CUDA device"),
        ("VMEM_SIM_DRIVER_DEVICES", "many", "VMEM_SIM_DRIVER_DEVICES=many; accepted: a whole"),
        ("VMEM_SIM_DRIVER_DEVICE", "1", "VMEM_SIM_DRIVER_DEVICE is no variable of this driver"),
        ("VMEM_SIM_DRIVER_DEVICE", "1", "error: cuInit answered 999"),
        ("VMEM_SIM_DRIVER_FAIL", "1 9999 cuInit", "error: cuInit answered 9999"),
        ("VMEM_SIM_DRIVER_FAIL", "1 35 cuDeviceGetCount", "error: cuDeviceGetCount answered 35"),
        ("VMEM_SIM_DRIVER_VIRTUAL_MEMORY", "off", "opened [Absence { part: \"virtual memory\""),
        ("VMEM_SIM_DRIVER_VERSION", "11.0", "error: the driver supports CUDA 11.0"),
        ("VMEM_SIM_DRIVER_SEED", "7", "opened []"),
    ] {
        let said = opening_under(variable, value);
        assert!(said.contains(expected), "{variable}={value}: {said}");
    }
}
