//! `pulsegate new projection`

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::names::ProjectionName;
use super::{REGISTRY, writing};

const MODULES: &str = "projections/src/lib.rs";
const DOCS: &str = include_str!("../../../templates/projection/docs.md");
/// What stands before the registry's list, which may follow on a line of its own.
const BEGINS: &str = "pub static REGISTERED: &[&Registered] =";

/// Makes a projection in the checkout: its folder, its docs, its module, its line in the registry.
pub(super) fn make(checkout: &Path, name: &ProjectionName) -> anyhow::Result<()> {
    let mut files: Vec<_> = writing::PROJECTION
        .iter()
        .map(|(path, template)| {
            let path = format!("projections/src/{}", path.replace("projection_name", name.snake()));
            (path, writing::fill(template, name, "crate"))
        })
        .collect();
    files.push((format!("docs/{}.md", name.dashed()), writing::fill(DOCS, name, "crate")));
    // Both are read and changed before anything is written: half a projection would not compile.
    let read = |path: &str| {
        fs::read_to_string(checkout.join(path)).with_context(|| format!("failed to read {path} of the checkout"))
    };
    let modules = with_module(&read(MODULES)?, name).with_context(|| format!("failed to add it to {MODULES}"))?;
    let registry = with_line(&read(REGISTRY)?, name).with_context(|| format!("failed to add it to {REGISTRY}"))?;
    writing::write_new(checkout, &files)?;
    for (path, text) in [(MODULES, &modules), (REGISTRY, &registry)] {
        fs::write(checkout.join(path), text).with_context(|| format!("failed to write {path}"))?;
    }
    // rustfmt follows the modules from here.
    writing::format(&[checkout.join(MODULES)]);
    println!("made projection {} (registered in {REGISTRY})", name.snake());
    for (path, _) in &files {
        println!("  {path}");
    }
    println!(
        "\nIts tests fail until its fold is written:\n  cargo test --workspace --lib {}::\nBegin with \
         projections/src/{}/fold.rs. docs/a-projection-in-an-hour.md walks through one.",
        name.snake(),
        name.snake()
    );
    Ok(())
}

/// The modules with one more, in the order of the alphabet.
fn with_module(text: &str, name: &ProjectionName) -> anyhow::Result<String> {
    let line = format!("pub mod {};", name.snake());
    let modules: Vec<_> = text.lines().filter(|line| line.starts_with("pub mod ")).collect();
    anyhow::ensure!(!modules.contains(&line.as_str()), "there is a module {} already", name.snake());
    let (known, with) = match modules.iter().find(|known| **known > line.as_str()) {
        Some(next) => (next, format!("{line}\n{next}")),
        None => modules.last().map(|last| (last, format!("{last}\n{line}"))).context("it has no modules")?,
    };
    Ok(text.replacen(known, &with, 1))
}

/// The registry with one more line, at its end.
fn with_line(text: &str, name: &ProjectionName) -> anyhow::Result<String> {
    let begin = text.find(BEGINS).with_context(|| format!("it has no `{BEGINS}`"))? + BEGINS.len();
    let begin = begin + text[begin..].find("&[").context("its list does not begin")? + "&[".len();
    let length = text[begin..].find("];").context("its list does not end")?;
    let known = text[begin..begin + length].trim().trim_end_matches(',').to_owned();
    let separator = if known.is_empty() { "" } else { ", " };
    let entry = format!("&crate::{}::REGISTERED", name.snake());
    anyhow::ensure!(!known.contains(&entry), "it is registered already");
    Ok(format!("{}{known}{separator}{entry}{}", &text[..begin], &text[begin + length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ProjectionName {
        text.parse().unwrap()
    }

    #[test]
    fn a_module_stands_in_its_place() {
        let text = "pub mod b;\npub mod d;\n\npub use d::D;\n";
        assert_eq!(with_module(text, &name("c")).unwrap(), "pub mod b;\npub mod c;\npub mod d;\n\npub use d::D;\n");
        assert_eq!(with_module(text, &name("e")).unwrap(), "pub mod b;\npub mod d;\npub mod e;\n\npub use d::D;\n");
        assert_eq!(with_module(text, &name("d")).unwrap_err().to_string(), "there is a module d already");
    }

    #[test]
    fn a_line_stands_at_the_end_however_the_list_is_written() {
        for list in [" &[&a::REGISTERED];", " &[\n    &a::REGISTERED,\n];", "\n    &[&a::REGISTERED];"] {
            let with = with_line(&format!("{BEGINS}{list}\n"), &name("b")).unwrap();
            assert!(with.ends_with("&[&a::REGISTERED, &crate::b::REGISTERED];\n"), "{with}");
        }
        let none = with_line(&format!("{BEGINS} &[];\n"), &name("b")).unwrap();
        assert_eq!(none, format!("{BEGINS} &[&crate::b::REGISTERED];\n"));
        assert!(with_line("nothing", &name("b")).is_err());
    }
}
