//! `pulsegate new`, and the guide: what they make compiles, and does what they say.
//!
//! What is made is copied to a place that stays, so that only what changed is compiled again, in the target folder of
//! this build.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pulsegate_domain::topic::TopicNames;
use pulsegate_write_side::envelope::{self, Origin};
use pulsegate_write_side::request::parse_start;
use pulsegate_write_side::stamp;
use pulsegate_write_side::{EventLog, LogSettings};

use crate::deployment::{Deployment, root, until};

/// What a checkout needs to be one, and to be compiled.
const CHECKOUT: [&str; 16] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "clippy.toml",
    "domain",
    "access",
    "traces",
    "callers",
    "privacy",
    "write-side",
    "projections",
    "service",
    "api",
    "fuzz",
    "migrations",
];
/// What the root package is, so that the workspace is whole.
const ROOT_PACKAGE: [&str; 3] = ["src", "benches", "templates"];
const GUIDE: &str = "docs/a-projection-in-an-hour.md";

/// The target folder that this test was built in.
fn target() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_pulsegate"));
    binary.ancestors().nth(2).expect("target/<profile>/pulsegate").to_path_buf()
}

fn pulsegate(folder: &Path, args: &[&str]) -> Output {
    let binary = env!("CARGO_BIN_EXE_pulsegate");
    // No setting matters to a template, a wrong one neither.
    Command::new(binary).args(args).current_dir(folder).env("PULSEGATE_LISTEN", "nowhere").output().expect("it starts")
}

fn made(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}

fn cargo(folder: &Path, args: &[&str]) -> (bool, String) {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(args)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target())
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("cargo starts");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), said.concat())
}

/// Every file under `folder`, by its path there.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).expect("it is below").to_path_buf());
            }
        }
    }
    found
}

/// Makes `to` what `from` is, and touches nothing that is so already: its compiled form stays good.
fn mirror(from: &Path, to: &Path) {
    let wanted = files(from);
    for file in files(to).difference(&wanted) {
        fs::remove_file(to.join(file)).expect("it can be removed");
    }
    for file in wanted {
        let (text, at) = (fs::read(from.join(&file)).expect("it can be read"), to.join(&file));
        if fs::read(&at).is_ok_and(|known| known == text) {
            continue;
        }
        fs::create_dir_all(at.parent().expect("a folder")).expect("it can be made");
        fs::write(at, text).expect("it can be written");
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        for file in files(from) {
            copy(&from.join(&file), &to.join(&file));
        }
    } else {
        fs::create_dir_all(to.parent().expect("a folder")).expect("it can be made");
        fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    }
}

/// The guide's blocks that name a file, each with its text.
fn blocks(guide: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = guide.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let text: String = lines.by_ref().take_while(|line| *line != "```").flat_map(|line| [line, "\n"]).collect();
        if let Some((_, path)) = info.split_once(' ') {
            blocks.push((path.to_owned(), text));
        }
    }
    blocks
}

