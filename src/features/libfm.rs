use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::encoded_rows::{Bags, EncodedPart, EncodedSides};
use super::id_encoder::{IdEncoder, IdFit, Key};
use super::schema::Ids;
use super::{EncodedRows, FeatureSpace, UnseenShare};
use crate::data::source::{self, Bytes, Origin};
use crate::data::text::Lines;
use crate::error::{Error, ErrorKind, Location, Result};

/// No row may have more entries: each is a field.
const MAX_ENTRIES: usize = 1024;

/// Reads the text format of libFM (Rendle 2012, "Factorization machines with libFM"), in which many public data sets
/// for click prediction come: a line is `label index:value index:value …`.
///
/// The j-th entry of a line is field j: a bag of one id, whose weight is the value; a shorter line has empty bags. All
/// fields share one range of ids, so that an index means the same wherever it stands, and a factorisation machine
/// over the fields is the one of the paper. The indices of the training file are numbered by how often they come,
/// from id 1 on; id 0 is for any other index, so that all files of a data set have one space. A label is 1 if it is
/// above 0, otherwise 0 (files have 0 and 1, or −1 and 1). The group of each row is 0.
///
/// ```
/// use recsys::features::Libfm;
///
/// let train = "1 7:1 20:0.5\n-1 7:1 30:1\n";
/// let libfm = Libfm::fit_from(train.as_bytes())?;
/// assert_eq!((libfm.space().n_fields(), libfm.space().n_ids()), (2, 4));
/// let test = libfm.read_from("1 8:1 20:1\n".as_bytes())?;
/// assert_eq!((test.ids(), test.labels()), (&[0, 2][..], &[1.0][..]));
/// # Ok::<(), recsys::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fitted", into = "Fitted")]
pub struct Libfm {
    ids: IdEncoder,
    space: FeatureSpace,
}

#[derive(Serialize, Deserialize)]
struct Fitted {
    ids: IdEncoder,
    n_fields: usize,
}

impl Libfm {
    /// Learns the indices and the number of fields of a training file, plain or gzip.
    ///
    /// # Errors
    /// A file that cannot be opened or is damaged; no row with an entry; a line that is not
    /// `label index:value index:value …`, with an index that is a whole number below 2³² and finite numbers; more than
    /// 1,024 entries in a line. Each names the file, and line and place in the line where there is one.
    pub fn fit(path: impl AsRef<Path>) -> Result<Self> {
        let (bytes, origin) = source::open(path.as_ref())?;
        Self::fit_to(bytes, &origin)
    }

    /// Learns from a stream, as [`fit`](Self::fit) from a file.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub fn fit_from(reader: impl Read + Send) -> Result<Self> {
        let (bytes, origin) = source::open_stream(reader)?;
        Self::fit_to(bytes, &origin)
    }

    fn fit_to(bytes: Box<Bytes<'_>>, origin: &Origin) -> Result<Self> {
        let mut fit = IdFit::new(Ids::default());
        let mut n_fields = 0;
        let place = for_each_row(bytes, origin, MAX_ENTRIES, |_, entries| {
            n_fields = n_fields.max(entries.len());
            entries.iter().for_each(|&(index, _)| fit.add(Key::Int(index.into())));
        })?;
        if n_fields == 0 {
            return Err(Error::input(place, "at least one row with an entry", "the end of the file"));
        }
        Fitted { ids: fit.finish(), n_fields }.try_into()
    }

    /// What every row holds.
    pub fn space(&self) -> &FeatureSpace {
        &self.space
    }

    /// How many indices of each field are not in the training file.
    ///
    /// # Errors
    /// Rows of another space.
    pub fn unseen(&self, rows: &EncodedRows) -> Result<Vec<UnseenShare>> {
        rows.check_space(&self.space)?;
        let fields = self.space.names().enumerate();
        Ok(fields.map(|(place, name)| UnseenShare::of_bags(rows, name, place, None)).collect())
    }

    /// Reads the rows of a file, plain or gzip.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), but rows may be without entries; and a line with more entries than any of the training file.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<EncodedRows> {
        let (bytes, origin) = source::open(path.as_ref())?;
        self.read_rows(bytes, &origin)
    }

    /// Reads the rows of a stream.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_from(&self, reader: impl Read + Send) -> Result<EncodedRows> {
        let (bytes, origin) = source::open_stream(reader)?;
        self.read_rows(bytes, &origin)
    }

    fn read_rows(&self, bytes: Box<Bytes<'_>>, origin: &Origin) -> Result<EncodedRows> {
        let n_fields = self.space.n_fields();
        let (mut bags, mut labels) = (Bags::default(), Vec::new());
        let end = for_each_row(bytes, origin, n_fields, |label, entries| {
            for &(index, value) in entries {
                bags.push(self.ids.encode(Key::Int(index.into())).unwrap_or(0), value);
                bags.close();
            }
            (entries.len()..n_fields).for_each(|_| bags.close());
            labels.push(f32::from(label > 0.0));
        })?;
        if labels.is_empty() {
            return Err(Error::input(end, "at least one row", "the end of the file"));
        }
        let part = EncodedPart { bags, groups: vec![0; labels.len()], labels };
        EncodedRows::assemble(self.space.clone(), 1, &[part], EncodedSides::default())
    }
}

