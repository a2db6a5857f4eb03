//! How contestants look: colours of Okabe and Ito, which people see apart whatever their colour vision, and a mark each.

use super::canvas::{Anchor, Canvas, INK, Mark, NORMAL, Point, width};
use crate::bench::contestant::Contestant;

/// The colour of a contestant, the same in every chart.
pub(super) const fn colour(contestant: Contestant) -> &'static str {
    match contestant {
        Contestant::Loopback => "#999999",
        Contestant::RawPair => "#000000",
        Contestant::Bridge => "#56b4e9",
        Contestant::IptablesNft => "#e69f00",
        Contestant::IptablesLegacy => "#cc79a7",
        Contestant::Ipset => "#d55e00",
        Contestant::Nftables => "#0072b2",
        Contestant::Netbridge => "#009e73",
    }
}

/// The mark of a contestant.
pub(super) const fn mark(contestant: Contestant) -> Mark {
    match contestant {
        Contestant::Loopback => Mark::Plus,
        Contestant::RawPair => Mark::Cross,
        Contestant::Bridge => Mark::Square,
        Contestant::IptablesNft => Mark::Up,
        Contestant::IptablesLegacy => Mark::Down,
        Contestant::Ipset => Mark::Left,
        Contestant::Nftables => Mark::Diamond,
        Contestant::Netbridge => Mark::Circle,
    }
}

/// Space between two entries of a legend, and between its lines.
const GAP: f64 = 15.0;
const LINE: f64 = 20.0;
/// From an entry's mark to its name.
const INDENT: f64 = 14.0;

/// Draws a legend of these lines.
pub(super) fn legend(canvas: &mut Canvas, (left, top): Point, lines: &[Vec<Contestant>]) {
    let mut y = top;
    for line in lines {
        let mut x = left;
        for contestant in line {
            let name = contestant.label();
            canvas.mark((x + 5.0, y), mark(*contestant), colour(*contestant), name);
            canvas.text((x + INDENT, y), name, NORMAL, Anchor::Start, INK);
            x += takes(*contestant);
        }
        y += LINE;
    }
}

/// The lines of a legend that is `across` wide, and their height.
pub(super) fn legend_lines(contestants: &[Contestant], across: f64) -> (Vec<Vec<Contestant>>, f64) {
    let mut lines: Vec<Vec<Contestant>> = Vec::new();
    let mut left = 0.0;
    for contestant in contestants {
        match lines.last_mut() {
            Some(line) if takes(*contestant) - GAP <= left => line.push(*contestant),
            _ => {
                lines.push(vec![*contestant]);
                left = across;
            }
        }
        left -= takes(*contestant);
    }
    let height = lines.iter().map(|_| LINE).sum();
    (lines, height)
}

/// How wide an entry is, the space after it included.
fn takes(contestant: Contestant) -> f64 {
    INDENT + width(contestant.label(), NORMAL) + GAP
}
