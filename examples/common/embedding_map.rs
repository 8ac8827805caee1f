//! A map of the items: their vectors in two dimensions, as a picture.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use bhtsne::{Neighbor, tSNE};
use recsys::rng::Rng;

/// Width and height of the picture, and what is left free around the points.
const SIZE: (f32, f32) = (1200.0, 900.0);
const MARGIN: f32 = 40.0;
const LEGEND_WIDTH: f32 = 170.0;
const FONT_SIZE: f32 = 14.0;

/// Fewer make no map.
pub const MIN_POINTS: usize = 10;
/// The effective number of neighbours of a point; less on a map of few.
const PERPLEXITY: f32 = 30.0;
const EPOCHS: usize = 750;
/// The accuracy of Barnes & Hut's approximation, as its authors set it.
const THETA: f32 = 0.5;
const POWER_ITERATIONS: usize = 30;

/// One for each of the most frequent groups, told apart also by most colour-blind readers; the last is for all others.
const COLOURS: [&str; 11] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d", "#8c564b", "#b8b000",
    "#222222", "#b0b0b0",
];

/// What the map says of an item.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Shown where the pointer rests on the point.
    pub title: &'a str,
    /// Gives the colour.
    pub group: &'a str,
    /// Whether the title is written beside the point.
    pub labelled: bool,
}

