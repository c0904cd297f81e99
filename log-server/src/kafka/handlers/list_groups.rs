//! ListGroups, key 16, versions 0 to 5 (KIP-518, KIP-848).
//!
//! Every group that passes the filters for its state (version 4) and its type (version 5). Names
//! of states and types that do not exist match no group; upper and lower case are the same.

use log_proto::kafka::Str;
use log_proto::kafka::messages::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};

use crate::broker::group_members::{GroupFilter, GroupKind, GroupListing, GroupState};
use crate::kafka::Context;
use crate::kafka::error::{Refusal, number};

const STATES: [GroupState; 6] = [
    GroupState::Empty,
    GroupState::PreparingRebalance,
    GroupState::CompletingRebalance,
    GroupState::Stable,
    GroupState::Assigning,
    GroupState::Reconciling,
];
const KINDS: [GroupKind; 2] = [GroupKind::Classic, GroupKind::Consumer];

pub(in crate::kafka) async fn handle(
    context: &Context,
    _: i16,
    request: &ListGroupsRequest,
) -> ListGroupsResponse {
    let Some(filter) = filter(request) else { return ListGroupsResponse::default() };
    let listed = context.broker.list_groups(&context.principal, &filter).await;
    let listed = listed.map_err(Refusal::from);
    let error_code = number(&listed);
    let groups = listed.unwrap_or_default().into_iter().map(group).collect();
    ListGroupsResponse { error_code, groups, ..Default::default() }
}

/// `None` if no group can pass.
fn filter(request: &ListGroupsRequest) -> Option<GroupFilter> {
    Some(GroupFilter {
        states: named(&request.states_filter, &STATES, GroupState::name)?,
        kinds: named(&request.types_filter, &KINDS, GroupKind::name)?,
    })
}

fn named<T: Copy>(asked: &[Str], all: &[T], name: fn(T) -> &'static str) -> Option<Vec<T>> {
    let is_asked =
        |one: &T| asked.iter().any(|text| text.as_str().eq_ignore_ascii_case(name(*one)));
    let named: Vec<T> = all.iter().copied().filter(is_asked).collect();
    (asked.is_empty() || !named.is_empty()).then_some(named)
}

fn group(listing: GroupListing) -> ListedGroup {
    ListedGroup {
        group_id: listing.group.as_str().into(),
        protocol_type: listing.protocol_type.unwrap_or_default().into(),
        group_state: Str::from_static(listing.state.name()),
        group_type: Str::from_static(listing.kind.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(names: &[&'static str]) -> Option<Vec<GroupState>> {
        let names = names.iter().map(|name| Str::from_static(name)).collect();
        filter(&ListGroupsRequest { states_filter: names, ..Default::default() })
            .map(|filter| filter.states)
    }

    /// An empty filter means all to the coordinator, so one without a known name must not become
    /// an empty one.
    #[test]
    fn a_filter_that_nothing_passes_is_not_the_same_as_none() {
        assert_eq!(states(&[]), Some(vec![]));
        assert_eq!(states(&["Dead"]), None);
        assert_eq!(states(&["stable", "Dead"]), Some(vec![GroupState::Stable]));
    }
}
