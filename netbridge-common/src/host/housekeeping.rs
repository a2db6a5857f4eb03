//! What the programs do that run for the controller and on no packet.

use bytemuck::Zeroable;

use crate::abi::{FlowKey, FlowV4};
use crate::datapath::{binding, flows, fragments};

use super::view::View;
use super::{Frame, HostEnv, Ip};

impl HostEnv {
    /// Removes what has expired, fragments that wait included; how many halves of flows that were.
    pub fn reap(&self) -> u32 {
        let frame = Frame::default();
        let view = View {
            tables: self,
            frame: &frame,
        };
        binding::reap(&view, self.config.quarantine, self.now);
        fragments::reap(&view, &self.config, self.now);
        flows::reap(&view, &self.config, self.now)
    }

    /// Ends half a flow; false if there is none.
    pub fn end(&self, key: &FlowKey<Ip>) -> bool {
        let (frame, mut half) = (Frame::default(), FlowV4::zeroed());
        let view = View {
            tables: self,
            frame: &frame,
        };
        flows::end(&view, key, &mut half, self.now)
    }
}
