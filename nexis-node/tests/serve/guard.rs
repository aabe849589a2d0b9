//! Who may ask, how much, how fast, and how it ends.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use nexis_node::serve::ApiKeys;
use serde_json::json;

use super::world::{Running, made, read_reply, send};

const KEY: &str = "sk-nexis-0123456789abcdef";

#[test]
fn a_server_with_keys_needs_one() {
    let server = Running::start(|options| options.keys = ApiKeys::parse("keys", KEY).unwrap());
    let with = |path: &str, key: &str| {
        server.send("GET", path, &[("authorization", &format!("Bearer {key}"))], b"").status
    };
    for path in ["/v1/models", "/v1/verdicts", "/metrics"] {
        let refused = server.get(path);
        assert_eq!((refused.status, refused.headers["www-authenticate"].as_str()), (401, "Bearer"), "{path}");
        assert_eq!(refused.json()["error"]["code"], "invalid_api_key");
        assert_eq!(with(path, "sk-nexis-0123456789abcdeg"), 401, "{path}");
        assert_eq!(with(path, KEY), 200, "{path}");
    }
    assert_eq!(server.post("/v1/score", &json!({})).status, 401);
    assert_eq!(server.post("/v1/chat/completions", &json!({})).status, 401);
    for path in ["/", "/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    // Beside keys, the name under which it is asked does not matter.
    let reply = server.send(
        "GET",
        "/v1/models",
        &[("host", "nexis.example"), ("authorization", &format!("Bearer {KEY}"))],
        b"",
    );
    assert_eq!(reply.status, 200);
}

#[test]
fn a_page_from_elsewhere_cannot_ask_a_local_server() {
    let server = Running::shared();
    let get = |headers: &[(&str, &str)]| server.send("GET", "/v1/models", headers, b"");
    let address = server.address.to_string();
    assert_eq!(get(&[("host", "evil.example")]).json()["error"]["code"], "host_not_allowed");
    assert_eq!(get(&[("origin", "https://evil.example")]).json()["error"]["code"], "origin_not_allowed");
    assert_eq!(get(&[("origin", "null")]).status, 403);
    let own = get(&[("origin", &format!("http://{address}"))]).ok();
    assert!(!own.headers.keys().any(|name| name.starts_with("access-control-")));
    assert_eq!(own.headers["x-content-type-options"], "nosniff");
    assert_eq!(own.headers["cache-control"], "no-store");
    assert_eq!(get(&[("host", "localhost:1")]).status, 200);
}

#[test]
fn a_body_is_bounded_before_it_is_read() {
    let server = Running::start(|options| options.limits.body_bytes = 1 << 20);
    let json = ("content-type", "application/json");
    let reply = server.send("POST", "/v1/score", &[json], &vec![b' '; 2 << 20]);
    assert_eq!((reply.status, reply.json()["error"]["code"].as_str()), (413, Some("too_large")));
    // What is announced counts, though it never comes; whoever waits to be told to send is answered at once.
    let big = [json, ("content-length", "99999999999"), ("expect", "100-continue")];
    assert_eq!(server.send("POST", "/v1/score", &big, b"").status, 413);
    let chunked = [json, ("transfer-encoding", "chunked")];
    assert_eq!(server.send("POST", "/v1/score", &chunked, b"0\r\n\r\n").status, 411);
    assert_eq!(server.send("POST", "/v1/score", &[json], b"").status, 400);
}

#[test]
fn a_slow_body_and_slow_work_are_given_up() {
    let server = Running::start(|options| options.limits.request_time = Duration::from_millis(300));
    let reply = {
        let mut stream = TcpStream::connect(server.address).unwrap();
        let head = format!(
            "POST /v1/score HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{{",
            server.address
        );
        stream.write_all(head.as_bytes()).unwrap();
        read_reply(&mut stream)
    };
    assert_eq!((reply.status, reply.json()["error"]["code"].as_str()), (408, Some("slow_request")));
    let impatient = Running::start(|options| options.limits.request_time = Duration::from_millis(1));
    let clip = &made().clips[0];
    let reply =
        impatient.post("/v1/score", &json!({ "caption": clip.caption, "frames": clip.pictures[..6] }));
    // By where the millisecond was over: in the body, before the work or in it.
    let kinds = [(408, "timeout_error"), (429, "rate_limit_error"), (504, "timeout_error")];
    let kind = reply.json()["error"]["type"].as_str().unwrap().to_owned();
    assert!(kinds.contains(&(reply.status, kind.as_str())), "{}", reply.text());
}

#[test]
fn whoever_reads_no_answer_holds_no_place() {
    let server = Running::start(|options| {
        options.limits.connections = 1;
        options.limits.idle_time = Duration::from_millis(300);
    });
    let mut deaf = TcpStream::connect(server.address).unwrap();
    deaf.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    let request = format!("GET /openapi.json HTTP/1.1\r\nhost: {}\r\n\r\n", server.address);
    // More than all that lies between the two holds; it is cut off once nothing goes through.
    while deaf.write_all(request.as_bytes()).is_ok() {}
    assert_eq!(server.get("/healthz").status, 200);
    // And whoever says nothing, before a first request or behind it, is not waited for either.
    let mute = TcpStream::connect(server.address).unwrap();
    assert_eq!(server.get("/healthz").status, 200);
    let mut done = TcpStream::connect(server.address).unwrap();
    done.write_all(format!("GET /healthz HTTP/1.1\r\nhost: {}\r\n\r\n", server.address).as_bytes()).unwrap();
    assert_eq!(server.get("/healthz").status, 200);
    drop((deaf, mute, done));
}

#[test]
fn more_than_may_be_in_hand_is_told_to_come_back() {
    let server = Running::start(|options| {
        options.limits.queue = 1;
        options.limits.workers = 1;
    });
    let clip = &made().clips[0];
    let body = json!({ "caption": clip.caption, "frames": clip.pictures[..6], "pictures": true }).to_string();
    let address = server.address;
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..24)
            .map(|_| {
                scope.spawn(|| {
                    let reply = send(
                        address,
                        "POST",
                        "/v1/score",
                        &[("content-type", "application/json")],
                        body.as_bytes(),
                    );
                    if reply.status == 429 {
                        assert!(reply.headers["retry-after"].parse::<u64>().unwrap() >= 1);
                        assert_eq!(reply.json()["error"]["code"], "rate_limit_exceeded");
                    }
                    reply.status
                })
            })
            .collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
    // And afterwards it takes requests as before.
    server.post("/v1/classify", &json!({ "frames": clip.pictures[..1] })).ok();
}

