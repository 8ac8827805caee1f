use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Dataset, Interactions, ItemTable, Vocab};
use crate::error::{Error, Result};
use crate::ids::{ItemId, UserId};
use crate::rng::Rng;

/// Settings of an invented catalogue of films and of users who rate them, for examples, tests and
/// measurements of speed where no real data is at hand. What a good model can learn is planted in it:
///
/// - **Popularity**: an item of rank r, counted from 1, is drawn with a weight of
///   `(r + n_items / 100)^-zipf_exponent` (the Zipf–Mandelbrot law).
/// - **Taste**: each item has a main genre; each user has four favourite genres, of which 40, 30, 20 and
///   10 % of their choices come, but for one choice in five that is of any genre.
/// - **Sequence**: each item has three successors of its own genre, likely in the ratio 6 : 3 : 1. With
///   `follow_probability` a user's next item is a successor of the last one (unless they know it).
/// - **Ratings** in whole stars, 1 to 5, higher for better items and favourite genres.
///
/// Nobody rates an item twice, and each user's rows are in order of increasing time, in seconds. Users
/// differ in activity (log-normal).
///
/// | field | default | purpose | range |
/// |---|---|---|---|
/// | `n_users` | – | users | 1 to 2³² |
/// | `n_items` | – | items | 2 to 2³² |
/// | `n_interactions` | – | rows, exactly | up to half of `n_users · n_items` |
/// | `seed` | – | chance | any |
/// | `zipf_exponent` | 1 | skew of popularity; 0 is none | 0 or more |
/// | `follow_probability` | 0.5 | weight of the last item in the choice of the next | 0 to 1 |
///
/// ```
/// use recsys::prelude::*;
///
/// let dataset = SyntheticConfig::new(100, 200, 1_000, 42).generate()?;
/// assert_eq!(dataset.interactions().len(), 1_000);
/// assert!(!dataset.item_table().unwrap().titles()[0].is_empty());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyntheticConfig {
    /// The number of users.
    pub n_users: usize,
    /// The number of items.
    pub n_items: usize,
    /// The number of rows.
    pub n_interactions: usize,
    /// The seed of all chance.
    pub seed: u64,
    /// The exponent of the law of popularity.
    pub zipf_exponent: f64,
    /// How often the next item is a successor of the last one.
    pub follow_probability: f64,
}

/// The genres, each with the nouns of its titles.
const GENRES: [(&str, [&str; 8]); 16] = [
    ("Action", ["Pursuit", "Ambush", "Bullet", "Convoy", "Getaway", "Impact", "Strike", "Vendetta"]),
    ("Adventure", ["Voyage", "Island", "Expedition", "Summit", "Jungle", "Treasure", "Compass", "River"]),
    ("Animation", ["Balloon", "Rabbit", "Toybox", "Dragonfly", "Kite", "Puppet", "Snowflake", "Lantern"]),
    ("Comedy", ["Wedding", "Neighbour", "Holiday", "Mix-Up", "Roommate", "Picnic", "Butler", "Parrot"]),
    ("Crime", ["Heist", "Alibi", "Ledger", "Informer", "Syndicate", "Vault", "Verdict", "Forger"]),
    ("Documentary", ["Archive", "Glacier", "Harvest", "Orchestra", "Railway", "Reef", "Census", "Voices"]),
    ("Drama", ["Promise", "Daughter", "Winter", "Inheritance", "Letter", "Silence", "Farewell", "Orchard"]),
    ("Family", ["Treehouse", "Pony", "Grandfather", "Circus", "Puppy", "Campfire", "Birthday", "Garden"]),
    ("Fantasy", ["Sorcerer", "Crown", "Kingdom", "Spell", "Dragon", "Amulet", "Oracle", "Throne"]),
    ("Horror", ["Crypt", "Shadow", "Cellar", "Scream", "Haunting", "Grave", "Mirror", "Curse"]),
    ("Musical", ["Melody", "Chorus", "Ballroom", "Overture", "Serenade", "Encore", "Rhapsody", "Waltz"]),
    ("Mystery", ["Cipher", "Stranger", "Clue", "Manor", "Witness", "Riddle", "Footprint", "Secret"]),
    ("Romance", ["Kiss", "Summer", "Rose", "Sweetheart", "Moonlight", "Café", "Bouquet", "Valentine"]),
    ("Science Fiction", ["Orbit", "Android", "Nebula", "Signal", "Colony", "Starship", "Paradox", "Comet"]),
    ("War", ["Battalion", "Trench", "Bridge", "Armistice", "Squadron", "Siege", "Medal", "Frontline"]),
    ("Western", ["Saddle", "Canyon", "Sheriff", "Prairie", "Outlaw", "Stagecoach", "Mustang", "Saloon"]),
];

