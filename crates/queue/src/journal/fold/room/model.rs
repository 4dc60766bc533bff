//! One customer, its partition and its workers, step by step: orders come, are delivered, find no room, are moved, let in,
//! given up, released and discarded, control messages come whenever they like, and workers die at any point.

use proptest::prelude::*;

use super::*;
use crate::journal::carrying::on;

/// A lane holds no more where there is room elsewhere.
const LANE: usize = 3;

/// How many letters are read at a time.
const STEP: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    /// The next order is published.
    Comes,
    /// One that came before is published once more.
    ComesAgain(usize),
    /// The next message is delivered.
    Delivered,
    /// The head of the lane goes: what it is about is settled, given up, or begun. Where it is to be held, it is found out
    /// behind what, and then it is.
    Head { dies: bool },
    /// The letters that the head has read are put before it.
    Expand,
    /// The first of the line is given its place, or is appended there; its worker may die before it acknowledges that.
    Append { dies: bool },
    /// The lane is moved into the line, as a whole.
    Move,
    /// So much waits in the journal that nothing more goes there, or no longer.
    Full(bool),
    /// Somebody sends a control message although none is needed.
    Surplus,
    /// An operator lets the customer's letters go.
    Release,
    /// An operator throws a letter away.
    Discard(usize),
    /// Every open letter is carried on, those last written first or last; retention drops everything before.
    Carry { backwards: bool },
    /// The worker dies, and another takes over.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let often = prop_oneof![Just(false), Just(false), Just(false), Just(false), Just(true)];
    prop_oneof![
        8 => Just(Step::Comes),
        1 => (0..60_usize).prop_map(Step::ComesAgain),
        10 => Just(Step::Delivered),
        8 => often.clone().prop_map(|dies| Step::Head { dies }),
        4 => Just(Step::Expand),
        6 => often.prop_map(|dies| Step::Append { dies }),
        1 => Just(Step::Move),
        1 => any::<bool>().prop_map(Step::Full),
        1 => Just(Step::Surplus),
        1 => Just(Step::Release),
        1 => (0..60_usize).prop_map(Step::Discard),
        1 => any::<bool>().prop_map(|backwards| Step::Carry { backwards }),
        1 => Just(Step::Crash),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Order(usize),
    /// What lets letters go, and whether an operator sent it.
    Control {
        by_operator: bool,
    },
}

#[derive(Debug, Clone, Copy)]
struct Message {
    number: usize,
    what: What,
    /// It was delivered before.
    again: bool,
}

/// In a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Delivery(usize, What),
    Letter(usize),
}

#[derive(Default)]
struct World {
    came: usize,
    messages: usize,
    /// What is not acknowledged, in order; the first ones are delivered.
    queue: VecDeque<Message>,
    journal: Vec<(u64, Entry)>,
    offset: u64,
    written: Vec<usize>,
    discarded: Vec<usize>,
    crashed: bool,
    repeated: bool,
    // The worker.
    delivered: usize,
    came_anew: bool,
    lane: VecDeque<Item>,
    /// The head reads letters.
    read: Option<Vec<usize>>,
    /// The head is being held.
    holding: Option<Entry>,
    line: VecDeque<(usize, usize)>,
    /// The first of the line is being appended.
    appending: Option<Entry>,
    coming: bool,
    full: bool,
    fold: Fold,
}

impl World {
    fn append(&mut self, entry: Entry) {
        self.fold.apply(None, &entry);
        self.offset += 1;
        self.fold.apply(Some(self.offset), &entry);
        self.journal.push((self.offset, entry));
    }

    fn publish(&mut self, what: What) {
        self.messages += 1;
        self.queue.push_back(Message { number: self.messages, what, again: false });
    }

    fn acknowledge(&mut self, number: usize) {
        self.queue.retain(|message| message.number != number);
        self.delivered -= 1;
    }

