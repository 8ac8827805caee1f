//! What an operator wants, whatever the models say.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::data::Interactions;
use crate::error::{Error, ErrorKind, Result, check_id_count};
use crate::features::ItemFeatures;
use crate::ids::{ItemFilter, ItemId};
use crate::pipeline::{Candidate, Query, Reranker, check_ranked};

/// The rules of a [`Rules`]; each is off by default.
///
/// | rule | default | purpose | range |
/// |---|---|---|---|
/// | `hide_history` | false | leaves out what stands in the query's history | |
/// | `deny` | none | leaves items out | |
/// | `allow` | all | leaves all other items out | |
/// | `pins` | none | puts an item at a place | places ≥ 1, each once; each item once |
/// | `caps` | none | at most so many items of one key: genre, decade, brand | limits ≥ 1 |
/// | `bury` | none | puts items behind all others | |
/// | `boosts` | none | moves items up or down by a share of the list | finite |
/// | `freshness` | none | lets old items sink | half-life > 0 |
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RulesConfig {
    /// Leaves out what stands in the query's history.
    pub hide_history: bool,
    /// Leaves these items out.
    pub deny: Vec<ItemId>,
    /// Leaves all other items out.
    pub allow: Option<Vec<ItemId>>,
    /// Items with a place.
    pub pins: Vec<Pin>,
    /// How many items of one key a list may hold.
    pub caps: Vec<Cap>,
    /// Puts these items behind all others.
    pub bury: Vec<ItemId>,
    /// Moves items up or down.
    pub boosts: Vec<Boost>,
    /// Lets old items sink.
    pub freshness: Option<Freshness>,
}

/// An item that stands at a place of the list wherever it is among the candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The item.
    pub item: ItemId,
    /// Its place, counted from 1; the end of a shorter list.
    pub place: usize,
}

/// At most `limit` items of each key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cap {
    /// The keys of each item, for example its genres; an item of several counts for each.
    pub keys: ItemFeatures,
    /// How many items of one key a list may hold.
    pub limit: usize,
}

impl Cap {
    fn keys(&self, item: ItemId) -> &[u32] {
        self.keys.get(item).unwrap_or_default()
    }
}

/// How many items of each key a list holds already.
struct Counts<'a> {
    cap: &'a Cap,
    counts: HashMap<u32, usize>,
}

impl<'a> Counts<'a> {
    fn new(cap: &'a Cap) -> Self {
        Self { cap, counts: HashMap::new() }
    }

    fn have_room(&self, item: ItemId) -> bool {
        let n_items = |key| self.counts.get(key).copied().unwrap_or(0);
        self.cap.keys(item).iter().all(|key| n_items(key) < self.cap.limit)
    }

    fn add(&mut self, item: ItemId) {
        self.cap.keys(item).iter().for_each(|&key| *self.counts.entry(key).or_default() += 1);
    }
}

/// Items that move up, or down, by a share of the list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boost {
    /// The items.
    pub items: Vec<ItemId>,
    /// The share: 0.5 moves an item up by half of the list, −0.5 down. Boosts of one item add up.
    pub share: f32,
}

/// Halves an item's standing for every half-life of its age.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freshness {
    /// When each item came out, or was first seen; an item without a time does not age.
    pub times: Vec<Option<i64>>,
    /// After how long an item's standing is halved, in the units of the times.
    pub half_life: f64,
}

impl Freshness {
    /// Ages counted from the first interaction with each item.
    pub fn first_seen(interactions: &Interactions, half_life: f64) -> Self {
        let mut times: Vec<Option<i64>> = vec![None; interactions.n_items()];
        for (item, &time) in interactions.items().iter().zip(interactions.timestamps()) {
            let first = &mut times[item.index()];
            *first = Some(first.map_or(time, |first| first.min(time)));
        }
        Self { times, half_life }
    }