const ADJECTIVES: [&str; 40] = [
    "Silent",
    "Crimson",
    "Lost",
    "Golden",
    "Broken",
    "Distant",
    "Hidden",
    "Last",
    "First",
    "Midnight",
    "Forgotten",
    "Burning",
    "Frozen",
    "Restless",
    "Paper",
    "Velvet",
    "Hollow",
    "Electric",
    "Endless",
    "Wandering",
    "Scarlet",
    "Invisible",
    "Quiet",
    "Stolen",
    "Borrowed",
    "Northern",
    "Southern",
    "Glass",
    "Iron",
    "Silver",
    "Impossible",
    "Lonely",
    "Reluctant",
    "Fearless",
    "Secondhand",
    "Emerald",
    "Savage",
    "Gentle",
    "Thirteenth",
    "Unlikely",
];

/// How a user's choices divide among their favourite genres.
const TASTE: [f64; 4] = [0.4, 0.3, 0.2, 0.1];
/// How likely each of an item's successors is.
const SUCCESSION: [f64; 3] = [0.6, 0.3, 0.1];
/// How often a choice that follows nothing is of any genre.
const EXPLORATION: f64 = 0.2;
/// The share of all rows that is dealt out to all users alike.
const EVEN_SHARE: f64 = 0.2;
/// 2015-01-01 UTC, in seconds.
const FIRST_DAY: f64 = 1_420_070_400.0;
const DAY: f64 = 86_400.0;
/// The time in which users appear.
const PERIOD: f64 = 3.0 * 365.0 * DAY;
/// How often a row begins another sitting.
const NEW_SITTING: f64 = 0.1;
/// How many items a genre has at least, but in a catalogue that is smaller still.
const ITEMS_PER_GENRE: usize = 60;
/// How often an item has a second genre.
const SECOND_GENRE: f64 = 0.3;
/// How often an item that the user knows is drawn again, before its neighbour is taken.
const RETRIES: usize = 4;
/// Into how many tasks the users are divided.
const TASKS: usize = 256;

/// What the streams of chance are for.
enum Stream {
    Catalogue,
    Successors,
    Table,
    Activity,
    History,
}

impl SyntheticConfig {
    /// The default settings at this size.
    pub fn new(n_users: usize, n_items: usize, n_interactions: usize, seed: u64) -> Self {
        Self { n_users, n_items, n_interactions, seed, zipf_exponent: 1.0, follow_probability: 0.5 }
    }

    /// Sets the skew of popularity.
    pub fn with_zipf_exponent(mut self, exponent: f64) -> Self {
        self.zipf_exponent = exponent;
        self
    }

    /// Sets how often the next item is a successor of the last one.
    pub fn with_follow_probability(mut self, probability: f64) -> Self {
        self.follow_probability = probability;
        self
    }

    /// Invents the data: users `1..=n_users` and items `1..=n_items` as keys, rows by user and time,
    /// titles, years and genres. The result depends on the settings alone, not on the number of threads.
    ///
    /// # Errors
    /// A setting outside its range.
    pub fn generate(&self) -> Result<Dataset> {
        self.validate()?;
        let catalogue = Catalogue::new(self);
        let keys = |n: usize| Vocab::from_ints((1..=n as u64).collect());
        Dataset::new(self.interactions(&catalogue)?, keys(self.n_users)?, keys(self.n_items)?)?
            .with_item_table(catalogue.item_table(self)?)
    }

