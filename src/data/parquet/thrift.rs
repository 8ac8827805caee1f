//! The Thrift compact protocol, in which Parquet's footers and page headers are written: a walk over their bytes that
//! believes no count and follows no nesting without end.
//!
//! The decoder goes by the number of a field and does not look at its type, so a field of another type would have it
//! read other bytes than this walk. Therefore the tables below say the type of every field that it knows.

use Type::{Bool, Byte, Bytes, Codec, Double, Int, Kept, Length, List, Schema, Struct};

/// Structs may be nested so deep; the format's own need seven levels.
const MAX_NESTING: usize = 64;

/// Why a walk ended before its time.
#[derive(Debug, PartialEq)]
pub(super) enum Flaw {
    /// The bytes end within a value.
    Short,
    /// This stands there.
    Wrong(String),
    /// A column is compressed by a codec of this number, which none has.
    Codec(i64),
}

type Result<T> = std::result::Result<T, Flaw>;

fn wrong<T>(what: impl Into<String>) -> Result<T> {
    Err(Flaw::Wrong(what.into()))
}

/// The type of a field.
#[derive(Clone, Copy)]
pub(super) enum Type {
    Bool,
    Byte,
    /// Of 16, 32 or 64 bits: their bytes are the same.
    Int,
    Double,
    Bytes,
    /// An `Int` of 32 bits whose value is kept in this slot.
    Kept(usize),
    /// An `Int` that is the number of a codec.
    Codec,
    /// `Bytes` whose length is kept in this slot.
    Length(usize),
    List(&'static Type),
    Struct(Fields),
    /// The list of a schema's elements.
    Schema,
}

/// The numbers and types of a struct's fields. Other fields are passed over.
pub(super) type Fields = &'static [(i16, Type)];

const N_SLOTS: usize = 8;

const N_CHILDREN: usize = 0;
const NAME: usize = 1;

const EMPTY: Type = Struct(&[]);
const UNIT: Type = Struct(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)]);
const TIME: Type = Struct(&[(1, Bool), (2, UNIT)]);
const LOGICAL_TYPE: Type = Struct(&[
    (1, EMPTY),
    (2, EMPTY),
    (3, EMPTY),
    (4, EMPTY),
    (5, Struct(&[(1, Int), (2, Int)])),
    (6, EMPTY),
    (7, TIME),
    (8, TIME),
    (10, Struct(&[(1, Byte), (2, Bool)])),
    (11, EMPTY),
    (12, EMPTY),
    (13, EMPTY),
    (14, EMPTY),
    (15, EMPTY),
    (16, Struct(&[(1, Byte)])),
    (17, Struct(&[(1, Bytes)])),
    (18, Struct(&[(1, Bytes), (2, Int)])),
    (19, EMPTY),
]);
const SCHEMA_ELEMENT: Fields = &[
    (1, Int),
    (2, Int),
    (3, Int),
    (4, Length(NAME)),
    (5, Kept(N_CHILDREN)),
    (6, Int),
    (7, Int),
    (8, Int),
    (9, Int),
    (10, LOGICAL_TYPE),
];
const STATISTICS: Type = Struct(&[
    (1, Bytes),
    (2, Bytes),
    (3, Int),
    (4, Int),
    (5, Bytes),
    (6, Bytes),
    (7, Bool),
    (8, Bool),
    (9, Int),
]);
const BOUNDING_BOX: Type = Struct(&[
    (1, Double),
    (2, Double),
    (3, Double),
    (4, Double),
    (5, Double),
    (6, Double),
    (7, Double),
    (8, Double),
]);
const COLUMN_META_DATA: Type = Struct(&[
    (1, Int),
    (2, List(&Int)),
    (4, Codec),
    (5, Int),
    (6, Int),
    (7, Int),
    (9, Int),
    (10, Int),
    (11, Int),
    (12, STATISTICS),
    (13, List(&Struct(&[(1, Int), (2, Int), (3, Int)]))),
    (14, Int),
    (15, Int),
    (16, Struct(&[(1, Int), (2, List(&Int)), (3, List(&Int))])),
    (17, Struct(&[(1, BOUNDING_BOX), (2, List(&Int))])),
]);
const COLUMN_CHUNK: Type =
    Struct(&[(1, Bytes), (2, Int), (3, COLUMN_META_DATA), (4, Int), (5, Int), (6, Int), (7, Int)]);
