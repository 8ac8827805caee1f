//! The folders of `src/` may import each other only along the arrows of this table (`docs/architecture.md`
//! says why). Tests inside `src/` and documentation are free.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each folder, the folders it may import, and in which of its files Burn may be used.
const TABLE: [(&str, &[&str], Burn); 13] = [
    ("data", &[], Burn::Nowhere),
    ("index", &[], Burn::Nowhere),
    ("pipeline", &[], Burn::Nowhere),
    ("samplers", &["data"], Burn::Nowhere),
    ("features", &["data", "pipeline"], Burn::In("batch.rs")),
    ("metrics", &["data", "features", "pipeline"], Burn::Nowhere),
    ("kernels", &[], Burn::Everywhere),
    ("layers", &["features", "kernels"], Burn::Everywhere),
    ("losses", &["kernels"], Burn::Everywhere),
    (
        "training",
        &["data", "index", "features", "samplers", "kernels", "layers", "losses", "metrics", "pipeline"],
        Burn::Everywhere,
    ),
    (
        "models",
        &[
            "data", "index", "pipeline", "samplers", "metrics", "features", "kernels", "layers", "losses",
            "training",
        ],
        Burn::Everywhere,
    ),
    (
        "persistence",
        &["data", "features", "index", "layers", "pipeline", "training", "models"],
        Burn::Everywhere,
    ),
    (
        "serving",
        &[
            "data",
            "index",
            "pipeline",
            "samplers",
            "metrics",
            "features",
            "kernels",
            "layers",
            "losses",
            "training",
            "models",
            "persistence",
        ],
        Burn::Nowhere,
    ),
];

/// The files beside the folders that everybody may import; among themselves too.
const COMMON: [&str; 5] = ["disk", "error", "ids", "rng", "top_k"];

/// The files that see everything and that nobody imports.
const ROOTS: [&str; 2] = ["lib", "prelude"];

#[derive(Clone, Copy)]
enum Burn {
    Nowhere,
    In(&'static str),
    Everywhere,
}

/// What is wrong with the imports of one file; `path` is relative to `src/`.
fn violations(path: &str, source: &str) -> Vec<String> {
    let mut module: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    let file = module.last().copied().unwrap_or_default();
    let top = module[0];
    let is_folder = module.len() > 1;
    if file == "mod" {
        module.pop();
    }
    if !is_folder && ROOTS.contains(&top) {
        return Vec::new();
    }
    let (allowed, burn): (&[&str], Burn) = match TABLE.iter().find(|row| is_folder && row.0 == top) {
        Some(&(_, allowed, burn)) => (allowed, burn),
        None if !is_folder && COMMON.contains(&top) => (&[], Burn::Nowhere),
        None => return vec![format!("{path}: the import table does not know `{top}`")],
    };
    let imports = imports(&tokens(source), &module);
    let mut found = Vec::new();
    for target in &imports.modules {
        let inside = is_folder && target == top;
        if !inside && !COMMON.contains(&target.as_str()) && !allowed.contains(&target.as_str()) {
            found.push(format!("{path}: `{top}` may not import `{target}`"));
        }
    }
    let burn_allowed = match burn {
        Burn::Nowhere => false,
        Burn::In(only) => path == format!("{top}/{only}"),
        Burn::Everywhere => true,
    };
    if imports.burn && !burn_allowed {
        found.push(format!("{path}: Burn may not be used here"));
    }
    if top == "models" && file != "mod" && (imports.sibling || imports.modules.contains("models")) {
        found.push(format!("{path}: a model may not import another"));
    }
    found
}

#[derive(Default)]
struct Imports {
    /// The modules at the crate's root that are named.
    modules: BTreeSet<String>,
    /// Whether something beside the file is named through `super`.
    sibling: bool,
    burn: bool,
}

/// Every path that starts at the crate's root, in `use` lines and elsewhere; `super` is followed.
fn imports(tokens: &[String], module: &[&str]) -> Imports {
    let mut imports = Imports::default();
    let token = |at: usize| tokens.get(at).map_or("", String::as_str);
    for at in 0..tokens.len() {
        // A path continues from what stands before `::`; only its first word is a start.
        if at > 0 && token(at - 1) == "::" && !starts_absolutely(tokens, at) {
            continue;
        }
        let is_path = token(at + 1) == "::";
        match token(at) {
            "crate" if is_path => first_words(tokens, at + 2, &mut imports.modules),
            "super" if is_path => {
                let mut ups = 1;
                while token(at + 2 * ups) == "super" && token(at + 2 * ups + 1) == "::" {
                    ups += 1;
                }
                if ups >= module.len() {
                    first_words(tokens, at + 2 * ups, &mut imports.modules);
                } else {
                    imports.sibling = true;
                }
            }
            word => {
                let declares = ["use", "crate"].contains(&token(at.wrapping_sub(1)));
                let is_burn = word == "burn" || word.starts_with("burn_");
                imports.burn |= is_burn && (is_path || declares);
            }
        }
    }
    imports
}

/// Whether the word at `at` follows a `::` that has nothing before it: `use ::burn::…`.
fn starts_absolutely(tokens: &[String], at: usize) -> bool {
    at < 2
        || !tokens[at - 2].chars().all(|c| c.is_alphanumeric() || c == '_' || c == '>')
        || ["use", "as", "in", "return"].contains(&tokens[at - 2].as_str())
}

/// The first word of the path at `at`, or of every path of the group `{a::b, c}` there.
fn first_words(tokens: &[String], at: usize, words: &mut BTreeSet<String>) {
    if tokens.get(at).map(String::as_str) != Some("{") {
        words.extend(tokens.get(at).cloned());
        return;
    }
    let mut depth = 0;
    for (place, token) in tokens.iter().enumerate().skip(at) {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return;
        }
        let starts = ["{", ","].contains(&token.as_str());
        if depth == 1 && starts && tokens[place + 1] != "}" {
            words.insert(tokens[place + 1].clone());
        }
    }
}