    fn validate(&self) -> Result<()> {
        const IDS: usize = 1 << 32;
        if !(1..=IDS).contains(&self.n_users) {
            return Err(Error::config("SyntheticConfig::n_users", "1 to 2^32", self.n_users));
        }
        if !(2..=IDS).contains(&self.n_items) {
            return Err(Error::config("SyntheticConfig::n_items", "2 to 2^32", self.n_items));
        }
        let most = self.n_users.saturating_mul(self.most_per_user());
        if self.n_interactions > most {
            let expected = format!("at most {most}, half of n_users · n_items");
            return Err(Error::config("SyntheticConfig::n_interactions", expected, self.n_interactions));
        }
        if !(self.zipf_exponent >= 0.0 && self.zipf_exponent.is_finite()) {
            let found = self.zipf_exponent;
            return Err(Error::config(
                "SyntheticConfig::zipf_exponent",
                "a finite number of 0 or more",
                found,
            ));
        }
        if !(0.0..=1.0).contains(&self.follow_probability) {
            let found = self.follow_probability;
            return Err(Error::config("SyntheticConfig::follow_probability", "0 to 1", found));
        }
        Ok(())
    }

    fn stream(&self, stream: Stream, part: usize) -> Rng {
        Rng::stream(self.seed, &[stream as u64, part as u64])
    }

    /// No user may know more than half of the catalogue, so that something is left to recommend.
    fn most_per_user(&self) -> usize {
        self.n_items / 2
    }

    fn interactions(&self, catalogue: &Catalogue) -> Result<Interactions> {
        let activity = self.activity();
        let mut users = Vec::with_capacity(self.n_interactions);
        for (user, &n_rows) in activity.iter().enumerate() {
            users.resize(users.len() + n_rows, UserId(user as u32));
        }
        let mut items = vec![ItemId(0); self.n_interactions];
        let mut values = vec![0.0; self.n_interactions];
        let mut timestamps = vec![0; self.n_interactions];
        let mut rest = (&mut items[..], &mut values[..], &mut timestamps[..]);
        let users_per_task = self.n_users.div_ceil(TASKS);
        let mut tasks = Vec::with_capacity(TASKS);
        for (task, activity) in activity.chunks(users_per_task).enumerate() {
            let n_rows = activity.iter().sum();
            let (items, values, timestamps);
            (items, rest.0) = rest.0.split_at_mut(n_rows);
            (values, rest.1) = rest.1.split_at_mut(n_rows);
            (timestamps, rest.2) = rest.2.split_at_mut(n_rows);
            tasks.push((task * users_per_task, activity, items, values, timestamps));
        }
        tasks.into_par_iter().for_each(|(first_user, activity, items, values, timestamps)| {
            let mut seen = Seen::new(self.n_items);
            let mut row = 0;
            for (user, &n_rows) in (first_user..).zip(activity) {
                let mut viewer = Viewer::new(self, catalogue, user, &mut seen);
                for row in row..row + n_rows {
                    (items[row], values[row], timestamps[row]) = viewer.watch();
                }
                row += n_rows;
            }
        });
        Interactions::new(self.n_users, self.n_items, users, items, values, timestamps)
    }

