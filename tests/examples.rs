//! The examples as a user runs them, on the built-in data. `cargo test` builds them first.
#![cfg(feature = "flex")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// An example that `cargo test` has built beside this test.
fn example(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.ancestors().nth(2).unwrap();
    let program = profile.join("examples").join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(program.exists(), "{} is not built: run `cargo build --examples` first", program.display());
    Command::new(program)
}

fn two_tower(folder: &Path, args: &[&str]) -> Command {
    two_tower_on("synthetic", folder, args)
}

fn two_tower_on(dataset: &str, folder: &Path, args: &[&str]) -> Command {
    let mut command = example("movielens_two_tower");
    command.current_dir(folder).args(["--dataset", dataset, "--report", "report.json"]).args(args);
    command
}

fn sasrec(folder: &Path, args: &[&str]) -> Command {
    let mut command = example("movielens_sasrec");
    command.current_dir(folder).args(["--report", "report.json"]).args(args);
    command
}

fn ctr(folder: &Path, args: &[&str]) -> Command {
    let mut command = example("movielens_ctr");
    command.current_dir(folder).args(["--report", "report.json"]).args(args);
    command
}

fn funnel(folder: &Path, args: &[&str]) -> Command {
    let mut command = example("movielens_funnel");
    command.current_dir(folder).args(["--dataset", "synthetic", "--report", "report.json"]).args(args);
    command
}

fn succeed(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let stdout = String::from_utf8(stdout).unwrap();
    assert!(status.success(), "{command:?}\n{stdout}\n{}", String::from_utf8_lossy(&stderr));
    stdout
}

fn report(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap()
}

/// What a report says of the model, without what a clock measured.
fn results(mut report: Value) -> Value {
    report.as_object_mut().unwrap().remove("timings");
    for epoch in report["history"]["epochs"].as_array_mut().into_iter().flatten() {
        epoch.as_object_mut().unwrap().retain(|key, _| !key.ends_with("seconds"));
    }
    report["config"]["training"].as_object_mut().map(|training| training.remove("checkpoint_dir"));
    report
}

fn recommendations(stdout: &str) -> &str {
    let start = stdout.find("Recommended to user").expect("recommendations");
    &stdout[start..stdout.find("Done in").expect("an end")]
}

#[test]
fn quickstart() {
    let stdout = succeed(example("quickstart"));
    assert_eq!(stdout.lines().filter(|line| line.starts_with("Some(Int(")).count(), 10, "{stdout}");
}

#[test]
#[ignore = "needs MovieLens 100K: set RECSYS_DATA_DIR and pass --include-ignored"]
fn two_tower_on_movielens_100k_under_p3() {
    assert!(std::env::var_os("RECSYS_DATA_DIR").is_some(), "RECSYS_DATA_DIR is not set");
    let folder = tempfile::tempdir().unwrap();
    succeed(two_tower_on("ml-100k", folder.path(), &[]));
    let report = report(folder.path());
    let metric = |part: &str| report[part]["recall@100"]["value"].as_f64().unwrap();
    assert!(metric("metrics") >= 0.55, "hit rate at 100: {}", metric("metrics"));
    assert!((0.30..0.40).contains(&metric("baseline")), "popularity: {}", metric("baseline"));
}

#[test]
fn a_saved_model_answers_as_the_trained_one() {
    let folder = tempfile::tempdir().unwrap();
    let trained = succeed(two_tower(folder.path(), &["--epochs", "2", "--save", "model", "--user", "7"]));
    let first = report(folder.path());
    for key in ["protocol", "dataset", "config", "seed", "metrics", "baseline", "timings"] {
        assert!(first.get(key).is_some(), "the report has no {key}");
    }
    assert!(first["metrics"]["recall@100"]["value"].as_f64().unwrap() > 0.0);
    let loaded = succeed(two_tower(folder.path(), &["--load", "model", "--user", "7"]));
    assert_eq!(recommendations(&loaded), recommendations(&trained));
    assert_eq!(report(folder.path())["metrics"], first["metrics"]);
}

