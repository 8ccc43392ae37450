//! Changes of the catalog: appended, then read back, so that a change is in force on the answering node
//! at once.

use chrono::NaiveDate;
use pulsegate_domain::contract::{Contract, ContractCommand, ContractRejection};
use pulsegate_domain::event::{
    CatalogEvent, ChangeNoted, ContractRegistered, EntitlementChanged, RightsHolderRegistered, TitleRegistered,
};
use pulsegate_domain::ids::{AccountId, ContractId, PolicyName};
use pulsegate_domain::policy::{Policy, PolicyRef, Terms, is_derived};
use pulsegate_write_side::Record;
use pulsegate_write_side::envelope::{self, Origin};
use pulsegate_write_side::problems::FieldProblem;

use super::Playback;
use super::answer::{CommandError, ContractVersion};

/// How often a version is tried that another node may take first.
const VERSION_TRIES_MAX: u32 = 20;

impl Playback {
    /// Publishes `terms` as the next version of a policy; the same terms again are the same version.
    pub async fn put_policy(&self, name: PolicyName, terms: Terms) -> Result<Policy, CommandError> {
        refuse_derived(&name, "/name")?;
        for _ in 0..VERSION_TRIES_MAX {
            let newest = self.inner.catalog.policies().newest(&name).cloned();
            let version = match newest {
                Some(newest) if newest.terms == terms => {
                    self.lay_caps().await;
                    return Ok(Policy::clone(&newest));
                }
                Some(newest) => newest.version.saturating_add(1),
                None => 1,
            };
            let policy = Policy { name: name.clone(), version, terms: terms.clone() };
            self.append_and_read_back(&CatalogEvent::PolicyPublished(policy.clone()), "/v1/policies").await?;
            // The first record of a version counts: if another node was first, the next version is tried.
            let counted = self.inner.catalog.policies().get(&PolicyRef::new(name.clone(), version)).cloned();
            if counted.is_some_and(|counted| *counted == policy) {
                self.lay_caps().await;
                return Ok(policy);
            }
        }
        Err(CommandError::unavailable("other nodes publish versions of this policy at the same time"))
    }

    /// Gives an account a policy.
    pub async fn put_entitlement(
        &self,
        account_id: AccountId,
        policy: PolicyName,
    ) -> Result<EntitlementChanged, CommandError> {
        refuse_derived(&policy, "/policy")?;
        if self.inner.catalog.policies().newest(&policy).is_none() {
            return Err(CommandError::Invalid(vec![FieldProblem {
                pointer: "/policy".into(),
                detail: format!("there is no policy {policy}"),
            }]));
        }
        let change = EntitlementChanged { account_id, policy };
        let same = self.inner.catalog.read(|catalog| catalog.entitlement(&change.account_id) == Some(&change.policy));
        if !same {
            // Should what its policy was published with have failed, nobody gets it without its caps.
            self.publish_caps(None).await?;
            self.append_and_read_back(&CatalogEvent::EntitlementChanged(change.clone()), "/v1/accounts/entitlement")
                .await?;
        }
        Ok(change)
    }

    /// Registers a title, or registers it anew.
    pub async fn put_title(&self, title: TitleRegistered) -> Result<TitleRegistered, CommandError> {
        let same = self.inner.catalog.read(|catalog| catalog.title(&title.title_id) == Some(&title));
        if !same {
            self.append_and_read_back(&CatalogEvent::TitleRegistered(title.clone()), "/v1/titles").await?;
        }
        Ok(title)
    }

    /// Registers a rights holder, or registers it anew.
    pub async fn put_rights_holder(
        &self,
        holder: RightsHolderRegistered,
    ) -> Result<RightsHolderRegistered, CommandError> {
        let same = self.inner.catalog.read(|catalog| catalog.rights_holder(&holder.rights_holder_id) == Some(&holder));
        if !same {
            self.append_and_read_back(&CatalogEvent::RightsHolderRegistered(holder.clone()), "/v1/rights-holders")
                .await?;
        }
        Ok(holder)
    }

    /// Registers a contract, or registers it anew; where a version is `expected`, only from that one.
    pub async fn put_contract(
        &self,
        contract: ContractRegistered,
        expected: Option<Expected>,
    ) -> Result<ContractVersion, CommandError> {
        let id = contract.contract_id.clone();
        let command = match expected.map(|expected| self.version_expected(&id, expected)).transpose()? {
            Some(expected) => ContractCommand::Amend { expected, contract },
            None => ContractCommand::Register(contract),
        };
        self.change_contract(&id, command).await
    }

    /// Gives a contract its last day.
    pub async fn end_contract(
        &self,
        id: ContractId,
        last_day: NaiveDate,
        expected: Option<Expected>,
    ) -> Result<ContractVersion, CommandError> {
        let expected = expected.map(|expected| self.version_expected(&id, expected)).transpose()?;
        self.change_contract(&id, ContractCommand::End { contract_id: id.clone(), last_day, expected }).await
    }