/// Writes an SVG of `vectors`, `[places.len(), dim]` row by row, laid out by t-SNE (van der Maaten & Hinton 2008;
/// Barnes–Hut: van der Maaten 2014) of their directions, from a start of the two principal components. The same
/// vectors and seed give the same picture; a file that stood there is replaced all at once.
pub fn draw(
    path: &Path,
    vectors: &[f32],
    dim: usize,
    places: &[Place<'_>],
    seed: u64,
) -> Result<(), Box<dyn Error>> {
    let (n, m) = (vectors.len(), places.len());
    let invalid = |what| Err(String::into(what));
    if dim == 0 || n != m * dim {
        return invalid(format!("{n} numbers are no {m} vectors of {dim}"));
    }
    if m < MIN_POINTS {
        return invalid(format!("a map needs at least {MIN_POINTS} points; found {m}"));
    }
    let directions = directions(vectors, dim);
    let points = fit_to_page(&layout(&directions, dim, seed));
    let picture = picture(&points, places);
    Ok(recsys::disk::write_file(path, |file| file.write_all(picture.as_bytes()))?)
}

/// The vectors at length 1, so that a distance tells the angle between two.
fn directions(vectors: &[f32], dim: usize) -> Vec<f32> {
    let unit = |vector: &[f32]| {
        let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        vector.iter().map(|x| x / norm).collect::<Vec<f32>>()
    };
    vectors.chunks_exact(dim).flat_map(unit).collect()
}

/// The positions on the plane.
fn layout(vectors: &[f32], dim: usize, seed: u64) -> Vec<[f32; 2]> {
    let rows: Vec<&[f32]> = vectors.chunks_exact(dim).collect();
    let perplexity = PERPLEXITY.min((rows.len() - 1) as f32 / 4.0);
    let neighbors = neighbors(&rows, (3.0 * perplexity) as usize);
    let start = principal_components(vectors, dim, seed);
    let fit = || {
        let mut map = tSNE::<f32, &[f32], 2>::new(&rows);
        map.perplexity(perplexity).epochs(EPOCHS).initial_embedding(start.clone());
        map.barnes_hut_with_neighbors(THETA, &neighbors).embedding().as_chunks().0.to_vec()
    };
    // On several threads the library's sums depend on who comes first.
    let thread = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    thread.expect("a thread can be started").install(fit)
}

/// The nearest of all other rows to each row, nearest first, equal ones by their number. (The library's own search
/// draws from the system's chance.)
fn neighbors(rows: &[&[f32]], n: usize) -> Vec<Vec<Neighbor<f32>>> {
    let nearest = |row: usize| {
        let mut others: Vec<Neighbor<f32>> = (0..rows.len())
            .filter(|&index| index != row)
            .map(|index| Neighbor { index, distance: distance(rows[row], rows[index]) })
            .collect();
        let order = |a: &Neighbor<f32>, b: &Neighbor<f32>| {
            a.distance.total_cmp(&b.distance).then(a.index.cmp(&b.index))
        };
        others.select_nth_unstable_by(n - 1, order);
        others.truncate(n);
        others.sort_unstable_by(order);
        others
    };
    (0..rows.len()).map(nearest).collect()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt()
}

/// The first two principal components of the rows, scaled to a deviation of 10⁻⁴ (Kobak & Berens 2019), by power
/// iteration from a random start.
fn principal_components(vectors: &[f32], dim: usize, seed: u64) -> Vec<f32> {
    let n = (vectors.len() / dim) as f64;
    let mut mean = vec![0.0; dim];
    for row in vectors.chunks_exact(dim) {
        mean.iter_mut().zip(row).for_each(|(mean, &x)| *mean += f64::from(x) / n);
    }
    let centred: Vec<f64> = vectors
        .chunks_exact(dim)
        .flat_map(|row| row.iter().zip(&mean).map(|(&x, mean)| f64::from(x) - mean))
        .collect();
    let mut rng = Rng::new(seed);
    let mut axes: Vec<Vec<f64>> = Vec::new();
    for _ in 0..2 {
        let mut axis: Vec<f64> = (0..dim).map(|_| rng.normal()).collect();
        for _ in 0..POWER_ITERATIONS {
            let mut next = vec![0.0; dim];
            for row in centred.chunks_exact(dim) {
                add(dot(row, &axis), row, &mut next);
            }
            axes.iter().for_each(|other| add(-dot(&next, other), other, &mut next));
            let norm = dot(&next, &next).sqrt().max(f64::MIN_POSITIVE);
            axis = next.into_iter().map(|x| x / norm).collect();
        }
        axes.push(axis);
    }
    let scores: Vec<f64> =
        centred.chunks_exact(dim).flat_map(|row| axes.iter().map(move |axis| dot(row, axis))).collect();
    let first = scores.iter().step_by(2).map(|x| x * x).sum::<f64>();
    let deviation = (first / n).sqrt().max(f64::MIN_POSITIVE);
    // A trace of chance keeps points apart whose vectors are equal.
    scores.iter().map(|x| (1e-4 * (x / deviation + 1e-3 * rng.normal())) as f32).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(factor: f64, a: &[f64], sum: &mut [f64]) {
    sum.iter_mut().zip(a).for_each(|(sum, a)| *sum += factor * a);
}

/// Moves and scales the points into the page, alike in both directions.
fn fit_to_page(points: &[[f32; 2]]) -> Vec<[f32; 2]> {
    let bounds = |axis: usize| {
        let values = points.iter().map(|point| point[axis]);
        values.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
    };
    let (x, y) = (bounds(0), bounds(1));
    let (width, height) = (SIZE.0 - LEGEND_WIDTH - 2.0 * MARGIN, SIZE.1 - 2.0 * MARGIN);
    let scale = (width / (x.1 - x.0).max(f32::MIN_POSITIVE)).min(height / (y.1 - y.0).max(f32::MIN_POSITIVE));
    let (left, top) = (MARGIN + width / 2.0, MARGIN + height / 2.0);
    let middle = ((x.0 + x.1) / 2.0, (y.0 + y.1) / 2.0);
    points.iter().map(|p| [left + scale * (p[0] - middle.0), top + scale * (p[1] - middle.1)]).collect()
}

/// The groups, most frequent first, equal ones by name; those beyond the palette are one, the last.
fn palette<'a>(places: &[Place<'a>]) -> Vec<(&'a str, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    places.iter().for_each(|place| *counts.entry(place.group).or_default() += 1);
    let mut groups: Vec<_> = counts.into_iter().collect();
    groups.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    if groups.len() > COLOURS.len() {
        let others = groups.split_off(COLOURS.len() - 1);
        groups.push(("others", others.iter().map(|group| group.1).sum()));
    }
    groups
}

