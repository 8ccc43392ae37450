//! What the check of a token adds to a request: one that was found good before, and one that is new.

use std::time::Duration;

use chrono::Utc;
use criterion::{Criterion, criterion_group, criterion_main};
use pulsegate_callers::issue::{Claims, Kind, SigningKey, jwks};
use pulsegate_callers::token::{TokenSettings, Tokens};

fn checks(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for (name, kind) in [("es256", Kind::Es256), ("eddsa", Kind::EdDsa)] {
        let key = SigningKey::generate(kind).expect("a key");
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), jwks([&key]).to_string()).expect("the keys are written");
        let settings = || TokenSettings {
            keys: file.path().to_str().expect("UTF-8").parse().expect("a place"),
            issuer: None,
            audience: None,
            leeway: Duration::from_secs(30),
        };
        let now = Utc::now().timestamp();
        let token = |index: u64| {
            let claims = Claims { sub: format!("account-{index}"), exp: now + 3_600, ..Claims::default() };
            key.sign(&claims).expect("a token")
        };
        let tokens = Tokens::new(settings());
        let (known, mut fresh) = (token(0), 0_u64);
        runtime.block_on(tokens.check(&known, now)).expect("good");
        criterion.bench_function(&format!("token {name}, remembered"), |bencher| {
            bencher.to_async(&runtime).iter(|| tokens.check(&known, now));
        });
        criterion.bench_function(&format!("token {name}, new"), |bencher| {
            bencher.iter_batched(
                || {
                    fresh += 1;
                    token(fresh)
                },
                |token| runtime.block_on(tokens.check(&token, now)).expect("good"),
                criterion::BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, checks);
criterion_main!(benches);