    fn write(&mut self, order: usize) -> Result<(), TestCaseError> {
        let repeated = self.written.contains(&order);
        prop_assert!(
            self.crashed || self.repeated || !repeated,
            "{} goes twice, and neither came twice nor did a worker die",
            order
        );
        let is_done = |other: &usize| self.written.contains(other) || self.discarded.contains(other);
        let overtaken: Vec<usize> = (1..order).filter(|other| !is_done(other)).collect();
        prop_assert!(repeated || overtaken.is_empty(), "{} goes before {:?}", order, overtaken);
        self.written.push(order);
        Ok(())
    }

    fn follows(&self, order: usize) -> bool {
        self.fold.waits_for_room(KEY) && self.fold.before(KEY, &id(order)).is_some()
    }

    fn in_hand(&self) -> HashSet<LetterId> {
        let lane = self.lane.iter().filter_map(|item| match item {
            Item::Delivery(_, What::Order(order)) => Some(*order),
            Item::Delivery(..) | Item::Letter(_) => None,
        });
        lane.chain(self.line.iter().map(|(_, order)| *order)).map(id).collect()
    }

    fn deliver(&mut self) {
        let Some(message) = self.queue.get_mut(self.delivered) else { return };
        self.delivered += 1;
        self.came_anew |= !message.again;
        message.again = true;
        let Message { number, what, .. } = *message;
        if let What::Order(order) = what {
            let last = self.lane.back().copied();
            let by_operator = |item: &Item| matches!(item, Item::Delivery(_, What::Control { by_operator: true }));
            let stays = matches!(last, Some(Item::Delivery(_, What::Order(last))) if self.follows(last))
                && !self.lane.iter().any(by_operator);
            let no_room = if self.follows(order) { !stays } else { self.lane.len() >= LANE };
            if !self.line.is_empty() || no_room && !self.full {
                self.line.push_back((number, order));
                return;
            }
        }
        self.lane.push_back(Item::Delivery(number, what));
    }

    fn head(&mut self, dies: bool) -> Result<(), TestCaseError> {
        let Some(head) = self.lane.front().copied().filter(|_| self.read.is_none()) else { return Ok(()) };
        if let (Some(entry), Item::Delivery(number, _)) = (self.holding.take(), head) {
            self.append_once(entry);
            self.lane.pop_front();
            self.settled(number, false);
            return Ok(());
        }
        match head {
            Item::Letter(order) if self.fold.letter(&id(order)).is_none() => {
                self.lane.pop_front();
            }
            Item::Letter(order) if dies => {
                self.append(dead(order));
                self.lane.retain(|item| !matches!(item, Item::Letter(_)));
                if let Some(Item::Delivery(number, What::Control { .. })) = self.lane.front().copied() {
                    self.lane.pop_front();
                    self.settled(number, true);
                }
            }
            Item::Letter(order) => {
                self.write(order)?;
                self.append(written(order));
                self.lane.pop_front();
            }
            Item::Delivery(_, What::Control { by_operator }) => self.read(by_operator),
            Item::Delivery(number, What::Order(order)) => match self.fold.before(KEY, &id(order)).cloned() {
                Some(_) if self.came_anew && self.follows(order) => self.read(false),
                Some(behind) => self.hold(order, behind),
                None => {
                    // What is written already is remembered as that.
                    if dies && !self.written.contains(&order) {
                        self.append(dead(order));
                    } else {
                        self.write(order)?;
                    }
                    self.lane.pop_front();
                    self.settled(number, false);
                }
            },
        }
        Ok(())
    }

    fn hold(&mut self, order: usize, behind: LetterId) {
        let for_room = self.follows(order).then(Vec::new);
        self.holding = Some(Entry { ahead: for_room, ..entry(EntryKind::Held { behind }, order) });
    }

    /// One that came again may have its letter.
    fn append_once(&mut self, entry: Entry) {
        if entry.letter.as_ref().is_some_and(|letter| self.fold.letter(letter).is_none()) {
            self.append(entry);
        }
    }

