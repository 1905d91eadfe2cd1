//! Settings from the environment and what they come to on a device.

use vmem_runtime::{
    ConfigError, ConfigErrorKind, DeviceTraits, Limits, PoolLimit, RuntimeConfig, Size, Tier,
    choose,
};

const GIB: u64 = 1 << 30;

fn one(variable: &str, value: &str) -> Result<RuntimeConfig, ConfigError> {
    RuntimeConfig::from_vars("VMEM", [(format!("VMEM_{variable}"), value)])
}

/// The error of a variable, checked to name it and what is accepted.
fn refused(variable: &str, value: &str) -> ConfigErrorKind {
    let error = one(variable, value).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.variable(), format!("VMEM_{variable}"));
    assert!(text.contains(error.variable()) && text.contains("accepted: "), "{text}");
    error.kind()
}

fn limits(
    pool_limit: PoolLimit,
    memory_reserve: Option<Size>,
    total: u64,
) -> Result<Limits, ConfigError> {
    RuntimeConfig::default()
        .with_pool_limit(pool_limit)
        .with_memory_reserve(memory_reserve)
        .limits(total)
}

#[test]
fn switches_are_case_blind() {
    for value in ["1", "true", "YES", "On", " on "] {
        assert!(one("OOM_SAFETY", value).unwrap().oom_safety, "{value}");
        assert!(one("MANAGED_MEMORY", value).unwrap().managed_memory, "{value}");
    }
    for value in ["0", "False", "no", "OFF"] {
        assert!(!one("OOM_SAFETY", value).unwrap().oom_safety, "{value}");
        assert!(!one("MANAGED_MEMORY", value).unwrap().managed_memory, "{value}");
    }
}

#[test]
fn a_switch_that_is_neither_on_nor_off_is_refused() {
    for value in ["", "2", "-1", "enable", "y", "on off"] {
        assert_eq!(refused("OOM_SAFETY", value), ConfigErrorKind::InvalidValue, "{value}");
        assert_eq!(refused("MANAGED_MEMORY", value), ConfigErrorKind::InvalidValue, "{value}");
    }
}

#[test]
fn the_limit_is_read_in_units_and_percent() {
    let limit = |value| one("POOL_LIMIT", value).unwrap().pool_limit;
    assert_eq!(limit("0"), PoolLimit::Unlimited);
    assert_eq!(limit("256"), PoolLimit::AtMost(Size::Bytes(256)));
    assert_eq!(limit("16GiB"), PoolLimit::AtMost(Size::Bytes(16 * GIB)));
    assert_eq!(limit("16g"), PoolLimit::AtMost(Size::Bytes(16 * GIB)));
    assert_eq!(limit("512M"), PoolLimit::AtMost(Size::Bytes(512 << 20)));
    assert_eq!(limit("80%"), PoolLimit::AtMost(Size::Percent(80)));
    let none: [(&str, &str); 0] = [];
    let unset = RuntimeConfig::from_vars("VMEM", none).unwrap();
    assert_eq!(unset.pool_limit, PoolLimit::TotalLessReserve);
}

#[test]
fn a_limit_that_is_negative_under_256_or_not_a_number_is_refused() {
    for value in ["-1", "1", "255", "", "lots", "1.5G", "101%", "0x100", "99999999999999999999"] {
        assert_eq!(refused("POOL_LIMIT", value), ConfigErrorKind::InvalidValue, "{value}");
    }
}

#[test]
fn a_negative_reserve_or_initial_size_is_refused() {
    for value in ["-1", "-1GiB", "", "half", "200%"] {
        assert_eq!(refused("MEMORY_RESERVE_BYTES", value), ConfigErrorKind::InvalidValue);
        assert_eq!(refused("INITIAL_POOL_SIZE", value), ConfigErrorKind::InvalidValue);
    }
}

