//! Lists of one user's items as rows.

use arrow::array::{ArrayRef, UInt64Array};
use arrow::compute::take;
use arrow::error::ArrowError;

use super::cells::longest;
use super::lists::Lists;
use super::{BATCH_LEN, MAX_TEXTS};
use crate::data::column_map::Role;
use crate::data::fields::Mismatch;

/// The columns of rows, by role, each of which has one value.
pub(super) type Columns = [Option<ArrayRef>; Role::COUNT];

/// A batch whose items are lists.
pub(super) struct Unrolled {
    items: Lists,
    /// The other columns, by role.
    others: [Option<Unfolded>; Role::COUNT],
}

/// A column beside such items.
enum Unfolded {
    /// One value for all items of a list.
    Same(ArrayRef),
    /// A value for each item.
    Each(Lists),
}

impl Unrolled {
    /// `None` if the items are no lists.
    pub(super) fn of(columns: &Columns) -> Option<Self> {
        let items = Lists::of(columns[Role::Item as usize].as_ref()?)?;
        let unfold = |role: Role| {
            let column = columns[role as usize].as_ref()?;
            let lists = if role == Role::User { None } else { Lists::of(column) };
            Some(lists.map_or_else(|| Unfolded::Same(column.clone()), Unfolded::Each))
        };
        let others = Role::ALL.map(|role| if role == Role::Item { None } else { unfold(role) });
        Some(Self { items, others })
    }

    /// The number of lists.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// How many items may become rows at once, so that the texts beside them, which each of them gets, have room.
    pub(super) fn most(&self) -> usize {
        let same = self.others.iter().flatten().map(|column| match column {
            Unfolded::Same(column) => longest(column),
            Unfolded::Each(_) => 0,
        });
        (MAX_TEXTS / same.max().unwrap_or(0).max(1)).clamp(1, BATCH_LEN)
    }

    /// The number of items of a list; the lists beside them must have as many values.
    pub(super) fn n_items(&self, row: usize) -> Result<usize, (Role, Mismatch)> {
        let n = self.items.part(row).len();
        for role in Role::ALL {
            let Some(Unfolded::Each(lists)) = &self.others[role as usize] else { continue };
            let found = lists.part(row).len();
            if found != n && !lists.is_null(row) {
                let expected = format!("{n} {}s, one for each item", role.name());
                return Err((role, Mismatch::new(expected, found.to_string())));
            }
        }
        Ok(n)
    }

    /// The columns of these items, each given by its row and its place in the list there.
    pub(super) fn columns(&self, places: &[(usize, usize)]) -> Result<Columns, ArrowError> {
        let mut columns: Columns = [const { None }; Role::COUNT];
        for (column, other) in columns.iter_mut().zip(&self.others) {
            *column = other.as_ref().map(|other| other.values(places)).transpose()?;
        }
        columns[Role::Item as usize] = Some(elements_at(&self.items, places)?);
        Ok(columns)
    }
}

impl Unfolded {
    fn values(&self, places: &[(usize, usize)]) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Same(column) => {
                take(column, &UInt64Array::from_iter_values(places.iter().map(|place| place.0 as u64)), None)
            }
            Self::Each(lists) => elements_at(lists, places),
        }
    }
}

/// The values at places of lists; nulls where a list is null.
fn elements_at(lists: &Lists, places: &[(usize, usize)]) -> Result<ArrayRef, ArrowError> {
    let at = |&(row, place): &(usize, usize)| {
        (!lists.is_null(row)).then(|| (lists.part(row).start + place) as u64)
    };
    take(lists.elements(), &places.iter().map(at).collect::<UInt64Array>(), None)
}