    fn settled(&mut self, number: usize, control: bool) {
        self.acknowledge(number);
        self.coming &= !control;
    }

    fn read(&mut self, by_operator: bool) {
        let goes = |letter: &&Letter| by_operator || letter.waits_for_room() || letter.released_at.is_some();
        let letters = self.fold.line(KEY).take(STEP).take_while(goes);
        self.read = Some(letters.map(|letter| letter.id.as_str().parse().expect("a number")).collect());
    }

    fn expand(&mut self) {
        let Some(letters) = self.read.take() else { return };
        let ids: Vec<LetterId> = letters.iter().copied().map(id).collect();
        let may = self.fold.may_go(KEY, &ids, self.came_anew.then(|| self.in_hand()).as_ref());
        match self.lane.front().copied() {
            Some(Item::Delivery(number, what)) if may.is_empty() => match what {
                What::Control { .. } => {
                    self.lane.pop_front();
                    self.settled(number, true);
                }
                What::Order(order) => {
                    if let Some(behind) = self.fold.before(KEY, &id(order)).cloned() {
                        self.hold(order, behind);
                    }
                }
            },
            _ => may.iter().rev().for_each(|letter| {
                self.lane.push_front(Item::Letter(letter.as_str().parse().expect("a number")));
            }),
        }
    }

    fn append_next(&mut self, dies: bool) {
        if let Some(entry) = self.appending.take() {
            self.append_once(entry);
            if dies {
                self.crash();
            } else if let Some((number, _)) = self.line.pop_front() {
                self.settled(number, false);
            }
            return;
        }
        if self.full && self.came_anew {
            let line = std::mem::take(&mut self.line);
            self.lane.extend(line.into_iter().map(|(number, order)| Item::Delivery(number, What::Order(order))));
            return;
        }
        let Some((_, order)) = self.line.front().copied() else { return };
        let is_behind = self.follows(order);
        let in_lane = self.lane.iter().filter_map(|item| match item {
            Item::Delivery(_, What::Order(order)) => Some((*order, true)),
            Item::Letter(order) => Some((*order, false)),
            Item::Delivery(..) => None,
        });
        let unsaid =
            in_lane.filter(|(order, delivery)| !is_behind || *delivery && self.fold.before(KEY, &id(*order)).is_some());
        let ahead: Vec<LetterId> = unsaid.map(|(order, _)| id(order)).collect();
        let behind = self.fold.first(KEY).cloned().unwrap_or_else(|| id(order));
        self.appending = Some(Entry { ahead: Some(ahead), ..entry(EntryKind::Held { behind }, order) });
    }

    fn crash(&mut self) {
        self.crashed = true;
        self.fold = read(&self.journal);
        (self.delivered, self.came_anew, self.coming, self.read) = (0, false, false, None);
        (self.holding, self.appending) = (None, None);
        self.lane.clear();
        self.line.clear();
        // Whoever takes over sends one, whatever is to come.
        if self.fold.waits_for_room(KEY) {
            self.publish(What::Control { by_operator: false });
            self.coming = true;
        }
    }

