//! `pulsegate new service`

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::names::ServiceName;
use super::writing;

/// Where pulsegate's crates come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A checkout on this machine.
    Path(PathBuf),
    /// A repository.
    Git(String),
}

const CARGO: &str = include_str!("../../../templates/service/Cargo.toml");
const DOCKERFILE: &str = include_str!("../../../templates/service/Dockerfile");
const README: &str = include_str!("../../../templates/service/readme");
const CI: &str = ".ci/run";

/// The files that need no more than names.
const PLAIN: [(&str, &str); 7] = [
    ("src/main.rs", include_str!("../../../templates/service/main.rs")),
    ("src/lib.rs", include_str!("../../../templates/service/lib.rs")),
    (".gitignore", include_str!("../../../templates/service/gitignore")),
    (".dockerignore", include_str!("../../../templates/service/dockerignore")),
    (CI, include_str!("../../../templates/service/ci-run")),
    ("stack.yaml", include_str!("../../../templates/service/stack.yaml")),
    ("rustfmt.toml", include_str!("../../../templates/service/rustfmt.toml")),
];

/// Makes a service in a folder of its name under `into`.
pub(super) fn make(into: &Path, name: &ServiceName, source: &Source) -> anyhow::Result<()> {
    let folder = into.join(name.dashed());
    anyhow::ensure!(!folder.exists(), "{} is there already", folder.display());
    let fill = |template: &str| {
        writing::fill(&template.replace("service-name", name.dashed()), name.projection(), "pulsegate_projections")
    };
    let mut files: Vec<_> = writing::PROJECTION
        .iter()
        .map(|(path, template)| (fill(&format!("src/{path}")), fill(template)))
        .chain(PLAIN.iter().map(|(path, template)| ((*path).to_owned(), fill(template))))
        .collect();
    files.push(("Cargo.toml".to_owned(), source.cargo(&fill(CARGO))?));
    files.push(("Dockerfile".to_owned(), source.dockerfile(&fill(DOCKERFILE), name)));
    files.push(("README.md".to_owned(), source.readme(&fill(README))));
    if let Source::Path(checkout) = source {
        // The versions that pulsegate itself was tested with.
        for shared in ["Cargo.lock", "rust-toolchain.toml"] {
            let text = fs::read_to_string(checkout.join(shared))
                .with_context(|| format!("failed to read {shared} of {}", checkout.display()))?;
            files.push((shared.to_owned(), text));
        }
    }
    writing::write_new(&folder, &files)?;
    make_executable(&folder.join(CI))?;
    writing::format(&[folder.join("src/lib.rs"), folder.join("src/main.rs")]);
    let folder = folder.display();
    println!(
        "made service {} in {folder}\n\nIts tests fail until its fold is written:\n  cd {folder} && cargo test\nBegin with \
         src/{}/fold.rs; README.md says the rest.",
        name.dashed(),
        name.projection().snake()
    );
    Ok(())
}

impl Source {
    /// Puts in where each of pulsegate's crates is.
    fn cargo(&self, template: &str) -> anyhow::Result<String> {
        let mut text = template.to_owned();
        for krate in ["domain", "projections", "service"] {
            let dependency = match self {
                Self::Path(checkout) => {
                    let path = checkout.join(krate);
                    format!("path = {:?}", path.to_str().context("the checkout's path is not UTF-8")?)
                }
                Self::Git(url) => format!("git = {url:?}"),
            };
            text = text.replace(&format!("pulsegate_source({krate:?})"), &dependency);
        }
        Ok(text)
    }

    fn dockerfile(&self, template: &str, name: &ServiceName) -> String {
        let (build, copy) = match self {
            Self::Path(checkout) => {
                let checkout = checkout.display();
                (
                    format!("# docker build --build-context pulsegate={checkout} -t {} .", name.dashed()),
                    format!("# Where Cargo.toml says that pulsegate is.\nCOPY --from=pulsegate . {checkout}"),
                )
            }
            Self::Git(_) => (format!("# docker build -t {} .", name.dashed()), String::new()),
        };
        template
            .replace("# docker_build", &build)
            .replace("# docker_copy\n", &if copy.is_empty() { copy } else { copy + "\n" })
    }

    fn readme(&self, template: &str) -> String {
        let (home, line) = match self {
            Self::Path(checkout) => {
                let checkout = checkout.display().to_string();
                let line = format!("its image: `docker build --build-context pulsegate={checkout} .`");
                (checkout, line)
            }
            Self::Git(url) => (url.clone(), "its image: `docker build .`".to_owned()),
        };
        template.replace("pulsegate_home", &home).replace("docker_line", &line)
    }
}

#[cfg(unix)]
fn make_executable(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("failed to make {} executable", path.display()))
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> anyhow::Result<()> {
    Ok(())
}