/// The words and signs of the source, without comments, literals, and modules under `#[cfg(test)]`.
fn tokens(source: &str) -> Vec<String> {
    without_tests(&scan(source))
}

fn scan(source: &str) -> Vec<String> {
    let chars: Vec<char> = source.chars().collect();
    let starts = |at: usize, text: &str| text.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        if starts(at, "//") {
            at += chars[at..].iter().take_while(|&&c| c != '\n').count();
        } else if starts(at, "/*") {
            let mut depth = 0;
            loop {
                let step = if starts(at, "/*") {
                    1
                } else if starts(at, "*/") {
                    -1
                } else {
                    0
                };
                depth += step;
                at += if step == 0 { 1 } else { 2 };
                if depth == 0 || at >= chars.len() {
                    break;
                }
            }
        } else if let Some(length) = raw_string(&chars[at..]) {
            at += length;
        } else if c == '"' {
            at += quoted(&chars[at..], '"');
        } else if c == '\'' && (chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'')) {
            at += quoted(&chars[at..], '\'');
        } else if c.is_alphanumeric() || c == '_' {
            let word: String = chars[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
            at += word.chars().count();
            tokens.push(word);
        } else if starts(at, "::") {
            tokens.push("::".into());
            at += 2;
        } else {
            if !c.is_whitespace() {
                tokens.push(c.into());
            }
            at += 1;
        }
    }
    tokens
}