    fn move_away(&mut self) {
        let by_operator = |item: &Item| matches!(item, Item::Delivery(_, What::Control { by_operator: true }));
        if self.full
            || self.read.is_some()
            || self.holding.is_some()
            || !self.line.is_empty()
            || self.lane.iter().any(by_operator)
        {
            return;
        }
        for item in std::mem::take(&mut self.lane) {
            match item {
                Item::Delivery(number, What::Order(order)) => self.line.push_back((number, order)),
                Item::Delivery(number, What::Control { .. }) => self.settled(number, true),
                Item::Letter(_) => {}
            }
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Comes => {
                self.came += 1;
                self.publish(What::Order(self.came));
            }
            Step::ComesAgain(index) => {
                let published = (1..=self.came).filter(|order| !self.discarded.contains(order));
                let published: Vec<usize> = published.collect();
                if !published.is_empty() {
                    self.repeated = true;
                    self.publish(What::Order(published[index % published.len()]));
                }
            }
            Step::Delivered => self.deliver(),
            Step::Head { dies } => self.head(*dies)?,
            Step::Expand => self.expand(),
            Step::Append { dies } => self.append_next(*dies),
            Step::Move => self.move_away(),
            Step::Full(full) => self.full = *full,
            Step::Surplus => self.publish(What::Control { by_operator: false }),
            Step::Release => self.release(),
            Step::Discard(index) => {
                let chain = chain(&self.fold);
                // What goes just now is settled first.
                let goes = |order: &usize| self.lane.front() == Some(&Item::Letter(*order));
                if let Some(order) =
                    (!chain.is_empty()).then(|| chain[index % chain.len()]).filter(|order| !goes(order))
                {
                    self.append(discarded(order));
                    self.discarded.push(order);
                }
            }
            Step::Carry { backwards } => self.carry(*backwards),
            Step::Crash => self.crash(),
        }
        self.let_in();
        Ok(())
    }

    fn let_in(&mut self) {
        let is_due = self.lane.is_empty() && self.fold.waits_for_room(KEY) && !self.coming;
        if is_due && self.fold.may_go(KEY, self.fold.first(KEY), Some(&self.in_hand())).len() == 1 {
            self.coming = true;
            self.publish(What::Control { by_operator: false });
        }
    }

    fn release(&mut self) {
        let released = EntryKind::Released { plan: "plan".into() };
        self.append(Entry { key: Some(KEY.into()), ..Entry::new(released, "operator") });
        self.publish(What::Control { by_operator: true });
    }

    fn carry(&mut self, backwards: bool) {
        // Retention drops nothing that is as young as what is just being appended.
        if self.appending.is_some() || self.holding.is_some() {
            return;
        }
        let before = self.journal.len();
        let letters: Vec<Letter> = self.fold.chain(KEY).into_iter().cloned().collect();
        let blank = || Entry::new(EntryKind::Barrier { mark: String::new() }, "test");
        let mut carried: Vec<Entry> = letters.iter().filter_map(|letter| on(letter, blank(), "test")).collect();
        if backwards {
            carried.reverse();
        }
        for entry in carried {
            self.append(Entry::from_message(&entry.to_message()).expect("it reads back"));
        }
        self.journal.drain(..before);
    }

    /// Goes on until nothing is left to do; what is dead is released.
    fn finish(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..2_000 {
            for step in [Step::Delivered, Step::Append { dies: false }, Step::Head { dies: false }, Step::Expand] {
                self.step(&step)?;
            }
            if self.queue.is_empty() {
                if self.fold.is_empty() {
                    return Ok(());
                }
                self.release();
            }
        }
        prop_assert!(false, "it never ends: {:?}, lane {:?}, {:?}", self.queue, self.lane, chain(&self.fold));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens, no order is written before an earlier one of its customer, unless that was thrown away; none is
    /// written twice where nobody died; and in the end none is left.
    #[test]
    fn a_customers_orders_keep_their_order_in_lane_and_journal(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::default();
        for step in &steps {
            world.step(step)?;
            let letters = chain(&world.fold);
            let over = |order: &&usize| world.written.contains(*order) || world.discarded.contains(*order);
            let left: Vec<&usize> = letters.iter().filter(|order| !over(order)).collect();
            prop_assert!(left.is_sorted(), "{left:?} of {letters:?} after {step:?}");
            let again = chain(&read(&world.journal));
            prop_assert!(letters == again, "{letters:?} are {again:?} for the next after {step:?}");
        }
        world.finish()?;
        let left: Vec<usize> = (1..=world.came).filter(|order| !world.written.contains(order) && !world.discarded.contains(order)).collect();
        prop_assert!(left.is_empty(), "{left:?} were never written");
    }
}