#[test]
fn a_variable_that_is_nearly_a_known_one_is_refused_with_the_one_that_was_meant() {
    for (variable, meant) in [
        ("POOL_LIMITS", "POOL_LIMIT"),
        ("pool_limit", "POOL_LIMIT"),
        ("POOLLIMIT", "POOL_LIMIT"),
        ("POOL_LIMTI", "POOL_LIMIT"),
        ("LIMIT", "POOL_LIMIT"),
        ("GPU_OOM_SAFETY", "OOM_SAFETY"),
        ("OOM_SAFTEY", "OOM_SAFETY"),
        ("MEMORY_RESERVE", "MEMORY_RESERVE_BYTES"),
        ("MANAGED-MEMORY", "MANAGED_MEMORY"),
        ("INITIAL_SIZE", "INITIAL_POOL_SIZE"),
    ] {
        assert_eq!(refused(variable, "1"), ConfigErrorKind::UnknownVariable, "{variable}");
        let text = one(variable, "1").unwrap_err().to_string();
        assert!(text.contains(&format!("did you mean VMEM_{meant}?")), "{text}");
        assert!(text.contains("VMEM_POOL_LIMIT") && text.contains("VMEM_OOM_SAFETY"), "{text}");
    }
}

#[test]
fn variables_of_others_under_the_prefix_are_left_to_them() {
    for foreign in [
        "SIM_DRIVER_CAPACITY",
        "SIM_DRIVER_MANAGED_MEMORY",
        "SIM_DRIVER_POOL_LIMIT",
        "LOG",
        "HOME",
        "TRACE_FILE",
        "POOL_THREADS",
        "",
    ] {
        assert_eq!(one(foreign, "anything"), Ok(RuntimeConfig::default()), "{foreign}");
    }
}

#[test]
fn other_prefixes_are_other_programs() {
    let vars = [
        ("VIBESPATIAL_GPU_MANAGED_MEMORY", "on"),
        ("VMEM_NONSENSE", "1"),
        ("VIBESPATIAL_GPUS", "4"),
        ("VIBESPATIAL_OOM_SAFETY", "maybe"),
    ];
    let config = RuntimeConfig::from_vars("VIBESPATIAL_GPU", vars).unwrap();
    assert!(config.managed_memory);
    assert!(!config.oom_safety);
    let error = RuntimeConfig::from_vars("VIBESPATIAL_GPU", [("VIBESPATIAL_GPU_POOL_LIMIT", "7")]);
    assert_eq!(error.unwrap_err().variable(), "VIBESPATIAL_GPU_POOL_LIMIT");
}

#[test]
fn the_default_reserve_is_the_larger_of_a_gibibyte_and_a_tenth_but_at_most_half_the_device() {
    let reserve = |total| limits(PoolLimit::Unlimited, None, total).unwrap().reserve;
    assert_eq!(reserve(24 * GIB), 24 * GIB / 10);
    assert_eq!(reserve(8 * GIB), GIB);
    assert_eq!(reserve(2 * GIB), GIB);
    assert_eq!(reserve(GIB), GIB / 2);
    assert_eq!(reserve(GIB / 2), GIB / 4);
    let huge = limits(PoolLimit::Unlimited, Some(Size::Bytes(u64::MAX)), GIB).unwrap();
    assert_eq!(huge.reserve, GIB);
}

#[test]
fn the_default_configuration_leaves_something_of_any_device() {
    for total in (8..64).flat_map(|power| [1_u64 << power, (1 << power) + 255, u64::MAX]) {
        let limits = RuntimeConfig::default().limits(total).unwrap();
        let ceiling = limits.ceiling.unwrap();
        assert!(ceiling >= (total / 2).min(256) && ceiling <= total, "{total}: {limits}");
        assert!(ceiling + 256 > total - limits.reserve, "{total}: {limits}");
    }
}

#[test]
fn the_default_ceiling_is_what_the_reserve_leaves_rounded_down_to_256() {
    let ceiling = |reserve, total| {
        limits(PoolLimit::TotalLessReserve, Some(Size::Bytes(reserve)), total).unwrap().ceiling
    };
    assert_eq!(ceiling(0, 1000), Some(768));
    assert_eq!(ceiling(100, 1000), Some(768));
    assert_eq!(ceiling(GIB, 8 * GIB), Some(7 * GIB));
    assert_eq!(ceiling(744, 1000), Some(256));
}

