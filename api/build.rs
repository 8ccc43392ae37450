//! Says clearly what is missing when the pages, which the crate embeds, have not been built.

use std::path::Path;

/// What must be there for every page to be served.
const NEEDED: [&str; 4] = ["index.html", "player.html", "docs.html", "clip.webm"];

fn main() {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/dist");
    println!("cargo::rerun-if-changed={}", dist.display());
    let missing: Vec<_> = NEEDED.into_iter().filter(|file| !dist.join(file).is_file()).collect();
    if !missing.is_empty() {
        println!("cargo::error=the pages are not built: web/dist lacks {}; run `make web` first", missing.join(", "));
        // A script that ends well is not asked again before its inputs change, and would repeat its error.
        std::process::exit(1);
    }
}
