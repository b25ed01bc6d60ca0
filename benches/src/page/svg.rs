//! Plots as SVG: bars beside a roof, and lines.

use std::fmt::Write;

use super::html::escape;

const WIDTH: f64 = 860.0;
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#555555", "#7b3294"];
const ROOF: &str = "#b00020";

/// A line that figures are read against.
pub(super) struct Roof {
    pub(super) label: String,
    pub(super) at: f64,
}

/// A bar.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
    /// Bars of one colour belong together.
    pub(super) colour: usize,
}

/// Horizontal bars, one below the other, on a common scale that begins at zero.
pub(super) fn bars(unit: &str, bars: &[Bar], roofs: &[Roof]) -> String {
    const ROW: f64 = 26.0;
    let told = |bar: &Bar| format!("{} {unit}", short(bar.value));
    let left = 16.0 + bars.iter().map(|bar| wide(&bar.label)).fold(120.0, f64::max).min(WIDTH / 2.0);
    let right = WIDTH - 8.0 - bars.iter().map(|bar| wide(&told(bar))).fold(80.0, f64::max).min(WIDTH / 4.0);
    // A roof far above all bars would leave nothing of them: its figure is told instead.
    let most = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let scale = roofs.iter().map(|r| r.at).filter(|&at| at <= most * 4.0).fold(most, f64::max).max(f64::MIN_POSITIVE);
    let x = |value: f64| left + (right - left) * (value / (scale * 1.05)).min(1.0);
    let (top, bottom) = (20.0, 20.0 + ROW * bars.len() as f64);
    let mut svg = open(bottom + 12.0 + 20.0 * roofs.len() as f64);
    for (i, bar) in bars.iter().enumerate() {
        let y = top + ROW * i as f64;
        let colour = COLOURS[bar.colour % COLOURS.len()];
        squeezed(&mut svg, (8.0, left - 8.0), y + 16.0, &bar.label);
        let width = x(bar.value) - left;
        let _ = write!(
            svg,
            "<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"18\" fill=\"{colour}\"/>",
            y + 2.0
        );
        text(&mut svg, x(bar.value) + 6.0, y + 16.0, "start", "#111", &told(bar));
    }
    for (i, roof) in roofs.iter().enumerate() {
        let y = bottom + 18.0 + 20.0 * i as f64;
        let label = format!("{}: {} {unit}", roof.label, short(roof.at));
        if roof.at <= scale * 1.05 {
            line(&mut svg, (x(roof.at), top - 6.0), (x(roof.at), y - 12.0), ROOF, true);
            // From its line to whichever side has room for it.
            match wide(&label) {
                width if x(roof.at) + width <= WIDTH - 8.0 => roof_text(&mut svg, x(roof.at), y, "start", &label),
                width => roof_text(&mut svg, x(roof.at).max(width + 8.0), y, "end", &label),
            }
        } else {
            roof_text(&mut svg, right, y, "end", &format!("{label} →"));
        }
    }
    close(svg)
}

/// One line of a plot.
pub(super) struct Curve {
    pub(super) label: String,
    /// Ascending in x.
    pub(super) points: Vec<(f64, f64)>,
}

/// How an axis is scaled.
pub(super) struct Axis<'a> {
    pub(super) label: &'a str,
    pub(super) log: bool,
    /// Where it begins at the least, if it is logarithmic: what is below lies at its beginning.
    pub(super) least: f64,
    /// What stands at a place of the axis.
    pub(super) tick: fn(f64) -> String,
}

/// Lines over a common scale.
pub(super) fn lines(x_axis: &Axis<'_>, y_axis: &Axis<'_>, curves: &[Curve], roofs: &[Roof]) -> String {
    // Room for half of the last number below the axis.
    let (left, right, top, bottom) = (80.0, WIDTH - 40.0, 16.0, 330.0);
    let points = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let xs = Scale::over(points().map(|p| p.0), x_axis, (left, right));
    let ys = Scale::over(points().map(|p| p.1).chain(roofs.iter().map(|roof| roof.at)), y_axis, (bottom, top));
    let mut svg = open(bottom + 46.0 + 20.0 * curves.len() as f64);
    for at in xs.ticks() {
        line(&mut svg, (xs.of(at), top), (xs.of(at), bottom), "#ddd", false);
        text(&mut svg, xs.of(at), bottom + 16.0, "middle", "#111", &(x_axis.tick)(at));
    }
    for at in ys.ticks() {
        line(&mut svg, (left, ys.of(at)), (right, ys.of(at)), "#ddd", false);
        text(&mut svg, left - 6.0, ys.of(at) + 4.0, "end", "#111", &(y_axis.tick)(at));
    }
    text(&mut svg, right, bottom + 34.0, "end", "#111", &format!("{} → {}", y_axis.label, x_axis.label));
    for roof in roofs {
        line(&mut svg, (left, ys.of(roof.at)), (right, ys.of(roof.at)), ROOF, true);
        roof_text(
            &mut svg,
            right - 4.0,
            ys.of(roof.at) - 4.0,
            "end",
            &format!("{}: {}", roof.label, (y_axis.tick)(roof.at)),
        );
    }
    for (i, curve) in curves.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let path: Vec<String> = curve.points.iter().map(|&(x, y)| format!("{:.1},{:.1}", xs.of(x), ys.of(y))).collect();
        let path = path.join(" ");
        let _ = write!(svg, "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
        let y = bottom + 54.0 + 20.0 * i as f64;
        line(&mut svg, (left, y - 4.0), (left + 24.0, y - 4.0), colour, false);
        text(&mut svg, left + 32.0, y, "start", "#111", &curve.label);
    }
    close(svg)
}

