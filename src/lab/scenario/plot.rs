//! Two runs side by side as an SVG: each server's share, failures and p99 over time, with the fault between them.

use super::{Record, Span, WINDOW, Window};
use plotters::coord::ranged1d::ValueFormatter;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use std::error::Error;
use std::ops::Range;
use std::time::Duration;

const SIZE: (u32, u32) = (1100, 820);
const HEAD: u32 = 76;
/// What lies behind the fault.
const SHADE: RGBColor = RGBColor(0xe6, 0xe6, 0xe6);
/// What stands for failures.
const FAILED: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
/// For the servers, in the order of their numbers. With [`FAILED`], colours that colour-blind people tell apart too (Okabe
/// and Ito).
const SERVER: [RGBColor; 3] =
    [RGBColor(0x00, 0x72, 0xb2), RGBColor(0xe6, 0x9f, 0x00), RGBColor(0x00, 0x9e, 0x73)];
const FONT: &str = "sans-serif";

type Area<'s> = DrawingArea<SVGBackend<'s>, plotters::coord::Shift>;
type Chart<'a, 's, Y> = ChartContext<'a, SVGBackend<'s>, Cartesian2d<RangedCoordf64, Y>>;

/// Draws runs, each under its name.
///
/// # Errors
/// If there is nothing to be drawn.
pub fn svg(title: &str, runs: [(&str, &Record); 2]) -> Result<String, String> {
    let mut text = String::new();
    draw(&mut text, title, runs).map_err(|error| format!("the plot cannot be drawn: {error}"))?;
    Ok(text)
}

/// A run, ready to be drawn.
struct Run<'r> {
    record: &'r Record,
    windows: Vec<Window>,
}

/// What all panels of a row have in common.
struct Scales {
    seconds: f64,
    failed: f64,
    p99_ms: Range<f64>,
}

fn draw(text: &mut String, title: &str, runs: [(&str, &Record); 2]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, body) = root.split_vertically(HEAD);
    let names = runs.map(|(name, _)| name);
    let runs = runs.map(|(_, record)| Run { record, windows: record.windows() });
    heading(&head, title, names, &runs[0])?;
    let scales = Scales::of(&runs);
    let panels = body.split_evenly((3, 2));
    for (panel, run) in panels.chunks(2).flat_map(|row| row.iter().zip(&runs)).enumerate() {
        let (area, run) = run;
        match panel / 2 {
            0 => shares(area, run, &scales)?,
            1 => failures(area, run, &scales)?,
            _ => latencies(area, run, &scales)?,
        }
    }
    root.present()?;
    drop(panels);
    Ok(())
}