const ROW_GROUP: Type = Struct(&[
    (1, List(&COLUMN_CHUNK)),
    (2, Int),
    (3, Int),
    (4, List(&Struct(&[(1, Int), (2, Bool), (3, Bool)]))),
    (5, Int),
    (7, Int),
]);
const FILE_META_DATA: Fields = &[
    (1, Int),
    (2, Schema),
    (3, Int),
    (4, List(&ROW_GROUP)),
    (5, List(&Struct(&[(1, Bytes), (2, Bytes)]))),
    (6, Bytes),
    (7, List(&UNIT)),
];
const PAGE_HEADER: Fields = &[
    (1, Kept(0)),
    (2, Kept(1)),
    (3, Kept(2)),
    (4, Int),
    (5, Struct(&[(1, Kept(3)), (2, Kept(4)), (3, Int), (4, Int)])),
    (6, EMPTY),
    (7, Struct(&[(1, Kept(5)), (2, Int), (3, Bool)])),
    (8, Struct(&[(1, Kept(6)), (2, Int), (3, Int), (4, Kept(7)), (5, Int), (6, Int), (7, Bool)])),
];

/// An element of a schema, which lists a tree depth first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Element {
    pub(super) n_children: i64,
    /// In bytes.
    pub(super) name_len: i64,
}

/// What a page says of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PageHeader {
    /// Of the header, in bytes.
    pub(super) length: usize,
    pub(super) is_dictionary: bool,
    /// In bytes.
    pub(super) uncompressed: i64,
    /// In bytes.
    pub(super) compressed: i64,
    pub(super) n_values: i64,
    pub(super) encoding: i64,
}

/// Walks over a footer; gives the elements of its schema.
pub(super) fn walk_footer(bytes: &[u8]) -> Result<Vec<Element>> {
    let mut walk = Walk::new(bytes);
    walk.fields(FILE_META_DATA, 0)?;
    Ok(walk.schema)
}

/// Walks over the page header that these bytes begin with.
pub(super) fn walk_page_header(bytes: &[u8]) -> Result<PageHeader> {
    let mut walk = Walk::new(bytes);
    walk.fields(PAGE_HEADER, 0)?;
    let length = bytes.len() - walk.bytes.len();
    let [kind, uncompressed, compressed, v1, v1_encoding, dictionary, v2, v2_encoding] = walk.kept;
    let (n_values, encoding) = match kind {
        0 => (v1, v1_encoding),
        2 => (dictionary, 0),
        3 => (v2, v2_encoding),
        // An index, which the decoder passes over.
        _ => (0, 0),
    };
    Ok(PageHeader { length, is_dictionary: kind == 2, uncompressed, compressed, n_values, encoding })
}

struct Walk<'a> {
    /// What is still to come.
    bytes: &'a [u8],
    /// The values of [`Kept`] fields and the lengths of [`Length`] ones; 0 where none came.
    kept: [i64; N_SLOTS],
    schema: Vec<Element>,
}

