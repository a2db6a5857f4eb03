//! Lines, a panel for each subject, a line for each contestant.

use super::bars::whole;
use super::canvas::{Anchor, Canvas, FAINT, GREY, HEADING, INK, NORMAL, Point, SMALL, width};
use super::scale::Logarithmic;
use super::style::{colour, legend, legend_lines, mark};
use crate::bench::contestant::Contestant;
use crate::bench::figure::figure;

/// What a chart of lines shows.
pub(super) struct Lines<'c> {
    pub(super) title: &'c str,
    /// What the height means, with its unit; its steps are factors.
    pub(super) height: &'c str,
    /// What the places from left to right mean.
    pub(super) breadth: &'c str,
    /// Those places.
    pub(super) places: Vec<Place>,
    pub(super) panels: Vec<Panel>,
}

/// A place from left to right.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    /// How far along; where the first is and how long a unit is, is the chart's matter.
    pub(super) at: f64,
    pub(super) name: String,
}

/// One subject.
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) lines: Vec<Line>,
    /// What has no line, or no more of it, and why.
    pub(super) notes: Vec<String>,
}

/// One contestant, a figure for each place where it has one.
pub(super) struct Line {
    pub(super) contestant: Contestant,
    pub(super) figures: Vec<Option<f64>>,
}

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 20.0;
/// A panel's plot, and what lies around it.
const PLOT: f64 = 210.0;
const LEFT: f64 = 64.0;
const ABOVE: f64 = 30.0;
const BELOW: f64 = 46.0;
const NOTE: f64 = 15.0;
const BETWEEN: f64 = 26.0;

