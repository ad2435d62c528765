//! Progress: no rank waits for ever.
//!
//! No step depends on data and no receive has a wildcard, so an exchange that can happen stays possible until it does: one greedy run decides
//! for all runs (the system is confluent). Ranks that run one text are a *class*. A collective whose group lies in a class is met by all its
//! members at the same line of that text, and so in the same order on every communicator: it cannot block. What is between classes is
//! simulated with one representative of each, which issues in order and waits at every step: if that ends, every executor with more freedom
//! ends. The work is linear in steps and does not depend on ranks.

use crate::kernel::{Collective, Skeleton};
use crate::program::Item;
use crate::verify::{Report, Rule};
use crate::{Plan, print};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Ranks that run one text: all that agree along some axes.
#[derive(Clone, Debug, Default, PartialEq)]
struct Class {
    /// Axes that tell the ranks of this class from those of others; none of them may be an axis of a collective inside it.
    apart: Vec<String>,
}

/// A step at which classes wait for each other, as one of them sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Meeting {
    /// Who must come, this class too.
    classes: BTreeSet<usize>,
    /// What for: all must mean the same.
    what: String,
}

/// Classes that wait for each other, in order.
#[derive(Debug, PartialEq, Eq)]
struct Stuck(Vec<(usize, String)>);

/// All programs and entries.
pub(super) fn progress(plan: &Plan, report: &mut Report) {
    let classes = classes(plan);
    for program in plan.programs.values() {
        report.at(&format!("program {}", program.name));
        for launch in &program.launches {
            let Some(kernel) = plan.kernels.get(launch.kernel) else { continue };
            if let Skeleton::Collective(Collective { axes, .. }) = &kernel.skeleton {
                inside(plan, &classes, &kernel.name, axes, report);
            }
        }
    }
    for entry in &plan.entries {
        report.at(&format!("entry {}", entry.name));
        let queues: Vec<VecDeque<Meeting>> = classes.iter().map(|_| meetings(&entry.body, classes.len())).collect();
        if let Err(Stuck(cycle)) = run(queues) {
            let shown: Vec<String> = cycle.iter().map(|(class, what)| format!("class {class} waits at {what}")).collect();
            report.add(Rule::Progress, shown.join(", "));
        }
    }
}

/// All ranks run one text: one class.
fn classes(_plan: &Plan) -> Vec<Class> {
    vec![Class::default()]
}

/// The group of a collective lies in each class that comes to it.
fn inside(plan: &Plan, classes: &[Class], name: &str, axes: &[String], report: &mut Report) {
    let known = !axes.is_empty() && axes.iter().all(|name| plan.mesh.axes.iter().any(|axis| axis.name == *name));
    report.check(known, Rule::Progress, || format!("{name} has no group along {}", print::axes(axes)));
    for class in classes {
        let inside = axes.iter().all(|axis| !class.apart.contains(axis));
        report.check(inside, Rule::Progress, || format!("{name} along {} leaves its class", print::axes(axes)));
    }
}

/// What a class waits for between classes. Collectives are inside of one; the control word is of all.
fn meetings(body: &[Item], classes: usize) -> VecDeque<Meeting> {
    let control = |item: &Item| matches!(item, Item::Control) && classes > 1;
    let all = || Meeting { classes: (0..classes).collect(), what: "the control word".to_owned() };
    body.iter().filter(|item| control(item)).map(|_| all()).collect()
}

/// Lets classes meet until none has anything left to wait for. A class's head is looked at again only when one that it waits for moved.
fn run(mut queues: Vec<VecDeque<Meeting>>) -> Result<(), Stuck> {
    let mut ready: VecDeque<usize> = (0..queues.len()).collect();
    while let Some(class) = ready.pop_front() {
        let Some(head) = queues[class].front().cloned() else { continue };
        let met =
            head.classes.contains(&class) && head.classes.iter().all(|other| queues.get(*other).and_then(VecDeque::front) == Some(&head));
        if met {
            for other in &head.classes {
                queues[*other].pop_front();
                ready.push_back(*other);
            }
        }
    }
    let waiting: BTreeMap<usize, Meeting> = (0..).zip(&queues).filter_map(|(class, queue)| Some((class, queue.front()?.clone()))).collect();
    if waiting.is_empty() { Ok(()) } else { Err(Stuck(cycle(&waiting))) }
}

/// The smallest cycle of classes that wait for each other; a class that waits for one that has ended, alone.
fn cycle(waiting: &BTreeMap<usize, Meeting>) -> Vec<(usize, String)> {
    let blockers = |class: usize| -> Vec<usize> {
        let head = &waiting[&class];
        head.classes.iter().copied().filter(|other| *other != class && waiting.get(other) != Some(head)).collect()
    };
    let shown = |classes: &[usize]| classes.iter().map(|class| (*class, waiting[class].what.clone())).collect();
    if let Some(alone) = waiting.keys().find(|class| blockers(**class).iter().any(|other| !waiting.contains_key(other))) {
        return shown(&[*alone]);
    }
    let cycles = waiting.keys().filter_map(|start| shortest(*start, &blockers));
    cycles.min_by_key(Vec::len).map(|classes| shown(&classes)).unwrap_or_default()
}

/// The shortest way from a class back to itself along who waits for whom.
fn shortest(start: usize, blockers: &dyn Fn(usize) -> Vec<usize>) -> Option<Vec<usize>> {
    let mut from: BTreeMap<usize, usize> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(class) = queue.pop_front() {
        for next in blockers(class) {
            if next == start {
                let mut path = vec![class];
                while let Some(before) = from.get(&path[path.len() - 1]) {
                    path.push(*before);
                }
                path.reverse();
                return Some(path);
            }
            if let Entry::Vacant(unseen) = from.entry(next) {
                unseen.insert(class);
                queue.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(steps: &[(&str, &[usize])]) -> VecDeque<Meeting> {
        steps.iter().map(|(what, classes)| Meeting { classes: classes.iter().copied().collect(), what: (*what).to_owned() }).collect()
    }

    #[test]
    fn pipelines_that_alternate_end() {
        let steps: Vec<String> = (0..100).map(|step| format!("send {step}")).collect();
        let all = |classes: &'static [usize]| steps.iter().map(move |step| (step.as_str(), classes)).collect::<Vec<_>>();
        let (first, last) = (all(&[0, 1]), all(&[1, 2]));
        let middle: Vec<(&str, &[usize])> = first.iter().zip(&last).flat_map(|(a, b)| [*a, *b]).collect();
        assert_eq!(run(vec![queue(&first), queue(&middle), queue(&last)]), Ok(()));
    }

    #[test]
    fn crossed_orders_are_found_with_their_cycle() {
        let stuck = run(vec![
            queue(&[("x", &[0, 3]), ("a", &[0, 1]), ("c", &[0, 2])]),
            queue(&[("b", &[1, 2]), ("a", &[0, 1])]),
            queue(&[("c", &[0, 2]), ("b", &[1, 2])]),
            queue(&[("x", &[0, 3])]),
        ]);
        assert_eq!(stuck, Err(Stuck(vec![(0, "a".into()), (1, "b".into()), (2, "c".into())])));
    }

    #[test]
    fn who_waits_for_one_that_ended_is_named() {
        let stuck = run(vec![queue(&[("a", &[0, 1]), ("a", &[0, 1])]), queue(&[("a", &[0, 1])])]);
        assert_eq!(stuck, Err(Stuck(vec![(0, "a".into())])));
    }
}
