//! A drawing before it is SVG or PNG: lines, areas, signs and texts on a plane, in pixels of a screen.
//!
//! `plotters` draws it, at four times the size: its coordinates are whole numbers. The font is inside the program and
//! inside each SVG, so a plot looks the same everywhere.

use base64::Engine as _;
use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, IntoFont as _, RGBColor, ShapeStyle, TextStyle};

use crate::font::{BOLD, NAME as FONT, REGULAR};

/// A colour.
pub type Color = RGBColor;

/// Okabe and Ito's colours, which the colour-blind tell apart; lines and areas differ in their signs and hatching, too.
///
/// Source: Okabe and Ito (2008), "Color universal design".
pub mod color {
    use super::{Color, RGBColor};

    /// Text and axes. In a page it becomes the page's own colour of text.
    pub const INK: Color = RGBColor(0x1A, 0x1B, 0x1C);
    /// What is less important than text.
    pub const FAINT: Color = RGBColor(0x5E, 0x60, 0x62);
    /// Grid lines.
    pub const GRID: Color = RGBColor(0xD8, 0xD9, 0xDA);
    /// Behind everything, and inside of open signs.
    pub const PAPER: Color = RGBColor(0xFE, 0xFE, 0xFE);
    /// What was measured by ours.
    pub const BLUE: Color = RGBColor(0x00, 0x72, 0xB2);
    /// The next.
    pub const VERMILION: Color = RGBColor(0xD5, 0x5E, 0x00);
    /// The next.
    pub const GREEN: Color = RGBColor(0x00, 0x9E, 0x73);
    /// The next.
    pub const PURPLE: Color = RGBColor(0xCC, 0x79, 0xA7);
    /// The next.
    pub const ORANGE: Color = RGBColor(0xE6, 0x9F, 0x00);
    /// The next.
    pub const SKY: Color = RGBColor(0x56, 0xB4, 0xE9);
    /// In the order of use.
    pub const SERIES: [Color; 6] = [BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY];
}

/// The sign of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A disc.
    Disc,
    /// A square.
    Square,
    /// A triangle, pointing up.
    Triangle,
    /// A diamond.
    Diamond,
    /// A triangle, pointing down.
    Down,
    /// A cross of two strokes.
    Cross,
}

/// In the order of use, beside [`color::SERIES`].
const SIGNS: [Sign; 6] = [Sign::Disc, Sign::Square, Sign::Triangle, Sign::Diamond, Sign::Down, Sign::Cross];

/// Sign and colour of a series: 36 pairs, of which no two are alike.
pub fn looks(index: usize) -> (Sign, Color) {
    let (round, place) = (index / SIGNS.len(), index % SIGNS.len());
    (SIGNS[(place + round) % SIGNS.len()], color::SERIES[place])
}

/// Where a text lies about its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The text begins there.
    Start,
    /// Its middle is there.
    Middle,
    /// It ends there.
    End,
}

/// A text.
#[derive(Clone, Debug)]
pub struct Label {
    /// Where, on the base line.
    pub at: (f64, f64),
    /// What.
    pub text: String,
    /// Height of an em in pixels.
    pub size: f64,
    /// Which part of it is there.
    pub anchor: Anchor,
    /// In bold?
    pub bold: bool,
    /// Its colour.
    pub color: Color,
}

/// A part of a drawing.
#[derive(Clone, Debug)]
pub enum Mark {
    /// A line through points, dashed (lengths of dash and gap) or not.
    Line(Vec<(f64, f64)>, f64, Color, Option<(f64, f64)>),
    /// A filled area.
    Area(Vec<(f64, f64)>, Color),
    /// A sign of a point: middle, half its width, colour, and is it filled?
    Point(Sign, (f64, f64), f64, Color, bool),
    /// A text.
    Text(Label),
}

/// A drawing.
#[derive(Clone, Debug)]
pub struct Scene {
    /// In pixels.
    pub width: f64,
    /// In pixels.
    pub height: f64,
    /// From the back to the front.
    pub marks: Vec<Mark>,
}

const SCALE: f64 = 4.0;
/// Pixels of a PNG for one of the screen.
const PNG_DENSITY: usize = 2;
/// Height of the font's line in em (its ascent and descent), which `plotters` takes for the size in bitmaps.
const LINE: f64 = (2189.0 + 600.0) / 2048.0;
/// `plotters` divides the size by this in SVG.
const SVG_LINE: f64 = 1.24;

