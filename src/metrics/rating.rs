use super::classification::check_length;
use crate::error::{Error, ErrorKind, Location, Result};

/// √(mean (rᵢ − r̂ᵢ)²), the root mean squared error of predicted ratings.
///
/// ```
/// # use recsys::metrics::{mae, rmse};
/// assert_eq!(rmse(&[4.0, 2.0], &[1.0, 6.0])?, 12.5f64.sqrt());
/// assert_eq!(mae(&[4.0, 2.0], &[1.0, 6.0])?, 3.5);
/// # Ok::<(), recsys::error::Error>(())
/// ```
///
/// # Errors
/// No ratings, different lengths, or a number that is not finite.
pub fn rmse(ratings: &[f32], predicted: &[f32]) -> Result<f64> {
    Ok(mean_of(ratings, predicted, |error| error * error)?.sqrt())
}

/// mean |rᵢ − r̂ᵢ|, the mean absolute error of predicted ratings.
///
/// # Errors
/// As [`rmse`].
pub fn mae(ratings: &[f32], predicted: &[f32]) -> Result<f64> {
    mean_of(ratings, predicted, f64::abs)
}

fn mean_of(ratings: &[f32], predicted: &[f32], f: impl Fn(f64) -> f64) -> Result<f64> {
    check_length("length of the predicted ratings", ratings.len(), predicted.len())?;
    if ratings.is_empty() {
        return Err(Error::input(Location::memory(), "at least one rating", "none"));
    }
    for (what, values) in [("rating", ratings), ("predicted rating", predicted)] {
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(ErrorKind::NonFinite { what, index, value: values[index].into() }.into());
        }
    }
    let errors = ratings.iter().zip(predicted).map(|(&r, &p)| f(f64::from(r) - f64::from(p)));
    Ok(errors.sum::<f64>() / ratings.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_ratings_are_refused() {
        assert_eq!(rmse(&[3.0], &[3.0]).unwrap(), 0.0);
        for metric in [rmse, mae] {
            let error =
                |ratings: &[f32], predicted: &[f32]| metric(ratings, predicted).unwrap_err().to_string();
            assert_eq!(error(&[], &[]), "input: expected at least one rating, found none");
            assert_eq!(error(&[1.0], &[]), "length of the predicted ratings: expected 1, found 0");
            let not_finite = "predicted rating at position 0 is NaN; expected a finite number";
            assert_eq!(error(&[1.0], &[f32::NAN]), not_finite);
        }
    }
}