    /// 2^(−age / half-life) of each item, with ages up to that of the newest: as every item ages alike, the order of
    /// a list does not depend on the day.
    fn decays(&self) -> Vec<f32> {
        let newest = self.times.iter().flatten().copied().max().unwrap_or(0);
        let decay = |time: i64| (-(newest as f64 - time as f64) / self.half_life).exp2() as f32;
        self.times.iter().map(|time| time.map_or(1.0, decay)).collect()
    }
}

/// Applies rules to the list to show, in the order of precedence:
///
/// 1. **Out**: denied items, those of the history where it is hidden, and all that an allow list does not name. Nothing
///    brings them back, neither a pin nor a boost.
/// 2. **Pins**: a candidate that is pinned stands at its place. Boosts, burials and age do not move it and no cap drops
///    it, but it counts for the caps of others.
/// 3. **Caps**: walking down the others, an item that would be one too many of any of its keys is dropped; so a list may
///    be shorter than asked for.
/// 4. **Burials**: buried items walk behind all others, whatever their boost.
/// 5. **Boosts and freshness** decide the order of the walk: by (1 − i / n) · 2^(−age / half-life) + Σ shares for the
///    candidate that came at place i = 0, 1, … of n; equals stand as they came.
///
/// Standings come from places, not from scores, so that rules may follow a stage like
/// [`Mmr`](crate::models::reranking::Mmr), whose order is not that of the scores. Candidates keep their scores. The list
/// for a smaller k is the beginning of that for a larger one.
///
/// ```
/// use recsys::models::reranking::{Cap, Pin, Rules, RulesConfig};
/// use recsys::prelude::*;
///
/// let genres = ItemFeatures::new(2, [[0], [0], [0], [1], [1]])?;
/// let config = RulesConfig {
///     deny: vec![ItemId(0)],
///     pins: vec![Pin { item: ItemId(4), place: 1 }],
///     caps: vec![Cap { keys: genres, limit: 1 }],
///     ..RulesConfig::default()
/// };
/// let rules = Rules::new(config, 5)?;
/// let ranked = (0..5).map(|item| Candidate::new(ItemId(item), -(item as f32))).collect();
/// let shown = rules.rerank(&Query::default(), ranked, 5)?;
/// assert_eq!(shown.iter().map(|candidate| candidate.item.0).collect::<Vec<_>>(), [4, 1]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Rules {
    saved: Saved,
    filter: ItemFilter,
    /// The place of each pinned item, by place.
    pins: Vec<Pin>,
    /// What age leaves of each item's standing, if it counts.
    decays: Option<Vec<f32>>,
    /// What boosts add to the standing of the items that have any.
    boosts: HashMap<ItemId, f32>,
    buried: HashSet<ItemId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    n_items: usize,
    config: RulesConfig,
}

impl Rules {
    /// Rules for a catalogue of `n_items`.
    ///
    /// # Errors
    /// A rule outside its range, an item outside the catalogue, keys or times of another number of items, or an item that
    /// has a key twice.
    pub fn new(config: RulesConfig, n_items: usize) -> Result<Self> {
        Saved { n_items, config }.try_into()
    }

    /// The rules.
    pub fn config(&self) -> &RulesConfig {
        &self.saved.config
    }

    /// The candidates that are not out, and their standings, in the order of the walk.
    fn walk(&self, query: &Query<'_>, ranked: Vec<Candidate>) -> Vec<Candidate> {
        let n = ranked.len() as f32;
        let hidden = if self.config().hide_history { query.history() } else { &[] };
        let filter = self.filter.clone().deny(hidden.iter().copied());
        let standing = |(place, candidate): (usize, Candidate)| {
            let item = candidate.item;
            let decay = self.decays.as_ref().map_or(1.0, |decays| decays[item.index()]);
            let boost = self.boosts.get(&item).copied().unwrap_or(0.0);
            (self.buried.contains(&item), (1.0 - place as f32 / n) * decay + boost, candidate)
        };
        let admitted = ranked.into_iter().enumerate().filter(|(_, candidate)| filter.admits(candidate.item));
        let mut walk: Vec<_> = admitted.map(standing).collect();
        walk.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
        walk.into_iter().map(|(_, _, candidate)| candidate).collect()
    }

