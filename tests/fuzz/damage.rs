//! Damages to bytes: blind ones, and some that know what a container or a tree of values looks like.

use std::ops::Range;

use ciborium::Value;
use recsys::rng::Rng;
use sha2::{Digest, Sha256};

/// The SHA-256 that some files end with.
pub const SEAL: usize = 32;

const BYTES: [u8; 24] = [
    0, 1, 0x7f, 0x80, 0xff, b'0', b'9', b'-', b'.', b'e', b',', b';', b':', b'|', b'\t', b' ', b'"', b'\'',
    b'\n', b'\r', b'[', b'{', b'}', b'\\',
];

const NUMBERS: [&str; 22] = [
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775807",
    "9223372036854775808",
    "4294967295",
    "4294967296",
    "2147483647",
    "2147483648",
    "1099511627776",
    "65536",
    "1000000",
    "1e400",
    "1e38",
    "3.5e38",
    "1e-45",
    "-1",
    "-0",
    "0",
    "1",
    "0.5",
    "NaN",
    "-9223372036854775809",
];

const STRINGS: [&str; 8] = ["", "0", "-1", "../x", "é\u{0}", "\u{feff}", "NaN", "18446744073709551616"];

/// Values at the ends of what integers hold, and near them.
const BOUNDS: [u64; 16] = [
    0,
    1,
    2,
    127,
    128,
    255,
    256,
    65_535,
    65_536,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    1 << 40,
    (1 << 63) - 1,
    u64::MAX,
];

fn choose<'a, T>(rng: &mut Rng, all: &'a [T]) -> &'a T {
    &all[rng.below(all.len())]
}

/// Whether something with this chance, 1 in `n`, is so.
pub fn one_in(rng: &mut Rng, n: usize) -> bool {
    rng.below(n) == 0
}

/// An integer at or near a bound.
fn bound(rng: &mut Rng) -> u64 {
    let bound = *choose(rng, &BOUNDS);
    if one_in(rng, 4) { bound.wrapping_add(rng.below(5) as u64).wrapping_sub(2) } else { bound }
}

/// A damaged copy; `others` are files of the same kind, of which parts may be taken.
pub fn damaged(rng: &mut Rng, bytes: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    let structured = if one_in(rng, 2) { damaged_structure(rng, bytes) } else { None };
    structured.unwrap_or_else(|| damaged_bytes(rng, bytes, others))
}

/// As [`damaged`], of a file that ends with the SHA-256 of the rest: it does so again.
pub fn damaged_and_sealed(rng: &mut Rng, bytes: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    let mut body = damaged(rng, &bytes[..bytes.len() - SEAL], others);
    let seal = Sha256::digest(&body);
    body.extend_from_slice(&seal);
    body
}

/// Whether a file ends with the SHA-256 of the rest.
pub fn is_sealed(bytes: &[u8]) -> bool {
    let split = bytes.split_last_chunk::<SEAL>();
    split.is_some_and(|(body, seal)| Sha256::digest(body)[..] == seal[..])
}

/// A change of a value within what these bytes hold, if they are of a kind that is known here.
fn damaged_structure(rng: &mut Rng, bytes: &[u8]) -> Option<Vec<u8>> {
    let header = |start: usize, end: usize| Some((bytes.get(start..end)?, bytes.get(end..)?));
    if bytes.starts_with(b"NRUB") {
        // Burnpack: version, length of the header, header in CBOR; the rest begins at a multiple of 256.
        let len = u32::from_le_bytes(*bytes.get(6..)?.first_chunk()?) as usize;
        let (old, _) = header(10, 10 + len)?;
        let new = damaged_cbor(rng, old)?;
        let mut damaged = [&bytes[..6], &(new.len() as u32).to_le_bytes(), &new].concat();
        damaged.resize(damaged.len().next_multiple_of(256), 0);
        damaged.extend_from_slice(bytes.get((10 + len).next_multiple_of(256)..).unwrap_or_default());
        return Some(damaged);
    }
    if bytes.starts_with(b"RECSYSIX") {
        let len = u32::from_le_bytes(*bytes.get(12..)?.first_chunk()?) as usize;
        let (old, rest) = header(16, 16 + len)?;
        let new = damaged_json(rng, old)?;
        return Some([&bytes[..12], &(new.len() as u32).to_le_bytes(), &new, rest].concat());
    }
    if bytes.get(8) == Some(&b'{') {
        // Safetensors: length of the header, header in JSON.
        let len = usize::try_from(u64::from_le_bytes(*bytes.first_chunk()?)).ok()?;
        let (old, rest) = header(8, 8_usize.checked_add(len)?)?;
        let new = damaged_json(rng, old)?;
        return Some([&(new.len() as u64).to_le_bytes(), &new[..], rest].concat());
    }
    match bytes.first()? {
        b'{' | b'[' | b'"' => damaged_json(rng, bytes),
        0x80.. => damaged_cbor(rng, bytes),
        _ => None,
    }
}

