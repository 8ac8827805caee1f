mod blocks;
mod csv_records;
mod fields;
mod lines;
mod reader;
mod records;

pub use fields::Encoding;
pub use reader::DelimitedReader;

pub(crate) use csv_records::CsvRecords;

pub(super) use fields::int;
pub(super) use records::{Format, Record, Records};
