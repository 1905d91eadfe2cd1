//! Initialisation, and what is known of devices.

use std::ffi::{c_char, c_int, c_uint};

use vmem_sim::{Parts, SimConfig};

use super::exports;
use crate::driver::Driver;
use crate::refusal::{Answer, Refusal};
use crate::types::Out;

exports! {
    /// Makes the devices that the configuration asks for.
    fn cuInit(driver, flags: c_uint) {
        if flags != 0 {
            return Err(Refusal::value(format!("flags {flags} are not 0")));
        }
        driver.initialise()
    }

    fn cuDriverGetVersion(driver, version: Out<c_int>) {
        let slot = version.slot()?;
        slot.put(driver.config()?.version);
        Ok(())
    }

    fn cuDeviceGetCount(driver, count: Out<c_int>) {
        let slot = count.slot()?;
        let devices = driver.session()?.gpus.len();
        slot.put(c_int::try_from(devices).unwrap_or(c_int::MAX));
        Ok(())
    }

    /// A device's handle is its number.
    fn cuDeviceGet(driver, device: Out<c_int>, ordinal: c_int) {
        let slot = device.slot()?;
        driver.session()?.ordinal(ordinal)?;
        slot.put(ordinal);
        Ok(())
    }

    fn cuDeviceGetName(driver, name: Out<c_char>, len: c_int, device: c_int) {
        let slot = name.slot()?;
        let len = usize::try_from(len).ok().filter(|&len| len > 0);
        let len = len.ok_or_else(|| Refusal::value("no room for a name"))?;
        let text = driver.session()?.facts(device)?.name.clone();
        slot.put_text(&text, len);
        Ok(())
    }

    /// The device's number and no more: another one in another process is not another device here.
    fn cuDeviceGetUuid(driver, uuid: Out<[u8; 16]>, device: c_int) {
        uuid_of(driver, &uuid, device)
    }

    fn cuDeviceGetUuid_v2(driver, uuid: Out<[u8; 16]>, device: c_int) {
        uuid_of(driver, &uuid, device)
    }

    fn cuDeviceTotalMem_v2(driver, bytes: Out<usize>, device: c_int) {
        let slot = bytes.slot()?;
        let total = driver.session()?.facts(device)?.total_memory;
        slot.put(usize::try_from(total).unwrap_or(usize::MAX));
        Ok(())
    }

    fn cuDeviceGetAttribute(driver, value: Out<c_int>, attribute: c_int, device: c_int) {
        let slot = value.slot()?;
        let session = driver.session()?;
        session.ordinal(device)?;
        slot.put(attribute_of(&session.config.device, attribute)?);
        Ok(())
    }
}

fn uuid_of(driver: &mut Driver, uuid: &Out<[u8; 16]>, device: c_int) -> Answer {
    let slot = uuid.slot()?;
    let ordinal = driver.session()?.ordinal(device)? as u128;
    slot.put(ordinal.to_be_bytes());
    Ok(())
}

/// Attributes are numbered from one; the newest header known here ends with this one.
const LAST_ATTRIBUTE: c_int = 145;

/// The value of a `CUdevice_attribute`; zero for what does not matter here.
fn attribute_of(config: &SimConfig, attribute: c_int) -> Result<c_int, Refusal> {
    let has = |part| c_int::from(config.parts.contains(part));
    Ok(match attribute {
        // Threads per block, warp size, multiprocessors: those of an A100.
        1 => 1024,
        10 => 32,
        16 => 108,
        // Mapped host memory, unified addressing, compute capability 8.0, stream priorities.
        19 | 41 | 78 => 1,
        75 => 8,
        76 => 0,
        83 => has(Parts::MANAGED),
        89 => has(Parts::CONCURRENT_MANAGED),
        102 => has(Parts::VIRTUAL_MEMORY),
        115 => has(Parts::ASYNC_POOL),
        // The host's nearest node, and whether its memory can be had as handles.
        134 => 0,
        141 | 145 => has(Parts::HOST_HANDLES),
        known if (1..=LAST_ATTRIBUTE).contains(&known) => 0,
        _ => return Err(Refusal::value(format!("attribute {attribute} is not known"))),
    })
}
