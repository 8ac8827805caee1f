//! A table of text, for the screen and for the report.

use std::fmt;

use recsys::metrics::{Comparison, Estimate};
use serde_json::{Map, Value, json};

pub struct Table {
    title: String,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: impl Into<String>, header: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let header = header.into_iter().map(Into::into).collect();
        Self { title: title.into(), header, rows: Vec::new() }
    }

    pub fn push(&mut self, row: impl IntoIterator<Item = String>) {
        self.rows.push(row.into_iter().collect());
    }

    /// An object for each row.
    pub fn to_json(&self) -> Value {
        let row = |row: &Vec<String>| -> Map<String, Value> {
            self.header.iter().cloned().zip(row.iter().map(|cell| json!(cell))).collect()
        };
        self.rows.iter().map(row).collect::<Vec<_>>().into()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = || std::iter::once(&self.header).chain(&self.rows);
        let width = |column: usize| lines().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        writeln!(f, "{}", self.title)?;
        for row in lines() {
            write!(f, "  {:<width$}", row[0], width = widths[0])?;
            for (cell, width) in row.iter().zip(&widths).skip(1) {
                write!(f, "  {cell:>width$}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// A number with its 95 % interval.
pub fn estimate(estimate: &Estimate) -> String {
    let interval = estimate.interval.map(|interval| format!(" [{:.4}, {:.4}]", interval.low, interval.high));
    format!("{:.4}{}", estimate.value, interval.unwrap_or_default())
}

/// A difference with its 95 % interval.
pub fn difference(comparison: &Comparison) -> String {
    format!(
        "{}{}",
        if comparison.difference.value < 0.0 { "" } else { "+" },
        estimate(&comparison.difference)
    )
}
