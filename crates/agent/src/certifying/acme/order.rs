//! One order: the name proven, our request sent, the chain fetched.

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use sealift_identity::Credentials;

use super::{AcmeSource, STEP_TIME_MAX, error::AcmeError, identifier, responder::Responder};
use crate::config::Challenge;

/// One name has one authorization; some servers have one more.
const AUTHORIZATIONS_MAX: usize = 4;

impl AcmeSource {
    /// The chain, PEM, for a signing request.
    pub(super) async fn order(
        &self,
        account: &Account,
        request: &[u8],
        shown: Option<&Credentials>,
    ) -> Result<String, AcmeError> {
        let mut order = self.begin(account, shown).await?;
        self.hold_profile(&mut order)?;
        // It answers for as long as it lives.
        let _responders = self.prove(&mut order).await?;
        let policy = RetryPolicy::new().timeout(STEP_TIME_MAX);
        if order.poll_ready(&policy).await? == OrderStatus::Invalid {
            return Err(self.disbelieved(&mut order).await);
        }
        order.finalize_csr(request).await?;
        Ok(order.poll_certificate(&policy).await?)
    }

    async fn begin(
        &self,
        account: &Account,
        shown: Option<&Credentials>,
    ) -> Result<Order, AcmeError> {
        let identifiers = [Identifier::Dns(self.acme.dns_name.clone())];
        let new = || {
            let new = NewOrder::new(&identifiers);
            match &self.acme.profile {
                Some(profile) => new.profile(profile),
                None => new,
            }
        };
        if let Some(asked) = &self.acme.profile {
            let offered: Vec<_> = account.profiles().map(|profile| profile.name).collect();
            if !offered.contains(&asked.as_str()) {
                let asked = asked.clone();
                let offered = match offered.is_empty() {
                    true => "none".to_owned(),
                    false => offered.join(", "),
                };
                return Err(AcmeError::UnknownProfile { asked, offered });
            }
        }
        if let Some(replaced) = shown.and_then(identifier) {
            match account.new_order(&new().replaces(replaced)).await {
                Ok(order) => return Ok(order),
                // A server without ARI, or that knows of another successor: ordered anew.
                Err(error) => tracing::debug!(%error, "an ACME order that replaces is not taken"),
            }
        }
        let made = account.new_order(&new()).await;
        made.map_err(|error| {
            self.forget_unknown(&error);
            error.into()
        })
    }

    /// A server may leave out what it does not know without a word; the life and the
    /// usages that were asked for would be others then.
    fn hold_profile(&self, order: &mut Order) -> Result<(), AcmeError> {
        let given = order.state().profile.clone();
        match &self.acme.profile {
            Some(asked) if given.as_ref() != Some(asked) => Err(AcmeError::SilentProfile {
                asked: asked.clone(),
                given: given.unwrap_or_else(|| "none".to_owned()),
            }),
            _ => Ok(()),
        }
    }

    /// Answers what the server asks to see that the name is ours.
    async fn prove(&self, order: &mut Order) -> Result<Vec<Responder>, AcmeError> {
        let found = order.state().authorizations.len();
        if found > AUTHORIZATIONS_MAX {
            return Err(AcmeError::TooMany { found });
        }
        let (kind, asked) = match self.acme.challenge {
            Challenge::Http01 => (ChallengeType::Http01, "http-01"),
            Challenge::TlsAlpn01 => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
        };
        let name = self.acme.dns_name.clone();
        let mut responders = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let challenge = authorization.challenge(kind.clone());
            let mut challenge = challenge.ok_or(AcmeError::NoChallenge {
                asked,
                name: name.clone(),
            })?;
            let proof = challenge.key_authorization();
            let responder = match self.acme.challenge {
                Challenge::Http01 => {
                    Responder::http(self.acme.listen, &challenge.token, proof.as_str()).await
                }
                Challenge::TlsAlpn01 => {
                    let clock = self.renewed.world().clock.clone();
                    Responder::tls(self.acme.listen, &name, proof.digest().as_ref(), clock).await
                }
            };
            responders.push(
                responder
                    .map_err(|error| instant_acme::Error::Other(error.in_one_line().into()))?,
            );
            challenge.set_ready().await?;
        }
        Ok(responders)
    }

    /// What the server says of the challenge that it did not believe.
    async fn disbelieved(&self, order: &mut Order) -> AcmeError {
        let mut detail = "it does not say why".to_owned();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let Ok(state) = authorization.refresh().await else {
                continue;
            };
            let mut errors = state.challenges.iter().filter_map(|one| one.error.as_ref());
            if let Some(error) = errors.next() {
                detail = error.to_string();
            }
        }
        AcmeError::Disbelieved {
            name: self.acme.dns_name.clone(),
            detail,
        }
    }
}