impl Lines<'_> {
    pub(super) fn draw(&self) -> String {
        let columns = if self.panels.len() > 1 { 2 } else { 1 };
        let rows: Vec<&[Panel]> = self.panels.chunks(columns).collect();
        let across = if columns == 1 {
            WIDTH - 2.0 * MARGIN
        } else {
            (WIDTH - 2.0 * MARGIN - BETWEEN) / 2.0
        };
        let of_all = self.notes_of_all();
        let foot = note_lines(&of_all, WIDTH - 2.0 * MARGIN);
        let own = |panel: &Panel| {
            let notes = panel.notes.iter().map(String::as_str);
            let own: Vec<&str> = notes.filter(|note| !of_all.contains(note)).collect();
            note_lines(&own, across - LEFT)
        };
        let row_height = |row: &[Panel]| {
            let notes = row.iter().map(|panel| tall(&own(panel))).fold(0.0, f64::max);
            ABOVE + PLOT + BELOW + notes + BETWEEN
        };
        let (legend_lines, legend_height) = legend_lines(&self.contestants(), WIDTH - 2.0 * MARGIN);
        let top = MARGIN + 40.0 + legend_height;
        let bottom = top + rows.iter().map(|row| row_height(row)).sum::<f64>();
        let mut canvas = Canvas::new(WIDTH, bottom + tall(&foot) + MARGIN / 2.0, self.title);
        canvas.heading((MARGIN, MARGIN + 8.0), self.title, HEADING);
        legend(&mut canvas, (MARGIN, MARGIN + 38.0), &legend_lines);
        let figures = self
            .panels
            .iter()
            .flat_map(|panel| &panel.lines)
            .flat_map(|line| &line.figures);
        let Some(scale) = Logarithmic::over(figures.flatten().copied()) else {
            return canvas.svg();
        };
        let mut y = top;
        for row in rows {
            let mut x = MARGIN;
            for panel in row {
                self.panel(&mut canvas, panel, &scale, (x, y), across);
                write_notes(&mut canvas, (x + LEFT, y + ABOVE + PLOT + BELOW + 6.0), &own(panel));
                x += across + BETWEEN;
            }
            y += row_height(row);
        }
        write_notes(&mut canvas, (MARGIN, bottom), &foot);
        canvas.svg()
    }

    /// Those that have a line anywhere.
    fn contestants(&self) -> Vec<Contestant> {
        let lines = || self.panels.iter().flat_map(|panel| &panel.lines);
        let drawn = |who: &Contestant| lines().any(|line| line.contestant == *who);
        Contestant::ALL.into_iter().filter(drawn).collect()
    }

    /// The notes that every panel has: they are written once.
    fn notes_of_all(&self) -> Vec<&str> {
        let first = self.panels.first().map_or(&[][..], |panel| &panel.notes);
        let of_all = first
            .iter()
            .filter(|note| self.panels.iter().all(|panel| panel.notes.contains(note)));
        of_all.map(String::as_str).collect()
    }

    fn panel(&self, canvas: &mut Canvas, panel: &Panel, scale: &Logarithmic, (x, y): Point, across: f64) {
        canvas.heading((x, y + 8.0), &panel.title, NORMAL + 1.0);
        let (left, right) = (x + LEFT, x + across - 16.0);
        let (top, bottom) = (y + ABOVE, y + ABOVE + PLOT);
        let ends = self.places.first().zip(self.places.last());
        let (first, length) = ends.map_or((0.0, 0.0), |(first, last)| (first.at, last.at - first.at));
        let share = |place: &Place| if length > 0.0 { (place.at - first) / length } else { 0.0 };
        let at = |place: &Place| left + 14.0 + share(place) * (right - left - 28.0);
        let level = |value: f64| bottom - scale.share(value) * PLOT;
        for tick in &scale.ticks {
            canvas.line((left, level(*tick)), (right, level(*tick)), FAINT, 1.0);
            canvas.text((left - 7.0, level(*tick)), &whole(*tick), SMALL, Anchor::End, GREY);
        }
        for place in &self.places {
            canvas.line((at(place), bottom), (at(place), bottom + 4.0), GREY, 1.0);
            canvas.text((at(place), bottom + 13.0), &place.name, SMALL, Anchor::Middle, GREY);
        }
        canvas.line((left, top), (left, bottom), INK, 1.2);
        canvas.line((left, bottom), (right, bottom), INK, 1.2);
        canvas.upright((x + 8.0, f64::midpoint(top, bottom)), self.height, SMALL, INK);
        canvas.text(
            (f64::midpoint(left, right), bottom + 32.0),
            self.breadth,
            SMALL,
            Anchor::Middle,
            INK,
        );
        for line in &panel.lines {
            let points: Vec<(Point, f64)> = self
                .places
                .iter()
                .zip(&line.figures)
                .filter_map(|(place, figure)| {
                    figure
                        .filter(|value| *value > 0.0)
                        .map(|value| ((at(place), level(value)), value))
                })
                .collect();
            let path: Vec<Point> = points.iter().map(|(point, _)| *point).collect();
            canvas.polyline(&path, colour(line.contestant), 2.0);
            for (point, value) in points {
                let says = format!("{}: {}", line.contestant, figure(value));
                canvas.mark(point, mark(line.contestant), colour(line.contestant), &says);
            }
        }
    }
}

/// Notes in lines that are `across` wide; what continues a note is set in.
fn note_lines(notes: &[&str], across: f64) -> Vec<String> {
    let mut lines = Vec::new();
    for note in notes {
        let mut line = String::new();
        for word in note.split(' ') {
            let longer = if line.is_empty() {
                word.to_owned()
            } else {
                format!("{line} {word}")
            };
            line = if width(&longer, SMALL) > across && !line.is_empty() {
                lines.push(line);
                format!("\u{2003}{word}")
            } else {
                longer
            };
        }
        lines.push(line);
    }
    lines
}

fn tall(notes: &[String]) -> f64 {
    notes.iter().map(|_| NOTE).sum()
}

fn write_notes(canvas: &mut Canvas, (x, mut y): Point, notes: &[String]) {
    for note in notes {
        canvas.text((x, y), note, SMALL, Anchor::Start, GREY);
        y += NOTE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_notes_are_continued_set_in() {
        let lines = note_lines(&["short", "one that is too long for the line"], 120.0);
        assert_eq!(lines, ["short", "one that is too long", "\u{2003}for the line"]);
    }
}
