//! service-name: folds pulsegate's log into read models of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    pulsegate_service::main(env!("CARGO_PKG_NAME"), projection_name::REGISTERED)
}