#[test]
fn a_reserve_that_leaves_nothing_is_an_error() {
    for (reserve, total) in [
        (Some(Size::Bytes(745)), 1000),
        (Some(Size::Percent(100)), 24 * GIB),
        (Some(Size::Bytes(u64::MAX)), GIB),
        (None, 255),
    ] {
        let error = limits(PoolLimit::TotalLessReserve, reserve, total).unwrap_err();
        assert_eq!(error.kind(), ConfigErrorKind::NothingLeft);
        assert_eq!(error.variable(), "VMEM_MEMORY_RESERVE_BYTES");
    }
}

#[test]
fn a_set_limit_is_rounded_down_to_256_and_does_not_look_at_the_reserve() {
    let ceiling = |limit, total| {
        limits(PoolLimit::AtMost(limit), Some(Size::Percent(100)), total).map(|l| l.ceiling)
    };
    assert_eq!(ceiling(Size::Bytes(1000), GIB), Ok(Some(768)));
    assert_eq!(ceiling(Size::Percent(50), 1000), Ok(Some(256)));
    assert_eq!(ceiling(Size::Percent(80), 10 * GIB), Ok(Some(8 * GIB)));
    let too_low = ceiling(Size::Percent(25), 1000).unwrap_err();
    assert_eq!(too_low.variable(), "VMEM_POOL_LIMIT");
    assert_eq!(ceiling(Size::Bytes(255), GIB).unwrap_err().kind(), ConfigErrorKind::InvalidValue);
    let over = ceiling(Size::Percent(101), GIB).unwrap_err();
    assert!(over.to_string().contains("0% to 100%"), "{over}");
}

/// RMM 19, 25.
#[test]
fn an_initial_size_above_the_maximum_is_an_error_and_at_it_is_not() {
    let pair = |limit: &str, initial: &str| {
        let vars = [("VMEM_POOL_LIMIT", limit), ("VMEM_INITIAL_POOL_SIZE", initial)];
        RuntimeConfig::from_vars("VMEM", vars)
    };
    assert_eq!(pair("1G", "1025M").unwrap_err().kind(), ConfigErrorKind::InitialAboveLimit);
    assert_eq!(pair("300", "512").unwrap_err().variable(), "VMEM_INITIAL_POOL_SIZE");
    let equal = pair("1G", "1G").unwrap();
    assert_eq!(equal.limits(4 * GIB).unwrap().initial, GIB);
    let rounded = pair("1000", "1000").unwrap().limits(GIB).unwrap();
    assert_eq!((rounded.ceiling, rounded.initial), (Some(768), 768));
    // Only the device tells.
    let relative = pair("50%", "3G").unwrap();
    assert!(relative.limits(8 * GIB).is_ok());
    let error = relative.limits(4 * GIB).unwrap_err();
    assert_eq!(error.kind(), ConfigErrorKind::InitialAboveLimit);
}

#[test]
fn a_configuration_prints_as_variables_that_give_it() {
    let config = RuntimeConfig::default()
        .with_prefix("VIBESPATIAL_GPU")
        .with_oom_safety(true)
        .with_pool_limit(PoolLimit::AtMost(Size::Percent(80)))
        .with_initial_pool_size(Size::Bytes(512 << 20))
        .with_memory_reserve(Size::Bytes(2 * GIB))
        .with_spill(Size::Percent(25))
        .with_host_reserve(Size::Bytes(GIB))
        .with_host_limit(Size::Percent(50));
    let text = config.to_string();
    let vars = text.split_whitespace().filter_map(|word| word.split_once('='));
    assert_eq!(RuntimeConfig::from_vars("VIBESPATIAL_GPU", vars).unwrap(), config, "{text}");
    let unset = RuntimeConfig::default().to_string();
    assert!(unset.contains("(VMEM_POOL_LIMIT unset)"), "{unset}");
}