/// The length of a literal that ends at the next bare `quote`.
fn quoted(chars: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The length of the raw string `r#"…"#` that starts here, if one does.
fn raw_string(chars: &[char]) -> Option<usize> {
    let prefix = chars.iter().take_while(|c| "br".contains(**c)).count();
    if prefix == 0 || chars[prefix - 1] != 'r' {
        return None;
    }
    let hashes = chars[prefix..].iter().take_while(|&&c| c == '#').count();
    let open = prefix + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = chars[open + 1..].windows(close.len()).position(|window| window == close);
    Some(body.map_or(chars.len(), |body| open + 1 + body + close.len()))
}

fn without_tests(tokens: &[String]) -> Vec<String> {
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let rest = &tokens[at..];
        if rest.len() > attribute.len() && rest.iter().zip(attribute).all(|(a, b)| a == b) {
            at += attribute.len() + item_length(&rest[attribute.len()..]);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// The length of the item that starts here: up to its `;`, or to the end of its braces.
fn item_length(tokens: &[String]) -> usize {
    let mut depth = 0i32;
    for (place, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 && [";", "}"].contains(&token.as_str()) {
            return place + 1;
        }
    }
    tokens.len()
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn the_sources_keep_to_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    assert!(files.len() > 10, "found only {} files", files.len());
    let mut found = Vec::new();
    for file in files {
        let path = file.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
        found.extend(violations(&path, &fs::read_to_string(&file).unwrap()));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_folder_it_may_import_is_in_the_table() {
    for (_, allowed, _) in TABLE {
        assert!(allowed.iter().all(|name| TABLE.iter().any(|row| row.0 == *name)), "{allowed:?}");
    }
}

#[test]
fn planted_violations_are_found() {
    let planted = [
        ("data/a.rs", "use crate::metrics::Hits;", "data/a.rs: `data` may not import `metrics`"),
        ("data/a.rs", "use crate::{ids::ItemId, pipeline::{Query, Recaller}};", "import `pipeline`"),
        ("data/a.rs", "fn f() -> crate::models::recall::X { loop {} }", "import `models`"),
        ("data/a.rs", "use super::super::index::X;", "import `index`"),
        ("data/a.rs", "use super :: super :: {ids::X, index::Y};", "import `index`"),
        ("data/mod.rs", "use super::index::X;", "import `index`"),
        ("data/a.rs", "pub(in crate::layers) fn f() {}", "import `layers`"),
        ("data/a.rs", "#[cfg(test)] mod tests { fn f() {} } use crate::layers::X;", "import `layers`"),
        ("data/a.rs", "#[cfg(test)] mod tests; use crate::layers::X;", "import `layers`"),
        ("data/a.rs", "const A: &str = \"// \\\" \"; use crate::layers::X;", "import `layers`"),
        ("data/a.rs", "const A: &str = r#\" /* \"# ; use crate::layers::X;", "import `layers`"),
        ("data/a.rs", "const A: char = '\"'; use crate::layers::X;", "import `layers`"),
        ("data/a.rs", "fn f<'a>(x: &'a str) -> crate::layers::X<'a> {}", "import `layers`"),
        ("data/a.rs", "use crate::prelude::*;", "import `prelude`"),
        ("data/a.rs", "use crate::*;", "import `*`"),
        ("ids.rs", "use crate::data::Key;", "import `data`"),
        ("training/a.rs", "use crate::models::recall::X;", "import `models`"),
        ("losses/a.rs", "use crate::layers::X;", "import `layers`"),
        ("metrics/a.rs", "use burn::tensor::Tensor;", "Burn may not be used here"),
        ("metrics/a.rs", "use ::burn::tensor::Tensor;", "Burn may not be used here"),
        ("metrics/a.rs", "use {burn::Tensor, std::fmt};", "Burn may not be used here"),
        ("metrics/a.rs", "fn f(x: burn::tensor::Tensor<1>) {}", "Burn may not be used here"),
        ("metrics/a.rs", "use burn_flex::Flex;", "Burn may not be used here"),
        ("metrics/a.rs", "extern crate burn;", "Burn may not be used here"),
        ("metrics/a.rs", "use burn as fire;", "Burn may not be used here"),
        ("features/store.rs", "use burn::tensor::Tensor;", "Burn may not be used here"),
        ("features/deep/batch.rs", "use burn::tensor::Tensor;", "Burn may not be used here"),
        ("models/recall/a.rs", "use super::ease::Ease;", "a model may not import another"),
        ("models/ranking/a.rs", "use crate::models::recall::Ease;", "a model may not import another"),
        ("novelty/a.rs", "", "the import table does not know `novelty`"),
        ("helpers.rs", "", "the import table does not know `helpers`"),
        ("error/a.rs", "", "the import table does not know `error`"),
        ("data.rs", "", "the import table does not know `data`"),
    ];
    for (path, source, expected) in planted {
        let found = violations(path, source);
        assert!(found.iter().any(|line| line.contains(expected)), "{path}: {source}\nfound {found:?}");
    }
}

#[test]
fn what_is_allowed_passes() {
    let clean = [
        ("data/a.rs", "use crate::{error::Result, ids::ItemId, rng, top_k::TopK}; use crate::data::Vocab;"),
        (
            "data/a.rs",
            "use super::Vocab; // crate::models::X\n/* crate::models /* burn:: */ crate::models */",
        ),
        ("data/a.rs", "/// [`crate::models::X`]\nfn f() { let burn = \"crate::models burn::tensor\"; }"),
        ("data/a.rs", "#[cfg(test)] mod tests { use crate::models::X; fn f() { if a { b } } }"),
        ("data/a.rs", "const A: &str = r##\"crate::models \"# burn::x\"##; const B: &[u8] = br\"burn::x\";"),
        ("data/a.rs", "mod burn_rate; use std::burn::x; fn f() { $crate::ids::X; }"),
        ("metrics/a/b.rs", "use crate::{data::X, pipeline::{Query, models::Y}}; use super::super::Z;"),
        ("features/batch.rs", "use burn::tensor::Tensor; use crate::data::X;"),
        ("models/recall/a.rs", "use burn::module::Module; use crate::{layers::X, training::Y, index::Z};"),
        ("models/recall/mod.rs", "mod a; pub use a::X; use crate::models::ranking::Y;"),
        ("prelude.rs", "pub use crate::models::X;"),
        ("lib.rs", "pub mod novelty;"),
    ];
    for (path, source) in clean {
        assert_eq!(violations(path, source), Vec::<String>::new(), "{path}: {source}");
    }
}
