//! Goal: whatever ends a broker, the next one in the folder has what was acknowledged, and nothing
//! of what was deleted.

use std::fs;
use std::time::Instant;

use log_proto::v1::partition_start::Position;
use log_server::broker::StartupError;
use log_server::data_dir::DataDirError;
use log_server::{Server, ServerConfig, StartError};
use tonic::Code;

use crate::house::{House, error_of, from, is_gone, plain, to_partition};

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_keeps_everything_and_the_epoch() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 2).await;
    served.append("t", 0, &["a", "b"]).await;
    served.commit("g", "t", 1).await.unwrap();
    served.stop().await;
    let mut served = house.start().await;
    assert_eq!(served.server().broker().leader_epoch().get(), 0);
    assert_eq!(served.values("t").await, ["a", "b"]);
    assert_eq!(served.committed("g").await[0].offset, 1);
    assert_eq!(served.append("t", 0, &["c"]).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_keeps_what_was_acknowledged_and_raises_the_epoch() {
    let house = House::new();
    let mut ids = Vec::new();
    for round in 0..4 {
        let mut served = house.start().await;
        assert_eq!(served.server().broker().leader_epoch().get(), round);
        if round == 0 {
            served.create("t", 1).await;
        }
        ids.push(served.init_producer().await.id);
        served.append("t", 0, &[&round.to_string()]).await;
        served.commit("g", "t", round.into()).await.unwrap();
        served.crash();
    }
    let mut served = house.start().await;
    assert_eq!(served.values("t").await, ["0", "1", "2", "3"]);
    assert_eq!(served.committed("g").await[0].offset, 3);
    assert_eq!(served.describe("t").await.partitions[0].leader_epoch, 4);
    ids.push(served.init_producer().await.id);
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "no producer id is given out twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_never_meets_the_old_one() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 2).await;
    served.append("t", 0, &["old"]).await;
    served.commit("g", "t", 1).await.unwrap();
    served.delete("t").await.unwrap();
    assert!(is_gone(&house.topics().join("t-0")) && is_gone(&house.topics().join("t-1")));
    let missing = served.delete("t").await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    served.create("t", 1).await;
    assert!(served.values("t").await.is_empty());
    assert!(served.committed("g").await.is_empty());
    served.append("t", 0, &["new"]).await;
    served.crash();
    let mut served = house.start().await;
    assert_eq!(served.values("t").await, ["new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_nobody_explains_are_neither_served_nor_harmed() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 1).await;
    served.append("t", 0, &["precious"]).await;
    served.stop().await;
    // The metadata knows the topic as deleted, and its records are back.
    let (data, folder) = (house.config().data_dir, house.topics().join("t-0"));
    fs::rename(&folder, house.topics().join("aside")).unwrap();
    let mut served = house.start().await;
    served.delete("t").await.unwrap();
    served.stop().await;
    fs::rename(house.topics().join("aside"), &folder).unwrap();
    fs::create_dir(house.topics().join("lost+found")).unwrap();
    let mut served = house.start().await;
    assert_eq!(served.delete("t").await.unwrap_err().code(), Code::NotFound);
    let refused = served.create_with("t", 1, &[]).await.unwrap_err();
    assert!(refused.message().contains("move it away"), "{refused}");
    assert!(data.join("topics/t-0/00000000000000000000.log").metadata().unwrap().len() > 0);
    assert!(house.topics().join("lost+found").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_of_a_creation_is_removed() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 1).await;
    served.stop().await;
    // A folder of a topic that was never recorded: empty, with an identity.
    let (made, orphan) = (house.topics().join("t-0"), house.topics().join("orphan-0"));
    fs::create_dir(&orphan).unwrap();
    fs::copy(made.join("partition.json"), orphan.join("partition.json")).unwrap();
    let mut served = house.start().await;
    assert!(is_gone(&orphan));
    served.create("orphan", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_folder_is_spoken_of_and_the_others_serve() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 2).await;
    served.append("t", 1, &["here"]).await;
    served.stop().await;
    fs::remove_dir_all(house.topics().join("t-0")).unwrap();
    let mut served = house.start().await;
    let refused = served.produce(to_partition("t", 0, plain(&["x"]))).await.unwrap_err();
    assert!(refused.message().contains("missing"), "{refused}");
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(served.append("t", 1, &["and here"]).await, 1);
    assert!(served.describe("t").await.partitions[0].failure.contains("missing"));
    let ready = crate::http::get(served.server().http_address(), "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("t-0"), "{ready}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_broker_is_refused_by_name() {
    let house = House::new();
    let served = house.start().await;
    match Server::start(house.config()).await.err().unwrap() {
        StartError::Broker(StartupError::DataDir(DataDirError::InUse { pid, .. })) => {
            assert_eq!(pid, Some(std::process::id()));
        }
        other => panic!("{other}"),
    }
    let taken = served.server().grpc_address();
    let elsewhere = House::new().config();
    let error =
        Server::start(ServerConfig { grpc_listen: taken, ..elsewhere }).await.err().unwrap();
    assert!(error.to_string().contains("grpc.listen"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_loses_nothing_and_ends_soon() {
    let house = House::new();
    let mut served = house.start().await;
    served.create("t", 1).await;
    let mut reading =
        served.consume(vec![from("t", 0, Position::Offset(0))], 1 << 30).await.unwrap();
    let mut stream = served.stream().await;
    let requests = stream.requests.clone();
    let load = tokio::spawn(async move {
        let mut id = 0;
        while requests.send(numbered(id)).is_ok() {
            id += 1;
            tokio::task::yield_now().await;
        }
    });
    let mut acknowledged = Vec::new();
    for _ in 0..200 {
        acknowledged.push(stream.appended().await);
    }
    let begun = Instant::now();
    let stopping = tokio::spawn(served.stop());
    let status = loop {
        match stream.answers.message().await {
            Ok(Some(answer)) => match answer.result.unwrap() {
                log_proto::v1::produce_response::Result::Appended(appended) => {
                    acknowledged.push((answer.request_id, appended));
                }
                log_proto::v1::produce_response::Result::Error(error) => {
                    assert!(error.retriable, "{error:?}");
                }
            },
            Ok(None) => panic!("a stream that is cut off says why"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(error_of(&status).retriable);
    drop(stream);
    load.await.unwrap();
    let ended = loop {
        match reading.responses.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a stream that is cut off says why"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
    drop(reading);
    stopping.await.unwrap();
    // Far above what it takes: a stop that waits for its timeouts would show.
    assert!(begun.elapsed().as_secs() < 20);
    let mut served = house.start().await;
    assert_eq!(served.server().broker().leader_epoch().get(), 0, "the stop was clean");
    let stored = served.values("t").await;
    for (id, appended) in acknowledged {
        assert_eq!(stored[appended.base_offset as usize], id.to_string());
    }
}

fn numbered(request_id: u64) -> log_proto::v1::ProduceRequest {
    let value = request_id.to_string();
    log_proto::v1::ProduceRequest { request_id, ..to_partition("t", 0, plain(&[&value])) }
}
