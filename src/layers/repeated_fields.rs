use std::ops::Range;

use crate::features::EncodedRows;
use crate::kernels::{Bags, RepeatedColumns};

/// The distinct vectors of the repeated fields may be one for so many rows.
const MIN_ROWS_PER_VECTOR: usize = 8;

/// The fields in which some rows repeat few vectors: those that all rows share, and those of few ids.
#[derive(Debug)]
pub(super) struct RepeatedFields {
    /// The distinct vectors as bags of ids: first those of the fields of few ids, field after field, then one for each
    /// shared field of ids.
    pub(super) distinct: Bags,
    /// The shared fields of vectors, as places among those; their vectors stand behind the others.
    pub(super) shared_vectors: Vec<usize>,
    /// Which of the distinct vectors each row sums; shared ones are not named.
    bags: Bags,
    /// The fields of few ids and the shared ones, in the order of their vectors, fields of vectors counted behind those of
    /// ids; and how many vectors each has.
    fields: Vec<(usize, usize)>,
    n_shared: usize,
    n_fields: usize,
}

impl RepeatedFields {
    /// Those of these rows, if there are any.
    pub(super) fn of(rows: &EncodedRows) -> Option<Self> {
        let (space, n_rows) = (rows.space(), rows.n_rows());
        let (n_id_fields, n_vector_fields) = (space.n_fields(), space.vector_dims().len());
        let is_shared = |&field: &usize| rows.is_shared(field);
        let mut few: Vec<usize> = (0..n_id_fields).filter(|field| !is_shared(field)).collect();
        few.sort_by_key(|&field| space.ids(field).len());
        let mut n_left = n_rows / MIN_ROWS_PER_VECTOR;
        few.retain(|&field| match n_left.checked_sub(space.ids(field).len()) {
            Some(left) => {
                n_left = left;
                true
            }
            None => false,
        });
        let shared: Vec<usize> = (0..n_id_fields + n_vector_fields).filter(is_shared).collect();
        if n_rows == 0 || few.is_empty() && shared.is_empty() {
            return None;
        }
        let mut distinct = Bags::default();
        let mut first = Vec::with_capacity(few.len());
        for &field in &few {
            first.push(distinct.len() as u32);
            space.ids(field).for_each(|id| distinct.push([(id, 1.0)]));
        }
        let mut bags = Bags::default();
        for row in 0..n_rows {
            bags.push(few.iter().zip(&first).flat_map(|(&field, &first)| {
                let ((ids, weights), start) = (rows.bag(row, field), space.ids(field).start);
                ids.iter().map(move |id| first + (id - start)).zip(weights.iter().copied())
            }));
        }
        for &field in shared.iter().filter(|&&field| field < n_id_fields) {
            let (ids, weights) = rows.bag(0, field);
            distinct.push(ids.iter().copied().zip(weights.iter().copied()));
        }
        let of_few = few.iter().map(|&field| (field, space.ids(field).len()));
        Some(Self {
            distinct,
            shared_vectors: shared.iter().filter_map(|field| field.checked_sub(n_id_fields)).collect(),
            bags,
            fields: of_few.chain(shared.iter().map(|&field| (field, 1))).collect(),
            n_shared: shared.len(),
            n_fields: n_id_fields + n_vector_fields,
        })
    }

    /// The columns of these fields, where those of all fields are `places`.
    pub(super) fn columns(self, places: &[Range<usize>]) -> RepeatedColumns {
        let columns = |field: usize| places[field].clone();
        let mut end = 0;
        let repeated = self.fields.iter().map(|&(field, n)| {
            end += n;
            (columns(field), end - n..end)
        });
        let is_own = |field: &usize| self.fields.iter().all(|(repeated, _)| repeated != field);
        RepeatedColumns {
            repeated: repeated.collect(),
            own: (0..self.n_fields).filter(is_own).map(columns).collect(),
            bags: self.bags,
            n_shared: self.n_shared,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{EncodedRow, FeatureSpace};

    #[test]
    fn fields_of_few_ids_are_repeated_where_rows_are_many() {
        let space = FeatureSpace::default().with_field("user", 40).unwrap();
        let space = space.with_field("genres", 3).unwrap().with_vectors("text", 2).unwrap();
        let mut rows = EncodedRows::new(space, 0);
        for row in 0..24 {
            let bags: [&[(u32, f32)]; 2] = [&[(row, 1.0)], &[(40 + row % 2, 0.5), (42, 0.25)]];
            rows.push(EncodedRow { bags: &bags, vectors: &[1.0, 2.0], ..EncodedRow::default() }).unwrap();
        }
        let found = RepeatedFields::of(&rows).unwrap();
        assert_eq!((&found.distinct.rows[..], found.shared_vectors.len()), (&[40, 41, 42][..], 0));
        let columns = found.columns(&[0..5, 5..10, 10..15]);
        assert_eq!((&columns.repeated[..], &columns.own[..]), (&[(5..10, 0..3)][..], &[0..5, 10..15][..]));
        assert_eq!(columns.bags.bag(7), (&[1, 2][..], &[0.5, 0.25][..]));

        let few: Vec<usize> = (0..23).collect();
        assert!(RepeatedFields::of(&rows.select(&few)).is_none());
    }

    #[test]
    fn what_all_rows_share_is_one_vector() {
        let space = FeatureSpace::default().with_field("item", 40).unwrap();
        let space = space.with_field("user", 50).unwrap().with_vectors("text", 2).unwrap();
        let mut rows = EncodedRows::new(space, 0);
        for row in 0..4 {
            let bags: [&[(u32, f32)]; 2] = [&[(row, 1.0)], &[(40 + row, 0.5), (43, 0.25)]];
            rows.push(EncodedRow { bags: &bags, vectors: &[1.0, row as f32], ..EncodedRow::default() })
                .unwrap();
        }
        let left = ["user".to_owned(), "text".to_owned()];
        let found = RepeatedFields::of(&rows.join(1, &left, &rows, &[0, 2, 3], &[]).unwrap()).unwrap();
        assert_eq!((&found.distinct.rows[..], &found.shared_vectors[..]), (&[41, 43][..], &[0][..]));
        let columns = found.columns(&[0..1, 1..2, 2..3]);
        assert_eq!(columns.repeated, [(1..2, 0..1), (2..3, 1..2)]);
        assert_eq!((columns.own.len(), &columns.own[0]), (1, &(0..1)));
        assert_eq!((columns.n_shared, columns.bags.len(), columns.bags.rows.len()), (2, 3, 0));
    }
}
