//! The real MovieLens files, where `RECSYS_DATA_DIR` names the folder that holds them.

use recsys::prelude::*;

fn read(release: MovieLens) -> Dataset {
    let folder = release.find(None).expect("RECSYS_DATA_DIR names a folder that holds the release");
    release.read(folder).unwrap()
}

fn facts(data: &Dataset) -> (usize, usize, usize) {
    (data.interactions().len(), data.n_users(), data.n_items())
}

/// The title, year and genres of the item with this key.
fn film(data: &Dataset, key: u64) -> (&str, Option<u16>, Vec<&str>) {
    let table = data.item_table().unwrap();
    let item = ItemId(data.items().id(key).unwrap());
    let genres = table.genres().row(item).iter().map(|&genre| table.genre_names()[genre as usize].as_str());
    (&table.titles()[item.index()], table.years()[item.index()], genres.collect())
}

#[test]
#[ignore = "needs MovieLens 100K: set RECSYS_DATA_DIR to the folder that holds ml-100k"]
fn movielens_100k() {
    let data = read(MovieLens::Ml100k);
    assert_eq!(facts(&data), (100_000, 943, 1682));
    assert_eq!(film(&data, 1), ("Toy Story (1995)", Some(1995), vec!["Animation", "Children's", "Comedy"]));
    assert_eq!(film(&data, 267), ("unknown", None, vec!["unknown"]));
    let latin = "Misérables, Les (1995)";
    assert!(data.item_table().unwrap().titles().iter().any(|title| title == latin));
    let users = data.user_table().unwrap();
    let first = data.users().id(1).unwrap() as usize;
    assert_eq!((users.ages()[first], users.genders()[first].as_str()), (Some(24), "M"));
    assert_eq!(
        (users.occupations()[first].as_str(), users.zip_codes()[first].as_str()),
        ("technician", "85711")
    );
    let row = data.interactions().row(0);
    assert_eq!(
        (data.users().key(row.user.0), data.items().key(row.item.0)),
        (Some(Key::Int(196)), Some(Key::Int(242)))
    );
    assert_eq!((row.value, row.timestamp), (3.0, 881_250_949));
}

#[test]
#[ignore = "needs MovieLens 100K: set RECSYS_DATA_DIR to the folder that holds ml-100k"]
fn the_folds_of_movielens_100k_partition_it() {
    let folder = MovieLens::Ml100k.find(None).expect("RECSYS_DATA_DIR names a folder that holds ml-100k");
    let mut tested = 0;
    for fold in 1..=5 {
        let (data, split) = MovieLens::read_fold(&folder, fold).unwrap();
        assert_eq!((split.train.len(), split.validation.len(), split.test.len()), (80_000, 0, 20_000));
        let sorted = |rows: Vec<Interaction>| {
            let mut keys: Vec<_> =
                rows.iter().map(|row| (row.user, row.item, row.value.to_bits(), row.timestamp)).collect();
            keys.sort_unstable();
            keys
        };
        let parts = sorted(split.train.iter().chain(split.test.iter()).collect());
        assert!(parts == sorted(data.interactions().iter().collect()));
        tested += split.test.len();
    }
    assert_eq!(tested, 100_000);
    assert!(MovieLens::read_fold(&folder, 6).is_err());
}

#[test]
#[ignore = "needs MovieLens 1M: set RECSYS_DATA_DIR to the folder that holds ml-1m"]
fn movielens_1m() {
    let data = read(MovieLens::Ml1m);
    assert_eq!(facts(&data), (1_000_209, 6040, 3706));
    assert_eq!(film(&data, 1), ("Toy Story (1995)", Some(1995), vec!["Animation", "Children's", "Comedy"]));
    let users = data.user_table().unwrap();
    let first = data.users().id(1).unwrap() as usize;
    assert_eq!((users.genders()[first].as_str(), users.ages()[first]), ("F", Some(1)));

    let positives = data.filter(|rows| rows.min_value(4.0).min_per_user(5)).unwrap().compact();
    assert_eq!((positives.n_users(), positives.n_items()), (6034, 3533));
    assert_eq!(film(&positives, 1).0, "Toy Story (1995)");
}

#[test]
#[ignore = "needs MovieLens latest-small: set RECSYS_DATA_DIR to the folder that holds ml-latest-small"]
fn movielens_latest_small() {
    let data = read(MovieLens::LatestSmall);
    assert_eq!(facts(&data), (100_836, 610, 9724));
    assert_eq!(
        film(&data, 11),
        ("American President, The (1995)", Some(1995), vec!["Comedy", "Drama", "Romance"])
    );
    assert_eq!(film(&data, 122_888), ("Ben-hur (2016)", Some(2016), vec![]));
    assert!(data.user_table().is_none());
    assert_eq!(data.interactions().row(0).value, 4.0);
}