    /// How many rows each user has: a share that is the same for all, and one that is log-normal.
    fn activity(&self) -> Vec<usize> {
        let most = self.most_per_user();
        let even = ((EVEN_SHARE * self.n_interactions as f64) as usize / self.n_users).min(most);
        let uneven = (self.n_interactions - even * self.n_users) as f64;
        let mut rng = self.stream(Stream::Activity, 0);
        let weights: Vec<f64> = (0..self.n_users).map(|_| rng.normal().exp()).collect();
        let sum: f64 = weights.iter().sum();
        let (mut weight_so_far, mut dealt) = (0.0, 0.0);
        let mut activity: Vec<usize> = Vec::with_capacity(self.n_users);
        for weight in weights {
            weight_so_far += weight;
            let rows_so_far = (uneven * weight_so_far / sum).round();
            activity.push((even + (rows_so_far - dealt) as usize).min(most));
            dealt = rows_so_far;
        }
        let mut missing = self.n_interactions - activity.iter().sum::<usize>();
        while missing > 0 {
            let share = missing.div_ceil(self.n_users);
            for n_rows in &mut activity {
                let more = share.min(missing).min(most - *n_rows);
                *n_rows += more;
                missing -= more;
            }
        }
        activity
    }
}

/// The items, in slots: those of a genre are neighbours, which the items' ids do not tell.
#[derive(Debug)]
struct Catalogue {
    item_of_slot: Vec<ItemId>,
    /// The weight of all slots before this one; at last, of all.
    weight_before: Vec<f64>,
    /// The slots of genre g are `genre_starts[g]..genre_starts[g + 1]`.
    genre_starts: Vec<usize>,
    successors: Vec<[u32; SUCCESSION.len()]>,
    quality: Vec<f32>,
}

impl Catalogue {
    fn new(config: &SyntheticConfig) -> Self {
        let n_items = config.n_items;
        let mut rng = config.stream(Stream::Catalogue, 0);
        let mut item_of_slot: Vec<ItemId> = (0..n_items).map(|item| ItemId(item as u32)).collect();
        rng.shuffle(&mut item_of_slot);
        let mut ranks: Vec<u32> = (0..n_items).map(|rank| rank as u32).collect();
        rng.shuffle(&mut ranks);
        let mut weight_before = Vec::with_capacity(n_items + 1);
        weight_before.push(0.0);
        let flattening = 1.0 + n_items as f64 / 100.0;
        for (slot, &rank) in ranks.iter().enumerate() {
            let weight = (f64::from(rank) + flattening).powf(-config.zipf_exponent);
            weight_before.push(weight_before[slot] + weight);
        }
        let quality = |&rank: &u32| (0.5 - f64::from(rank) / n_items as f64 + rng.normal()) as f32;
        let quality = ranks.iter().map(quality).collect();
        let n_genres = (n_items / ITEMS_PER_GENRE).clamp(1, GENRES.len());
        let genre_starts = (0..=n_genres).map(|genre| genre * n_items / n_genres).collect();
        let mut catalogue =
            Self { item_of_slot, weight_before, genre_starts, successors: Vec::new(), quality };
        catalogue.successors = (0..n_items)
            .into_par_iter()
            .map(|slot| {
                let mut rng = config.stream(Stream::Successors, slot);
                SUCCESSION.map(|_| catalogue.draw_other(slot, &mut rng) as u32)
            })
            .collect();
        catalogue
    }

    fn n_genres(&self) -> usize {
        self.genre_starts.len() - 1
    }

    fn genre(&self, slot: usize) -> usize {
        self.genre_starts[1..].partition_point(|&start| start <= slot)
    }

    fn all(&self) -> Range<usize> {
        0..self.item_of_slot.len()
    }

    fn of_genre(&self, genre: usize) -> Range<usize> {
        self.genre_starts[genre]..self.genre_starts[genre + 1]
    }

    /// A slot of `slots`, by popularity.
    fn draw(&self, slots: Range<usize>, rng: &mut Rng) -> usize {
        let (low, high) = (self.weight_before[slots.start], self.weight_before[slots.end]);
        let weight = low + rng.uniform() * (high - low);
        slots.start
            + self.weight_before[slots.start + 1..slots.end].partition_point(|&before| before <= weight)
    }

    /// Another slot of the same genre, by popularity; where this one is drawn, the next.
    fn draw_other(&self, slot: usize, rng: &mut Rng) -> usize {
        let slots = self.of_genre(self.genre(slot));
        match self.draw(slots.clone(), rng) {
            drawn if drawn != slot => drawn,
            drawn if drawn + 1 < slots.end => drawn + 1,
            _ => slots.start,
        }
    }

