//! Recallers and rankers that are trained one on the other see nothing of what they are asked for.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use recsys::data::Split;
use recsys::metrics::HeldOut;
use recsys::models::recall::{ItemKnnConfig, ItemKnnRecaller};
use recsys::prelude::*;
use recsys::training::RankingExamplesConfig;

/// A recaller that remembers what it was fitted to, and which histories it was asked with.
#[derive(Debug)]
struct Witness {
    recaller: ItemKnnRecaller,
    fitted_to: Interactions,
    asked: Mutex<Vec<(UserId, Vec<ItemId>)>>,
}

impl Witness {
    fn fit(train: &Interactions) -> Self {
        let recaller = ItemKnnRecaller::fit(train, &ItemKnnConfig::default()).unwrap();
        Self { recaller, fitted_to: train.clone(), asked: Mutex::default() }
    }
}

impl Recaller for Witness {
    fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
        self.asked.lock().unwrap().push((query.user().unwrap(), query.history().to_vec()));
        self.recaller.recall(query, k)
    }
}

#[test]
fn no_example_comes_from_a_recaller_that_saw_its_target_or_what_came_after_its_query() {
    // Times are made distinct within a user, and no item comes twice, so that a pair of user and item has one time.
    let data = SyntheticConfig::new(150, 200, 6_000, 3).generate().unwrap();
    let mut met = HashSet::new();
    let rows = data.interactions().iter().filter(|row| met.insert((row.user, row.item)));
    let rows =
        rows.enumerate().map(|(n, row)| Interaction { timestamp: row.timestamp * 10_000 + n as i64, ..row });
    let rows = Interactions::from_rows(150, 200, rows).unwrap();
    let times: HashMap<(UserId, ItemId), i64> =
        rows.iter().map(|row| ((row.user, row.item), row.timestamp)).collect();

    let split = Split::out_of_fold(&rows, 0.1).unwrap();
    let questions = HeldOut::next_items(&split).unwrap();
    assert!(questions.users().len() == split.validation.len() && split.validation.len() > 300);
    let known = split.train_and_validation();
    let witness = Witness::fit(&split.train);
    let examples = RankingExamplesConfig::default().draw(&witness, &questions, &known).unwrap();

    let fitted_to: HashSet<(UserId, ItemId)> =
        witness.fitted_to.iter().map(|row| (row.user, row.item)).collect();
    let held_out: HashMap<UserId, ItemId> = split.test.iter().map(|row| (row.user, row.item)).collect();
    let asked = witness.asked.lock().unwrap();
    assert_eq!(asked.len(), questions.users().len());
    let mut test_items_drawn = 0;
    for ((question, group), (user, history)) in
        questions.users().iter().zip(examples.groups()).zip(asked.iter())
    {
        let group: Vec<ItemId> = group.iter().map(|candidate| candidate.item).collect();
        let target = group[0];
        let time = times[&(question.user, target)];
        assert_eq!((*user, target), (question.user, question.relevant[0]));
        assert!(!fitted_to.contains(&(*user, target)), "the recaller was fitted to the target");
        let is_before = |item: &ItemId| times[&(*user, *item)] < time;
        assert!(history.iter().all(is_before), "the query knows of what came after it");
        assert!(rows.iter().filter(|row| row.user == *user && row.timestamp < time).count() == history.len());
        let mut fitted_of_user = witness.fitted_to.iter().filter(|row| row.user == *user);
        assert!(fitted_of_user.all(|row| row.timestamp < time), "the recaller saw what came after the query");
        // What the user chose later is no negative, but for the test's item: nobody may know of it.
        let chosen = |item: &ItemId| times.contains_key(&(*user, *item)) && held_out.get(user) != Some(item);
        assert!(!group[1..].iter().any(chosen));
        test_items_drawn += group[1..].iter().filter(|item| held_out.get(user) == Some(item)).count();
    }
    assert!(test_items_drawn > 0, "items of the test are items like any other");
}