/// Gives the label and the entries of every line that is not blank to `each`; the place is the end of the text.
fn for_each_row(
    bytes: Box<Bytes<'_>>,
    origin: &Origin,
    max_entries: usize,
    mut each: impl FnMut(f32, &[(u32, f32)]),
) -> Result<Location> {
    let mut lines = Lines::new(bytes, 0, origin.clone());
    let (mut text, mut entries) = (Vec::new(), Vec::new());
    loop {
        text.clear();
        let more = lines.next(&mut text)?.is_some();
        let place = origin.location().line(lines.n_lines() + u64::from(!more));
        if !more {
            return Ok(place);
        }
        let row = parse_row(&text, max_entries, &mut entries).map_err(|problem| problem.at(place))?;
        if let Some(label) = row {
            each(label, &entries);
        }
    }
}

/// What is wrong with a line: the place in it, what belongs there, and what stands there.
struct Problem {
    place: usize,
    expected: String,
    found: String,
}

impl Problem {
    fn new(place: usize, expected: impl Into<String>, found: &[u8]) -> Self {
        let found = Key::Text(&String::from_utf8_lossy(found)).to_string();
        Self { place, expected: expected.into(), found }
    }

    fn at(self, line: Location) -> Error {
        Error::input(line.column(self.place.to_string()), self.expected, self.found)
    }
}

/// The label of a line, and its entries; `None` if the line is blank.
fn parse_row(line: &[u8], max_entries: usize, entries: &mut Vec<(u32, f32)>) -> Result<Option<f32>, Problem> {
    entries.clear();
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).zip(1..);
    let Some((word, place)) = words.next() else { return Ok(None) };
    let label = finite(word).ok_or_else(|| Problem::new(place, "a label, which is a finite number", word))?;
    for (word, place) in words {
        if entries.len() == max_entries {
            return Err(Problem::new(place, format!("at most {max_entries} entries"), word));
        }
        let entry = parse_entry(word);
        let expected = "index:value, a whole number below 2^32 and a finite number";
        entries.push(entry.ok_or_else(|| Problem::new(place, expected, word))?);
    }
    Ok(Some(label))
}

fn parse_entry(word: &[u8]) -> Option<(u32, f32)> {
    let colon = word.iter().position(|&byte| byte == b':')?;
    let index = std::str::from_utf8(&word[..colon]).ok()?.parse().ok()?;
    Some((index, finite(&word[colon + 1..])?))
}

fn finite(word: &[u8]) -> Option<f32> {
    std::str::from_utf8(word).ok()?.parse().ok().filter(|number: &f32| number.is_finite())
}

impl TryFrom<Fitted> for Libfm {
    type Error = Error;

    fn try_from(Fitted { ids, n_fields }: Fitted) -> Result<Self> {
        ids.validate()?;
        if !(1..=MAX_ENTRIES).contains(&n_fields) {
            let (what, expected) = ("number of fields", MAX_ENTRIES);
            return Err(ErrorKind::LengthMismatch { what, expected, found: n_fields }.into());
        }
        let mut space = FeatureSpace::default().with_field("1", ids.n_ids())?;
        for field in 2..=n_fields {
            space = space.with_shared_field(field.to_string(), "1")?;
        }
        Ok(Self { ids, space })
    }
}

