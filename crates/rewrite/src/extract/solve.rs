//! Minimises the cost of the extracted DAG: the better of the original program and the cheapest trees, then local
//! search by flips and pivots, then kicks.
//!
//! A flip changes the choice of one class. A pivot brings a class into the solution that is not in it, by switching all
//! classes at once that could read it: merges of several sites look worse one by one and only pay together. A kick
//! forces random pivots and repeats the search; the generator has a fixed seed and the number of kicks is fixed, so the
//! result is the same in every run.

use super::problem::Problem;

/// A solution: the choice of each class, and what it costs.
#[derive(Clone, Debug)]
pub(crate) struct Solution {
    pub(crate) choice: Vec<u32>,
    pub(crate) used: Vec<bool>,
    pub(crate) cost: u64,
    /// Cost of the original program.
    pub(crate) original: u64,
}

/// Solves the problem.
pub(crate) fn solve(problem: &Problem, kicks: usize) -> Solution {
    let trees = cheapest_trees(problem);
    let original = original_program(problem, &trees);
    let before = dag_cost(problem, &original).unwrap_or(u64::MAX);
    let mut best = [original, trees]
        .into_iter()
        .filter_map(|choice| Some((dag_cost(problem, &choice)?, choice)))
        .map(|(_, choice)| Search::new(problem, choice))
        .map(|mut search| {
            search.sweep();
            (search.cost, search.choice)
        })
        .min_by_key(|(cost, _)| *cost)
        .expect("the cheapest trees form a program");
    let rounds = if problem.classes.len() > 20_000 { kicks / 8 } else { kicks };
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for _ in 0..rounds {
        let mut search = Search::new(problem, best.1.clone());
        if !search.kick(&mut random) {
            break;
        }
        if search.cost < best.0 {
            best = (search.cost, search.choice);
        }
    }
    let search = Search::new(problem, best.1);
    let used = search.references.iter().map(|r| *r > 0).collect();
    Solution { choice: search.choice, used, cost: search.cost, original: before }
}

/// For each class the choice whose tree is cheapest. Trees of positive cost cannot be cyclic.
fn cheapest_trees(problem: &Problem) -> Vec<u32> {
    let count = problem.classes.len();
    let mut cost = vec![u64::MAX; count];
    let mut choice = vec![0u32; count];
    let mut queue: std::collections::BTreeSet<u32> = (0..count as u32).collect();
    while let Some(class) = queue.pop_first() {
        let index = class as usize;
        for (position, option) in problem.classes[index].iter().enumerate() {
            let total = option.children.iter().try_fold(option.cost.max(1), |sum, c| {
                let child = cost[*c as usize];
                (child < u64::MAX).then(|| sum.saturating_add(child).min(u64::MAX - 1))
            });
            if let Some(total) = total
                && total < cost[index]
            {
                (cost[index], choice[index]) = (total, position as u32);
                queue.extend(problem.parents[index].iter().copied());
            }
        }
    }
    choice
}

/// The original program; classes that it does not have keep their cheapest tree.
fn original_program(problem: &Problem, trees: &[u32]) -> Vec<u32> {
    let first = |(class, choices): (usize, &Vec<super::problem::Choice>)| {
        let original = choices.iter().enumerate().filter_map(|(i, c)| Some((c.original?, i as u32))).min();
        original.map_or(trees[class], |(_, i)| i)
    };
    problem.classes.iter().enumerate().map(first).collect()
}

/// Cost of the DAG below the roots, or `None` when it has a cycle.
fn dag_cost(problem: &Problem, choice: &[u32]) -> Option<u64> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; problem.classes.len()];
    let mut cost = 0u64;
    let mut stack: Vec<(u32, usize)> = problem.roots.iter().map(|r| (*r, 0)).collect();
    while let Some((class, next)) = stack.pop() {
        let option = &problem.classes[class as usize][choice[class as usize] as usize];
        if next == 0 {
            match marks[class as usize] {
                Mark::Done => continue,
                Mark::Open => return None,
                Mark::New => {
                    marks[class as usize] = Mark::Open;
                    cost = cost.saturating_add(option.cost);
                }
            }
        }
        match option.children.get(next) {
            Some(child) => {
                stack.push((class, next + 1));
                match marks[*child as usize] {
                    Mark::New => stack.push((*child, 0)),
                    Mark::Open => return None,
                    Mark::Done => {}
                }
            }
            None => marks[class as usize] = Mark::Done,
        }
    }
    Some(cost)
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

struct Search<'a> {
    problem: &'a Problem,
    choice: Vec<u32>,
    /// Readers of each class inside the solution; roots have one more.
    references: Vec<u32>,
    cost: u64,
    /// Mark of the last walk that saw a class.
    seen: Vec<u32>,
    walk: u32,
}

impl<'a> Search<'a> {
    fn new(problem: &'a Problem, choice: Vec<u32>) -> Self {
        let count = problem.classes.len();
        let mut search =
            Self { problem, choice, references: vec![0; count], cost: 0, seen: vec![0; count], walk: 0 };
        for root in &problem.roots {
            search.acquire(*root);
        }
        search
    }

