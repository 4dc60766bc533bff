//! How much of a window one customer may take, and all who wait.
//!
//! A window is what may be held unacknowledged of one queue. Whoever fills it stops the queue for everybody else, so what has
//! no room is to wait elsewhere.

/// The room of one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    window: usize,
}

impl Room {
    /// The smallest bound of a lane. A window that is no larger has one lane for all.
    pub const LEAST: usize = 4;

    /// What may wait elsewhere at most of one queue. With 32 partitions and orders of 16 kB that is a quarter of what the journal
    /// keeps ([`crate::topology::Topology::journal_bytes`]): orders that wait must be carried on before retention drops them.
    pub const MOST_ELSEWHERE: usize = 10_000;

    /// Of a window of so many unacknowledged deliveries.
    pub const fn of(window: usize) -> Self {
        Self { window }
    }

    /// What a lane may hold in any case: a sixteenth of the window, and no less than [`Room::LEAST`].
    pub fn least(self) -> usize {
        (self.window / 16).max(Self::LEAST)
    }

    /// Whether a lane that holds so many takes one more while so many of the window are held in all.
    ///
    /// A lane may grow as long as it holds less than what is free: alone it takes half of the window, two take a third each,
    /// and some of it is always left for others.
    pub fn has(self, lane: usize, held: usize) -> bool {
        lane < self.least() || lane < self.window.saturating_sub(held).min(self.window / 2)
    }

    /// What all lanes that wait for a time may hold together: three quarters of the window.
    pub const fn most_waiting(self) -> usize {
        self.window / 4 * 3 + self.window % 4 * 3 / 4
    }

    /// How many orders of one queue may wait elsewhere: twenty windows, and no more than [`Room::MOST_ELSEWHERE`]. What comes
    /// beyond them takes up the window, and then waits in the queue.
    pub const fn most_elsewhere(self) -> usize {
        let most = self.window * 20;
        if most < Self::MOST_ELSEWHERE { most } else { Self::MOST_ELSEWHERE }
    }

    /// Which lanes have to make room, the longest first, where lanes that wait hold so many in all.
    pub fn to_be_moved<T: Ord>(self, held: usize, mut lanes: Vec<(usize, T)>) -> Vec<T> {
        lanes.sort_unstable();
        let mut held = held;
        let mut moved = Vec::new();
        while held > self.most_waiting()
            && let Some((items, lane)) = lanes.pop()
        {
            held = held.saturating_sub(items);
            moved.push(lane);
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Fills a window with orders of customers in turn, none of which is ever done; what finds no room is not counted.
    fn filled(window: usize, customers: usize) -> Vec<usize> {
        let (room, mut lanes) = (Room::of(window), vec![0; customers]);
        loop {
            let before = lanes.clone();
            for lane in 0..customers {
                let held: usize = lanes.iter().sum();
                if held < window && room.has(lanes[lane], held) {
                    lanes[lane] += 1;
                }
            }
            if lanes == before {
                return lanes;
            }
        }
    }

    #[test]
    fn one_customer_takes_half_of_a_window_two_take_a_third_each_and_more_leave_room_too() {
        assert_eq!(filled(256, 1), [128]);
        assert_eq!(filled(256, 2), [86, 85]);
        assert_eq!(filled(256, 3), [64, 64, 64]);
        for hot in 1..=15 {
            let held: usize = filled(256, hot).iter().sum();
            assert!(held <= 256 - 16, "{hot} hot customers hold {held}");
        }
        assert_eq!(filled(8, 1), [4]);
        assert_eq!(filled(2000, 1), [1000]);
        // A lane of four fills it: there is no smaller bound.
        assert_eq!(filled(4, 1), [4]);
    }

    proptest! {
        #[test]
        fn no_lane_grows_beyond_half_and_a_small_one_always_does(window in 8..2001_usize, lane in 0..2001_usize, held in 0..2001_usize) {
            let room = Room::of(window);
            prop_assert_eq!(room.has(lane, held) && lane >= room.least(), lane >= room.least() && lane < window / 2 && lane < window.saturating_sub(held));
            prop_assert!(room.least() <= window / 2);
            prop_assert!(lane >= room.least() || room.has(lane, held));
        }

        #[test]
        fn as_few_lanes_as_do_make_room_and_the_longest_do(window in 1..300_usize, lanes in prop::collection::vec(1..40_usize, 0..60)) {
            let room = Room::of(window);
            prop_assert_eq!(room.most_waiting(), window * 3 / 4);
            let held: usize = lanes.iter().sum();
            let moved = room.to_be_moved(held, lanes.iter().copied().enumerate().map(|(lane, items)| (items, lane)).collect());
            let taken: Vec<usize> = moved.iter().map(|lane| lanes[*lane]).collect();
            let left = held - taken.iter().sum::<usize>();
            prop_assert!(left <= room.most_waiting());
            prop_assert!(taken.last().is_none_or(|last| left + last > room.most_waiting()), "one less would have done");
            let shortest = taken.iter().min().copied().unwrap_or(usize::MAX);
            let stays = lanes.iter().enumerate().filter(|(lane, _)| !moved.contains(lane));
            prop_assert!(stays.into_iter().all(|(_, items)| *items <= shortest));
        }
    }
}
