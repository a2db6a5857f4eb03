//! Bars, a group for each case, a bar for each contestant.

use super::canvas::{Anchor, Canvas, FAINT, GREY, HEADING, INK, NORMAL, SMALL, width};
use super::scale::Linear;
use super::style::{colour, legend, legend_lines, mark};
use crate::bench::contestant::Contestant;
use crate::bench::figure::figure;
use crate::bench::statistics::Summary;

/// A bar, or why there is none.
pub(super) type Cell = Result<Summary, String>;

/// What a chart of bars shows.
pub(super) struct Bars<'c> {
    pub(super) title: &'c str,
    /// What a bar's length means, with its unit.
    pub(super) axis: &'c str,
    pub(super) contestants: &'c [Contestant],
    /// A case's name, and a cell for each contestant.
    pub(super) groups: Vec<(String, Vec<Cell>)>,
}

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 20.0;
/// Height of a bar and its share of a group, and the space between groups.
const BAR: f64 = 11.0;
const PITCH: f64 = 14.0;
const GROUP_GAP: f64 = 14.0;
/// Room right of the longest bar for its figure.
const FIGURES: f64 = 60.0;
/// The longest name of a group in one line, characters.
const NAME: usize = 32;

impl Bars<'_> {
    pub(super) fn draw(&self) -> String {
        let pitch = self.contestants.iter().map(|_| PITCH).sum::<f64>();
        let plot = self.groups.iter().map(|_| pitch + GROUP_GAP).sum::<f64>();
        let (legend_lines, legend_height) = legend_lines(self.contestants, WIDTH - 2.0 * MARGIN);
        let top = MARGIN + 46.0 + legend_height;
        let height = top + plot + 56.0;
        let mut canvas = Canvas::new(WIDTH, height, self.title);
        canvas.heading((MARGIN, MARGIN + 8.0), self.title, HEADING);
        legend(&mut canvas, (MARGIN, MARGIN + 38.0), &legend_lines);
        let names = self.groups.iter().flat_map(|(name, _)| wrapped(name));
        let left = MARGIN + names.map(|line| width(&line, NORMAL)).fold(0.0, f64::max) + 10.0;
        let right = WIDTH - MARGIN - FIGURES;
        let largest = self.summaries().map(|summary| summary.upper).fold(0.0, f64::max);
        let scale = Linear::to(largest);
        let x = |value: f64| left + scale.share(value) * (right - left);
        for tick in &scale.ticks {
            canvas.line((x(*tick), top - 6.0), (x(*tick), top + plot), FAINT, 1.0);
            canvas.text(
                (x(*tick), top + plot + 12.0),
                &whole(*tick),
                SMALL,
                Anchor::Middle,
                GREY,
            );
        }
        canvas.text(
            (f64::midpoint(left, right), top + plot + 34.0),
            self.axis,
            NORMAL,
            Anchor::Middle,
            INK,
        );
        let mut y = top;
        for (name, cells) in &self.groups {
            let lines = wrapped(name);
            let mut name_y = y + pitch / 2.0 - 8.0 * (lines.iter().map(|_| 1.0).sum::<f64>() - 1.0);
            for line in lines {
                canvas.text((left - 10.0, name_y), &line, NORMAL, Anchor::End, INK);
                name_y += 16.0;
            }
            for (contestant, cell) in self.contestants.iter().zip(cells) {
                let middle = y + PITCH / 2.0;
                match cell {
                    Ok(summary) => {
                        let end = x(summary.median);
                        let says = format!(
                            "{name}, {contestant}: {} ({}–{})",
                            figure(summary.median),
                            figure(summary.lower),
                            figure(summary.upper)
                        );
                        canvas.bar(
                            (left, middle - BAR / 2.0),
                            (end - left, BAR),
                            colour(*contestant),
                            &says,
                        );
                        canvas.line((x(summary.lower), middle), (x(summary.upper), middle), INK, 1.2);
                        let after = x(summary.upper).max(end) + 5.0;
                        canvas.text((after, middle), &figure(summary.median), SMALL, Anchor::Start, INK);
                    }
                    Err(reason) => {
                        canvas.mark((left + 6.0, middle), mark(*contestant), colour(*contestant), reason);
                        canvas.text((left + 15.0, middle), reason, SMALL, Anchor::Start, GREY);
                    }
                }
                y += PITCH;
            }
            y += GROUP_GAP;
        }
        canvas.line((left, top - 6.0), (left, top + plot), INK, 1.2);
        canvas.svg()
    }

    fn summaries(&self) -> impl Iterator<Item = &Summary> {
        self.groups
            .iter()
            .flat_map(|(_, cells)| cells)
            .filter_map(|cell| cell.as_ref().ok())
    }
}

/// A number without the decimals that it does not need.
pub(super) fn whole(value: f64) -> String {
    let text = figure(value);
    match text.split_once('.') {
        Some((whole, decimals)) => match decimals.trim_end_matches('0') {
            "" => whole.to_owned(),
            rest => format!("{whole}.{rest}"),
        },
        None => text,
    }
}

/// A name in lines, broken at commas if it is long.
fn wrapped(name: &str) -> Vec<String> {
    if name.chars().count() <= NAME {
        return vec![name.to_owned()];
    }
    name.split_inclusive(", ")
        .map(|part| part.trim_end().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_have_no_decimals_to_spare() {
        assert_eq!(
            [0.0, 0.5, 2.5, 10.0, 2000.0].map(whole),
            ["0", "0.5", "2.5", "10", "2,000"]
        );
    }

    #[test]
    fn long_names_are_broken() {
        assert_eq!(wrapped("same network"), ["same network"]);
        assert_eq!(
            wrapped("outside to a published port, every packet a new flow"),
            ["outside to a published port,", "every packet a new flow"]
        );
    }
}