impl<'a> Walk<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, kept: [0; N_SLOTS], schema: Vec::new() }
    }

    fn skip(&mut self, n: u64) -> Result<()> {
        let n = usize::try_from(n).map_err(|_| Flaw::Short)?;
        self.bytes = self.bytes.get(n..).ok_or(Flaw::Short)?;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8> {
        let (&byte, rest) = self.bytes.split_first().ok_or(Flaw::Short)?;
        self.bytes = rest;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64> {
        let (value, length) = varint(self.bytes)?;
        self.bytes = &self.bytes[length..];
        Ok(value)
    }

    fn int(&mut self) -> Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Passes over bytes behind their length, which it gives.
    fn run(&mut self) -> Result<u64> {
        let length = self.varint()?;
        self.skip(length)?;
        Ok(length)
    }

    /// The number of a list's elements, and their type on the wire.
    fn list(&mut self) -> Result<(u64, u8)> {
        let head = self.byte()?;
        let n = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        Ok((n, head & 15))
    }

    /// Passes over a struct's fields, of which `known` are known.
    fn fields(&mut self, known: Fields, depth: usize) -> Result<()> {
        if depth == MAX_NESTING {
            return wrong(format!("structs nested more than {MAX_NESTING} deep"));
        }
        let mut id = 0_i16;
        loop {
            let head = self.byte()?;
            let (delta, wire) = (head >> 4, head & 15);
            if wire == 0 {
                return Ok(());
            }
            id = match delta {
                0 => self.int()? as i16,
                _ => id.checked_add(delta.into()).ok_or_else(|| Flaw::Wrong("too many fields".into()))?,
            };
            match known.iter().find(|field| field.0 == id) {
                None => self.unknown(wire, depth)?,
                Some((_, kind)) if kind.is_written_as(wire) => self.known(kind, depth)?,
                Some(_) => return wrong(format!("a field {id} of the type {wire}")),
            }
        }
    }

    fn known(&mut self, kind: &Type, depth: usize) -> Result<()> {
        match *kind {
            Bool => Ok(()),
            Byte => self.skip(1),
            Int => self.varint().map(drop),
            Double => self.skip(8),
            Bytes => self.run().map(drop),
            Kept(slot) => {
                let value = self.int()?;
                self.kept[slot] = value;
                i32::try_from(value)
                    .map(drop)
                    .or_else(|_| wrong(format!("a number of 32 bits that is {value}")))
            }
            Codec => match self.int()? {
                0..=7 => Ok(()),
                unknown => Err(Flaw::Codec(unknown)),
            },
            Length(slot) => {
                self.kept[slot] = self.run()? as i64;
                Ok(())
            }
            List(element) => {
                let (n, wire) = self.list()?;
                if n > 0 && !element.is_written_as(wire) {
                    return wrong(format!("a list of the type {wire}"));
                }
                (0..n).try_for_each(|_| self.known(element, depth + 1))
            }
            Struct(fields) => self.fields(fields, depth + 1),
            Schema => {
                let (n, wire) = self.list()?;
                if n > 0 && !Struct(SCHEMA_ELEMENT).is_written_as(wire) {
                    return wrong(format!("a schema of the type {wire}"));
                }
                (0..n).try_for_each(|_| {
                    self.kept = [0; N_SLOTS];
                    self.fields(SCHEMA_ELEMENT, depth + 1)?;
                    let [n_children, name_len, ..] = self.kept;
                    self.schema.push(Element { n_children, name_len });
                    Ok(())
                })
            }
        }
    }

    /// Passes over a value of this type on the wire, of which no more is known.
    fn unknown(&mut self, wire: u8, depth: usize) -> Result<()> {
        if depth == MAX_NESTING {
            return wrong(format!("values nested more than {MAX_NESTING} deep"));
        }
        match wire {
            1 | 2 => Ok(()),
            3 => self.skip(1),
            4..=6 => self.varint().map(drop),
            7 => self.skip(8),
            8 => self.run().map(drop),
            9 | 10 => {
                let (n, wire) = self.list()?;
                self.elements(n, &[wire], depth)
            }
            11 => match self.varint()? {
                0 => Ok(()),
                n => {
                    let types = self.byte()?;
                    self.elements(n, &[types >> 4, types & 15], depth)
                }
            },
            12 => self.fields(&[], depth + 1),
            13 => self.skip(16),
            _ => wrong(format!("a value of the type {wire}")),
        }
    }

    /// Passes over the elements of a list or map. The decoder gives those that are booleans no bytes, and so would
    /// count to any number: no list that it passes over has any.
    fn elements(&mut self, n: u64, types: &[u8], depth: usize) -> Result<()> {
        if n > 0 && types.iter().any(|wire| matches!(wire, 1 | 2)) {
            return wrong("a list of booleans");
        }
        (0..n).try_for_each(|_| types.iter().try_for_each(|&wire| self.unknown(wire, depth + 1)))
    }
}

/// A number of at most ten bytes, each of seven bits, the lowest first; and how many bytes they are.
pub(super) fn varint(bytes: &[u8]) -> Result<(u64, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok((value, at + 1));
        }
    }
    if bytes.len() < 10 { Err(Flaw::Short) } else { wrong("a number of more than ten bytes") }
}

impl Type {
    fn is_written_as(&self, wire: u8) -> bool {
        match self {
            Bool => matches!(wire, 1 | 2),
            Byte => wire == 3,
            Int | Kept(_) | Codec => matches!(wire, 4..=6),
            Double => wire == 7,
            Bytes | Length(_) => wire == 8,
            List(_) | Schema => wire == 9,
            Struct(_) => wire == 12,
        }
    }
}