#[test]
fn requests_that_share_calls_of_the_model_have_the_scores_that_they_have_alone() {
    let (gathered, alone) = (
        Running::start(|options| {
            options.remembered_pictures = 0;
            options.limits.workers = 12;
            options.max_wait = Duration::from_millis(100);
        }),
        Running::start(|options| {
            options.remembered_pictures = 0;
            options.engine.batch = 1;
            options.limits.workers = 1;
        }),
    );
    let clips = &made().clips;
    let bodies: Vec<_> = (0..12)
        .map(|i| {
            let (of, said) = (&clips[i % 3], &clips[i / 3 % 3]);
            json!({ "caption": said.caption, "frames": of.pictures[..1 + i % 6] })
        })
        .collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let asking: Vec<_> =
            bodies.iter().map(|body| scope.spawn(|| gathered.post("/v1/score", body).ok().json())).collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (body, together) in bodies.iter().zip(together) {
        let by_itself = alone.post("/v1/score", body).ok().json();
        for field in ["id", "alignment", "category", "verdict", "why"] {
            assert_eq!(together[field], by_itself[field], "{field}");
        }
    }
    let text = gathered.get("/metrics").ok().text();
    let value = |name: &str| -> f64 {
        let line =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(value("nexis_forward_pass_callers_sum") >= 12.0);
    assert!(
        value("nexis_forward_passes_total") < value("nexis_forward_pass_callers_sum"),
        "no call was shared"
    );
}

#[test]
fn remembered_pictures_change_no_score() {
    let server = Running::start(|_| {});
    let clip = &made().clips[2];
    let body = json!({ "caption": clip.caption, "frames": clip.pictures[..6] });
    let first = server.post("/v1/score", &body).ok().json();
    let second = server.post("/v1/score", &body).ok().json();
    assert_eq!((&first["id"], &first["alignment"]), (&second["id"], &second["alignment"]));
    // Some new, some known, in another order.
    let mixed = json!({ "frames": [clip.pictures[6], clip.pictures[2], made().clips[0].pictures[1], clip.pictures[0]] });
    let mixed = server.post("/v1/classify", &mixed).ok().json();
    let frames =
        [&clip.frames[6], &clip.frames[2], &made().clips[0].frames[1], &clip.frames[0]].map(Clone::clone);
    let expected = super::world::judge().classify_frames(&frames).unwrap();
    assert_eq!(mixed["labels"], serde_json::to_value(expected.labels).unwrap());
    let text = server.get("/metrics").ok().text();
    assert!(text.contains("nexis_picture_lookups_total{outcome=\"hit\"} 8"), "{text}");
}

#[test]
fn a_server_that_stops_ends_what_it_has_in_hand() {
    let mut server = Running::start(|_| {});
    let clip = &made().clips[0];
    let body = json!({ "caption": clip.caption, "frames": clip.pictures[..6] }).to_string();
    let address = server.address;
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /v1/score HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body.as_bytes()[..body.len() / 2]).unwrap();
    while server.get("/metrics").text().lines().all(|line| line != "nexis_http_in_hand 1") {
        std::thread::sleep(Duration::from_millis(5));
    }
    let stop = server.stop.clone();
    let asking = std::thread::spawn(move || {
        stop.cancel();
        std::thread::sleep(Duration::from_millis(50));
        stream.write_all(&body.as_bytes()[body.len() / 2..]).unwrap();
        read_reply(&mut stream)
    });
    server.stop();
    assert_eq!(asking.join().unwrap().ok().json()["verdict"], "accept");
    assert!(TcpStream::connect(address).is_err(), "it listens no more");
}

#[test]
fn what_it_does_is_counted() {
    let server = Running::start(|_| {});
    let clip = &made().clips[0];
    server.post("/v1/classify", &json!({ "frames": clip.pictures[..3] })).ok();
    server.get("/v1/evidence/x");
    server.get("/nowhere/at/all");
    let text = server.get("/metrics").ok().text();
    for line in [
        "nexis_http_requests_total{endpoint=\"/v1/classify\",status=\"200\"} 1",
        "nexis_http_requests_total{endpoint=\"/v1/evidence/{id}\",status=\"400\"} 1",
        "nexis_http_requests_total{endpoint=\"other\",status=\"404\"} 1",
        "nexis_answers_total{kind=\"classify\",verdict=\"accept\"} 1",
        "nexis_forward_pass_pictures_sum 9.0",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert_eq!(server.get("/readyz").json()["ready"], true);
    assert_eq!(server.metrics.to_text().unwrap().lines().last(), Some("# EOF"));
}
