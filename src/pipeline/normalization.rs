/// (s − min) / (max − min) of each score s: from 0 to 1, and 1 for all where they are equal.
pub(crate) fn min_max(scores: &[f32]) -> Vec<f32> {
    let (min, max) = bounds(scores);
    scaled(scores, min, max - min)
}

/// (s − min) / σ of each score s, with the standard deviation σ of the scores, and 1 for all where they are equal:
/// the z-scores, moved so that the lowest is 0.
pub(crate) fn z_score_above_lowest(scores: &[f32]) -> Vec<f32> {
    let n = scores.len() as f64;
    let mean = scores.iter().map(|&score| f64::from(score)).sum::<f64>() / n;
    let variance = scores.iter().map(|&score| (f64::from(score) - mean).powi(2)).sum::<f64>() / n;
    let (min, max) = bounds(scores);
    scaled(scores, min, if max > min { variance.sqrt() } else { 0.0 })
}

fn bounds(scores: &[f32]) -> (f64, f64) {
    let wider = |(min, max): (f64, f64), &score: &f32| (min.min(score.into()), max.max(score.into()));
    scores.iter().fold((f64::INFINITY, f64::NEG_INFINITY), wider)
}

fn scaled(scores: &[f32], min: f64, scale: f64) -> Vec<f32> {
    let scaled = |&score: &f32| if scale > 0.0 { ((f64::from(score) - min) / scale) as f32 } else { 1.0 };
    scores.iter().map(scaled).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn by_hand() {
        assert_eq!(min_max(&[3.0, 1.0, 2.0]), [1.0, 0.0, 0.5]);
        // Mean 2, variance (1 + 1 + 0 + 0) / 4.
        let root = 2f32.sqrt();
        assert_eq!(z_score_above_lowest(&[3.0, 1.0, 2.0, 2.0]), [2.0 * root, 0.0, root, root]);
        for normalize in [min_max, z_score_above_lowest] {
            assert_eq!(normalize(&[0.1; 3]), [1.0; 3]);
            assert!(normalize(&[]).is_empty());
            assert!(normalize(&[f32::MAX, f32::MIN]).iter().all(|score| score.is_finite()));
        }
    }

    proptest! {
        #[test]
        fn neither_scale_nor_origin_matters(
            scores in prop::collection::vec(-100i16..100, 2..20), scale in 1u8..20, origin in -50i16..50,
        ) {
            let own: Vec<f32> = scores.iter().map(|&score| score.into()).collect();
            let moved: Vec<f32> = own.iter().map(|x| x * f32::from(scale) + f32::from(origin)).collect();
            for normalize in [min_max, z_score_above_lowest] {
                for (a, b) in normalize(&own).into_iter().zip(normalize(&moved)) {
                    prop_assert!((a - b).abs() < 1e-5 && a >= 0.0);
                }
            }
        }
    }
}
