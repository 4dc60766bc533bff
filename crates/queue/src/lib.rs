//! Carries messages: topology, deliveries, lanes, and the journal of dead letters. The only crate that knows the broker.
//!
//! # The story
//!
//! Publishers send to an exchange that hashes the customer into an inbox; `ingest` relays each order to the customer's
//! partition; one `writer` at a time is active on a partition. Inside a process [`lanes::Lanes`] decides which order may go
//! next; [`work`] carries that out; a [`handler::Handler`] does the program's own part and returns what `domain` decided;
//! [`journal`] keeps what was given up, and [`dead_letters`] is the operator's way into it.
//!
//! The workers of a fleet share the queues among themselves ([`spread`]), tell each other who is there ([`service::hints`]), and watch
//! for queues that a broker has forgotten ([`watch`]).
//!
//! # The contract
//!
//! * *At least once.* A delivery is acknowledged only after its effect is durable: published and confirmed, written, or
//!   journalled and confirmed. A delivery that is dropped is released, never acknowledged.
//! * *One settlement.* [`session::Delivery::ack`] consumes the delivery; only this crate calls it.
//! * *In order per key.* One item of a key is in flight; the head of a lane waits for its retry while other lanes go on;
//!   what outlasts that blocks the key in the journal, and later orders are held behind it.
//! * *Room for all.* One key's lane takes at most half of a queue's window, several at most what others leave free, and lanes
//!   that wait together three quarters ([`lanes::room`]), besides what has no key and what an operator just released. What
//!   finds no room waits in the journal, in order, and comes back by itself; where very much waits there, in the queue.
//! * *A session ends as a whole.* At its first error everything unsettled comes again, in order, to whoever is active next.
//! * *Bounded.* Deliveries by prefetch, batches by number and size, every wait by a deadline.
//!
//! # Invariants
//!
//! * Nothing is cancelled while anything is unacknowledged: channels are closed instead, which keeps the order.
//! * Publishes are confirmed, and mandatory except to the outcomes exchange.
//! * No consumer priorities on single-active-consumer queues.
//! * Headers are flat text; a stream would drop nested ones.

//!
//! # Traps
//!
//! What RabbitMQ, its streams, lapin and Redis do to whoever does not know, and the tests that hold it off. A test of the house
//! keeps this list true.
//!
//! | # | Trap | Held off by |
//! |---|---|---|
//! | 1 | A dropped consumer is cancelled, and cancelled with anything unacknowledged, later messages come first | `what_the_broker_punishes_is_nowhere_in_what_ships`, `consumers_are_held_in_one_place_which_closes_their_channel_first`, `a_carelessly_dropped_subscription_returns_everything_in_order_to_a_standby`, `an_aborted_task_returns_everything_in_order_to_a_standby` |
//! | 2 | A confirm with a returned message is a loss; without `mandatory` nobody is told | `a_message_without_a_queue_is_unroutable`, `of_many_in_flight_exactly_the_lost_ones_are_reported` |
//! | 3 | Automatic recovery hides that deliveries belong to somebody else | `what_the_broker_punishes_is_nowhere_in_what_ships`, `a_cut_line_ends_the_session_at_once`, `a_lost_connection_returns_everything_in_order` |
//! | 4 | With one connection for both directions a memory alarm stops the acknowledgements too | `a_broker_short_of_memory_holds_publishes_back_and_takes_acknowledgements` |
//! | 5 | A head that waits must not hold back the acknowledgements of others | `what_the_broker_punishes_is_nowhere_in_what_ships`, `acknowledging_from_the_middle_does_not_disturb_the_order`, `a_head_that_is_tried_again_holds_back_its_own_customer_and_no_other` |
//! | 6 | Without a delivery limit what returns goes to the back; with the default of 4.0 it is given up soon | `every_queue_has_every_argument_that_keeps_order_and_loses_nothing`, `what_the_broker_punishes_is_nowhere_in_what_ships` |
//! | 7 | Consumer priorities leave ghosts on queues with one active consumer | `what_the_broker_punishes_is_nowhere_in_what_ships`, `what_the_guide_says_of_a_ghost_gives_its_queue_to_the_next_consumer_in_order`, `a_ghost_is_told_of_after_another_minute_and_what_it_held_up_goes_on_when_it_is_laid` |
//! | 8 | Dead-lettering at least once needs `reject-publish`, or silently is at most once | `every_queue_has_every_argument_that_keeps_order_and_loses_nothing`, `what_the_broker_gives_up_lands_in_the_journal` |
//! | 9 | A message's own expiry works at the head only | `what_the_broker_punishes_is_nowhere_in_what_ships` |
//! | 10 | A passive declare counts what is ready; empty does not mean done | `what_is_unacknowledged_is_not_counted_as_ready`, `a_queue_whose_owner_is_slow_is_not_taken_for_stalled` |
//! | 11 | Streams: offsets have gaps, nested headers vanish, retention forgets without asking | `the_journal_is_read_from_an_offset_on`, `headers_of_any_type_become_text_or_are_left_out`, `an_entry_keeps_its_bytes_and_headers` |
//! | 12 | A consumer that the broker ends, such as by its timeout, ends without an error; from 4.3 on a standby is given later messages first then | `deliveries_held_for_longer_than_the_broker_allows_end_the_session_and_come_again_in_order`, `from_4_3_on_a_delivery_is_held_for_longer_than_the_broker_allows_others`, `a_queue_that_was_deleted_ends_the_session_and_is_there_again_in_the_next`, `the_broker_on_one_machine_is_set_as_the_guide_asks_and_every_file_beside_it_is_used` |
//! | 13 | Two publishes in flight for one customer are reversed by one refusal | `a_batch_takes_one_item_of_each_key_and_the_rest_of_a_lane_waits`, `publishes_that_rabbitmq_refuses_while_others_are_on_their_way_reverse_no_customers_orders` |
//! | 14 | A ledger that wrongly says "settled" loses an order | `another_content_of_what_happened_or_may_have_is_a_conflict`, `fleets_in_two_namespaces_share_a_broker_and_know_nothing_of_each_other` |
//! | 15 | Redis says `LOADING` after a crash, and forgets scripts | `a_redis_that_loads_its_file_is_away_until_it_has_and_then_has_what_it_kept`, `scripts_that_redis_forgot_are_loaded_again`, `a_redis_that_is_away_is_told_soon_and_found_again_with_what_it_kept` |
//! | 16 | What is unacknowledged is work too, and a paused fleet is not to be scaled out | `what_the_guide_scales_on_counts_what_is_unacknowledged_and_is_nothing_while_the_org_is_waited_for`, `orders_in_lanes_are_counted_once`, `a_pause_is_told_until_it_is_over_and_is_over_with_its_session` |
//! | 17 | The broker's counters count what was prefetched, not what was tried | `what_the_broker_punishes_is_nowhere_in_what_ships`, `headers_of_any_type_become_text_or_are_left_out` |

pub mod dead_letters;
pub mod error;
pub mod handler;
pub mod journal;
pub mod lanes;
pub mod memory;
pub mod message;
pub mod rabbitmq;
pub mod readiness;
pub mod reconnect;
pub mod session;
pub mod settings;
mod settle;
pub mod spread;
pub mod topology;
pub mod watch;
pub mod work;
