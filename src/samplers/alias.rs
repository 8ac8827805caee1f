use crate::rng::Rng;

/// Draws an index with probability proportional to its weight in constant time: the alias method
/// (Walker 1977) with Vose's linear-time construction (Vose 1991).
#[derive(Clone, Debug)]
pub(super) struct AliasTable {
    /// Per column: the probability of staying, and where to go otherwise.
    columns: Vec<(f32, u32)>,
}

impl AliasTable {
    /// The table of these weights: finite, not negative, with a positive sum.
    pub(super) fn new(weights: &[f64]) -> Self {
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        let mut scaled: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
        let mut columns: Vec<(f32, u32)> = (0..weights.len() as u32).map(|i| (1.0, i)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..scaled.len()).partition(|&i| scaled[i] < 1.0);
        while let (Some(&donor), Some(column)) = (large.last(), small.pop()) {
            columns[column] = (scaled[column] as f32, donor as u32);
            scaled[donor] -= 1.0 - scaled[column];
            if scaled[donor] < 1.0 {
                large.pop();
                small.push(donor);
            }
        }
        // What is left over has weight 1 up to rounding, unless its own weight is zero.
        for column in small {
            if weights[column] == 0.0 {
                let heaviest = (0..weights.len()).max_by(|&a, &b| weights[a].total_cmp(&weights[b]));
                columns[column] = (0.0, heaviest.unwrap_or(column) as u32);
            }
        }
        Self { columns }
    }

    #[inline]
    pub(super) fn draw(&self, rng: &mut Rng) -> usize {
        let column = rng.below(self.columns.len());
        let (stay, alias) = self.columns[column];
        if rng.uniform_f32() < stay { column } else { alias as usize }
    }
}
