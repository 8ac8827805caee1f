mod item_lists;
mod lines;
mod reader;
mod records;

pub use item_lists::ItemListReader;
pub use reader::DelimitedReader;

pub(crate) use records::{Format, Record, Records};
