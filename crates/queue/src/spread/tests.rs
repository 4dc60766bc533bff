//! Pinned weights, how even they are, and fleets that come and go.

use std::collections::VecDeque;

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::*;

const SECOND: Time = Duration::from_secs(1);

#[test]
fn the_weights_are_pinned() {
    let pinned = [
        ("writer/1", Queue::Partition(0), 0xba24_4045_751f_ce98),
        ("writer/1", Queue::Partition(1), 0x0150_8cb0_bf1e_89dd),
        ("writer/2", Queue::Partition(0), 0x5f07_2f80_7b69_01fc),
        ("writer/1", Queue::Inbox(0), 0x45d1_b70c_d67f_63fd),
        ("", Queue::Partition(255), 0x51d9_eb02_e4e3_c85a),
    ];
    for (member, queue, expected) in pinned {
        assert_eq!(weight(member, queue), expected, "{member} {queue:?}");
    }
    let members = ["writer/1", "writer/2", "writer/3"];
    let owners: Vec<&str> = (0..8).filter_map(|index| best(members, Queue::Partition(index))).collect();
    assert_eq!(
        owners,
        ["writer/1", "writer/3", "writer/1", "writer/1", "writer/1", "writer/1", "writer/3", "writer/2"]
    );
}

/// The figures of the design: the busiest worker against the mean.
#[test]
fn the_busiest_worker_has_as_much_more_than_the_mean_as_the_design_says() {
    let figures = [
        (32, [(2, 1.14), (4, 1.36), (8, 1.77)]),
        (64, [(2, 1.10), (4, 1.27), (8, 1.52)]),
        (128, [(2, 1.07), (4, 1.18), (8, 1.38)]),
    ];
    let fleets = 1_000_u32;
    let mut random = StdRng::seed_from_u64(7);
    for (partitions, by_workers) in figures {
        for (workers, expected) in by_workers {
            let mut sum = 0.0;
            for _ in 0..fleets {
                let members: Vec<String> =
                    (0..workers).map(|_| format!("writer/{:032x}", random.random::<u128>())).collect();
                let mut counts = vec![0_u32; workers];
                for queue in (0..partitions).map(Queue::Partition) {
                    let owner = best(members.iter().map(String::as_str), queue).expect("somebody");
                    counts[members.iter().position(|member| member == owner).expect("a member")] += 1;
                }
                let busiest = f64::from(counts.into_iter().max().expect("somebody"));
                sum += busiest * f64::from(u32::try_from(workers).expect("few")) / f64::from(partitions);
            }
            let mean = sum / f64::from(fleets);
            assert!((mean - expected).abs() < 0.03, "{partitions} partitions, {workers} workers: {mean:.3}");
        }
    }
}

#[test]
fn one_that_sees_nobody_keeps_everything() {
    let mut spread = Spread::new("a", SpreadSettings::STANDARD);
    let queues: Vec<Queue> = (0..32).map(Queue::Partition).collect();
    assert!(queues.iter().all(|queue| spread.is_mine(Time::ZERO, *queue)));
    spread.saw(Time::ZERO, ["b".to_owned()]);
    assert!(queues.iter().any(|queue| !spread.is_mine(Time::ZERO, *queue)));
    // Nobody has said anything for as long as an announcement lasts: the memory may be away.
    let later = SpreadSettings::STANDARD.announcement_lasts;
    assert!(queues.iter().all(|queue| spread.is_mine(later, *queue)));
    assert_eq!(spread.gives_up(later + 60 * SECOND, &queues, false), None);
}

/// A queue of partitions that does not belong to `a` when `b` is there.
fn foreign() -> Queue {
    let queue = (0..100).map(Queue::Partition).find(|queue| best(["a", "b"], *queue) == Some("b"));
    queue.expect("one of a hundred")
}

#[test]
fn what_belongs_to_another_is_given_up_after_thirty_seconds_and_not_during_an_outage() {
    let mut spread = Spread::new("a", SpreadSettings::STANDARD);
    let queue = foreign();
    for second in 0..30 {
        spread.saw(second * SECOND, ["b".to_owned()]);
        assert_eq!(spread.gives_up(second * SECOND, &[queue], false), None, "{second}");
    }
    spread.saw(30 * SECOND, ["b".to_owned()]);
    assert_eq!(spread.gives_up(30 * SECOND, &[queue], true), None, "something is away");
    assert_eq!(spread.gives_up(30 * SECOND, &[queue], false), Some(queue));
}

#[test]
fn one_that_announces_itself_and_takes_nothing_keeps_no_queue_going_round() {
    let mut spread = Spread::new("a", SpreadSettings::STANDARD);
    let queue = foreign();
    let mut moves = Vec::new();
    for second in 0..7_200 {
        let now = second * SECOND;
        spread.saw(now, ["b".to_owned()]);
        // It comes back at once each time.
        if spread.gives_up(now, &[queue], false).is_some() {
            moves.push(second);
        }
    }
    let waits: Vec<u32> = moves.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits[..5], [61, 121, 241, 481, 961]);
    assert!(waits[5..].iter().all(|wait| *wait == 961), "{waits:?}");
}

/// A broker that makes the first that waits the active one, and workers that see each other late.
struct Fleet {
    now: Time,
    /// Of each queue, who is subscribed; the first is active.
    queues: Vec<VecDeque<usize>>,
    workers: Vec<Worker>,
    moves: Vec<(Time, usize, Queue)>,
}

