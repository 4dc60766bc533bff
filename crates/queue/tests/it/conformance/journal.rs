//! The journal: read in order, from anywhere, by many.

use futures::StreamExt;
use futures::stream::BoxStream;
use queue::session::{JournalItem, JournalStart};
use queue::topology::Target;

use super::on_both_backends;
use crate::stage::{Stage, message, publish, within};

on_both_backends! {
    the_journal_is_read_from_the_first_entry_in_order,
    the_journal_is_read_from_an_offset_on,
    a_reader_sees_what_is_appended_later,
    two_readers_see_the_same,
    an_entry_keeps_its_bytes_and_headers,
    a_reader_that_is_dropped_disturbs_nobody,
}

async fn take(journal: &mut BoxStream<'static, JournalItem>, n: usize) -> Vec<(u64, String)> {
    let mut items = Vec::new();
    while items.len() < n {
        let (offset, message) = within(journal.next()).await.expect("an entry");
        items.push((offset, message.id));
    }
    items
}

fn numbers(from: u32, to: u32) -> Vec<String> {
    (from..to).map(|number| number.to_string()).collect()
}

async fn the_journal_is_read_from_the_first_entry_in_order(stage: Stage) {
    let session = stage.connect().await;
    publish(&session, &Target::Journal, 0..600).await;
    let mut journal = within(session.read_journal(JournalStart::First)).await.expect("a reader");
    let items = take(&mut journal, 600).await;
    assert!(items.windows(2).all(|pair| pair[0].0 < pair[1].0), "offsets grow");
    assert_eq!(items.into_iter().map(|(_, id)| id).collect::<Vec<_>>(), numbers(0, 600));
    session.close().await;
}

async fn the_journal_is_read_from_an_offset_on(stage: Stage) {
    let session = stage.connect().await;
    publish(&session, &Target::Journal, 0..30).await;
    let mut journal = within(session.read_journal(JournalStart::First)).await.expect("a reader");
    let all = take(&mut journal, 30).await;
    let (offset, _) = all[17];
    let mut from_there = within(session.read_journal(JournalStart::Offset(offset))).await.expect("a reader");
    assert_eq!(take(&mut from_there, 13).await, all[17..]);
    let mut after = within(session.read_journal(JournalStart::Offset(all[29].0 + 1))).await.expect("a reader");
    publish(&session, &Target::Journal, [30]).await;
    assert_eq!(take(&mut after, 1).await[0].1, "30");
    session.close().await;
}

async fn a_reader_sees_what_is_appended_later(stage: Stage) {
    let (session, other) = (stage.connect().await, stage.connect().await);
    let mut journal = within(session.read_journal(JournalStart::First)).await.expect("a reader");
    for number in 0..20 {
        publish(&other, &Target::Journal, [number]).await;
        assert_eq!(take(&mut journal, 1).await[0].1, number.to_string());
    }
    session.close().await;
    other.close().await;
}

async fn two_readers_see_the_same(stage: Stage) {
    let (one, two) = (stage.connect().await, stage.connect().await);
    publish(&one, &Target::Journal, 0..20).await;
    let mut first = within(one.read_journal(JournalStart::First)).await.expect("a reader");
    let mut second = within(two.read_journal(JournalStart::First)).await.expect("a reader");
    let mut third = within(two.read_journal(JournalStart::First)).await.expect("a reader");
    publish(&two, &Target::Journal, 20..40).await;
    let seen = take(&mut first, 40).await;
    assert_eq!(seen, take(&mut second, 40).await);
    assert_eq!(seen, take(&mut third, 40).await);
    one.close().await;
    two.close().await;
}

async fn an_entry_keeps_its_bytes_and_headers(stage: Stage) {
    let session = stage.connect().await;
    let mut entry = message("letter", "customer");
    entry.body = vec![0xFF, 0x00, 0x80].into();
    entry.kind = Some("dead".to_owned());
    entry.timestamp = Some(1_790_000_000);
    entry.app_id = Some("causeway-writer".to_owned());
    entry.headers.insert("failure".to_owned(), "{\"class\":\"permanent\"}".repeat(100));
    within(session.publish(&Target::Journal, &entry)).await.expect("appended");
    let mut journal = within(session.read_journal(JournalStart::First)).await.expect("a reader");
    let (_, read) = within(journal.next()).await.expect("an entry");
    assert_eq!(read, entry);
    session.close().await;
}

async fn a_reader_that_is_dropped_disturbs_nobody(stage: Stage) {
    let session = stage.connect().await;
    publish(&session, &Target::Journal, 0..20).await;
    for _ in 0..10 {
        let mut journal = within(session.read_journal(JournalStart::First)).await.expect("a reader");
        take(&mut journal, 3).await;
    }
    let mut journal = within(session.read_journal(JournalStart::First)).await.expect("a reader");
    assert_eq!(take(&mut journal, 20).await.len(), 20);
    assert!(!session.ended().is_cancelled());
    session.close().await;
}