#[test]
fn sasrec_beside_its_peers_with_a_map() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--epochs", "3", "--map", "map.svg", "--plot", "curves.svg"];
    let stdout = succeed(sasrec(folder.path(), &[&["--dataset", "synthetic"], &args[..]].concat()));
    assert!(stdout.contains("Recommended to user") && stdout.contains("Done in"), "{stdout}");
    let report = report(folder.path());
    for peer in ["popularity", "item-to-item", "two-tower"] {
        let recall = report["peers"][peer]["recall@100"]["value"].as_f64().unwrap();
        assert!(recall > 0.0 && recall < 1.0, "{peer}: {recall}");
    }
    assert_eq!(report["comparisons"].as_array().unwrap().len(), 3);
    for picture in ["map.svg", "curves.svg"] {
        let svg = std::fs::read_to_string(folder.path().join(picture)).unwrap();
        assert!(svg.contains("<svg") && svg.trim_end().ends_with("</svg>"), "{picture}");
    }
}

#[test]
fn sasrec_on_a_file_of_sequences() {
    let folder = tempfile::tempdir().unwrap();
    // Everyone walks the same circle of items, from another place; some only a step.
    let walk =
        |user: usize| (0..2 + user % 9).map(move |t| format!("{user} {}\n", 100 + (7 * user + t) % 40));
    let lines: String = (1..400).flat_map(walk).collect();
    std::fs::write(folder.path().join("walks.txt"), lines).unwrap();
    let args = ["--sequences", "walks.txt", "--alone", "--epochs", "12", "--learning-rate", "0.01"];
    for options in [
        &["--loss", "gbce", "--negatives", "8"][..],
        &["--loss", "sampled-softmax", "--sparse"],
        &["--loss", "bpr", "--negatives", "4", "--hard-from", "6"],
    ] {
        succeed(sasrec(folder.path(), &[&args[..], options].concat()));
        let report = report(folder.path());
        assert_eq!((&report["protocol"], &report["dataset"]["items"]), (&"p1".into(), &40.into()));
        // Every ninth of 399 users has two rows.
        let dropped = json!({ "number": 88, "of": 2_388, "reason": "users with fewer than 3 rows" });
        assert_eq!(report["dropped_rows"], dropped);
        assert_eq!(
            (&report["users_without_history"], &report["users_without_answer"]),
            (&0.into(), &0.into())
        );
        let metric = |part: &str| report[part]["recall@10"]["value"].as_f64().unwrap();
        assert!(metric("metrics") > 2.0 * metric("baseline"), "{options:?}: {}", metric("metrics"));
    }
}

/// Even users like even items: three files of it.
fn write_clicks(folder: &Path, name: &str, header: &str, line: impl Fn(usize, usize, usize) -> String) {
    for (part, rows) in [("train", 0..24), ("valid", 24..27), ("test", 27..30)] {
        let of_row = |user| {
            let line = &line;
            rows.clone()
                .map(move |n| (n * 7 + user) % 30)
                .map(move |item| line(user, item, (user + item + 1) % 2))
        };
        let lines: String = (0..30).flat_map(of_row).collect();
        std::fs::write(folder.join(format!("{part}.{name}")), format!("{header}{lines}")).unwrap();
    }
}

const SCHEMA: &str = r#"{
    "fields": [{"name": "user", "kind": {"categorical": {"vocabulary": {}}}},
               {"name": "item", "kind": {"categorical": {"hashing": {"n_buckets": 1000}}}},
               {"name": "price", "kind": {"numeric": "standardized"}}],
    "labels": [{"column": "click"}],
    "group": "user"
}"#;

