mod blocks;
mod fields;
mod lines;
mod reader;
mod records;

pub use fields::Encoding;
pub use reader::DelimitedReader;

pub(super) use fields::int;
pub(super) use records::{Format, Record, Records};
