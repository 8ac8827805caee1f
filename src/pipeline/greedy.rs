use crate::pipeline::Candidate;
use crate::top_k::by_score;

/// An objective over lists of candidates that is raised step by step.
pub(crate) trait GreedyObjective {
    /// What the candidate at this place of the input is worth as the next of the list.
    fn gain(&self, candidate: usize) -> f32;

    /// Appends the candidate at this place to the list.
    fn choose(&mut self, candidate: usize);
}

/// Moves the candidate of the largest gain to the list, `k` times or until none is left; of equal gains the smaller
/// item.
pub(crate) fn select_greedily(
    ranked: Vec<Candidate>,
    k: usize,
    mut objective: impl GreedyObjective,
) -> Vec<Candidate> {
    let mut left: Vec<(usize, Candidate)> = ranked.into_iter().enumerate().collect();
    let mut list = Vec::with_capacity(k.min(left.len()));
    while list.len() < k {
        let worth = |(place, (input, candidate)): (usize, &(usize, Candidate))| {
            (place, (candidate.item, objective.gain(*input)))
        };
        let best = left.iter().enumerate().map(worth).min_by(|(_, a), (_, b)| by_score(*a, *b));
        let Some((place, _)) = best else { break };
        let (input, candidate) = left.swap_remove(place);
        objective.choose(input);
        list.push(candidate);
    }
    list
}
