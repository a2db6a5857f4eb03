//! A drawing in SVG: text, lines, boxes and marks on a white ground.

use svg::Document;
use svg::node::element::{Circle, Line, Path, Polyline, Rectangle, Text, Title};

/// Fonts that look alike on most machines.
const FONTS: &str = "DejaVu Sans, Verdana, Segoe UI, Helvetica, Arial, sans-serif";
/// The width of a character of these, by the font's size; a little more than the mean, so that nothing is cut off.
const ADVANCE: f64 = 0.57;

/// Black is for what is drawn, this for what helps to read it.
pub(super) const GREY: &str = "#595959";
/// Lines of a grid.
pub(super) const FAINT: &str = "#e0e0e0";
/// What is written and drawn in front.
pub(super) const INK: &str = "#1a1a1a";

/// Sizes of text, pixels.
pub(super) const HEADING: f64 = 17.0;
pub(super) const NORMAL: f64 = 12.0;
pub(super) const SMALL: f64 = 10.5;

/// A place, pixels from the left and from the top.
pub(super) type Point = (f64, f64);

/// Where a text lies beside its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// The shapes by which lines are told apart without their colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Circle,
    Square,
    Diamond,
    Up,
    Down,
    Left,
    Cross,
    Plus,
}

/// A drawing.
pub(super) struct Canvas {
    document: Document,
}

impl Canvas {
    /// A white sheet; `title` is what a screen reader says.
    pub(super) fn new(width: f64, height: f64, title: &str) -> Self {
        let ground = Rectangle::new()
            .set("width", width)
            .set("height", height)
            .set("fill", "#ffffff");
        let document = Document::new()
            .set("viewBox", (0, 0, width, height))
            .set("width", width)
            .set("height", height)
            .set("font-family", FONTS)
            .set("role", "img")
            .add(Title::new(title))
            .add(ground);
        Self { document }
    }

    /// A line of text, its middle at the height of `at`.
    pub(super) fn text(&mut self, at: Point, text: &str, size: f64, anchor: Anchor, colour: &str) {
        let element = text_element(at, text, size, anchor, colour);
        self.add(element);
    }

    /// The same in bold.
    pub(super) fn heading(&mut self, at: Point, text: &str, size: f64) {
        self.add(text_element(at, text, size, Anchor::Start, INK).set("font-weight", "bold"));
    }

    /// A line of text that reads upwards.
    pub(super) fn upright(&mut self, (x, y): Point, text: &str, size: f64, colour: &str) {
        let turned =
            text_element((x, y), text, size, Anchor::Middle, colour).set("transform", format!("rotate(-90 {x} {y})"));
        self.add(turned);
    }

    /// A straight line.
    pub(super) fn line(&mut self, from: Point, to: Point, colour: &str, width: f64) {
        let line = Line::new()
            .set("x1", round(from.0))
            .set("y1", round(from.1))
            .set("x2", round(to.0))
            .set("y2", round(to.1))
            .set("stroke", colour)
            .set("stroke-width", width);
        self.add(line);
    }

    /// A line through all of these.
    pub(super) fn polyline(&mut self, points: &[Point], colour: &str, width: f64) {
        let points: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{},{}", round(*x), round(*y)))
            .collect();
        let line = Polyline::new()
            .set("points", points.join(" "))
            .set("fill", "none")
            .set("stroke", colour)
            .set("stroke-width", width)
            .set("stroke-linejoin", "round");
        self.add(line);
    }

    /// A filled box; `says` appears when one points at it.
    pub(super) fn bar(&mut self, (x, y): Point, (width, height): Point, colour: &str, says: &str) {
        let bar = Rectangle::new()
            .set("x", round(x))
            .set("y", round(y))
            .set("width", round(width.max(1.0)))
            .set("height", round(height))
            .set("fill", colour)
            .add(Title::new(says));
        self.add(bar);
    }

    /// A mark of this shape; `says` appears when one points at it.
    pub(super) fn mark(&mut self, (x, y): Point, mark: Mark, colour: &str, says: &str) {
        if mark == Mark::Circle {
            let circle = Circle::new()
                .set("cx", round(x))
                .set("cy", round(y))
                .set("r", 4)
                .set("fill", colour)
                .set("stroke", "#ffffff")
                .add(Title::new(says));
            self.add(circle);
            return;
        }
        // Around 0,0.
        let (shape, filled) = match mark {
            Mark::Square | Mark::Circle => ("M-3.6,-3.6H3.6V3.6H-3.6Z", true),
            Mark::Diamond => ("M0,-5.2L5.2,0L0,5.2L-5.2,0Z", true),
            Mark::Up => ("M0,-4.8L4.8,3.8H-4.8Z", true),
            Mark::Down => ("M0,4.8L4.8,-3.8H-4.8Z", true),
            Mark::Left => ("M-4.8,0L3.8,-4.8V4.8Z", true),
            Mark::Cross => ("M-3.6,-3.6L3.6,3.6M-3.6,3.6L3.6,-3.6", false),
            Mark::Plus => ("M-4.6,0H4.6M0,-4.6V4.6", false),
        };
        let path = Path::new()
            .set("d", shape)
            .set("transform", format!("translate({} {})", round(x), round(y)))
            .set("fill", if filled { colour } else { "none" })
            .set("stroke", if filled { "#ffffff" } else { colour })
            .set("stroke-width", if filled { 1.0 } else { 2.2 })
            .add(Title::new(says));
        self.add(path);
    }

    /// The text of the file.
    pub(super) fn svg(self) -> String {
        format!("{}\n", self.document)
    }

    fn add(&mut self, element: impl Into<Box<dyn svg::Node>>) {
        use svg::Node as _;
        self.document.append(element);
    }
}

/// About how wide a text is.
#[expect(clippy::cast_precision_loss, reason = "texts of some dozen characters")]
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * ADVANCE
}

fn text_element((x, y): Point, text: &str, size: f64, anchor: Anchor, colour: &str) -> Text {
    Text::new(text)
        .set("x", round(x))
        // Not every renderer knows `dominant-baseline`.
        .set("y", round(y + size * 0.36))
        .set("font-size", size)
        .set("fill", colour)
        .set(
            "text-anchor",
            match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            },
        )
}

/// A tenth of a pixel is enough.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