    fn item_table(&self, config: &SyntheticConfig) -> Result<ItemTable> {
        let mut rng = config.stream(Stream::Table, 0);
        let n_items = self.item_of_slot.len();
        let mut titles = vec![String::new(); n_items];
        let mut years = vec![None; n_items];
        let mut genres = vec![Vec::new(); n_items];
        for (slot, item) in self.item_of_slot.iter().enumerate() {
            let genre = self.genre(slot);
            titles[item.index()] = title(genre, slot - self.genre_starts[genre]);
            years[item.index()] = Some(1950 + rng.below(65) as u16);
            genres[item.index()].push(genre as u32);
            let second = rng.below(self.n_genres());
            if second != genre && rng.uniform() < SECOND_GENRE {
                genres[item.index()].push(second as u32);
            }
        }
        let genre_names = GENRES[..self.n_genres()].iter().map(|(name, _)| (*name).into()).collect();
        ItemTable::new(titles, years, genre_names, genres)
    }
}

/// The title of film `number` of a genre; no two films have the same.
fn title(genre: usize, number: usize) -> String {
    let nouns = GENRES[genre].1;
    let adjective = ADJECTIVES[number % ADJECTIVES.len()];
    let noun = nouns[number / ADJECTIVES.len() % nouns.len()];
    match number / (ADJECTIVES.len() * nouns.len()) {
        0 => format!("The {adjective} {noun}"),
        sequel => format!("The {adjective} {noun} {}", sequel + 1),
    }
}

/// The slots that the present user knows.
#[derive(Debug)]
struct Seen {
    is_seen: Vec<bool>,
    slots: Vec<usize>,
}

impl Seen {
    fn new(n_items: usize) -> Self {
        Self { is_seen: vec![false; n_items], slots: Vec::new() }
    }

    fn clear(&mut self) {
        for slot in self.slots.drain(..) {
            self.is_seen[slot] = false;
        }
    }

    fn insert(&mut self, slot: usize) {
        self.is_seen[slot] = true;
        self.slots.push(slot);
    }

    /// `slot`, or the first after it that is new; past the last comes the first.
    fn next_new(&self, slot: usize) -> usize {
        let after = self.is_seen[slot..].iter().position(|&seen| !seen);
        let before = || self.is_seen[..slot].iter().position(|&seen| !seen);
        after.map(|distance| slot + distance).or_else(before).unwrap_or(slot)
    }
}

/// One user at work.
#[derive(Debug)]
struct Viewer<'a> {
    catalogue: &'a Catalogue,
    follow_probability: f64,
    seen: &'a mut Seen,
    rng: Rng,
    favourites: [usize; TASTE.len()],
    leniency: f64,
    last: Option<usize>,
    /// In seconds.
    time: f64,
}

impl<'a> Viewer<'a> {
    fn new(config: &SyntheticConfig, catalogue: &'a Catalogue, user: usize, seen: &'a mut Seen) -> Self {
        seen.clear();
        let mut rng = config.stream(Stream::History, user);
        Self {
            favourites: TASTE.map(|_| catalogue.genre(catalogue.draw(catalogue.all(), &mut rng))),
            leniency: 0.3 * rng.normal(),
            last: None,
            time: FIRST_DAY + PERIOD * rng.uniform(),
            catalogue,
            follow_probability: config.follow_probability,
            seen,
            rng,
        }
    }

    /// The next item, its rating and the time.
    fn watch(&mut self) -> (ItemId, f32, i64) {
        let slot = self.choose();
        self.seen.insert(slot);
        self.last = Some(slot);
        self.time += self.pause();
        (self.catalogue.item_of_slot[slot], self.rate(slot), self.time as i64)
    }