#[test]
fn rankers_compared_on_made_up_ratings_and_on_tables_of_clicks() {
    let folder = tempfile::tempdir().unwrap();
    let auc = |report: &Value, model: usize| {
        report["models"][model]["metrics"]["metrics"]["auc"]["value"].as_f64().unwrap()
    };
    let last = if cfg!(feature = "gbdt") { "gbdt" } else { "fm" };
    let models = format!("logistic,mmoe,{last}");
    let args = ["--dataset", "synthetic", "--epochs", "3", "--model", &models, "--plot", "curves.svg"];
    let stdout = succeed(ctr(folder.path(), &args));
    assert!(stdout.contains("SYNTHETIC") && stdout.contains("Done in"), "{stdout}");
    let on_ratings = report(folder.path());
    assert_eq!((&on_ratings["protocol"], on_ratings["models"].as_array().unwrap().len()), (&"p4".into(), 3));
    assert!((0..3).all(|model| auc(&on_ratings, model) > 0.6), "{on_ratings}");
    let curves = |model: &str| std::fs::read_to_string(folder.path().join(format!("curves.{model}.svg")));
    assert!(["logistic", "mmoe"].iter().all(|model| curves(model).unwrap().contains("<svg")));
    assert_eq!(curves(last).is_err(), last == "gbdt", "trees have no epochs");

    write_clicks(folder.path(), "csv", "user,item,price,click\n", |user, item, click| {
        format!("u{user},{item},{}.5,{click}\n", item % 3)
    });
    std::fs::write(folder.path().join("schema.json"), SCHEMA).unwrap();
    write_clicks(folder.path(), "libfm", "", |user, item, click| {
        format!("{click} {user}:1 {}:1\n", 30 + item)
    });
    for (files, resampled) in [
        (&["--csv", "train.csv,valid.csv,test.csv", "--schema", "schema.json"][..], "users"),
        (&["--libfm", "train.libfm,valid.libfm,test.libfm"], "rows"),
    ] {
        let training =
            ["--model", "logistic,fm", "--epochs", "60", "--learning-rate", "0.03", "--batch-size", "128"];
        let stdout = succeed(ctr(folder.path(), &[files, &training, &["--patience", "60"]].concat()));
        assert!(stdout.contains(&format!("intervals over {resampled}")), "{stdout}");
        let report = report(folder.path());
        let (logistic, fm) = (auc(&report, 0), auc(&report, 1));
        assert!(fm > 0.9 && logistic < 0.7, "{files:?}: FM {fm}, logistic regression {logistic}");
    }
}

/// Users are written as floats in the training file and as whole numbers in the test: 20 of each.
#[test]
fn a_column_written_in_two_ways_is_warned_of_before_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, n_rows: usize, user: &dyn Fn(usize) -> String| {
        let rows = (0..n_rows).map(|n| format!("{},{},{}\n", user(n % 20), (7 * n) % 15, n % 3 % 2));
        let text: String = std::iter::once("user,item,label\n".to_owned()).chain(rows).collect();
        std::fs::write(folder.path().join(name), text).unwrap();
    };
    write("train.csv", 80, &|user| format!("{user}.0"));
    write("valid.csv", 30, &|user| if user < 4 { "new".into() } else { format!("{user}.0") });
    write("test.csv", 30, &|user| user.to_string());
    let schema = r#"{"fields": [{"name": "user", "kind": {"categorical": {"vocabulary": {}}}},
                                {"name": "item", "kind": {"categorical": {"vocabulary": {}}}}],
                     "labels": [{"column": "label"}]}"#;
    std::fs::write(folder.path().join("schema.json"), schema).unwrap();
    let args = ["--csv", "train.csv,valid.csv,test.csv", "--schema", "schema.json"];
    let training = ["--model", "logistic", "--epochs", "1"];
    let Output { status, stdout, stderr } =
        ctr(folder.path(), &[&args[..], &training].concat()).output().unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(status.success(), "{stderr}");
    let warning = "Warning: test.csv: 100.0 % of the values of user are unseen in training (30 of 30), and a model knows \
                   nothing of them; `7` and `7.0` are two values.\n";
    assert_eq!(stderr, warning);
    let told = "  valid.csv: user: 8 of 30 values unseen in training (26.7 %)\n  \
                test.csv: user: 30 of 30 values unseen in training (100.0 %)\n\nlogistic\n";
    assert!(stdout.contains(told), "{stdout}");
    let report = report(folder.path());
    let share = |field: &str, n_unseen: usize, share: f64| json!({ "field": field, "n_values": 30, "n_unseen": n_unseen, "share": share });
    let of_test = json!([share("user", 30, 1.0), share("item", 0, 0.0)]);
    assert_eq!(report["unseen"]["test"], of_test);
    assert_eq!(report["unseen"]["validation"][0], share("user", 8, 8.0 / 30.0));
    assert_eq!(report["models"][0]["metrics"]["unseen"], of_test);
}

