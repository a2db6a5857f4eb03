//! One thing to measure, by every contestant.

use anyhow::Result;

use super::series::Sample;
use super::world::{Able, World};

/// One thing to measure. The runner calls, for each contestant: [`prepare`](Self::prepare) once,
/// [`measure`](Self::measure) once per round in turn with the others, [`finish`](Self::finish) once.
pub trait Case {
    /// `WORKLOAD/NAME[/VARIANT]` of lower-case words, digits and `-`, unique: `forwarding/l2/rules-100`.
    fn id(&self) -> String;
    /// What a report calls it.
    fn title(&self) -> String;
    /// Makes a contestant ready; it stays so until [`finish`](Self::finish).
    fn prepare(&self, world: &mut dyn World) -> Result<Able>;
    /// One round.
    fn measure(&self, world: &mut dyn World) -> Result<Sample>;
    /// Undoes what [`prepare`](Self::prepare) did. Called also if that or a round failed.
    fn finish(&self, world: &mut dyn World) -> Result<()>;
    /// Rounds that are worth their time, at most, the first that warms up not counted.
    fn rounds(&self) -> usize {
        usize::MAX
    }
    /// Seconds that a round takes, averaged over all contestants, of whom those that cannot take none: for the time left.
    fn seconds(&self) -> f64;
}
