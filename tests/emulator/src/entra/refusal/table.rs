//! The table itself, by code.
//!
//! Texts are Microsoft's where one was published; short ones without a link are this emulator's
//! own words for codes whose text is not known. `invalid_client` goes with 401, anything else
//! with 400, except throttling and transient failures.

use super::Row;

const ROWS: &[Row] = &[
    invalid_request(50_027, "JWT token is invalid or malformed."),
    transient(50_033, "A transient error has occurred. Please try again."),
    Row::new(50_049, "invalid_instance", 400, "Unknown or invalid instance."),
    invalid_request(50_107, "The requested federation realm object '{issuer}' does not exist."),
    invalid_request(50_166, "Request to External OIDC endpoint failed.").without_uri(),
    Row::new(50_196, "invalid_grant", 429, "The server terminated an operation because it encountered a client request \
            loop. Please contact your app vendor."),
    access_denied(53_003, "Access has been blocked by Conditional Access policies. The access policy \
            does not allow token issuance."),
    Row::new(70_003, "unsupported_grant_type", 400, "The app requested an unsupported grant type."),
    invalid_scope(70_011, "The provided value for scope {scope} is not valid. Client credential flows \
            must have a scope value with /.default suffixed to the resource identifier \
            (application ID URI)."),
    invalid_client(70_021, "No matching federated identity record found for presented assertion. \
            Assertion Issuer: '{issuer}'. Assertion Subject: '{subject}'. Assertion \
            Audience: '{audience}'. \
            https://docs.microsoft.com/en-us/azure/active-directory/develop/workload-identity-federation"),
    invalid_client(70_025, "The client '{client_id}'({application}) has no configured federated identity \
            credentials."),
    invalid_request(90_002, "Tenant '{tenant}' not found. Check to make sure you have the correct tenant \
            ID and are signing into the correct cloud. Check with your subscription \
            administrator, this may happen if there are no active subscriptions for the \
            tenant."),
    transient(90_006, "The service is temporarily unavailable. Please retry later."),
    transient(90_012, "The request has timed out."),
    invalid_request(90_014, "The required field '{parameter}' is missing from the credential. Ensure that \
            you have all the necessary parameters for the login request."),
    transient(90_024, "A transient error occurred while the request was budgeted. Please retry \
            later."),
    transient(90_033, "A transient error has occurred in the directory service. Please try again."),
    invalid_request(90_038, "The tenant '{tenant}' is served by another national cloud."),
    transient(90_055, "The server is terminating the request because there are too many incoming \
            requests for the tenant."),
    invalid_request(90_061, "Request to External OIDC endpoint failed."),
    transient(90_090, "A transient error has occurred. Please retry the request."),
    Row::new(500_011, "invalid_resource", 400, "The resource principal named {resource} was not found in the tenant named \
            {tenant_name}. This can happen if the application has not been installed by \
            the administrator of the tenant or consented to by any user in the tenant. \
            You might have sent your authentication request to the wrong tenant."),
    invalid_request(501_661, "Request to External OIDC endpoint failed.").without_uri(),
    access_denied(530_032, "Access has been blocked by a Conditional Access policy of the tenant."),
    unauthorized_client(700_016, "Application with identifier '{client_id}' was not found in the directory \
            '{tenant_name}'. This can happen if the application has not been installed \
            by the administrator of the tenant or consented to by any user in the \
            tenant. You may have sent your authentication request to the wrong tenant."),
    invalid_client(700_021, "Client assertion application identifier doesn't match 'client_id' parameter."),
    invalid_client(700_024, "Client assertion is not within its valid time range. Current time: {now}, \
            assertion valid from {from}, expiry time of assertion {until}. Review the \
            documentation at \
            https://learn.microsoft.com/entra/identity-platform/certificate-credentials \
            ."),
    invalid_client(700_027, "The certificate with identifier used to sign the client assertion is not \
            registered on application. [Reason - The key was not found.]"),
    invalid_client(700_211, "No matching federated identity record found for presented assertion issuer \
            '{issuer}'. Check your federated identity credential Subject, Audience and \
            Issuer against the presented assertion. \
            https://learn.microsoft.com/entra/workload-id/workload-identity-federation").without_uri(),
    invalid_client(700_212, "No matching federated identity record found for presented assertion audience \
            '{audience}'. Check your federated identity credential Subject, Audience and \
            Issuer against the presented assertion. \
            https://learn.microsoft.com/entra/workload-id/workload-identity-federation").without_uri(),
    invalid_client(700_213, "No matching federated identity record found for presented assertion subject \
            '{subject}'. Check your federated identity credential Subject, Audience and \
            Issuer against the presented assertion. \
            https://learn.microsoft.com/entra/workload-id/workload-identity-federation").without_uri(),
    invalid_client(700_222, "AAD-issued tokens may not be used for federated identity flows."),
    invalid_client(700_223, "Federated identity credentials are disabled in this tenant by policy."),
    invalid_client(700_229, "Only app-only tokens can be used as federated identity credentials."),
    invalid_client(700_233, "A federated identity credential expression could not be parsed."),
    invalid_client(700_234, "A federated identity credential expression could not be evaluated."),
    invalid_client(700_235, "Federated identity credential expressions are not supported on managed \
            identities."),
    invalid_client(700_237, "Federated identity credential expressions are not allowed."),
    invalid_request(900_023, "Specified tenant identifier '{tenant}' is neither a valid DNS name, nor a \
            valid external domain."),
    invalid_request(900_144, "The request body must contain the following parameter: '{parameter}'."),
    invalid_request(900_382, "Confidential client is not supported in a cross-cloud request."),
    invalid_request(900_432, "Confidential client is not supported in a cross-cloud request."),
    invalid_request(900_439, "The request was sent to the wrong endpoint for the tenant's national cloud."),
    invalid_request(900_440, "The request was sent to the wrong endpoint for the tenant's national cloud."),
    invalid_scope(1_002_012, "The provided value for scope {scope} is not valid. Client credential flows \
            must have a scope value with /.default suffixed to the resource identifier \
            (application ID URI)."),
    invalid_request(5_002_723, "Invalid JWT token. No certificate SHA-1 thumbprint, certificate SHA-256 \
            thumbprint, nor keyId specified in token header."),
    invalid_request(5_002_727, "Invalid JWT header type specified, must be 'JWT' or \
            'http://openid.net/specs/jwt/1.0'.").without_uri(),
    invalid_client(5_002_730, "Invalid JWT token. Unsupported key for the signing algorithm."),
    invalid_request(5_002_738, "Invalid JWT token. '{alg}' is not a supported signature algorithm. Supported \
            signing algorithms are: 'RS256,RS384,RS512'"),
    unauthorized_client(7_000_112, "Application '{client_id}'({application}) is disabled."),
    invalid_client(7_000_215, "Invalid client secret provided."),
    invalid_client(7_000_216, "'client_assertion', 'client_secret' or 'request' is required for the \
            'client_credentials' grant type."),
    invalid_client(7_000_218, "The request body must contain the following parameter: 'client_assertion' or \
            'client_secret'."),
    invalid_client(7_000_229, "The client application {client_id} is missing service principal in the \
            tenant {tenant_id}. See instructions here: \
            https://go.microsoft.com/fwlink/?linkid=2225119"),
    invalid_client(7_000_272, "The certificate with identifier {key} used to sign the federated credential \
            could not be found in the metadata of identity provider {issuer}. Please \
            validate that your Identity Provider's metadata exposes the key used to sign \
            the incoming token."),
    invalid_client(7_000_274, "Client assertion contains an invalid signature. [Reason - The key was found, \
            but use of the key to verify the signature failed.]"),
    invalid_client(7_002_131, "No matching federated identity record found for presented assertion subject \
            '{subject}' or no federated identity credential expression matches it. Check \
            your federated identity credential Subject, Audience and Issuer against the \
            presented assertion. \
            https://learn.microsoft.com/entra/workload-id/workload-identity-federation"),
    invalid_client(7_002_137, "No matching federated identity record found for presented assertion subject \
            '{subject}'. Please make sure the federated identity credential Subject is \
            '{subject}'.").without_uri(),
    invalid_client(7_002_138, "No matching federated identity record found for presented assertion subject \
            '{subject}'. The subject matches with case-insensitive comparison, but not \
            with case-sensitive comparison. Check your federated identity credential \
            Subject, Audience and Issuer against the presented assertion. See \
            documentation at: \
            https://learn.microsoft.com/entra/workload-id/workload-identity-federation. \
            See breaking change notification and remediation at: \
            https://learn.microsoft.com/en-us/entra/identity-platform/reference-breaking-changes#august-2024.").without_uri(),
    invalid_client(7_002_241, "The issuer '{issuer}' may not be used with federated identity credential \
            expressions."),
    invalid_client(7_002_381, "The tenant's policy requires an enterprise claim in tokens of '{issuer}'."),
    invalid_request(9_001_023, "The grant type is not supported over the /common or /consumers endpoints. \
            Please use the /organizations or tenant-specific endpoint."),
    invalid_client(70_022_204, "The audience '{audience}' belongs to another national cloud."),
];

/// For a code that is not in the table.
const UNKNOWN: Row = invalid_request(0, "The request was refused.");

const fn invalid_client(code: u32, text: &'static str) -> Row {
    Row::new(code, "invalid_client", 401, text)
}

const fn invalid_request(code: u32, text: &'static str) -> Row {
    Row::new(code, "invalid_request", 400, text)
}

const fn invalid_scope(code: u32, text: &'static str) -> Row {
    Row::new(code, "invalid_scope", 400, text)
}

const fn unauthorized_client(code: u32, text: &'static str) -> Row {
    Row::new(code, "unauthorized_client", 400, text)
}

const fn access_denied(code: u32, text: &'static str) -> Row {
    Row::new(code, "access_denied", 400, text)
}

const fn transient(code: u32, text: &'static str) -> Row {
    Row::new(code, "temporarily_unavailable", 503, text)
}

/// The row of a code.
pub(super) fn row(code: u32) -> &'static Row {
    ROWS.iter().find(|row| row.code == code).unwrap_or(&UNKNOWN)
}

/// Every code there is a row for.
pub(crate) fn codes() -> impl Iterator<Item = u32> {
    ROWS.iter().map(|row| row.code)
}
