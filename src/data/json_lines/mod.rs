mod objects;
mod reader;

pub use reader::JsonLinesReader;

pub(crate) use objects::{Paths, Token, number_text};
