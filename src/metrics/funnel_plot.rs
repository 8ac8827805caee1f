use std::io;
use std::path::Path;

use plotters::prelude::*;

use crate::disk;
use crate::error::{ErrorKind, Result};
use crate::metrics::funnel::Funnel;
use crate::metrics::significance::Estimate;

const HEIGHT: u32 = 420;
/// The width of a stage with its two bars.
const STAGE_WIDTH: u32 = 140;
/// Blue and vermilion of Okabe & Ito's palette: told apart also by colour-blind readers, and in print.
const COLOURS: [RGBColor; 2] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0)];

/// Draws two bars for each stage, retention and Recall@k.
pub(super) fn write_svg(funnel: &Funnel, path: &Path) -> Result<()> {
    let svg = draw(funnel)
        .map_err(|error| ErrorKind::Io { path: path.to_path_buf(), source: io::Error::other(error) })?;
    disk::write_file(path, |file| file.write_all(svg.as_bytes()))
}

fn draw(funnel: &Funnel) -> Result<String, String> {
    let mut svg = String::new();
    let size = (160 + STAGE_WIDTH * (funnel.stages.len() as u32).max(2), HEIGHT);
    draw_bars(funnel, SVGBackend::with_string(&mut svg, size)).map_err(|error| error.to_string())?;
    Ok(svg)
}

fn draw_bars<'a>(funnel: &Funnel, backend: SVGBackend<'a>) -> Result<(), Box<dyn std::error::Error + 'a>> {
    let root = backend.into_drawing_area();
    root.fill(&WHITE)?;
    let n_stages = funnel.stages.len() as f64;
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(-0.5..n_stages - 0.5, 0.0..1.12)?;
    let name = |at: &f64| {
        let is_middle = (at - at.round()).abs() < 1e-6;
        let stage = is_middle.then(|| funnel.stages.get(at.round() as usize)).flatten();
        stage.map_or_else(String::new, |stage| format!("{} ({:.0})", stage.name, stage.n_kept))
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc(format!("stage (items that go on); {} users", funnel.n_users))
        .x_labels(2 * funnel.stages.len() + 1)
        .x_label_formatter(&name)
        .y_labels(6)
        .y_label_formatter(&|share| format!("{share:.1}"))
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 16))
        .bold_line_style(RGBColor(225, 225, 225))
        .light_line_style(TRANSPARENT)
        .draw()?;
    let of_stages = |value: fn(&crate::metrics::FunnelStage) -> Estimate| funnel.stages.iter().map(value);
    let bars: [(String, f64, Vec<Estimate>); 2] = [
        ("retention".into(), -0.2, of_stages(|stage| stage.retention).collect()),
        (format!("recall@{}", funnel.k), 0.2, of_stages(|stage| stage.recall).collect()),
    ];
    for ((label, shift, estimates), colour) in bars.into_iter().zip(COLOURS) {
        let at = |stage: usize| stage as f64 + shift;
        let bar = |(stage, estimate): (usize, &Estimate)| {
            Rectangle::new([(at(stage) - 0.18, 0.0), (at(stage) + 0.18, estimate.value)], colour.filled())
        };
        chart
            .draw_series(estimates.iter().enumerate().map(bar))?
            .label(label)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 18, y + 5)], colour.filled()));
        let range = |(stage, estimate): (usize, &Estimate)| {
            let interval = estimate.interval?;
            Some(PathElement::new([(at(stage), interval.low), (at(stage), interval.high)], BLACK))
        };
        chart.draw_series(estimates.iter().enumerate().filter_map(range))?;
        let value = |(stage, estimate): (usize, &Estimate)| {
            let top = estimate.interval.map_or(estimate.value, |interval| interval.high);
            let place = (at(stage) - 0.15, top + 0.05);
            Text::new(format!("{:.3}", estimate.value), place, ("sans-serif", 13))
        };
        chart.draw_series(estimates.iter().enumerate().map(value))?;
    }
    chart
        .configure_series_labels()
        .label_font(("sans-serif", 14))
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(180, 180, 180))
        .position(SeriesLabelPosition::UpperRight)
        .draw()?;
    root.present()?;
    drop(chart);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::metrics::funnel::FunnelStage;
    use crate::metrics::significance::Interval;

    fn stage(name: &str, retention: f64, recall: f64) -> FunnelStage {
        let estimate = |value: f64| {
            let interval = Some(Interval { low: value - 0.02, high: value + 0.02 });
            Estimate { value, interval }
        };
        FunnelStage {
            name: name.into(),
            n_kept: 10.0,
            retention: estimate(retention),
            recall: estimate(recall),
            coverage: 0.5,
            novelty: 3.0,
            similarity: None,
            p50_ms: 1.0,
            p99_ms: 2.0,
            n_fallbacks: 0,
            lists: vec![],
        }
    }

    #[test]
    fn every_stage_has_its_two_bars() {
        let stages = vec![stage("recall", 0.9, 0.3), stage("din", 0.5, 0.35), stage("mmr", 0.345, 0.345)];
        let funnel = Funnel {
            k: 10,
            n_users: 42,
            users_without_history: 0,
            users_without_answer: 0,
            dropped_rows: None,
            stages,
            segments: vec![],
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("funnel.svg");
        funnel.plot_svg(&path).unwrap();
        let svg = fs::read_to_string(&path).unwrap();
        for text in ["retention", "recall@10", "recall (10)", "din (10)", "mmr (10)", "0.900", "0.350"] {
            assert!(svg.contains(&format!("\n{text}\n")), "{text} is missing in\n{svg}");
        }
        // Two bars for each of three stages, and two in the legend, in either colour.
        for colour in ["#0072B2", "#D55E00"] {
            assert_eq!(svg.matches(&format!("fill=\"{colour}\"")).count(), 3 + 1, "{svg}");
        }
        let nowhere = funnel.plot_svg(folder.path().join("no/such/folder.svg")).unwrap_err();
        assert!(matches!(nowhere.kind(), ErrorKind::Io { .. }));
    }
}
