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
    end_quietly_where_nobody_reads();
    let cli = commands::Cli::parse();
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pulsegate: {error:#}");
            ExitCode::from(1)
        }
    }
}

/// Who reads what a command prints may have read enough (`pulsegate events count | head -1`): no failure, and nothing to
/// say.
fn end_quietly_where_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let says = panic.payload_as_str().unwrap_or_default();
        if says.starts_with("failed printing to stdout") && says.contains("Broken pipe") {
            std::process::exit(0);
        }
        usual(panic);
    }));
}
