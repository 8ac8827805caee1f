//! Histories: the latest categories of a list, as ids among events that rows may share.

use std::ops::Range;

use super::feature_encoder::map_parts;
use super::field_encoder::id_of;
use super::id_encoder::IdEncoder;
use super::source_column::SourceColumn;
use crate::error::{Error, Result};

/// The events, and where among them the history of each row lies.
pub(super) type Histories = (Vec<u32>, Vec<[u32; 2]>);

/// The histories of a column of lists. Each value that any of them needs becomes an event once: lists that overlap
/// share what they have in common.
pub(super) fn shared_histories(
    column: &SourceColumn<'_>,
    lists: &[Range<usize>],
    ids: &IdEncoder,
    offset: u32,
    max_len: usize,
) -> Result<Histories> {
    let latest = |row: usize| lists[row].start.max(lists[row].end.saturating_sub(max_len))..lists[row].end;
    let mut order: Vec<usize> = (0..lists.len()).filter(|&row| !lists[row].is_empty()).collect();
    order.sort_by_key(|&row| latest(row).start);

    // The places of the values that become events, each with a row that needs it.
    let mut places: Vec<(usize, usize)> = Vec::new();
    let mut histories = vec![[0, 0]; lists.len()];
    for row in order {
        let wanted = latest(row);
        // Rows come by where their lists start, so that all the places behind it, up to the last one, are there.
        let next = places.last().map_or(0, |&(place, _)| place + 1);
        let start = match next.checked_sub(wanted.start) {
            Some(shared) => places.len() - shared,
            None => places.len(),
        };
        places.extend((wanted.start.max(next)..wanted.end).map(|place| (place, row)));
        histories[row] = range(start, wanted.len())?;
    }
    let parts = map_parts(places.len(), |part| {
        let id = |&(place, row)| id_of(ids, offset, column, row, column.key(row, place)?);
        places[part].iter().map(id).collect::<Result<Vec<u32>>>()
    })?;
    Ok((parts.concat(), histories))
}

/// The histories of a column of texts, each with events of its own.
pub(super) fn text_histories(
    column: &SourceColumn<'_>,
    ids: &IdEncoder,
    offset: u32,
    max_len: usize,
) -> Result<Histories> {
    let parts = map_parts(column.n_rows(), |rows| {
        let (mut keys, mut events, mut lens) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            column.categories(row, &mut keys)?;
            let latest = &keys[keys.len().saturating_sub(max_len)..];
            for &key in latest {
                events.push(id_of(ids, offset, column, row, key)?);
            }
            lens.push(latest.len());
        }
        Ok((events, lens))
    })?;
    let (mut all, mut histories, mut start) = (Vec::new(), Vec::new(), 0);
    for (events, lens) in parts {
        all.extend(events);
        for len in lens {
            histories.push(range(start, len)?);
            start += len;
        }
    }
    Ok((all, histories))
}

fn range(start: usize, len: usize) -> Result<[u32; 2]> {
    match u32::try_from(start + len) {
        Ok(end) => Ok([start as u32, end]),
        Err(_) => Err(Error::config("EncodedRows::events", "less than 2^32", start + len)),
    }
}