#[cfg(feature = "serde")]
#[test]
fn a_configuration_survives_serialisation() {
    let config = RuntimeConfig::default().with_oom_safety(true);
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<RuntimeConfig>(&text).unwrap(), config);
    assert!(serde_json::from_str::<RuntimeConfig>(r#"{"oom_safty": true}"#).is_err());
}

#[test]
fn what_may_spill_is_bytes_or_a_part_of_the_host_and_asks_for_recovery() {
    let spill = |value| one("SPILL", value).unwrap().spill;
    assert_eq!(spill("64GiB"), Size::Bytes(64 * GIB));
    assert_eq!(spill("50%"), Size::Percent(50));
    for value in ["0", "0%"] {
        let config = one("SPILL", value).unwrap();
        assert_eq!(config.limits(GIB).unwrap().spill, 0);
        assert_eq!(choose(&config, DeviceTraits::default()), Tier::A);
    }
    let some = one("SPILL", "3M").unwrap();
    assert_eq!(some.limits(GIB).unwrap().spill, 3 << 20);
    assert_eq!(choose(&some, DeviceTraits::default()), Tier::B);
    for value in ["", "-1", "on", "half", "101%", "1.5G"] {
        assert_eq!(refused("SPILL", value), ConfigErrorKind::InvalidValue, "{value}");
    }
    let text = one("SPILL", "lots").unwrap_err().to_string();
    assert!(text.contains("percentage of the host's memory"), "{text}");
    let over = RuntimeConfig::default().with_spill(Size::Percent(101)).limits(GIB);
    assert_eq!(over.unwrap_err().variable(), "VMEM_SPILL");
}

#[test]
fn the_hosts_reserve_and_limit_are_read_and_what_is_above_the_limit_is_refused_in_words() {
    let limits = |config: &RuntimeConfig| {
        let limits = config.limits(GIB).unwrap();
        (limits.spill, limits.host_reserve, limits.host_limit)
    };
    assert_eq!(limits(&RuntimeConfig::default()), (0, 0, None));
    // What may spill is the limit, unless there is another.
    assert_eq!(limits(&one("SPILL", "3G").unwrap()), (3 * GIB, 0, Some(3 * GIB)));
    assert_eq!(limits(&one("HOST_RESERVE", "2G").unwrap()), (0, 2 * GIB, None));
    assert_eq!(limits(&one("HOST_LIMIT", "2G").unwrap()), (0, 0, Some(2 * GIB)));
    assert_eq!(limits(&one("HOST_LIMIT", "0").unwrap()), (0, 0, None));
    // Neither asks for recovery.
    for variable in ["HOST_RESERVE", "HOST_LIMIT"] {
        let config = one(variable, "2G").unwrap();
        assert_eq!(choose(&config, DeviceTraits::default()), Tier::A);
        for value in ["", "-1", "on", "101%", "1.5G"] {
            assert_eq!(refused(variable, value), ConfigErrorKind::InvalidValue, "{value}");
        }
        assert_eq!(refused(&format!("{variable}S"), "1G"), ConfigErrorKind::UnknownVariable);
    }
    let given = |vars: &[(&str, &str)]| {
        let vars = vars.iter().map(|(name, value)| (format!("VMEM_{name}"), *value));
        RuntimeConfig::from_vars("VMEM", vars)
    };
    let all = given(&[("SPILL", "2G"), ("HOST_RESERVE", "3G"), ("HOST_LIMIT", "4G")]).unwrap();
    assert_eq!(limits(&all), (2 * GIB, 3 * GIB, Some(4 * GIB)));
    for (vars, wrong) in [
        (&[("SPILL", "2G"), ("HOST_RESERVE", "3G")][..], "VMEM_HOST_RESERVE of 3GiB"),
        (&[("HOST_LIMIT", "2G"), ("HOST_RESERVE", "3G")], "VMEM_HOST_RESERVE of 3GiB"),
        (&[("HOST_LIMIT", "2G"), ("SPILL", "3G")], "VMEM_SPILL of 3GiB"),
    ] {
        let error = given(vars).unwrap_err();
        assert_eq!(error.kind(), ConfigErrorKind::AboveHostLimit);
        let text = format!("{wrong} is above the limit of the host's memory; accepted: at most ");
        assert!(error.to_string().starts_with(&text), "{error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_part_of_the_host_is_of_the_memory_that_it_has() {
    let all = RuntimeConfig::default().with_spill(Size::Percent(100)).limits(GIB).unwrap().spill;
    let tenth = RuntimeConfig::default().with_spill(Size::Percent(10)).limits(GIB).unwrap().spill;
    assert!(all > 0 && tenth == all / 10, "{tenth} of {all}");
}