#[test]
fn a_new_projection_compiles_and_fails_until_it_is_written_and_the_guide_writes_one() {
    let scratch = tempfile::tempdir().expect("a folder");
    let checkout = scratch.path();
    for part in CHECKOUT.iter().chain(&ROOT_PACKAGE) {
        copy(&root().join(part), &checkout.join(part));
    }
    let said = made(&pulsegate(&checkout.join("domain/src"), &["new", "projection", "viewing_by_genre"]));
    assert!(said.contains("projections/src/viewing_by_genre/fold.rs"), "{said}");
    made(&pulsegate(checkout, &["new", "projection", "most_watched"]));
    refuses(checkout);

    let guide = fs::read_to_string(root().join(GUIDE)).expect("the guide");
    assert!(guide.contains("    pulsegate new projection most_watched\n"));
    let (query, code): (Vec<_>, Vec<_>) = blocks(&guide).into_iter().partition(|(path, _)| path == "query");
    assert_eq!((query.len(), code.len()), (1, 8));
    for (path, text) in code {
        let is_made = checkout.join(&path).exists();
        assert!(is_made || path.ends_with("/sessions.rs"), "the template makes no {path}");
        fs::write(checkout.join(path), text).expect("it can be written");
    }
    let stays = target().join("templates/checkout");
    mirror(checkout, &stays);

    // The service's crate too: so what both need is compiled with the same features as for a new service.
    let packages = ["-p", "pulsegate-projections", "-p", "pulsegate-service"];
    let names = ["viewing_by_genre::", "most_watched::", "registry::"];
    let args: Vec<_> =
        ["test", "--offline", "--locked", "--lib"].into_iter().chain(packages).chain(["--"]).chain(names).collect();
    let (passed, said) = cargo(&stays, &args);
    assert!(!passed && !said.contains("warning:"), "{said}");
    for line in [
        "test viewing_by_genre::tests::what_people_did_is_counted ... FAILED",
        "test viewing_by_genre::tests::any_batches_make_the_same_rows ... FAILED",
        "test viewing_by_genre::tests::what_cannot_be_read_is_skipped_alone ... ok",
        "`counted` in viewing_by_genre/fold.rs says what an event adds",
        "test most_watched::tests::what_was_watched_counts_once_where_it_was_watched ... ok",
        "test registry::tests::names_are_plain_identifiers_and_differ ... ok",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    let (formatted, said) = cargo(&stays, &["fmt", "-p", "pulsegate-projections", "--check"]);
    assert!(formatted, "{said}");
}

/// Bad names and names that are taken, each with a word that helps, and nothing changed.
fn refuses(checkout: &Path) {
    let before = files(checkout);
    for (args, code, says) in [
        (["new", "projection", "most_watched"], 1, "there is a module most_watched already"),
        (["new", "projection", "runner"], 1, "there is a module runner already"),
        (["new", "projection", "Most-Watched"], 2, "must be 1-40 of a-z 0-9 _"),
        (["new", "projection", "match"], 2, "is a word of Rust"),
        (["new", "projection", "public"], 2, "is a schema of the database's"),
    ] {
        let output = pulsegate(checkout, &args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && said.contains(says), "{args:?}: {said}");
    }
    let elsewhere = tempfile::tempdir().expect("a folder");
    for args in [&["new", "projection", "views"][..], &["new", "service", "views"]] {
        let output = pulsegate(elsewhere.path(), args);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("is a pulsegate checkout"), "{said}");
    }
    assert_eq!((files(checkout), files(elsewhere.path()).len()), (before, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_service_is_built_tested_and_folds_until_it_is_told_to_stop() {
    let scratch = tempfile::tempdir().expect("a folder");
    let checkout = root();
    let path = checkout.to_str().expect("UTF-8");
    made(&pulsegate(scratch.path(), &["new", "service", "churn-signals", "--path", path]));
    let again = pulsegate(scratch.path(), &["new", "service", "churn-signals", "--path", path]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("churn-signals is there already"));
    let service = scratch.path().join("churn-signals");
    // As the hint in it says.
    let fold = service.join("src/churn_signals/fold.rs");
    let unwritten = fs::read_to_string(&fold).expect("the fold");
    let written = unwritten.replacen(
        "PlaybackEvent::Started(_)\n        | ",
        "PlaybackEvent::Started(started) => Some((started.title_id.to_string(), 1)),\n        ",
        1,
    );
    assert_ne!(unwritten, written);
    fs::write(&fold, written).expect("it can be written");
    let stays = target().join("templates/churn-signals");
    mirror(&service, &stays);

    let deployment = Deployment::new().await;
    let (passed, said) = cargo(&stays, &["test", "--offline"]);
    assert!(passed && said.contains("3 passed") && !said.contains("warning:"), "{said}");
    let (built, said) = cargo(&stays, &["build", "--offline"]);
    assert!(built, "{said}");
    let (formatted, said) = cargo(&stays, &["fmt", "--check"]);
    assert!(formatted, "{said}");
    folds(&deployment).await;
}

/// The built service against a real log and database, from its tables to its end.
async fn folds(deployment: &Deployment) {
    let binary = target().join("debug/churn-signals");
    let command = |args: &[&str]| command_of(&binary, deployment, args);
    let wrong = command(&["config"]).env("PULSEGATE_LOG_FORMAT", "xml").output().expect("it starts");
    assert_eq!(wrong.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("PULSEGATE_LOG_FORMAT: \"xml\" must be text or json"));
    made(&command(&["migrate"]).output().expect("it starts"));

    let settings = LogSettings::new(&deployment.kafka, TopicNames::new(&deployment.prefix));
    let settings = LogSettings { partitions: 4, ..settings };
    pulsegate_write_side::ensure_topics(&settings).await.expect("topics");
    let log = EventLog::connect(&settings).expect("a log");
    for account in ["ada", "bob", "cleo"] {
        let request =
            parse_start(account.parse().expect("an id"), br#"{"device_id":"tv","title_id":"dune"}"#).expect("a start");
        let catalog = pulsegate_domain::catalog::Catalog::default();
        let now = chrono::Utc::now().into();
        let event = stamp::started(request, envelope::new_session_id(), &catalog, None, now);
        let event = pulsegate_domain::event::PlaybackEvent::Started(event);
        log.append(envelope::playback(&event, &Origin::new("/test", now))).await.expect("it is appended");
    }

    let admin = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let mut child = command(&[]).env("PULSEGATE_ADMIN_LISTEN", admin.to_string()).spawn().expect("it starts");
    let client = reqwest::Client::new();
    let get = async |path: &str| client.get(format!("http://{admin}{path}")).send().await;
    until("the service to be ready", || async { get("/readyz").await.is_ok_and(|answer| answer.status() == 200) })
        .await;
    let pool = sqlx::PgPool::connect(&deployment.database_url).await.expect("the database");
    until("the service to count", || async {
        let counted = sqlx::query_scalar::<_, i64>("select n from churn_signals.counts where key = 'dune'");
        counted.fetch_optional(&pool).await.expect("the rows can be read") == Some(3)
    })
    .await;
    assert_eq!(get("/livez").await.expect("it answers").status(), 200);
    let metrics = get("/metrics").await.expect("it answers").text().await.expect("text");
    assert!(metrics.contains("pulsegate_projection_events_total{projection=\"churn_signals_v1\"} 3"), "{metrics}");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    assert!(child.wait().expect("it ends").success());
}

fn command_of(binary: &Path, deployment: &Deployment, args: &[&str]) -> Command {
    let mut own = Command::new(binary);
    own.args(args);
    for (name, value) in deployment.command(args).get_envs() {
        own.env(name, value.expect("a value"));
    }
    own
}

#[test]
fn a_service_on_a_repository_names_it() {
    let scratch = tempfile::tempdir().expect("a folder");
    let url = "https://git.example/pulsegate.git";
    made(&pulsegate(scratch.path(), &["new", "service", "churn-signals", "--git", url]));
    let read = |file: &str| fs::read_to_string(scratch.path().join("churn-signals").join(file)).expect(file);
    assert!(read("Cargo.toml").contains(&format!("pulsegate-service = {{ git = \"{url}\" }}")));
    for file in
        ["Cargo.toml", "Dockerfile", "stack.yaml", "README.md", ".ci/run", "src/main.rs", "src/churn_signals.rs"]
    {
        for left in ["pulsegate_source", "pulsegate_home", "docker_", "service-name", "projection_name", "crate_path"] {
            assert!(!read(file).contains(left), "{file} still says {left}");
        }
    }
}
