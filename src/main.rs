//! pulsegate: the composition root. Environment, clock and randomness enter here and nowhere else.

mod commands;
mod config;
mod simulate;

use std::process::ExitCode;

use clap::Parser as _;

/// Many small allocations of many threads are what a hot view is made of.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = commands::Cli::parse();
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pulsegate: {error:#}");
            ExitCode::from(1)
        }
    }
}