fn picture(points: &[[f32; 2]], places: &[Place<'_>]) -> String {
    let groups = palette(places);
    let group_of = |place: &Place<'_>| {
        groups.iter().position(|group| group.0 == place.group).unwrap_or(groups.len() - 1)
    };
    let (width, height) = SIZE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"{FONT_SIZE}\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (number, colour) in COLOURS.iter().enumerate().take(groups.len()) {
        let _ = writeln!(svg, "<g fill=\"{colour}\" fill-opacity=\".75\">");
        for (point, place) in points.iter().zip(places).filter(|(_, place)| group_of(place) == number) {
            let (x, y, title) = (point[0], point[1], escape(place.title));
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"><title>{title}</title></circle>"
            );
        }
        svg.push_str("</g>\n");
    }
    let legend = legend(&mut svg, &groups);
    labels(&mut svg, points, places, legend);
    svg.push_str("</svg>\n");
    svg
}

/// A stretch of the page: left, top, right, bottom.
type Area = [f32; 4];

/// Writes which colour is which group; gives the area that this takes.
fn legend(svg: &mut String, groups: &[(&str, usize)]) -> Area {
    let x = SIZE.0 - LEGEND_WIDTH;
    for (at, ((name, count), colour)) in groups.iter().zip(COLOURS).enumerate() {
        let y = MARGIN + 22.0 * at as f32;
        let _ = writeln!(
            svg,
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"5\" fill=\"{colour}\"/><text x=\"{}\" y=\"{}\">{} ({count})</text>",
            x + 12.0,
            y + 5.0,
            escape(name)
        );
    }
    [x - 8.0, 0.0, SIZE.0, MARGIN + 22.0 * groups.len() as f32]
}

/// Writes the titles beside their points, each at the first spot around it that no other title covers, with a line
/// to its point.
fn labels(svg: &mut String, points: &[[f32; 2]], places: &[Place<'_>], legend: Area) {
    let labelled = || points.iter().zip(places).filter(|(_, place)| place.labelled);
    let around = |p: &[f32; 2]| [p[0] - 5.0, p[1] - 5.0, p[0] + 5.0, p[1] + 5.0];
    let mut taken: Vec<Area> = labelled().map(|(point, _)| around(point)).chain([legend]).collect();
    svg.push_str("<g stroke=\"#fff\" stroke-width=\"4\" stroke-linejoin=\"round\" paint-order=\"stroke\">\n");
    for (point, place) in labelled() {
        let area = free_spot(*point, place.title, &taken);
        taken.push(area);
        let [x, y] = *point;
        let (near_x, near_y) = (x.clamp(area[0], area[2]), y.clamp(area[1], area[3]));
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {y:.1}L{near_x:.1} {near_y:.1}\" stroke=\"#000\" stroke-width=\".8\"/>\
             <circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" stroke=\"#000\" stroke-width=\"1.5\" fill=\"none\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            area[0],
            area[3] - 0.25 * FONT_SIZE,
            escape(place.title)
        );
    }
    svg.push_str("</g>\n");
}

/// The nearest of some spots around a point where the title stands free and on the page; the first, if none.
fn free_spot([x, y]: [f32; 2], title: &str, taken: &[Area]) -> Area {
    // A letter is about half as wide as it is high.
    let (width, height) = (0.52 * FONT_SIZE * title.chars().count() as f32, 1.2 * FONT_SIZE);
    let spot = |left: f32, top: f32| [left, top, left + width, top + height];
    let rows = (0..20).map(|n: i32| (n + 1) / 2 * if n % 2 == 0 { -1 } else { 1 });
    let spots = rows.flat_map(|row| {
        let top = y - height / 2.0 + row as f32 * 0.6 * height;
        let beside = 8.0 - (row.abs() as f32).min(2.0) * 3.0;
        [spot(x + beside, top), spot(x - beside - width, top)]
    });
    let is_free = |area: &Area| {
        let on_page = area[0] >= 0.0 && area[1] >= 0.0 && area[2] <= SIZE.0 && area[3] <= SIZE.1;
        on_page
            && taken.iter().all(|other| {
                area[2] <= other[0] || other[2] <= area[0] || area[3] <= other[1] || other[3] <= area[1]
            })
    };
    spots.clone().find(is_free).unwrap_or_else(|| spot(x + 8.0, y - height / 2.0))
}

/// The text as XML has it.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