    fn choose(&mut self) -> usize {
        if let Some(last) = self.last
            && self.rng.uniform() < self.follow_probability
        {
            let successor = self.catalogue.successors[last][pick(SUCCESSION, &mut self.rng)] as usize;
            if !self.seen.is_seen[successor] {
                return successor;
            }
        }
        let slots = if self.rng.uniform() < EXPLORATION {
            self.catalogue.all()
        } else {
            self.catalogue.of_genre(self.favourites[pick(TASTE, &mut self.rng)])
        };
        let mut slot = self.catalogue.draw(slots.clone(), &mut self.rng);
        for _ in 0..RETRIES {
            if !self.seen.is_seen[slot] {
                break;
            }
            slot = self.catalogue.draw(slots.clone(), &mut self.rng);
        }
        self.seen.next_new(slot)
    }

    fn rate(&mut self, slot: usize) -> f32 {
        let liking = if self.favourites.contains(&self.catalogue.genre(slot)) { 0.4 } else { -0.6 };
        let quality = 0.5 * f64::from(self.catalogue.quality[slot]);
        (3.3 + quality + liking + self.leniency + 0.7 * self.rng.normal()).round().clamp(1.0, 5.0) as f32
    }

    /// Seconds until the next row: minutes in one sitting, days between two; one or more.
    fn pause(&mut self) -> f64 {
        let mean = if self.rng.uniform() < NEW_SITTING { 10.0 * DAY } else { 180.0 };
        1.0 - mean * (1.0 - self.rng.uniform()).ln()
    }
}