impl Scales {
    fn of(runs: &[Run<'_>]) -> Scales {
        let windows = || runs.iter().flat_map(|run| &run.windows);
        let p99s = || windows().filter_map(|window| window.p99).map(ms);
        let (least, most) = (p99s().fold(f64::INFINITY, f64::min), p99s().fold(0.0, f64::max));
        // Whole powers of ten around what there is.
        let power = |value: f64, round: fn(f64) -> f64| 10_f64.powf(round(value.log10()));
        let p99_ms = if least > 0.0 && least.is_finite() {
            let low = power(least, f64::floor);
            low..power(most, f64::ceil).max(low * 10.0)
        } else {
            0.1..10.0
        };
        Scales {
            seconds: runs.iter().map(|run| run.record.ended.as_secs_f64()).fold(1.0, f64::max),
            failed: windows().map(|window| f64::from(window.failed)).fold(5.0, f64::max) * 1.05,
            p99_ms,
        }
    }

    fn x(&self) -> Range<f64> {
        0.0..self.seconds
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The title, what is drawn how, and the runs' names above their columns.
fn heading(area: &Area<'_>, title: &str, names: [&str; 2], run: &Run<'_>) -> Result<(), Box<dyn Error>> {
    area.draw(&Text::new(title.to_owned(), (12, 8), (FONT, 18).into_font()))?;
    let small = (FONT, 13).into_font();
    let mut x = 12;
    let mut entry = |name: &str, style: ShapeStyle, half_height: i32| -> Result<(), Box<dyn Error>> {
        area.draw(&Rectangle::new([(x, 41 - half_height), (x + 22, 41 + half_height)], style))?;
        area.draw(&Text::new(name.to_owned(), (x + 28, 34), small.clone()))?;
        x += 50 + 7 * name.len() as i32;
        Ok(())
    };
    for server in 1..=run.record.servers {
        entry(&format!("server {server}"), colour(server).filled(), 1)?;
    }
    entry("failed requests", FAILED.filled(), 5)?;
    entry("fault", SHADE.filled(), 5)?;
    entry("out of rotation", BLACK.filled(), 2)?;
    let (_, width) = (area.dim_in_pixel().1, area.dim_in_pixel().0 as i32);
    for (name, x) in names.into_iter().zip([64, width / 2 + 64]) {
        area.draw(&Text::new(name.to_owned(), (x, 58), (FONT, 15).into_font()))?;
    }
    Ok(())
}

fn colour(server: u8) -> RGBColor {
    SERVER[(usize::from(server) - 1) % SERVER.len()]
}

/// A rectangle from the one value to the other for as long as this lasts.
fn over(span: Span, values: Range<f64>, style: impl Into<ShapeStyle>) -> Rectangle<(f64, f64)> {
    let [began, ended] = [span.began, span.ended].map(|at| at.as_secs_f64());
    Rectangle::new([(began, values.start), (ended, values.end)], style)
}

/// A line through the middles of windows, broken where there is no value.
fn line<Y: Ranged<ValueType = f64>>(
    chart: &mut Chart<'_, '_, Y>,
    points: impl Iterator<Item = (Duration, Option<f64>)>,
    style: ShapeStyle,
) -> Result<(), Box<dyn Error>> {
    let points: Vec<(f64, Option<f64>)> =
        points.map(|(began, value)| ((began + WINDOW / 2).as_secs_f64(), value)).collect();
    for run in points.split(|(_, value)| value.is_none()).filter(|run| !run.is_empty()) {
        let run = run.iter().filter_map(|&(at, value)| Some((at, value?)));
        chart.draw_series(LineSeries::new(run, style))?;
    }
    Ok(())
}

fn shares(area: &Area<'_>, run: &Run<'_>, scales: &Scales) -> Result<(), Box<dyn Error>> {
    const TOP: f64 = 108.0;
    let mut chart = builder(area).build_cartesian_2d(scales.x(), 0.0..TOP)?;
    chart.draw_series([over(run.record.fault, 0.0..TOP, SHADE.filled())])?;
    mesh(&mut chart, "answered, % of requests", |value| format!("{value:.0}"))?;
    for server in 1..=run.record.servers {
        // The later, the narrower, so that lines that lie on each other are all seen.
        let style = colour(server).stroke_width(2 + 2 * u32::from(run.record.servers - server));
        let share = |window: &Window| (window.began, window.share(server).map(|share| share * 100.0));
        line(&mut chart, run.windows.iter().map(share), style)?;
    }
    let outs = run.record.outs().into_iter();
    chart.draw_series(outs.map(|out| over(out, 102.5..105.0, BLACK.filled())))?;
    Ok(())
}

fn failures(area: &Area<'_>, run: &Run<'_>, scales: &Scales) -> Result<(), Box<dyn Error>> {
    let mut chart = builder(area).build_cartesian_2d(scales.x(), 0.0..scales.failed)?;
    chart.draw_series([over(run.record.fault, 0.0..scales.failed, SHADE.filled())])?;
    mesh(&mut chart, "failed requests / 100 ms", |value| format!("{value:.0}"))?;
    let bar = |window: &Window| {
        let span = Span { began: window.began, ended: window.began + WINDOW };
        over(span, 0.0..f64::from(window.failed), FAILED.filled())
    };
    chart.draw_series(run.windows.iter().filter(|window| window.failed > 0).map(bar))?;
    Ok(())
}

fn latencies(area: &Area<'_>, run: &Run<'_>, scales: &Scales) -> Result<(), Box<dyn Error>> {
    let mut chart = builder(area).build_cartesian_2d(scales.x(), scales.p99_ms.clone().log_scale())?;
    chart.draw_series([over(run.record.fault, scales.p99_ms.clone(), SHADE.filled())])?;
    mesh(&mut chart, "p99 of answers, ms", |value| value.to_string())?;
    let p99 = |window: &Window| (window.began, window.p99.map(ms));
    line(&mut chart, run.windows.iter().map(p99), BLACK.stroke_width(2))
}

/// A panel's frame.
fn builder<'a, 's>(area: &'a Area<'s>) -> ChartBuilder<'a, 'a, SVGBackend<'s>> {
    let mut builder = ChartBuilder::on(area);
    builder.margin(8).margin_right(16).x_label_area_size(34).y_label_area_size(56);
    builder
}

/// Its axes.
fn mesh<Y: Ranged<ValueType = f64> + ValueFormatter<f64>>(
    chart: &mut Chart<'_, '_, Y>,
    what: &str,
    label: impl Fn(f64) -> String,
) -> Result<(), Box<dyn Error>> {
    chart
        .configure_mesh()
        .disable_x_mesh()
        .max_light_lines(1)
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(0xcc, 0xcc, 0xcc))
        .label_style((FONT, 12))
        .axis_desc_style((FONT, 13))
        .x_labels(10)
        .y_labels(6)
        .x_desc("seconds")
        .y_desc(what)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| label(*value))
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::desired::ServerState;
    use crate::lab::scenario::{Failure, Look, Sample};