    fn option(&self, class: u32) -> &'a super::problem::Choice {
        &self.problem.classes[class as usize][self.choice[class as usize] as usize]
    }

    fn acquire(&mut self, class: u32) {
        let mut stack = vec![class];
        while let Some(class) = stack.pop() {
            self.references[class as usize] += 1;
            if self.references[class as usize] == 1 {
                let option = self.option(class);
                self.cost += option.cost;
                stack.extend(option.children.iter().copied());
            }
        }
    }

    fn release(&mut self, class: u32) {
        let mut stack = vec![class];
        while let Some(class) = stack.pop() {
            self.references[class as usize] -= 1;
            if self.references[class as usize] == 0 {
                let option = self.option(class);
                self.cost -= option.cost;
                stack.extend(option.children.iter().copied());
            }
        }
    }

    /// Whether the cone of `from` under the current choices is free of cycles.
    fn acyclic_from(&mut self, from: &[u32]) -> bool {
        self.walk += 2;
        let (open, done) = (self.walk - 1, self.walk);
        let mut stack: Vec<(u32, usize)> = from.iter().map(|c| (*c, 0)).collect();
        while let Some((class, next)) = stack.pop() {
            if next == 0 {
                if self.seen[class as usize] == done {
                    continue;
                }
                if self.seen[class as usize] == open {
                    return false;
                }
                self.seen[class as usize] = open;
            }
            match self.option(class).children.get(next) {
                Some(child) => {
                    stack.push((class, next + 1));
                    match self.seen[*child as usize] {
                        mark if mark == done => {}
                        mark if mark == open => return false,
                        _ => stack.push((*child, 0)),
                    }
                }
                None => self.seen[class as usize] = done,
            }
        }
        true
    }

    /// Changes choices; keeps the change when `accept` likes the new cost, and undoes it otherwise. A change that
    /// closes a cycle is always undone.
    fn try_change(&mut self, changes: &[(u32, u32)], accept: impl Fn(u64, u64) -> bool) -> bool {
        let before = self.cost;
        let old: Vec<(u32, u32)> = changes.iter().map(|(c, _)| (*c, self.choice[*c as usize])).collect();
        let classes: Vec<u32> = changes.iter().map(|(c, _)| *c).collect();
        for (class, option) in changes {
            self.choice[*class as usize] = *option;
        }
        let acyclic = self.acyclic_from(&classes);
        for (class, option) in &old {
            self.choice[*class as usize] = *option;
        }
        if !acyclic {
            return false;
        }
        self.switch(changes);
        if accept(before, self.cost) {
            return true;
        }
        self.switch(&old);
        false
    }

    /// Switches choices; new operands are acquired before old ones are released, so that shared parts stay.
    fn switch(&mut self, changes: &[(u32, u32)]) {
        let problem = self.problem;
        for (class, option) in changes {
            let index = *class as usize;
            let old = self.option(*class);
            if self.references[index] == 0 {
                self.choice[index] = *option;
                continue;
            }
            let new = &problem.classes[index][*option as usize];
            self.cost = self.cost + new.cost - old.cost;
            self.choice[index] = *option;
            for child in &new.children {
                self.acquire(*child);
            }
            for child in &old.children {
                self.release(*child);
            }
        }
    }

    /// Repeats flips and pivots until neither pays.
    fn sweep(&mut self) {
        let all: Vec<u32> = (0..self.problem.classes.len() as u32).collect();
        // Each round that repeats has lowered an integer cost; the bound is against absurd graphs only.
        for _ in 0..64 {
            if !self.round(&all) {
                return;
            }
        }
    }

    fn round(&mut self, classes: &[u32]) -> bool {
        let mut better = false;
        for class in classes {
            if self.references[*class as usize] > 0 {
                better |= self.flip(*class);
            } else {
                better |= self.pivot(*class, |before, after| after < before);
            }
        }
        better
    }

    fn flip(&mut self, class: u32) -> bool {
        let mut better = false;
        for option in 0..self.problem.classes[class as usize].len() as u32 {
            if option != self.choice[class as usize] && self.references[class as usize] > 0 {
                better |= self.try_change(&[(class, option)], |before, after| after < before);
            }
        }
        better
    }

    /// Brings a class in by switching every class of the solution that can read it.
    fn pivot(&mut self, class: u32, accept: impl Fn(u64, u64) -> bool) -> bool {
        let changes = self.readers(class);
        changes.len() > 1 && self.try_change(&changes, accept)
    }

    /// Classes of the solution that have a choice which reads `class` (directly, or through a class that only projects
    /// it), with that choice.
    fn readers(&self, class: u32) -> Vec<(u32, u32)> {
        let mut changes = Vec::new();
        for parent in self.problem_parents(class) {
            if self.references[parent as usize] == 0 {
                continue;
            }
            let options = &self.problem.classes[parent as usize];
            let reads = options.iter().enumerate().filter(|(_, o)| o.children.contains(&class));
            if let Some((option, _)) = reads.min_by_key(|(_, o)| o.cost) {
                changes.push((parent, option as u32));
            }
        }
        changes
    }

    fn problem_parents(&self, class: u32) -> impl Iterator<Item = u32> + use<'a> {
        self.problem.parents[class as usize].iter().copied()
    }

    /// Forces one to three pivots, whatever they cost, and searches again around them.
    fn kick(&mut self, random: &mut Random) -> bool {
        let pivots: Vec<u32> = (0..self.problem.classes.len() as u32)
            .filter(|c| self.references[*c as usize] == 0 && self.problem.parents[*c as usize].len() > 1)
            .filter(|c| self.readers(*c).len() > 1)
            .collect();
        if pivots.is_empty() {
            return false;
        }
        for _ in 0..=random.below(3) {
            let class = pivots[random.below(pivots.len())];
            self.pivot(class, |_, _| true);
        }
        self.sweep();
        true
    }
}
