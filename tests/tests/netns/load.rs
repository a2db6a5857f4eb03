//! Many connections, full tables, a flood, and a count of every packet: short runs of what `cargo xtask load` does.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use netbridge_tests::load::{count, flood, full, hold};

/// What plays the ends of connections.
const PROGRAM: &str = env!("CARGO_BIN_EXE_netbridge-load");

#[test]
fn connections_through_snat_are_held_with_data_both_ways() -> Result<()> {
    let held = hold::run(Path::new(PROGRAM), 2_000, Duration::from_secs(2))?;
    println!("{held:?}");
    Ok(())
}

#[test]
fn a_full_table_refuses_new_connections_and_keeps_the_old() -> Result<()> {
    full::table()
}

#[test]
fn a_container_at_its_quota_is_refused_and_no_other() -> Result<()> {
    full::quota()
}

#[test]
fn without_a_port_left_nobody_hangs() -> Result<()> {
    full::ports()
}

#[test]
fn a_flood_of_one_container_leaves_another_its_connections() -> Result<()> {
    let flooded = flood::run(Duration::from_secs(3))?;
    println!("{flooded:?}");
    Ok(())
}

#[test]
fn every_packet_is_received_or_counted() -> Result<()> {
    let counted = count::run(100_000)?;
    println!("{counted:?}");
    Ok(())
}
