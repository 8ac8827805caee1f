mod item_lists;
mod reader;
mod records;
mod usual_lines;

pub use item_lists::ItemListReader;
pub use reader::DelimitedReader;

pub(crate) use records::{Format, Record, Records};