/// An index, drawn with these probabilities.
fn pick<const N: usize>(probabilities: [f64; N], rng: &mut Rng) -> usize {
    let mut left = rng.uniform();
    probabilities[..N - 1]
        .iter()
        .position(|probability| {
            left -= probability;
            left < 0.0
        })
        .unwrap_or(N - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::super::{Csr, Sequences};
    use super::*;

    fn config() -> SyntheticConfig {
        SyntheticConfig::new(500, 1_000, 20_000, 7)
    }

    fn on_threads(n: usize, config: &SyntheticConfig) -> Dataset {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        pool.install(|| config.generate().unwrap())
    }

    /// How many rows the `k` items with the most rows have, as a share.
    fn head_share(dataset: &Dataset, k: usize) -> f64 {
        let by_item = Csr::by_item(dataset.interactions(), |_| ());
        let mut counts: Vec<usize> = by_item.rows().map(<[()]>::len).collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts[..k].iter().sum::<usize>() as f64 / dataset.interactions().len() as f64
    }

    /// How often the item after one is the most frequent follower of it, as counted in the sequences of
    /// the other half of the users.
    fn next_item_accuracy(dataset: &Dataset) -> f64 {
        let sequences = Sequences::new(dataset.interactions());
        let pairs = |half: u32| {
            sequences
                .iter()
                .filter(move |(user, _)| user.0 % 2 == half)
                .flat_map(|(_, items)| items.windows(2).map(|pair| (pair[0], pair[1])))
        };
        let mut counts: HashMap<ItemId, HashMap<ItemId, usize>> = HashMap::new();
        for (item, next) in pairs(0) {
            *counts.entry(item).or_default().entry(next).or_default() += 1;
        }
        let top = |item| counts.get(&item)?.iter().max_by_key(|&(&next, &count)| (count, next));
        let hits = pairs(1).filter(|&(item, next)| top(item).is_some_and(|(&top, _)| top == next)).count();
        hits as f64 / pairs(1).count() as f64
    }

    #[test]
    fn the_same_settings_give_the_same_data_on_any_number_of_threads() {
        let dataset = on_threads(1, &config());
        assert_eq!(on_threads(5, &config()), dataset);
        let other = SyntheticConfig { seed: 8, ..config() }.generate().unwrap();
        assert_ne!(other.interactions(), dataset.interactions());
    }

    #[test]
    fn sizes_are_exact_and_nobody_rates_an_item_twice() {
        let crowded = SyntheticConfig::new(7, 2, 7, 1);
        for config in
            [config(), crowded, SyntheticConfig::new(3, 1_000, 0, 1), SyntheticConfig::new(9, 31, 135, 2)]
        {
            let dataset = config.generate().unwrap();
            let rows = dataset.interactions();
            assert_eq!(
                (rows.n_users(), rows.n_items(), rows.len()),
                (config.n_users, config.n_items, config.n_interactions)
            );
            let distinct: HashSet<_> = rows.iter().map(|row| (row.user, row.item)).collect();
            assert_eq!(distinct.len(), rows.len());
            assert!(rows.values().iter().all(|value| [1.0, 2.0, 3.0, 4.0, 5.0].contains(value)));
            let sequences = Sequences::new(rows);
            let increases = |user| sequences.timestamps(user).is_sorted_by(|a, b| a < b);
            assert!(sequences.iter().all(|(user, _)| increases(user)));
        }
    }

    #[test]
    fn popularity_is_skewed_as_asked() {
        let skewed = config().generate().unwrap();
        let flat = config().with_zipf_exponent(0.0).generate().unwrap();
        let tenth = config().n_items / 10;
        assert!(head_share(&skewed, tenth) > 0.3, "{}", head_share(&skewed, tenth));
        assert!(head_share(&flat, tenth) < 0.22, "{}", head_share(&flat, tenth));
    }

    #[test]
    fn the_next_item_depends_on_the_last_as_asked() {
        let chained = next_item_accuracy(&config().generate().unwrap());
        let free = next_item_accuracy(&config().with_follow_probability(0.0).generate().unwrap());
        assert!(chained > 0.15 && chained > 5.0 * free, "{chained} {free}");
    }

    #[test]
    fn users_stay_with_their_favourite_genres_and_like_them_better() {
        let dataset = config().generate().unwrap();
        let genres = dataset.item_table().unwrap().genres();
        let rows = Csr::by_user(dataset.interactions(), |row| (genres.row(row.item)[0], row.value));
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for rows in rows.rows() {
            let mut counts = [0; GENRES.len()];
            rows.iter().for_each(|&(genre, _)| counts[genre as usize] += 1);
            let favourite = (0..GENRES.len()).max_by_key(|&genre| counts[genre]).unwrap();
            for &(genre, value) in rows {
                if genre as usize == favourite { &mut inside } else { &mut outside }.push(f64::from(value));
            }
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        assert!(inside.len() > outside.len() / 2, "{} {}", inside.len(), outside.len());
        assert!(mean(&inside) > mean(&outside) + 0.1, "{} {}", mean(&inside), mean(&outside));
    }

    #[test]
    fn titles_are_distinct() {
        let titles: HashSet<String> =
            (0..GENRES.len()).flat_map(|genre| (0..1_000).map(move |number| title(genre, number))).collect();
        assert_eq!(titles.len(), 1_000 * GENRES.len());
    }

    #[test]
    fn settings_outside_their_range_are_refused() {
        let error = |config: SyntheticConfig| config.generate().unwrap_err().to_string();
        assert_eq!(
            error(SyntheticConfig::new(0, 2, 0, 1)),
            "SyntheticConfig::n_users: expected 1 to 2^32, found 0"
        );
        assert_eq!(
            error(SyntheticConfig::new(1, 1, 0, 1)),
            "SyntheticConfig::n_items: expected 2 to 2^32, found 1"
        );
        assert_eq!(
            error(SyntheticConfig::new(3, 10, 16, 1)),
            "SyntheticConfig::n_interactions: expected at most 15, half of n_users · n_items, found 16"
        );
        assert_eq!(
            error(config().with_zipf_exponent(f64::NAN)),
            "SyntheticConfig::zipf_exponent: expected a finite number of 0 or more, found NaN"
        );
        assert_eq!(
            error(config().with_follow_probability(1.5)),
            "SyntheticConfig::follow_probability: expected 0 to 1, found 1.5"
        );
    }
}