struct Worker {
    spread: Spread,
    name: String,
    joined: Time,
    left: Option<Time>,
    second_wave: bool,
}

const STEP: Time = Duration::from_millis(250);

impl Fleet {
    fn new(partitions: u16) -> Self {
        let queues = vec![VecDeque::new(); usize::from(partitions)];
        Self { now: Time::ZERO, queues, workers: Vec::new(), moves: Vec::new() }
    }

    fn announced(&self) -> Vec<String> {
        let live = self.workers.iter().filter(|worker| worker.left.is_none());
        live.map(|worker| worker.name.clone()).collect()
    }

    fn join(&mut self, name: String) {
        let mut spread = Spread::new(&name, SpreadSettings::STANDARD);
        spread.saw(self.now, self.announced());
        let index = self.workers.len();
        for (number, queue) in self.queues.iter_mut().enumerate() {
            if spread.is_mine(self.now, partition(number)) {
                queue.push_back(index);
            }
        }
        self.workers.push(Worker { spread, name, joined: self.now, left: None, second_wave: false });
    }

    fn leave(&mut self, index: usize) {
        self.workers[index].left = Some(self.now);
        for queue in &mut self.queues {
            queue.retain(|worker| *worker != index);
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        let announced = self.announced();
        for index in 0..self.workers.len() {
            let worker = &mut self.workers[index];
            if worker.left.is_some() {
                continue;
            }
            let since = self.now.saturating_sub(worker.joined);
            if since.as_millis().is_multiple_of(SpreadSettings::STANDARD.announce_every.as_millis()) {
                worker.spread.saw(self.now, announced.iter().cloned());
            }
            if since >= SpreadSettings::STANDARD.second_wave && !worker.second_wave {
                worker.second_wave = true;
                for queue in self.queues.iter_mut().filter(|queue| !queue.contains(&index)) {
                    queue.push_back(index);
                }
            }
            let active: Vec<Queue> = (0..self.queues.len())
                .filter(|number| self.queues[*number].front() == Some(&index))
                .map(partition)
                .collect();
            if let Some(queue) = worker.spread.gives_up(self.now, &active, false) {
                let Queue::Partition(number) = queue else { continue };
                let waiting = &mut self.queues[usize::from(number)];
                waiting.rotate_left(1);
                self.moves.push((self.now, index, queue));
            }
        }
    }

    fn run(&mut self, time: Time) {
        let until = self.now + time;
        while self.now < until {
            self.step();
        }
    }

    fn active(&self) -> Vec<Option<&str>> {
        let active = self.queues.iter().map(|queue| queue.front().map(|worker| self.workers[*worker].name.as_str()));
        active.collect()
    }

    fn as_rendezvous_says(&self) -> Vec<Option<&str>> {
        let names: Vec<&str> =
            self.workers.iter().filter(|worker| worker.left.is_none()).map(|w| w.name.as_str()).collect();
        (0..self.queues.len()).map(|number| best(names.iter().copied(), partition(number))).collect()
    }
}

fn partition(number: usize) -> Queue {
    Queue::Partition(u16::try_from(number).expect("few"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Workers come and go for a while. Once they no longer do, every queue ends at the member to which it belongs, in
    /// bounded time, with as many moves at most as there are others to pass by; then nothing moves any more. Nobody gives up
    /// more than two in a second.
    #[test]
    fn a_fleet_that_comes_and_goes_ends_up_as_rendezvous_says(
        changes in prop::collection::vec((any::<bool>(), 0_usize..8, 0_u64..90), 1..8),
        partitions in 4_u16..33,
        salt in any::<u32>(),
    ) {
        let mut fleet = Fleet::new(partitions);
        fleet.join(format!("writer/{salt}"));
        for (number, (joins, which, pause)) in changes.iter().enumerate() {
            let live: Vec<usize> = (0..fleet.workers.len()).filter(|index| fleet.workers[*index].left.is_none()).collect();
            if (*joins && live.len() < 5) || live.len() == 1 {
                fleet.join(format!("writer/{salt}/{number}"));
            } else {
                fleet.leave(live[which % live.len()]);
            }
            fleet.run(Duration::from_secs(*pause));
        }
        let (members, before) = (fleet.announced().len(), fleet.moves.len());
        // A queue that was given up for a member before may take twice as long to be given up for it again.
        let settling = SpreadSettings::STANDARD;
        let each = settling.patience * 4 + settling.pace * u32::from(partitions) + settling.announcement_lasts;
        fleet.run(each * u32::try_from(members).expect("few"));
        prop_assert_eq!(fleet.active(), fleet.as_rendezvous_says());
        let moved = fleet.moves.len() - before;
        prop_assert!(moved <= usize::from(partitions) * members, "{moved} moves of {partitions} with {members} members");
        let settled = fleet.moves.len();
        fleet.run(Duration::from_mins(5));
        prop_assert_eq!(fleet.moves.len(), settled, "something moves although all is as it should be");
        for (at, index, _) in &fleet.moves {
            let within = |time: Time| time >= *at && time < *at + SECOND;
            let same = fleet.moves.iter().filter(|(time, other, _)| other == index && within(*time)).count();
            prop_assert!(same <= 2, "{same} in a second");
        }
    }
}
