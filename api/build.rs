//! Says clearly what is missing when the pages, which the crate embeds, have not been built.

use std::path::PathBuf;

/// What must be there for every page to be served.
const NEEDED: [&str; 6] =
    ["index.html", "player.html", "projections.html", "docs.html", "signed-out.html", "clip.webm"];

fn main() {
    // Asked as it runs: a script compiled for one clone is used for every other that shares its target folder.
    let crate_folder = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the crate is");
    let dist = PathBuf::from(crate_folder).join("../web/dist");
    println!("cargo::rerun-if-changed={}", dist.display());
    let missing: Vec<_> = NEEDED.into_iter().filter(|file| !dist.join(file).is_file()).collect();
    if !missing.is_empty() {
        println!("cargo::error=the pages are not built: web/dist lacks {}; run `make web` first", missing.join(", "));
        // A script that ends well is not asked again before its inputs change, and would repeat its error.
        std::process::exit(1);
    }
}