    /// Takes the pinned candidates out, by place.
    fn take_pinned(&self, walk: &mut Vec<Candidate>) -> Vec<(usize, Candidate)> {
        let find = |pin: &Pin| {
            let at = walk.iter().position(|candidate| candidate.item == pin.item)?;
            Some((pin.place, walk.remove(at)))
        };
        self.pins.iter().filter_map(find).collect()
    }

    /// Drops what would be one too many of a key, the pinned items counted first.
    fn cap(&self, pinned: &[(usize, Candidate)], walk: &mut Vec<Candidate>) {
        let mut caps: Vec<Counts<'_>> = self.config().caps.iter().map(Counts::new).collect();
        for (_, candidate) in pinned {
            caps.iter_mut().for_each(|counts| counts.add(candidate.item));
        }
        walk.retain(|candidate| {
            let stays = caps.iter().all(|counts| counts.have_room(candidate.item));
            if stays {
                caps.iter_mut().for_each(|counts| counts.add(candidate.item));
            }
            stays
        });
    }
}

impl Reranker for Rules {
    fn rerank(&self, query: &Query<'_>, ranked: Vec<Candidate>, k: usize) -> Result<Vec<Candidate>> {
        query.check_items(self.saved.n_items)?;
        check_ranked(&ranked, self.saved.n_items)?;
        let mut list = self.walk(query, ranked);
        let pinned = self.take_pinned(&mut list);
        self.cap(&pinned, &mut list);
        for (place, candidate) in pinned {
            list.insert((place - 1).min(list.len()), candidate);
        }
        list.truncate(k);
        Ok(list)
    }
}

impl Saved {
    fn validate(&self) -> Result<()> {
        let Self { n_items, config } = self;
        check_id_count("Rules::n_items", *n_items)?;
        let boosted = config.boosts.iter().flat_map(|boost| &boost.items);
        let pinned = config.pins.iter().map(|pin| &pin.item);
        let named = config.deny.iter().chain(config.allow.iter().flatten()).chain(&config.bury);
        if let Some(item) = named.chain(boosted).chain(pinned).find(|item| item.index() >= *n_items) {
            let (id, bound) = (item.0.into(), *n_items as u64);
            return Err(ErrorKind::IdOutOfRange { what: "item", id, bound }.into());
        }
        for (i, pin) in config.pins.iter().enumerate() {
            if pin.place == 0 {
                return Err(Error::config("Pin::place", "at least 1", 0));
            }
            let clashes = |other: &Pin| other.item == pin.item || other.place == pin.place;
            if let Some(other) = config.pins[..i].iter().find(|other| clashes(other)) {
                let say = |pin: &Pin| format!("item {} at {}", pin.item, pin.place);
                let expected = "one place for an item and one item for a place";
                let found = format!("{} and {}", say(other), say(pin));
                return Err(Error::config("RulesConfig::pins", expected, found));
            }
        }
        for Cap { keys, limit } in &config.caps {
            if *limit == 0 {
                return Err(Error::config("Cap::limit", "at least 1; a deny list leaves items out", 0));
            }
            check_length("number of items with keys", *n_items, keys.n_items())?;
            keys.check_distinct()?;
        }
        if let Some(boost) = config.boosts.iter().find(|boost| !boost.share.is_finite()) {
            return Err(Error::config("Boost::share", "a finite number", boost.share));
        }
        config.freshness.as_ref().map_or(Ok(()), |freshness| freshness.validate(*n_items))
    }
}

impl Freshness {
    fn validate(&self, n_items: usize) -> Result<()> {
        if !(self.half_life.is_finite() && self.half_life > 0.0) {
            return Err(Error::config("Freshness::half_life", "a finite number above 0", self.half_life));
        }
        check_length("number of items with times", n_items, self.times.len())
    }
}

fn check_length(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(ErrorKind::LengthMismatch { what, expected, found }.into()) }
}