fn damaged_json(rng: &mut Rng, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut tree: Value = serde_json::from_slice(bytes).ok()?;
    damage_tree(rng, &mut tree);
    serde_json::to_vec(&tree).ok()
}

fn damaged_cbor(rng: &mut Rng, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut rest = bytes;
    let mut tree: Value = ciborium::from_reader(&mut rest).ok()?;
    if !rest.is_empty() {
        return None;
    }
    damage_tree(rng, &mut tree);
    let mut damaged = Vec::new();
    ciborium::into_writer(&tree, &mut damaged).ok()?;
    Some(damaged)
}

/// Changes one value of a tree, at times two.
fn damage_tree(rng: &mut Rng, tree: &mut Value) {
    for _ in 0..1 + usize::from(one_in(rng, 4)) {
        let nodes = count(tree);
        // Half of the changes near the root, where the settings stand beside long lists.
        let among = if one_in(rng, 2) { nodes.min(24) } else { nodes };
        let at = rng.below(among);
        damage_node(rng, node(tree, at));
    }
}

fn count(tree: &Value) -> usize {
    1 + match tree {
        Value::Array(all) => all.iter().map(count).sum(),
        Value::Map(all) => all.iter().map(|(_, value)| count(value)).sum(),
        Value::Tag(_, value) => count(value),
        _ => 0,
    }
}

/// The node of this number, breadth first.
fn node(tree: &mut Value, at: usize) -> &mut Value {
    let mut level = vec![tree];
    let mut at = at;
    while at >= level.len() {
        at -= level.len();
        level = level.into_iter().flat_map(children).collect();
    }
    level.swap_remove(at)
}

fn children(tree: &mut Value) -> Vec<&mut Value> {
    match tree {
        Value::Array(all) => all.iter_mut().collect(),
        Value::Map(all) => all.iter_mut().map(|(_, value)| value).collect(),
        Value::Tag(_, value) => vec![value],
        _ => Vec::new(),
    }
}

fn damage_node(rng: &mut Rng, value: &mut Value) {
    if one_in(rng, 12) {
        *value = some_value(rng);
        return;
    }
    match value {
        Value::Integer(old) => {
            let old = i128::from(*old);
            *value = match rng.below(4) {
                0 => integer(old + 1),
                1 => integer(old - 1),
                2 => integer(-(old.max(1))),
                _ => integer(bound(rng).into()),
            };
        }
        Value::Float(old) => {
            let known = [0.0, -1.0, 1.5, -*old, 1e-45, 1e38, -3e38, 1e300, f64::NAN, f64::INFINITY];
            *old = *choose(rng, &known);
        }
        Value::Bool(old) => *old = !*old,
        Value::Text(old) => {
            *old = if one_in(rng, 3) { old.repeat(2) } else { (*choose(rng, &STRINGS)).to_owned() };
        }
        Value::Bytes(old) => *old = damaged_bytes(rng, old, &[]),
        Value::Array(all) => damage_list(rng, all, some_value),
        Value::Map(all) => damage_list(rng, all, |rng| (Value::Text("x".into()), some_value(rng))),
        _ => *value = some_value(rng),
    }
}

fn integer(value: i128) -> Value {
    let bounded = value.clamp(-(1 << 63), u64::MAX.into());
    Value::Integer(ciborium::value::Integer::try_from(bounded).expect("it is in range"))
}

fn some_value(rng: &mut Rng) -> Value {
    match rng.below(8) {
        0 => Value::Null,
        1 => Value::Bool(one_in(rng, 2)),
        2 => Value::Text((*choose(rng, &STRINGS)).to_owned()),
        3 => Value::Array(Vec::new()),
        4 => Value::Map(Vec::new()),
        5 => Value::Float(-0.5),
        6 => Value::Array(vec![integer(bound(rng).into()); 3]),
        _ => integer(bound(rng).into()),
    }
}

fn damage_list<T: Clone>(rng: &mut Rng, all: &mut Vec<T>, new: impl FnOnce(&mut Rng) -> T) {
    if all.is_empty() || one_in(rng, 10) {
        all.push(new(rng));
        return;
    }
    let at = rng.below(all.len());
    match rng.below(6) {
        0 => drop(all.remove(at)),
        1 => all.insert(at, all[at].clone()),
        2 => all.truncate(at),
        3 => {
            let other = rng.below(all.len());
            all.swap(at, other);
        }
        4 => all[at] = all[rng.below(all.len())].clone(),
        _ => all.clear(),
    }
}