    /// Two servers in turn; the second is away from 1 to 2 s.
    fn record() -> Record {
        let mut record =
            Record { servers: 2, patients: vec![2], ended: Duration::from_secs(3), ..Record::default() };
        record.fault = Span { began: Duration::from_secs(1), ended: Duration::from_secs(2) };
        for turn in 0..300_u64 {
            let began = Duration::from_millis(10 * turn);
            let outcome = match turn % 2 {
                1 if record.fault.holds(began) => Err(Failure::Refused),
                turn => Ok(turn as u8 + 1),
            };
            record.samples.push(Sample {
                client: 0,
                began,
                took: Duration::from_millis(1 + turn % 7),
                outcome,
            });
        }
        let look = |at, state| Look {
            at: Duration::from_millis(at),
            states: vec![Some(ServerState::Up), Some(state)],
            fails_open: false,
        };
        record.see(look(0, ServerState::Up));
        record.see(look(1100, ServerState::Down));
        record.see(look(2100, ServerState::Up));
        record
    }

    fn texts(svg: &str) -> Vec<String> {
        let document = roxmltree::Document::parse(svg).unwrap();
        let texts = document.descendants().filter(|node| node.has_tag_name("text"));
        texts.filter_map(|node| node.text()).map(|text| text.trim().to_owned()).collect()
    }

    #[test]
    fn a_plot_is_well_formed_and_says_what_is_what() {
        let (record, empty) = (record(), Record { servers: 2, patients: vec![2], ..Record::default() });
        for other in [&record, &empty] {
            let svg = svg("crash <&>", [("without", &record), ("with", other)]).unwrap();
            let texts = texts(&svg);
            for wanted in [
                "crash <&>",
                "without",
                "with",
                "server 1",
                "server 2",
                "failed requests",
                "fault",
                "seconds",
            ] {
                assert!(texts.iter().any(|text| text == wanted), "no {wanted:?} among {texts:?}");
            }
        }
    }

    #[test]
    fn there_is_a_bar_for_each_window_with_failures_and_a_strip_for_each_time_out_of_rotation() {
        let record = record();
        let svg = svg("", [("", &record), ("", &record)]).unwrap();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let rectangles = |fill: &str| {
            document
                .descendants()
                .filter(|node| node.has_tag_name("rect") && node.attribute("fill") == Some(fill))
                .count()
        };
        // Beside those in the legend.
        assert_eq!(rectangles("#D55E00"), 1 + 2 * 10);
        assert_eq!(rectangles("#000000"), 1 + 2);
        assert_eq!(rectangles("#E6E6E6"), 1 + 2 * 3);
    }
}