impl TryFrom<Saved> for Rules {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        saved.validate()?;
        let Saved { config, .. } = &saved;
        let mut filter = ItemFilter::all().deny(config.deny.iter().copied());
        if let Some(allowed) = &config.allow {
            filter = filter.allow(allowed.iter().copied());
        }
        let mut pins = config.pins.clone();
        pins.sort_unstable_by_key(|pin| pin.place);
        let decays = config.freshness.as_ref().map(Freshness::decays);
        let mut boosts = HashMap::new();
        for Boost { items, share } in &config.boosts {
            items.iter().for_each(|&item| *boosts.entry(item).or_insert(0.0) += share);
        }
        let buried = config.bury.iter().copied().collect();
        Ok(Self { filter, pins, decays, boosts, buried, saved })
    }
}

impl From<Rules> for Saved {
    fn from(rules: Rules) -> Self {
        rules.saved
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::data::Interaction;
    use crate::ids::UserId;

    const N_ITEMS: usize = 10;

    fn ids(ids: &[u32]) -> Vec<ItemId> {
        ids.iter().copied().map(ItemId).collect()
    }

    fn pin(item: u32, place: usize) -> Pin {
        Pin { item: ItemId(item), place }
    }

    /// Items 0 to 4 have the key 0, the others the key 1.
    fn halves(limit: usize) -> Cap {
        let keys = ItemFeatures::new(2, (0..N_ITEMS as u32).map(|item| [item / 5])).unwrap();
        Cap { keys, limit }
    }

    /// The list for candidates 0, 1, 2, … in this order.
    fn shown(config: RulesConfig, history: &[ItemId], k: usize) -> Vec<u32> {
        let rules = Rules::new(config, N_ITEMS).unwrap();
        let ranked = (0..N_ITEMS as u32).map(|item| Candidate::new(ItemId(item), 7.0)).collect();
        let list = rules.rerank(&Query::new(history), ranked, k).unwrap();
        list.iter().map(|candidate| candidate.item.0).collect()
    }

    #[test]
    fn each_rule_alone() {
        let none = RulesConfig::default;
        let list = |config| shown(config, &ids(&[1, 2]), 4);
        assert_eq!(list(none()), [0, 1, 2, 3]);
        assert_eq!(list(RulesConfig { hide_history: true, ..none() }), [0, 3, 4, 5]);
        assert_eq!(list(RulesConfig { deny: ids(&[0, 3]), ..none() }), [1, 2, 4, 5]);
        assert_eq!(list(RulesConfig { allow: Some(ids(&[9, 4])), ..none() }), [4, 9]);
        assert_eq!(list(RulesConfig { pins: vec![pin(9, 2), pin(8, 4)], ..none() }), [0, 9, 1, 8]);
        assert_eq!(list(RulesConfig { caps: vec![halves(1)], ..none() }), [0, 5]);
        assert_eq!(list(RulesConfig { bury: ids(&[0, 2]), ..none() }), [1, 3, 4, 5]);
        // Of ten standings a tenth apart, 1.0 of item 0 becomes 0.75, and 0.2 of item 8 becomes 0.72.
        let boosts = vec![Boost { items: ids(&[8]), share: 0.52 }, Boost { items: ids(&[0]), share: -0.25 }];
        assert_eq!(list(RulesConfig { boosts, ..none() }), [1, 2, 0, 8]);
    }

    #[test]
    fn old_items_sink_by_half_lives() {
        let mut times = vec![Some(100); N_ITEMS];
        times[0] = Some(80);
        times[1] = None;
        let freshness = Freshness { times, half_life: 20.0 };
        assert_eq!(freshness.decays()[..3], [0.5, 1.0, 1.0]);
        let config = RulesConfig { freshness: Some(freshness.clone()), ..RulesConfig::default() };
        // Item 0 keeps 1.0 / 2, as item 5 has by its place; the earlier one stands first.
        assert_eq!(shown(config.clone(), &[], 7), [1, 2, 3, 4, 0, 5, 6]);
        let later = freshness.times.iter().map(|time| time.map(|time| time + 1_000)).collect();
        let later = Freshness { times: later, half_life: 20.0 };
        assert_eq!(shown(RulesConfig { freshness: Some(later), ..config }, &[], 7), [1, 2, 3, 4, 0, 5, 6]);

        let row =
            |item, timestamp| Interaction { user: UserId(0), item: ItemId(item), value: 1.0, timestamp };
        let train = Interactions::from_rows(1, 3, [row(2, 9), row(0, 5), row(2, 4)]).unwrap();
        assert_eq!(Freshness::first_seen(&train, 1.0).times, [Some(5), None, Some(4)]);
    }

    #[test]
    fn precedence() {
        let none = RulesConfig::default;
        // Deny over allow and over pins; history over pins.
        let config = RulesConfig {
            hide_history: true,
            deny: ids(&[3]),
            allow: Some(ids(&[3, 5, 6, 7])),
            pins: vec![pin(3, 1), pin(7, 2), pin(6, 3), pin(9, 4)],
            ..none()
        };
        assert_eq!(shown(config, &ids(&[6]), 9), [5, 7], "item 9 is pinned but not allowed");
        // Pins over caps, for which they count, and over burials and boosts.
        let config = RulesConfig {
            pins: vec![pin(4, 3)],
            caps: vec![halves(2)],
            bury: ids(&[4, 5]),
            boosts: vec![Boost { items: ids(&[4, 0]), share: -9.0 }],
            ..none()
        };
        assert_eq!(shown(config, &[], 9), [1, 6, 4, 7], "the cap is filled by 4 and 1, and by 6 and 7");
        // Burials over boosts; boosts decide who is capped.
        let config = RulesConfig {
            caps: vec![halves(2)],
            bury: ids(&[9]),
            boosts: vec![Boost { items: ids(&[9, 4]), share: 9.0 }],
            ..none()
        };
        assert_eq!(shown(config, &[], 9), [4, 0, 5, 6]);
        // A pin beyond the end stands at the end, and one beyond k is not shown.
        let config = RulesConfig { pins: vec![pin(0, 99)], ..none() };
        assert_eq!(shown(config.clone(), &[], 99).last(), Some(&0));
        assert_eq!(shown(config, &[], 3), [1, 2, 3]);
    }

    #[test]
    fn an_item_counts_for_each_of_its_keys_in_each_cap() {
        let keys = |lists: [&[u32]; N_ITEMS]| ItemFeatures::new(3, lists).unwrap();
        let genres = keys([&[0, 1], &[1], &[2], &[0], &[], &[], &[2], &[], &[], &[]]);
        let decades = keys([&[0], &[1], &[1], &[1], &[1], &[1], &[0], &[], &[], &[]]);
        let caps = vec![Cap { keys: genres, limit: 1 }, Cap { keys: decades, limit: 2 }];
        // 1 and 3 share a genre with 0; 2 and 4 fill their decade, which 1 does not, for it is not shown.
        assert_eq!(shown(RulesConfig { caps, ..RulesConfig::default() }, &[], 9), [0, 2, 4, 7, 8, 9]);
    }

    #[test]
    fn bad_rules_are_named() {
        let refused = |config| Rules::new(config, N_ITEMS).unwrap_err().to_string();
        let none = RulesConfig::default;
        let strange = ids(&[10]);
        for config in [
            RulesConfig { deny: strange.clone(), ..none() },
            RulesConfig { allow: Some(strange.clone()), ..none() },
            RulesConfig { bury: strange.clone(), ..none() },
            RulesConfig { boosts: vec![Boost { items: strange, share: 0.1 }], ..none() },
            RulesConfig { pins: vec![pin(10, 1)], ..none() },
        ] {
            assert_eq!(refused(config), "item id 10 is not below 10");
        }
        assert_eq!(
            refused(RulesConfig { pins: vec![pin(1, 0)], ..none() }),
            "Pin::place: expected at least 1, found 0"
        );
        for pins in [vec![pin(1, 2), pin(1, 3)], vec![pin(1, 2), pin(3, 2)]] {
            assert!(
                refused(RulesConfig { pins, ..none() }).starts_with("RulesConfig::pins: expected one place")
            );
        }
        assert!(refused(RulesConfig { caps: vec![halves(0)], ..none() }).starts_with("Cap::limit"));
        let few = Cap { keys: ItemFeatures::none(9), limit: 1 };
        let expected = "number of items with keys: expected 10, found 9";
        assert_eq!(refused(RulesConfig { caps: vec![few], ..none() }), expected);
        let twice = Cap { keys: ItemFeatures::new(1, [[0, 0]; N_ITEMS]).unwrap(), limit: 1 };
        assert!(refused(RulesConfig { caps: vec![twice], ..none() }).contains("distinct features"));
        let wild = Boost { items: vec![], share: f32::NAN };
        assert!(refused(RulesConfig { boosts: vec![wild], ..none() }).starts_with("Boost::share"));
        for (half_life, n) in [(0.0, 10), (f64::NAN, 10), (1.0, 9)] {
            let freshness = Some(Freshness { times: vec![None; n], half_life });
            assert!(Rules::new(RulesConfig { freshness, ..none() }, N_ITEMS).is_err());
        }
        assert!(Rules::new(none(), usize::MAX).is_err());
    }

    #[test]
    fn comes_back_from_json() {
        let config = RulesConfig {
            deny: ids(&[3]),
            pins: vec![pin(4, 3)],
            caps: vec![halves(2)],
            boosts: vec![Boost { items: ids(&[4]), share: 0.5 }],
            freshness: Some(Freshness { times: vec![Some(7); N_ITEMS], half_life: 2.0 }),
            ..RulesConfig::default()
        };
        let rules = Rules::new(config, N_ITEMS).unwrap();
        let json = serde_json::to_string(&rules).unwrap();
        assert_eq!(serde_json::from_str::<Rules>(&json).unwrap(), rules);
        for (good, bad) in
            [(r#""deny":[3]"#, r#""deny":[30]"#), (r#""limit":2"#, r#""limit":0"#), ("bury", "burry")]
        {
            assert!(json.contains(good) && serde_json::from_str::<Rules>(&json.replace(good, bad)).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_key_passes_its_cap_unless_by_pins(
            ranked in Just((0..N_ITEMS as u32).collect::<Vec<_>>()).prop_shuffle(),
            keys in prop::collection::vec(prop::collection::btree_set(0u32..4, 0..3), N_ITEMS),
            limit in 1usize..4,
            deny in prop::collection::vec((0..N_ITEMS as u32).prop_map(ItemId), 0..4),
        ) {
            let keys: Vec<Vec<u32>> = keys.into_iter().map(|keys| keys.into_iter().collect()).collect();
            let cap = Cap { keys: ItemFeatures::new(4, &keys).unwrap(), limit };
            let config = RulesConfig { caps: vec![cap], deny: deny.clone(), ..RulesConfig::default() };
            let rules = Rules::new(config, N_ITEMS).unwrap();
            let candidates: Vec<_> = ranked.iter().map(|&item| Candidate::new(ItemId(item), 0.0)).collect();
            let list = rules.rerank(&Query::default(), candidates, 99).unwrap();
            let n_of = |key| list.iter().filter(|candidate| keys[candidate.item.index()].contains(&key)).count();
            prop_assert!((0..4).all(|key| n_of(key) <= limit));
            prop_assert!(list.iter().all(|candidate| !deny.contains(&candidate.item)));
            // What is left out is denied, or one of its keys is full.
            for item in ranked.iter().map(|&item| ItemId(item)) {
                let is_shown = list.iter().any(|candidate| candidate.item == item);
                let is_full = keys[item.index()].iter().any(|&key| n_of(key) == limit);
                prop_assert!(is_shown || deny.contains(&item) || is_full);
            }
        }
    }
}