/// Where numbers lie on an axis.
struct Scale {
    from: f64,
    to: f64,
    log: bool,
    pixels: (f64, f64),
}

impl Scale {
    /// A scale with room for all `numbers`; on a logarithmic one those that are not positive, or below its least, lie
    /// at its beginning.
    fn over(numbers: impl Iterator<Item = f64>, &Axis { log, least, .. }: &Axis<'_>, pixels: (f64, f64)) -> Self {
        let (mut from, mut to) = (f64::INFINITY, f64::NEG_INFINITY);
        let counts = |n: &f64| n.is_finite() && (!log || (*n > 0.0 && *n >= least));
        numbers.filter(counts).for_each(|n| (from, to) = (from.min(n), to.max(n)));
        if from > to {
            (from, to) = (1.0, 10.0);
        }
        if log {
            (from, to) = (10f64.powf(from.log10().floor()), 10f64.powf(to.log10().ceil()));
            if from == to {
                to *= 10.0;
            }
        } else {
            from = from.min(0.0);
            to = if to > from { to * 1.05 } else { from + 1.0 };
        }
        Self { from, to, log, pixels }
    }

    fn of(&self, number: f64) -> f64 {
        let share = if self.log {
            (number.max(self.from).log10() - self.from.log10()) / (self.to.log10() - self.from.log10())
        } else {
            (number - self.from) / (self.to - self.from)
        };
        self.pixels.0 + (self.pixels.1 - self.pixels.0) * share
    }

    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let (from, to) = (self.from.log10().round() as i32, self.to.log10().round() as i32);
            return (from..=to).map(|exponent| 10f64.powi(exponent)).collect();
        }
        let rough = (self.to - self.from) / 5.0;
        let unit = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * unit).find(|&step| step >= rough).unwrap_or(rough);
        (0..=6).map(|i| self.from + step * f64::from(i)).filter(|&at| at <= self.to).collect()
    }
}

/// Three significant digits.
pub(super) fn short(number: f64) -> String {
    match number.abs() {
        n if n >= 100.0 => format!("{number:.0}"),
        n if n >= 10.0 => format!("{number:.1}"),
        n if n >= 1.0 => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    }
}

/// At least how wide a text is, in the widest of the usual faces (DejaVu Sans, Verdana) at 13 pixels.
fn wide(text: &str) -> f64 {
    let em = |c: char| match c {
        'i' | 'j' | 'l' | ' ' | '.' | ',' | ':' | ';' | '/' | '|' | '\'' => 0.34,
        'f' | 'r' | 't' | '(' | ')' | '-' => 0.42,
        'm' | 'w' | 'M' | 'W' | '%' | '×' | '→' | '÷' | '@' => 1.0,
        c if c.is_uppercase() => 0.8,
        c if c.is_ascii() => 0.64,
        _ => 1.0,
    };
    13.0 * text.chars().map(em).sum::<f64>()
}

fn open(height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" font-family=\"system-ui,sans-serif\" font-size=\"13\">\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
    )
}

fn close(mut svg: String) -> String {
    svg.push_str("</svg>");
    svg
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, colour: &str, text: &str) {
    let text = escape(text);
    let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>");
}

/// A text that ends at the end of `room`; one that is wider than that is drawn narrower.
fn squeezed(svg: &mut String, room: (f64, f64), y: f64, text: &str) {
    let (from, to) = room;
    let length = match wide(text) > to - from {
        true => format!(" textLength=\"{:.1}\" lengthAdjust=\"spacingAndGlyphs\"", to - from),
        false => String::new(),
    };
    let text = escape(text);
    let _ = write!(svg, "<text x=\"{to:.1}\" y=\"{y:.1}\" text-anchor=\"end\" fill=\"#111\"{length}>{text}</text>");
}

