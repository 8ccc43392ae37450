//! The seam to `eventually`: a contract as its `Aggregate`, whose versions are the seam's own.

use eventually::aggregate::Aggregate;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::{Contract, ContractCommand, ContractRejection};
use crate::event::CatalogEvent;
use crate::ids::ContractId;

/// A contract as an aggregate.
#[derive(Clone, Copy, Debug, Default)]
pub struct ContractAggregate;

impl Aggregate for ContractAggregate {
    type Id = ContractId;
    type State = Contract;
    type Event = CatalogEvent;
    type Command = ContractCommand;
    type Error = ContractRejection;

    fn apply(mut state: Contract, event: CatalogEvent) -> Result<Contract, ContractRejection> {
        state.apply(event);
        Ok(state)
    }

    fn handle<'a, 's: 'a>(
        &'a self,
        _id: &'s ContractId,
        state: &'s Contract,
        command: ContractCommand,
    ) -> BoxFuture<'a, Result<Option<Vec<CatalogEvent>>, ContractRejection>> {
        let decided = state.decide(command).map(|event| event.map(|event| vec![event]));
        async move { decided }.boxed()
    }
}
