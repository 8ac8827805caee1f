use crate::error::{Error, Location, Result};

/// Runs a step of a decoder of `format`. Decoders trust some of what a damaged file says of itself and panic
/// when the rest contradicts it; such a panic, too, is the file's error.
pub(crate) fn decode<T, E: std::fmt::Display>(
    format: &'static str,
    place: &Location,
    step: impl FnOnce() -> Result<T, E>,
) -> Result<T> {
    let found = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(step)) {
        Ok(Ok(decoded)) => return Ok(decoded),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "bytes that contradict each other".to_owned(),
    };
    Err(Error::input(place.clone(), format!("a complete {format} file"), found))
}
