//! Licensing and clickstream built anew beside the live ones, while the log goes on: the same tables.

use futures_util::future::join_all;
use pulsegate_domain::topic::{Topic, partition_of};
use pulsegate_projections::clickstream::keep_days;
use pulsegate_projections::registry::Registered;
use pulsegate_projections::verify::{Verdict, verify};
use pulsegate_projections::{builds, clickstream, licensing};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio_util::sync::CancellationToken;

use crate::rebuilds::{SHADOW, dependencies, rebuilt};
use crate::services::{Bench, DEADLINE, on_a_bench, producer};
use crate::viewers::Viewers;

const PARTITIONS: i32 = 2;

/// Appends clicks to the clickstream topic.
async fn click(bench: &Bench, producer: &FutureProducer, numbers: std::ops::Range<u32>) {
    let topic = bench.topics.name(Topic::Clickstream);
    let sent = numbers.map(|n| {
        let topic = &topic;
        async move {
            let key = format!("account-{}", n % 5);
            let value = format!(
                r#"{{"id":"{n}","type":"pulsegate.clickstream.recorded.v1","time":"2026-11-22T20:47:03.120Z","data":
                     {{"name":"click-{}","account_id":"{key}","properties":{{"n":{n},"odd":"\u0000"}}}}}}"#,
                n % 3
            );
            let partition = partition_of(key.as_bytes(), PARTITIONS);
            let record = FutureRecord::to(topic).partition(partition).key(&key).payload(&value);
            producer.send(record, DEADLINE).await.unwrap();
        }
    });
    join_all(sent).await;
}

async fn verified(bench: &Bench, registered: &'static Registered) -> Verdict {
    verify(registered, None, &dependencies(bench)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_beside_the_live_one_says_the_same() {
    on_a_bench(PARTITIONS, async |bench| {
        let admin: AdminClient<DefaultClientContext> = bench.kafka.create().unwrap();
        let clicks = bench.topics.name(Topic::Clickstream);
        let topic = NewTopic::new(&clicks, PARTITIONS, TopicReplication::Fixed(1))
            .set("message.timestamp.type", "LogAppendTime");
        for made in admin.create_topics([&topic], &AdminOptions::new()).await.unwrap() {
            made.unwrap();
        }
        let producer = producer(&bench.kafka);
        let stop = CancellationToken::new();
        let registered = [&licensing::REGISTERED, &clickstream::REGISTERED];
        let following = registered.map(|one| tokio::spawn(builds::follow(one, dependencies(bench), stop.clone())));
        let mut viewers = Viewers::new(21, 8);
        bench.append(&viewers.events(2_500)).await;
        click(bench, &producer, 0..2_500).await;

        for one in registered {
            let built = rebuilt(bench, one, &SHADOW, CancellationToken::new()).await.unwrap();
            assert_eq!(built.build.schema(), format!("{one}_r2"));
            bench.append(&viewers.events(500)).await;
            click(bench, &producer, 2_500..3_000).await;
        }
        // What may be gone is not compared; here that is nothing.
        keep_days(&bench.pool, 1).await.unwrap();
        for one in registered {
            let verdict = verified(bench, one).await;
            assert!(verdict.same, "{verdict:?}");
            let rows: i64 = verdict.tables.iter().map(|table| table.live_rows).sum();
            assert!(rows > 100, "{verdict:?}");
        }
        // A difference is seen.
        sqlx::query("update clickstream_v2_r2.events set properties = '{}' where log_offset = 7")
            .execute(&bench.pool)
            .await
            .unwrap();
        sqlx::query("update licensing_v4_r2.facts set content_ms = content_ms + 1 where watched_ms > 0")
            .execute(&bench.pool)
            .await
            .unwrap();
        for one in registered {
            let verdict = verified(bench, one).await;
            assert!(!verdict.same && verdict.tables.iter().any(|table| !table.differences.is_empty()), "{verdict:?}");
        }
        stop.cancel();
        for task in following {
            task.await.unwrap().unwrap();
        }
        admin.delete_topics(&[&clicks], &AdminOptions::new()).await.unwrap();
    })
    .await;
}
