/// Sums by dense id of which few are not zero (the sparse accumulator of Gilbert, Moler & Schreiber 1992, "Sparse
/// matrices in MATLAB"): an addition costs O(1), reading and clearing the sums costs what was touched. Addends are
/// positive. 8 bytes an id.
#[derive(Clone, Debug)]
pub(crate) struct SparseAccumulator {
    sums: Vec<f64>,
    touched: Vec<u32>,
}

impl SparseAccumulator {
    /// Zero for each of `n` ids.
    pub(crate) fn new(n: usize) -> Self {
        Self { sums: vec![0.0; n], touched: Vec::new() }
    }

    /// Adds to the sum of one id.
    #[inline]
    pub(crate) fn add(&mut self, id: u32, addend: f64) {
        let sum = &mut self.sums[id as usize];
        if *sum == 0.0 {
            self.touched.push(id);
        }
        *sum += addend;
    }

    /// The ids touched, in the order of their first touch, with their sums, which are zero again afterwards.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (u32, f64)> {
        self.touched.drain(..).map(|id| (id, std::mem::take(&mut self.sums[id as usize])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_read_once() {
        let mut sums = SparseAccumulator::new(5);
        for (id, addend) in [(3, 1.0), (0, 0.5), (3, 2.0)] {
            sums.add(id, addend);
        }
        assert_eq!(sums.drain().collect::<Vec<_>>(), [(3, 3.0), (0, 0.5)]);
        sums.add(3, 4.0);
        assert_eq!(sums.drain().collect::<Vec<_>>(), [(3, 4.0)]);
    }
}