fn roof_text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let text = escape(text);
    let _ = write!(
        svg,
        "<text class=\"roof\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{ROOF}\">{text}</text>"
    );
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str, dashed: bool) {
    let dash = if dashed { " stroke-dasharray=\"6 4\"" } else { "" };
    let _ = write!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"1.5\"{dash}/>",
        from.0, from.1, to.0, to.1
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_on_a_scale_are_where_arithmetic_puts_them() {
        let axis = |log, least| Axis { label: "", log, least, tick: short };
        let linear = Scale::over([2.0, 10.0].into_iter(), &axis(false, 0.0), (0.0, 105.0));
        assert!((linear.of(5.0) - 50.0).abs() < 1e-9 && linear.of(0.0) == 0.0);
        assert_eq!(linear.ticks(), [0.0, 5.0, 10.0]);
        let log = Scale::over([3.0, 0.0, 2_000.0].into_iter(), &axis(true, 0.0), (400.0, 0.0));
        assert_eq!((log.of(1.0), log.of(10_000.0)), (400.0, 0.0));
        assert!((log.of(100.0) - 200.0).abs() < 1e-9);
        assert_eq!(log.of(0.0), 400.0, "what has no logarithm lies at the beginning");
        assert_eq!(log.ticks(), [1.0, 10.0, 100.0, 1_000.0, 10_000.0]);
        let nothing = Scale::over(std::iter::empty(), &axis(true, 0.0), (0.0, 1.0));
        assert!(nothing.of(5.0).is_finite());
        let least = Scale::over([0.004, 30.0].into_iter(), &axis(true, 1.0), (0.0, 300.0));
        assert_eq!(least.ticks(), [10.0, 100.0], "it begins with what counts");
        assert_eq!((least.of(0.004), least.of(100.0)), (0.0, 300.0));
    }

    /// The x of each text, where it is anchored, and how wide the font's own metrics have it.
    fn texts(svg: &str) -> Vec<(f64, String, String)> {
        let attribute = |text: &str, name: &str| {
            text.split(&format!(" {name}=\"")).nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned)
        };
        svg.split("<text")
            .skip(1)
            .map(|text| {
                let x = attribute(text, "x").unwrap().parse().unwrap();
                let said = text.split('>').nth(1).unwrap().trim_end_matches("</text").to_owned();
                (x, attribute(text, "text-anchor").unwrap(), said)
            })
            .collect()
    }

    #[test]
    fn texts_lie_within_the_plot_in_a_wide_face_too() {
        // As Chromium measures them in DejaVu Sans at 13 pixels.
        for (text, pixels) in [
            ("w1 interval:100ms 1×1000", 177.6),
            ("w1 interval:100ms 8×1000 waiting 30 s 5.0 M/s due, durable", 398.6),
            ("all samples as they are, 16 bytes each (least of the runs): 40000 bytes a series", 515.9),
            ("MMMWWW 100 %", 117.7),
            ("WAL →÷ µs", 73.4),
        ] {
            assert!(wide(text) >= pixels && wide(text) < pixels * 1.25, "{text}: {}", wide(text));
        }
        let bar = |label: &str, value| Bar { label: label.into(), value, colour: 0 };
        let long = "w1 interval:100ms 8×1000 waiting 30 s 5.0 M/s due, idle after a flush of everything";
        let roof = |at, label: &str| Roof { label: label.into(), at };
        let roofs =
            [roof(3.0, "all samples as they are, 16 bytes each (least of the runs)"), roof(9.9, "near the end")];
        for label in ["w1 interval:100ms 1×1000", long] {
            let svg = bars("bytes a series", &[bar(label, 10.0), bar("b", 1.0)], &roofs);
            for (x, anchor, said) in texts(&svg) {
                let width = if svg.contains(&format!("spacingAndGlyphs\">{said}<")) { x - 8.0 } else { wide(&said) };
                let from = if anchor == "end" { x - width } else { x };
                assert!(from >= 0.0 && from + width <= WIDTH, "{said}: {from} to {}", from + width);
            }
        }
    }

    #[test]
    fn bars_are_as_long_as_their_values_say() {
        let bar = |label: &str, value| Bar { label: label.into(), value, colour: 0 };
        let svg = bars("M/s", &[bar("a", 10.0), bar("b<", 5.0)], &[Roof { label: "roof".into(), at: 1e6 }]);
        let widths: Vec<f64> = svg
            .match_indices("width=\"")
            .filter_map(|(i, m)| svg[i + m.len()..].split('"').next()?.parse().ok())
            .filter(|&width: &f64| width != WIDTH)
            .collect();
        assert!((widths[0] / widths[1] - 2.0).abs() < 0.01, "{widths:?}");
        // A long label or figure takes its room from the bars, and lies within the plot.
        let long = "a run of very many words that say how it was made";
        let svg = bars("bytes a series", &[bar(long, 19_548.0)], &[]);
        let rect = svg.split("<rect x=\"").nth(1).and_then(|rest| rest.split('"').next()?.parse::<f64>().ok()).unwrap();
        assert!(rect >= wide(long), "{rect}");
        let figure = svg.rsplit("<text x=\"").next().and_then(|rest| rest.split('"').next()?.parse::<f64>().ok());
        assert!(figure.unwrap() + wide("19548 bytes a series") <= WIDTH, "{figure:?}");
        let svg = bars("M/s", &[bar("a", 10.0), bar("b<", 5.0)], &[Roof { label: "roof".into(), at: 1e6 }]);
        assert!(svg.contains("b&lt;") && svg.contains("roof: 1000000 M/s →"), "{svg}");
    }
}