/// A copy with some bytes changed, moved, left out or repeated.
pub fn damaged_bytes(rng: &mut Rng, bytes: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if !others.is_empty() && one_in(rng, 10) {
        let other = choose(rng, others);
        bytes.truncate(rng.below(bytes.len() + 1));
        bytes.extend_from_slice(&other[rng.below(other.len() + 1)..]);
    }
    let n_damages = 1 + if one_in(rng, 3) { rng.below(6) } else { 0 };
    for _ in 0..n_damages {
        damage_once(rng, &mut bytes, others);
    }
    bytes
}

/// Some bytes one behind another, of at most this length.
fn part(rng: &mut Rng, len: usize, max: usize) -> Range<usize> {
    let start = rng.below(len + 1);
    start..len.min(start + rng.below(max + 1))
}

fn damage_once(rng: &mut Rng, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    let len = bytes.len();
    if len == 0 {
        bytes.extend_from_slice(choose(rng, &NUMBERS).as_bytes());
        return;
    }
    let at = rng.below(len);
    match rng.below(32) {
        0..=4 => bytes[at] ^= 1 << rng.below(8),
        5..=8 => bytes[at] = *choose(rng, &BYTES),
        9 => bytes[at] = rng.next_u64() as u8,
        10..=11 => drop(bytes.splice(at..at, [*choose(rng, &BYTES)])),
        12 => drop(bytes.splice(at..at, [*choose(rng, &BYTES); 9])),
        13..=14 => drop(bytes.drain(part(rng, len, 16))),
        15 => drop(bytes.drain(part(rng, len, len))),
        16..=17 => repeat(rng, bytes, 24, 1),
        18 => bytes.truncate(at),
        19..=22 => overwrite(rng, bytes, at),
        23..=24 => replace_varint(rng, bytes, at),
        25..=28 => replace_number(rng, bytes, at),
        29 => {
            let other = if others.is_empty() { bytes.clone() } else { choose(rng, others).clone() };
            let taken = part(rng, other.len(), 64);
            bytes.splice(at..at, other[taken].iter().copied());
        }
        30 if one_in(rng, 8) => repeat(rng, bytes, 24, 1000),
        31 if one_in(rng, 16) => {
            let bracket = *choose(rng, b"[{(\"");
            bytes.splice(at..at, std::iter::repeat_n(bracket, 10_000));
        }
        _ => {
            let other = rng.below(len);
            bytes.swap(at, other);
        }
    }
}

/// Repeats a part this often.
fn repeat(rng: &mut Rng, bytes: &mut Vec<u8>, max_len: usize, times: usize) {
    let token = part(rng, bytes.len(), max_len);
    let end = token.end;
    let repeated = bytes[token].repeat(times);
    bytes.splice(end..end, repeated);
}

/// Overwrites an integer of some width, of either byte order.
fn overwrite(rng: &mut Rng, bytes: &mut [u8], at: usize) {
    let width = 1 << rng.below(4);
    let value = bound(rng).to_le_bytes();
    let reversed = one_in(rng, 8);
    // Integers mostly stand at multiples of their width.
    let at = if one_in(rng, 2) { at / width * width } else { at };
    for (place, byte) in bytes[at..].iter_mut().zip(0..width) {
        *place = value[if reversed { width - 1 - byte } else { byte }];
    }
}

/// Puts another integer in the place of one in 7-bit groups (as is or zigzag), as Parquet's footer has them.
fn replace_varint(rng: &mut Rng, bytes: &mut Vec<u8>, at: usize) {
    let len = bytes[at..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
    let end = bytes.len().min(at + len);
    let mut value = bound(rng);
    let mut new = Vec::new();
    while value >= 0x80 {
        new.push(value as u8 | 0x80);
        value >>= 7;
    }
    new.push(value as u8);
    bytes.splice(at..end, new);
}

/// Puts another number in the place of the next that is written in digits.
fn replace_number(rng: &mut Rng, bytes: &mut Vec<u8>, at: usize) {
    let is_digit = |&byte: &u8| byte.is_ascii_digit();
    let start = bytes[at..].iter().position(is_digit).map_or(at, |digits| at + digits);
    let is_number = |byte: &&u8| byte.is_ascii_digit() || **byte == b'.';
    let end = start + bytes[start..].iter().take_while(is_number).count();
    bytes.splice(start..end, choose(rng, &NUMBERS).bytes());
}
