//! `PostgreSQL`: RDS's IAM authentication, a token in the place of a password.

use chrono::Utc;

use crate::credentials::{Credentials, CredentialsError};
use crate::signature::{Moment, Request, presigned};

/// Who wants to connect to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The database's region.
    pub region: String,
    /// Its endpoint.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database's user, which has the role `rds_iam`.
    pub user: String,
}

impl Login {
    /// A fresh password. It opens connections for a quarter of an hour; those that are open stay open.
    pub fn password(&self) -> Result<String, CredentialsError> {
        Ok(self.signed(&Credentials::find()?, Utc::now()))
    }

    fn signed(&self, credentials: &Credentials, now: Moment) -> String {
        let host = format!("{}:{}", self.host, self.port);
        let parameters = [("Action", "connect"), ("DBUser", self.user.as_str())];
        let request = Request { service: "rds-db", region: &self.region, host: &host, parameters: &parameters };
        presigned(&request, credentials, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::tests::known;

    /// Made by boto3 1.43's `generate_db_auth_token` for the same credentials and moment.
    #[test]
    fn a_password_is_what_awss_own_signer_makes() {
        let login = Login {
            region: "eu-central-1".to_owned(),
            host: "db.abc.eu-central-1.rds.amazonaws.com".to_owned(),
            port: 5432,
            user: "pulsegate".to_owned(),
        };
        let head = "db.abc.eu-central-1.rds.amazonaws.com:5432/?Action=connect&DBUser=pulsegate\
            &X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20261128%2Feu-central-1%2Frds-db%2Faws4_request\
            &X-Amz-Date=20261128T123456Z&X-Amz-Expires=900";
        for (session_token, rest) in [
            (
                None,
                "&X-Amz-SignedHeaders=host\
                &X-Amz-Signature=08e1074b47ea36718b4433b1ba38f4e7639c9627bd4a2dfd4371207f59979d08",
            ),
            (
                Some("IQoJb3JpZ2luX2VjE/+=token"),
                "&X-Amz-Security-Token=IQoJb3JpZ2luX2VjE%2F%2B%3Dtoken&X-Amz-SignedHeaders=host\
                &X-Amz-Signature=26bcea8ba4721ac24bfdebbc6dbf677149c3be8b83f39a67a6fcbdfc4646e831",
            ),
        ] {
            let (credentials, now) = known(session_token);
            let signed = login.signed(&credentials, now);
            assert_eq!(signed, format!("{head}{rest}"));
        }
    }
}
