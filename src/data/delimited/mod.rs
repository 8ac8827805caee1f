mod blocks;
mod fields;
mod lines;
mod quoted;
mod reader;
mod records;

pub use fields::Encoding;
pub use reader::DelimitedReader;

pub(crate) use quoted::QuotedRecords;

pub(super) use fields::int;
pub(super) use records::{Format, Record, Records};
