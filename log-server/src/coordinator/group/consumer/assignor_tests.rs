//! Goal: everything that is subscribed to is read by exactly one, evenly, and what need not move
//! stays.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn topic(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

fn run(
    assignor: Assignor,
    subscriptions: &[BTreeSet<TopicId>],
    before: &[Assignment],
    partitions: &BTreeMap<TopicId, u32>,
) -> Vec<Assignment> {
    let ids: Vec<_> = (0..subscriptions.len())
        .map(|place| MemberId::new(&format!("m{place:03}")).unwrap())
        .collect();
    let nothing = Assignment::new();
    let candidates: Vec<_> = ids
        .iter()
        .zip(subscriptions)
        .enumerate()
        .map(|(place, (id, topics))| Candidate {
            id,
            instance: None,
            topics: topics.clone(),
            before: before.get(place).unwrap_or(&nothing),
        })
        .collect();
    assign(assignor, &candidates, partitions)
}

fn load(assignment: &Assignment) -> usize {
    assignment.values().map(BTreeSet::len).sum()
}

fn check(
    subscriptions: &[BTreeSet<TopicId>],
    assigned: &[Assignment],
    partitions: &BTreeMap<TopicId, u32>,
) {
    let mut seen = BTreeSet::new();
    for (topics, assignment) in subscriptions.iter().zip(assigned) {
        for (topic, numbers) in assignment {
            assert!(topics.contains(topic), "not subscribed");
            for number in numbers {
                assert!(seen.insert((*topic, *number)), "given twice");
            }
        }
    }
    let wanted = partitions
        .iter()
        .filter(|(topic, _)| subscriptions.iter().any(|topics| topics.contains(*topic)));
    let wanted: usize = wanted.map(|(_, count)| *count as usize).sum();
    assert_eq!(seen.len(), wanted, "left out");
}

#[test]
fn ranges_are_runs_with_the_larger_ones_first() {
    let both: BTreeSet<_> = [topic(1), topic(2)].into();
    let partitions = [(topic(1), 5), (topic(2), 3)].into();
    let assigned = run(Assignor::Range, &[both.clone(), both], &[], &partitions);
    assert_eq!(assigned[0], [(topic(1), [0, 1, 2].into()), (topic(2), [0, 1].into())].into());
    assert_eq!(assigned[1], [(topic(1), [3, 4].into()), (topic(2), [2].into())].into());
}

#[test]
fn a_newcomer_takes_its_share_and_nothing_else_moves() {
    let one: BTreeSet<_> = [topic(1)].into();
    let partitions = [(topic(1), 9)].into();
    let alone = run(Assignor::Uniform, std::slice::from_ref(&one), &[], &partitions);
    let three = vec![one; 3];
    let shared = run(Assignor::Uniform, &three, &alone, &partitions);
    assert_eq!(shared.iter().map(load).collect::<Vec<_>>(), [3, 3, 3]);
    assert!(shared[0][&topic(1)].is_subset(&alone[0][&topic(1)]));
    assert_eq!(run(Assignor::Uniform, &three, &shared, &partitions), shared);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn assignments_are_whole_fair_and_stable(
        partitions in prop::collection::btree_map((1..6_u128).prop_map(topic), 0..9_u32, 1..5),
        subscriptions in prop::collection::vec(
            prop::collection::btree_set((1..6_u128).prop_map(topic), 0..5), 1..7),
        before in prop::collection::vec(prop::collection::btree_map(
            (1..6_u128).prop_map(topic), prop::collection::btree_set(0..12_u32, 0..6), 0..4), 0..7),
    ) {
        for assignor in [Assignor::Uniform, Assignor::Range] {
            let assigned = run(assignor, &subscriptions, &before, &partitions);
            check(&subscriptions, &assigned, &partitions);
        }
        let assigned = run(Assignor::Uniform, &subscriptions, &before, &partitions);
        for (place, mine) in assigned.iter().enumerate() {
            for other in assigned.iter().enumerate().filter(|(other, _)| {
                mine.keys().any(|topic| subscriptions[*other].contains(topic))
            }).map(|(_, assignment)| assignment) {
                prop_assert!(load(mine) <= load(other) + 1, "member {place} has too much");
            }
        }
        let again = run(Assignor::Uniform, &subscriptions, &assigned, &partitions);
        prop_assert_eq!(again, assigned, "a fair assignment stays as it is");
    }
}
