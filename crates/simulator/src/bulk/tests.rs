use std::sync::Arc;

use axum::body::Bytes;

use super::data::Sheet;
use super::work::{admit, begin, fail};
use super::{HELD, JOBS, Jobs, KEPT_MS, Operation, Order, State};
use crate::call::{Call, DuplicateOptions};
use crate::config::Config;
use crate::org::Org;
use crate::schema::{ObjectIx, Schema};
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

fn call(settings: Settings) -> Call {
    Call {
        settings: Arc::new(settings),
        user: crate::oauth::first_user(),
        epoch: 0,
        version: "62.0".to_owned(),
        path: String::new(),
        duplicates: DuplicateOptions::default(),
        batch_size: 2_000,
        in_graph: false,
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
    let call = call(Settings { bulk_upload_max_bytes: usize::MAX, ..Settings::default() });
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

#[test]
fn work_from_before_a_reset_touches_no_job_of_its_id_and_no_batch_of_the_new_org() {
    let org = Org::new(Config::default(), 1, Schema::load(&[]).unwrap());
    let order = Order { object: org.schema.account, ..order() };
    let old = call(Settings::default());
    let data = Bytes::from_static(b"Name\nA\n");
    let sheet = Sheet::read(&org, &order, &data, &old).unwrap();
    org.reset();
    let id = {
        let mut jobs = org.bulk();
        let id = jobs.create(order.clone(), old.user, 0).unwrap();
        jobs.upload(&id.to_string(), data.clone(), &old, 0).unwrap();
        jobs.close(&id.to_string(), 0).unwrap();
        assert!(begin(&mut jobs, id, 0).is_some());
        id
    };
    let shown = || {
        let mut jobs = org.bulk();
        let batches = jobs.batches_last_day(0);
        let job = &jobs.all[&id];
        (batches, job.state, job.successes.clone(), job.unprocessed.clone(), job.data.is_some())
    };
    assert_eq!(admit(&org, id, &order, &sheet, &old), None);
    fail(&org, id, &data, "it was not this job".to_owned(), &old);
    assert_eq!(shown(), (0, State::InProgress, String::new(), String::new(), true));
    let new = Call { epoch: org.epoch(), ..old };
    assert_eq!(admit(&org, id, &order, &sheet, &new), Some(true));
    fail(&org, id, &data, "it was this job".to_owned(), &new);
    assert_eq!((shown().0, shown().1), (1, State::Failed));
}