    /// The version of a contract that is there, if it is as expected.
    fn version_expected(&self, id: &ContractId, expected: Expected) -> Result<u32, CommandError> {
        let actual = self.inner.catalog.read(|catalog| catalog.contract_versions(id).map_or(0, Contract::version));
        match expected {
            Expected::Version(version) => Ok(version),
            Expected::None if actual == 0 => Ok(0),
            Expected::Any if actual > 0 => Ok(actual),
            Expected::None => Err(ContractRejection::Conflict { contract_id: id.clone(), expected: 0, actual }.into()),
            Expected::Any => Err(CommandError::VersionConflict { detail: format!("there is no contract {id} yet") }),
        }
    }

    async fn change_contract(
        &self,
        id: &ContractId,
        command: ContractCommand,
    ) -> Result<ContractVersion, CommandError> {
        let expected = match &command {
            ContractCommand::Register(_) => None,
            ContractCommand::Amend { expected, .. } => Some(*expected),
            ContractCommand::End { expected, .. } => *expected,
        };
        let decided = self.inner.catalog.read(|catalog| {
            let mut contract = catalog.contract_versions(id).cloned().unwrap_or_default();
            contract.decide(command).map(|event| {
                let event = event?;
                contract.apply(event.clone());
                Some((event, contract.current()?.clone()))
            })
        })?;
        if let Some((event, wanted)) = decided {
            // Before the contract, so that there is no event that it caps and whose policy isn't there yet.
            self.publish_caps(wanted.max_streams_per_account()).await?;
            self.append_and_read_back(&event, "/v1/contracts").await?;
            // Another node may have published a policy in between, and known of no cap.
            self.lay_caps().await;
            return self.counted(id, expected, wanted);
        }
        self.inner.catalog.read(|catalog| {
            let contract = catalog.contract_versions(id);
            let current = contract.and_then(|contract| Some((contract.version(), contract.current()?.clone())));
            let (version, contract) = current.ok_or_else(|| CommandError::ContractUnknown(id.clone()))?;
            Ok(ContractVersion { contract, version: Some(version) })
        })
    }

    /// Whether what was written counted where it came to stand.
    fn counted(
        &self,
        id: &ContractId,
        expected: Option<u32>,
        wanted: ContractRegistered,
    ) -> Result<ContractVersion, CommandError> {
        self.inner.catalog.read(|catalog| {
            let versions = catalog.contract_versions(id);
            let actual = versions.map_or(0, Contract::version);
            let Some(expected) = expected else {
                let is_newest = versions.and_then(Contract::current) == Some(&wanted);
                return Ok(ContractVersion { contract: wanted, version: is_newest.then_some(actual) });
            };
            let index = usize::try_from(expected).unwrap_or(usize::MAX);
            if versions.and_then(|versions| versions.versions().nth(index)) == Some(&wanted) {
                return Ok(ContractVersion { contract: wanted, version: Some(expected + 1) });
            }
            Err(ContractRejection::Conflict { contract_id: id.clone(), expected, actual }.into())
        })
    }

    /// Notes a change that is kept elsewhere, and was made already: that the log is away does not undo it.
    pub async fn note(&self, change: ChangeNoted, source: &str) {
        if let Err(error) = self.inner.log.append(self.signed(&CatalogEvent::ChangeNoted(change.clone()), source)).await
        {
            metrics::counter!("pulsegate_changes_unnoted_total").increment(1);
            tracing::error!(%error, ?change, by = self.by.as_deref(), "a change was made and could not be noted");
        }
    }

    fn signed(&self, event: &CatalogEvent, source: &str) -> Record {
        let record = envelope::catalog(event, &Origin::new(source, self.now()));
        match &self.by {
            Some(who) => envelope::by(record, who),
            None => record,
        }
    }

    async fn append_and_read_back(&self, event: &CatalogEvent, source: &str) -> Result<(), CommandError> {
        let appended = self.inner.log.append(self.signed(event, source)).await?;
        if self.inner.catalog.folded(appended.offset, self.inner.settings.catalog_wait).await {
            Ok(())
        } else {
            Err(CommandError::unavailable("the change is in the log and could not be read back yet"))
        }
    }
}

/// Names that only a cap gives are nobody's to publish under or to be given.
fn refuse_derived(name: &PolicyName, pointer: &str) -> Result<(), CommandError> {
    if !is_derived(name) {
        return Ok(());
    }
    let detail = "must not end in :<version>:cap:<number>: such policies come of contracts".to_owned();
    Err(CommandError::Invalid(vec![FieldProblem { pointer: pointer.to_owned(), detail }]))
}

/// Which version of a contract a change is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// There is none yet.
    None,
    /// The one that is there, whichever.
    Any,
    /// This one.
    Version(u32),
}