impl Scene {
    /// An empty drawing.
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, marks: Vec::new() }
    }

    /// Adds a line.
    pub fn line(&mut self, points: &[(f64, f64)], width: f64, color: Color) {
        self.stroke(points, width, color, None);
    }

    /// Adds a line that may be dashed (lengths of dash and gap).
    pub fn stroke(&mut self, points: &[(f64, f64)], width: f64, color: Color, dash: Option<(f64, f64)>) {
        self.marks.push(Mark::Line(points.to_vec(), width, color, dash));
    }

    /// Adds a rectangle from its left upper corner; `hatching` is the distance of slanted lines over it.
    pub fn bar(&mut self, at: (f64, f64), size: (f64, f64), color: Color, hatching: Option<f64>) {
        let ((x, y), (w, h)) = (at, size);
        self.marks.push(Mark::Area(vec![(x, y), (x + w, y), (x + w, y + h), (x, y + h)], color));
        let Some(step) = hatching else { return };
        // Lines `across - down = c`, cut to the rectangle.
        let mut c = step - h;
        while c < w {
            let (from, to) = (c.max(0.0), (c + h).min(w));
            if to - from > 0.5 {
                self.line(&[(x + from, y + from - c), (x + to, y + to - c)], 1.0, color::PAPER);
            }
            c += step;
        }
    }

    /// Adds the sign of a point.
    pub fn point(&mut self, sign: Sign, at: (f64, f64), radius: f64, color: Color, filled: bool) {
        self.marks.push(Mark::Point(sign, at, radius, color, filled));
    }

    /// Adds a text in the colour of text; the result can be changed.
    pub fn text(&mut self, at: (f64, f64), text: impl Into<String>, size: f64, anchor: Anchor) -> &mut Label {
        self.marks.push(Mark::Text(Label {
            at,
            text: text.into(),
            size,
            anchor,
            bold: false,
            color: color::INK,
        }));
        match self.marks.last_mut() {
            Some(Mark::Text(label)) => label,
            _ => unreachable!("a text was just pushed"),
        }
    }

    /// Moves everything of another drawing here, shifted.
    pub fn place(&mut self, other: Scene, (dx, dy): (f64, f64)) {
        let shift = |(x, y): (f64, f64)| (x + dx, y + dy);
        self.marks.extend(other.marks.into_iter().map(|mark| match mark {
            Mark::Line(points, w, c, dash) => Mark::Line(points.into_iter().map(shift).collect(), w, c, dash),
            Mark::Area(points, c) => Mark::Area(points.into_iter().map(shift).collect(), c),
            Mark::Point(sign, at, r, c, filled) => Mark::Point(sign, shift(at), r, c, filled),
            Mark::Text(label) => Mark::Text(Label { at: shift(label.at), ..label }),
        }));
    }

    /// A file of its own, with font and background.
    pub fn to_svg(&self, title: &str) -> String {
        let font = |bytes: &[u8], weight: u32| {
            let data = base64::engine::general_purpose::STANDARD.encode(bytes);
            format!(
                "@font-face{{font-family:\"{FONT}\";font-weight:{weight};src:url(data:font/ttf;base64,{data})}}"
            )
        };
        let style = format!("<style>{}{}</style>", font(REGULAR, 400), font(BOLD, 700));
        let back = format!("<rect width=\"100%\" height=\"100%\" fill=\"{}\"/>", hex(color::PAPER));
        self.svg(title, &format!("{style}{back}"))
    }

    /// A part of a page, in the page's colours: ink, grid and paper are its own.
    pub fn to_inline_svg(&self, title: &str) -> String {
        self.svg(title, "")
            .replace(&hex(color::INK), "currentColor")
            .replace(&hex(color::FAINT), "var(--faint)")
            .replace(&hex(color::GRID), "var(--grid)")
            .replace(&hex(color::PAPER), "var(--paper)")
    }

    fn svg(&self, title: &str, head: &str) -> String {
        let size = (self.width * SCALE, self.height * SCALE);
        let mut body = String::new();
        {
            let mut backend = SVGBackend::with_string(&mut body, (size.0 as u32, size.1 as u32));
            self.draw(&mut backend, SVG_LINE, 0.0).expect("a text can be written to");
            backend.present().expect("a text can be written to");
        }
        let start = body.find('>').map_or(0, |end| end + 1);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" width=\"{}\" height=\"{}\" role=\"img\" \
             aria-label=\"{}\">{head}",
            size.0,
            size.1,
            self.width,
            self.height,
            escape(title)
        );
        // Texts stand on their base line, and fall back to the reader's font for signs that ours lacks.
        let texts = body[start..].replace("dy=\"-0.5ex\"", "").replace(
            &format!("font-family=\"{FONT}\""),
            &format!("font-family=\"'{FONT}', Arial, sans-serif\""),
        );
        svg.push_str(&texts);
        svg
    }

    /// A PNG with twice the pixels of a screen, averaged from four times as many.
    pub fn to_png(&self) -> Vec<u8> {
        let (w, h) = ((self.width * SCALE) as usize, (self.height * SCALE) as usize);
        let mut large = vec![0xFE; w * h * 3];
        {
            let mut backend = BitMapBackend::with_buffer(&mut large, (w as u32, h as u32));
            self.draw(&mut backend, LINE, LINE / 2.0).expect("a buffer can be drawn into");
            backend.present().expect("a buffer can be drawn into");
        }
        let by = SCALE as usize / PNG_DENSITY;
        let (small_w, small_h) = (w / by, h / by);
        let mut small = Vec::with_capacity(small_w * small_h * 3);
        for y in 0..small_h {
            for x in 0..small_w {
                for channel in 0..3 {
                    let value =
                        |i: usize| u32::from(large[((y * by + i / by) * w + x * by + i % by) * 3 + channel]);
                    let sum: u32 = (0..by * by).map(value).sum();
                    small.push((sum / (by * by) as u32) as u8);
                }
            }
        }
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, small_w as u32, small_h as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().expect("memory can be written to");
        writer.write_image_data(&small).expect("the sizes agree");
        writer.finish().expect("memory can be written to");
        bytes
    }

    /// `line` is what the backend takes for the size of a font with an em of 1; texts are shifted up by `up` em.
    fn draw<B: DrawingBackend>(&self, backend: &mut B, line: f64, up: f64) -> Result<(), String> {
        let scaled = |(x, y): (f64, f64)| ((x * SCALE).round() as i32, (y * SCALE).round() as i32);
        let shape = |color: Color, filled: bool, width: f64| ShapeStyle {
            color: color.into(),
            filled,
            stroke_width: (width * SCALE).round() as u32,
        };
        for mark in &self.marks {
            match mark {
                Mark::Line(points, width, color, dash) => {
                    let pieces = dash.map_or_else(|| vec![points.clone()], |dash| dashed(points, dash));
                    for piece in pieces {
                        backend
                            .draw_path(piece.into_iter().map(scaled), &shape(*color, false, *width))
                            .map_err(|error| error.to_string())?;
                    }
                }
                Mark::Area(points, color) => {
                    backend
                        .fill_polygon(points.iter().copied().map(scaled), &shape(*color, true, 0.0))
                        .map_err(|error| error.to_string())?;
                }
                Mark::Point(Sign::Cross, (x, y), r, color, _) => {
                    for (a, b) in [((x - r, y - r), (x + r, y + r)), ((x - r, y + r), (x + r, y - r))] {
                        backend
                            .draw_path([a, b].map(scaled), &shape(*color, false, 2.0))
                            .map_err(|error| error.to_string())?;
                    }
                }
                Mark::Point(sign, at, radius, color, filled) => {
                    // An open sign is a smaller one of paper in a filled one.
                    let layers = [(*radius, *color), (radius - 1.6, color::PAPER)];
                    for (radius, color) in layers.into_iter().take(if *filled { 1 } else { 2 }) {
                        let style = shape(color, true, 0.0);
                        if *sign == Sign::Disc {
                            backend
                                .draw_circle(scaled(*at), (radius * SCALE) as u32, &style, true)
                                .map_err(|error| error.to_string())?;
                        } else {
                            let corners = corners(*sign, *at, radius).into_iter().map(scaled);
                            backend.fill_polygon(corners, &style).map_err(|error| error.to_string())?;
                        }
                    }
                }
                Mark::Text(label) => {
                    let em = label.size * SCALE;
                    let (x, y) = scaled(label.at);
                    let horizontal = match label.anchor {
                        Anchor::Start => HPos::Left,
                        Anchor::Middle => HPos::Center,
                        Anchor::End => HPos::Right,
                    };
                    // In a bitmap `Top` leaves the text where it is; in SVG `Bottom` is what is replaced above.
                    let vertical = if up > 0.0 { VPos::Top } else { VPos::Bottom };
                    let style =
                        font(label.bold, em * line).color(&label.color).pos(Pos::new(horizontal, vertical));
                    backend
                        .draw_text(&label.text, &style, (x, y - (em * up) as i32))
                        .map_err(|error| error.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// The texts with the boxes they take: left, top, right, bottom.
    #[cfg(test)]
    pub fn boxes(&self) -> Vec<(String, [f64; 4])> {
        let boxed = |mark: &Mark| match mark {
            Mark::Text(label) => {
                let width = text_width(&label.text, label.size, label.bold);
                let (x, y) = label.at;
                let left = match label.anchor {
                    Anchor::Start => x,
                    Anchor::Middle => x - width / 2.0,
                    Anchor::End => x - width,
                };
                Some((label.text.clone(), [left, y - 0.75 * label.size, left + width, y + 0.2 * label.size]))
            }
            _ => None,
        };
        self.marks.iter().filter_map(boxed).collect()
    }
}

/// Width of a text in pixels.
pub fn text_width(text: &str, size: f64, bold: bool) -> f64 {
    // Measured large, as the answer is a whole number.
    let layout = font(bold, 100.0 * LINE).font.layout_box(text);
    layout.map_or(0.0, |(_, (width, _))| f64::from(width) * size / 100.0)
}

fn font(bold: bool, size: f64) -> TextStyle<'static> {
    crate::font::register();
    let style = if bold { FontStyle::Bold } else { FontStyle::Normal };
    (FONT, size, style).into_font().into()
}

fn corners(sign: Sign, (x, y): (f64, f64), r: f64) -> Vec<(f64, f64)> {
    match sign {
        Sign::Triangle => vec![(x, y - 1.2 * r), (x + 1.1 * r, y + 0.8 * r), (x - 1.1 * r, y + 0.8 * r)],
        Sign::Down => vec![(x, y + 1.2 * r), (x + 1.1 * r, y - 0.8 * r), (x - 1.1 * r, y - 0.8 * r)],
        Sign::Diamond => vec![(x, y - 1.3 * r), (x + 1.3 * r, y), (x, y + 1.3 * r), (x - 1.3 * r, y)],
        Sign::Square | Sign::Disc | Sign::Cross => {
            let r = 0.9 * r;
            vec![(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)]
        }
    }
}

/// A line in pieces.
fn dashed(points: &[(f64, f64)], (dash, gap): (f64, f64)) -> Vec<Vec<(f64, f64)>> {
    let mut pieces = Vec::new();
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let length = (x1 - x0).hypot(y1 - y0);
        let at = |along: f64| (x0 + (x1 - x0) * along / length, y0 + (y1 - y0) * along / length);
        let mut start = 0.0;
        while start < length {
            pieces.push(vec![at(start), at((start + dash).min(length))]);
            start += dash + gap;
        }
    }
    pieces
}

fn hex(color: Color) -> String {
    format!("#{:02X}{:02X}{:02X}", color.0, color.1, color.2)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bold_text_is_wider_and_width_grows_with_size() {
        let (plain, bold) = (text_width("perplexity", 12.0, false), text_width("perplexity", 12.0, true));
        assert!(bold > plain && plain > 40.0 && plain < 80.0, "{plain} {bold}");
        assert!((text_width("perplexity", 24.0, false) - 2.0 * plain).abs() < 1e-9);
    }

    #[test]
    fn the_same_drawing_gives_the_same_bytes_and_a_page_gets_its_own_colours() {
        let mut scene = Scene::new(100.0, 40.0);
        scene.bar((10.0, 10.0), (50.0, 20.0), color::BLUE, Some(6.0));
        scene.text((70.0, 20.0), "<&>", 12.0, Anchor::Start);
        assert_eq!(scene.to_png(), scene.clone().to_png());
        assert_eq!(scene.to_png()[..4], *b"\x89PNG");
        let svg = scene.to_svg("a \"plot\"");
        assert!(
            svg.contains("@font-face") && svg.contains("&lt;&amp;&gt;") && svg.contains("&quot;plot&quot;")
        );
        let inline = scene.to_inline_svg("plot");
        assert!(
            inline.contains("currentColor")
                && inline.contains("var(--paper)")
                && !inline.contains("@font-face")
        );
    }
}
