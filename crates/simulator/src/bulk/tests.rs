use std::sync::Arc;

use axum::body::Bytes;

use super::{HELD, JOBS, Jobs, KEPT_MS, Operation, Order};
use crate::call::{Call, DuplicateOptions};
use crate::schema::ObjectIx;
use crate::settings::Settings;

fn order() -> Order {
    Order {
        object: ObjectIx(0),
        operation: Operation::Insert,
        external_id: None,
        crlf: false,
        delimiter: b',',
        assignment_rule: None,
        version: "62.0".to_owned(),
    }
}

fn create(jobs: &mut Jobs, now_ms: i64) -> Result<String, String> {
    let id = jobs.create(order(), crate::oauth::first_user(), now_ms);
    id.map(|id| id.to_string()).map_err(|error| error.code)
}

#[test]
fn an_org_keeps_ten_thousand_jobs_for_seven_days() {
    let mut jobs = Jobs::default();
    for _ in 0..JOBS {
        assert!(create(&mut jobs, 0).is_ok());
    }
    assert_eq!(create(&mut jobs, KEPT_MS - 1), Err("EXCEEDEDQUOTA".to_owned()));
    assert!(create(&mut jobs, KEPT_MS).is_ok());
    assert_eq!(jobs.all.len(), 1);
}

#[test]
fn the_data_of_all_jobs_is_bounded() {
    let settings = Settings { bulk_upload_max_bytes: usize::MAX, ..Settings::default() };
    let call = Call {
        settings: Arc::new(settings),
        user: crate::oauth::first_user(),
        epoch: 0,
        version: "62.0".to_owned(),
        path: String::new(),
        duplicates: DuplicateOptions::default(),
        batch_size: 2_000,
        in_graph: false,
    };
    let mut jobs = Jobs::default();
    // Shared by the jobs, so that the test does not take what it says the org does not.
    let data = Bytes::from(vec![b'x'; HELD / 16]);
    let mut taken = 0;
    for _ in 0..16 {
        let upload = create(&mut jobs, 0).map(|id| jobs.upload(&id, data.clone(), &call, 0).is_ok());
        taken += usize::from(upload == Ok(true));
    }
    assert_eq!((taken, jobs.held()), (15, 15 * HELD / 16));
}