#[test]
fn channels_are_fused_and_held_out_items_followed() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--epochs", "3", "--study", "fusion,mmr,cold-hot", "--save", "pipeline"];
    let stdout = succeed(funnel(folder.path(), &arguments));
    assert!(stdout.contains("Held out: ") && stdout.contains("channel co_visitation: "), "{stdout}");
    let mut load = example("movielens_funnel");
    load.current_dir(folder.path()).args(["--dataset", "synthetic", "--load", "pipeline"]);
    let loaded = succeed(load);
    let shown = |stdout: &str| -> Vec<String> {
        let items = stdout.lines().skip_while(|line| !line.starts_with("Recommended to user"));
        let items = items.take_while(|line| line.starts_with("Recommended") || line.starts_with("  "));
        items.map(|line| line.split(": ").next().unwrap_or_default().to_owned()).collect()
    };
    assert!(loaded.contains("Loaded the pipeline from pipeline in "), "{loaded}");
    assert!(shown(&stdout).len() == 11 && shown(&loaded) == shown(&stdout), "{stdout}{loaded}");

    let report = report(folder.path());
    assert_eq!(report["channels"].as_array().unwrap().len(), 11);
    let weights: Vec<f64> =
        report["weights"].as_object().unwrap().values().map(|weight| weight.as_f64().unwrap()).collect();
    assert!(weights.len() == 11 && (weights.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{weights:?}");
    let recall = |metrics: &Value| metrics["recall@100"]["value"].as_f64().unwrap();
    let popularity = &report["channels"][0];
    assert!(
        popularity["name"] == "popularity" && recall(&report["metrics"]) > recall(&popularity["metrics"])
    );
    let stages = report["funnel"]["stages"].as_array().unwrap();
    let names: Vec<&str> = stages.iter().map(|stage| stage["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["recall", "mmr"]);
    let retention = |stage: usize| stages[stage]["retention"]["value"].as_f64().unwrap();
    assert!(retention(0) >= retention(1) && retention(1) > 0.0);
    let studies = &report["studies"];
    assert!(
        studies["fusion"]["ablation"]["channels"].as_array().is_some_and(|channels| channels.len() == 11)
    );
    assert_eq!(studies["fusion"]["methods"].as_array().unwrap().len(), 5);
    // Eleven channels, their fusion and the funnel.
    assert_eq!(studies["cold-hot"].as_array().unwrap().len(), 13);
    // From the most diverse to the most relevant.
    let similarity = |row: &Value| row["similarity@10"].as_str().unwrap().parse::<f64>().unwrap();
    let study = studies["mmr"].as_array().unwrap();
    assert_eq!(study.len(), 6);
    assert!(similarity(&study[0]) < similarity(&study[5]));
    assert!(std::fs::read_to_string(folder.path().join("report.svg")).unwrap().contains("retention"));

    let Output { status, stderr, .. } = funnel(folder.path(), &["--mmr", "2"]).output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(!status.success() && stderr.lines().count() == 1, "{stderr}");

    succeed(funnel(folder.path(), &["--channels", "pipeline"]));
    let again = crate::report(folder.path());
    for measured in ["channels", "weights", "metrics"] {
        assert_eq!(again[measured], report[measured]);
    }
    for (args, expected) in [
        (&["--protocol", "p5"][..], "pipeline holds channels of another protocol"),
        (&["--epochs", "2"], "only a study of the sequence channel trains"),
        (&["--epochs", "0", "--study", "embedding-dim"], "--epochs 0: expected at least 1"),
    ] {
        let args = [&["--channels", "pipeline"], args].concat();
        let Output { status, stderr, .. } = funnel(folder.path(), &args).output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert!(!status.success() && stderr.contains(expected), "{args:?}: {stderr}");
    }
}

#[test]
fn rankers_are_trained_out_of_fold() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--protocol", "p5", "--epochs", "2", "--ranker-epochs", "1", "--save", "pipeline"];
    let stdout = succeed(funnel(folder.path(), &args));
    assert!(stdout.contains("over recall"), "{stdout}");
    let mut load = example("movielens_funnel");
    load.current_dir(folder.path());
    load.args(["--dataset", "synthetic", "--protocol", "p5", "--load", "pipeline"]);
    let loaded = succeed(load);
    assert!(loaded.contains("logistic: 100 kept") && loaded.contains("din: 20 kept"), "{loaded}");
    let report = report(folder.path());
    let stages = report["funnel"]["stages"].as_array().unwrap();
    let names: Vec<&str> = stages.iter().map(|stage| stage["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["recall", "logistic", "din", "mmr"]);
    let kept: Vec<f64> = stages.iter().map(|stage| stage["n_kept"].as_f64().unwrap()).collect();
    assert!(kept[0] > 500.0 && kept[1..] == [100.0, 20.0, 10.0], "{kept:?}");
    assert!(stages.iter().all(|stage| stage["n_fallbacks"] == 0));
    let rankers = report["rankers"].as_array().unwrap();
    assert!(rankers.len() >= 3);
    for ranker in rankers {
        assert!(ranker["stage"]["recall"]["value"].as_f64().unwrap() > 0.0, "{ranker}");
    }
    let Output { status, stderr, .. } = funnel(folder.path(), &["--study", "attention"]).output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(!status.success() && stderr.contains("needs --protocol p5"), "{stderr}");
}

#[test]
fn ratings_are_predicted_fold_by_fold() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = example("movielens_ratings");
    let args = ["--dataset", "synthetic", "--epochs", "5", "--factors", "16", "--report", "report.json"];
    command.current_dir(folder.path()).args(args);
    let stdout = succeed(command);
    assert!(stdout.contains("SYNTHETIC") && stdout.contains("Done in"), "{stdout}");
    let report = report(folder.path());
    assert_eq!(report["protocol"], "p6");
    let rmse: Vec<f64> = report["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["rmse"]["mean"]["value"].as_f64().unwrap())
        .collect();
    // The mean, biases, and vectors of either kind.
    assert!(rmse.len() == 4 && rmse[0] > rmse[1] && rmse[1..].iter().all(|&rmse| rmse > 0.0), "{rmse:?}");
    assert_eq!(report["models"][3]["rmse"]["folds"].as_array().unwrap().len(), 5);
}

#[test]
fn a_channel_of_ones_own() {
    let stdout = succeed(example("custom_recaller"));
    assert_eq!(stdout.lines().count(), 10, "{stdout}");
    assert!(stdout.contains("trending ") && stdout.contains("co_visitation "), "{stdout}");
}

#[test]
fn wrong_tables_are_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("schema.json", SCHEMA);
    write("good.csv", "user,item,price,click\na,1,2.5,1\nb,2,,0\n");
    write("bad_number.csv", "user,item,price,click\na,1,2.5,1\nb,2,cheap,0\n");
    write("no_price.csv", "user,item,click\na,1,1\n");
    write("good.libfm", "1 0:1 3:1\n0 1:1\n");
    write("bad.libfm", "1 0:1\n1 0:x\n");
    write("empty.libfm", "\n");
    write("no_rows.csv", "user,item,price,click\n");
    for (args, expected) in [
        (
            &["--csv", "good.csv,good.csv,bad_number.csv", "--schema", "schema.json"][..],
            "bad_number.csv, line 3, column price",
        ),
        (&["--csv", "no_price.csv,good.csv,good.csv", "--schema", "schema.json"], "no_price.csv"),
        (&["--csv", "good.csv,good.csv,good.csv", "--schema", "good.csv"], "good.csv, line 1"),
        (&["--libfm", "good.libfm,bad.libfm,good.libfm"], "bad.libfm, line 2"),
        (
            &["--libfm", "good.libfm,empty.libfm,good.libfm"],
            "empty.libfm, line 2: expected at least one row, found the end of the file",
        ),
        (&["--libfm", "good.libfm,good.libfm,empty.libfm"], "empty.libfm, line 2: expected at least one row"),
        (&["--csv", "good.csv,no_rows.csv,good.csv", "--schema", "schema.json"], "no_rows.csv"),
        (&["--csv", "good.csv,good.csv,no_rows.csv", "--schema", "schema.json"], "no_rows.csv"),
        (&["--libfm", "good.libfm,nowhere.libfm,good.libfm"], "nowhere.libfm: No such file"),
        (&["--libfm", "good.libfm,good.libfm,good.libfm", "--model", "din"], "DinConfig::space"),
        (
            &["--libfm", "good.libfm,good.libfm,good.libfm", "--model", "mmoe"],
            "number of labels of a row: expected 2, found 1",
        ),
        (&["--dataset", "synthetic", "--learning-rate=-1"], "learning_rate"),
        (&["--dataset", "synthetic", "--weight-average", "1"], "weight_average"),
    ] {
        let Output { status, stderr, .. } = ctr(folder.path(), args).output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert!(!status.success() && stderr.contains(expected), "{args:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    assert!(!folder.path().join("report.json").exists());
}

#[test]
fn a_killed_run_resumes_to_the_identical_report() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--epochs", "4", "--checkpoint", "checkpoints"];
    succeed(two_tower(folder.path(), &args));
    let expected = results(report(folder.path()));
    std::fs::remove_dir_all(folder.path().join("checkpoints")).unwrap();
    std::fs::remove_file(folder.path().join("report.json")).unwrap();

    for n_epochs in 1..=2 {
        let mut run = two_tower(folder.path(), &args).stdout(Stdio::null()).spawn().unwrap();
        wait_for_checkpoint(&folder.path().join("checkpoints"), n_epochs);
        // SIGKILL on Unix: nothing of the process runs any more.
        run.kill().unwrap();
        run.wait().unwrap();
        assert!(!folder.path().join("report.json").exists(), "killed too late to show anything");
    }
    succeed(two_tower(folder.path(), &args));
    assert_eq!(results(report(folder.path())), expected);

    let other = two_tower(folder.path(), &args).args(["--loss", "bpr"]).output().unwrap();
    let stderr = String::from_utf8(other.stderr).unwrap();
    assert!(!other.status.success() && stderr.contains("run.json, column model: expected"), "{stderr}");
}

fn wait_for_checkpoint(folder: &PathBuf, n_epochs: usize) {
    let start = Instant::now();
    let newest = || -> Option<u64> {
        let steps = std::fs::read_dir(folder).ok()?.filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_prefix("step-")?.parse().ok()
        });
        steps.max()
    };
    let mut seen = Vec::new();
    while seen.len() < n_epochs {
        assert!(start.elapsed() < Duration::from_secs(300), "no checkpoint appeared");
        sleep(Duration::from_millis(5));
        if let Some(step) = newest()
            && seen.last() != Some(&step)
        {
            seen.push(step);
        }
    }
}

#[test]
fn wrong_input_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    for (args, expected) in [
        (&["--user", "nobody"][..], "--user nobody: no such user"),
        (&["--load", "nowhere"], "nowhere/manifest.json: No such file"),
        (&["--epochs", "0"], "TrainingConfig::epochs: expected 1 to 1048576, found 0"),
    ] {
        let Output { status, stderr, .. } = two_tower(folder.path(), args).output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert!(!status.success() && stderr.contains(expected), "{args:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    std::fs::write(folder.path().join("words.txt"), "1 2\n1\n").unwrap();
    std::fs::write(folder.path().join("short.txt"), "1 5\n1 6\n2 6\n2 5\n").unwrap();
    std::fs::write(folder.path().join("few.txt"), "1 5\n1 6\n1 7\n1 8\n2 6\n2 7\n2 8\n2 5\n").unwrap();
    for (args, expected) in [
        (&["--sequences", "nowhere.txt"][..], "nowhere.txt: No such file"),
        (&["--sequences", "words.txt"], "words.txt, line 2"),
        (
            &["--sequences", "short.txt"],
            "at least one row in the test part, found none; the split dropped 4 of 4",
        ),
        (&["--sequences", "few.txt", "--map", "map.svg"], "a map needs at least 10 items; the data have 4"),
        (&["--sequences", "words.txt", "--dataset", "synthetic"], "goes without --dataset"),
        (&["--protocol", "p1", "--dataset", "synthetic"], "--protocol p1 is that of ml-1m"),
        (&["--dataset", "synthetic", "--d-model", "9223372036854775808"], "expected 1 to 1048576, found 9"),
        (&["--dataset", "synthetic", "--heads", "3"], "n_heads: expected a divisor of d_model = 64, found 3"),
    ] {
        let Output { status, stderr, .. } = sasrec(folder.path(), args).output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert!(!status.success() && stderr.contains(expected), "{args:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}
