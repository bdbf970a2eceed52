//! Plots as inline SVG.

use std::fmt::Write;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 56.0;
const BELOW: f64 = 22.0;

/// A line over time.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) colour: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

/// Something that happened at a time.
pub(super) struct Stroke {
    pub(super) at: f64,
    pub(super) colour: &'static str,
    pub(super) title: String,
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn frame(height: f64) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\">", height + BELOW)
}

/// A round number at or above.
fn ceiling(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|n| *n >= value).unwrap_or(value)
}

/// So wide is what a line shows one value of: a long run must not make a long page.
const COLUMN: f64 = 3.0;

/// The greatest of each column.
fn thinned(points: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut thin: Vec<(f64, f64)> = Vec::new();
    for (x, value) in points {
        match thin.last_mut() {
            Some((at, greatest)) if x - *at < COLUMN => *greatest = greatest.max(value),
            _ => thin.push((x, value)),
        }
    }
    thin
}

/// Lines over the seconds of a run, with strokes where faults struck; these say what they are where `titled`.
pub(super) fn over_time(lines: &[Line], strokes: &[Stroke], titled: bool, seconds: f64, unit: &str) -> String {
    let top = lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y).fold(0.0, f64::max);
    let top = ceiling(top.max(1.0));
    let x = |at: f64| LEFT + (WIDTH - LEFT - 4.0) * (at / seconds.max(1.0)).clamp(0.0, 1.0);
    let y = |value: f64| HEIGHT - (HEIGHT - 8.0) * (value / top).clamp(0.0, 1.0);
    let mut svg = frame(HEIGHT);
    for share in [0.0, 0.5, 1.0] {
        let (at, value) = (y(top * share), top * share);
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{at:.1}\" y2=\"{at:.1}\" class=\"grid\"/><text x=\"{}\" y=\"{:.1}\" class=\"end\">{value}</text>",
            LEFT - 4.0,
            at + 4.0
        );
    }
    for stroke in strokes.iter().filter(|_| titled) {
        let at = x(stroke.at);
        let _ = write!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"4\" y2=\"{HEIGHT}\" stroke=\"{}\" opacity=\"0.55\"><title>{}</title></line>",
            stroke.colour,
            escaped(&stroke.title)
        );
    }
    if !titled {
        let all: String = strokes.iter().map(|stroke| format!("M{:.0} 4V{HEIGHT}", x(stroke.at))).collect();
        let _ = write!(svg, "<path d=\"{all}\" stroke=\"#999\" opacity=\"0.35\"/>");
    }
    for (n, line) in lines.iter().enumerate() {
        let points = thinned(line.points.iter().map(|(at, value)| (x(*at), *value)));
        let points: Vec<String> = points.iter().map(|(at, value)| format!("{at:.0},{:.0}", y(*value))).collect();
        let _ = write!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.3\"/><text x=\"{}\" y=\"14\" fill=\"{}\">{}</text>",
            points.join(" "),
            line.colour,
            LEFT + 8.0 + 220.0 * n as f64,
            line.colour,
            escaped(line.name)
        );
    }
    let minutes = seconds / 60.0;
    for n in 0..=4_u32 {
        let at = seconds * f64::from(n) / 4.0;
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" class=\"mid\">{:.1}</text>",
            x(at).min(WIDTH - 18.0),
            HEIGHT + 16.0,
            minutes * f64::from(n) / 4.0
        );
    }
    let _ = write!(svg, "<text x=\"2\" y=\"14\">{}</text></svg>", escaped(unit));
    svg
}

/// A row of measured times, on a logarithmic scale from 10 ms to 100 s.
pub(super) struct Strip<'a> {
    pub(super) name: &'a str,
    pub(super) colour: &'static str,
    pub(super) times: &'a [f64],
    pub(super) aim: Option<f64>,
}

/// One row of dots for each kind.
pub(super) fn strips(rows: &[Strip<'_>]) -> String {
    const ROW: f64 = 18.0;
    const NAMES: f64 = 230.0;
    let height = ROW * rows.len() as f64 + 6.0;
    let x = |seconds: f64| {
        let share = (seconds.max(0.01).log10() + 2.0) / 4.0;
        NAMES + (WIDTH - NAMES - 10.0) * share.clamp(0.0, 1.0)
    };
    let mut svg = frame(height);
    for (seconds, text) in [(0.01, "10 ms"), (0.1, "0.1 s"), (1.0, "1 s"), (10.0, "10 s"), (100.0, "100 s")] {
        let at = x(seconds);
        let _ = write!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"0\" y2=\"{height}\" class=\"grid\"/><text x=\"{:.1}\" y=\"{:.1}\" class=\"mid\">{text}</text>",
            at.min(WIDTH - 20.0),
            height + 16.0
        );
    }
    for (n, row) in rows.iter().enumerate() {
        let middle = ROW * n as f64 + ROW / 2.0 + 2.0;
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" class=\"end\">{}</text>",
            NAMES - 6.0,
            middle + 4.0,
            escaped(row.name)
        );
        for time in row.times {
            let _ = write!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"3\" fill=\"{}\" opacity=\"0.45\"/>",
                x(*time),
                row.colour
            );
        }
        if let Some(aim) = row.aim {
            let at = x(aim);
            let _ = write!(
                svg,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#c00\" stroke-width=\"2\"><title>aim for p99</title></line>",
                middle - 7.0,
                middle + 7.0
            );
        }
    }
    svg + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!([0.9, 1.0, 13.0, 41.0, 700.0].map(ceiling), [1.0, 1.0, 20.0, 50.0, 1_000.0]);
    }

    #[test]
    fn a_long_line_keeps_its_peaks() {
        let points = (0..1_000_u32).map(|n| (f64::from(n) / 10.0, if n == 777 { 9.0 } else { 1.0 }));
        let thin = thinned(points);
        assert_eq!(thin.len(), 34);
        assert_eq!(thin.iter().filter(|(_, value)| *value > 8.0).count(), 1);
    }

    #[test]
    fn text_cannot_break_out() {
        assert_eq!(escaped("<a b=\"c\">&"), "&lt;a b=&quot;c&quot;&gt;&amp;");
    }
}