impl From<Libfm> for Fitted {
    fn from(Libfm { ids, space }: Libfm) -> Self {
        Self { ids, n_fields: space.n_fields() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRAIN: &str = "1 7:1 20:0.5\n\n-1 7:1 30:-2 40:1e1\r\n0 20:1";

    fn fit(text: &str) -> Result<Libfm> {
        Libfm::fit_from(text.as_bytes())
    }

    fn read(text: &str) -> Result<EncodedRows> {
        fit(TRAIN)?.read_from(text.as_bytes())
    }

    #[test]
    fn entries_are_fields_that_share_their_ids() {
        let libfm = fit(TRAIN).unwrap();
        assert_eq!((libfm.space().n_fields(), libfm.space().n_ids()), (3, 5));
        assert_eq!((libfm.space().ids(0), libfm.space().ids(2)), (0..5, 0..5));
        let rows = read(TRAIN).unwrap();
        let bags = |row| [0, 1, 2].map(|field| rows.bag(row, field));
        assert_eq!(bags(0), [(&[1][..], &[1.0][..]), (&[2], &[0.5]), (&[], &[])]);
        assert_eq!(bags(1), [(&[1][..], &[1.0][..]), (&[3], &[-2.0]), (&[4], &[10.0])]);
        assert_eq!(bags(2), [(&[2][..], &[1.0][..]), (&[], &[]), (&[], &[])]);
        assert_eq!((rows.labels(), rows.groups()), (&[1.0, 0.0, 0.0][..], &[0; 3][..]));
    }

    #[test]
    fn other_files_have_the_same_space() {
        let rows = read("0.5 30:1 8:2\n").unwrap();
        assert_eq!((rows.ids(), rows.weights(), rows.labels()), (&[3, 0][..], &[1.0, 2.0][..], &[1.0][..]));
        assert_eq!(rows.space(), fit(TRAIN).unwrap().space());
        let unseen = fit(TRAIN).unwrap().unseen(&rows).unwrap();
        let facts = unseen.iter().map(|field| (field.field.as_str(), field.n_values, field.n_unseen));
        assert_eq!(facts.collect::<Vec<_>>(), [("1", 1, 0), ("2", 1, 1), ("3", 0, 0)]);
        assert!(fit("1 7:1\n").unwrap().unseen(&rows).is_err(), "rows of another space");
        assert_eq!(read("1\n").unwrap().n_rows(), 1);
    }

    #[test]
    fn bad_lines_are_named() {
        let entry = "index:value, a whole number below 2^32 and a finite number";
        for (line, place, expected, found) in [
            ("x 7:1", 1, "a label, which is a finite number", "x"),
            ("NaN 7:1", 1, "a label, which is a finite number", "NaN"),
            ("1 7:1 20", 3, entry, "20"),
            ("1 -7:1", 2, entry, "-7:1"),
            ("1 4294967296:1", 2, entry, "4294967296:1"),
            ("1 7:inf", 2, entry, "7:inf"),
            ("1 7:", 2, entry, "7:"),
            ("1 7:1 7:1 7:1 7:1", 5, "at most 3 entries", "7:1"),
        ] {
            let error = read(&format!("1 7:1\n\n{line}\n")).unwrap_err().to_string();
            assert_eq!(error, format!("input, line 3, column {place}: expected {expected}, found {found:?}"));
        }
        let error = fit("\n1\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "input, line 3: expected at least one row with an entry, found the end of the file"
        );
        let error = read("\n\n").unwrap_err().to_string();
        assert_eq!(error, "input, line 3: expected at least one row, found the end of the file");
        let long = format!("1{}", " 1:1".repeat(MAX_ENTRIES + 1));
        assert!(fit(&long).unwrap_err().to_string().contains("column 1026: expected at most 1024 entries"));
        let error = fit(&"1".repeat(4 << 20)).unwrap_err().to_string();
        assert_eq!(error, "input, line 1: expected lines of at most 4194304 bytes, found a longer one");
        let error = fit(TRAIN).unwrap().read("no/such/file").unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Io { .. }));
    }

    #[test]
    fn a_saved_reader_is_the_same() {
        let libfm = fit(TRAIN).unwrap();
        let json = serde_json::to_string(&libfm).unwrap();
        assert_eq!(serde_json::from_str::<Libfm>(&json).unwrap(), libfm);
        let no_field = json.replace("\"n_fields\":3", "\"n_fields\":0");
        assert!(no_field != json && serde_json::from_str::<Libfm>(&no_field).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(prop_oneof![Just(b' '), Just(b'\n'), Just(b':'), Just(b'1'), any::<u8>()], 0..200)) {
            if let Ok(libfm) = Libfm::fit_from(&bytes[..]) {
                prop_assert!(libfm.read_from(&bytes[..]).is_ok());
            }
        }
    }
}
