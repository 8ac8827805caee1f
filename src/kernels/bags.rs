/// Bags of weighted rows of a table.
#[derive(Clone, Debug)]
pub(crate) struct Bags {
    /// Where the entries of each bag begin, and where the last one ends: one number more than bags.
    starts: Vec<u32>,
    /// The row of each entry.
    pub(crate) rows: Vec<u32>,
    /// Its weight.
    pub(crate) weights: Vec<f32>,
}

impl Default for Bags {
    fn default() -> Self {
        Self { starts: vec![0], rows: Vec::new(), weights: Vec::new() }
    }
}

impl Bags {
    /// Bags that begin at these entries, the last start being the number of entries.
    ///
    /// # Panics
    /// If the starts do not rise from 0 to the number of rows, or the weights are not as many.
    pub(crate) fn new(starts: Vec<u32>, rows: Vec<u32>, weights: Vec<f32>) -> Self {
        let ends = (starts.first().copied(), starts.last().map(|&end| end as usize));
        assert!(ends == (Some(0), Some(rows.len())) && starts.is_sorted(), "starts of other bags");
        assert_eq!(rows.len(), weights.len(), "weights of the rows");
        Self { starts, rows, weights }
    }

    /// For each of these rows a bag that holds it alone, with this weight.
    pub(crate) fn of_one(rows: Vec<u32>, weight: f32) -> Self {
        let weights = vec![weight; rows.len()];
        Self::of_equal_size(1, rows, weights)
    }

    /// Bags of `k` rows each, one bag behind another.
    pub(crate) fn of_equal_size(k: usize, rows: Vec<u32>, weights: Vec<f32>) -> Self {
        assert!(rows.len() == weights.len() && rows.len().is_multiple_of(k), "bags of {k}");
        Self { starts: (0..=rows.len() as u32).step_by(k).collect(), rows, weights }
    }

    /// Adds a bag with these rows and weights.
    pub(crate) fn push(&mut self, entries: impl IntoIterator<Item = (u32, f32)>) {
        let (rows, weights) = (&mut self.rows, &mut self.weights);
        entries.into_iter().for_each(|(row, weight)| {
            rows.push(row);
            weights.push(weight);
        });
        self.starts.push(self.rows.len() as u32);
    }

    /// The number of bags.
    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// The rows and weights of one bag.
    #[inline(always)]
    pub(crate) fn bag(&self, bag: usize) -> (&[u32], &[f32]) {
        let entries = self.starts[bag] as usize..self.starts[bag + 1] as usize;
        (&self.rows[entries.clone()], &self.weights[entries])
    }

    /// # Panics
    /// If a row is not one of a table of `n_rows`.
    pub(crate) fn check(&self, n_rows: usize) {
        if let Some(row) = self.rows.iter().find(|&&row| row as usize >= n_rows) {
            panic!("row {row} of a table of {n_rows} rows");
        }
    }

    /// Where the bags from `start` on, counted with their entries, reach `size`, or end.
    #[cfg(feature = "flex")]
    pub(crate) fn end_of_part(&self, start: usize, size: usize) -> usize {
        let count = |bag: usize| self.starts[bag] as usize + bag;
        (start + 1..self.len()).find(|&end| count(end) >= count(start) + size).unwrap_or(self.len())
    }

    /// These bags, in this order.
    pub(crate) fn select(&self, bags: &[u32]) -> Self {
        let mut selected = Self::default();
        for &bag in bags {
            let (rows, weights) = self.bag(bag as usize);
            selected.rows.extend_from_slice(rows);
            selected.weights.extend_from_slice(weights);
            selected.starts.push(selected.rows.len() as u32);
        }
        selected
    }

    /// The bag of each entry.
    pub(crate) fn bag_of_each(&self) -> Vec<u32> {
        let bag = |bag| std::iter::repeat_n(bag as u32, self.bag(bag).0.len());
        (0..self.len()).flat_map(bag).collect()
    }

    /// For each of the `n_rows` rows of the table the bag of those that hold it, in their order.
    pub(crate) fn transpose(&self, n_rows: usize) -> Self {
        let mut starts = vec![0; n_rows + 1];
        for &row in &self.rows {
            starts[row as usize + 1] += 1;
        }
        for row in 0..n_rows {
            starts[row + 1] += starts[row];
        }
        let mut next = starts.clone();
        let (mut rows, mut weights) = (vec![0; self.rows.len()], vec![0.0; self.rows.len()]);
        for bag in 0..self.len() {
            let (of_bag, weights_of_bag) = self.bag(bag);
            for (&row, &weight) in of_bag.iter().zip(weights_of_bag) {
                let place = &mut next[row as usize];
                rows[*place as usize] = bag as u32;
                weights[*place as usize] = weight;
                *place += 1;
            }
        }
        Self { starts, rows, weights }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    fn entries(bags: &Bags) -> Vec<Vec<(u32, f32)>> {
        let of = |bag| {
            let (rows, weights) = bags.bag(bag);
            rows.iter().copied().zip(weights.iter().copied()).collect()
        };
        (0..bags.len()).map(of).collect()
    }

    #[test]
    fn a_transpose_keeps_the_order_and_turns_back() {
        let mut bags = Bags::default();
        let lists = [vec![(3, 1.0), (0, 0.5), (3, 2.0)], vec![], vec![(0, 4.0)]];
        lists.iter().for_each(|list| bags.push(list.clone()));
        assert_eq!(entries(&bags), lists);
        assert_eq!(bags.bag_of_each(), [0, 0, 0, 2]);
        assert_eq!([0, 1, 2].map(|start| bags.end_of_part(start, 2)), [1, 3, 3]);
        let transposed = bags.transpose(5);
        let expected = [vec![(0, 0.5), (2, 4.0)], vec![], vec![], vec![(0, 1.0), (0, 2.0)], vec![]];
        assert_eq!(entries(&transposed), expected);
        let sorted = [vec![(0, 0.5), (3, 1.0), (3, 2.0)], vec![], vec![(0, 4.0)]];
        assert_eq!(entries(&transposed.transpose(3)), sorted);
        assert_eq!(entries(&bags.select(&[2, 2, 0])), [lists[2].clone(), lists[2].clone(), lists[0].clone()]);
        assert_eq!(entries(&Bags::of_one(vec![7, 1], 1.0)), [[(7, 1.0)], [(1, 1.0)]]);
    }
}
