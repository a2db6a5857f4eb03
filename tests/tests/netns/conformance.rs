//! x

use anyhow::Result;
use netbridge_tests::conformance;

#[test]
fn rows() -> Result<()> {
    let only = std::env::var("ROWS").unwrap_or_default();
    let both = conformance::run(|id| id.starts_with(&only))?;
    for ((id, nf), (_, nb)) in both.netfilter.outcomes.iter().zip(&both.netbridge.outcomes) {
        println!("{id:5} nf {} {}\n      nb {} {}", if nf.met {"+"} else {"-"}, nf.observed, if nb.met {"+"} else {"-"}, nb.observed);
    }
    for (nf, nb) in both.netfilter.cells.iter().zip(&both.netbridge.cells) {
        if nf != nb { println!("{:?} {} {}: nf {} nb {}", nf.side, nf.state, nf.segment, nf.forwarded, nb.forwarded); }
    }
    Ok(())
}
