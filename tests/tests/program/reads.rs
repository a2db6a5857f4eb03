//! Tables that are read in more than one go.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use bytemuck::Zeroable as _;
use netbridge_common::abi::{FlowKey, FlowV4, proto};
use netbridge_common::host::lab::lab;

use netbridge_tests::fuzz::bed::with_kernel;

/// Several times what one call reads.
const FLOWS: u16 = 20_000;

#[test]
fn every_flow_of_a_large_table_is_read_once() -> Result<()> {
    with_kernel(32_768, |kernel| {
        let env = lab();
        for number in 0..FLOWS {
            let key = FlowKey {
                src: [10, 88, 0, 2],
                dst: [192, 0, 2, 9],
                sport: number.to_be_bytes(),
                dport: [0, 53],
                zone: [1, 0],
                proto: proto::UDP,
                icmp: 0,
            };
            let mut flow = FlowV4::zeroed();
            flow.head.epoch = u32::from(number);
            env.flows.borrow_mut().insert(key, flow);
        }
        kernel.install(&env)?;
        let read = kernel.datapath().tables().flows()?;
        ensure!(read.len() == usize::from(FLOWS), "{} of {FLOWS}", read.len());
        let read: HashMap<_, _> = read.into_iter().map(|(key, flow)| (key, flow.head.epoch)).collect();
        ensure!(read.len() == usize::from(FLOWS), "some are there twice");
        ensure!(
            read.iter()
                .all(|(key, epoch)| *epoch == u32::from(u16::from_be_bytes(key.sport))),
            "values are not those of their keys"
        );
        Ok(())
    })
}
