use std::io;
use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::History;
use crate::disk;
use crate::error::{Error, ErrorKind, Location, Result};

const SIZE: (u32, u32) = (800, 640);

/// Okabe & Ito's palette: told apart also by colour-blind readers, and in print.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// Curves over the epochs that share an axis.
struct Panel<'a> {
    axis: &'static str,
    curves: Vec<Curve<'a>>,
    /// The corner that curves of this kind leave free.
    legend: SeriesLabelPosition,
}

struct Curve<'a> {
    name: &'a str,
    points: Vec<(f64, f64)>,
}

/// Draws the loss and, below it, the metrics.
pub(super) fn write_svg(history: &History, path: &Path) -> Result<()> {
    if history.epochs.is_empty() {
        return Err(Error::input(Location::memory(), "a history of at least one epoch", "none"));
    }
    for epoch in &history.epochs {
        let metrics = epoch.metrics.iter().map(|(name, value)| (name.as_str(), *value));
        for (name, value) in [("loss", epoch.loss)].into_iter().chain(metrics) {
            if value.is_nan() || value.abs() > f64::from(f32::MAX) {
                let place = Location::memory().line(epoch.epoch as u64).column(name);
                return Err(Error::input(place, "a finite number of float32", value.to_string()));
            }
        }
    }
    let svg = draw(history)
        .map_err(|error| ErrorKind::Io { path: path.to_path_buf(), source: io::Error::other(error) })?;
    disk::write_file(path, |file| file.write_all(svg.as_bytes()))
}

fn draw(history: &History) -> Result<String, String> {
    let loss = history.epochs.iter().map(|epoch| (epoch.epoch as f64, epoch.loss)).collect();
    let loss = vec![Curve { name: "training loss", points: loss }];
    let metrics: Vec<_> =
        history.metric_names().into_iter().map(|name| metric_curve(history, name)).collect();
    let mut panels = vec![Panel { axis: "loss", curves: loss, legend: SeriesLabelPosition::UpperRight }];
    if !metrics.is_empty() {
        panels.push(Panel { axis: "metric", curves: metrics, legend: SeriesLabelPosition::MiddleRight });
    }
    let epochs = 1.0..history.epochs.len().max(2) as f64;

    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(|error| error.to_string())?;
        for (area, panel) in root.split_evenly((panels.len(), 1)).iter().zip(&panels) {
            draw_panel(area, epochs.clone(), panel).map_err(|error| error.to_string())?;
        }
        root.present().map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

fn metric_curve<'a>(history: &'a History, name: &'a str) -> Curve<'a> {
    let points =
        history.epochs.iter().filter_map(|epoch| Some((epoch.epoch as f64, epoch.metric(name)?))).collect();
    Curve { name, points }
}

fn draw_panel<'a>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    epochs: Range<f64>,
    panel: &Panel<'_>,
) -> Result<(), Box<dyn std::error::Error + 'a>> {
    let values = value_range(&panel.curves);
    let digits = (1.0 - (values.end - values.start).log10().floor()).clamp(0.0, 12.0) as usize;
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d(epochs.clone(), values)?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .y_desc(panel.axis)
        .x_labels((epochs.end as usize).min(20))
        .y_labels(6)
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .y_label_formatter(&|value| format!("{value:.digits$}"))
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 16))
        .bold_line_style(RGBColor(225, 225, 225))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (curve, colour) in panel.curves.iter().zip(COLOURS.iter().cycle()) {
        let line = LineSeries::new(curve.points.iter().copied(), colour.stroke_width(2)).point_size(3);
        chart
            .draw_series(line)?
            .label(curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .label_font(("sans-serif", 14))
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(180, 180, 180))
        .position(panel.legend.clone())
        .draw()?;
    Ok(())
}

/// The range of all values with a margin of a twentieth, never empty.
fn value_range(curves: &[Curve<'_>]) -> Range<f64> {
    let values = || curves.iter().flat_map(|curve| &curve.points).map(|&(_, value)| value);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    let margin = if high > low { 0.05 * (high - low) } else { 0.05 * high.abs().max(1e-6) };
    low - margin..high + margin
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::error::ErrorKind;
    use crate::training::history::tests::three_epochs;

    #[test]
    fn what_no_curve_can_show_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for wrong in [f64::NAN, f64::INFINITY, -1e308] {
            let mut history = three_epochs();
            history.epochs[2].metrics[1].1 = wrong;
            let error = history.plot_svg(dir.path().join("history.svg")).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("input, line 3, column ndcg@10: expected a finite number of float32, found {wrong}")
            );
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_picture_names_its_axes_and_curves() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.svg");
        three_epochs().plot_svg(&path).unwrap();
        let svg = fs::read_to_string(&path).unwrap();
        assert!(svg.starts_with("<svg"));
        for text in ["epoch", "loss", "metric", "training loss", "recall@10", "ndcg@10"] {
            assert!(svg.contains(&format!("\n{text}\n")), "{text} is missing in\n{svg}");
        }
        // One line per curve: two epochs have metrics, three a loss.
        let points = svg.matches("<circle").count();
        assert_eq!(points, 3 + 2 + 2);
    }

    #[test]
    fn one_epoch_is_enough_and_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = three_epochs();
        history.epochs.truncate(1);
        history.plot_svg(dir.path().join("one.svg")).unwrap();
        let error = History::default().plot_svg(dir.path().join("none.svg")).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidInput { .. }));
        let error = history.plot_svg(dir.path().join("no/such/folder.svg")).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Io { .. }));
    }
}
