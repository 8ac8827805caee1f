//! Columns of lists, whatever their type says of offsets and sizes.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeListArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};

/// The field of the elements of a column of lists; `None` for another column.
pub(super) fn elements(column: &DataType) -> Option<&Field> {
    match column {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::ListView(field)
        | DataType::LargeListView(field) => Some(field),
        _ => None,
    }
}

/// A column of lists.
pub(crate) struct Lists {
    lists: LargeListArray,
}

impl Lists {
    /// `None` for a column that is none of lists.
    pub(crate) fn of(column: &ArrayRef) -> Option<Self> {
        let element = elements(column.data_type())?.data_type().clone();
        let target = DataType::LargeList(Arc::new(Field::new_list_field(element, true)));
        Some(Self { lists: cast(column, &target).ok()?.as_list().clone() })
    }

    /// All elements; those of null lists may be among them.
    pub(crate) fn elements(&self) -> &ArrayRef {
        self.lists.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.lists.len()
    }

    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.lists.is_null(row)
    }

    /// Where the list of a row stands among the elements; nothing of a null.
    pub(crate) fn part(&self, row: usize) -> Range<usize> {
        let bounds = self.lists.value_offsets();
        let [start, end] = [bounds[row] as usize, bounds[row + 1] as usize];
        if self.is_null(row) { start..start } else { start..end }
    }

    /// The row of an element.
    pub(crate) fn row_of(&self, element: usize) -> usize {
        self.lists.value_offsets().partition_point(|&start| start as usize <= element).saturating_sub(1)
    }
}
