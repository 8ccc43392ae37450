//! `pulsegate token`: what a platform's login service does, for a laptop.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::Utc;
use clap::{Subcommand, ValueEnum};
use pulsegate_callers::issue::{Claims, Kind, SigningKey, jwks};
use pulsegate_domain::ids::{AccountId, DeviceId, PolicyName, SessionId};

use super::when::Length;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a private key, in a file that only you can read
    Keygen {
        /// Where
        #[arg(long, default_value = "player-key.pem")]
        out: PathBuf,
        /// How it signs
        #[arg(long, value_enum, default_value_t)]
        kind: KeyKind,
    },
    /// Print the public keys, as `PULSEGATE_TOKENS_JWKS` wants them
    Jwks {
        /// Private keys; two while one replaces the other
        #[arg(default_value = "player-key.pem")]
        keys: Vec<PathBuf>,
    },
    /// Sign a token of an account, and print it
    Issue {
        /// Whose
        account: AccountId,
        /// The private key
        #[arg(long, default_value = "player-key.pem")]
        key: PathBuf,
        /// How long it is good
        #[arg(long = "for", default_value = "1h")]
        life: Length,
        /// Only for this session
        #[arg(long)]
        session: Option<SessionId>,
        /// Only for this device
        #[arg(long)]
        device: Option<DeviceId>,
        /// Only while the account has this policy
        #[arg(long)]
        policy: Option<PolicyName>,
        /// Who issues it; `PULSEGATE_TOKENS_ISSUER` may ask
        #[arg(long)]
        issuer: Option<String>,
        /// For whom; `PULSEGATE_TOKENS_AUDIENCE` may ask
        #[arg(long)]
        audience: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum KeyKind {
    /// ECDSA on P-256
    #[default]
    Es256,
    /// Ed25519
    Eddsa,
}

/// Runs one of the commands.
pub(crate) fn run(command: TokenCommand) -> anyhow::Result<ExitCode> {
    match command {
        TokenCommand::Keygen { out, kind } => {
            let kind = match kind {
                KeyKind::Es256 => Kind::Es256,
                KeyKind::Eddsa => Kind::EdDsa,
            };
            let key = SigningKey::generate(kind)?;
            // Never over a key that is there: tokens may be signed by it.
            let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&out);
            let mut file = file.with_context(|| format!("failed to make {}", out.display()))?;
            file.write_all(key.to_pem().as_bytes()).with_context(|| format!("failed to write {}", out.display()))?;
            eprintln!("{} holds a private key, {}; keep it secret", out.display(), key.kid());
        }
        TokenCommand::Jwks { keys } => {
            let keys = keys.iter().map(|path| read(path)).collect::<anyhow::Result<Vec<_>>>()?;
            println!("{}", serde_json::to_string_pretty(&jwks(&keys))?);
        }
        TokenCommand::Issue { account, key, life, session, device, policy, issuer, audience } => {
            let now = Utc::now();
            let claims = Claims {
                sub: account.to_string(),
                exp: (now + life.0).timestamp(),
                iat: Some(now.timestamp()),
                iss: issuer,
                aud: audience,
                session: session.map(|session| session.to_string()),
                device: device.map(|device| device.to_string()),
                policy: policy.map(|policy| policy.to_string()),
            };
            println!("{}", read(&key)?.sign(&claims)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> anyhow::Result<SigningKey> {
    let pem = std::fs::read_to_string(path)
        .with_context(|| format!("failed to read {}; `pulsegate token keygen` makes one", path.display()))?;
    SigningKey::from_pem(&pem).with_context(|| format!("failed to read {}", path.display()))
}
