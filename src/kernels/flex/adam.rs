use super::{parallel, simd::vectorized};

/// The numbers in one part of the work.
const PART: usize = 1 << 16;

/// Adam (Kingma & Ba 2015) or, `decoupled`, AdamW (Loshchilov & Hutter 2019).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adam {
    pub(crate) beta_1: f32,
    pub(crate) beta_2: f32,
    pub(crate) epsilon: f32,
    pub(crate) weight_decay: f32,
    pub(crate) decoupled: bool,
}

/// One step of [`Adam`] on any number of weights, in one pass over weights, moments and gradient. It does
/// Burn's operations in Burn's order, none of them contracted: the results are equal to the bit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdamStep {
    adam: Adam,
    learning_rate: f64,
    /// 1 − β₁ᵗ
    correction_1: f32,
    /// 1 − β₂ᵗ
    correction_2: f32,
}

impl Adam {
    /// The moments before the first step: −0, which is neutral in sums, where 0 would turn −0 to 0.
    pub(crate) const NO_MOMENT: f32 = -0.0;

    /// The step number `time` of a parameter, counted from 1.
    pub(crate) fn step(self, learning_rate: f64, time: usize) -> AdamStep {
        let time = time as i32;
        AdamStep {
            adam: self,
            learning_rate,
            correction_1: 1.0 - self.beta_1.powi(time),
            correction_2: 1.0 - self.beta_2.powi(time),
        }
    }
}

impl AdamStep {
    /// Steps these weights.
    ///
    /// # Panics
    /// If the lengths differ.
    pub(crate) fn apply(self, [w, m, v]: [&mut [f32]; 3], g: &[f32]) {
        assert!([w.len(), m.len(), v.len()] == [g.len(); 3], "weights, moments and gradient");
        let parts = w.chunks_mut(PART).zip(m.chunks_mut(PART)).zip(v.chunks_mut(PART)).zip(g.chunks(PART));
        parallel::each(parts.collect(), |(((w, m), v), g)| {
            vectorized(
                #[inline(always)]
                move || self.update(w, m, v, g),
            );
        });
    }

    /// One part of it; to be called in [`vectorized`].
    #[inline(always)]
    pub(super) fn update(self, w: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) {
        let Adam { epsilon, weight_decay, .. } = self.adam;
        let Self { correction_1, correction_2, .. } = self;
        let rate = self.learning_rate as f32;
        if self.adam.decoupled {
            let keep = (1.0 - self.learning_rate * f64::from(weight_decay)) as f32;
            self.each(w, m, v, g, |w, m, v, g| {
                let (m, v) = self.moments(m, v, g);
                let delta = (m / correction_1) / ((v / correction_2).sqrt() + epsilon);
                (w * keep - delta * rate, m, v)
            });
        } else {
            let root = correction_2.sqrt();
            let (scale, epsilon) = (root / correction_1, epsilon * root);
            let after = |w: f32, m: f32, v: f32| w - m * scale / (v.sqrt() + epsilon) * rate;
            if weight_decay > 0.0 {
                self.each(w, m, v, g, |w, m, v, g| {
                    let (m, v) = self.moments(m, v, w * weight_decay + g);
                    (after(w, m, v), m, v)
                });
            } else {
                self.each(w, m, v, g, |w, m, v, g| {
                    let (m, v) = self.moments(m, v, g);
                    (after(w, m, v), m, v)
                });
            }
        }
    }

    #[inline(always)]
    fn moments(&self, m: f32, v: f32, g: f32) -> (f32, f32) {
        let Adam { beta_1, beta_2, .. } = self.adam;
        (m * beta_1 + g * (1.0 - beta_1), v * beta_2 + g * g * (1.0 - beta_2))
    }

    #[inline(always)]
    fn each(
        &self,
        w: &mut [f32],
        m: &mut [f32],
        v: &mut [f32],
        g: &[f32],
        f: impl Fn(f32, f32, f32, f32) -> (f32, f32, f32),
    ) {
        for (((w, m), v), &g) in w.iter_mut().zip(m).zip(v).zip(g) {
            (*w, *m, *v) = f(*w, *m, *v, g);
        }
    }
}
